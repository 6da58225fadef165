//! The command line: which verbs there are, and to which module each goes.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::out::Outcome;
#[cfg(feature = "node")]
use crate::{agent, probe, run};
use crate::{completions, karmor, logs, policy, workloads};

/// Keeps programs to what they were meant to do.
///
/// A policy says which programs a workload may run, which files it may read and write, which sockets it may open and
/// which capabilities it may use. Policies are written as for KubeArmor.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command under policies
    #[cfg(feature = "node")]
    Run(Box<run::Args>),
    /// Run the agent of this machine: units under policies, events for whoever asks
    #[cfg(feature = "node")]
    Agent(Box<agent::Args>),
    /// Show what policies denied and reported, as the agent tells it
    Logs(Box<logs::Args>),
    /// Show who runs: which policies select it, what carries them out, and how far
    Workloads(workloads::Args),
    /// Show what this kernel and machine offer, each line proven by trying
    #[cfg(feature = "node")]
    Probe(probe::Args),
    /// Check, explain, test and compile policies, which needs no privileges; add them to the agent
    Policy(policy::PolicyArgs),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

const EXAMPLES: &str = "\
Examples:
  # deny everything that nginx.yaml does not allow
  palisade run --policy nginx.yaml -- nginx -g 'daemon off;'
  # a unit under the policies of a directory, from now on
  palisade agent --policies DIR --unit nginx.service
  # what the agent's policies deny and report
  palisade logs --follow
  # what can be enforced here, and why not more
  palisade probe
  # what is wrong with a policy, and what is worth knowing
  palisade policy check nginx.yaml
  # would it run, and which rule says so
  palisade policy explain nginx.yaml --exec /bin/sh
  # expected verdicts, as a test
  palisade policy test nginx.test.yaml
  # tab completion
  palisade completions bash > /etc/bash_completion.d/palisade";

/// Parses the arguments and does what they say.
///
/// # Errors
/// Whatever keeps the command from being carried out; what the command finds wrong is an [`Outcome`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Outcome> {
    let args: Vec<OsString> = args.into_iter().collect();
    if karmor::is_meant(args.first()) {
        return karmor::run(args);
    }
    run_palisade(args)
}

/// The same, whatever the program's name is.
pub(crate) fn run_palisade(args: Vec<OsString>) -> anyhow::Result<Outcome> {
    let cli = Cli::command().try_get_matches_from(args).and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let Cli { command } = match cli {
        Ok(cli) => cli,
        // Usage, `--help` and `--version`: clap knows which goes where.
        Err(error) => {
            error.print()?;
            return Ok(if error.use_stderr() { Outcome::Unusable } else { Outcome::Passed });
        }
    };
    match command {
        #[cfg(feature = "node")]
        Command::Run(args) => run::run(*args),
        #[cfg(feature = "node")]
        Command::Probe(args) => probe::run(&args),
        #[cfg(feature = "node")]
        Command::Agent(args) => agent::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Workloads(args) => workloads::run(&args),
        Command::Policy(args) => policy::run(args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}
