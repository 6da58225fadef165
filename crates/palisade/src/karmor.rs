//! The name `karmor`: who calls the program so gets that command line's verbs, as far as they are there.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::bail;
use clap::CommandFactory as _;

use crate::cli;
use crate::out::Outcome;
use crate::text;

/// The verbs of that command line that have no counterpart here yet.
const NOT_YET: [&str; 12] = [
    "install",
    "logs",
    "profile",
    "recommend",
    "rotate-tls",
    "selfupdate",
    "simulate",
    "summary",
    "sysdump",
    "uninstall",
    "verify",
    "vm",
];

/// Whether the program was called by that name.
pub(crate) fn is_meant(program: Option<&OsString>) -> bool {
    program.is_some_and(|path| Path::new(path).file_name() == Some(OsStr::new("karmor")))
}

/// Does what `karmor VERB ...` says, or says in one line that it cannot.
pub(crate) fn run(mut args: Vec<OsString>) -> anyhow::Result<Outcome> {
    let verb = args.get(1).map(|verb| verb.to_string_lossy().into_owned());
    match verb.as_deref() {
        Some("version") => args[1] = "--version".into(),
        Some(verb) if NOT_YET.contains(&verb) => bail!("`karmor {verb}` is not there yet; there are: {}", there()),
        Some(verb) if !verb.starts_with('-') && !there().split(", ").any(|known| known == verb) => {
            bail!("there is no `karmor {}`; there are: {}", text::name(verb.as_bytes()), there())
        }
        Some(_) | None => {}
    }
    cli::run_palisade(args)
}

/// What is answered, by either name.
fn there() -> String {
    let verbs = cli::Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect::<Vec<_>>();
    let there = verbs.into_iter().filter(|verb| !NOT_YET.contains(&verb.as_str()));
    there.chain(["help".to_owned(), "version".to_owned()]).collect::<Vec<_>>().join(", ")
}
