//! The command as a process: started through the stub, waited for, sent signals.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use palisade_ruleset::StdioFile;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::enter::{ENTER, Entry};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
}

/// The started command, to be signalled; its [`Child`] is the waiter's.
pub(super) struct Target {
    pidfd: OwnedFd,
}

/// Signals that are passed on.
const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

// === impl Exit ===

impl Exit {
    /// The exit code that says it, as shells do: 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => number.saturating_add(128),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(byte(code)),
            (None, Some(signal)) => Self::Signal(byte(signal)),
            (None, None) => Self::Code(u8::MAX), // stopped or continued, which wait does not report
        }
    }
}

// === impl Target ===

impl Target {
    /// Passes a signal on. A command that has ended is not there to get it: no pid is used twice here.
    pub(super) fn send(&self, signal: i32) {
        if let Some(signal) = named(signal) {
            let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
        }
    }
}

/// Starts the stub, which becomes the command.
pub(super) fn start(entry: &Entry) -> io::Result<(Child, Target)> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("palisade").arg(ENTER).args(entry.arguments());
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a child without a pid"))?;
    // Not waited for yet, so the pid is still its own.
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok((child, Target { pidfd }))
}

/// The file that a command's first word names: itself where it holds a `/`, else the first in PATH that is a file.
pub(super) fn find(word: &OsStr) -> Option<PathBuf> {
    if word.as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(word).ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(word)).find(|file| file.is_file())
}

/// The signals that this process takes in order to pass them on: not those that it was started to ignore (`nohup`,
/// background jobs of simple shells), which the command then ignores as well.
pub(super) fn handled_signals() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

/// Whether the terminal sends its signals to the command as well: then passing them on would send them twice.
pub(super) fn comes_from_terminal(signal: i32) -> bool {
    (signal == SIGINT || signal == SIGQUIT) && is_in_foreground()
}

/// Whether this process's group is the one that its terminal's keys reach.
fn is_in_foreground() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The files behind the descriptors that the command will have as 0 to 2.
pub(super) fn stdio() -> Vec<StdioFile> {
    let streams = (io::stdin(), io::stdout(), io::stderr());
    let fds = [(0, streams.0.as_fd()), (1, streams.1.as_fd()), (2, streams.2.as_fd())];
    let mut files = Vec::new();
    for (number, fd) in fds {
        let target = fs::read_link(format!("/proc/self/fd/{number}"));
        let (Ok(path), Ok(flags)) = (target, fcntl_getfl(fd)) else { continue };
        if !path.is_absolute() || files.len() > 2 {
            continue; // a pipe or a socket is no file
        }
        let mode = flags & OFlags::RWMODE;
        files.push(StdioFile {
            path: path.into_os_string().into_vec(),
            readable: mode != OFlags::WRONLY,
            writable: mode != OFlags::RDONLY,
        });
    }
    files
}

fn named(signal: i32) -> Option<Signal> {
    Some(match signal {
        SIGHUP => Signal::HUP,
        SIGINT => Signal::INT,
        SIGQUIT => Signal::QUIT,
        SIGTERM => Signal::TERM,
        SIGUSR1 => Signal::USR1,
        SIGUSR2 => Signal::USR2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(Exit::from(ExitStatus::from_raw(3 << 8)).code(), 3);
        assert_eq!(Exit::from(ExitStatus::from_raw(9)), Exit::Signal(9));
        assert_eq!(Exit::Signal(15).code(), 143);
    }

    #[test]
    fn every_signal_that_is_passed_on_has_a_name() {
        assert!(PASSED_ON.into_iter().all(|signal| named(signal).is_some()));
    }
}
