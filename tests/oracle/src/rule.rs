//! One rule of any class, and what it says to an access (meaning 3.7, 3.8).

use palisade_policy::model::{Action, Class, NetworkObject, Policy, PolicyKey, Position, RuleMeta, SourceMatch};
use palisade_ruleset::{Access, Actor, FileMode, Object, Operation, Program};

use crate::form::{Form, Resolver, Thing, base_name};
use crate::network;
use crate::rank::{ObjectRank, Rank, Says, SourceRank};

/// A rule with its names resolved.
#[derive(Clone, Debug)]
pub(crate) struct Rule<'p> {
    pub(crate) policy: &'p PolicyKey,
    pub(crate) position: Position,
    pub(crate) action: Action,
    pub(crate) named: Named<'p>,
    /// `None` where the rule has no `fromSource`; else the forms of all its entries.
    source: Option<Vec<Form>>,
    pts_false: bool,
    read_only: bool,
    owner_only: bool,
    allowed_args: Option<&'p [String]>,
}

/// What a rule is about.
#[derive(Clone, Debug)]
pub(crate) enum Named<'p> {
    Files(Vec<Form>),
    Programs(Vec<Form>),
    Sockets(&'p NetworkObject),
    Capability(u8),
}

/// A rule that matches the access at hand. Of two, the smaller is the better ranked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<'r> {
    pub(crate) rank: Rank,
    pub(crate) rule: &'r Rule<'r>,
}

/// All rules of a policy.
pub(crate) fn rules_of<'p>(policy: &'p Policy, resolver: Resolver<'_>) -> Vec<Rule<'p>> {
    let bare = |meta: &RuleMeta, named: Named<'p>, from_source: &[SourceMatch]| Rule {
        policy: &policy.key,
        position: meta.position,
        action: meta.action,
        named,
        source: (!from_source.is_empty())
            .then(|| from_source.iter().flat_map(|entry| resolver.source(entry, meta.action)).collect()),
        pts_false: false,
        read_only: false,
        owner_only: false,
        allowed_args: None,
    };
    let process = policy.process.iter().map(|rule| Rule {
        pts_false: rule.pts_false,
        owner_only: rule.owner_only,
        allowed_args: rule.allowed_args.as_deref(),
        ..bare(&rule.meta, Named::Programs(resolver.object(&rule.object, rule.meta.action)), &rule.from_source)
    });
    let file = policy.file.iter().map(|rule| Rule {
        pts_false: rule.pts_false,
        read_only: rule.read_only,
        owner_only: rule.owner_only,
        ..bare(&rule.meta, Named::Files(resolver.file_object(&rule.object, rule.meta.action)), &rule.from_source)
    });
    let network = policy
        .network
        .iter()
        .map(|rule| Rule { pts_false: rule.pts_false, ..bare(&rule.meta, Named::Sockets(&rule.object), &rule.from_source) });
    let capabilities =
        policy.capabilities.iter().map(|rule| bare(&rule.meta, Named::Capability(rule.capability.number()), &rule.from_source));
    process.chain(file).chain(network).chain(capabilities).collect()
}

// === impl Rule ===

impl Rule<'_> {
    pub(crate) fn class(&self) -> Class {
        match self.named {
            Named::Programs(_) => Class::Process,
            Named::Files(_) => Class::File,
            Named::Sockets(_) => Class::Network,
            Named::Capability(_) => Class::Capability,
        }
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// The forms of a rule about programs or files.
    pub(crate) fn forms(&self) -> &[Form] {
        match &self.named {
            Named::Files(forms) | Named::Programs(forms) => forms,
            Named::Sockets(_) | Named::Capability(_) => &[],
        }
    }

    /// Whether a file rule could deny something: Block, or a condition on an Allow.
    pub(crate) fn can_deny(&self) -> bool {
        match self.action {
            Action::Block => true,
            Action::Allow => self.read_only || self.owner_only || self.allowed_args.is_some(),
            Action::Audit => false,
        }
    }

    /// The rule's rank where it matches the access: object, source and terminal.
    pub(crate) fn matches(&self, access: &Access, resolver: Resolver<'_>) -> Option<Rank> {
        let object = self.meets_object(&access.operation, resolver)?;
        let source = self.meets_source(access)?;
        self.meets_terminal(&access.actor).then(|| Rank {
            unsourced: self.source.is_none(),
            object,
            source,
            says: self.says(access),
        })
    }

    fn meets_object(&self, operation: &Operation, resolver: Resolver<'_>) -> Option<ObjectRank> {
        match (&self.named, operation) {
            (Named::Programs(forms), Operation::Exec { object, invoked_as, .. }) => {
                self.best_form(forms, object, invoked_as, resolver)
            }
            // AMBIGUITY (meaning 3.6): a mapping has no invocation name, so a Block written under another name of a multi-call
            // binary does not meet a mapping of it, by a loader neither. Other: not knowing the name, it meets.
            (Named::Programs(forms), Operation::MapExec { object, .. })
            | (Named::Files(forms), Operation::File { object, .. }) => self.best_form(forms, object, &[], resolver),
            (Named::Sockets(NetworkObject::Protocol(word)), Operation::Socket { socket, end: _ }) => {
                network::meets(*word, *socket)
            }
            (Named::Sockets(NetworkObject::Endpoint(endpoint)), Operation::Socket { socket, end }) => {
                network::endpoint_meets(endpoint, self.action, *socket, *end)
            }
            (Named::Capability(own), Operation::Capability { number }) => (own == number).then_some(ObjectRank::Capability),
            _ => None,
        }
    }

    fn best_form(&self, forms: &[Form], object: &Object, invoked_as: &[Vec<u8>], resolver: Resolver<'_>) -> Option<ObjectRank> {
        let thing = match object {
            Object::Path(path) => Thing::Path { path, invoked_as },
            Object::Memfd(name) => Thing::Memfd(name),
            Object::Unresolvable => return None,
        };
        let by_form = forms.iter().filter_map(|form| form.meets(thing)).min();
        by_form.or_else(|| {
            let multi_call = matches!(object, Object::Path(path) if resolver.is_multi_call(base_name(path)));
            let by_name =
                multi_call && self.action != Action::Allow && forms.iter().any(|form| form.is_execname_among(invoked_as));
            by_name.then_some(ObjectRank::ExecName)
        })
    }

    /// Whether a `fromSource` holds, and how; a rule without one holds for all.
    fn meets_source(&self, access: &Access) -> Option<SourceRank> {
        let Some(forms) = &self.source else { return Some(SourceRank::Exact) };
        let caller = &access.actor.program;
        let scripts = if let Operation::Exec { scripts, .. } = &access.operation { scripts.as_slice() } else { &[] };
        match self.action {
            Action::Block | Action::Audit => {
                [caller].into_iter().chain(scripts).filter_map(|program| source_rank(forms, program, true)).min()
            }
            Action::Allow => source_rank(forms, scripts.last().unwrap_or(caller), false),
        }
    }

    fn meets_terminal(&self, actor: &Actor) -> bool {
        !self.pts_false
            || match self.action {
                Action::Block | Action::Audit => actor.terminal,
                Action::Allow => !actor.terminal,
            }
    }

    fn says(&self, access: &Access) -> Says {
        let has_condition = self.read_only || self.owner_only || self.allowed_args.is_some();
        if !has_condition {
            return match self.action {
                Action::Block => Says::Block,
                Action::Audit => Says::Audit,
                Action::Allow => Says::Allow,
            };
        }
        match (self.action, self.passes(access)) {
            (Action::Allow, true) => Says::Allow,
            (Action::Allow | Action::Block, false) => Says::Block,
            (Action::Audit, false) => Says::Audit,
            (Action::Block | Action::Audit, true) => Says::Silent,
        }
    }

    /// Whether the access passes all conditions of the rule.
    fn passes(&self, access: &Access) -> bool {
        let (mode, owner, arguments) = match &access.operation {
            Operation::Exec { owner, arguments, .. } => (None, *owner, arguments.as_deref()),
            // AMBIGUITY (meaning 3.8): a mapping has no arguments, so it passes no allowedArgs list. Other: it passes each.
            Operation::MapExec { owner, .. } => (None, *owner, None),
            Operation::File { mode, owner, .. } => (Some(*mode), *owner, None),
            Operation::MoveDirectory { .. }
            | Operation::Socket { .. }
            | Operation::Capability { .. }
            | Operation::Mount(_)
            | Operation::Attach { .. }
            | Operation::TouchPalisade => (None, None, None),
        };
        let read_only = !self.read_only || mode == Some(FileMode::Read);
        let owner_only = !self.owner_only || owner == Some(access.actor.uid);
        let allowed_args = self.allowed_args.is_none_or(|list| arguments.is_some_and(|args| all_listed(args, list)));
        read_only && owner_only && allowed_args
    }
}

/// Whether every argument after `argv[0]` is in the list or, where there is none, `argv[0]` is.
//
// AMBIGUITY (meaning 3.8): an exec without even `argv[0]` passes no list.
fn all_listed(arguments: &[Vec<u8>], list: &[String]) -> bool {
    let listed = |argument: &Vec<u8>| list.iter().any(|l| l.as_bytes() == argument.as_slice());
    match arguments {
        [] => false,
        [only] => listed(only),
        [_, rest @ ..] => rest.iter().all(listed),
    }
}

fn source_rank(forms: &[Form], program: &Program, unknown_meets: bool) -> Option<SourceRank> {
    let rank = |object: ObjectRank| if object == ObjectRank::ExactPath { SourceRank::Exact } else { SourceRank::Other };
    match program {
        Program::Path(path) => forms.iter().filter_map(|form| form.meets(Thing::Path { path, invoked_as: &[] })).map(rank).min(),
        // AMBIGUITY (meaning 2 and 3.7): a memfd as source is met as it is met as a program: by the directory `/`, recursive,
        // and its equals. Others: by nothing; as an unknown source.
        Program::Memfd(name) => forms.iter().filter_map(|form| form.meets(Thing::Memfd(name))).map(rank).min(),
        // AMBIGUITY (meaning 3.7 and 4(3)): an unknown source meets a rule by the best of its entries.
        Program::Unknown => {
            let best = forms.iter().map(|form| rank(form.rank())).min();
            if unknown_meets { best } else { None }
        }
    }
}

// === impl Met ===

impl Met<'_> {
    /// The order of meaning 4, to the last tie.
    pub(crate) fn order(&self) -> (Rank, &PolicyKey, Position) {
        (self.rank, self.rule.policy, self.rule.position)
    }
}
