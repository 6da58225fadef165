//! Watching a cgroup by tracepoints, for kernels that load no LSM programs: `watch.bpf.c`, which denies nothing.
//!
//! The programs belong to the process that loads them and end with it; nothing is pinned. What they see comes as the
//! records that the LSM programs write ([`abi::Event`]), with [`Seen`] in place of a rule.

mod calls;

use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use rustix::process::geteuid;

use crate::abi;
use crate::hooks::KernelHooks;
use crate::load::{Attached, LoadError, attach, fit_programs, open};
use crate::log::Capture;
use crate::maps::MapError;
use crate::ring::{Reader, RingError};
use crate::stats;

/// The compiled object.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/watch.bpf.o"));

/// The program that sees capabilities used; kernels before 6.14 lack its tracepoint.
const CAPABLE: &str = "pal_watch_capable";

/// `PAL_SEEN_*`.
const NAMED: u32 = 1;
const NOFOLLOW_SEEN: u32 = 2;
const CREATED: u32 = 4;
const CALL: u32 = 8;
const SCRIPT: u32 = 16;

/// Places in `pal_tallies`: `PAL_COUNT_EVENTS_LOST`, `PAL_COUNT_NO_SLOT`, `PAL_TALLY_*`.
const EVENTS_LOST: u32 = 1;
const NO_SLOT: u32 = 2;
const UNREADABLE: u32 = 13;
const COMPAT: u32 = 14;
const UNSEEN: u32 = 15;

/// The programs, attached. Dropping it detaches them.
pub struct Watch {
    reader: Reader,
    tallies: MapHandle,
    capabilities: bool,
    // In this order: nothing runs any more when its maps go.
    programs: Vec<Attached>,
    _object: Object,
}

/// What was seen, with what the record says of it beside the access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The access. Its `arguments` hold the name, where there is one.
    pub event: abi::Event,
    /// What the object is.
    pub how: How,
    /// Of an open: the file is new.
    pub created: bool,
}

/// What the object of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The object itself, its path told by the kernel.
    Exact,
    /// The directory where the look-up of `arguments[0]` began.
    Named {
        /// A link at its end leads on.
        follow: bool,
    },
    /// Of an exec that begins: the directory where its name is looked up.
    Call,
    /// Of an exec: what interprets the script that `arguments[0]` names.
    Interpreter,
}

/// What was not told, summed up since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Accesses that found no room in the ring, or none to be looked at.
    pub lost: u64,
    /// Names and addresses that could not be read any more.
    pub unreadable: u64,
    /// System calls of 32 bits.
    pub compat: u64,
    /// Queues of io_uring that were set up: what goes through them is not seen.
    pub queues: u64,
}

// === impl Watch ===

impl Watch {
    /// Loads and attaches the programs, and has them watch the tasks of a cgroup (version 2) and those below it.
    ///
    /// # Errors
    /// See [`LoadError`]. On error nothing stays attached.
    ///
    /// Minimum kernel: 5.17 (`bpf_loop`); tried on 6.1 and later.
    pub fn start(cgroup: u64) -> Result<Self, LoadError> {
        if !geteuid().is_root() {
            return Err(LoadError::NotPrivileged);
        }
        let hooks = KernelHooks::read().ok_or(LoadError::NoBtf)?;
        let capture = Capture::start();
        let mut object = open("palisade-watch", OBJECT, &capture)?;
        let missing = fit_programs(&mut object, &hooks, None)?;
        let object = object.load().map_err(|source| LoadError::of_load(source, capture.text()))?;
        let map = |name: &str| {
            let found = object.maps().find(|map| map.name() == name);
            let handle = found.ok_or_else(|| MapError::NotThere(name.to_owned()))?;
            MapHandle::try_from(&handle).map_err(|source| access(name, "use", source))
        };
        let watched = map("pal_watched")?;
        let calls = map("pal_calls")?;
        let set = |map: &MapHandle, name, key: u32, value: &[u8]| {
            map.update(&key.to_ne_bytes(), value, MapFlags::ANY).map_err(|source| access(name, "write", source))
        };
        for (slot, call) in calls::entries() {
            set(&calls, "pal_calls", u32::try_from(slot).unwrap_or(u32::MAX), &call)?;
        }
        set(&watched, "pal_watched", 0, &cgroup.to_ne_bytes())?;
        let tallies = map("pal_tallies")?;
        let reader = Reader::new(&map("pal_events")?).map_err(LoadError::Ring)?;
        let programs = attach(&object, &capture)?;
        let capabilities = !missing.iter().any(|missing| missing.program == CAPABLE);
        Ok(Self { reader, tallies, capabilities, programs, _object: object })
    }

    /// Whether it sees capabilities used.
    #[must_use]
    pub fn sees_capabilities(&self) -> bool {
        self.capabilities
    }

    /// What was seen since the last call, in its order; waits for it, at most so long. At most `most`. A record that
    /// cannot be taken apart is an error in its place.
    ///
    /// # Errors
    /// If the ring cannot be read.
    pub fn next(&mut self, wait: Duration, most: usize) -> Result<Vec<Result<Seen, abi::DecodeError>>, RingError> {
        self.reader.wait(wait)?;
        Ok(self.reader.take(most)?.iter().map(|record| abi::Event::decode(record).map(Seen::of)).collect())
    }

    /// Calls of the programs that the kernel left out, because one was running on that CPU already; for whichever task.
    #[must_use]
    pub fn missed(&self) -> u64 {
        let ids: Vec<_> = self.programs.iter().map(|program| (program.name.clone(), program.id)).collect();
        stats::of(&ids).iter().map(|program| program.recursion_misses).sum()
    }

    /// What was not told so far.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tallies(&self) -> Result<Tallies, MapError> {
        let count = |place: u32| {
            let value = self.tallies.lookup(&place.to_ne_bytes(), MapFlags::ANY);
            let value = value.map_err(|source| access("pal_tallies", "read", source))?;
            let bytes = value.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
            Ok(u64::from_ne_bytes(bytes))
        };
        Ok(Tallies {
            lost: count(EVENTS_LOST)? + count(NO_SLOT)?,
            unreadable: count(UNREADABLE)?,
            compat: count(COMPAT)?,
            queues: count(UNSEEN)?,
        })
    }
}

fn access(map: &str, act: &'static str, source: libbpf_rs::Error) -> MapError {
    MapError::Access { map: map.to_owned(), act, source }
}

// === impl Seen ===

impl Seen {
    fn of(mut event: abi::Event) -> Self {
        let has = |bit| event.code & bit != 0;
        let how = if has(CALL) {
            How::Call
        } else if has(SCRIPT) {
            How::Interpreter
        } else if has(NAMED) {
            How::Named { follow: !has(NOFOLLOW_SEEN) }
        } else {
            How::Exact
        };
        let created = has(CREATED);
        event.code = 0;
        Self { event, how, created }
    }
}
