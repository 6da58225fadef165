//! The stub: `palisade __enter [--cgroup FILE] [--plan FILE] -- COMMAND`. It enters the cgroup, restricts itself where
//! the back end asks for it, and becomes the command. Its exec of the command is the first that is judged.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::confine;

/// The word that calls the stub.
pub const ENTER: &str = "__enter";

/// What shells give for a command that is there and cannot be executed.
const CANNOT_EXECUTE: u8 = 126;
/// What shells give for a command that is not there.
const NOT_FOUND: u8 = 127;
/// What `env` and `timeout` give for a failure of their own.
const OWN_FAILURE: u8 = 125;

/// What the stub is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `cgroup.procs` of the cgroup to enter.
    pub(super) procs: Option<PathBuf>,
    /// The file that holds the plan of a back end that restricts the process itself. The stub removes it.
    pub(super) plan: Option<PathBuf>,
    /// The command.
    pub(super) command: Vec<OsString>,
}

// === impl Entry ===

impl Entry {
    /// The arguments that say so, after `__enter`.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let Self { procs, plan, command } = self;
        let mut arguments = Vec::new();
        for (flag, path) in [("--cgroup", procs), ("--plan", plan)] {
            if let Some(path) = path {
                arguments.extend([flag.into(), path.clone().into_os_string()]);
            }
        }
        arguments.push("--".into());
        arguments.extend(command.iter().cloned());
        arguments
    }

    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let mut entry = Self { procs: None, plan: None, command: Vec::new() };
        loop {
            let word = arguments.next()?;
            match word.to_str() {
                Some("--cgroup") => entry.procs = Some(arguments.next()?.into()),
                Some("--plan") => entry.plan = Some(arguments.next()?.into()),
                Some("--") => break,
                _ => return None,
            }
        }
        entry.command.extend(arguments);
        (!entry.command.is_empty()).then_some(entry)
    }
}

/// Carries out `__enter`: call it with the arguments after that word, first thing in `main`. It returns only if the
/// command could not be executed, with the exit code to give.
///
/// # Guarantees
/// The command is not executed outside its cgroup or without its restrictions.
#[must_use]
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let Some(Entry { procs, plan, command }) = Entry::parse(arguments) else {
        return fail(OWN_FAILURE, format_args!("{ENTER} is called by palisade run alone"));
    };
    if let Some(procs) = &procs
        && let Err(error) = join(procs)
    {
        return fail(OWN_FAILURE, format_args!("cannot enter the cgroup {}: {error}", procs.display()));
    }
    if let Some(plan) = &plan
        && let Err(error) = confine::apply(plan)
    {
        return fail(OWN_FAILURE, format_args!("cannot restrict the command: {error}"));
    }
    let Some((program, arguments)) = command.split_first() else {
        return OWN_FAILURE; // Entry::parse saw to it
    };
    let error = Command::new(program).args(arguments).exec();
    cannot_execute(program, &error, plan.is_some())
}

/// `0` is whoever writes it.
fn join(procs: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(procs)?.write_all(b"0")
}

fn cannot_execute(program: &OsStr, error: &io::Error, restricted: bool) -> u8 {
    let program = program.to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        return fail(NOT_FOUND, format_args!("{program}: command not found"));
    }
    if restricted && error.kind() == io::ErrorKind::PermissionDenied {
        let hint = "by the policies (`palisade policy explain --exec` tells), or by the file's own permissions";
        return fail(CANNOT_EXECUTE, format_args!("{program}: denied {hint}"));
    }
    fail(CANNOT_EXECUTE, format_args!("{program}: {error}"))
}

fn fail(code: u8, text: std::fmt::Arguments<'_>) -> u8 {
    // Nothing is left to do where even stderr is closed.
    let _ = writeln!(io::stderr(), "palisade: {text}");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_says_the_stub_understands() {
        let entry = Entry {
            procs: Some("/sys/fs/cgroup/palisade/run-1/cgroup.procs".into()),
            plan: Some("/tmp/plan".into()),
            command: vec!["sh".into(), "-c".into(), "--".into()],
        };
        assert_eq!(Entry::parse(entry.arguments()), Some(entry));
    }

    #[test]
    fn anything_else_is_refused() {
        for arguments in [vec![], vec!["--"], vec!["--cgroup"], vec!["sh"], vec!["--plan", "x"]] {
            let arguments = arguments.into_iter().map(OsString::from);
            assert_eq!(Entry::parse(arguments), None);
        }
    }
}
