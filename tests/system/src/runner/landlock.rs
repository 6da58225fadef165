//! The Landlock back end under the corpus: a plan for each case's own root, which each acting task applies to itself.
//!
//! Nothing is reported ([`Enforcer::reports`]), and denied capabilities stay: the tasks cannot drop them for the plan.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use palisade_agent::enforce::landlock::{
    Abi, Applied, Child, FileFacts, Interpreter, KernelLandlock, Plan, PlanOptions, RealView, View, ruleset_for,
};
use palisade_agent::tree::RootTree;
use palisade_policy::SourceFile;
use palisade_ruleset::{Resolved, RuleSet, Scope, Tree};

use super::bpf::start_of;
use super::enforcer::{Enforcer, InProcess, ProtectError, Protection, SeenEvent, Target};

/// Landlock and seccomp.
#[derive(Debug)]
pub struct Landlock {
    abi: Abi,
}

/// The tree below a root, as planning sees it.
struct RootView {
    root: PathBuf,
    tree: RootTree,
}

impl Landlock {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Where it offers no Landlock.
    pub fn new() -> Result<Self> {
        let abi = KernelLandlock::ask().context("cannot ask for Landlock")?.abi();
        ensure!(abi.is_available(), "this kernel offers no Landlock");
        Ok(Self { abi })
    }

    /// What the kernel offers.
    #[must_use]
    pub const fn abi(&self) -> Abi {
        self.abi
    }

    fn plan(&self, target: &Target<'_>) -> Result<Vec<InProcess>> {
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("case.yaml"), text: target.policy_yaml }]);
        if let Some(problem) = parsed.problems.first() {
            bail!("the policy is wrong: {problem}");
        }
        let first = target.tasks.first().context("no acting task")?;
        let view = RootView { root: target.root.to_owned(), tree: RootTree::open(target.root, start_of(first.0)?)? };
        let rules = RuleSet::new(&parsed.policies, target.workload, &view);
        let plan = Plan::new(&rules, &view, &PlanOptions::new(self.abi))?;
        if plan.is_empty() {
            return Ok(Vec::new());
        }
        let mut seccomp = Vec::new();
        for program in plan.syscalls.filters()? {
            let mut bytes = Vec::new();
            for i in program {
                bytes.extend(i.code.to_ne_bytes());
                bytes.extend([i.jt, i.jf]);
                bytes.extend(i.k.to_ne_bytes());
            }
            seccomp.push(bytes);
        }
        let mut each = Vec::new();
        for (pid, _) in target.tasks {
            let (ruleset, Applied { left_out, .. }) = ruleset_for(&plan, target.root, i32::try_from(*pid)?)?;
            // The tree stands still meanwhile; the kernel may drop inodes of procfs from memory (L6).
            let left_out: Vec<_> = left_out.iter().filter(|l| !l.path.starts_with(b"/proc/")).collect();
            ensure!(left_out.is_empty(), "grants were left out: {left_out:?}");
            each.push(InProcess { ruleset, seccomp: seccomp.clone() });
        }
        Ok(each)
    }
}

impl Enforcer for Landlock {
    fn name(&self) -> &'static str {
        "landlock"
    }

    fn reports(&self) -> bool {
        false
    }

    fn by_cgroup(&self) -> bool {
        false
    }

    fn protect(&mut self, target: &Target<'_>) -> Result<Protection, ProtectError> {
        if target.workload.scope == Scope::Host {
            return Err(ProtectError::Unsupported("host policies are for tasks that already run".to_owned()));
        }
        let in_process = self.plan(target).map_err(ProtectError::Failed)?;
        Ok(Protection { in_process, guard: Box::new(()) })
    }

    fn events(&mut self) -> Result<Vec<SeenEvent>> {
        Ok(Vec::new())
    }
}

impl RootView {
    fn at(&self, path: &[u8]) -> Vec<u8> {
        [self.root.as_os_str().as_bytes(), path].concat()
    }
}

impl Tree for RootView {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        self.tree.resolve(path)
    }
}

impl View for RootView {
    fn children(&self, directory: &[u8], limit: usize) -> Option<Vec<Child>> {
        RealView.children(&self.at(directory), limit)
    }

    fn file(&self, path: &[u8]) -> Option<FileFacts> {
        RealView.file(&self.at(path))
    }

    fn interpreter(&self, path: &[u8]) -> Option<Interpreter> {
        RealView.interpreter(&self.at(path))
    }
}
