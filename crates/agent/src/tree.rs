//! The real file tree of a workload, for resolving the names in its rules.
//!
//! Names are walked one component at a time from a descriptor of the workload's root, each by `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`: the kernel follows nothing, links are read and
//! followed here, so that the place and the age of each are known.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use palisade_ruleset::{Resolved, Tree};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxFlags, fstatfs, fstatvfs, openat, openat2,
    readlinkat, statx,
};
use rustix::io::Errno;
use thiserror::Error;

/// Links followed at most in one name, as in the kernel.
const LINKS_MAX: usize = 40;
/// `PROC_SUPER_MAGIC`.
const PROCFS_MAGIC: i64 = 0x9fa0;

/// The tree below a root directory, as it lies when names are resolved.
#[derive(Debug)]
pub struct RootTree {
    root: OwnedFd,
    facts: Facts,
    started: (i64, u32),
}

/// Is told of every name before it is looked up, so that whoever waits for the name to change misses no change.
pub trait Lookups {
    /// `name` is about to be looked up in `directory`.
    fn looks_up(&self, directory: &OwnedFd, name: &[u8]);
}

/// The same tree, with somebody told of each lookup.
pub struct Observed<'a> {
    /// The tree.
    pub tree: &'a RootTree,
    /// Who is told.
    pub lookups: &'a dyn Lookups,
}

/// The root could not be opened.
#[derive(Debug, Error)]
#[error("cannot open the root directory {}: {source}", path.display())]
pub struct RootError {
    /// Where it should be.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// What matters of a file here.
#[derive(Clone, Copy, Debug)]
struct Facts {
    kind: FileType,
    mount: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, u32),
}

/// A directory on the way.
struct Step {
    name: Vec<u8>,
    fd: OwnedFd,
    /// It and all above it lie on the root mount and are older than the workload.
    trusted: bool,
}

/// One name on its way.
struct Walk<'a> {
    tree: &'a RootTree,
    lookups: Option<&'a dyn Lookups>,
    /// The directories from below the root to here.
    steps: Vec<Step>,
    /// The components still to come, the next one last.
    rest: Vec<Vec<u8>>,
    links: usize,
    allow_may_follow: bool,
}

/// What became of one component.
enum Next {
    Entered,
    /// The name ends here: the tail does not exist, or is not entered.
    Ends(Vec<u8>),
}

// === impl RootTree ===

impl RootTree {
    /// The tree below `root` (`/`, or `/proc/PID/root`), for a workload whose first instruction comes, or came, at
    /// `started`.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    ///
    /// Minimum kernel: 5.8 (openat2, mount ids in statx).
    pub fn open(root: &Path, started: SystemTime) -> Result<Self, RootError> {
        let failed = |errno: Errno| RootError { path: root.to_owned(), source: errno.into() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
        let facts = Facts::of(&fd).map_err(failed)?;
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Ok(Self { root: fd, facts, started: (seconds, since.subsec_nanos()) })
    }

    /// Whether what these facts are of could not have been made by the workload.
    fn is_trusted(&self, facts: Facts) -> bool {
        facts.mount == self.facts.mount && facts.changed < self.started
    }

    fn walk(&self, path: &[u8], lookups: Option<&dyn Lookups>) -> Option<Resolved> {
        let mut walk = Walk {
            tree: self,
            lookups,
            steps: Vec::new(),
            rest: components(path).rev().map(<[u8]>::to_vec).collect(),
            links: 0,
            allow_may_follow: true,
        };
        walk.run().ok()
    }
}

impl Tree for RootTree {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        self.walk(path, None)
    }
}

impl Tree for Observed<'_> {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        self.tree.walk(path, Some(self.lookups))
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn run(&mut self) -> rustix::io::Result<Resolved> {
        while let Some(component) = self.rest.pop() {
            if component == b".." {
                self.steps.pop();
                continue;
            }
            if let Next::Ends(component) = self.enter(component)? {
                self.rest.push(component);
                break;
            }
        }
        let mut path = Vec::new();
        let tail = tail(self.steps.iter().map(|step| step.name.as_slice()), self.rest.iter().rev().map(Vec::as_slice));
        for component in tail {
            path.push(b'/');
            path.extend(component);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(Resolved { path, allow_may_follow: self.allow_may_follow })
    }

    fn enter(&mut self, component: Vec<u8>) -> rustix::io::Result<Next> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let here = self.steps.last().map_or(&self.tree.root, |step| &step.fd);
        if let Some(lookups) = self.lookups {
            lookups.looks_up(here, &component);
        }
        let opened = openat2(here, OsStr::from_bytes(&component), flags, Mode::empty(), resolve);
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Next::Ends(component)),
            Err(error) => return Err(error),
        };
        if fstatfs(&fd)?.f_type == PROCFS_MAGIC {
            return Ok(Next::Ends(component));
        }
        let facts = Facts::of(&fd)?;
        let above_trusted = self.steps.last().map_or(self.tree.is_trusted(self.tree.facts), |step| step.trusted);
        if facts.kind == FileType::Symlink {
            self.follow(&fd, facts, above_trusted)?;
        } else {
            let trusted = above_trusted && self.tree.is_trusted(facts);
            self.steps.push(Step { name: component, fd, trusted });
        }
        Ok(Next::Entered)
    }

    fn follow(&mut self, link: &OwnedFd, facts: Facts, above_trusted: bool) -> rustix::io::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let read_only = fstatvfs(link)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        if !(read_only || above_trusted && self.tree.is_trusted(facts)) {
            self.allow_may_follow = false;
        }
        let target = readlinkat(link, "", Vec::new())?;
        let target = target.as_bytes();
        if target.first() == Some(&b'/') {
            self.steps.clear();
        }
        self.rest.extend(components(target).rev().map(<[u8]>::to_vec));
        Ok(())
    }
}

// === impl Facts ===

impl Facts {
    fn of(fd: &OwnedFd) -> rustix::io::Result<Self> {
        let wanted = StatxFlags::TYPE | StatxFlags::CTIME | StatxFlags::MNT_ID;
        let found = statx(fd, "", AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        Ok(Self {
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            mount: found.stx_mnt_id,
            changed: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
        })
    }
}

/// The components of a path, without empty ones and `.`.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

/// The components walked, then those that were not, with `..` taken literally: below what does not exist there are no
/// links.
fn tail<'a>(walked: impl Iterator<Item = &'a [u8]>, rest: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut tail: Vec<&[u8]> = walked.collect();
    for component in rest {
        if component == b".." {
            tail.pop();
        } else {
            tail.push(component);
        }
    }
    tail
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn mk_tree() -> (tempfile::TempDir, RootTree) {
        let root = tempfile::tempdir().unwrap();
        for directory in ["run", "usr/bin", "var", "etc/ssl"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("usr/bin/dash"), "").unwrap();
        symlink("usr/bin", root.path().join("bin")).unwrap();
        symlink("/run", root.path().join("var/run")).unwrap();
        symlink("dash", root.path().join("usr/bin/sh")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        symlink("../../../../etc", root.path().join("usr/up")).unwrap();
        symlink("/nowhere/x", root.path().join("dangling")).unwrap();
        // The workload starts an hour from now: all of this is older.
        let tree = RootTree::open(root.path(), SystemTime::now() + Duration::from_secs(3600)).unwrap();
        (root, tree)
    }

    fn resolve(tree: &RootTree, path: &str) -> Option<(String, bool)> {
        let Resolved { path, allow_may_follow } = tree.resolve(path.as_bytes())?;
        Some((String::from_utf8(path).unwrap(), allow_may_follow))
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let (_root, tree) = mk_tree();
        for (given, expected) in [
            ("/bin/sh", "/usr/bin/dash"),
            ("/var/run", "/run"),
            ("/var/run/postgresql/s", "/run/postgresql/s"),
            ("/usr/up/ssl", "/etc/ssl"),
            ("/etc/ssl/", "/etc/ssl"),
            ("/etc//./ssl/../missing", "/etc/missing"),
            ("/dangling/y", "/nowhere/x/y"),
            ("/usr/bin/dash/below-a-file", "/usr/bin/dash/below-a-file"),
            ("/missing/../etc", "/etc"),
            ("/", "/"),
            ("/..", "/"),
        ] {
            assert_eq!(resolve(&tree, given), Some((expected.to_owned(), true)), "{given}");
        }
    }

    #[test]
    fn a_loop_cannot_be_said() {
        let (_root, tree) = mk_tree();
        assert_eq!(resolve(&tree, "/loop/x"), None);
    }

    #[test]
    fn procfs_is_not_entered() {
        let tree = RootTree::open(Path::new("/"), SystemTime::now()).unwrap();
        assert_eq!(resolve(&tree, "/proc/self/exe").map(|(path, _)| path).as_deref(), Some("/proc/self/exe"));
    }

    #[test]
    fn an_allow_follows_no_link_that_is_younger_than_the_workload() {
        let (root, _) = mk_tree();
        let tree = RootTree::open(root.path(), SystemTime::now() - Duration::from_secs(3600)).unwrap();
        assert_eq!(resolve(&tree, "/bin/dash"), Some(("/usr/bin/dash".to_owned(), false)));
        // Where no link is followed, age does not matter.
        assert_eq!(resolve(&tree, "/usr/bin/dash"), Some(("/usr/bin/dash".to_owned(), true)));
    }

    #[test]
    fn an_allow_follows_no_link_below_a_directory_that_changed_since() {
        let (root, _) = mk_tree();
        std::thread::sleep(Duration::from_millis(50));
        let tree = RootTree::open(root.path(), SystemTime::now()).unwrap();
        assert_eq!(resolve(&tree, "/var/run/x"), Some(("/run/x".to_owned(), true)));
        std::thread::sleep(Duration::from_millis(50));
        fs::write(root.path().join("var/new"), "").unwrap();
        assert_eq!(resolve(&tree, "/var/run/x"), Some(("/run/x".to_owned(), false)));
    }
}
