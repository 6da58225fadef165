//! What this kernel and machine offer for enforcement, each line with how it was found out.
//!
//! ```text
//! lines of other crates (BPF-LSM, AppArmor, SELinux: by loading something) -+
//! trials: a scratch thread restricts itself and tries                       +-> Probe { lines } -> text (CLI), JSON
//! readings of /proc and /sys                                                -+
//! ```
//! A list of what a kernel claims is no proof: a kernel can list `bpf` in its LSMs and refuse to load LSM programs. What
//! can be tried is tried, in a thread of its own that ends with it; what is only read says so.

pub mod bpf_lsm;
pub mod pins;
mod system;
mod trials;

use serde::{Deserialize, Serialize};

/// Everything that was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The lines, in the order in which to show them.
    pub lines: Vec<ProbeLine>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeLine {
    /// What it is about: `landlock`, `cgroup-v2`; stable, for scripts.
    pub name: String,
    /// Whether it can be used.
    pub state: State,
    /// How that was found out.
    pub proof: String,
    /// What was found, and for anything but `yes` why, and what would help.
    pub reason: String,
}

/// Whether something can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All of it.
    Yes,
    /// Part of it, or it could not be told.
    Partial,
    /// Nothing of it.
    No,
}

// === impl Probe ===

impl Probe {
    /// Tries and reads everything. `back_ends`: the lines of back ends that prove themselves, shown first.
    ///
    /// # Guarantees
    /// Leaves the process and the machine as they were: trials restrict scratch threads, and a control group made to see
    /// whether that is allowed is removed again. Never fails; what cannot be told is a line that says so.
    #[must_use]
    pub fn run(back_ends: Vec<ProbeLine>) -> Self {
        let mut lines = back_ends;
        lines.extend([
            trials::landlock(),
            trials::seccomp(),
            trials::landlock_reports(),
            system::kernel(),
            system::btf(),
            system::lsm_list(),
            system::lockdown(),
            system::ftrace(),
            trials::cgroup_v2(),
            system::apparmor(),
            system::selinux(),
            system::user_namespaces(),
            system::privileges(),
            system::container(),
            system::virtual_machine(),
        ]);
        Self { lines }
    }

    /// The line of a name.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<&ProbeLine> {
        self.lines.iter().find(|l| l.name == name)
    }
}

// === impl ProbeLine, State ===

impl ProbeLine {
    /// A line.
    #[must_use]
    pub fn new(name: &str, state: State, proof: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, proof: proof.into(), reason: reason.into() }
    }
}

impl State {
    /// Its word in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partial => "partial",
            Self::No => "no",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_how_it_was_found_out() {
        let own = ProbeLine::new("bpf-lsm", State::No, "loaded an LSM program", "EPERM");
        let probe = Probe::run(vec![own.clone()]);
        assert_eq!(probe.lines[0], own);
        for line in &probe.lines {
            println!("{:<18} {:<8} {} [{}]", line.name, line.state.name(), line.reason, line.proof);
            assert!(!line.proof.is_empty() && !line.reason.is_empty(), "{line:?}");
        }
        let mut names: Vec<&str> = probe.lines.iter().map(|l| l.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), probe.lines.len());
        let text = serde_json::to_string(&probe).unwrap();
        assert_eq!(serde_json::from_str::<Probe>(&text).unwrap(), probe);
    }

    #[test]
    fn trials_leave_the_process_unrestricted() {
        let landlock = trials::landlock();
        let seccomp = trials::seccomp();
        assert!(std::fs::read("/proc/self/status").is_ok());
        assert!(std::os::unix::net::UnixDatagram::unbound().is_ok());
        // The kernel under test is declared where tests run.
        if let Ok(abi) = std::env::var("PALISADE_TEST_LANDLOCK_ABI") {
            assert_eq!((landlock.state, seccomp.state), (State::Yes, State::Yes));
            assert!(landlock.reason.contains(&format!("ABI {abi}")), "{}", landlock.reason);
        }
    }
}
