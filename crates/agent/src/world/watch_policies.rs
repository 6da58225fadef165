//! The thread that says when the policy directory is to be read again.
//!
//! A file that somebody has begun to write is not read before it is closed, or its first half would be taken for all of it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Input;
use crate::directories::{Directories, Happened, Kind};

/// Changes that come this close to each other are one.
const SETTLE: Duration = Duration::from_millis(50);
/// One change is told after so many of these at the latest.
const SETTLE_MAX: u32 = 10;
/// How often the directory is read though nothing was told: a file system may tell nothing of what others write to it.
const LOOK: Duration = Duration::from_secs(10);
const KINDS: [Kind; 4] = [Kind::Made, Kind::Gone, Kind::Writing, Kind::Written];

struct Watcher<T> {
    directory: PathBuf,
    directories: Directories,
    writing: HashSet<String>,
    tell: T,
}

/// Starts it. `tell` waits where there is no room, and returns false where nobody listens.
pub(super) fn start(directory: &Path, tell: impl FnMut(Input) -> bool + Send + 'static) -> io::Result<()> {
    let mut directories = Directories::new()?;
    std::fs::read_dir(directory)?; // there at the start, or the configuration is wrong
    directories.add(directory, &KINDS)?;
    let mut watcher = Watcher { directory: directory.to_owned(), directories, writing: HashSet::new(), tell };
    thread::Builder::new().name("policies".to_owned()).spawn(move || watcher.work()).map(drop)
}

impl<T: FnMut(Input) -> bool> Watcher<T> {
    fn work(&mut self) {
        loop {
            let any = self.wait(LOOK);
            for _ in 0..SETTLE_MAX {
                if !any || !self.wait(SETTLE) {
                    break;
                }
            }
            if !(self.tell)(Input::PolicyFiles(self.writing.clone())) {
                return;
            }
            // Of a directory that was removed and made again: another one, watched from here on, and read once more.
            if let Err(error) = self.directories.add(&self.directory, &KINDS) {
                let text = format!("cannot watch {}, it is read every {LOOK:?}: {error}", self.directory.display());
                if !(self.tell)(Input::Trouble(text)) {
                    return;
                }
            }
        }
    }

    /// Whether anything happened.
    fn wait(&mut self, timeout: Duration) -> bool {
        let Ok(happened) = self.directories.wait(timeout) else {
            thread::sleep(LOOK);
            return true;
        };
        for Happened { directory: _, name, kind } in &happened {
            match kind {
                Kind::Writing => {
                    self.writing.insert(name.clone());
                }
                Kind::Made | Kind::Gone | Kind::Written => {
                    self.writing.remove(name);
                }
                Kind::Unknown => self.writing.clear(),
            }
        }
        !happened.is_empty()
    }
}
