//! The plan: which Landlock rights are handled, which paths get which, which system calls are refused, and what of
//! the law is not met. Made once, before the start; carried out by the stub (`apply`) in the process to be restricted.
//!
//! Planning reads the file tree through [`View`] and is otherwise pure; it never says what a policy means (`ask`).

use std::io::{Read, Write};

use palisade_policy::model::{Action, Class};
use palisade_ruleset::{Mode, RuleSet, Scope};
use serde::{Deserialize, Serialize};

use super::aliases;
use super::ask::Asker;
use super::differences::{Gap, Weight};
use super::gaps;
use super::programs;
use super::rights::{Abi, Grant, Rights};
use super::sockets::SyscallPolicy;
use super::text;
use super::view::{Identity, View};
use super::walk::{ByQuestion, Kinds, Notes, Walk};

/// What is to be enforced, complete: it can be handed to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The ABI that it was made for; the process that applies it refuses a lesser one.
    pub abi: Abi,
    /// The rights that are denied unless granted; empty: no Landlock domain is made.
    pub handled: Rights,
    /// The grants, by path.
    pub grants: Vec<PathGrant>,
    /// What seccomp refuses.
    pub syscalls: SyscallPolicy,
    /// The capabilities to drop for good, by number.
    pub drop_capabilities: Vec<u8>,
    /// What of the law is not met, and what holds instead.
    pub gaps: Vec<Gap>,
    /// How large the plan is and what it cost.
    pub counts: Counts,
}

/// Rights on what is at and below a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathGrant {
    /// The path, free of links; `/proc/self` is the process that applies the plan.
    #[serde(with = "text")]
    pub path: Vec<u8>,
    /// The rights.
    pub access: Rights,
    /// Who let it pass, by [`palisade_ruleset::By::code`], in ascending order.
    pub by: Vec<u32>,
    /// The inode that the path named when the plan was made; one of another is not granted.
    pub identity: Option<Identity>,
}

/// Numbers for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Directory entries looked at.
    pub looked_at: usize,
    /// Directories whose entries are granted one by one.
    pub enumerated: usize,
    /// Grants.
    pub grants: usize,
}

/// What a `dir:` without `recursive` becomes where it has subdirectories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonRecursive {
    /// The children that exist at start; nothing new can be made there. Stricter than the law.
    #[default]
    Existing,
    /// The directory with everything below. Wider than the law.
    Recursive,
}

/// How to plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// What the kernel offers.
    pub abi: Abi,
    /// What non-recursive directories become.
    pub non_recursive: NonRecursive,
    /// The program that will be started, by its path, so that it can be opened at all.
    pub start: Option<Vec<u8>>,
    /// Whether somebody will read Landlock's audit records (root, with the kernel's audit switched on).
    pub reports: bool,
    /// The most directory entries to look at.
    pub look_max: usize,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// Host policies concern tasks that already run.
    #[error("landlock restricts only what a process starts: host policies cannot be enforced by it")]
    Host,
    /// The kernel has no Landlock, and a rule over programs or files would need it.
    #[error("this kernel offers no Landlock, which the rules over {0} need")]
    NoLandlock(&'static str),
}

/// Why a plan could not be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// It could not be written.
    #[error("write the plan")]
    Write(#[source] serde_json::Error),
    /// It could not be read.
    #[error("read the plan")]
    Read(#[source] serde_json::Error),
}

/// The classes that can deny anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restricted {
    pub(super) process: bool,
    pub(super) file: bool,
    pub(super) network: bool,
    pub(super) capability: bool,
}

/// 2^18: a container image holds 10,000 to 100,000 files, a desktop a million.
const LOOK_MAX: usize = 1 << 18;

// === impl PlanOptions ===

impl PlanOptions {
    /// The defaults for a kernel of this ABI.
    #[must_use]
    pub fn new(abi: Abi) -> Self {
        Self { abi, non_recursive: NonRecursive::Existing, start: None, reports: false, look_max: LOOK_MAX }
    }
}

// === impl Restricted ===

impl Restricted {
    fn of(rules: &RuleSet) -> Self {
        let enforced = rules.workload().mode == Mode::Enforce;
        let any =
            |class| enforced && rules.rules().iter().any(|r| r.class() == class && !r.audited && r.action() != Action::Audit);
        Self {
            process: any(Class::Process),
            file: any(Class::File),
            network: any(Class::Network),
            capability: any(Class::Capability),
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Plans the enforcement of a rule set over a file tree.
    ///
    /// # Guarantees
    /// Every right granted is an answer of `decide()` for every object that the grant covers when the plan is made,
    /// but for what the gaps say. The same rules, tree and options give the same plan.
    ///
    /// # Errors
    /// [`PlanError`] where Landlock cannot be the back end at all.
    pub fn new(rules: &RuleSet, view: &dyn View, options: &PlanOptions) -> Result<Self, PlanError> {
        if rules.workload().scope == Scope::Host {
            return Err(PlanError::Host);
        }
        let restricted = Restricted::of(rules);
        if !options.abi.is_available() {
            for (needed, class) in [(restricted.process, "programs"), (restricted.file, "files")] {
                if needed {
                    return Err(PlanError::NoLandlock(class));
                }
            }
        }
        let asker = Asker::new(rules);
        let mut walk = Walk {
            asker: &asker,
            view,
            options,
            shapes: ByQuestion::new(rules, view),
            grants: std::collections::BTreeMap::new(),
            notes: Notes::default(),
        };
        let mut kinds = Kinds::NONE;
        if restricted.process {
            kinds = kinds.with(Kinds::EXEC);
        }
        if restricted.file {
            kinds = kinds.with(Kinds::FILES);
        }
        if !kinds.is_empty() {
            walk.run(kinds);
        }
        let handled = handled(&mut walk, kinds);
        let started = programs::grant(&mut walk, handled, restricted.process);
        let aliases = aliases::close(&mut walk);
        let Walk { grants, notes, .. } = walk;
        let grants: Vec<PathGrant> = grants
            .into_iter()
            .map(|(path, granted)| (path, granted.rights & handled & options.abi.rights(), granted.by))
            .filter(|(_, access, _)| !access.is_empty())
            .map(|(path, access, by)| PathGrant { identity: identity(view, &path), path, access, by: by.into_iter().collect() })
            .collect();
        let syscalls = SyscallPolicy::of(&asker, restricted);
        let drop_capabilities = if restricted.capability {
            (0..=40).filter(|number| !asker.capability(*number).passes).collect()
        } else {
            Vec::new()
        };
        let counts = Counts {
            looked_at: notes.looked_at,
            enumerated: notes.later.len() + notes.non_recursive.len(),
            grants: grants.len(),
        };
        let found = gaps::Found {
            restricted,
            handled,
            notes: &notes,
            aliases: &aliases,
            started: &started,
            syscalls: &syscalls,
            drops: &drop_capabilities,
        };
        let gaps = gaps::of(rules, view, options, &found);
        Ok(Self { abi: options.abi, handled: handled & options.abi.rights(), grants, syscalls, drop_capabilities, gaps, counts })
    }

    /// The gaps for which `--strict` refuses to start: something that a policy says is not met as written.
    pub fn unmet(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.weight == Weight::Unmet)
    }

    /// Whether it restricts anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { abi: _, handled, grants: _, syscalls, drop_capabilities, gaps: _, counts: _ } = self;
        handled.is_empty() && syscalls.is_empty() && drop_capabilities.is_empty()
    }

    /// Writes it for [`Self::read_from`].
    ///
    /// # Errors
    /// [`HandOverError::Write`].
    pub fn write_to(&self, to: impl Write) -> Result<(), HandOverError> {
        serde_json::to_writer(to, self).map_err(HandOverError::Write)
    }

    /// Reads what [`Self::write_to`] wrote, up to the end of the input.
    ///
    /// # Errors
    /// [`HandOverError::Read`].
    pub fn read_from(from: impl Read) -> Result<Self, HandOverError> {
        serde_json::from_reader(from).map_err(HandOverError::Read)
    }
}

/// The rights that have to be handled: those of the kinds walked for that the root was not granted in full.
fn handled(walk: &mut Walk<'_>, kinds: Kinds) -> Rights {
    let at_root = walk.grants.get(b"/".as_slice()).map_or(Rights::NONE, |g| g.rights);
    let open = Grant::ALL.into_iter().filter(|g| kinds.has(*g) && !at_root.contains(g.rights()));
    let mut handled = open.fold(Rights::NONE, |all, g| all | g.rights());
    if handled.contains(Rights::MAKE_DIR) {
        handled |= Rights::MAKE_BLOCK;
    }
    if !handled.is_empty() && !handled.contains(Rights::REFER) {
        // A domain over files denies moves between directories unless it handles and grants them.
        handled |= Rights::REFER;
        walk.grants.entry(b"/".to_vec()).or_default().rights |= Rights::REFER;
    }
    handled
}

/// Which inode a path names; none for `/proc/self`, which is another one in the stub.
fn identity(view: &dyn View, path: &[u8]) -> Option<Identity> {
    if path == b"/proc/self" || path.starts_with(b"/proc/self/") {
        return None;
    }
    view.file(path).map(|facts| facts.identity)
}
