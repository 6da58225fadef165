//! From what the kernel wrote to what an event says.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palisade_bpf::abi;
use palisade_event::{
    Decider, Enforcer, Event, Host, Object, Operation, Process, Repeats, Shadow, ShadowVerdict, Socket, Timestamp, Verdict,
    Workload,
};
use palisade_ruleset::By;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::facts::Facts;
use crate::enforce::landlock::{Denied, DeniedTask, Reason, SeenDenial};
use crate::enforce::legend;
use crate::enforce::table::Rules;
use crate::home::Home;

/// How long what `/proc` said of a process is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// Processes remembered at most.
const REMEMBERED: usize = 1024;

/// What the rule codes of each table stand for. Shared: whoever swaps a table adds the new one first. Those of other
/// runs are read from disk, where each run keeps them.
#[derive(Clone, Debug, Default)]
pub struct Legends {
    own: Arc<Mutex<BTreeMap<u32, Rules>>>,
    /// Of other runs; `None` where there is none to read.
    others: Arc<Mutex<HashMap<u32, Option<Rules>>>>,
    home: Option<Home>,
}

/// Tables of our own remembered at most; there are 512 in force at once.
const OWN: usize = 1024;
/// Tables of other runs remembered at most.
const OTHERS: usize = 64;

/// Makes events of one workload.
#[derive(Debug)]
pub struct Enricher {
    host: Arc<Host>,
    workload: Arc<Workload>,
    legends: Legends,
    number: u64,
    known: HashMap<u32, (Instant, Facts)>,
}

// === impl Legends ===

impl Legends {
    /// With the legends that runs of this home keep.
    #[must_use]
    pub fn of(home: Home) -> Self {
        Self { home: Some(home), ..Self::default() }
    }

    /// Adds a table, before it is put into the kernel.
    pub fn add(&self, table_id: u32, rules: Rules) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.insert(table_id, rules);
        // The oldest can be read from disk again, where a table of them is still in force.
        if own.len() > OWN && self.home.is_some() {
            own.pop_first();
        }
    }

    fn rule(&self, table_id: u32, index: usize) -> Option<Arc<palisade_event::Rule>> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = own.get(&table_id) {
            return rules.get(index).cloned();
        }
        drop(own);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= OTHERS && !others.contains_key(&table_id) {
            others.clear();
        }
        let read = || legend::rules(&self.home.as_ref()?.legend(table_id).ok()?);
        others.entry(table_id).or_insert_with(read).as_ref()?.get(index).cloned()
    }
}

// === impl Enricher ===

impl Enricher {
    /// For a workload on a host.
    #[must_use]
    pub fn new(host: Arc<Host>, workload: Arc<Workload>, legends: Legends) -> Self {
        Self { host, workload, legends, number: 0, known: HashMap::new() }
    }

    /// The workload.
    #[must_use]
    pub fn workload(&self) -> Arc<Workload> {
        Arc::clone(&self.workload)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host)
    }

    /// The event of a record, in a workload. What `/proc` knows of the process is read at once: it may be gone soon.
    pub fn event_of(&mut self, mut record: abi::Event, workload: Arc<Workload>) -> Event {
        let arguments = std::mem::take(&mut record.arguments);
        self.number += 1;
        let time = boottime_to_wall(record.time_ns);
        let (verdict, decider, shadow) = self.decision(&record);
        Event {
            number: self.number,
            time,
            repeats: Repeats::once(time),
            host: Arc::clone(&self.host),
            workload: Some(workload),
            operation: operation(&record),
            object: object(&record),
            arguments,
            arguments_cut: record.arguments_cut,
            verdict,
            decider,
            shadow,
            enforcer: Enforcer::BpfLsm,
            generation: record.generation,
            process: self.process(record.tgid, record.ppid, record.uid, record.program),
        }
    }

    /// What became of it, who decided, and what audited policies would have made of it otherwise.
    fn decision(&self, record: &abi::Event) -> (Verdict, Decider, Option<Shadow>) {
        let decider = self.decider(By::from_code(record.code), record.table_id, record.code);
        let shadow = record.shadow.map(|(verdict, code)| Shadow {
            verdict: match verdict {
                abi::Verdict::Allow => ShadowVerdict::Allow,
                abi::Verdict::Audit => ShadowVerdict::Audit,
                abi::Verdict::Block | abi::Verdict::WouldBlock => ShadowVerdict::Block,
            },
            decider: self.decider(By::from_code(code), record.table_id, code),
        });
        let verdict = match record.verdict {
            abi::Verdict::Audit => Verdict::Audit,
            // Without an error it passed: the workload is in audited mode.
            abi::Verdict::Block => Verdict::block(record.error).unwrap_or(Verdict::WouldBlock),
            abi::Verdict::WouldBlock => Verdict::WouldBlock,
            // Nobody has decided but the policy in audited mode.
            abi::Verdict::Allow => return (Verdict::WouldAudit, shadow.map_or(decider, |shadow| shadow.decider), None),
        };
        (verdict, decider, shadow)
    }

    fn decider(&self, by: Option<By>, table_id: u32, code: u32) -> Decider {
        match by {
            Some(By::Rule(id)) => match self.legends.rule(table_id, id.index()) {
                Some(rule) => Decider::Rule(rule),
                None => Decider::Unknown(code),
            },
            Some(By::DefaultPosture) => Decider::DefaultPosture,
            Some(By::BuiltIn(rule)) => Decider::BuiltIn(Cow::Borrowed(rule.name())),
            Some(By::BaseSet | By::Nothing) | None => Decider::Unknown(code),
        }
    }

    /// The event of a denial that the audit log told; the rules are those of the table of number 0.
    pub fn denial(&mut self, seen: &SeenDenial, denied: Denied) -> Event {
        self.number += 1;
        let time = Timestamp::from_nanoseconds(seen.time_ms.saturating_mul(1_000_000));
        let Denied { operation, object, errno, reason } = denied;
        let decider = match reason {
            Reason::Decided(by) => self.decider(Some(by), 0, by.code()),
            Reason::Narrower(why) | Reason::Untold(why) => Decider::Untold(Cow::Borrowed(why)),
        };
        let process = match &seen.task {
            Some(DeniedTask { pid, parent_pid, uid, program, exit: _ }) => self.process(*pid, *parent_pid, *uid, program.clone()),
            None => Process::default(), // the log names the domain alone
        };
        Event {
            number: self.number,
            time,
            repeats: Repeats::once(time),
            host: Arc::clone(&self.host),
            workload: Some(Arc::clone(&self.workload)),
            operation,
            object,
            arguments: Vec::new(),
            arguments_cut: false,
            verdict: Verdict::Block(errno),
            decider,
            shadow: None,
            enforcer: Enforcer::Landlock,
            generation: 1,
            process,
        }
    }

    /// A process by what the kernel said of it, and by what `/proc` knows.
    fn process(&mut self, pid: u32, parent_pid: u32, uid: u32, program: Vec<u8>) -> Process {
        let facts = self.facts(pid);
        let parent = self.facts(parent_pid);
        Process {
            pid: facts.own_pid,
            parent_pid: parent.own_pid,
            host_pid: pid,
            host_parent_pid: parent_pid,
            uid,
            user: String::new(),
            program: if program.is_empty() { facts.program } else { program },
            parent_program: parent.program,
            command_line: facts.command_line,
            cwd: facts.cwd,
            tty: facts.tty,
            exec_id: None,
        }
    }

    fn facts(&mut self, pid: u32) -> Facts {
        let now = Instant::now();
        if let Some((since, facts)) = self.known.get(&pid)
            && now.duration_since(*since) < BELIEVED
        {
            return facts.clone();
        }
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, (since, _)| now.duration_since(*since) < BELIEVED);
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let facts = Facts::of(pid);
        self.known.insert(pid, (now, facts.clone()));
        facts
    }
}

fn operation(record: &abi::Event) -> Operation {
    match record.operation {
        abi::Operation::Exec => Operation::Exec,
        abi::Operation::MapExec => Operation::MapExec,
        abi::Operation::Open if record.reads && record.writes => Operation::OpenReadWrite,
        abi::Operation::Open if record.writes => Operation::OpenWrite,
        abi::Operation::Open => Operation::OpenRead,
        abi::Operation::Create => Operation::Create,
        abi::Operation::Unlink => Operation::Unlink,
        abi::Operation::Mkdir => Operation::Mkdir,
        abi::Operation::Rmdir => Operation::Rmdir,
        abi::Operation::Mknod => Operation::Mknod,
        abi::Operation::Symlink => Operation::Symlink,
        abi::Operation::Link => Operation::Link,
        abi::Operation::Rename => Operation::Rename,
        abi::Operation::Chmod => Operation::Chmod,
        abi::Operation::Chown => Operation::Chown,
        abi::Operation::Truncate => Operation::Truncate,
        abi::Operation::Setxattr => Operation::SetXattr,
        abi::Operation::Utimes => Operation::Utimes,
        abi::Operation::UnixConnect => Operation::UnixConnect,
        abi::Operation::UnixSend => Operation::UnixSend,
        abi::Operation::UnixBind => Operation::UnixBind,
        abi::Operation::Socket => Operation::SocketCreate,
        abi::Operation::Capability => Operation::Capability,
        abi::Operation::Connect => Operation::SocketConnect,
        abi::Operation::Send => Operation::SocketSend,
        abi::Operation::Bind => Operation::SocketBind,
        abi::Operation::Listen => Operation::SocketListen,
        abi::Operation::Accept => Operation::SocketAccept,
        abi::Operation::Mount => Operation::Mount,
        abi::Operation::MountRearrange => Operation::MountRearrange,
        abi::Operation::Unmount => Operation::Unmount,
        abi::Operation::PivotRoot => Operation::PivotRoot,
        abi::Operation::EnterNamespace => Operation::EnterMountNamespace,
        abi::Operation::OpenDetached => Operation::OpenDetached,
        abi::Operation::Attach => Operation::Attach,
        abi::Operation::Bpf | abi::Operation::Touch => Operation::TouchPalisade,
    }
}

fn object(record: &abi::Event) -> Object {
    match record.object_kind {
        abi::ObjectKind::Path => Object::Path(record.object.clone()),
        abi::ObjectKind::Memfd => {
            let name = record.object.strip_prefix(b"memfd:").unwrap_or(&record.object);
            Object::Memfd(name.to_vec())
        }
        abi::ObjectKind::Unresolvable => Object::Unresolvable,
        abi::ObjectKind::Socket | abi::ObjectKind::Endpoint4 | abi::ObjectKind::Endpoint6 => {
            let abi::Event { family, socket_type: kind, protocol, endpoint, .. } = *record;
            let socket = Socket { family, kind, protocol };
            endpoint.map_or(Object::Socket(socket), |address| Object::Endpoint(socket, address))
        }
        abi::ObjectKind::Capability => Object::Capability(u8::try_from(record.family).unwrap_or(u8::MAX)),
    }
}

/// Nanoseconds of CLOCK_BOOTTIME as a time of day, by the offset between the two clocks now.
#[must_use]
pub fn boottime_to_wall(boottime_ns: u64) -> Timestamp {
    let boottime_now = nanoseconds(clock_gettime(ClockId::Boottime));
    let age = boottime_now.saturating_sub(boottime_ns);
    Timestamp::from_nanoseconds(now().nanoseconds().saturating_sub(age))
}

/// The time of day.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanoseconds(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
