//! `/run/palisade/v<ABI>`: what several palisades on one machine share, and what one that was killed leaves behind. Those
//! of another ABI version have other labels, tables and rings, and so a directory of their own.
//!
//! ```text
//! lock                  held while anything below, or a pin, is changed
//! state.json            the next table id
//! reader.lock           held by whoever reads the ring of events
//! runs/ID.lock          held as long as the palisade of that run lives: free means that it is gone
//! runs/ID.json          what it set up: written before each step, so that whoever cleans up finds all of it
//! legends/TABLE.json    what the rule codes of a table stand for
//! events/LABEL          socket of the run whose label that is; of the agent's workloads, a link to its socket
//! events/agent          the agent's socket
//! ```
//! All of it is on a tmpfs and ends with the boot, as the kernel's objects do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade_bpf::abi::ABI_VERSION;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The directory.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// The lock over everything shared; released when dropped, or when its process ends in whatever way.
#[derive(Debug)]
#[must_use]
pub struct Locked {
    _file: File,
}

/// A run's entry, as long as its palisade lives.
#[derive(Debug)]
pub struct Membership {
    /// The run's id.
    pub id: String,
    _lock: File,
}

/// What a run has set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: String,
    /// The process id of its palisade, for people.
    pub pid: u32,
    /// Its cgroup's directory.
    pub cgroup: PathBuf,
    /// Its cgroup's id.
    pub cgroup_id: u64,
    /// Its label; 0 before it has one.
    pub label: u32,
    /// Its tables whose legends are kept.
    pub tables: Vec<u32>,
    /// The cgroup was made, and will be removed, by somebody else: while it is there, it keeps its label.
    #[serde(default)]
    pub foreign: bool,
}

/// Why something under `/run/palisade` could not be done.
#[derive(Debug, Error)]
#[error("cannot {act} {}: {source}", path.display())]
pub struct HomeError {
    /// What was tried.
    pub act: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct State {
    next_table_id: u32,
}

// === impl Home ===

impl Home {
    /// What those of all versions lie in: no workload may touch it.
    pub const OF_ALL_VERSIONS: &str = "/run/palisade";

    /// The directory of this build's ABI version, made where it is not there (only root can read it).
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn system() -> Result<Self, HomeError> {
        Self::of_version(ABI_VERSION)
    }

    /// That of an ABI version.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn of_version(version: u32) -> Result<Self, HomeError> {
        Self::at(&Path::new(Self::OF_ALL_VERSIONS).join(format!("v{version}")))
    }

    /// Another place, for tests.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn at(root: &Path) -> Result<Self, HomeError> {
        let home = Self { root: root.to_owned() };
        for directory in [root.to_owned(), home.runs(), home.legends(), home.events()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|source| HomeError { act: "make", path: directory, source })?;
        }
        Ok(home)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the lock, waiting for whoever has it. Nobody keeps it longer than loading the programs takes (seconds).
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn lock(&self) -> Result<Locked, HomeError> {
        let path = self.root.join("lock");
        let file = open_lock(&path)?;
        match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)) {
            Ok(()) => Ok(Locked { _file: file }),
            Err(e) => Err(HomeError { act: "lock", path, source: e.into() }),
        }
    }

    /// Takes the right to read the ring of events, if nobody has it.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn try_reader(&self) -> Result<Option<File>, HomeError> {
        let path = self.root.join("reader.lock");
        let file = open_lock(&path)?;
        Ok(try_lock(&file, &path)?.then_some(file))
    }

    /// A table id that no table on this boot has had. Call it with the lock held.
    ///
    /// # Errors
    /// If the counter cannot be read or written, or is used up.
    pub fn next_table_id(&self, _locked: &Locked) -> Result<u32, HomeError> {
        let path = self.root.join("state.json");
        let next = match self.read::<State>(&path) {
            Ok(state) => state.next_table_id,
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => first_table_id(),
            Err(e) => return Err(e),
        };
        let following = next.checked_add(1).ok_or_else(|| HomeError {
            act: "count further in",
            path: path.clone(),
            source: io::Error::other("table ids are used up until the next boot"),
        })?;
        self.write(&path, &State { next_table_id: following })?;
        Ok(next)
    }

    /// Joins: from now on the run counts as living until the value is dropped or its process ends.
    ///
    /// # Errors
    /// If its lock file cannot be made, or the id is taken.
    pub fn join(&self, _locked: &Locked, id: &str) -> Result<Membership, HomeError> {
        let path = self.lock_of(id);
        let lock = open_lock(&path)?;
        if !try_lock(&lock, &path)? {
            return Err(HomeError { act: "join as", path, source: io::ErrorKind::AlreadyExists.into() });
        }
        Ok(Membership { id: id.to_owned(), _lock: lock })
    }

    /// Writes what a run has set up, or is about to.
    ///
    /// # Errors
    /// If it cannot be written; the old record is kept then.
    pub fn record(&self, record: &RunRecord) -> Result<(), HomeError> {
        self.write(&self.record_of(&record.id), record)
    }

    /// What the run of a label has set up, if it is there.
    #[must_use]
    pub fn run_of(&self, label: u32) -> Option<RunRecord> {
        let records = self.ids().ok()?.into_iter().filter_map(|id| self.read::<RunRecord>(&self.record_of(&id)).ok());
        records.into_iter().find(|record| record.label == label)
    }

    /// What the entry of an id says, if it is there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record_of_id(&self, id: &str) -> Result<Option<RunRecord>, HomeError> {
        match self.read(&self.record_of(id)) {
            Ok(record) => Ok(Some(record)),
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Takes a run's entry away.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn forget(&self, id: &str) -> Result<(), HomeError> {
        remove(&self.record_of(id))?;
        remove(&self.lock_of(id))
    }

    /// The runs whose palisade is gone, with what they had set up (`None`: it died before it set up anything). Call it
    /// with the lock held, which keeps new palisades from taking an entry meanwhile.
    ///
    /// # Errors
    /// If the entries cannot be read.
    pub fn abandoned(&self, _locked: &Locked) -> Result<Vec<(String, Option<RunRecord>)>, HomeError> {
        let mut abandoned = Vec::new();
        for id in self.ids()? {
            let path = self.lock_of(&id);
            let file = open_lock(&path)?;
            if !try_lock(&file, &path)? {
                continue;
            }
            let record = self.record_of_id(&id)?;
            abandoned.push((id, record));
        }
        Ok(abandoned)
    }

    /// Whether any run, living or abandoned, still has an entry.
    ///
    /// # Errors
    /// If the entries cannot be read.
    pub fn is_used(&self, _locked: &Locked) -> Result<bool, HomeError> {
        Ok(!self.ids()?.is_empty())
    }

    /// Whether a palisade lives that has an entry.
    ///
    /// # Errors
    /// If the entries cannot be read.
    pub fn is_tended(&self, locked: &Locked) -> Result<bool, HomeError> {
        Ok(self.ids()?.len() > self.abandoned(locked)?.len())
    }

    /// Takes the whole directory away, once nothing in the kernel belongs to it.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(self, _locked: Locked) -> Result<(), HomeError> {
        let Self { root } = self;
        fs::remove_dir_all(&root).map_err(|source| HomeError { act: "remove", path: root, source })
    }

    /// Keeps what the rule codes of a table stand for.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_legend(&self, table_id: u32, legend: &impl Serialize) -> Result<(), HomeError> {
        self.write(&self.legend_of(table_id), legend)
    }

    /// What the rule codes of a table stand for.
    ///
    /// # Errors
    /// If there is no such legend or it cannot be read.
    pub fn legend<T: DeserializeOwned>(&self, table_id: u32) -> Result<T, HomeError> {
        self.read(&self.legend_of(table_id))
    }

    /// Lets go of a legend, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn drop_legend(&self, table_id: u32) -> Result<(), HomeError> {
        remove(&self.legend_of(table_id))
    }

    /// Where the run of a label listens for its events.
    #[must_use]
    pub fn socket_of(&self, label: u32) -> PathBuf {
        self.events().join(label.to_string())
    }

    /// Where the agent listens for the events of all its workloads.
    #[must_use]
    pub fn socket_of_agent(&self) -> PathBuf {
        self.events().join("agent")
    }

    /// Has the events of a label sent to the agent.
    ///
    /// # Errors
    /// If the link cannot be made.
    pub fn send_to_agent(&self, label: u32) -> Result<(), HomeError> {
        let path = self.socket_of(label);
        remove(&path)?;
        std::os::unix::fs::symlink("agent", &path).map_err(|source| HomeError { act: "make", path, source })
    }

    /// Has the events of a label sent to nobody.
    ///
    /// # Errors
    /// If the link cannot be removed.
    pub fn send_to_nobody(&self, label: u32) -> Result<(), HomeError> {
        remove(&self.socket_of(label))
    }

    fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    fn legends(&self) -> PathBuf {
        self.root.join("legends")
    }

    fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        self.runs().join(format!("{id}.lock"))
    }

    fn record_of(&self, id: &str) -> PathBuf {
        self.runs().join(format!("{id}.json"))
    }

    fn legend_of(&self, table_id: u32) -> PathBuf {
        self.legends().join(format!("{table_id}.json"))
    }

    fn ids(&self) -> Result<Vec<String>, HomeError> {
        let runs = self.runs();
        let failed = |source| HomeError { act: "list", path: runs.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&runs).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.strip_suffix(".lock")).map(str::to_owned));
        }
        Ok(ids)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<T, HomeError> {
        let failed = |source| HomeError { act: "read", path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))
    }

    /// Writes beside and renames: a reader sees the old or the new, and so does whoever comes after a crash.
    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), HomeError> {
        let failed = |source| HomeError { act: "write", path: path.to_owned(), source };
        let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        let beside = path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        file.and_then(|mut file| file.write_all(&bytes)).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)
    }
}

/// The first id of a boot. Where the counter is lost while tables live on (someone removed the directory), counting
/// goes on above all ids given so far, as long as fewer than 256 a second were: seconds since boot times 256 fits 32
/// bits for 194 days.
fn first_table_id() -> u32 {
    let seconds = u32::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0);
    seconds.wrapping_mul(256).max(1)
}

fn open_lock(path: &Path) -> Result<File, HomeError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|source| HomeError { act: "open", path: path.to_owned(), source })
}

fn try_lock(file: &File, path: &Path) -> Result<bool, HomeError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(HomeError { act: "lock", path: path.to_owned(), source: e.into() }),
    }
}

fn remove(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(HomeError { act: "remove", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(&directory.path().join("palisade")).unwrap();
        (directory, home)
    }

    #[test]
    fn table_ids_are_never_given_twice() {
        let (_directory, home) = mk_home();
        let mut last = 0;
        for _ in 0..10 {
            let locked = home.lock().unwrap();
            let next = home.next_table_id(&locked).unwrap();
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_run_is_abandoned_when_its_lock_is_free() {
        let (_directory, home) = mk_home();
        let record = RunRecord {
            id: "a".to_owned(),
            pid: 1,
            cgroup: "/sys/fs/cgroup/palisade/run-a".into(),
            cgroup_id: 7,
            label: 3,
            tables: vec![9],
            foreign: false,
        };
        let locked = home.lock().unwrap();
        let membership = home.join(&locked, "a").unwrap();
        home.record(&record).unwrap();
        assert!(home.join(&locked, "a").is_err(), "the id is taken");
        assert_eq!(home.abandoned(&locked).unwrap(), vec![]);
        assert!(home.is_tended(&locked).unwrap());
        drop(membership);
        assert_eq!(home.abandoned(&locked).unwrap(), vec![("a".to_owned(), Some(record))]);
        assert!(home.is_used(&locked).unwrap());
        assert!(!home.is_tended(&locked).unwrap());
        home.forget("a").unwrap();
        assert!(!home.is_used(&locked).unwrap());
    }

    #[test]
    fn one_reads_the_ring_at_a_time() {
        let (_directory, home) = mk_home();
        let first = home.try_reader().unwrap();
        assert!(first.is_some());
        assert!(home.try_reader().unwrap().is_none());
        drop(first);
        assert!(home.try_reader().unwrap().is_some());
    }
}
