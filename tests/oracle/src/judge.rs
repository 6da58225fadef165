//! The verdict (meaning 5).

use palisade_policy::model::{Action, Class, Kind, Policy, PolicyKey, Position};
use palisade_ruleset::{Access, Object, Operation, Posture, Program, Verdict, Workload};

use crate::form::{Resolver, base_name};
use crate::glob::Pattern;
use crate::links::Links;
use crate::rank::Says;
use crate::rule::{Met, Rule, rules_of};
use crate::{base, builtin, network, select};

/// What the oracle says about one access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What happens.
    pub verdict: Verdict,
    /// Who decided.
    pub by: By,
    /// Whether the law says who decided. Where it does not (nothing is reported, or two tiers deny), `by` is one of several
    /// good answers.
    pub by_is_law: bool,
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule.
    Rule(Speaker),
    /// The posture of the class.
    DefaultPosture,
    /// The base set.
    Base,
    /// The built-in rule of this name.
    BuiltIn(&'static str),
    /// Nothing speaks.
    Nothing,
}

/// A rule, by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its policy.
    pub policy: PolicyKey,
    /// Its place in that policy.
    pub position: Position,
}

/// What one policy says (meaning 5.1).
struct Voice<'r> {
    policy: &'r PolicyKey,
    /// Its Block or Allow, where it has one.
    speaks: Option<Met<'r>>,
    /// Its best-ranked rule, where that is an Audit.
    audit: Option<Met<'r>>,
}

/// The judgement of one access, by the enabled policies that select the workload.
//
// AMBIGUITY (meaning 1.5): in audited mode a workload's verdict is "computed as usual", Block included; whoever applies it
// does not deny. Other: the verdict is what happens, Audit.
#[must_use]
pub fn judge(policies: &[Policy], workload: &Workload, links: &Links, access: &Access) -> Judgement {
    judge_by(policies, workload, links, access, false)
}

/// The judgement if the policies in audited mode were enabled: what events say of them.
#[must_use]
pub fn judge_with_audited(policies: &[Policy], workload: &Workload, links: &Links, access: &Access) -> Judgement {
    judge_by(policies, workload, links, access, true)
}

fn judge_by(policies: &[Policy], workload: &Workload, links: &Links, access: &Access, audited: bool) -> Judgement {
    let resolver = Resolver { links, multi_call: &workload.multi_call };
    let rules: Vec<Rule<'_>> = policies
        .iter()
        .filter(|policy| select::concerns(policy, workload, audited))
        .flat_map(|policy| rules_of(policy, resolver))
        .collect();
    let question = Question { rules: &rules, workload, resolver, access };
    question.judge()
}

/// One access, and all that its verdict depends on.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    /// The rules of all policies that take part.
    pub(crate) rules: &'q [Rule<'q>],
    pub(crate) workload: &'q Workload,
    pub(crate) resolver: Resolver<'q>,
    pub(crate) access: &'q Access,
}

// === impl Judgement ===

impl Judgement {
    /// Nothing speaks.
    pub(crate) fn nothing() -> Self {
        Self { verdict: Verdict::Allow, by: By::Nothing, by_is_law: true }
    }

    /// A built-in rule speaks.
    pub(crate) fn built_in(verdict: Verdict, name: &'static str) -> Self {
        Self { verdict, by: By::BuiltIn(name), by_is_law: true }
    }

    fn of(verdict: Verdict, by: By) -> Self {
        Self { verdict, by, by_is_law: true }
    }

    fn of_rule(verdict: Verdict, met: &Met<'_>) -> Self {
        let Met { rule, rank: _ } = met;
        Self::of(verdict, By::Rule(Speaker { policy: rule.policy.clone(), position: rule.position }))
    }

    pub(crate) fn by_anyone_if(self, unclear: bool) -> Self {
        Self { by_is_law: self.by_is_law && !unclear, ..self }
    }
}

// === impl Question ===

impl<'q> Question<'q> {
    fn judge(&self) -> Judgement {
        match &self.access.operation {
            Operation::TouchPalisade => Judgement::built_in(Verdict::Block, "self"),
            Operation::MoveDirectory { object } => builtin::tree_integrity(self, object),
            Operation::Mount(change) => builtin::mount_integrity(self, change),
            Operation::Attach { target } => builtin::source(self, target),
            Operation::Exec { object, .. } => self.judge_exec(object),
            Operation::MapExec { object, .. } => self.judge_mapping(object),
            Operation::File { object, block_device, .. } => self.judge_file(object, *block_device),
            Operation::Socket { socket, .. } if network::is_out_of_reach(*socket) => Judgement::nothing(),
            Operation::Socket { .. } => self.conclude(Class::Network),
            Operation::Capability { .. } => self.conclude(Class::Capability),
        }
    }

    fn judge_exec(&self, object: &Object) -> Judgement {
        match object {
            Object::Unresolvable => builtin::unresolvable(self, Class::Process),
            Object::Path(_) | Object::Memfd(_) => self.conclude(Class::Process),
        }
    }

    fn judge_mapping(&self, object: &Object) -> Judgement {
        let program = &self.access.actor.program;
        let by_loader = matches!(program, Program::Path(path) if is_loader(path));
        match object {
            // A later mapping of the acting program's own file is decided by its exec.
            Object::Path(path) if matches!(program, Program::Path(own) if own == path) => Judgement::nothing(),
            // Without a loader a memfd is used freely.
            Object::Memfd(_) if !by_loader => Judgement::nothing(),
            // AMBIGUITY (meaning 2 against 3.1): a mapping of what cannot be told is judged as its exec. Other: directory Blocks
            // and the posture, which do not reach mappings, do not reach this one either.
            Object::Unresolvable => builtin::unresolvable(self, Class::Process),
            Object::Path(_) | Object::Memfd(_) if by_loader => self.conclude(Class::Process),
            Object::Path(_) | Object::Memfd(_) => self.conclude_mapping(),
        }
    }

    fn judge_file(&self, object: &Object, block_device: bool) -> Judgement {
        match object {
            Object::Memfd(_) => Judgement::nothing(),
            Object::Unresolvable if block_device => builtin::unresolvable_device(self),
            Object::Unresolvable => builtin::unresolvable(self, Class::File),
            Object::Path(path) if block_device => {
                let opens = self.winners(&self.hear(Class::File)).iter().any(|w| builtin::opens_device(w, path));
                builtin::device(self, self.conclude(Class::File), opens)
            }
            Object::Path(_) => self.conclude(Class::File),
        }
    }

    /// The rules of a class.
    pub(crate) fn of_class(&self, class: Class) -> impl Iterator<Item = &'q Rule<'q>> {
        self.rules.iter().filter(move |rule| rule.class() == class)
    }

    /// The posture of a class; process follows file.
    pub(crate) fn posture(&self, class: Class) -> Posture {
        match class {
            Class::Process | Class::File => self.workload.postures.file,
            Class::Network => self.workload.postures.network,
            Class::Capability => self.workload.postures.capability,
        }
    }

    /// The voices of all policies that have a matching rule.
    fn hear(&self, class: Class) -> Vec<Voice<'q>> {
        let mut met: Vec<Met<'q>> = self
            .of_class(class)
            .filter_map(|rule| rule.matches(self.access, self.resolver).map(|rank| Met { rank, rule }))
            .collect();
        met.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut voices = Vec::new();
        while let Some(first) = met.first().copied() {
            let (own, others): (Vec<_>, Vec<_>) = met.into_iter().partition(|m| m.rule.policy == first.rule.policy);
            voices.push(voice(&own, first));
            met = others;
        }
        voices
    }

    /// The winner of each tier that has one.
    fn winners(&self, voices: &[Voice<'q>]) -> Vec<Met<'q>> {
        let of_tier = |tier: Tier| {
            let speaking = voices.iter().filter(|v| tier_of(v.policy) == tier).filter_map(|v| v.speaks);
            speaking.min_by(|a, b| a.order().cmp(&b.order()))
        };
        [of_tier(Tier::Upper), of_tier(Tier::Lower)].into_iter().flatten().collect()
    }

    /// The verdict of a class on an access.
    fn conclude(&self, class: Class) -> Judgement {
        let voices = self.hear(class);
        let winners = self.winners(&voices);
        let audit = best(voices.iter().filter_map(|v| v.audit));
        let blocks = winners.iter().copied().filter(|m| m.rank.says == Says::Block);
        if let Some(block) = best(blocks.clone()) {
            // AMBIGUITY (meaning 5.6): where both tiers deny, either rule can be named.
            return Judgement::of_rule(Verdict::Block, &block).by_anyone_if(blocks.count() > 1);
        }
        if let Some(allow) = best(winners.iter().copied()) {
            return match audit {
                Some(audit) => Judgement::of_rule(Verdict::Audit, &audit),
                None => Judgement::of_rule(Verdict::Allow, &allow).by_anyone_if(winners.len() > 1),
            };
        }
        let without_posture = match audit {
            Some(audit) => Judgement::of_rule(Verdict::Audit, &audit),
            None => Judgement::nothing().by_anyone_if(!voices.is_empty()),
        };
        let posture_applies =
            self.of_class(class).any(|rule| rule.action == Action::Allow && !voices.iter().any(|v| v.policy == rule.policy));
        if self.base_set_lets_pass() {
            return match without_posture.verdict {
                Verdict::Audit => without_posture,
                Verdict::Allow | Verdict::Block => Judgement::of(Verdict::Allow, By::Base).by_anyone_if(!posture_applies),
            };
        }
        match self.posture(class) {
            _ if !posture_applies => without_posture,
            Posture::Block => Judgement::of(Verdict::Block, By::DefaultPosture),
            // AMBIGUITY (meaning 5.6): where an Audit rule and the posture both report, either can be named.
            Posture::Audit => Judgement::of(Verdict::Audit, By::DefaultPosture).by_anyone_if(audit.is_some()),
        }
    }

    /// The verdict on a mapping while the acting program is no loader: only what names the file itself reaches it.
    //
    // AMBIGUITY (meaning 2, map_exec, "the process rule that wins"): one winner per tier is asked, so a directory Block of
    // one tier does not shadow a Block by path of the other. Other: the best ranked of both.
    fn conclude_mapping(&self) -> Judgement {
        let voices = self.hear(Class::Process);
        let winners = self.winners(&voices);
        let names_it = |m: &Met<'_>| !m.rank.object.is_directory();
        let blocks = winners.iter().copied().filter(|m| m.rank.says == Says::Block && names_it(m));
        if let Some(block) = best(blocks.clone()) {
            return Judgement::of_rule(Verdict::Block, &block).by_anyone_if(blocks.count() > 1);
        }
        match best(voices.iter().filter_map(|v| v.audit).filter(names_it)) {
            Some(audit) => Judgement::of_rule(Verdict::Audit, &audit),
            None => Judgement::nothing().by_anyone_if(!voices.is_empty()),
        }
    }

    fn base_set_lets_pass(&self) -> bool {
        if let Operation::File { object: Object::Path(path), mode, .. } = &self.access.operation {
            base::lets_pass(self.workload, path, *mode)
        } else {
            false
        }
    }
}

/// A tier of policies. Host policies are alone in theirs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tier {
    Upper,
    Lower,
}

fn tier_of(policy: &PolicyKey) -> Tier {
    match policy.kind {
        Kind::Cluster => Tier::Upper,
        Kind::Namespaced | Kind::Host => Tier::Lower,
    }
}

/// The voice of a policy whose matching rules are these, best ranked first.
fn voice<'r>(own: &[Met<'r>], first: Met<'r>) -> Voice<'r> {
    // The first rule that does not look on speaks; behind rules that look on it does so only if it is an Allow.
    let speaks = own
        .iter()
        .copied()
        .enumerate()
        .find(|(_, m)| matches!(m.rank.says, Says::Block | Says::Allow))
        .filter(|(index, m)| *index == 0 || m.rank.says == Says::Allow)
        .map(|(_, m)| m);
    let audit = (first.rank.says == Says::Audit).then_some(first);
    Voice { policy: first.rule.policy, speaks, audit }
}

fn best<'r>(met: impl Iterator<Item = Met<'r>>) -> Option<Met<'r>> {
    met.min_by(|a, b| a.order().cmp(&b.order()))
}

/// Whether a program is a dynamic loader, by its base name (meaning 2).
fn is_loader(path: &[u8]) -> bool {
    [b"ld-*.so*".as_slice(), b"ld.so*", b"ld-musl-*"]
        .iter()
        .any(|text| Pattern::parse(text).is_some_and(|pattern| pattern.meets_path(base_name(path))))
}
