//! Running the host's programs: short ones for their output, long ones with
//! signs of life, and an error that shows what the program said.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long step says that it is still at work.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Lines of a failed program's output that its error shows.
const ERROR_LINES: usize = 25;

/// A piece of work that may take long, announced on standard error.
#[derive(Debug)]
pub struct Step {
    name: String,
    started: Instant,
}

// === impl Step ===

impl Step {
    /// Announces the work: `xtask: NAME ...`.
    pub fn start(name: impl Into<String>) -> Self {
        let name = name.into();
        eprintln!("xtask: {name} ...");
        Self { name, started: Instant::now() }
    }

    /// Runs `command` to its end, with a line every 20 seconds meanwhile.
    ///
    /// # Errors
    /// The program cannot be started or fails; the error has the end of its output.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let mut log = tempfile::tempfile().context("create a log file")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log.try_clone().context("share the log file")?)
            .spawn()
            .with_context(|| format!("start {}", words(command)))?;
        let mut said = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().context("wait for a program")? {
                break status;
            }
            if said.elapsed() >= HEARTBEAT {
                said = Instant::now();
                let seconds = self.started.elapsed().as_secs();
                eprintln!("xtask: {} ... {seconds} s so far", self.name);
            }
            thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        bail!("{} ended with {status}:\n{}", words(command), tail(&read_back(&mut log)?, ERROR_LINES))
    }

    /// Announces the end, with the seconds it took.
    pub fn done(self) {
        let Self { name, started } = self;
        eprintln!("xtask: {name}: done in {:.1} s", started.elapsed().as_secs_f64());
    }
}

/// Runs a short program and returns its standard output.
///
/// # Errors
/// The program cannot be started, fails (the error has its last lines of
/// standard error), or prints what is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {}", words(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}:\n{}", words(command), output.status, tail(&said, ERROR_LINES));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed what is not UTF-8", words(command)))
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    let first = all.len().saturating_sub(lines);
    all.get(first..).unwrap_or_default().join("\n")
}

fn read_back(log: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    log.rewind().context("read the log file")?;
    log.read_to_end(&mut bytes).context("read the log file")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command as a person would type it, for messages only (nothing is quoted).
fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 5), "a");
        assert_eq!(tail("", 5), "");
    }

    #[test]
    fn a_failing_program_shows_what_it_said() {
        let step = Step::start("test");
        let error = step.run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("broken"), "{text}");
    }
}
