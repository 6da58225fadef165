//! What a producer says happened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::operation::{Object, Operation};
use crate::time::Timestamp;
use crate::verdict::{Decider, Enforcer, Shadow, Verdict};

/// One entry of the stream. Shared, because a stream is fanned out to several readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An access that was judged and reported.
    Event(Arc<Event>),
    /// Records that are missing from here on.
    Loss(Arc<Loss>),
    /// Something that the producer tells about itself.
    Message(Arc<Message>),
}

/// One judged access, or, where [`Repeats::count`] is above 1, several alike.
///
/// # Limits
///
/// None here: the producer bounds paths (the kernel's PATH_MAX, 4096 bytes) and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The producer's sequence number; of repeats, that of the last.
    pub number: u64,
    /// When it happened; of repeats, the last.
    pub time: Timestamp,
    /// How many accesses it stands for.
    pub repeats: Repeats,
    /// Where it happened.
    pub host: Arc<Host>,
    /// In what it happened; `None` for a task of the host.
    pub workload: Option<Arc<Workload>>,
    /// Who did it. Of an exec, the program that called exec.
    pub process: Process,
    /// What it did.
    pub operation: Operation,
    /// What it did it to.
    pub object: Object,
    /// Of an exec: the arguments given, the name (`argv[0]`) first; empty where unknown.
    pub arguments: Vec<Vec<u8>>,
    /// The producer left out arguments, or the end of the last: it keeps so many bytes of them.
    pub arguments_cut: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// Who decided.
    pub decider: Decider,
    /// What policies in audited mode would have made of it, where that is another verdict that no verdict here tells.
    pub shadow: Option<Shadow>,
    /// What carried it out.
    pub enforcer: Enforcer,
    /// The generation of the rule set that decided; 0 where there is none.
    pub generation: u64,
}

/// How many accesses an event stands for, and over what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// How many.
    pub count: NonZeroU64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// The node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Host {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub name: String,
    /// The node's address, for messages.
    pub ip: String,
    /// The node's id (hex).
    pub node_id: String,
    /// The producer's version, as `KubeArmorVersion` shows it.
    pub version: String,
}

/// A container, a `palisade run`, a unit. What is unknown is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its container's name; of a `palisade run`, the name of the run.
    pub container: String,
    /// Its container's id (hex).
    pub container_id: String,
    /// Its image with digest.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What made the pod.
    pub owner: Option<Owner>,
}

/// What made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// `Deployment`, `DaemonSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// The acting task's process. What is unknown is 0 or empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Process {
    /// In its own pid namespace.
    pub pid: u32,
    /// Its parent's, in its own pid namespace.
    pub parent_pid: u32,
    /// In the initial pid namespace.
    pub host_pid: u32,
    /// Its parent's, in the initial pid namespace.
    pub host_parent_pid: u32,
    /// Its real uid, in the initial user namespace.
    pub uid: u32,
    /// The name of that uid; for host tasks.
    pub user: String,
    /// Its program as of its exec: a path, or `memfd:NAME`.
    pub program: Vec<u8>,
    /// Its parent's.
    pub parent_program: Vec<u8>,
    /// Its command line, the name (`argv[0]`) first.
    pub command_line: Vec<Vec<u8>>,
    /// Its working directory.
    pub cwd: Vec<u8>,
    /// Its controlling terminal, `pts0`.
    pub tty: Vec<u8>,
    /// The id of the exec session (`kubectl exec`) it belongs to.
    pub exec_id: Option<u64>,
}

/// Records that got lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was noticed.
    pub time: Timestamp,
    /// Where it happened.
    pub host: Arc<Host>,
    /// At which place of the way.
    pub place: LossPlace,
    /// How many records.
    pub count: u64,
}

/// Where records can get lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LossPlace {
    /// The kernel's ring buffer was full.
    RingBuffer,
    /// The producer's numbers have a gap that nothing else explains.
    Sequence,
    /// Records that did not decode.
    Decoding,
    /// A bounded queue was full: that of this reader or sink.
    Queue(Cow<'static, str>),
    /// More came than the rate that the configuration allows.
    RateLimit,
}

/// Something that the producer tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When.
    pub time: Timestamp,
    /// Where.
    pub host: Arc<Host>,
    /// How much it matters.
    pub level: Level,
    /// What.
    pub text: String,
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// For whoever works on Palisade.
    Debug,
    /// Something went as it should.
    Info,
    /// Something needs a look.
    Warning,
    /// Something is not protected or not reported as asked.
    Error,
}

// === impl Repeats, Record, Event ===

impl Repeats {
    /// A single access at this time.
    #[must_use]
    pub const fn once(time: Timestamp) -> Self {
        Self { count: NonZeroU64::MIN, first: time, last: time }
    }

    /// Both together; `None` where the count would not fit.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let count = self.count.checked_add(other.count.get())?;
        Some(Self { count, first: self.first.min(other.first), last: self.last.max(other.last) })
    }
}

impl Record {
    /// When it happened or was noticed.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Event(event) => event.time,
            Self::Loss(loss) => loss.time,
            Self::Message(message) => message.time,
        }
    }
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        Self::Event(Arc::new(event))
    }
}

impl From<Loss> for Record {
    fn from(loss: Loss) -> Self {
        Self::Loss(Arc::new(loss))
    }
}

impl From<Message> for Record {
    fn from(message: Message) -> Self {
        Self::Message(Arc::new(message))
    }
}

// === impl Loss, LossPlace, Level ===

impl Loss {
    /// How many and where, in words.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { time: _, host: _, place, count } = self;
        let records = if *count == 1 { "record" } else { "records" };
        format!("{count} {records} lost: {}", place.text())
    }
}

impl LossPlace {
    /// Where and why, in words.
    #[must_use]
    pub fn text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::RingBuffer => "kernel ring buffer full",
            Self::Sequence => "numbers missing in the stream",
            Self::Decoding => "records that did not decode",
            Self::RateLimit => "above the allowed rate",
            Self::Queue(name) => return Cow::Owned(format!("queue full: {name}")),
        })
    }
}

impl Level {
    /// KubeArmor's `Level`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARN",
            Self::Error => "ERROR",
        }
    }
}
