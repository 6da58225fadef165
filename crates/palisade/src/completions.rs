//! `palisade completions SHELL`.

use clap_complete::Shell;

use crate::out::{self, Outcome};

const EXAMPLES: &str = "\
Examples:
  palisade completions bash > /etc/bash_completion.d/palisade
  palisade completions zsh > \"${fpath[1]}/_palisade\"
  palisade completions fish > ~/.config/fish/completions/palisade.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<Outcome> {
    let Args { shell } = args;
    let mut script = Vec::new();
    clap_complete::generate(*shell, command, "palisade", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Passed)
}
