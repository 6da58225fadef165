//! The corpus as an ordinary user: whose accesses they become, and which only root can make.
//!
//! What is declared here is tried all the same, without policy: one that succeeds after all is an error.

use crate::corpus::{AccessCase, Case};
use crate::lower;
use crate::op::Op;

/// The case with root's accesses and files given to this user, and what was this user's to the next one.
pub(super) fn case_as(case: &Case, uid: u32) -> Case {
    let given = |old: u32| match old {
        0 => uid,
        same if same == uid => uid + 1,
        other => other,
    };
    let mut out = case.clone();
    out.tree.owners.values_mut().for_each(|owner| *owner = given(*owner));
    for access in &mut out.access {
        access.uid = given(access.uid);
        access.owner = access.owner.map(given);
    }
    out
}

/// Capabilities whose use by a case needs none here: the new user is the user's own, or the file or the process is.
const WITHOUT: [&str; 4] = ["fowner", "kill", "setuid", "setgid"];
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_PACKET: i32 = 17;
const SOCK_RAW: i32 = 3;

/// Why an ordinary user cannot make this access even without policy.
#[expect(clippy::wildcard_enum_match_arm, reason = "most calls need no privilege, and one that does shows: it fails undeclared")]
pub(super) fn needs_root(access: &AccessCase) -> Option<&'static str> {
    match access.op {
        Op::MountNew
        | Op::MountBind
        | Op::MountMove
        | Op::MountPropagation
        | Op::UmountOwn
        | Op::UmountForeign
        | Op::PivotRoot
        | Op::Chroot
        | Op::OpenDetached
        | Op::UnshareMount
        | Op::EnterForeign => Some("changing mounts and roots takes CAP_SYS_ADMIN or CAP_SYS_CHROOT"),
        Op::Capability if !access.capability.as_deref().is_some_and(|name| WITHOUT.contains(&name)) => {
            Some("using a capability takes having it")
        }
        Op::CapabilityNoaudit => Some("using a capability takes having it"),
        Op::DeepWrite => Some("what lies below a deep directory is root's"),
        Op::FtraceSwitch => Some("kernel.ftrace_enabled is root's"),
        Op::Socket => {
            let socket = lower::socket(access.socket.as_ref()?).ok()?;
            let raw = matches!(socket.family, AF_INET | AF_INET6) && socket.kind == SOCK_RAW;
            (raw || socket.family == AF_PACKET).then_some("raw and packet sockets take CAP_NET_RAW")
        }
        _ => None,
    }
}
