//! What policies mean. Only this crate says it: back ends render its output and are tested against [`decide`].
//!
//! ```text
//! policies x workload x tree -> RuleSet (selected, links resolved, ranked)
//!     RuleSet x Access -> decide() / explain()         one access, by plain matching
//!     RuleSet          -> compile() -> Compiled        automata, cells and vectors that the kernel walks; legend
//!     Compiled x Access -> Table::decide()             the kernel's walk in user space, to prove the tables
//! ```
//!
//! Pure: no I/O, no clock, no unsafe. Same input, same bytes.

mod access;
mod automaton;
mod base_set;
mod compile;
mod decide;
mod decision;
mod endpoint;
mod explain;
mod judge;
mod late;
mod matching;
mod network;
mod pattern;
mod resolve;
mod rules;
mod walk;
mod workload;

pub use access::{Access, Actor, End, FileMode, MountChange, Object, Operation, Program, Side, Socket};
pub use base_set::{BASE_SET, BaseEntry};
pub use compile::{
    ABI_VERSION, AutomatonStats, ClassStats, CompileError, Compiled, HEADER_BYTES, SIZE_BITS, Stamp, Stats, compile,
};
pub use decide::{decide, decide_all};
pub use decision::{BuiltIn, By, Decision, RuleId, Verdict};
pub use explain::{Explanation, Matched, explain};
pub use late::{Gained, LATE_NAMES_MAX};
pub use resolve::{MULTI_CALL, concerns};
pub use rules::{Legend, LegendRule, Rule, RuleBody, RuleSet, Tier};
pub use walk::{Table, Walked};
pub use workload::{Mode, NoLinks, Posture, Postures, Resolved, Scope, StdioFile, Tree, Workload};
