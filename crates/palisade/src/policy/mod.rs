//! `palisade policy`: what needs policies and no kernel; and the policies of the running agent.
//!
//! ```text
//! files -> input -> policy::parse -> check    problems, notes, hints, with a tree: names and needs
//!                                 -> explain  one access: verdict, rule, and the rules that lost
//!                                 -> test     many accesses with the verdicts that are expected
//!                                 -> compile  tables: states, bytes, limits
//! ```

mod access;
mod check;
mod compile;
mod end;
mod explain;
pub(crate) mod input;
mod remote;
mod report;
mod socket;
mod test;

use clap::Subcommand;

use crate::out::Outcome;

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Find what is wrong in policies, and what is worth knowing about them
    Check(check::Args),
    /// Tell what happens to one access, and why
    Explain(Box<explain::Args>),
    /// Compare verdicts with the expected ones
    Test(test::Args),
    /// Compile policies to the tables that the kernel walks, and tell their size
    Compile(compile::Args),
    /// Give the running agent policies, which it keeps
    Add(remote::ChangeArgs),
    /// Take policies away from the running agent
    Delete(remote::ChangeArgs),
    /// Show the policies of the running agent, what they select, and what is wrong with files
    List(remote::ListArgs),
}

/// Does what `policy VERB ...` says.
pub(crate) fn run(args: PolicyArgs) -> anyhow::Result<Outcome> {
    let PolicyArgs { command } = args;
    match command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Compile(args) => compile::run(&args),
        PolicyCommand::Add(args) => remote::change(&args, remote::Change::Add),
        PolicyCommand::Delete(args) => remote::change(&args, remote::Change::Delete),
        PolicyCommand::List(args) => remote::list(&args),
    }
}
