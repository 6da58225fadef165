//! The one binary: `palisade`, also by the name `karmor`.
//!
//! ```text
//! argv -> cli (clap; karmor: the verbs of that command line) -> one module per verb -> Outcome -> exit code
//! ```
//!
//! Exit codes: 0 done, 1 the check or test failed, 2 the command line or the input cannot be used; `run` gives its
//! command's. Whoever closes the pipe has read enough: that is success.
//!
//! Nothing that a policy or a file tree says reaches a terminal as it is: see [`text`].

#[cfg(feature = "node")]
mod agent;
mod cli;
mod client;
mod completions;
#[cfg(feature = "node")]
mod host;
mod karmor;
#[cfg(feature = "node")]
mod learn;
mod logs;
mod out;
mod policy;
#[cfg(feature = "node")]
mod probe;
#[cfg(feature = "node")]
mod run;
mod text;
mod tree;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The stub of `run`: it becomes the command, so nothing may come before it.
    #[cfg(feature = "node")]
    if std::env::args_os().nth(1).is_some_and(|word| word == palisade_agent::run::ENTER) {
        return ExitCode::from(palisade_agent::run::enter(std::env::args_os().skip(2)));
    }
    out::exit_code(cli::run(std::env::args_os()))
}
