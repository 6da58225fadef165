//! The guest's console: passed on as it comes, kept for the report, watched for a panic.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is kept of a console, in bytes: 16 MiB. More is passed on and logged, not kept.
const KEPT_BYTES: usize = 16 << 20;
/// How the kernel begins its last words.
const PANIC: &str = "Kernel panic - not syncing";
/// What the kernel says when it kills a process for its memory.
const OUT_OF_MEMORY: &str = "Out of memory: Killed process";

/// Where the guest's console goes while it runs; it is in the report besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleSink {
    /// To standard output.
    #[default]
    Stdout,
    /// To standard output, whole lines, each behind this name: for several guests at once.
    Named(&'static str),
    /// Nowhere else.
    Kept,
}

/// When the guest last said something; shared with the one who waits for it.
#[derive(Clone, Debug)]
pub(super) struct LastOutput(Arc<Mutex<Instant>>);

// === impl LastOutput ===

impl LastOutput {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn elapsed(&self) -> Duration {
        let Self(last) = self;
        last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn touch(&self) {
        let Self(last) = self;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Reads the console to its end and returns its text, without carriage returns.
///
/// A sink that fails (a closed pipe) is given up; the console is still read,
/// or the guest would stop.
///
/// # Errors
/// Reading fails.
pub(super) fn pump(mut from: impl Read, sink: ConsoleSink, mut log: Option<File>, last: &LastOutput) -> io::Result<String> {
    let (mut sink, name) = match sink {
        ConsoleSink::Stdout => (Some(io::stdout()), None),
        ConsoleSink::Named(name) => (Some(io::stdout()), Some(name)),
        ConsoleSink::Kept => (None, None),
    };
    let mut line = Vec::new();
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        last.touch();
        let mut bytes = buffer.get(..count).unwrap_or_default().to_vec();
        bytes.retain(|byte| *byte != b'\r');
        match name {
            None => pass_on(&mut sink, &bytes),
            Some(name) => pass_on(&mut sink, &named_lines(name, &mut line, &bytes)),
        }
        pass_on(&mut log, &bytes);
        let room = KEPT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }
    if let (Some(name), false) = (name, line.is_empty()) {
        pass_on(&mut sink, &named_lines(name, &mut line, b"\n"));
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

/// The lines that `bytes` completes, each behind the name; what is left waits in `line`. A line is at most what a read
/// brings plus what waited, and a console's are short.
fn named_lines(name: &str, line: &mut Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    line.extend_from_slice(bytes);
    let Some(end) = line.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = line.split_off(end + 1);
    let complete = std::mem::replace(line, rest);
    let width = 8;
    complete.split_inclusive(|byte| *byte == b'\n').flat_map(|l| [format!("{name:width$}| ").as_bytes(), l].concat()).collect()
}

/// The kernel's last words, if it panicked.
pub(super) fn panic_line(console: &str) -> Option<&str> {
    console.lines().find(|line| line.contains(PANIC))
}

/// The line of the process that was killed for its memory, if one was.
pub(super) fn out_of_memory_line(console: &str) -> Option<&str> {
    console.lines().find(|line| line.contains(OUT_OF_MEMORY))
}

fn pass_on(sink: &mut Option<impl Write>, bytes: &[u8]) {
    if let Some(writer) = sink
        && writer.write_all(bytes).and_then(|()| writer.flush()).is_err()
    {
        *sink = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_guests_are_told_apart_and_never_cut() {
        let mut line = Vec::new();
        assert_eq!(named_lines("a", &mut line, b"one\ntw"), b"a       | one\n");
        assert_eq!(named_lines("a", &mut line, b"o"), b"");
        assert_eq!(named_lines("a", &mut line, b"\n\n"), b"a       | two\na       | \n");
        assert!(line.is_empty());
    }

    #[test]
    fn text_is_kept_without_carriage_returns_and_stray_bytes_do_not_stop_it() {
        let console: &[u8] = b"one\r\ntwo\0\xff\n";
        let text = pump(console, ConsoleSink::Kept, None, &LastOutput::now()).unwrap();
        assert_eq!(text, "one\ntwo\0\u{fffd}\n");
    }

    #[test]
    fn a_panic_and_a_killed_process_are_found() {
        let console = "x\n[    4.1] Out of memory: Killed process 7 (sh)\n\
                       [    5.2] Kernel panic - not syncing: sysrq triggered crash\n";
        assert!(panic_line(console).is_some_and(|line| line.ends_with("sysrq triggered crash")));
        assert!(out_of_memory_line(console).is_some_and(|line| line.contains("(sh)")));
        assert_eq!(panic_line("all is well\n"), None);
    }
}
