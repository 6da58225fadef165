//! Facts that are proven by trying, each in a thread or directory of its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

use super::{ProbeLine, State};
use crate::enforce::landlock::{
    AuditReader, KernelLandlock, Number, Plan, Rights, SocketMatch, SyscallPolicy, restrict_current_process,
};

/// `EACCES`
const EACCES: i32 = 13;
/// AF_UNIX
const AF_UNIX: i32 = 1;
/// A file that every process may read.
const READABLE: &str = "/proc/self/status";

/// Landlock: a thread gives up reading files and tries to.
pub(super) fn landlock() -> ProbeLine {
    const NAME: &str = "landlock";
    let proof = "a scratch thread gave up reading files and was denied";
    let kernel = match KernelLandlock::ask() {
        Ok(kernel) => kernel,
        Err(e) => return ProbeLine::new(NAME, State::No, "asked the kernel for its version", e.to_string()),
    };
    let (abi, number) = match kernel {
        KernelLandlock::Available { abi, kernel } => (abi, kernel),
        KernelLandlock::NotEnabled => {
            let reason = "built in but not enabled: add `landlock` to the lsm= boot parameter";
            return ProbeLine::new(NAME, State::No, "asked the kernel for its version", reason);
        }
        KernelLandlock::NotImplemented => {
            return ProbeLine::new(
                NAME,
                State::No,
                "asked the kernel for its version",
                "not built into this kernel (CONFIG_SECURITY_LANDLOCK, Linux 5.13)",
            );
        }
    };
    let plan = Plan {
        abi,
        handled: Rights::READ_FILE,
        grants: Vec::new(),
        syscalls: SyscallPolicy::default(),
        drop_capabilities: Vec::new(),
        gaps: Vec::new(),
        counts: Default::default(),
    };
    let outcome = in_thread(move || {
        File::open(READABLE).map_err(|e| format!("{READABLE} cannot be read: {e}"))?;
        restrict_current_process(&plan).map_err(|e| with_source(&e))?;
        Ok(File::open(READABLE).map(drop))
    });
    judge(NAME, proof, outcome, format!("ABI {number}"))
}

/// seccomp: a thread gives up making AF_UNIX sockets and tries to.
pub(super) fn seccomp() -> ProbeLine {
    const NAME: &str = "seccomp";
    let proof = "a scratch thread gave up making sockets of a family and was denied";
    let unix = SocketMatch { family: Number::Is(AF_UNIX), kind: Number::Any, protocol: Number::Any };
    let policy = SyscallPolicy { sockets: vec![unix], executable_memfd: false };
    let filters = match policy.filters() {
        Ok(filters) => filters,
        Err(e) => return ProbeLine::new(NAME, State::No, "built a filter", e.to_string()),
    };
    let outcome = in_thread(move || {
        UnixDatagram::unbound().map_err(|e| format!("no socket can be made: {e}"))?;
        for filter in &filters {
            seccompiler::apply_filter(filter).map_err(|e| with_source(&e))?;
        }
        Ok(UnixDatagram::unbound().map(drop))
    });
    judge(NAME, proof, outcome, "filters are installed and hold".to_owned())
}

/// Whether Landlock's denials can be read.
pub(super) fn landlock_reports() -> ProbeLine {
    let proof = "subscribed to the kernel's audit messages and asked whether audit is on";
    match AuditReader::open() {
        Ok(_) => ProbeLine::new("landlock-reports", State::Yes, proof, "denials are read from the kernel's audit records"),
        Err(e) => ProbeLine::new("landlock-reports", State::No, proof, format!("denials are invisible: {}", with_source(&e))),
    }
}

/// Control groups v2: whether the tree is there and groups can be made in it.
pub(super) fn cgroup_v2() -> ProbeLine {
    const NAME: &str = "cgroup-v2";
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return ProbeLine::new(NAME, State::Partial, "read /proc/self/mountinfo", "it cannot be read");
    };
    let Some(root) = mount_point(&mounts, "cgroup2") else {
        return ProbeLine::new(NAME, State::No, "read /proc/self/mountinfo", "no cgroup2 file system is mounted");
    };
    let place = root.display();
    let trial = root.join(format!("palisade-probe-{}", std::process::id()));
    let proof = format!("made and removed a group in {place}");
    let whole = root == Path::new("/sys/fs/cgroup");
    match fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)) {
        Ok(()) if whole => ProbeLine::new(NAME, State::Yes, proof, format!("groups can be made in {place}")),
        Ok(()) => {
            ProbeLine::new(NAME, State::Yes, proof, format!("groups can be made in {place} (hybrid: v1 controllers beside it)"))
        }
        Err(e) => ProbeLine::new(NAME, State::Partial, proof, format!("{place} is mounted, but no group can be made there: {e}")),
    }
}

/// The first mount point of a file system type, with the escapes of `mountinfo` undone.
fn mount_point(mountinfo: &str, kind: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|l| l.split_once(" - ").is_some_and(|(_, after)| after.split(' ').next() == Some(kind)))?;
    let text = line.split(' ').nth(4)?;
    Some(PathBuf::from(text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")))
}

/// Runs a trial in a thread of its own, whose restrictions end with it: `Ok` holds what the last attempt gave.
fn in_thread(trial: impl FnOnce() -> Result<io::Result<()>, String> + Send + 'static) -> Result<io::Result<()>, String> {
    let started =
        thread::Builder::new().name("palisade-probe".to_owned()).spawn(trial).map_err(|e| format!("start a thread: {e}"))?;
    started.join().unwrap_or_else(|_| Err("the trial panicked".to_owned()))
}

fn judge(name: &str, proof: &str, outcome: Result<io::Result<()>, String>, found: String) -> ProbeLine {
    match outcome {
        Ok(Err(e)) if e.raw_os_error() == Some(EACCES) => ProbeLine::new(name, State::Yes, proof, found),
        Ok(Err(e)) => ProbeLine::new(name, State::Partial, proof, format!("{found}, but the attempt failed otherwise: {e}")),
        Ok(Ok(())) => ProbeLine::new(name, State::No, proof, format!("{found}, but the attempt was not denied")),
        Err(why) => ProbeLine::new(name, State::No, proof, why),
    }
}

/// An error with what caused it.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        source = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_by_type() {
        let text =
            "30 23 0:26 / /sys/fs/cgroup/a\\040b rw shared:9 - cgroup2 cgroup2 rw\n31 23 0:27 / /x rw - cgroup cgroup rw\n";
        assert_eq!(mount_point(text, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/a b")));
        assert_eq!(mount_point(text, "ext4"), None);
    }
}
