//! Events, upwards: from the ring to records that name rules.
//!
//! ```text
//! ring --(one palisade of the machine reads it: reader.lock)--> own labels:   decode -> enrich -> sink
//!                                                         \---> other labels: events/LABEL, a socket of that palisade
//! socket of this palisade -------------------------------------------------> decode -> enrich -> sink
//!
//! sink of a run: its loop; of the agent: the hub, which has a bounded queue for each subscriber
//! ```
//! A run has one label, the agent many ([`Owners`]). All palisades of a machine share one ring, which has one consumer. Whoever holds `reader.lock` is it and passes on what is
//! not its own; when it ends, or is killed, another takes over where it stopped. What belongs to a run whose palisade was
//! killed it tells itself, as that run's and by the legend that the run keeps on disk. Everything happens on one thread.
//!
//! Under Landlock the source is the kernel's audit log (`audit`); each run reads it for itself. A run that is watched by
//! tracepoints (`watch`) has a ring of its own.
//!
//! # Losses
//! The ring full: found by gaps in the programs' numbers, told to every run (a lost record names no label). A run that
//! does not keep up: its socket or its sink is full, counted there. A record that does not decode: counted. Each comes
//! as a [`Loss`] in the stream itself. What the audit log lost is counted at the end: the kernel says then how many
//! denials there were.

mod audit;
mod enrich;
mod facts;
pub mod hub;
mod owners;
mod relay;
mod source;
mod watch;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_bpf::abi::Event;
use palisade_bpf::maps::Maps;
use palisade_bpf::ring::{Gaps, Reader, RingError};
use palisade_bpf::watch::Watch;
use palisade_event::{Loss, LossPlace, Record, Workload};
use thiserror::Error;

use crate::home::{Home, HomeError, RunRecord};
use crate::learn::Observer;
use relay::{Inbox, Letter, Outbox};

pub use audit::AuditSource;
pub use enrich::{Enricher, Legends, boottime_to_wall, now};
pub use hub::Hub;
pub use owners::Owners;
pub use source::Source;

/// How long one wait lasts: how soon an end is noticed, and a reader that died replaced.
const TURN: Duration = Duration::from_millis(50);
/// Records taken from the ring at once.
const BATCH: usize = 256;
/// Workloads without a palisade remembered at most.
const ORPHANS: usize = 64;
/// How long the end tells records that are on their way; what comes later is only counted.
const DRAIN: Duration = Duration::from_secs(3);
/// How long the end counts them, at most: the workload is gone by then, so there is an end to them.
const COUNT: Duration = Duration::from_secs(20);

/// The running pipeline of one workload.
#[derive(Debug)]
pub struct Pipeline {
    stop: Arc<AtomicBool>,
    /// Set before `stop`: what is in the ring is left to whoever reads it next.
    leave: Arc<AtomicBool>,
    /// Nothing is read while it is set.
    paused: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Where records go. Returns false where it is full: the record is dropped and counted.
pub type Sink = Box<dyn FnMut(Record) -> bool + Send>;

/// What becomes of the events of a run.
pub struct Destination {
    /// Makes them events.
    pub enricher: Enricher,
    /// Takes them instead, while a policy is learned; the sink then gets losses alone.
    pub observer: Option<Observer>,
    /// Where they go.
    pub sink: Sink,
}

/// Why there are no events.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The ring cannot be mapped.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The run's socket cannot be made.
    #[error("cannot listen for events at {}: {source}", path.display())]
    Listen {
        /// Where.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that reads events: {0}")]
    Thread(#[source] io::Error),
    /// `/run/palisade` cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

struct Worker {
    home: Home,
    owners: Owners,
    reader: Box<dyn Source>,
    /// What other palisades send; `None` where there are none.
    inbox: Option<Inbox>,
    /// Where other runs' records go, while this one reads the ring.
    role: Option<Role>,
    enricher: Enricher,
    observer: Option<Observer>,
    sink: Sink,
    unsent: Unsent,
    /// Workloads whose palisade is gone, by table: table ids are never used again, labels are.
    orphans: HashMap<u32, Arc<Workload>>,
    /// The end is near: records are counted as lost rather than told.
    counting: bool,
}

/// What a pipeline tells its thread.
struct Orders {
    stop: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
}

/// What the one consumer of the ring has.
struct Role {
    _lock: File,
    outbox: Outbox,
    gaps: Gaps,
}

/// Losses that are to be told.
#[derive(Default)]
struct Unsent {
    ring: u64,
    socket: u64,
    sink: u64,
    undecoded: u64,
    late: u64,
    audit: u64,
    names: u64,
    compat: u64,
    queues: u64,
    missed: u64,
}

// === impl Pipeline ===

impl Pipeline {
    /// Starts reading the events of a label.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub fn start(maps: &Arc<Maps>, home: &Home, label: u32, to: Destination) -> Result<Self, PipelineError> {
        let owners = Owners::default();
        owners.set(label, to.enricher.workload());
        let pipeline = Self::start_at(&home.socket_of(label), maps, home, owners, to)?;
        pipeline.resume();
        Ok(pipeline)
    }

    /// Makes ready to read the events of all workloads of the agent, which begins with [`Self::resume`]: once it is known
    /// whose the records are that wait in the ring.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub fn start_agent(maps: &Arc<Maps>, home: &Home, owners: Owners, to: Destination) -> Result<Self, PipelineError> {
        Self::start_at(&home.socket_of_agent(), maps, home, owners, to)
    }

    fn start_at(path: &Path, maps: &Arc<Maps>, home: &Home, owners: Owners, to: Destination) -> Result<Self, PipelineError> {
        let reader = Box::new(Reader::new(&maps.events)?);
        let inbox = Inbox::listen(path, Arc::clone(maps));
        let inbox = inbox.map_err(|source| PipelineError::Listen { path: path.to_owned(), source })?;
        Self::start_on(reader, Some(inbox), home, owners, to)
    }

    /// The same from another source than the kernel's ring, which nobody else reads.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub fn start_source(reader: Box<dyn Source>, home: &Home, owners: Owners, to: Destination) -> Result<Self, PipelineError> {
        Self::start_on(reader, None, home, owners, to)
    }

    fn start_on(
        reader: Box<dyn Source>,
        inbox: Option<Inbox>,
        home: &Home,
        owners: Owners,
        to: Destination,
    ) -> Result<Self, PipelineError> {
        let Destination { enricher, observer, sink } = to;
        let (stop, leave, paused) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(true)));
        let orders = Orders { stop: Arc::clone(&stop), leave: Arc::clone(&leave), paused: Arc::clone(&paused) };
        let unsent = Unsent::default();
        let home = home.clone();
        let orphans = HashMap::new();
        let role = None;
        let mut worker = Worker { home, owners, reader, inbox, role, enricher, observer, sink, unsent, orphans, counting: false };
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || worker.work(&orders));
        Ok(Self { stop, leave, paused, thread: thread.map_err(PipelineError::Thread)? })
    }

    /// Starts reading a run's denials from the kernel's audit log.
    ///
    /// # Errors
    /// [`PipelineError::Thread`].
    pub fn start_audit(source: AuditSource, enricher: Enricher, sink: Sink) -> Result<Self, PipelineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut worker = audit::Worker::new(source, enricher, sink);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || worker.work(&stopped));
        Ok(Self { stop, leave: Arc::default(), paused: Arc::default(), thread: thread.map_err(PipelineError::Thread)? })
    }

    /// Starts to tell an observer what tracepoints see.
    ///
    /// # Errors
    /// [`PipelineError::Thread`].
    pub fn start_watch(watch: Watch, observer: Observer, enricher: Enricher, sink: Sink) -> Result<Self, PipelineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut worker = watch::Worker::new(watch, observer, enricher, sink);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || worker.work(&stopped));
        Ok(Self { stop, leave: Arc::default(), paused: Arc::default(), thread: thread.map_err(PipelineError::Thread)? })
    }

    /// Begins, or goes on, to read.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Tells what is still on its way, for three seconds at most, counts the rest as lost, then ends.
    pub fn finish(self) {
        let Self { stop, leave: _, paused: _, thread } = self;
        stop.store(true, Ordering::Release);
        // A panic of the thread has been printed; the run's end is not the place to raise it again.
        drop(thread.join());
    }

    /// Ends it at once. What is in the ring waits there for the next palisade; its workloads live on.
    pub fn leave(self) {
        let Self { stop, leave, paused: _, thread } = self;
        leave.store(true, Ordering::Release);
        stop.store(true, Ordering::Release);
        // As above.
        drop(thread.join());
    }
}

// === impl Worker ===

impl Worker {
    fn work(&mut self, orders: &Orders) {
        let Orders { stop, leave, paused } = orders;
        while !stop.load(Ordering::Acquire) {
            if paused.load(Ordering::Acquire) {
                thread::sleep(TURN);
            } else {
                self.turn(TURN);
            }
        }
        if leave.load(Ordering::Acquire) {
            self.tell_losses();
        } else {
            self.drain();
        }
    }

    /// Takes the role if it is free, then what there is.
    fn turn(&mut self, wait: Duration) {
        if self.role.is_none()
            && let Ok(Some(lock)) = self.home.try_reader()
        {
            self.role = Some(Role { _lock: lock, outbox: Outbox::new(self.home.clone()), gaps: Gaps::default() });
        }
        if self.role.is_some() {
            self.read_inbox(Duration::ZERO);
            self.read_ring(wait);
        } else {
            self.read_inbox(wait);
        }
        self.tell_losses();
    }

    fn drain(&mut self) {
        let begun = Instant::now();
        let end = self.reader.produced();
        while begun.elapsed() < COUNT {
            self.counting = begun.elapsed() >= DRAIN;
            self.turn(Duration::from_millis(5));
            // Whoever else read the last ones may still be about to send them, or to tell of those that had no room.
            let wait = if self.role.is_some() { Duration::ZERO } else { 4 * TURN };
            if self.reader.consumed() >= end && !self.read_inbox(wait) {
                break;
            }
        }
        self.tell_losses();
    }

    fn read_ring(&mut self, wait: Duration) {
        if !self.reader.wait(wait) {
            // A run whose socket was full still has to be told what it missed.
            if let Some(role) = &mut self.role {
                role.outbox.flush();
            }
            return;
        }
        let records = self.reader.take(BATCH);
        for record in records {
            match Event::label_of(&record) {
                Some(label) if self.owners.get(label).is_some() => self.take(&record),
                Some(label) => {
                    note_number(&mut self.role, &record);
                    let sent = self.role.as_mut().is_some_and(|role| role.outbox.send(label, &record));
                    if !sent {
                        self.take_orphan(label, &record);
                    }
                }
                None => self.unsent.undecoded += 1,
            }
        }
        if let Some(role) = &mut self.role {
            let lost = role.gaps.take();
            if lost > 0 {
                self.unsent.ring += lost;
                role.outbox.tell_ring_loss(lost);
            }
            role.outbox.flush();
        }
    }

    /// Returns whether there was anything.
    fn read_inbox(&mut self, wait: Duration) -> bool {
        let Some(inbox) = &mut self.inbox else {
            thread::sleep(wait);
            return false;
        };
        let letters = inbox.receive(wait);
        let any = !letters.is_empty();
        for letter in letters {
            match letter {
                Letter::Record(record) => self.take(&record),
                Letter::RingLoss(count) => self.unsent.ring += count,
                Letter::SocketLoss(count) => self.unsent.socket += count,
            }
        }
        any
    }

    /// A record of a run whose palisade is gone while its processes live on: told here, as that run's, or it would be
    /// told nowhere.
    fn take_orphan(&mut self, label: u32, record: &[u8]) {
        let Some(table) = Event::table_of(record) else { return };
        if self.orphans.len() >= ORPHANS && !self.orphans.contains_key(&table) {
            self.orphans.clear();
        }
        let home = &self.home;
        let orphan = self.orphans.entry(table).or_insert_with(|| {
            let name = |run: RunRecord| if run.foreign { run.id } else { format!("run {}", run.id) };
            let container = home.run_of(label).map_or_else(|| format!("label {label}"), name);
            Arc::new(Workload { container, ..Workload::default() })
        });
        let workload = Arc::clone(orphan);
        self.take_as(record, Some(workload));
    }

    fn take(&mut self, record: &[u8]) {
        self.take_as(record, None);
    }

    /// Tells a record, of another workload where one is given.
    fn take_as(&mut self, record: &[u8], other: Option<Arc<Workload>>) {
        let event = match Event::decode(record) {
            Ok(event) => event,
            Err(_) => {
                self.unsent.undecoded += 1;
                return;
            }
        };
        if other.is_none() {
            note_number(&mut self.role, record);
        }
        if self.counting {
            self.unsent.late += 1;
            return;
        }
        let event = match (other, &self.observer) {
            (Some(workload), _) => self.enricher.event_of(event, workload),
            (None, Some(observer)) => return observer.take(event),
            (None, None) => {
                // Let go between the record's being sent and its being read: named by its number.
                let unknown = |label| Arc::new(Workload { container: format!("label {label}"), ..Workload::default() });
                let workload = self.owners.get(event.label).unwrap_or_else(|| unknown(event.label));
                self.enricher.event_of(event, workload)
            }
        };
        let record = Record::from(event);
        if !(self.sink)(record) {
            self.unsent.sink += 1;
        }
    }

    fn tell_losses(&mut self) {
        self.unsent.tell(&self.enricher, &mut self.sink);
    }
}

// === impl Unsent ===

impl Unsent {
    /// Tells what was lost; what finds no room is told the next time.
    fn tell(&mut self, enricher: &Enricher, sink: &mut Sink) {
        let Self { ring, socket, sink: full, undecoded, late, audit, names, compat, queues, missed } = self;
        let queue = |name: &'static str| LossPlace::Queue(name.into());
        let places = [
            (ring, LossPlace::RingBuffer),
            (socket, queue("between runs")),
            (full, queue("output of the run")),
            (undecoded, LossPlace::Decoding),
            (late, queue("end of the run")),
            (audit, queue("the kernel's audit messages")),
            (names, queue("names that could not be read again")),
            (compat, queue("system calls of 32 bits, which tracepoints do not follow")),
            (queues, queue("queues of io_uring, which tracepoints do not follow")),
            (missed, queue("calls that the kernel left out, of this run or another task")),
        ];
        for (count, place) in places {
            if *count == 0 {
                continue;
            }
            let loss = Loss { time: now(), host: enricher.host(), place, count: *count };
            if sink(loss.into()) {
                *count = 0;
            }
        }
    }
}

/// Where this thread reads the ring, every record's number counts, whoever's it is.
fn note_number(role: &mut Option<Role>, record: &[u8]) {
    if let (Some(role), Some((cpu, number))) = (role, Event::number_of(record)) {
        role.gaps.note(cpu, number);
    }
}
