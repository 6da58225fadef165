//! `decide`: the law of `meaning.md`, for one access, by plain matching.

use palisade_policy::model::{Action, Class};

use crate::access::{Access, Actor, FileMode, MountChange, Object, Operation, Program};
use crate::decision::{BuiltIn, By, Decision, Verdict};
use crate::judge::{Candidate, ClassPosture, Conditions, judge};
use crate::matching::Sources;
use crate::network;
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
        Operation::Socket { socket } => {
            if network::row(*socket).is_none() || !rules.is_active(Class::Network) {
                return Decision::NOTHING;
            }
            rules.judge_class(Class::Network, &rules.match_socket(*socket, Sources { actor, scripts: &[] }), false, true)
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
        let Some(text) = object.text() else { return self.unresolvable(Class::File) };
        let write = mode == FileMode::Write;
        let conditions =
            |_: &Rule| Conditions { write, owner: owner == Some(actor.uid), arguments_listed: false, mapping: false };
        let found = self.match_paths(Class::File, &text, &[], Sources { actor, scripts: &[] }, conditions);
        let decision = self.judge_class(Class::File, &found, self.in_base(&text, write), true);
        let is_workload = self.workload.scope == Scope::Workload;
        if block_device && is_workload && decision.verdict != Verdict::Block && !self.named_device(&decision, &found, &text) {
            return Decision::block(BuiltIn::Device);
        }
        decision
    }

    /// Whether an Allow by an exact path or a glob under `/dev` opens the device.
    fn named_device(&self, decision: &Decision, found: &[Candidate], text: &[u8]) -> bool {
        let opens = |c: &Candidate| {
            let says_allow = self.rule(c.rule).is_some_and(|r| r.action() == Action::Allow) && !c.audited;
            says_allow && c.rank.object.is_exact_or_glob()
        };
        text.starts_with(b"/dev/") && decision.verdict != Verdict::Block && found.iter().any(opens)
    }

    fn move_directory(&self, object: &Object) -> Decision {
        if self.workload.scope == Scope::Host || !self.is_active(Class::File) {
            return Decision::NOTHING;
        }
        let Object::Path(path) = object else { return self.unresolvable(Class::File) };
        let below = [path.as_slice(), b"/"].concat();
        let held = self.path_patterns().any(|(rule, pattern)| {
            !rule.audited && can_deny_file(rule) && pattern.has_literal_beginning() && pattern.may_meet_below(&below)
        });
        if held { Decision::block(BuiltIn::TreeIntegrity) } else { Decision::NOTHING }
    }
}

// === impl RuleSet: built-in rules ===

impl RuleSet {
    fn mount(&self, change: &MountChange) -> Decision {
        let has_path_rules = self.is_active(Class::Process) || self.is_active(Class::File);
        if self.workload.scope == Scope::Host || self.workload.allow_mounts || !has_path_rules {
            return Decision::NOTHING;
        }
        let denied = match change {
            MountChange::New { at } => {
                let below = if at == b"/" { b"/".to_vec() } else { [at.as_slice(), b"/"].concat() };
                self.path_patterns()
                    .any(|(_, pattern)| pattern.has_literal_beginning() && (pattern.meets(at) || pattern.may_meet_below(&below)))
            }
            MountChange::UnmountOwn => false,
            MountChange::Rearrange
            | MountChange::UnmountForeign
            | MountChange::PivotRoot
            | MountChange::EnterForeign
            | MountChange::OpenDetached => true,
        };
        if denied { Decision::block(BuiltIn::MountIntegrity) } else { Decision::NOTHING }
    }

    fn attach(&self, actor: &Actor, target: &Program) -> Decision {
        let trusts_source = self.has_sourced_allow() && self.workload.scope == Scope::Workload;
        let other = actor.program == Program::Unknown || actor.program != *target;
        if trusts_source && other { Decision::block(BuiltIn::Source) } else { Decision::NOTHING }
    }

    /// Whether some Allow trusts a program.
    pub(crate) fn has_sourced_allow(&self) -> bool {
        let sourced = |rule: &&Rule| self.names(rule).is_some_and(|n| !n.sources.is_empty());
        self.rules.iter().filter(|r| !r.audited && r.action() == Action::Allow).any(|r| sourced(&r))
    }

    /// The decision on an object that cannot be told: it meets every Block of the class and no Allow.
    pub(crate) fn unresolvable(&self, class: Class) -> Decision {
        let mut rules = self.of_class(class).filter(|r| !r.audited).peekable();
        if rules.peek().is_none() {
            return Decision::NOTHING;
        }
        let lists = self.allow_lists(class).values().any(|audited| !audited);
        let denied = rules.any(|r| r.action() == Action::Block) || (lists && self.posture(class) == Posture::Block);
        let by = By::BuiltIn(BuiltIn::Unresolvable);
        Decision { verdict: if denied { Verdict::Block } else { Verdict::Audit }, by, shadow: None }
    }

    /// Rank and verdict over the rules found.
    pub(crate) fn judge_class(&self, class: Class, found: &[Candidate], base: bool, posture_applies: bool) -> Decision {
        let posture = ClassPosture { posture: self.posture(class), applies: posture_applies };
        judge(found, base, &self.allow_lists(class), posture)
    }
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
