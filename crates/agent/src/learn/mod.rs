//! Watching a run to learn its policy: every access is audited, and told to a [`Collector`] instead of to people.
//!
//! ```text
//! AUDIT_EVERYTHING (a policy like any other, audited mode) -> tables -> kernel: one event per access
//!      ring -> pipeline -> Observer -> Collector -> discovery::suggest -> YAML
//! ```
//! Nothing is denied while it watches. Events come from the same programs that enforce, so what is learned is what they
//! would judge: the same paths, the same sources, the same sockets.
//!
//! Where LSM programs do not load, tracepoints make the same events, as far as they can:
//!
//! ```text
//!      bpf::watch (own ring) -> Resolver (names, stages of execs) -> Observer, and on as above
//! ```

mod seen;

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_bpf::abi;
use palisade_discovery::{Collector, Directories, Observation, What};
use palisade_policy::model::{Policy, PortRange};
use palisade_policy::{SourceFile, parse};
use palisade_ruleset::{BuiltIn, By, End, Mode, Object, Program, Side, Socket, Workload};

pub(crate) use seen::Resolver;

/// Audits every exec, file operation, socket and capability.
const AUDIT_EVERYTHING: &str = include_str!("learn.yaml");

/// What watches a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// The programs that enforce.
    Lsm,
    /// Tracepoints.
    Tracepoints {
        /// Whether they see capabilities used.
        capabilities: bool,
    },
}

/// What may watch a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watchers {
    /// The LSM programs, else tracepoints.
    #[default]
    Any,
    /// The LSM programs alone.
    Lsm,
    /// Tracepoints alone.
    Tracepoints,
}

/// The kernel's range where nobody set another.
const DEFAULT_PORTS: PortRange = PortRange::new(32_768, 60_999).expect("in order");

/// Takes what a run does. Shared by the pipeline, which feeds it, and whoever asks how far it is.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Collector>>);

/// The directories of this machine, to see what else a rule would open.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDirectories;

/// The policies under which a run is watched.
#[must_use]
pub fn policies() -> Vec<Policy> {
    parse(&[SourceFile { name: "palisade run --learn".into(), text: AUDIT_EVERYTHING }]).policies
}

/// A workload under which nothing is denied; of built-in rules it is told what they would deny.
#[must_use]
pub fn watched(mut workload: Workload) -> Workload {
    workload.ignore_selectors = true;
    workload.mode = Mode::Audit;
    workload
}

/// The program that starts commands: this one.
#[must_use]
pub fn launcher() -> Option<Vec<u8>> {
    fs::read_link("/proc/self/exe").ok().map(|path| path.into_os_string().into_vec())
}

/// From which the kernel takes ports that a program leaves to it, in this network namespace.
#[must_use]
pub fn chosen_ports() -> PortRange {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    port_range(&text).unwrap_or(DEFAULT_PORTS)
}

fn port_range(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_whitespace().map(str::parse);
    PortRange::new(numbers.next()?.ok()?, numbers.next()?.ok()?)
}

// === impl Watcher ===

impl Watcher {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lsm => "BPF-LSM",
            Self::Tracepoints { .. } => "tracepoints",
        }
    }

    /// Whether it sees capabilities used.
    #[must_use]
    pub fn sees_capabilities(self) -> bool {
        match self {
            Self::Lsm => true,
            Self::Tracepoints { capabilities } => capabilities,
        }
    }

    /// What it cannot see, each a line for people.
    #[must_use]
    pub fn unseen(self) -> &'static [&'static str] {
        match self {
            Self::Lsm => &[],
            Self::Tracepoints { capabilities: true } => &[SYS_ADMIN, ELSEWHERE, ATTACHED],
            Self::Tracepoints { capabilities: false } => &[NO_CAPABILITIES, ELSEWHERE, ATTACHED],
        }
    }
}

const SYS_ADMIN: &str = "CAP_SYS_ADMIN, which each mapping of memory asks for: add it by hand where the command needs it";
const NO_CAPABILITIES: &str =
    "capabilities, for which this kernel has no tracepoint: the policy leaves them open; add the class by hand";
const ELSEWHERE: &str = "processes that leave the run's cgroup, names in mount namespaces of the run's own";
const ATTACHED: &str = "ptrace and the like, which a policy with sources denies by itself";

// === impl Observer ===

impl Observer {
    /// What was collected. Held only for moments: the pipeline waits meanwhile.
    pub fn collector(&self) -> MutexGuard<'_, Collector> {
        // A panic while it was held left counts that are still counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event.
    pub(crate) fn take(&self, event: abi::Event) {
        let observation = observation(event);
        self.collector().take(observation);
    }
}

fn observation(event: abi::Event) -> Observation {
    let program = program(event.program.clone());
    Observation { process: event.tgid, program, what: what(event) }
}

fn what(event: abi::Event) -> What {
    use abi::Operation as Op;
    // That a path cannot be told is no denial to be learned from: the object says it.
    if let Some(By::BuiltIn(rule)) = By::from_code(event.code)
        && rule != BuiltIn::Unresolvable
    {
        return What::BuiltIn(rule.name());
    }
    let file = |creates, event: abi::Event| {
        let opens = event.operation == Op::Open;
        let links = event.operation == Op::Link;
        What::File {
            read: (opens || links) && event.reads,
            write: !opens || event.writes,
            creates,
            removes: matches!(event.operation, Op::Unlink | Op::Rmdir),
            object: object(event),
        }
    };
    match event.operation {
        Op::Exec => What::Exec { interpreter: event.interpreter, object: object(event) },
        Op::MapExec => What::Load(object(event)),
        Op::Create | Op::Mkdir | Op::Mknod | Op::Symlink | Op::Link | Op::Rename | Op::UnixBind => file(true, event),
        Op::Open
        | Op::Unlink
        | Op::Rmdir
        | Op::Chmod
        | Op::Chown
        | Op::Truncate
        | Op::Setxattr
        | Op::Utimes
        | Op::UnixConnect
        | Op::UnixSend => file(false, event),
        Op::Socket => socket(&event, Side::Local, false), // names no end
        Op::Connect | Op::Send => socket(&event, Side::Remote, false),
        Op::Bind => socket(&event, Side::Local, true),
        Op::Listen | Op::Accept => socket(&event, Side::Local, false),
        Op::Capability => What::Capability(u8::try_from(event.family).unwrap_or(u8::MAX)),
        // Judged by built-in rules alone: a code that stands for none of them says no more than the operation.
        Op::Mount | Op::MountRearrange | Op::Unmount | Op::PivotRoot | Op::EnterNamespace | Op::OpenDetached => {
            What::BuiltIn(BuiltIn::MountIntegrity.name())
        }
        Op::Attach => What::BuiltIn(BuiltIn::Source.name()),
        Op::Bpf | Op::Touch => What::BuiltIn(BuiltIn::SelfProtection.name()),
    }
}

fn socket(event: &abi::Event, side: Side, binds: bool) -> What {
    let socket = Socket { family: signed(event.family), kind: signed(event.socket_type), protocol: signed(event.protocol) };
    let end = event.endpoint.map(|end| End { side, address: end.ip(), port: end.port() });
    What::Socket { socket, end, binds }
}

/// The kernel's `int`, which the record carries as it is.
fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

fn object(event: abi::Event) -> Object {
    match event.object_kind {
        abi::ObjectKind::Path => Object::Path(event.object),
        abi::ObjectKind::Memfd => Object::Memfd(event.object.strip_prefix(b"memfd:").unwrap_or(&event.object).to_vec()),
        // Sockets and capabilities are not asked for their object.
        abi::ObjectKind::Unresolvable
        | abi::ObjectKind::Socket
        | abi::ObjectKind::Endpoint4
        | abi::ObjectKind::Endpoint6
        | abi::ObjectKind::Capability => Object::Unresolvable,
    }
}

fn program(text: Vec<u8>) -> Program {
    match text.strip_prefix(b"memfd:") {
        Some(name) => Program::Memfd(name.to_vec()),
        None if text.is_empty() => Program::Unknown,
        None => Program::Path(text),
    }
}

// === impl RealDirectories ===

impl Directories for RealDirectories {
    fn names(&self, directory: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
        let entries = match fs::read_dir(Path::new(std::ffi::OsStr::from_bytes(directory))) {
            Ok(entries) => entries,
            // Gone since, as directories for a while are: nothing lies in it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Vec::new()),
            Err(_) => return None,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.ok()?;
            names.push((entry.file_name().into_vec(), entry.file_type().ok()?.is_dir()));
        }
        names.sort();
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_ruleset::{Access, Actor, FileMode, NoLinks, Operation, RuleSet, Verdict, decide};

    #[test]
    fn while_it_watches_every_kind_of_access_is_audited_and_none_is_denied() {
        let rules = RuleSet::new(&policies(), &watched(Workload::run()), &NoLinks);
        let object = |path: &str| Object::Path(path.as_bytes().to_vec());
        let exec = |object| Operation::Exec { object, owner: None, scripts: Vec::new(), invoked_as: Vec::new(), arguments: None };
        let file = |mode, path| Operation::File { mode, object: object(path), owner: None, block_device: false };
        let mut operations = vec![
            exec(object("/bin/x")),
            exec(Object::Memfd(b"x".to_vec())),
            file(FileMode::Read, "/etc/ld.so.cache"),
            file(FileMode::Write, "/"),
            Operation::Socket { socket: Socket { family: 2, kind: 1, protocol: 6 }, end: None },
            Operation::Socket { socket: Socket { family: 38, kind: 5, protocol: 0 }, end: None },
            Operation::Socket {
                socket: Socket { family: 2, kind: 1, protocol: 6 },
                end: Some(End { side: Side::Remote, address: [10, 0, 0, 5].into(), port: 443 }),
            },
            Operation::Socket {
                socket: Socket { family: 10, kind: 2, protocol: 17 },
                end: Some(End { side: Side::Local, address: [0; 16].into(), port: 53 }),
            },
        ];
        operations.extend((0..=40).map(|number| Operation::Capability { number }));
        let actor = Actor { program: Program::Path(b"/bin/y".to_vec()), uid: 0, terminal: false };
        for operation in operations {
            let decision = decide(&rules, &Access { actor: actor.clone(), operation: operation.clone() });
            assert_eq!(decision.verdict, Verdict::Audit, "{operation:?}");
        }
    }
    #[test]
    fn the_range_of_ports_that_the_kernel_chooses_from_is_read_as_it_writes_it() {
        assert_eq!(port_range("32768\t60999\n"), Some(DEFAULT_PORTS));
        for bad in ["", "1", "2 1", "1 70000", "a b"] {
            assert_eq!(port_range(bad), None, "{bad}");
        }
    }
}
