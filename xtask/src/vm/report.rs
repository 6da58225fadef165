//! What came of a run, and how it is told.

use std::fmt;
use std::time::Duration;

use super::console;
use crate::process;

/// xtask's exit code when the harness itself failed, before or after the guest ran.
pub const EXIT_HARNESS: u8 = 125;
/// xtask's exit code when the guest was stopped by the timeout.
pub const EXIT_TIMEOUT: u8 = 124;
/// xtask's exit code when the guest's kernel panicked.
pub const EXIT_PANIC: u8 = 123;
/// xtask's exit code when the guest ended without a result for another reason.
pub const EXIT_NO_RESULT: u8 = 122;

/// Lines of the console that are shown of a guest without a result.
pub(super) const SHOWN_LINES: usize = 40;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this exit code (128 + n for signal n).
    Exited(u8),
    /// The guest gave no result.
    Failed(Cause),
}

/// Why a guest gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its kernel panicked, or oopsed; the kernel's words.
    Panic(String),
    /// It was stopped.
    TimedOut {
        /// What it was at.
        phase: Phase,
        /// The timeout that ran out.
        after: Duration,
        /// How long its console had been silent.
        silent: Duration,
    },
    /// Its PID 1 could not do its part, in its words.
    Guest(String),
    /// QEMU itself failed: how it ended, and what it said.
    Emulator(String),
    /// It powered off or reset without a word.
    Silent,
}

/// How far a guest had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The command had not started.
    Boot,
    /// The command was running.
    Command,
    /// The command had ended.
    PowerOff,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The result.
    pub outcome: Outcome,
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The console's text, at most 16 MiB of it.
    pub console: String,
    /// The guest's clock when the command started.
    pub ready: Option<Duration>,
    /// The guest's clock when the command ended.
    pub ended: Option<Duration>,
    /// From the start of QEMU to its end.
    pub wall: Duration,
    /// The first boot failed, and this is the second.
    pub retried: bool,
}

// === impl Outcome ===

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Failed(cause) => write!(formatter, "no result: {cause}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(line) => write!(formatter, "the guest's kernel panicked: {line}"),
            Self::TimedOut { phase, after, silent } => write!(
                formatter,
                "stopped {phase} after {} s; the console was silent for the last {:.0} s",
                after.as_secs(),
                silent.as_secs_f64()
            ),
            Self::Guest(error) => write!(formatter, "the guest's init failed: {error}"),
            Self::Emulator(error) => write!(formatter, "QEMU failed: {error}"),
            Self::Silent => formatter.write_str("the guest ended without reporting one"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boot => "in its boot",
            Self::Command => "in the command",
            Self::PowerOff => "after the command had ended",
        })
    }
}

// === impl Report ===

impl Report {
    /// The exit code that xtask ends with: the command's, or one of `EXIT_*`.
    pub fn exit_code(&self) -> u8 {
        match &self.outcome {
            Outcome::Exited(code) => *code,
            Outcome::Failed(Cause::Panic(_)) => EXIT_PANIC,
            Outcome::Failed(Cause::TimedOut { .. }) => EXIT_TIMEOUT,
            Outcome::Failed(Cause::Guest(_) | Cause::Emulator(_) | Cause::Silent) => EXIT_NO_RESULT,
        }
    }

    /// The lines that tell a person how it went; a guest without a result with
    /// the end of its console.
    pub fn summary(&self) -> String {
        let Self { outcome, release, console, ready, ended, wall, retried } = self;
        let clock = |time: &Option<Duration>| match time {
            Some(time) => format!("{:.1} s", time.as_secs_f64()),
            None => "never".to_owned(),
        };
        let mut text = String::new();
        if let Outcome::Failed(_) = outcome {
            text.push_str(&format!("the end of the guest's console:\n{}\n", process::tail(console, SHOWN_LINES)));
        }
        if let Some(line) = console::out_of_memory_line(console) {
            text.push_str(&format!("the guest ran out of memory: {}\n", line.trim()));
        }
        text.push_str(&format!(
            "{outcome}; {release}, guest clock: command started {}, ended {}; {:.1} s in all{}",
            clock(ready),
            clock(ended),
            wall.as_secs_f64(),
            if *retried { ", second boot" } else { "" }
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            outcome,
            release: "6.1.0".to_owned(),
            console: "one\n[ 4.0] Out of memory: Killed process 7 (sh)\n".to_owned(),
            ready: Some(Duration::from_millis(2500)),
            ended: None,
            wall: Duration::from_secs(4),
            retried: true,
        }
    }

    #[test]
    fn each_kind_of_failure_has_an_exit_code_of_its_own() {
        let timed_out = Cause::TimedOut { phase: Phase::Boot, after: Duration::ZERO, silent: Duration::ZERO };
        let code = |outcome| report(outcome).exit_code();
        assert_eq!(code(Outcome::Exited(7)), 7);
        assert_eq!(code(Outcome::Failed(timed_out)), EXIT_TIMEOUT);
        assert_eq!(code(Outcome::Failed(Cause::Panic(String::new()))), EXIT_PANIC);
        assert_eq!(code(Outcome::Failed(Cause::Silent)), EXIT_NO_RESULT);
    }

    #[test]
    fn a_summary_shows_the_console_of_a_failure_only() {
        let failed = report(Outcome::Failed(Cause::Silent)).summary();
        assert!(failed.starts_with("the end of the guest's console:\none\n"), "{failed}");
        assert!(failed.ends_with("command started 2.5 s, ended never; 4.0 s in all, second boot"), "{failed}");
        let exited = report(Outcome::Exited(0)).summary();
        assert!(exited.starts_with("the guest ran out of memory: [ 4.0] Out"), "{exited}");
    }
}
