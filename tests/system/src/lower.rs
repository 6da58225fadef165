//! Which accesses one system call of a case is.
//!
//! A call that is several accesses is judged by the strictest. Where the law says that something is not judged (what
//! the kernel maps for an exec, `stat`, pipes), the list is empty and the call passes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_policy::model::Capability;
use palisade_ruleset::{
    Access, Actor, End, FileMode, Mode, MountChange, Object, Operation, Posture, Postures, Program, Scope, Side, Socket,
    StdioFile, Workload,
};

use anyhow::{Context, Result, bail};

use crate::corpus::{AccessCase, Case, ModeCase, NumberOrWord, PostureCase, ScopeCase, SocketCase};
use crate::op::Op;
use crate::tree::{TreeTable, base_name, parent};

/// The process number that stands for `{pid}` where nothing runs.
const SOME_PID: &str = "4242";
/// Stages of an exec that the kernel allows before it gives up.
const INTERPRETER_LIMIT: usize = 5;

/// The workload of a case as the rule set takes it.
#[must_use]
pub fn workload(case: &Case) -> Workload {
    let w = &case.workload;
    let scope = match w.scope {
        ScopeCase::Workload => Scope::Workload,
        ScopeCase::Host => Scope::Host,
    };
    let default = match scope {
        Scope::Workload => Postures::WORKLOAD,
        Scope::Host => Postures::HOST,
    };
    let posture = |written: Option<PostureCase>, default: Posture| match written {
        Some(PostureCase::Block) => Posture::Block,
        Some(PostureCase::Audit) => Posture::Audit,
        None => default,
    };
    Workload {
        scope,
        namespace: w.namespace.clone(),
        labels: w.labels.clone(),
        container: w.container.clone(),
        hostname: w.hostname.clone(),
        ignore_selectors: w.ignore_selectors,
        mode: match w.mode {
            ModeCase::Enforce => Mode::Enforce,
            ModeCase::Audit => Mode::Audit,
        },
        postures: Postures {
            file: posture(w.postures.file, default.file),
            network: posture(w.postures.network, default.network),
            capability: posture(w.postures.capability, default.capability),
        },
        base_set: w.base_set,
        allow_mounts: w.allow_mounts,
        multi_call: w.multi_call.clone(),
        stdio: w
            .stdio
            .iter()
            .map(|s| StdioFile { path: s.path.clone().into_bytes(), readable: s.readable, writable: s.writable })
            .collect(),
    }
}

/// The accesses of one call, in the order in which the kernel asks.
///
/// # Errors
/// A word that stands for nothing, a loop of links, a chain of interpreters without end: mistakes of the case.
pub fn lower(case: &Case, access: &AccessCase) -> Result<Vec<Access>> {
    let lowering = Lowering { case, access, tree: TreeTable::new(case) };
    let operations = lowering.operations()?;
    let actor = Actor { program: program(&access.from), uid: access.uid, terminal: access.tty };
    Ok(operations.into_iter().map(|operation| Access { actor: actor.clone(), operation }).collect())
}

/// A program as cases write it.
fn program(text: &str) -> Program {
    match text.strip_prefix("memfd:") {
        Some(name) => Program::Memfd(name.into()),
        None if text == "unknown" => Program::Unknown,
        None => Program::Path(text.into()),
    }
}

/// The kernel's numbers of a socket.
///
/// # Errors
/// A word that is none of those that [`SocketCase`] lists.
pub fn socket(case: &SocketCase) -> Result<Socket> {
    let number = |value: &NumberOrWord, words: &[(&str, i32)]| match value {
        NumberOrWord::Number(n) => Ok(*n),
        NumberOrWord::Word(word) => {
            words.iter().find(|(w, _)| w == word).map(|(_, n)| *n).with_context(|| format!("unknown word {word:?}"))
        }
    };
    Ok(Socket {
        family: number(&case.family, &FAMILIES)?,
        kind: number(&case.kind, &KINDS)?,
        protocol: number(&case.protocol, &PROTOCOLS)?,
    })
}

const FAMILIES: [(&str, i32); 9] = [
    ("unix", 1),
    ("inet", 2),
    ("inet6", 10),
    ("netlink", 16),
    ("packet", 17),
    ("bluetooth", 31),
    ("alg", 38),
    ("vsock", 40),
    ("smc", 43),
];

const KINDS: [(&str, i32); 7] =
    [("stream", 1), ("dgram", 2), ("raw", 3), ("rdm", 4), ("seqpacket", 5), ("dccp", 6), ("packet", 10)];

const PROTOCOLS: [(&str, i32); 8] =
    [("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("icmpv6", 58), ("sctp", 132), ("udplite", 136), ("mptcp", 262)];

/// One access on its way down.
struct Lowering<'a> {
    case: &'a Case,
    access: &'a AccessCase,
    tree: TreeTable,
}

impl Lowering<'_> {
    fn operations(&self) -> Result<Vec<Operation>> {
        let a = self.access;
        let path = a.object();
        Ok(match a.op {
            op if op.is_unmediated() => Vec::new(),
            Op::Exec => self.stages(path, self.object(path)?)?,
            Op::MapExec | Op::MprotectExec => {
                let object = self.object(path)?;
                vec![self.read(path)?, Operation::MapExec { object, owner: a.owner.or(self.owner(path)) }]
            }
            Op::MemfdExec => vec![Operation::Exec {
                object: Object::Memfd(self.memfd()),
                owner: Some(a.uid),
                scripts: Vec::new(),
                invoked_as: Vec::new(),
                arguments: Some(self.arguments("")),
            }],
            Op::MemfdMapExec => vec![Operation::MapExec { object: Object::Memfd(self.memfd()), owner: Some(a.uid) }],
            Op::OpenRead | Op::Readdir | Op::ReopenRead | Op::UnshareMount => vec![self.read(path)?],
            Op::OpenRdwr | Op::OpenReadTrunc => vec![self.read(path)?, self.write(path)?],
            Op::CreateRead => vec![self.write(path)?, self.read(path)?],
            Op::OTmpfile => {
                let dir = self.resolve(path)?;
                vec![self.file(FileMode::Write, Object::Path(format!("{dir}/#1").into_bytes()), &dir)]
            }
            Op::OpenWrite
            | Op::OpenAppend
            | Op::OpenTrunc
            | Op::Create
            | Op::Truncate
            | Op::Mkdir
            | Op::Rmdir
            | Op::Mknod
            | Op::Symlink
            | Op::Unlink
            | Op::Chmod
            | Op::Chown
            | Op::Setxattr
            | Op::Utimes
            | Op::ReopenWrite => vec![self.write(path)?],
            Op::Rename | Op::Exchange => vec![self.write(path)?, self.write(a.second())?],
            Op::RenameDir => vec![self.write(path)?, self.write(a.second())?, self.moved(path)?],
            Op::ExchangeDir => {
                let second = a.second();
                vec![self.write(path)?, self.write(second)?, self.moved(path)?, self.moved(second)?]
            }
            Op::Link => vec![self.read(path)?, self.write(path)?, self.write(a.second())?],
            Op::UnixConnect | Op::UnixBind => vec![unix(SOCK_STREAM), self.write(path)?],
            Op::UnixSendto => vec![unix(SOCK_DGRAM), self.write(path)?],
            Op::UnixAbstract => vec![unix(SOCK_STREAM), unix(SOCK_DGRAM)],
            Op::DeepRead => vec![self.file(FileMode::Read, Object::Unresolvable, path)],
            Op::DeepWrite => vec![self.file(FileMode::Write, Object::Unresolvable, path)],
            Op::DeepExec => self.stages(DEEP_FILE, Object::Unresolvable)?,
            Op::Socket
            | Op::Connect
            | Op::Sendto
            | Op::Bind
            | Op::Listen
            | Op::Accept
            | Op::ConnectUnspec
            | Op::Sendmmsg
            | Op::Fastopen
            | Op::BindUnspec
            | Op::ListenUnbound
            | Op::UringConnect
            | Op::UringSendmsg
            | Op::UringAccept => {
                let socket = self.socket()?;
                self.ends(socket).into_iter().map(|end| Operation::Socket { socket, end }).collect()
            }
            Op::Capability | Op::CapabilityUserns | Op::CapabilityNoaudit => self.capability()?,
            Op::MountNew => vec![mount(MountChange::New { at: self.resolve(path)?.into_bytes() })],
            Op::MountBind | Op::MountPropagation => vec![mount(MountChange::Rearrange)],
            Op::MountMove => {
                vec![mount(MountChange::New { at: self.resolve(path)?.into_bytes() }), mount(MountChange::Rearrange)]
            }
            Op::UmountOwn => {
                vec![mount(MountChange::New { at: self.resolve(path)?.into_bytes() }), mount(MountChange::UnmountOwn)]
            }
            Op::UmountForeign => vec![mount(MountChange::UnmountForeign)],
            Op::PivotRoot => vec![mount(MountChange::PivotRoot)],
            Op::EnterForeign => vec![mount(MountChange::EnterForeign)],
            Op::OpenDetached => vec![mount(MountChange::OpenDetached)],
            Op::PtraceSeize | Op::VmWrite | Op::PidfdGetfd => vec![self.attach()],
            Op::OpenProcMem => {
                vec![
                    self.file(FileMode::Read, Object::Path(format!("/proc/{SOME_PID}/mem").into_bytes()), "/proc"),
                    self.attach(),
                ]
            }
            Op::FtraceSwitch => {
                let object = Object::Path(b"/proc/sys/kernel/ftrace_enabled".to_vec());
                vec![self.file(FileMode::Write, object, "/proc"), Operation::TouchPalisade]
            }
            // Listed above by `is_unmediated`.
            Op::Stat
            | Op::Access
            | Op::Readlink
            | Op::Chdir
            | Op::Chroot
            | Op::UnshareUser
            | Op::MemfdUse
            | Op::ReopenStdin
            | Op::SendtoIgnored => Vec::new(),
        })
    }

    /// Each stage of an exec: the script, then each interpreter. `first` is the name that is executed, `object` what it
    /// means.
    fn stages(&self, first: &str, mut object: Object) -> Result<Vec<Operation>> {
        let a = self.access;
        let argv0 = a.argv0.as_deref().unwrap_or(first);
        let mut stages = Vec::new();
        let mut scripts = Vec::new();
        let mut name = first.to_owned();
        let mut arguments = self.arguments(argv0);
        let mut invoked_as = names(first, argv0);
        loop {
            stages.push(Operation::Exec {
                object: object.clone(),
                owner: if stages.is_empty() { a.owner.or(self.owner(&name)) } else { self.owner(&name) },
                scripts: scripts.clone(),
                invoked_as,
                arguments: Some(arguments.clone()),
            });
            let (text, script) = match object {
                Object::Path(path) => {
                    (self.case.tree.scripts.get(&String::from_utf8_lossy(&path).into_owned()), Program::Path(path))
                }
                Object::Unresolvable => (self.case.tree.deep_scripts.get(a.object()), Program::Unknown),
                Object::Memfd(name) => (None, Program::Memfd(name)),
            };
            let Some(text) = text else { return Ok(stages) };
            if stages.len() > INTERPRETER_LIMIT {
                bail!("{first:?} has interpreters without end");
            }
            let line = text.strip_prefix("#!").and_then(|t| t.lines().next()).context("a script without #!")?.trim();
            let (interpreter, option) = match line.split_once(char::is_whitespace) {
                Some((interpreter, option)) => (interpreter, Some(option.trim())),
                None => (line, None),
            };
            // The kernel puts the interpreter's name, its one option and the script's name in place of argv[0].
            let mut next = vec![interpreter.as_bytes().to_vec()];
            next.extend(option.map(|o| o.as_bytes().to_vec()));
            next.push(name.as_bytes().to_vec());
            next.extend(arguments.into_iter().skip(1));
            arguments = next;
            scripts.push(script);
            invoked_as = names(interpreter, interpreter);
            name = interpreter.to_owned();
            object = self.object(&name)?;
        }
    }

    fn arguments(&self, argv0: &str) -> Vec<Vec<u8>> {
        std::iter::once(argv0).chain(self.access.args.iter().map(String::as_str)).map(|a| a.as_bytes().to_vec()).collect()
    }

    /// The use itself, after what its call asks before.
    fn capability(&self) -> Result<Vec<Operation>> {
        let name = self.access.capability.as_deref().unwrap_or_default();
        let capability = Capability::from_name(name).with_context(|| format!("unknown capability {name:?}"))?;
        let used = Operation::Capability { number: capability.number() };
        if self.access.op == Op::CapabilityUserns && name.starts_with("net_") {
            // The network namespace is made with sys_admin over the new user namespace.
            let made = Operation::Capability { number: SYS_ADMIN };
            return Ok(vec![made, made_socket(2, 0), used]);
        }
        Ok(match name {
            "chown" | "fowner" | "mknod" => vec![self.write(CAPABILITY_FILE)?, used],
            "net_raw" => vec![made_socket(3, 1), used],
            "net_bind_service" => {
                let end = End { side: Side::Local, address: Ipv4Addr::LOCALHOST.into(), port: 80 };
                let bound = Operation::Socket { socket: Socket { family: AF_INET, kind: 1, protocol: 0 }, end: Some(end) };
                vec![made_socket(1, 0), bound, used]
            }
            "net_admin" => vec![made_socket(2, 0), used],
            _ => vec![used],
        })
    }

    /// The ends that a network call names; `None` is the operation without one.
    fn ends(&self, socket: Socket) -> Vec<Option<End>> {
        let (op, is_v6) = (self.access.op, socket.family == AF_INET6);
        let of_ip = socket.family == AF_INET || is_v6;
        let loopback = || if is_v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let everywhere = if is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let address = self.access.address.map_or_else(loopback, |address| address.ip());
        let port = |default| self.access.address.map_or(default, |address| address.port());
        let end = if !of_ip {
            None
        } else if op == Op::ListenUnbound {
            Some(End { side: Side::Local, address: everywhere, port: 0 })
        } else if op.names_remote() {
            Some(End { side: Side::Remote, address, port: port(NOBODY) })
        } else if op.names_local() {
            Some(End { side: Side::Local, address, port: port(if op.is_on_bound_socket() { SOME_PORT } else { 0 }) })
        } else {
            None
        };
        // Bound to `::`, a socket takes connections to IPv4 addresses as well.
        let both = end.filter(|end| end.side == Side::Local && end.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let other = both.map(|end| Some(End { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..end }));
        std::iter::once(end).chain(other).collect()
    }

    fn socket(&self) -> Result<Socket> {
        socket(self.access.socket.as_ref().context("no socket")?)
    }

    fn attach(&self) -> Operation {
        Operation::Attach { target: program(self.access.target.as_deref().unwrap_or_default()) }
    }

    fn memfd(&self) -> Vec<u8> {
        self.access.memfd.clone().unwrap_or_default().into_bytes()
    }

    fn moved(&self, path: &str) -> Result<Operation> {
        Ok(Operation::MoveDirectory { object: self.object(path)? })
    }

    fn read(&self, path: &str) -> Result<Operation> {
        Ok(self.file(FileMode::Read, self.object(path)?, path))
    }

    fn write(&self, path: &str) -> Result<Operation> {
        Ok(self.file(FileMode::Write, self.object(path)?, path))
    }

    fn file(&self, mode: FileMode, object: Object, path: &str) -> Operation {
        let owner = self.access.owner.or_else(|| self.owner(path));
        let block_device = self.case.tree.block_devices.iter().any(|d| d == path);
        Operation::File { mode, object, owner, block_device }
    }

    /// The owner of a path, or of the nearest directory above it that the case gives to somebody; root owns the rest.
    fn owner(&self, path: &str) -> Option<u32> {
        let owners = &self.case.tree.owners;
        if let Some(owner) = owners.get(path) {
            return Some(*owner);
        }
        let made = self.access.op.creates() || path == self.access.second();
        Some(if made { owners.get(parent(path)).copied().unwrap_or(0) } else { 0 })
    }

    fn object(&self, path: &str) -> Result<Object> {
        Ok(Object::Path(self.resolve(path)?.into_bytes()))
    }

    /// The kernel's path of the object, as the call follows links.
    fn resolve(&self, path: &str) -> Result<String> {
        // A magic link to the root, which only the call follows; rules never enter procfs.
        let path = path.strip_prefix("/proc/self/root").unwrap_or(path).replace("{pid}", SOME_PID);
        let resolved = if self.access.op.on_the_name() { self.tree.follow_parent(&path) } else { self.tree.follow(&path) };
        resolved.with_context(|| format!("{path:?} is a loop of links"))
    }
}

/// The file that the capability calls with a file use.
pub(crate) const CAPABILITY_FILE: &str = "/t/capability";

/// What `deep_exec` executes, as it names it (probe/launch.c makes it).
const DEEP_FILE: &str = "f";
/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u8 = 21;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
/// A port of which nobody is, where connect and sendto go that say nothing else.
const NOBODY: u16 = 9;
/// Stands for the port that the kernel chooses for a socket bound before the policy.
const SOME_PORT: u16 = 40_000;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;

fn unix(kind: i32) -> Operation {
    Operation::Socket { socket: Socket { family: 1, kind, protocol: 0 }, end: None }
}

/// Making a socket of IPv4.
fn made_socket(kind: i32, protocol: i32) -> Operation {
    Operation::Socket { socket: Socket { family: AF_INET, kind, protocol }, end: None }
}

fn mount(change: MountChange) -> Operation {
    Operation::Mount(change)
}

/// The names of an invocation: the last component of the exec's name and of `argv[0]`.
fn names(path: &str, argv0: &str) -> Vec<Vec<u8>> {
    let mut names = vec![base_name(path).as_bytes().to_vec()];
    let second = base_name(argv0).as_bytes();
    if names[0] != second {
        names.push(second.to_vec());
    }
    names
}
