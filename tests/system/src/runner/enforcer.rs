//! What a back end must do to be tried: protect tasks that already run, and say what it saw.

use std::any::Any;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use palisade_ruleset::Workload;

use crate::corpus::VerdictCase;

/// A back end under test.
pub trait Enforcer {
    /// Its name, as in the exclusions of the corpus: `bpf`, `landlock`, `none`.
    fn name(&self) -> &'static str;

    /// Whether it judges at all. `false` for [`Unprotected`]: then every access must go as without policy.
    fn judges(&self) -> bool {
        true
    }

    /// Whether it says what it saw. Where not, only what the program was answered is compared: an Audit is right if it
    /// passes.
    fn reports(&self) -> bool {
        true
    }

    /// Whether it knows the tasks by their cgroup. Where not, none is made: entering one waits for the whole machine.
    fn by_cgroup(&self) -> bool {
        true
    }

    /// Protects the tasks of a workload from now on.
    ///
    /// # Guarantees
    /// After it returns, each access of each task in the cgroup is judged (or, with [`Protection::in_process`], of each
    /// task that has applied it), until the protection is dropped.
    ///
    /// # Errors
    /// [`ProtectError::Unsupported`] where the back end cannot enforce these policies at all and says so.
    fn protect(&mut self, target: &Target<'_>) -> Result<Protection, ProtectError>;

    /// The events since the last call, in order; an event is there at the latest when the system call that caused it
    /// has returned and this is called.
    ///
    /// # Errors
    /// Events that cannot be read, or were lost.
    fn events(&mut self) -> anyhow::Result<Vec<SeenEvent>>;
}

/// What is to be protected.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The cgroup of the tasks; `None` on a machine without a cgroup2 tree.
    pub cgroup: Option<&'a Path>,
    /// The root of the workload's mount namespace, seen through procfs.
    pub root: &'a Path,
    /// A process that lives as long as the workload, in its namespaces but not in its cgroup.
    pub namespaces: u32,
    /// The acting tasks, by process number and program.
    pub tasks: &'a [(u32, String)],
    /// The policies, as one YAML stream.
    pub policy_yaml: &'a str,
    /// The workload.
    pub workload: &'a Workload,
}

/// A protection in force; dropping it lifts it.
pub struct Protection {
    /// What each acting task has to apply to itself, in the order of [`Target::tasks`]; empty: nothing.
    pub in_process: Vec<InProcess>,
    /// Whatever the back end keeps alive for it.
    pub guard: Box<dyn Any>,
}

/// A protection that a process applies to itself.
#[derive(Debug)]
pub struct InProcess {
    /// A Landlock rule set; passed to each task, which calls `landlock_restrict_self`.
    pub ruleset: Option<OwnedFd>,
    /// Seccomp programs to load before that, in this order: `struct sock_filter` in memory order, 8 bytes each.
    pub seccomp: Vec<Vec<u8>>,
}

/// Why tasks could not be protected.
#[derive(Debug)]
pub enum ProtectError {
    /// The back end cannot do this, and says so to its user.
    Unsupported(String),
    /// It should have been able to.
    Failed(anyhow::Error),
}

/// One event as the back end reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEvent {
    /// Who decided, written as in the corpus: `NAME:LIST[INDEX]`, `DefaultPosture`, `builtin:NAME`.
    pub rule: String,
    /// The verdict that was computed.
    pub verdict: VerdictCase,
    /// What the program was answered; 0 where the access passed.
    pub errno: i32,
    /// The operation, in the words of the event.
    pub operation: String,
    /// The object, in the words of the event.
    pub object: String,
    /// What audited policies would have made of it, where the event says so.
    pub shadow: Option<(VerdictCase, String)>,
}

/// No protection: proves the roots, the probe and the operations themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unprotected;

impl Enforcer for Unprotected {
    fn name(&self) -> &'static str {
        "none"
    }

    fn judges(&self) -> bool {
        false
    }

    fn protect(&mut self, _target: &Target<'_>) -> Result<Protection, ProtectError> {
        Ok(Protection { in_process: Vec::new(), guard: Box::new(()) })
    }

    fn events(&mut self) -> anyhow::Result<Vec<SeenEvent>> {
        Ok(Vec::new())
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protection").field("in_process", &self.in_process).finish_non_exhaustive()
    }
}

impl fmt::Display for SeenEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, verdict, errno, operation, object, shadow } = self;
        write!(f, "{verdict:?} by {rule} ({operation} {object}, errno {errno}")?;
        if let Some((verdict, rule)) = shadow {
            write!(f, ", would be {verdict:?} by {rule}")?;
        }
        f.write_str(")")
    }
}
