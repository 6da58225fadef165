//! What `/proc` says of a process, as far as it still lives: best effort, everything empty or 0 where not.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;

/// The command line kept at most, in bytes.
const COMMAND_LINE_MAX: usize = 4096;
/// Major numbers of `/dev/pts`.
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// What `/proc/PID` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its pid in its own pid namespace.
    pub(super) own_pid: u32,
    /// Its arguments.
    pub(super) command_line: Vec<Vec<u8>>,
    /// Its working directory.
    pub(super) cwd: Vec<u8>,
    /// Its program.
    pub(super) program: Vec<u8>,
    /// Its controlling terminal, `pts0`.
    pub(super) tty: Vec<u8>,
}

// === impl Facts ===

impl Facts {
    /// Reads them.
    pub(super) fn of(pid: u32) -> Self {
        if pid == 0 {
            return Self::default();
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        Self {
            own_pid: own_pid(&status).unwrap_or(0),
            command_line: command_line(fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()),
            cwd: link(pid, "cwd"),
            program: link(pid, "exe"),
            tty: tty(&stat).unwrap_or_default(),
        }
    }
}

/// `NSpid: 4711 12 1`: the last is its own.
fn own_pid(status: &str) -> Option<u32> {
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_whitespace().next_back()?.parse().ok()
}

fn command_line(mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    bytes.truncate(COMMAND_LINE_MAX);
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn link(pid: u32, name: &str) -> Vec<u8> {
    let target = fs::read_link(format!("/proc/{pid}/{name}"));
    target.map(|target| target.into_os_string().into_vec()).unwrap_or_default()
}

/// The seventh field of stat, after the name in parentheses, which may hold anything.
fn tty(stat: &[u8]) -> Option<Vec<u8>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let number: u32 = rest.split_whitespace().nth(4)?.parse().ok()?;
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    PTS_MAJORS.contains(&major).then(|| format!("pts{}", (major - PTS_MAJORS.start()) << 8 | minor).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let facts = Facts::of(std::process::id());
        assert!(!facts.command_line.is_empty());
        assert!(facts.program.starts_with(b"/"));
        assert_eq!(Facts::of(0), Facts::default());
    }

    #[test]
    fn a_terminal_is_found_behind_any_name() {
        let stat = b"12 (a) 1 b) S 1 2 3 34818 5 6";
        assert_eq!(tty(stat).as_deref(), Some(&b"pts2"[..]));
        assert_eq!(tty(b"12 (a) S 1 2 3 0 5 6"), None);
        assert_eq!(tty(b"garbage"), None);
    }
}
