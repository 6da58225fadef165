//! Waiting for names to change: inotify on the directories that they are looked up in, and the mount table.
//!
//! A directory is watched before a name is looked up in it, so nothing that happens after the lookup is missed. What is
//! told is only *that* something changed; whoever waits looks everything up again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;
use std::{io, mem};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::tree::Lookups;

/// Directories that names are waited for in, and the mount table of this process's mount namespace.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    mounts: File,
    /// By watch: the names that matter in its directory.
    names: RefCell<HashMap<i32, HashSet<Vec<u8>>>>,
    /// A directory could not be watched: its changes are not told.
    incomplete: Cell<bool>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// A name that matters appeared, a mount changed, or some event was lost.
    pub changed: bool,
    /// The other descriptor can be read.
    pub called: bool,
}

/// Room for some 100 events; the rest waits in the kernel (16,384 at most, and what is lost then is told as such).
const BUFFER: usize = 8192;

// === impl Watch ===

impl Watch {
    /// Watches the mount table, and no directory yet.
    ///
    /// # Errors
    /// If the user has no inotify instance left, or procfs is not mounted.
    ///
    /// Minimum kernel: 3.19.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let mounts = File::open("/proc/self/mountinfo")?;
        Ok(Self { inotify, mounts, names: RefCell::default(), incomplete: Cell::new(false) })
    }

    /// Looks names up anew: what `look_up` asks for is watched from then on, and nothing else.
    pub fn renew<T>(&self, look_up: impl FnOnce(&dyn Lookups) -> T) -> T {
        let old = mem::take(&mut *self.names.borrow_mut());
        self.incomplete.set(false);
        let result = look_up(self);
        let names = self.names.borrow();
        for watch in old.keys().filter(|watch| !names.contains_key(watch)) {
            // Gone with its directory, or here and of no use any more.
            let _ = inotify::remove_watch(&self.inotify, *watch);
        }
        result
    }

    /// Whether some directory could not be watched (too many watches, a file system without them).
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.get()
    }

    /// Waits for a change, or for the other descriptor to become readable, at most so long.
    ///
    /// # Errors
    /// If waiting fails; being interrupted is no error.
    pub fn wait(&self, other: &OwnedFd, timeout: Option<Duration>) -> io::Result<Woken> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        // The mount table is always readable; only PRI says that it changed since it was last waited for.
        let mut fds = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::from_borrowed_fd(self.mounts.as_fd(), PollFlags::PRI),
            PollFd::new(other, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        }
        let [names, mounts, called] = fds.map(|fd| !fd.revents().is_empty());
        let changed = mounts | (names && self.read()?);
        Ok(Woken { changed, called })
    }

    /// Reads all events there are. Whether one matters.
    fn read(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut names = self.names.borrow_mut();
        let mut changed = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(changed),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                changed = true;
            } else if event.events().contains(inotify::ReadFlags::IGNORED) {
                names.remove(&event.wd());
            } else if let (Some(name), Some(watched)) = (event.file_name(), names.get(&event.wd())) {
                changed |= watched.contains(name.to_bytes());
            }
        }
    }
}

impl Lookups for Watch {
    fn looks_up(&self, directory: &OwnedFd, name: &[u8]) {
        use inotify::WatchFlags;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        // A name that appears, by whatever call; that one goes brings nothing new.
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, path, flags) {
            Ok(watch) => {
                self.names.borrow_mut().entry(watch).or_default().insert(name.to_vec());
            }
            // A name below a file: there is nothing that could appear.
            Err(Errno::NOTDIR) => {}
            Err(_) => self.incomplete.set(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::SystemTime;

    use palisade_ruleset::Tree as _;

    use super::*;
    use crate::tree::{Observed, RootTree};

    fn mk_watch(root: &Path) -> (Watch, RootTree) {
        (Watch::new().unwrap(), RootTree::open(root, SystemTime::now()).unwrap())
    }

    fn resolve(watch: &Watch, tree: &RootTree, path: &str) -> String {
        let found = watch.renew(|lookups| Observed { tree, lookups }.resolve(path.as_bytes()));
        String::from_utf8(found.unwrap().path).unwrap()
    }

    /// Of names alone: the mount table of a test's machine may change at any time.
    fn is_told(watch: &Watch) -> bool {
        watch.read().unwrap()
    }

    #[test]
    fn a_missing_part_that_appears_is_told_at_each_depth() {
        let root = tempfile::tempdir().unwrap();
        let (watch, tree) = mk_watch(root.path());
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/opt/x/secret");
        fs::create_dir(root.path().join("other")).unwrap();
        assert!(!is_told(&watch), "another name");
        fs::create_dir(root.path().join("opt")).unwrap();
        assert!(is_told(&watch));
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/opt/x/secret");
        symlink("/data", root.path().join("opt/x")).unwrap();
        assert!(is_told(&watch));
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/data/secret");
        fs::create_dir(root.path().join("data")).unwrap();
        symlink("/deep", root.path().join("data/secret.new")).unwrap();
        assert!(is_told(&watch), "where the link leads to");
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/data/secret");
        fs::rename(root.path().join("data/secret.new"), root.path().join("data/secret")).unwrap();
        assert!(is_told(&watch), "a rename");
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/deep");
    }

    #[test]
    fn a_directory_that_is_exchanged_for_a_link_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("opt/x")).unwrap();
        let (watch, tree) = mk_watch(root.path());
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/opt/x/secret");
        fs::rename(root.path().join("opt/x"), root.path().join("opt/y")).unwrap();
        symlink("/data", root.path().join("opt/x")).unwrap();
        assert!(is_told(&watch));
        assert_eq!(resolve(&watch, &tree, "/opt/x/secret"), "/data/secret");
    }

    #[test]
    fn a_burst_beyond_the_queue_is_told() {
        let root = tempfile::tempdir().unwrap();
        let (watch, tree) = mk_watch(root.path());
        resolve(&watch, &tree, "/missing");
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        // Two names in turn, for equal events that follow each other are one.
        for i in 0..most + 10 {
            let path = root.path().join(["a", "b"][i % 2]);
            symlink("x", &path).unwrap();
            fs::remove_file(&path).unwrap();
        }
        assert!(is_told(&watch), "what was lost may have mattered");
    }

    #[test]
    fn a_call_ends_the_wait() {
        let call = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        let watch = Watch::new().unwrap();
        rustix::io::write(&call, &1_u64.to_ne_bytes()).unwrap();
        assert!(watch.wait(&call, None).unwrap().called);
    }
}
