//! The BPF back end: programs shared by every palisade of the machine, a label and a table for each workload.
//!
//! ```text
//! open:     lock; clean up after palisades that were killed; adopt the pinned programs or load and pin them; join
//! protect:  legend on disk -> table into its slot -> label -> cgroup
//! swap:     legend on disk -> new table into a free slot -> label (one step) -> old slot emptied once nobody reads it
//! release:  cgroups unlabelled -> no task holds the label? -> label, table, legends freed -> the last one detaches
//! ```
//! A label has two slots to itself, `2 * (label - 1)` and the next, in the array of every size class. A new table of the
//! same class goes into the other slot, one of another class into the slot of the same number. So each swap changes one
//! byte of the label's word, and no task can read a mixture of the old place and the new, however the kernel copies it.

mod foreign;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use palisade_bpf::abi::{ABI_VERSION, LABEL_MAX, LabelWord, SLOTS_PER_LABEL, SizeClass};
use palisade_bpf::cache;
use palisade_bpf::load::{LoadError, LoadOptions, load};
use palisade_bpf::maps::{MapError, Maps, OwnDirectory};
use palisade_bpf::pins::{PinError, Pins};
use palisade_bpf::probe;
use palisade_ruleset::Mode;
use thiserror::Error;

use super::table::Table;
use crate::cgroup::{Cgroup, CgroupError};
use crate::home::{Home, HomeError, Locked, Membership, RunRecord};

pub use foreign::detach_all;

/// `PROC_PID_INIT_INO`.
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// The newest tables of a workload whose legends are kept, for events that have not been read yet. At one change of
/// policies a second, a minute's.
const TABLES_TOLD: usize = 64;

/// The programs, attached, and this run's part in them.
#[derive(Debug)]
pub struct BpfEnforcer {
    home: Home,
    pins: Pins,
    maps: Arc<Maps>,
    membership: Membership,
    why_no_cache: Option<&'static str>,
    cache: bool,
}

/// How to open the back end; all but the default is for tests.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The ABI version whose pins and directory are used: another than this build's stands for another build.
    pub version: u32,
    /// How to load the programs, where none are pinned.
    pub load: LoadOptions,
}

/// A workload under protection. Dropping it changes nothing in the kernel: [`BpfEnforcer::release`] does, or the next
/// palisade once the workload is gone.
#[derive(Debug)]
pub struct ProtectedWorkload {
    /// Its label.
    pub label: u32,
    cgroup: Cgroup,
    place: Place,
    options: LabelOptions,
    record: RunRecord,
    /// Its own entry, where it is one of many of this palisade.
    _membership: Option<Membership>,
}

/// What a label's word says beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LabelOptions {
    audit: bool,
    cache: bool,
}

/// Where a table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    size_class: SizeClass,
    slot: u16,
}

/// The entry that a workload is recorded under.
struct NewEntry {
    id: String,
    membership: Option<Membership>,
    foreign: bool,
}

/// What remains of a workload after its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nothing.
    Entirely,
    /// Processes that left its cgroup but keep its label, and so stay protected; the next palisade looks again.
    StillHeld,
}

/// Why the back end is not used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The programs do not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They are attached and never called.
    #[error("the LSM programs are attached but never called: {0}")]
    NeverCalled(&'static str),
    /// This process is itself part of a protected workload, whose label cannot be shed.
    #[error("this process runs inside a workload that Palisade already protects; its label cannot be replaced")]
    Nested,
    /// Something shared could not be used.
    #[error(transparent)]
    Shared(#[from] BpfError),
}

/// Why a workload is not protected, or not released.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BpfError {
    /// All labels are in use.
    #[error("{LABEL_MAX} workloads are protected already: no label is free")]
    NoLabel,
    /// A palisade lives.
    #[error("a palisade runs (`palisade agent` or `palisade run`): end it first")]
    Tended,
    /// `/run/palisade` cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A map cannot be used.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Pins cannot be used.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A cgroup cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

// === impl BpfError ===

impl BpfError {
    /// Whether this process may not: it is itself a workload, or not root. Another back end may serve then.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Pin(error) => error.is_denied(),
            Self::Home(error) => error.source.kind() == io::ErrorKind::PermissionDenied,
            Self::NoLabel | Self::Tended | Self::Map(_) | Self::Cgroup(_) => false,
        }
    }
}

// === impl Opening ===

impl Default for Opening {
    fn default() -> Self {
        Self { version: ABI_VERSION, load: LoadOptions::default() }
    }
}

// === impl BpfEnforcer ===

impl BpfEnforcer {
    /// Adopts the programs that another palisade pinned, or loads and pins them, and joins as `id`.
    ///
    /// # Guarantees
    /// What runs left behind whose palisade was killed and whose processes are gone is freed first. The programs are
    /// seen to be called before this returns. On error nothing new stays attached. What another ABI version has
    /// attached goes on judging its own workloads; it is detached as [`Self::protect`] says.
    ///
    /// # Errors
    /// See [`OpenError`]. All but [`OpenError::Shared`] say that another back end should be tried.
    pub fn open(id: &str) -> Result<Self, OpenError> {
        Self::open_as(id, Opening::default())
    }

    /// The same, otherwise than usual.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(id: &str, opening: Opening) -> Result<Self, OpenError> {
        let Opening { version, load: options } = opening;
        if !rustix::process::geteuid().is_root() {
            return Err(LoadError::NotPrivileged.into());
        }
        let home = Home::of_version(version).map_err(BpfError::from)?;
        let pins = Pins::of_version(version);
        let locked = home.lock().map_err(BpfError::from)?;
        pins.clean().map_err(BpfError::from)?;
        let adopted = pins.adopt().map_err(BpfError::from)?;
        if let Some(maps) = &adopted
            && is_labelled(maps)?
        {
            return Err(OpenError::Nested);
        }
        clean_up(&home, &locked, adopted.as_ref())?;
        let maps = match adopted {
            Some(maps) => maps,
            None => pins.install(load(options)?).map_err(BpfError::from)?,
        };
        for (which, path) in [(OwnDirectory::Pins, pins.root()), (OwnDirectory::Home, Path::new(Home::OF_ALL_VERSIONS))] {
            maps.own.note(which, path).map_err(BpfError::from)?;
        }
        let programs = pins.programs().map_err(BpfError::from)?;
        if let Some(why) = why_never_called(&programs) {
            detach_if_unused(&home, &locked, &pins)?;
            return Err(OpenError::NeverCalled(why));
        }
        let why_no_cache = cache::why_unused(programs.iter().map(|(name, _)| name.as_str()));
        let membership = home.join(&locked, id).map_err(BpfError::from)?;
        Ok(Self { home, pins, maps: Arc::new(maps), membership, why_no_cache, cache: true })
    }

    /// Whether workloads that are protected from now on may use the cache of directories. Where it cannot be right they
    /// never do ([`BpfEnforcer::why_no_cache`]).
    pub fn use_cache(&mut self, cache: bool) {
        self.cache = cache;
    }

    /// Why the cache of directories is not used here; `None` if it is.
    #[must_use]
    pub fn why_no_cache(&self) -> Option<&'static str> {
        self.why_no_cache
    }

    /// The pins.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The maps, for the pipeline.
    #[must_use]
    pub fn maps(&self) -> &Arc<Maps> {
        &self.maps
    }

    /// `/run/palisade`.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// An id for the next table to be compiled.
    ///
    /// # Errors
    /// If the counter cannot be used.
    pub fn next_table_id(&self) -> Result<u32, HomeError> {
        let locked = self.home.lock()?;
        self.home.next_table_id(&locked)
    }

    /// Puts a cgroup, and whatever runs in it, under a table.
    ///
    /// # Guarantees
    /// When it returns, every process in the cgroup is judged. On error the cgroup has no label.
    ///
    /// Programs of another ABI version are detached after that if no palisade of that version lives and every thread
    /// that it labelled has a label of this version or has ended: an upgrade leaves no moment in which neither judges.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn protect(&mut self, cgroup: Cgroup, table: &Table, mode: Mode) -> Result<ProtectedWorkload, BpfError> {
        let locked = self.home.lock()?;
        let id = self.membership.id.clone();
        self.protect_as(&locked, NewEntry { id, membership: None, foreign: false }, cgroup, table, mode)
    }

    fn protect_as(
        &mut self,
        _locked: &Locked,
        entry: NewEntry,
        cgroup: Cgroup,
        table: &Table,
        mode: Mode,
    ) -> Result<ProtectedWorkload, BpfError> {
        let NewEntry { id, membership, foreign } = entry;
        let label = self.free_label()?;
        let place = Place { size_class: table.image.size_class(), slot: first_slot(label) };
        let record = RunRecord {
            id,
            pid: std::process::id(),
            cgroup: cgroup.directory().to_owned(),
            cgroup_id: cgroup.id(),
            label,
            tables: vec![table.id],
            foreign,
        };
        self.home.record(&record)?; // before anything that it must tell how to undo
        self.home.keep_legend(table.id, &table.legend)?;
        let options = LabelOptions { audit: mode == Mode::Audit, cache: self.cache && self.why_no_cache.is_none() };
        let workload = ProtectedWorkload { label, cgroup, place, options, record, _membership: membership };
        let done = self.install(&workload, table);
        if done.is_err() {
            // The record is kept, so what this fails to undo is undone by the next palisade.
            drop(free(&self.home, &self.maps, &workload.record));
        } else {
            // What cannot be retired yet, for whatever reason, goes on judging; `probe` names it.
            drop(retire_others(&self.pins, &self.maps));
        }
        done.map(|()| workload)
    }

    /// Replaces the table of a workload by a newer one, in one step.
    ///
    /// # Guarantees
    /// Every access is judged by the old table or by the new one, whole. On error the old one stays.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn swap(&mut self, workload: &mut ProtectedWorkload, table: &Table) -> Result<(), BpfError> {
        let _locked = self.home.lock()?;
        let mut record = workload.record.clone();
        record.tables.push(table.id);
        let forgotten = record.tables.len().saturating_sub(TABLES_TOLD);
        let forgotten: Vec<u32> = record.tables.drain(..forgotten).collect();
        self.home.record(&record)?;
        workload.record = record;
        for old in forgotten {
            self.home.drop_legend(old)?;
        }
        self.home.keep_legend(table.id, &table.legend)?;
        let (old, new) = (workload.place, workload.place.next(workload.label, table.image.size_class()));
        let installed = self.maps.tables.install(new.slot, &table.image)?;
        self.maps.labels.set(workload.label, new.word(workload.options))?;
        workload.place = new;
        self.maps.tables.settle(&installed)?;
        self.maps.tables.remove(old.size_class, old.slot)?;
        Ok(())
    }

    /// Labels once more what lies below a workload's cgroup: after the kernel could not label a new cgroup there.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn label_again(&self, workload: &ProtectedWorkload) -> Result<(), BpfError> {
        let _locked = self.home.lock()?;
        self.label(&workload.cgroup, workload.label)
    }

    /// Lets a workload go whose processes are gone, and leaves; the last one to leave detaches the programs.
    ///
    /// # Guarantees
    /// A label that a process still holds is not freed, and the programs stay: nothing that lives loses its protection.
    ///
    /// # Errors
    /// See [`BpfError`]; the next palisade tries again.
    pub fn release(self, workload: ProtectedWorkload) -> Result<Released, BpfError> {
        let Self { home, pins, maps, membership, why_no_cache: _, cache: _ } = self;
        let locked = home.lock()?;
        let released = let_go(&home, &maps, &workload)?;
        drop(membership);
        detach_if_unused(&home, &locked, &pins)?;
        Ok(released)
    }

    /// Leaves without ever having protected anything.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn leave(self) -> Result<(), BpfError> {
        let Self { home, pins, maps: _, membership, why_no_cache: _, cache: _ } = self;
        let locked = home.lock()?;
        home.forget(&membership.id)?;
        drop(membership);
        detach_if_unused(&home, &locked, &pins)?;
        Ok(())
    }

    fn install(&self, workload: &ProtectedWorkload, table: &Table) -> Result<(), BpfError> {
        let ProtectedWorkload { label, cgroup, place, options, record: _, _membership: _ } = workload;
        self.maps.tables.install(place.slot, &table.image)?;
        self.maps.labels.set(*label, place.word(*options))?;
        self.label(cgroup, *label)
    }

    fn label(&self, cgroup: &Cgroup, label: u32) -> Result<(), BpfError> {
        // Cgroups made from now on inherit the label in the kernel; those that are there do not.
        for id in cgroup.ids()? {
            self.maps.cgroups.set(id, label)?;
        }
        if cgroup.is_populated()? {
            self.pins.label_running_tasks(&self.maps, cgroup.id())?;
        }
        Ok(())
    }

    fn free_label(&self) -> Result<u32, BpfError> {
        for label in 1..=LABEL_MAX {
            if !self.maps.labels.get(label)?.live {
                return Ok(label);
            }
        }
        Err(BpfError::NoLabel)
    }
}

/// Whether this process carries a label. Thread ids are those of the initial pid namespace: in another one the answer is
/// no, and what then follows is refused by the kernel programs (`self`).
fn is_labelled(maps: &Maps) -> Result<bool, BpfError> {
    let initial = fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.ino() == INITIAL_PID_NAMESPACE);
    Ok(initial && maps.tasks.label(std::process::id())?.is_some())
}

/// Detaches the programs of other ABI versions that judge nothing which these do not judge as well.
fn retire_others(pins: &Pins, maps: &Maps) -> Result<(), BpfError> {
    for other in pins.others()? {
        let home = Home::of_version(other.version())?;
        let locked = home.lock()?;
        if home.is_tended(&locked)? {
            continue;
        }
        let mut taken_over = true;
        for tid in other.labelled_threads()? {
            taken_over &= maps.tasks.label(tid)?.is_some();
        }
        if taken_over {
            other.remove()?;
            home.remove(locked)?;
        }
    }
    Ok(())
}

/// Frees what runs left behind whose palisade is gone, as far as their processes are gone too.
fn clean_up(home: &Home, locked: &Locked, maps: Option<&Maps>) -> Result<(), BpfError> {
    for (id, record) in home.abandoned(locked)? {
        let Some(record) = record else {
            home.forget(&id)?;
            continue;
        };
        let lives = match Cgroup::open(&record.cgroup) {
            // Another cgroup of the same name would have another id.
            // One of somebody else's keeps its label while it is empty, too: processes may enter it again.
            Ok(cgroup) => cgroup.id() == record.cgroup_id && (record.foreign || cgroup.is_populated()?),
            Err(_) => false,
        };
        // Died before it set the label, which may be another's by now.
        let unset = |maps: &Maps| maps.labels.get(record.label).map(|word| !word.live);
        match maps {
            Some(maps) if lives && record.foreign && unset(maps)? => forget(home, &record)?,
            _ if lives => {}
            Some(maps) if !maps.tasks.holders(record.label)?.is_empty() => {}
            Some(maps) => free(home, maps, &record)?,
            None => forget(home, &record)?,
        }
    }
    Ok(())
}

/// Takes from kernel and disk what a record names. Each step may have been done already, or never.
fn free(home: &Home, maps: &Maps, record: &RunRecord) -> Result<(), BpfError> {
    if record.label != 0 {
        maps.cgroups.remove_label(record.label)?;
        maps.labels.set(record.label, LabelWord::default())?;
        for size_class in SizeClass::ALL {
            for slot in slots(record.label) {
                maps.tables.remove(size_class, slot)?;
            }
        }
    }
    forget(home, record)
}

/// Takes from disk and the cgroup tree what a record names.
fn forget(home: &Home, record: &RunRecord) -> Result<(), BpfError> {
    for table in &record.tables {
        home.drop_legend(*table)?;
    }
    match Cgroup::open(&record.cgroup) {
        Ok(cgroup) if cgroup.id() == record.cgroup_id && !record.foreign => cgroup.remove()?,
        Ok(_) | Err(_) => {} // gone already, or another's
    }
    home.forget(&record.id)?;
    Ok(())
}

/// Frees a workload if nothing holds its label.
fn let_go(home: &Home, maps: &Maps, workload: &ProtectedWorkload) -> Result<Released, BpfError> {
    let ProtectedWorkload { record, cgroup, .. } = workload;
    if cgroup.is_populated()? || !maps.tasks.holders(record.label)?.is_empty() {
        return Ok(Released::StillHeld);
    }
    free(home, maps, record)?;
    Ok(Released::Entirely)
}

/// Detaches the programs if no run has an entry.
fn detach_if_unused(home: &Home, locked: &Locked, pins: &Pins) -> Result<(), BpfError> {
    if !home.is_used(locked)? {
        pins.remove()?;
    }
    Ok(())
}

/// Why attached programs are not called; `None` if they are, or if it cannot be told.
fn why_never_called(programs: &[(String, u32)]) -> Option<&'static str> {
    if probe::ftrace_enabled() == Some(false) {
        return Some("kernel.ftrace_enabled is 0, which switches every LSM program off");
    }
    match probe::are_called(programs) {
        Ok(false) if probe::lsms().is_some_and(|lsms| !lsms.iter().any(|name| name == "bpf")) => {
            Some("`bpf` is not among this kernel's LSMs (lsm= on the kernel command line)")
        }
        Ok(false) => Some("an open of a file called none of them"),
        Ok(true) | Err(_) => None,
    }
}

/// The slots of a label, in the array of every size class.
fn slots(label: u32) -> impl Iterator<Item = u16> {
    let first = label.saturating_sub(1) * SLOTS_PER_LABEL;
    // Below TABLE_SLOTS, which is 1024, for every label up to LABEL_MAX.
    (first..first + SLOTS_PER_LABEL).filter_map(|slot| u16::try_from(slot).ok())
}

fn first_slot(label: u32) -> u16 {
    slots(label).next().unwrap_or(u16::MAX)
}

// === impl Place ===

impl Place {
    /// Where the next table of the label goes: a place that is free and differs in one byte of the label's word.
    fn next(self, label: u32, size_class: SizeClass) -> Self {
        let Self { size_class: old, slot } = self;
        if size_class != old {
            return Self { size_class, slot };
        }
        Self { size_class, slot: slots(label).find(|other| *other != slot).unwrap_or(slot) }
    }

    fn word(self, options: LabelOptions) -> LabelWord {
        let Self { size_class, slot } = self;
        let LabelOptions { audit, cache } = options;
        LabelWord { size: size_class.number().into(), slot, audit, live: true, cache }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_swap_changes_one_byte_of_the_word() {
        for label in [1, 2, 128, 129, LABEL_MAX] {
            let mut place = Place { size_class: SizeClass::ALL[0], slot: first_slot(label) };
            for class in [0, 1, 1, 3, 3, 3, 0, 2] {
                let next = place.next(label, SizeClass::ALL[class]);
                let options = LabelOptions { audit: false, cache: true };
                let (before, after) = (place.word(options).to_bytes(), next.word(options).to_bytes());
                assert_eq!(before.iter().zip(after).filter(|(a, b)| **a != *b).count(), 1, "label {label} class {class}");
                assert!(u32::from(next.slot) < palisade_bpf::abi::TABLE_SLOTS);
                place = next;
            }
        }
    }

    #[test]
    fn no_two_labels_share_a_slot() {
        let all: Vec<u16> = (1..=LABEL_MAX).flat_map(slots).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
    }
}
