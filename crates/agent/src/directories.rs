//! Waiting for something to happen in directories: names that come and go, files that are written.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Directories that are watched.
#[derive(Debug)]
pub struct Directories {
    inotify: OwnedFd,
    by_watch: HashMap<i32, PathBuf>,
}

/// What can happen to a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is there: made, or moved here.
    Made,
    /// It is gone: removed, or moved away.
    Gone,
    /// Its content changes; whoever writes may go on.
    Writing,
    /// Whoever wrote has closed it.
    Written,
    /// Something happened that was not told: everything is to be looked at.
    Unknown,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// In which directory.
    pub directory: PathBuf,
    /// To which name; empty for [`Kind::Unknown`] and where the directory itself is gone.
    pub name: String,
    /// What.
    pub kind: Kind,
}

/// Room for some 100 events; the rest waits in the kernel.
const BUFFER: usize = 8192;

// === impl Directories ===

impl Directories {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the user has no inotify instance left.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, by_watch: HashMap::new() })
    }

    /// Watches a directory, once however often it is added.
    ///
    /// # Errors
    /// If it is none, or too many are watched.
    pub fn add(&mut self, directory: &Path, kinds: &[Kind]) -> io::Result<()> {
        let mut flags = WatchFlags::ONLYDIR | WatchFlags::DELETE_SELF;
        for kind in kinds {
            flags |= match kind {
                Kind::Made => WatchFlags::CREATE | WatchFlags::MOVED_TO,
                Kind::Gone => WatchFlags::DELETE | WatchFlags::MOVED_FROM,
                Kind::Writing => WatchFlags::MODIFY,
                Kind::Written => WatchFlags::CLOSE_WRITE,
                Kind::Unknown => WatchFlags::empty(), // always told
            };
        }
        match inotify::add_watch(&self.inotify, directory, flags) {
            Ok(watch) => {
                self.by_watch.insert(watch, directory.to_owned());
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()), // gone: whoever looks finds it gone
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something happens, at most so long, and takes all of it. Nothing: the time is over.
    ///
    /// # Errors
    /// If waiting or reading fails; being interrupted is no error.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<Happened>> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(Vec::new()),
            Ok(_) => self.read(),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> io::Result<Vec<Happened>> {
        let Self { inotify, by_watch } = self;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&*inotify, &mut buffer);
        let mut happened = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(happened),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = Kind::of(event.events());
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let directory = by_watch.get(&event.wd()).cloned().unwrap_or_default();
            if event.events().contains(ReadFlags::IGNORED) {
                by_watch.remove(&event.wd());
            }
            happened.push(Happened { directory, name, kind });
        }
    }
}

// === impl Kind ===

impl Kind {
    fn of(flags: ReadFlags) -> Self {
        let any = |wanted: ReadFlags| flags.intersects(wanted);
        if any(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            Self::Made
        } else if any(ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::DELETE_SELF | ReadFlags::IGNORED) {
            Self::Gone
        } else if any(ReadFlags::CLOSE_WRITE) {
            Self::Written
        } else if any(ReadFlags::MODIFY) {
            Self::Writing
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;

    const ALL: [Kind; 4] = [Kind::Made, Kind::Gone, Kind::Writing, Kind::Written];

    fn kinds(directories: &mut Directories, name: &str) -> Vec<Kind> {
        let mut kinds: Vec<Kind> =
            directories.wait(Duration::from_secs(5)).unwrap().into_iter().filter(|h| h.name == name).map(|h| h.kind).collect();
        kinds.dedup();
        kinds
    }

    #[test]
    fn a_file_that_is_being_written_is_told_from_one_that_is_written() {
        let root = tempfile::tempdir().unwrap();
        let mut directories = Directories::new().unwrap();
        directories.add(root.path(), &ALL).unwrap();
        let mut file = File::create(root.path().join("a")).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(kinds(&mut directories, "a"), [Kind::Made, Kind::Writing]);
        drop(file);
        assert_eq!(kinds(&mut directories, "a"), [Kind::Written]);
        fs::rename(root.path().join("a"), root.path().join("b")).unwrap();
        assert_eq!(kinds(&mut directories, "b"), [Kind::Made]);
        fs::remove_file(root.path().join("b")).unwrap();
        assert_eq!(kinds(&mut directories, "b"), [Kind::Gone]);
    }

    #[test]
    fn a_directory_that_is_removed_is_told() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d");
        fs::create_dir(&directory).unwrap();
        let mut directories = Directories::new().unwrap();
        directories.add(&directory, &ALL).unwrap();
        fs::remove_dir(&directory).unwrap();
        assert_eq!(kinds(&mut directories, ""), [Kind::Gone]);
        assert!(directories.wait(Duration::ZERO).unwrap().is_empty());
    }
}
