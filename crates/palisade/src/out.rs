//! What a command leaves behind: its output and its exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use palisade_event::escape::misleads;
use serde::Serialize;

use crate::text;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what was asked.
    Passed,
    /// The check or the test failed.
    Failed,
    /// The command line or the input cannot be used; the reason has been told.
    Unusable,
    /// The command that it ran gave this code.
    Exit(u8),
}

/// The exit code of a command; tells on stderr what kept it from being carried out.
pub(crate) fn exit_code(result: anyhow::Result<Outcome>) -> ExitCode {
    const FAILED: u8 = 1;
    const UNUSABLE: u8 = 2;
    match result {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(FAILED),
        Ok(Outcome::Unusable) => ExitCode::from(UNUSABLE),
        Ok(Outcome::Exit(code)) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("{}: {}\n", text::red("error"), text::lines(&format!("{error:#}")));
            // Where stderr is gone too, only the exit code is left to tell.
            let _ = anstream::stderr().write_all(line.as_bytes());
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Prints on stdout. Styles are left out where it is no terminal or where `NO_COLOR` is set.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints on stderr, as [`print()`] does on stdout.
pub(crate) fn print_error(text: &str) -> io::Result<()> {
    anstream::stderr().lock().write_all(text.as_bytes())
}

/// Prints a value as JSON, indented. What could mislead a terminal is escaped, as JSON can.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(&pretty_json(value)?)?)
}

/// A value as JSON, indented, with a newline. What could mislead a terminal is escaped, as JSON can.
pub(crate) fn pretty_json(value: &impl Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if misleads(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    Ok(safe)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
