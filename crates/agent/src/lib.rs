//! The edge: joins policies, the kernel and workloads. The only crate that does.
//!
//! ```text
//! run::run(options)                         `palisade run`: one command in a cgroup of its own
//!   tree::RootTree ----> ruleset::RuleSet   names resolved in the real tree; watch: again when links appear
//!   enforce::bpf   <---- ruleset::compile   tables into the kernel, legends beside them
//!   enforce::landlock                       the back end that needs no root
//!   pipeline       ----> event::Record      records of the ring, enriched, repeats counted
//!   home                                    /run/palisade: what several palisades share, and what a crash leaves
//!   health                                  what the kernel side counted, and what of it is trouble
//! ```
//!
//! No async: threads and bounded channels. What is dropped anywhere is counted and shown in the stream.

pub mod cgroup;
pub mod enforce;
pub mod health;
pub mod home;
pub mod learn;
pub mod pipeline;
pub mod probe;
pub mod run;
pub mod tree;
pub mod watch;
