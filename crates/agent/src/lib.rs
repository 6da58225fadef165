//! The edge: joins policies, the kernel and workloads. The only crate that does.
//!
//! ```text
//! run::run(options)                         `palisade run`: one command in a cgroup of its own
//!   tree::RootTree ----> ruleset::RuleSet   names resolved in the real tree; watch: again when links appear
//!   enforce::bpf   <---- ruleset::compile   tables into the kernel, legends beside them
//!   enforce::landlock                       the back end that needs no root
//!   pipeline       ----> event::Record      records of the ring, enriched, repeats counted
//! world::Agent                              `palisade agent`: the units of a machine, for as long as it runs
//!   workload       ----> Change             who comes and goes
//!   world          ----> enforce::enforcer  policies of files and of gRPC, tables in one step
//!   pipeline::hub  ----> serve              a queue for each reader; gRPC
//!   home                                    /run/palisade: what several palisades share, and what a crash leaves
//!   health                                  what the kernel side counted, and what of it is trouble
//! ```
//!
//! Threads and bounded channels; async in `serve` alone, on one thread. What is dropped anywhere is counted and
//! shown in the stream.

pub mod cgroup;
pub mod directories;
pub mod enforce;
pub mod health;
pub mod home;
pub mod learn;
pub mod links;
pub mod pipeline;
pub mod probe;
pub mod run;
pub mod serve;
pub mod tree;
pub mod watch;
pub mod workload;
pub mod world;
