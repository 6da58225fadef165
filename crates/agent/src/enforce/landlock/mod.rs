//! Landlock with seccomp: the back end of `palisade run` that needs no root.
//!
//! ```text
//! RuleSet -> Plan::new (asks decide() for each object; every difference numbered) -> pipe -> stub of our own binary
//!     -> restrict_current_process (no_new_privs, capabilities, Landlock, seccomp) -> exec COMMAND
//! root, audit on: kernel audit records -> AuditReader -> SeenDenial -> Explainer (asks decide() again) -> pipeline
//! ```
//! It is *not* equal to BPF-LSM: Landlock knows allow-lists over inodes and nothing of who acts, how or why.
//! `docs/landlock.md` says what an allow-list means here and numbers what differs ([`DIFFERENCES`]).

mod aliases;
mod apply;
mod ask;
mod audit;
mod audit_reader;
mod denials;
mod differences;
mod gaps;
mod plan;
mod programs;
mod rights;
mod shapes;
mod sockets;
mod text;
mod view;
mod walk;

#[cfg(test)]
mod native_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod testing;

pub use apply::{Applied, ApplyError, KernelLandlock, LeftOut, restrict_current_process, ruleset_for};
pub use audit::{DeniedTask, Entered, LANDLOCK_ACCESS, LANDLOCK_DOMAIN, Record, SYSCALL, Seen, SeenDenial, Tracker};
pub use audit_reader::{AuditReader, AuditStatus, AuditUnavailable};
pub use denials::{Denied, Explainer, Reason};
pub use differences::{DIFFERENCES, Difference, DifferenceLine, Effect, Gap, Strict, Weight};
pub use plan::{Counts, HandOverError, NonRecursive, PathGrant, Plan, PlanError, PlanOptions};
pub use rights::{Abi, Grant, Rights};
pub use sockets::{FilterError, Number, SocketMatch, SyscallPolicy};
pub use view::{Child, FileFacts, FileKind, Identity, Interpreter, RealView, TableView, View};
