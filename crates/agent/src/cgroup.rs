//! Cgroups of version 2: finding the tree, making a cgroup, following it to its end.
//!
//! On hybrid hosts the tree is mounted at `/sys/fs/cgroup/unified`; its cgroups work there like anywhere, they only
//! have no controllers.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

/// The directory, below the root of the tree, of the cgroups of runs.
const PARENT: &str = "palisade";

/// How old the cgroup of a run is at least before it may be taken for abandoned: entering takes milliseconds.
const SWEPT_AFTER: Duration = Duration::from_secs(10);

/// A mounted cgroup tree of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    mount: PathBuf,
    /// Which cgroup is mounted there: `/` but in containers.
    root: PathBuf,
}

/// A cgroup of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    directory: PathBuf,
    id: u64,
}

/// A process in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process id in this pid namespace.
    pub pid: u32,
    /// Its name; empty where it has gone meanwhile.
    pub comm: String,
}

/// Why a cgroup could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// No tree of version 2 is mounted.
    #[error("no cgroup tree of version 2 is mounted (looked in /proc/self/mountinfo)")]
    NoTree,
    /// A file operation failed.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

// === impl Tree ===

impl Tree {
    /// The tree of this mount namespace, the one mounted from its root if there are several.
    ///
    /// # Errors
    /// [`CgroupError::NoTree`] if there is none.
    pub fn find() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
        let mut trees = text.lines().filter_map(Self::of_mount).collect::<Vec<_>>();
        trees.sort_by_key(|tree| tree.root.as_os_str().len());
        trees.into_iter().next().ok_or(CgroupError::NoTree)
    }

    /// A line of mountinfo: `36 35 0:33 ROOT MOUNT OPTIONS [TAGS] - cgroup2 SOURCE OPTIONS`.
    fn of_mount(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let root = PathBuf::from(unescape(fields.next()?));
        let mount = PathBuf::from(unescape(fields.next()?));
        Some(Self { mount, root })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The cgroup of this process, by its directory.
    ///
    /// # Errors
    /// If `/proc/self/cgroup` does not name one that is visible here.
    pub fn own(&self) -> Result<PathBuf, CgroupError> {
        let path = Path::new("/proc/self/cgroup");
        let text = fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.ok_or_else(|| failed("find version 2 in", path, io::ErrorKind::NotFound.into()))?;
        let below = Path::new(own).strip_prefix(&self.root).unwrap_or(Path::new(own));
        Ok(self.mount.join(below.strip_prefix("/").unwrap_or(below)))
    }

    /// Makes the cgroup of a run: `/palisade/run-ID`; inside the cgroup of another run, below that, so that the outer
    /// run follows, and can end, all of it. Empty ones whose palisade was killed are removed on the way.
    ///
    /// # Errors
    /// If it cannot be made: without root, or on a tree that is mounted read-only.
    pub fn make_run(&self, id: &str) -> Result<Cgroup, CgroupError> {
        let own = self.own()?;
        let parent = if is_run(&own) { own } else { self.mount.join(PARENT) };
        make(&parent, true)?;
        sweep(&parent);
        let directory = parent.join(format!("run-{id}"));
        make(&directory, false)?;
        Cgroup::open(&directory)
    }
}

// === impl Cgroup ===

impl Cgroup {
    /// A cgroup that is there.
    ///
    /// # Errors
    /// If it is not.
    pub fn open(directory: &Path) -> Result<Self, CgroupError> {
        let metadata = fs::metadata(directory).map_err(|source| failed("look at", directory, source))?;
        Ok(Self { directory: directory.to_owned(), id: metadata.ino() })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its id, as `bpf_get_current_cgroup_id` gives it: its inode number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The ids of it and of the cgroups below it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn ids(&self) -> Result<Vec<u64>, CgroupError> {
        Ok(self.tree()?.iter().filter_map(|directory| Some(fs::metadata(directory).ok()?.ino())).collect())
    }

    /// Where a process enters: writing `0` moves the writer.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Whether it or a cgroup below it holds a process that is no zombie. One that is gone holds none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        let path = self.events();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(populated(&text)),
            Err(e) if is_gone(&e) => Ok(false),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// Waits until it is empty, at most so long (`None`: for ever). Returns whether it is.
    ///
    /// # Errors
    /// If it cannot be read or waited for.
    pub fn wait_empty(&self, at_most: Option<Duration>) -> Result<bool, CgroupError> {
        let path = self.events();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if is_gone(&e) => return Ok(true),
            Err(source) => return Err(failed("open", &path, source)),
        };
        let deadline = at_most.map(|most| Instant::now() + most);
        loop {
            let mut text = String::new();
            match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
                Ok(_) if !populated(&text) => return Ok(true),
                Ok(_) => {}
                Err(e) if is_gone(&e) => return Ok(true),
                Err(source) => return Err(failed("read", &path, source)),
            }
            // A second at most, should the notification be missed: kernfs notifies late, never not at all.
            let mut step = Duration::from_secs(1);
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                step = step.min(left);
            }
            let step = Timespec::try_from(step).map_err(|e| failed("wait for", &path, io::Error::other(e)))?;
            match poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&step)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(failed("wait for", &path, e.into())),
            }
        }
    }

    /// The processes in it and below it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn members(&self) -> Result<Vec<Member>, CgroupError> {
        let mut members = Vec::new();
        for directory in self.tree()? {
            let path = directory.join("cgroup.procs");
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(e) if is_gone(&e) => continue,
                Err(source) => return Err(failed("read", &path, source)),
            };
            let pids = text.lines().filter_map(|line| line.parse::<u32>().ok());
            members.extend(pids.map(|pid| Member { pid, comm: comm(pid) }));
        }
        Ok(members)
    }

    /// Kills every process in it and below it.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// Minimum kernel: 5.14.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let path = self.directory.join("cgroup.kill");
        match fs::write(&path, "1") {
            Ok(()) => Ok(()),
            Err(e) if is_gone(&e) => Ok(()),
            Err(source) => Err(failed("write", &path, source)),
        }
    }

    /// Removes it and the cgroups below it. All must be empty.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for directory in self.tree()?.into_iter().rev() {
            match fs::remove_dir(&directory) {
                Ok(()) => {}
                Err(e) if is_gone(&e) => {}
                Err(source) => return Err(failed("remove", &directory, source)),
            }
        }
        Ok(())
    }

    fn events(&self) -> PathBuf {
        self.directory.join("cgroup.events")
    }

    /// Its directory and all below it, parents first.
    fn tree(&self) -> Result<Vec<PathBuf>, CgroupError> {
        let mut tree = vec![self.directory.clone()];
        let mut next = 0;
        while let Some(directory) = tree.get(next).cloned() {
            next += 1;
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(e) if is_gone(&e) => continue,
                Err(source) => return Err(failed("list", &directory, source)),
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    tree.push(entry.path());
                }
            }
        }
        Ok(tree)
    }
}

/// Removes the empty cgroups of runs whose palisade was killed. Best effort: one that is in use stays by itself.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else { continue };
        let owned = Path::new("/proc").join(pid.to_string()).exists();
        // A palisade of another pid namespace is not seen; its cgroup is empty only at its very beginning.
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|made| made.elapsed().unwrap_or_default());
        if !owned
            && age.is_ok_and(|age| age > SWEPT_AFTER)
            && let Ok(cgroup) = Cgroup::open(&entry.path())
        {
            drop(cgroup.remove());
        }
    }
}

/// The process id in `run-PID-TIME`.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("run-")?.split_once('-')?.0.parse().ok()
}

/// Whether a cgroup is that of a run or lies below one.
fn is_run(directory: &Path) -> bool {
    let components: Vec<_> = directory.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    components.windows(2).any(|pair| pair[0] == PARENT && pair[1].starts_with("run-"))
}

fn make(directory: &Path, may_exist: bool) -> Result<(), CgroupError> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(()),
        Err(e) if may_exist && e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failed("make", directory, source)),
    }
}

/// Whether `populated 1` stands in the text of cgroup.events.
fn populated(text: &str) -> bool {
    text.lines().any(|line| line == "populated 1")
}

/// A cgroup that was removed: its files are not found, or, where one is open, ENODEV.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::File { act, path: path.to_owned(), source }
}

fn comm(pid: u32) -> String {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&comm).trim_end().to_owned()
}

/// mountinfo writes space, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`.
fn unescape(text: &str) -> String {
    let replaced = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    replaced.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_on_hybrid_hosts() {
        let line = "50 32 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(Tree::of_mount(line), Some(Tree { mount: "/sys/fs/cgroup/unified".into(), root: "/".into() }));
        assert_eq!(Tree::of_mount("51 32 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"), None);
    }

    #[test]
    fn the_cgroup_of_a_run_names_its_palisade() {
        assert_eq!(owner("run-4711-1a2b"), Some(4711));
        assert_eq!(owner("run-4711"), None);
        assert_eq!(owner("system.slice"), None);
    }

    #[test]
    fn the_cgroup_of_a_run_is_recognised() {
        assert!(is_run(Path::new("/sys/fs/cgroup/palisade/run-1-2")));
        assert!(is_run(Path::new("/sys/fs/cgroup/palisade/run-1/run-2")));
        assert!(!is_run(Path::new("/sys/fs/cgroup/palisade")));
        assert!(!is_run(Path::new("/sys/fs/cgroup/system.slice/run-1.scope")));
    }
}
