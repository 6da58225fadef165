//! `decide`: the law of `meaning.md`, for one access, by plain matching.

use palisade_policy::model::{Action, Class, PathName, PathObject};

use crate::access::{Access, Actor, FileMode, MountChange, Object, Operation, Program};
use crate::decision::{BuiltIn, By, Decision, Verdict};
use crate::judge::{Candidate, ClassPosture, Conditions, Says, judge, tier_winners};
use crate::matching::Sources;
use crate::network;
use crate::pattern::Pattern;
use crate::resolve::Name;
use crate::rules::{Rule, RuleBody, RuleSet};
use crate::workload::{Posture, Scope};

/// What happens to an access, and who says so.
///
/// # Guarantees
/// The same rule set and access always give the same decision. In audited mode the verdict is that of enforcement; that
/// nothing is denied is the enforcer's part.
#[must_use]
pub fn decide(rules: &RuleSet, access: &Access) -> Decision {
    let Access { actor, operation } = access;
    match operation {
        Operation::Exec { object, owner, scripts, invoked_as, arguments } => {
            let exec = Exec { object, owner: *owner, scripts, invoked_as, arguments: arguments.as_deref(), mapping: false };
            rules.exec(actor, exec)
        }
        Operation::MapExec { object, owner } => rules.map_exec(actor, object, *owner),
        Operation::File { mode, object, owner, block_device } => rules.file(actor, *mode, object, *owner, *block_device),
        Operation::MoveDirectory { object } => rules.move_directory(object),
        Operation::Socket { socket, end } => {
            if network::row(*socket).is_none() || !rules.is_active(Class::Network) {
                return Decision::NOTHING;
            }
            let found = rules.match_socket(*socket, *end, Sources { actor, scripts: &[] });
            rules.judge_class(Class::Network, &found, false, true)
        }
        Operation::Capability { number } => {
            if !rules.is_active(Class::Capability) {
                return Decision::NOTHING;
            }
            rules.judge_class(Class::Capability, &rules.match_capability(*number, Sources { actor, scripts: &[] }), false, true)
        }
        Operation::Mount(change) => rules.mount(change),
        Operation::Attach { target } => rules.attach(actor, target),
        Operation::TouchPalisade => Decision::block(BuiltIn::SelfProtection),
    }
}

/// The strictest decision over the accesses of one system call; [`Decision::NOTHING`] for none.
#[must_use]
pub fn decide_all<'a>(rules: &RuleSet, accesses: impl IntoIterator<Item = &'a Access>) -> Decision {
    let mut strictest: Option<Decision> = None;
    for access in accesses {
        let decision = decide(rules, access);
        if strictest.is_none_or(|s| decision.verdict > s.verdict) {
            strictest = Some(decision);
        }
    }
    strictest.unwrap_or(Decision::NOTHING)
}

/// One stage of an exec.
#[derive(Clone, Copy)]
struct Exec<'a> {
    object: &'a Object,
    owner: Option<u32>,
    scripts: &'a [Program],
    invoked_as: &'a [Vec<u8>],
    arguments: Option<&'a [Vec<u8>]>,
    mapping: bool,
}

// === impl RuleSet: process ===

impl RuleSet {
    fn exec(&self, actor: &Actor, exec: Exec<'_>) -> Decision {
        let Exec { object, owner, scripts, invoked_as, arguments, mapping } = exec;
        if !self.is_active(Class::Process) {
            return Decision::NOTHING;
        }
        let Some(text) = object.text() else { return self.unresolvable(Class::Process) };
        let conditions = |rule: &Rule| Conditions {
            write: false,
            owner: owner == Some(actor.uid),
            arguments_listed: arguments_listed(rule, arguments),
            mapping,
        };
        let found = self.match_paths(Class::Process, &text, invoked_as, Sources { actor, scripts }, conditions);
        self.judge_class(Class::Process, &found, false, !mapping)
    }

    fn map_exec(&self, actor: &Actor, object: &Object, owner: Option<u32>) -> Decision {
        let loader = actor.program.is_loader();
        let own_file = match (&actor.program, object) {
            (Program::Path(program), Object::Path(path)) => program == path,
            (Program::Memfd(program), Object::Memfd(name)) => program == name,
            _ => false,
        };
        // A memfd is used freely, but by a loader it would be run.
        if own_file || (!loader && matches!(object, Object::Memfd(_))) {
            return Decision::NOTHING;
        }
        self.exec(actor, Exec { object, owner, scripts: &[], invoked_as: &[], arguments: None, mapping: !loader })
    }
}

// === impl RuleSet: file ===

impl RuleSet {
    fn file(&self, actor: &Actor, mode: FileMode, object: &Object, owner: Option<u32>, block_device: bool) -> Decision {
        if !self.is_active(Class::File) || matches!(object, Object::Memfd(_)) {
            return Decision::NOTHING;
        }
        let Some(text) = object.text() else {
            let decision = self.unresolvable(Class::File);
            return if block_device { self.device(decision, &[], b"") } else { decision };
        };
        let write = mode == FileMode::Write;
        let conditions =
            |_: &Rule| Conditions { write, owner: owner == Some(actor.uid), arguments_listed: false, mapping: false };
        let found = self.match_paths(Class::File, &text, &[], Sources { actor, scripts: &[] }, conditions);
        let decision = self.judge_class(Class::File, &found, self.in_base(&text, write), true);
        if block_device { self.device(decision, &found, &text) } else { decision }
    }

    /// A block device is opened only through an exact path or a glob Allow under `/dev`.
    fn device(&self, decision: Decision, found: &[Candidate], text: &[u8]) -> Decision {
        let real =
            |verdict| verdict == Verdict::Block || !self.counts(Class::File, false) || self.names_device(found, text, false);
        let shadow = |verdict| verdict == Verdict::Block || self.names_device(found, text, true);
        let Decision { verdict, by, shadow: other } = decision;
        let with_audited = other.map_or((verdict, by), |o| o);
        let block = (Verdict::Block, By::BuiltIn(BuiltIn::Device));
        let (verdict, by) = if self.is_host() || real(verdict) { (verdict, by) } else { block };
        let with_audited = if self.is_host() || shadow(with_audited.0) { with_audited } else { block };
        Decision { verdict, by, shadow: (with_audited.0 != verdict).then_some(with_audited) }
    }

    fn names_device(&self, found: &[Candidate], text: &[u8], audited_too: bool) -> bool {
        let opens = |c: &Candidate| {
            let Some(rule) = self.rule(c.rule).filter(|_| c.rank.says == Says::Allow) else { return false };
            let mut objects = self.names(rule).into_iter().flat_map(|n| &n.objects);
            objects.any(|o| o.rank == c.rank.object && opens_device(rule, o) && o.pattern.meets(text))
        };
        // The Allow has to win in its tier.
        tier_winners(found.iter().filter(|c| audited_too || !c.audited)).iter().any(opens)
    }

    fn move_directory(&self, object: &Object) -> Decision {
        if self.is_host() || !self.is_active(Class::File) {
            return Decision::NOTHING;
        }
        let Object::Path(path) = object else { return self.unresolvable(Class::File) };
        let below = [path.as_slice(), b"/"].concat();
        self.built_in(BuiltIn::TreeIntegrity, |audited_too| {
            self.path_patterns().any(|(rule, pattern)| {
                let counts = (audited_too || !rule.audited) && can_deny_file(rule);
                counts && pattern.has_literal_beginning() && pattern.may_meet_below(&below)
            })
        })
    }
}

// === impl RuleSet: built-in rules ===

impl RuleSet {
    /// A built-in rule that denies where `denies` holds; it is asked without and with the policies in audited mode.
    fn built_in(&self, rule: BuiltIn, denies: impl Fn(bool) -> bool) -> Decision {
        let verdict = |denied| if denied { (Verdict::Block, By::BuiltIn(rule)) } else { (Verdict::Allow, By::Nothing) };
        let ((verdict, by), with_audited) = (verdict(denies(false)), verdict(denies(true)));
        Decision { verdict, by, shadow: (with_audited.0 != verdict).then_some(with_audited) }
    }

    pub(crate) fn is_host(&self) -> bool {
        self.workload.scope == Scope::Host
    }

    /// Whether the class has a rule, those of policies in audited mode counted or not.
    pub(crate) fn counts(&self, class: Class, audited_too: bool) -> bool {
        self.of_class(class).any(|r| audited_too || !r.audited)
    }

    fn mount(&self, change: &MountChange) -> Decision {
        self.mounts(|audited_too| match change {
            MountChange::New { at } => self.is_over_a_place(at, audited_too),
            MountChange::UnmountOwn => false,
            MountChange::Rearrange
            | MountChange::UnmountForeign
            | MountChange::PivotRoot
            | MountChange::EnterForeign
            | MountChange::OpenDetached => true,
        })
    }

    /// `mount-integrity`, for a change that changes what paths mean where `changes` holds (asked as by `built_in`).
    pub(crate) fn mounts(&self, changes: impl Fn(bool) -> bool) -> Decision {
        if !self.guards_places() {
            return Decision::NOTHING;
        }
        self.built_in(BuiltIn::MountIntegrity, |audited_too| {
            (self.counts(Class::Process, audited_too) || self.counts(Class::File, audited_too)) && changes(audited_too)
        })
    }

    /// Whether `mount-integrity` holds for the workload at all.
    pub(crate) fn guards_places(&self) -> bool {
        !self.is_host() && !self.workload.allow_mounts
    }

    /// Whether a mount at this path lies over a path that a rule meets, or over a directory above one.
    fn is_over_a_place(&self, at: &[u8], audited_too: bool) -> bool {
        let below = if at == b"/" { b"/".to_vec() } else { [at, b"/"].concat() };
        self.path_patterns()
            .filter(|(rule, _)| audited_too || !rule.audited)
            .any(|(rule, pattern)| names_a_place(rule, pattern) && (pattern.meets(at) || pattern.may_meet_below(&below)))
            || self.resolution.multi_call.iter().any(|(id, file)| {
                let counts = self.rule(*id).is_some_and(|r| audited_too || !r.audited);
                counts && (file == at || file.starts_with(&below))
            })
    }

    fn attach(&self, actor: &Actor, target: &Program) -> Decision {
        // Two memfds of one name need not be one program.
        let same = matches!((&actor.program, target), (Program::Path(own), Program::Path(other)) if own == other);
        if same { Decision::NOTHING } else { self.attaches() }
    }

    /// `source`: attaching to another program.
    pub(crate) fn attaches(&self) -> Decision {
        self.built_in(BuiltIn::Source, |audited_too| !self.is_host() && self.has_sourced_allow(audited_too))
    }

    /// Whether some Allow trusts a program.
    pub(crate) fn has_sourced_allow(&self, audited_too: bool) -> bool {
        let sourced = |rule: &Rule| self.names(rule).is_some_and(|n| !n.sources.is_empty());
        self.rules.iter().any(|r| (audited_too || !r.audited) && r.action() == Action::Allow && sourced(r))
    }

    /// The decision on an object that cannot be told: it meets every Block of the class and no Allow.
    pub(crate) fn unresolvable(&self, class: Class) -> Decision {
        let among = |audited_too: bool| {
            let counts = move |audited: bool| audited_too || !audited;
            let mut rules = self.of_class(class).filter(|r| counts(r.audited)).peekable();
            if rules.peek().is_none() {
                return (Verdict::Allow, By::Nothing);
            }
            let is_list = self.allow_lists(class).values().any(|audited| counts(*audited));
            let denied = rules.any(|r| r.action() == Action::Block) || (is_list && self.posture(class) == Posture::Block);
            (if denied { Verdict::Block } else { Verdict::Audit }, By::BuiltIn(BuiltIn::Unresolvable))
        };
        let ((verdict, by), shadow) = (among(false), among(true));
        Decision { verdict, by, shadow: (shadow.0 != verdict).then_some(shadow) }
    }

    /// Rank and verdict over the rules found.
    pub(crate) fn judge_class(&self, class: Class, found: &[Candidate], base: bool, posture_applies: bool) -> Decision {
        let posture = ClassPosture { posture: self.posture(class), applies: posture_applies };
        judge(found, base, &self.allow_lists(class), posture)
    }
}

/// Whether an Allow by this name opens block devices: an exact path or a glob under `/dev`, by the rule's own text or
/// by what that resolves to.
pub(crate) fn opens_device(rule: &Rule, name: &Name) -> bool {
    let elsewhere = matches!(&rule.body, RuleBody::File(body) if several_places(&body.object));
    rule.action() == Action::Allow
        && name.rank.is_exact_or_glob()
        && !elsewhere
        && name.pattern.literal_beginning().starts_with(b"/dev/")
}

/// Whether a mount over what the rule meets by this pattern counts: rules for `/` as a whole and rules without a literal
/// beginning do not.
pub(crate) fn names_a_place(rule: &Rule, pattern: &Pattern) -> bool {
    pattern.has_literal_beginning() || is_about_roots_children(rule)
}

/// Whether a glob has alternatives that do not all lie under `/dev`.
fn several_places(object: &PathObject) -> bool {
    let (PathObject::Pattern(glob) | PathObject::Path(PathName { glob: Some(glob), .. })) = object else { return false };
    glob.sequences().len() > 1 && !glob.literal_prefix().starts_with(b"/dev/")
}

/// Whether a rule names `/` without what is below its children: that is no rule for `/` as a whole.
fn is_about_roots_children(rule: &Rule) -> bool {
    let object = match &rule.body {
        RuleBody::Process(body) => &body.object,
        RuleBody::File(body) => &body.object,
        RuleBody::Network(_) | RuleBody::Capability(_) => return false,
    };
    matches!(object, PathObject::Directory { dir, recursive: false } if dir.literal == "/")
}

/// Whether a file rule can deny: a Block, or an Allow that passes only reads or the owner.
pub(crate) fn can_deny_file(rule: &Rule) -> bool {
    let RuleBody::File(body) = &rule.body else { return false };
    match body.meta.action {
        Action::Block => true,
        Action::Allow => body.read_only || body.owner_only,
        Action::Audit => false,
    }
}

/// Whether every argument after `argv[0]` (where there is none: `argv[0]`) is in the rule's list.
pub(crate) fn arguments_listed(rule: &Rule, arguments: Option<&[Vec<u8>]>) -> bool {
    let RuleBody::Process(body) = &rule.body else { return false };
    let (Some(list), Some(arguments)) = (&body.allowed_args, arguments) else { return false };
    let listed = |argument: &Vec<u8>| list.iter().any(|allowed| allowed.as_bytes() == argument.as_slice());
    match arguments.split_first() {
        None => false,
        Some((first, [])) => listed(first),
        Some((_, rest)) => rest.iter().all(listed),
    }
}

// === impl Decision ===

impl Decision {
    /// Nothing concerns the access: it passes, silent.
    pub const NOTHING: Self = Self { verdict: Verdict::Allow, by: By::Nothing, shadow: None };

    fn block(rule: BuiltIn) -> Self {
        Self { verdict: Verdict::Block, by: By::BuiltIn(rule), shadow: None }
    }
}
