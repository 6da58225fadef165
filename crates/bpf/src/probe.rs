//! What this kernel can do, proven by doing it: a kernel can list `bpf` among its LSMs and refuse to load programs, or
//! load and attach them and never call them (`bpf` not in `lsm=`, `kernel.ftrace_enabled=0`).

#![expect(unsafe_code, reason = "run counts are switched on by a call that libbpf-rs does not wrap")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::libbpf_sys::{BPF_STATS_RUN_TIME, bpf_enable_stats};

use crate::cache;
use crate::hooks::Missing;
use crate::load::{LoadError, LoadOptions, load};
use crate::pins::Pins;
use crate::stats;

/// What was found out. Nothing is left attached that was not before.
#[derive(Debug)]
pub struct Probe {
    /// `uname -r`.
    pub release: String,
    /// Whether the kernel describes its types.
    pub btf: bool,
    /// The active LSMs in order; `None` where securityfs is not mounted.
    pub lsms: Option<Vec<String>>,
    /// `kernel.ftrace_enabled`: at 0 every LSM program is silently off. `None` where it cannot be read.
    pub ftrace_enabled: Option<bool>,
    /// The lockdown mode in force; `None` where it cannot be read.
    pub lockdown: Option<String>,
    /// What came of loading the programs.
    pub proof: Proof,
}

/// What came of loading the programs and opening a file.
#[derive(Debug)]
pub enum Proof {
    /// They are attached and were called.
    Works {
        /// How many programs.
        programs: usize,
        /// Optional hooks that this kernel lacks (known only where this probe loaded the programs itself).
        missing: Vec<Missing>,
        /// Calls that the kernel left out because a program was running already (a bypass if it ever grows).
        recursion_misses: u64,
        /// Whether they were running already.
        adopted: bool,
        /// Why opens are not judged by the cache of directories; `None` if they are.
        why_no_cache: Option<&'static str>,
    },
    /// They are attached, and an open of a file called none of them.
    NeverCalled,
    /// They cannot be loaded.
    CannotLoad(LoadError),
    /// They are loaded, and their run counts cannot be read.
    CannotTell(String),
}

// === impl Probe ===

impl Probe {
    /// Whether BPF-LSM enforces here.
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self.proof, Proof::Works { .. }) && self.ftrace_enabled != Some(false)
    }

    /// Why it does not, in one sentence; `None` if it does.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let listed = self.lsms.as_ref().is_none_or(|lsms| lsms.iter().any(|name| name == "bpf"));
        match &self.proof {
            Proof::CannotLoad(error) => Some(error.to_string()),
            Proof::CannotTell(text) => Some(format!("cannot read the run counts of the programs: {text}")),
            Proof::NeverCalled if !listed => Some(
                "the programs load and attach but are never called: `bpf` is not among this kernel's LSMs \
                 (add it to lsm= on the kernel command line)"
                    .to_owned(),
            ),
            Proof::NeverCalled | Proof::Works { .. } if self.ftrace_enabled == Some(false) => {
                Some("kernel.ftrace_enabled is 0, which switches every LSM program off; set it to 1".to_owned())
            }
            Proof::NeverCalled => Some("the programs load and attach but are never called".to_owned()),
            Proof::Works { .. } => None,
        }
    }
}

/// Finds out. Takes some seconds where nothing is loaded yet: all programs are verified.
#[must_use]
pub fn probe() -> Probe {
    Probe {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        lsms: lsms(),
        ftrace_enabled: ftrace_enabled(),
        lockdown: lockdown(),
        proof: prove(),
    }
}

/// The active LSMs.
#[must_use]
pub fn lsms() -> Option<Vec<String>> {
    let text = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    Some(text.trim().split(',').map(str::to_owned).collect())
}

/// `kernel.ftrace_enabled`.
#[must_use]
pub fn ftrace_enabled() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").ok()?;
    Some(text.trim() != "0")
}

/// Whether attached programs are called: opens a file and looks at the run counts.
///
/// # Errors
/// If run counts cannot be switched on or read.
///
/// Minimum kernel: 5.8.
pub fn are_called(programs: &[(String, u32)]) -> io::Result<bool> {
    let _counting = enable_run_counts()?;
    let runs = || stats::of(programs).iter().map(|program| program.runs).sum::<u64>();
    let before = runs();
    drop(File::open("/proc/self/exe"));
    Ok(runs() > before)
}

fn prove() -> Proof {
    // Not there, or not readable: loading tells more.
    let adopted = Pins::system().programs().unwrap_or_default();
    if !adopted.is_empty() {
        return proof(&adopted, Vec::new(), true);
    }
    match load(LoadOptions::default()) {
        Err(error) => Proof::CannotLoad(error),
        Ok(mut loaded) => {
            let ids = loaded.ids();
            proof(&ids, std::mem::take(&mut loaded.missing), false)
        }
    }
}

fn proof(programs: &[(String, u32)], missing: Vec<Missing>, adopted: bool) -> Proof {
    match are_called(programs) {
        Err(error) => Proof::CannotTell(error.to_string()),
        Ok(false) => Proof::NeverCalled,
        Ok(true) => {
            let recursion_misses = stats::of(programs).iter().map(|program| program.recursion_misses).sum();
            let why_no_cache = cache::why_unused(programs.iter().map(|(name, _)| name.as_str()));
            Proof::Works { programs: programs.len(), missing, recursion_misses, adopted, why_no_cache }
        }
    }
}

/// Counting goes on while the descriptor is open.
fn enable_run_counts() -> io::Result<OwnedFd> {
    // SAFETY: a system call without pointers; it returns a new descriptor or a negative errno.
    let fd = unsafe { bpf_enable_stats(BPF_STATS_RUN_TIME) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the descriptor was just made by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_bpf_in_its_lsm_list_is_told_so() {
        let probe = Probe {
            release: String::new(),
            btf: true,
            lsms: Some(vec!["capability".to_owned(), "apparmor".to_owned()]),
            ftrace_enabled: Some(true),
            lockdown: None,
            proof: Proof::NeverCalled,
        };
        assert!(!probe.works());
        assert!(probe.reason().unwrap().contains("lsm="));
    }
}
