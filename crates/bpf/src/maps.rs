//! The maps that user space reads and writes, each with its own type.

mod tables;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use thiserror::Error;

use crate::abi::{CGROUP_HINTS, Counter, LABELS, LabelWord, SIZES};

pub use tables::{Installed, TableImage, Tables};

/// All of them.
#[derive(Debug)]
pub struct Maps {
    /// Label to table.
    pub labels: Labels,
    /// Cgroup to label.
    pub cgroups: Cgroups,
    /// Task to label.
    pub tasks: Tasks,
    /// The tables.
    pub tables: Tables,
    /// What the iterator is told.
    pub iterated: Iterated,
    /// Counters.
    pub counters: Counters,
    /// What is Palisade's own.
    pub own: Own,
    /// The ring of events.
    pub events: MapHandle,
}

/// `pal_labels`: what a label stands for.
#[derive(Debug)]
pub struct Labels(MapHandle);

/// `pal_cgroups`: the label of a cgroup, by its id. Children inherit it in the kernel.
#[derive(Debug)]
pub struct Cgroups {
    labels: MapHandle,
    /// `pal_cgroup_hints`: which ids the kernel looks up at all.
    hints: MapHandle,
}

/// `pal_tasks`: the label of each labelled thread, by its id in the initial pid namespace. Written by the kernel alone.
#[derive(Debug)]
pub struct Tasks(MapHandle);

/// `pal_iter`: which cgroup's tasks the iterator labels.
#[derive(Debug)]
pub struct Iterated(MapHandle);

/// `pal_counters`, and `pal_judged`, which is kept apart.
#[derive(Debug)]
pub struct Counters {
    of_cpu: MapHandle,
    judged: MapHandle,
}

/// `pal_own` and `pal_links`: what no workload may touch. Maps and programs are told by their names.
#[derive(Debug)]
pub struct Own {
    directories: MapHandle,
    links: MapHandle,
}

/// `PAL_OWN_*`: a directory of Palisade's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnDirectory {
    /// Of the pins.
    Pins,
    /// Of the state.
    Home,
}

impl OwnDirectory {
    /// `PAL_OWN`.
    const COUNT: usize = 2;
}

/// Why a map could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// It is not there.
    #[error("the BPF object has no map {0}")]
    NotThere(String),
    /// It is there, but not as `abi.h` says.
    #[error("map {map} has {what} {is} where {should} was expected")]
    Shape {
        /// Its name.
        map: String,
        /// What differs.
        what: &'static str,
        /// What it is.
        is: u32,
        /// What it should be.
        should: u32,
    },
    /// The kernel refused an operation.
    #[error("cannot {act} in map {map}: {source}")]
    Access {
        /// Its name.
        map: String,
        /// What was tried.
        act: &'static str,
        /// The kernel's answer.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A table larger than the largest size class, or than the class it claims.
    #[error("a table of {bytes} bytes does not fit its size class of {limit} bytes")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes of a value.
        limit: usize,
    },
    /// A directory of Palisade's could not be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    File {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The value of a new table could not be mapped.
    #[error("cannot map the value of a new table: {0}")]
    Mmap(#[source] std::io::Error),
}

// === impl Maps ===

impl Maps {
    /// The name of the ring of events.
    pub(crate) const EVENTS: &'static str = "pal_events";

    /// The names of all maps of this type, for pinning.
    pub(crate) const NAMES: [&'static str; 14] = [
        Own::DIRECTORIES,
        Own::LINKS,
        Labels::NAME,
        Cgroups::NAME,
        Cgroups::HINTS,
        Tasks::NAME,
        Tables::NAMES[0],
        Tables::NAMES[1],
        Tables::NAMES[2],
        Tables::NAMES[3],
        Iterated::NAME,
        Counters::NAME,
        Counters::JUDGED,
        Self::EVENTS,
    ];

    /// Takes the maps by name from wherever they are and checks their shapes.
    pub(crate) fn from_fn(
        mut open: impl FnMut(&'static str) -> Result<Option<MapHandle>, libbpf_rs::Error>,
    ) -> Result<Self, MapError> {
        let mut get = |name: &'static str| {
            let map = open(name).map_err(|source| MapError::Access { map: name.to_owned(), act: "open it", source })?;
            map.ok_or_else(|| MapError::NotThere(name.to_owned()))
        };
        let labels = get(Labels::NAME)?;
        shape(&labels, "an entry of bytes", labels.value_size(), 8)?;
        shape(&labels, "a number of entries", labels.max_entries(), LABELS)?;
        let cgroups = get(Cgroups::NAME)?;
        shape(&cgroups, "a key of bytes", cgroups.key_size(), 8)?;
        shape(&cgroups, "an entry of bytes", cgroups.value_size(), 4)?;
        let hints = get(Cgroups::HINTS)?;
        shape(&hints, "an entry of bytes", hints.value_size(), 4)?;
        shape(&hints, "a number of entries", hints.max_entries(), CGROUP_HINTS)?;
        let tasks = get(Tasks::NAME)?;
        shape(&tasks, "a key of bytes", tasks.key_size(), 4)?;
        let iterated = get(Iterated::NAME)?;
        shape(&iterated, "an entry of bytes", iterated.value_size(), 8)?;
        let counters = get(Counters::NAME)?;
        shape(&counters, "an entry of bytes", counters.value_size(), 8)?;
        let judged = get(Counters::JUDGED)?;
        shape(&judged, "an entry of bytes", judged.value_size(), 8)?;
        let mut tables = Vec::with_capacity(SIZES);
        for name in Tables::NAMES {
            tables.push(get(name)?);
        }
        Ok(Self {
            labels: Labels(labels),
            cgroups: Cgroups { labels: cgroups, hints },
            tasks: Tasks(tasks),
            tables: Tables::new(tables),
            iterated: Iterated(iterated),
            counters: Counters { of_cpu: counters, judged },
            own: Own { directories: get(Own::DIRECTORIES)?, links: get(Own::LINKS)? },
            events: get(Self::EVENTS)?,
        })
    }

    /// The maps by name, for pinning.
    pub(crate) fn handle(&self, name: &str) -> Option<&MapHandle> {
        let Self { labels, cgroups, tasks, tables, iterated, counters, own, events } = self;
        let Cgroups { labels: cgroups, hints } = cgroups;
        let Counters { of_cpu, judged } = counters;
        let Own { directories, links } = own;
        let all = [&labels.0, cgroups, hints, &tasks.0, &iterated.0, of_cpu, judged, directories, links, events];
        all.into_iter().chain(tables.handles()).find(|map| map.name() == name)
    }
}

// === impl Labels ===

impl Labels {
    const NAME: &'static str = "pal_labels";

    /// What a label stands for.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no such label.
    pub fn get(&self, label: u32) -> Result<LabelWord, MapError> {
        let mut bytes = [0; LabelWord::BYTES];
        let there = self.0.lookup_into(&label.to_ne_bytes(), &mut bytes, MapFlags::ANY);
        match there.map_err(|source| failed(&self.0, "read a label", source))? {
            true => Ok(LabelWord::from_bytes(bytes)),
            false => Err(MapError::NotThere(format!("{}[{label}]", Self::NAME))),
        }
    }

    /// Sets what a label stands for.
    ///
    /// # Assumptions
    /// A label in use changes at most its size class and flags, one byte each: the kernel copies the word, not
    /// necessarily at once, and no mixture of the old and the new bytes may be wrong.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no such label.
    pub fn set(&self, label: u32, word: LabelWord) -> Result<(), MapError> {
        let result = self.0.update(&label.to_ne_bytes(), &word.to_bytes(), MapFlags::ANY);
        result.map_err(|source| failed(&self.0, "write a label", source))
    }
}

// === impl Cgroups ===

impl Cgroups {
    const NAME: &'static str = "pal_cgroups";
    const HINTS: &'static str = "pal_cgroup_hints";

    /// The label of a cgroup.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn get(&self, cgroup: u64) -> Result<Option<u32>, MapError> {
        let found = self.labels.lookup(&cgroup.to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(|source| failed(&self.labels, "read the label of a cgroup", source))?;
        Ok(found.and_then(|bytes| first_u32(&bytes)))
    }

    /// Labels a cgroup: what enters it, and every cgroup made in it, is judged by that label.
    ///
    /// # Errors
    /// If the kernel refuses (E2BIG: the map is full).
    pub fn set(&self, cgroup: u64, label: u32) -> Result<(), MapError> {
        let bucket = u32::try_from(cgroup % u64::from(CGROUP_HINTS)).unwrap_or(0);
        let hinted = self.hints.update(&bucket.to_ne_bytes(), &1_u32.to_ne_bytes(), MapFlags::ANY);
        hinted.map_err(|source| failed(&self.hints, "announce a labelled cgroup", source))?;
        let result = self.labels.update(&cgroup.to_ne_bytes(), &label.to_ne_bytes(), MapFlags::ANY);
        result.map_err(|source| failed(&self.labels, "label a cgroup", source))
    }

    /// Takes the label from every cgroup that carries it, those that inherited it included.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove_label(&self, label: u32) -> Result<(), MapError> {
        let keys: Vec<Vec<u8>> = self.labels.keys().collect();
        for key in keys {
            let found = self.labels.lookup(&key, MapFlags::ANY);
            let found = found.map_err(|source| failed(&self.labels, "read the label of a cgroup", source))?;
            if found.and_then(|bytes| first_u32(&bytes)) == Some(label) {
                gone_is_fine(self.labels.delete(&key)).map_err(|source| failed(&self.labels, "unlabel a cgroup", source))?;
            }
        }
        Ok(())
    }
}

// === impl Tasks ===

impl Tasks {
    pub(crate) const NAME: &'static str = "pal_tasks";
    /// Entries taken by one system call.
    const BATCH: u32 = 1024;

    /// The label of a thread, by its id in the initial pid namespace; `None` if it has none.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn label(&self, tid: u32) -> Result<Option<u32>, MapError> {
        let found = self.0.lookup(&tid.to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(|source| failed(&self.0, "read the label of a task", source))?;
        Ok(found.and_then(|bytes| first_u32(&bytes)).filter(|label| *label != 0))
    }

    /// The map of whatever ABI version: in each its keys are thread ids, and what it holds else is not looked at.
    pub(crate) fn of_any_version(map: MapHandle) -> Result<Self, MapError> {
        shape(&map, "a key of bytes", map.key_size(), 4)?;
        Ok(Self(map))
    }

    /// All threads that carry a label.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// Minimum kernel: 5.6, as [`Self::holders`].
    pub fn all(&self) -> Result<Vec<u32>, MapError> {
        let entries = self.0.lookup_batch(Self::BATCH, MapFlags::ANY, MapFlags::ANY);
        let entries = entries.map_err(|source| failed(&self.0, "list labelled tasks", source))?;
        Ok(entries.filter_map(|(key, _)| first_u32(&key)).collect())
    }

    /// The threads that carry a label. A thread made meanwhile may be missed, one that ended meanwhile be named.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// Minimum kernel: 5.6 (batches, which unlike single steps cannot go in circles while entries come and go).
    pub fn holders(&self, label: u32) -> Result<Vec<u32>, MapError> {
        let entries = self.0.lookup_batch(Self::BATCH, MapFlags::ANY, MapFlags::ANY);
        let entries = entries.map_err(|source| failed(&self.0, "list labelled tasks", source))?;
        let held = entries.filter(|(_, value)| first_u32(value) == Some(label));
        Ok(held.filter_map(|(key, _)| first_u32(&key)).collect())
    }
}

// === impl Iterated ===

impl Iterated {
    const NAME: &'static str = "pal_iter";

    /// Tells the iterator which cgroup's tasks it is to label.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set(&self, cgroup: u64) -> Result<(), MapError> {
        let result = self.0.update(&0_u32.to_ne_bytes(), &cgroup.to_ne_bytes(), MapFlags::ANY);
        result.map_err(|source| failed(&self.0, "name the cgroup for the iterator", source))
    }
}

// === impl Own ===

impl Own {
    const DIRECTORIES: &'static str = "pal_own";
    const LINKS: &'static str = "pal_links";
    /// `struct pal_own`, of which `struct pal_owns` has one for each directory.
    const BYTES: usize = 16;

    /// Notes a directory: from now on no labelled task touches it, or what lies in it.
    ///
    /// # Errors
    /// If it is not there, or the kernel refuses.
    pub fn note(&self, which: OwnDirectory, path: &Path) -> Result<(), MapError> {
        let at = fs::metadata(path).map_err(|source| MapError::File { path: path.to_owned(), source })?;
        // stat's numbering of devices, and the kernel's own.
        let dev = rustix::fs::major(at.dev()) << 20 | rustix::fs::minor(at.dev());
        let key = 0_u32.to_ne_bytes();
        let found = self.directories.lookup(&key, MapFlags::ANY);
        let found = found.map_err(|source| failed(&self.directories, "read the directories", source))?;
        let mut all = found.unwrap_or_default();
        all.resize(OwnDirectory::COUNT * Self::BYTES, 0);
        let start = Self::BYTES
            * match which {
                OwnDirectory::Pins => 0,
                OwnDirectory::Home => 1,
            };
        all[start..start + 8].copy_from_slice(&at.ino().to_ne_bytes());
        all[start + 8..start + 12].copy_from_slice(&dev.to_ne_bytes());
        let result = self.directories.update(&key, &all, MapFlags::ANY);
        result.map_err(|source| failed(&self.directories, "note a directory", source))
    }

    /// Notes a link by its id.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn note_link(&self, id: u32) -> Result<(), MapError> {
        let result = self.links.update(&id.to_ne_bytes(), &1_u32.to_ne_bytes(), MapFlags::ANY);
        result.map_err(|source| failed(&self.links, "note a link", source))
    }
}

// === impl Counters ===

impl Counters {
    const NAME: &'static str = "pal_counters";
    const JUDGED: &'static str = "pal_judged";

    /// A counter, summed over all CPUs. It only ever grows.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn get(&self, counter: Counter) -> Result<u64, MapError> {
        if counter == Counter::Judged {
            return self.judged();
        }
        let found = self.of_cpu.lookup_percpu(&counter.number().to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(|source| failed(&self.of_cpu, "read a counter", source))?;
        let cpus = found.unwrap_or_default();
        Ok(cpus.iter().filter_map(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?))).sum())
    }

    fn judged(&self) -> Result<u64, MapError> {
        let mut sum = 0;
        for slot in 0..self.judged.max_entries() {
            let found = self.judged.lookup(&slot.to_ne_bytes(), MapFlags::ANY);
            let found = found.map_err(|source| failed(&self.judged, "read a counter", source))?.unwrap_or_default();
            sum += found.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        }
        Ok(sum)
    }

    /// All of them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn all(&self) -> Result<Vec<(Counter, u64)>, MapError> {
        Counter::ALL.into_iter().map(|counter| Ok((counter, self.get(counter)?))).collect()
    }
}

fn shape(map: &MapHandle, what: &'static str, is: u32, should: u32) -> Result<(), MapError> {
    let map = map.name().to_string_lossy().into_owned();
    if is == should { Ok(()) } else { Err(MapError::Shape { map, what, is, should }) }
}

fn failed(map: &MapHandle, act: &'static str, source: libbpf_rs::Error) -> MapError {
    MapError::Access { map: map.name().to_string_lossy().into_owned(), act, source }
}

fn gone_is_fine(result: Result<(), libbpf_rs::Error>) -> Result<(), libbpf_rs::Error> {
    match result {
        Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn first_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Keeps the trait's methods in reach of the submodule.
fn fd(map: &MapHandle) -> BorrowedFd<'_> {
    map.as_fd()
}
