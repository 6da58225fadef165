//! What happened: one event type, its encodings, and the counting of repeats.
//!
//! ```text
//! producer (agent, audit adapter) -> Record { Event | Loss | Message } -> Aggregator -> text::Text  (one line for people)
//!                                                                                   -> json::encode (KubeArmor's JSON)
//!                                                                                   -> Summary      (rows at the end)
//! ```
//!
//! This crate is pure: times are given to it, it reads no clock, opens nothing and knows no terminal (colours are
//! [`anstyle`] styles that the caller passes in). It is *not* the place that decides or looks rules up: a producer hands
//! it the verdict and the rule, as facts. Its vocabulary of operations and built-in names is its own, so that it depends
//! on `palisade-policy` alone.
//!
//! # Bytes from outside
//!
//! Paths, arguments and names come from the observed programs, which may be hostile. No encoding writes them raw:
//!
//! | encoding | what may not be written raw | how it is written |
//! |---|---|---|
//! | text | bytes that are not UTF-8, C0 controls, DEL | `\xNN` |
//! | text | C1 controls, bidi overrides, invisible characters, blanks other than the space | `\u{NN}` |
//! | text | a backslash | `\\`, so that the escapes above cannot be faked |
//! | text | a word with a space or a `"`, or an empty one | in `"`, so that columns cannot be faked |
//! | JSON | bytes that are not UTF-8 | `\xNN` in the string's value (see [`escape::to_json_text`]; lossless) |
//! | JSON | the characters of rows 1 and 2 | JSON's own `\uNNNN`, which leaves the string's value as it is |
//!
//! # Limits
//!
//! Nothing is cut, but for the arguments of an exec in the text form ([`text::ARGUMENTS_SHOWN_BYTES`], marked where it
//! happens). Tables of repeats are bounded ([`aggregate::KEYS`], [`summary::ROWS`]) and say what happens when full.

pub mod aggregate;
pub mod escape;
pub mod event;
mod identity;
pub mod json;
pub mod kubearmor;
pub mod operation;
pub mod summary;
pub mod text;
pub mod time;
pub mod verdict;

pub use aggregate::Aggregator;
pub use event::{Event, Host, Level, Loss, LossPlace, Message, Owner, Process, Record, Repeats, Workload};
pub use operation::{Object, Operation, Socket};
pub use summary::Summary;
pub use text::Text;
pub use time::Timestamp;
pub use verdict::{Decider, Enforcer, Errno, Rule, Shadow, ShadowVerdict, Verdict};

/// What encodings leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Leave out the arguments of programs wherever they would appear (KubeArmor's `dropResourceFromProcessLogs`): secrets
    /// are passed on command lines. The programs' paths stay.
    pub drop_command_lines: bool,
}
