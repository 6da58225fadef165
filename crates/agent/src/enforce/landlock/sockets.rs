//! Which system calls seccomp refuses, because Landlock does not judge them: socket creation by family, type and
//! protocol, io_uring (whose sockets pass no filter), and memfds that could be executed.
//!
//! ```text
//! decide() per (family, type, protocol) that the law tells apart -> SocketMatch list -> two filters
//!     1  socket, socketpair, memfd_create  -> EACCES        other ABIs: x32 of these calls EACCES,
//!     2  io_uring_*                        -> EPERM         everything of another architecture: killed (SIGSYS)
//! ```
//! A filter sees numbers only. It does not see descriptors that were passed or inherited, nor addresses.

use std::collections::BTreeMap;

use palisade_ruleset::Socket;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use serde::{Deserialize, Serialize};

use super::ask::Asker;
use super::plan::Restricted;

/// What is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallPolicy {
    /// Sockets that may not be made; empty: all may, and no filter over sockets is installed.
    pub sockets: Vec<SocketMatch>,
    /// memfds that could be executed may not be made: the process class would deny their exec.
    pub executable_memfd: bool,
}

/// Sockets by what `socket(2)` is called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketMatch {
    /// AF_*.
    pub family: Number,
    /// SOCK_*, without SOCK_NONBLOCK and SOCK_CLOEXEC.
    pub kind: Number,
    /// The protocol.
    pub protocol: Number,
}

/// A condition on one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// Any.
    Any,
    /// This one.
    Is(i32),
    /// None of these.
    Not(Vec<i32>),
}

/// Why no filter could be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The architecture has no table of system calls here.
    #[error("no system call numbers for this architecture ({0})")]
    Architecture(&'static str),
    /// seccompiler refused.
    #[error("build the seccomp filter")]
    Build(#[source] seccompiler::BackendError),
}

/// System call numbers of this architecture.
struct Calls {
    socket: i64,
    socketpair: i64,
    memfd_create: i64,
    io_uring: [i64; 3],
    /// What the other ABI of the same architecture number adds to each (x32).
    twin: Option<i64>,
}

const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const AF_PACKET: i32 = 17;
const AF_SMC: i32 = 43;
/// Stands for every family that the law does not tell apart (AF_VSOCK).
const AF_OTHER: i32 = 40;
const FAMILIES: [i32; 6] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_SMC];
/// STREAM, DGRAM, RAW, RDM, SEQPACKET, DCCP, PACKET. The kernel refuses every other type by itself.
const KINDS: [i32; 7] = [1, 2, 3, 4, 5, 6, 10];
/// IP (0), ICMP, TCP, UDP, DCCP, ICMPv6, SCTP, UDP-Lite, MPTCP; of netlink 0 is NETLINK_ROUTE.
const PROTOCOLS: [i32; 9] = [0, 1, 6, 17, 33, 58, 132, 136, 262];
/// Stands for every other protocol.
const PROTOCOL_OTHER: i32 = 250;
/// `SOCK_TYPE_MASK` of the kernel.
const KIND_MASK: u64 = 0xf;
/// `MFD_NOEXEC_SEAL` (Linux 6.3): the memfd can never be executed.
const MFD_NOEXEC_SEAL: u64 = 0x8;
const EPERM: u32 = 1;
const EACCES: u32 = 13;

#[cfg(target_arch = "x86_64")]
const CALLS: Option<Calls> =
    Some(Calls { socket: 41, socketpair: 53, memfd_create: 319, io_uring: [425, 426, 427], twin: Some(0x4000_0000) });
#[cfg(target_arch = "aarch64")]
const CALLS: Option<Calls> =
    Some(Calls { socket: 198, socketpair: 199, memfd_create: 279, io_uring: [425, 426, 427], twin: None });
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: Option<Calls> = None;

// === impl SyscallPolicy ===

impl SyscallPolicy {
    /// What the rule set denies of what seccomp can refuse.
    pub(super) fn of(asker: &Asker<'_>, restricted: Restricted) -> Self {
        let Restricted { process, file: _, network, capability: _ } = restricted;
        let sockets = if network { refused(asker) } else { Vec::new() };
        Self { sockets, executable_memfd: process && !asker.exec_memfd().passes }
    }

    /// Whether nothing is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { sockets, executable_memfd } = self;
        sockets.is_empty() && !executable_memfd
    }

    /// Whether a socket may not be made: what the filters do, for tests and `explain`.
    #[must_use]
    pub fn refuses(&self, family: i32, kind: i32, protocol: i32) -> bool {
        self.sockets.iter().any(|m| m.family.meets(family) && m.kind.meets(kind) && m.protocol.meets(protocol))
    }

    /// The filters, in the order in which to install them; none where nothing is refused.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn filters(&self) -> Result<Vec<BpfProgram>, FilterError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let calls = CALLS.ok_or(FilterError::Architecture(std::env::consts::ARCH))?;
        let mut denied: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        let mut unconditional = Vec::new();
        if !self.sockets.is_empty() {
            let rules = self.sockets.iter().map(SocketMatch::rule).collect::<Result<Vec<_>, _>>()?;
            denied.insert(calls.socket, rules.clone());
            denied.insert(calls.socketpair, rules);
            unconditional.extend([calls.socket, calls.socketpair]);
        }
        if self.executable_memfd {
            denied.insert(calls.memfd_create, vec![rule(vec![condition(1, SeccompCmpOp::MaskedEq(MFD_NOEXEC_SEAL), 0)?])?]);
            unconditional.push(calls.memfd_create);
        }
        for (call, twin) in unconditional.into_iter().filter_map(|c| Some((c, calls.twin?))) {
            denied.insert(call + twin, Vec::new());
        }
        let rings: BTreeMap<i64, Vec<SeccompRule>> = calls
            .io_uring
            .into_iter()
            .flat_map(|call| [Some(call), calls.twin.map(|twin| call + twin)])
            .flatten()
            .map(|call| (call, Vec::new()))
            .collect();
        [(denied, EACCES), (rings, EPERM)].into_iter().map(|(rules, errno)| program(rules, errno)).collect()
    }
}

// === impl SocketMatch, Number ===

impl SocketMatch {
    fn rule(&self) -> Result<SeccompRule, FilterError> {
        let Self { family, kind, protocol } = self;
        let mut conditions = Vec::new();
        family.conditions(0, &mut conditions)?;
        match kind {
            Number::Is(kind) => conditions.push(condition(1, SeccompCmpOp::MaskedEq(KIND_MASK), *kind)?),
            Number::Any | Number::Not(_) => {}
        }
        protocol.conditions(2, &mut conditions)?;
        rule(conditions)
    }
}

impl Number {
    fn meets(&self, number: i32) -> bool {
        match self {
            Self::Any => true,
            Self::Is(n) => *n == number,
            Self::Not(list) => !list.contains(&number),
        }
    }

    fn conditions(&self, argument: u8, out: &mut Vec<SeccompCondition>) -> Result<(), FilterError> {
        match self {
            Self::Any => {}
            Self::Is(n) => out.push(condition(argument, SeccompCmpOp::Eq, *n)?),
            Self::Not(list) => {
                for n in list {
                    out.push(condition(argument, SeccompCmpOp::Ne, *n)?);
                }
            }
        }
        Ok(())
    }
}

/// The sockets that the rule set denies, as few matches as say it.
fn refused(asker: &Asker<'_>) -> Vec<SocketMatch> {
    let denied = |family, kind, protocol| !asker.socket(Socket { family, kind, protocol }).passes;
    let mut out = Vec::new();
    let families = FAMILIES.map(|f| (Number::Is(f), f));
    for (family, f) in families.into_iter().chain([(Number::Not(FAMILIES.to_vec()), AF_OTHER)]) {
        let mut of_family = Vec::new();
        let mut whole_family = true;
        for kind in KINDS {
            let protocols = PROTOCOLS.map(|p| (Number::Is(p), p));
            let protocols = protocols.into_iter().chain([(Number::Not(PROTOCOLS.to_vec()), PROTOCOL_OTHER)]);
            let (refused, free): (Vec<_>, Vec<_>) = protocols.partition(|(_, p)| denied(f, kind, *p));
            whole_family &= free.is_empty();
            let kind = Number::Is(kind);
            if free.is_empty() {
                of_family.push(SocketMatch { family: family.clone(), kind, protocol: Number::Any });
            } else if refused.iter().any(|(n, _)| matches!(n, Number::Not(_))) {
                let free = free.into_iter().map(|(_, p)| p).collect();
                of_family.push(SocketMatch { family: family.clone(), kind, protocol: Number::Not(free) });
            } else {
                for (protocol, _) in refused {
                    of_family.push(SocketMatch { family: family.clone(), kind: kind.clone(), protocol });
                }
            }
        }
        if whole_family {
            out.push(SocketMatch { family, kind: Number::Any, protocol: Number::Any });
        } else {
            out.append(&mut of_family);
        }
    }
    out
}

fn condition(argument: u8, op: SeccompCmpOp, value: i32) -> Result<SeccompCondition, FilterError> {
    // The kernel takes the low 32 bits of each of these arguments.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, u64::from(value.cast_unsigned())).map_err(FilterError::Build)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, FilterError> {
    SeccompRule::new(conditions).map_err(FilterError::Build)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: u32) -> Result<BpfProgram, FilterError> {
    let arch = std::env::consts::ARCH.try_into().map_err(FilterError::Build)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).map_err(FilterError::Build)?;
    filter.try_into().map_err(FilterError::Build)
}
