//! Rank and verdict (`meaning` sections 4 and 5): from the rules that match one access to one decision.
//!
//! ```text
//! matching rules -> per policy: its voice, or that it looks on -> per tier: the best ranked voice wins
//!     -> across tiers: the stricter -> no winner: base set, then posture
//! ```
//!
//! [`decide`](crate::decide) calls this with the rules that it found by plain matching; the compiler calls it with
//! those of each accept set. So a cell of a table cannot mean anything else than `decide` does.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use palisade_policy::model::{Action, Class, FileRule, ProcessRule};

use crate::decision::{By, Decision, RuleId, Verdict};
use crate::resolve::ObjectRank;
use crate::rules::{Rule, RuleBody, RuleSet, Tier};
use crate::workload::{Posture, Workload};

/// A rule that matches the access, with what ranks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) rule: RuleId,
    pub(crate) policy_index: usize,
    pub(crate) tier: Tier,
    pub(crate) audited: bool,
    pub(crate) rank: Rank,
}

/// The rank of a matching rule; the greater is the better. The fields are in the order of the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) sourced: bool,
    pub(crate) object: ObjectRank,
    pub(crate) source_exact: bool,
    pub(crate) says: Says,
    /// A full tie is decided by the order of the rules, which is that of their ids.
    pub(crate) order: Reverse<RuleId>,
}

/// What a rule says to one access. The order is that of rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Says {
    /// It lets the access pass and looks on.
    Silent,
    /// It passes.
    Allow,
    /// It passes, is reported, and the rule looks on.
    Audit,
    /// It is denied.
    Block,
}

/// How a rule's source condition fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SourceMatch {
    /// It has one and it is not met.
    No,
    /// It has none.
    Any,
    /// It is met, not by an exact name.
    Loose,
    /// It is met by an exact name.
    Exact,
}

/// The conditions that decide both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// The access changes something.
    pub(crate) write: bool,
    /// The task owns the object.
    pub(crate) owner: bool,
    /// Every argument after the first is in the rule's list; asked only of rules that have one.
    pub(crate) arguments_listed: bool,
    /// It is an executable mapping of a program that is not a loader: directories and postures do not reach it.
    pub(crate) mapping: bool,
}

/// What happens where nobody wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassPosture {
    pub(crate) posture: Posture,
    /// Whether the posture (and the base set) are asked at all.
    pub(crate) applies: bool,
}

/// The policies that make a class an allow-list, by index; with whether each is audited.
pub(crate) type AllowLists = BTreeMap<usize, bool>;

// === impl Says ===

impl Says {
    /// Whether the rule looks on.
    pub(crate) fn looks_on(self) -> bool {
        matches!(self, Self::Silent | Self::Audit)
    }

    fn plain(action: Action) -> Self {
        match action {
            Action::Allow => Self::Allow,
            Action::Audit => Self::Audit,
            Action::Block => Self::Block,
        }
    }

    /// Of a rule with conditions that decide both ways.
    fn conditional(action: Action, pass: bool) -> Self {
        match (action, pass) {
            (Action::Allow, true) => Self::Allow,
            (Action::Allow | Action::Block, false) => Self::Block,
            (Action::Audit, false) => Self::Audit,
            (Action::Audit | Action::Block, true) => Self::Silent,
        }
    }
}

/// What a rule that matches says under these conditions.
pub(crate) fn says(body: &RuleBody, object: ObjectRank, conditions: Conditions) -> Says {
    let Conditions { write, owner, arguments_listed, mapping } = conditions;
    let said = match body {
        RuleBody::Process(ProcessRule { meta, owner_only, allowed_args, .. }) => {
            if *owner_only || allowed_args.is_some() {
                let pass = (!owner_only || owner) && (allowed_args.is_none() || arguments_listed);
                Says::conditional(meta.action, pass)
            } else {
                Says::plain(meta.action)
            }
        }
        RuleBody::File(FileRule { meta, read_only, owner_only, .. }) => {
            if *read_only || *owner_only {
                let pass = (!read_only || !write) && (!owner_only || owner);
                Says::conditional(meta.action, pass)
            } else {
                Says::plain(meta.action)
            }
        }
        RuleBody::Network(rule) => Says::plain(rule.meta.action),
        RuleBody::Capability(rule) => Says::plain(rule.meta.action),
    };
    match said {
        // A directory does not reach a mapping: its Block wins as ever, but lets the mapping pass.
        Says::Block if mapping && object.is_directory() => Says::Allow,
        Says::Audit if mapping && object.is_directory() => Says::Silent,
        Says::Block | Says::Audit | Says::Allow | Says::Silent => said,
    }
}

/// Whether `pts: false` lets the rule match.
pub(crate) fn terminal_fits(body: &RuleBody, terminal: bool) -> bool {
    let (pts_false, action) = match body {
        RuleBody::Process(rule) => (rule.pts_false, rule.meta.action),
        RuleBody::File(rule) => (rule.pts_false, rule.meta.action),
        RuleBody::Network(rule) => (rule.pts_false, rule.meta.action),
        RuleBody::Capability(_) => (false, Action::Allow),
    };
    !pts_false || (action == Action::Allow) != terminal
}

/// The candidate that a matching rule is.
pub(crate) fn candidate(rule: &Rule, object: ObjectRank, source: SourceMatch, conditions: Conditions) -> Option<Candidate> {
    if source == SourceMatch::No {
        return None;
    }
    let rank = Rank {
        sourced: source != SourceMatch::Any,
        object,
        source_exact: source == SourceMatch::Exact,
        says: says(&rule.body, object, conditions),
        order: Reverse(rule.id),
    };
    let Rule { id, policy: _, policy_index, tier, audited, body: _ } = rule;
    Some(Candidate { rule: *id, policy_index: *policy_index, tier: *tier, audited: *audited, rank })
}

/// The decision over the rules that match an access. A rule may be given several times; its best rank counts.
pub(crate) fn judge(candidates: &[Candidate], base: bool, lists: &AllowLists, posture: ClassPosture) -> Decision {
    let real = judge_among(candidates.iter().filter(|c| !c.audited), base, lists.iter().filter(|l| !l.1), posture);
    let shadowed = candidates.iter().any(|c| c.audited) || lists.values().any(|audited| *audited);
    let shadow = shadowed.then(|| judge_among(candidates.iter(), base, lists.iter(), posture));
    let (verdict, by) = real;
    Decision { verdict, by, shadow: shadow.filter(|s| s.0 != verdict) }
}

fn judge_among<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    base: bool,
    mut lists: impl Iterator<Item = (&'a usize, &'a bool)>,
    posture: ClassPosture,
) -> (Verdict, By) {
    let by_policy = voices(candidates);
    let winners = winners(&by_policy);
    let best = |says| winners.iter().filter(|w| w.rank.says == says).max_by_key(|w| w.rank);
    if let Some(block) = best(Says::Block) {
        return (Verdict::Block, By::Rule(block.rule));
    }
    let audit = by_policy.values().map(|p| p.best).filter(|b| b.rank.says == Says::Audit).max_by_key(|b| b.rank);
    let passes = |by| audit.map_or((Verdict::Allow, by), |a| (Verdict::Audit, By::Rule(a.rule)));
    if let Some(allow) = best(Says::Allow) {
        return passes(By::Rule(allow.rule));
    }
    let unheard = posture.applies && lists.any(|(policy, _)| !by_policy.contains_key(policy));
    match (unheard, base, posture.posture) {
        (false, ..) => {
            passes(by_policy.values().map(|p| p.best).max_by_key(|b| b.rank).map_or(By::Nothing, |b| By::Rule(b.rule)))
        }
        (true, true, _) => passes(By::BaseSet),
        (true, false, Posture::Block) => (Verdict::Block, By::DefaultPosture),
        (true, false, Posture::Audit) => {
            audit.map_or((Verdict::Audit, By::DefaultPosture), |a| (Verdict::Audit, By::Rule(a.rule)))
        }
    }
}

/// The winners of the tiers, a Block or an Allow each, among the rules that match.
pub(crate) fn tier_winners<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Vec<Candidate> {
    winners(&voices(candidates))
}

fn winners(by_policy: &BTreeMap<usize, PolicyVoice>) -> Vec<Candidate> {
    let of_tier = |tier| by_policy.values().filter_map(|p| p.voice()).filter(|c| c.tier == tier).max_by_key(|c| c.rank);
    [of_tier(Tier::Upper), of_tier(Tier::Lower)].into_iter().flatten().collect()
}

fn voices<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> BTreeMap<usize, PolicyVoice> {
    let mut by_policy: BTreeMap<usize, PolicyVoice> = BTreeMap::new();
    for candidate in candidates {
        by_policy.entry(candidate.policy_index).or_insert_with(|| PolicyVoice::new(*candidate)).hear(*candidate);
    }
    by_policy
}

// === impl PolicyVoice ===

/// What has been heard of one policy's matching rules.
struct PolicyVoice {
    /// The best ranked.
    best: Candidate,
    /// The best ranked that does not look on.
    decided: Option<Candidate>,
}

impl PolicyVoice {
    fn new(first: Candidate) -> Self {
        Self { best: first, decided: None }
    }

    fn hear(&mut self, candidate: Candidate) {
        if candidate.rank > self.best.rank {
            self.best = candidate;
        }
        let better = self.decided.is_none_or(|d| candidate.rank > d.rank);
        if !candidate.rank.says.looks_on() && better {
            self.decided = Some(candidate);
        }
    }

    /// Block or Allow, where the policy speaks so. One that looks on still speaks by the Allow that comes next.
    fn voice(&self) -> Option<Candidate> {
        if self.best.rank.says.looks_on() { self.decided.filter(|d| d.rank.says == Says::Allow) } else { Some(self.best) }
    }
}

// === impl RuleSet ===

impl RuleSet {
    /// Whether some rule of the class concerns the workload (audited policies too: their events tell).
    pub(crate) fn is_active(&self, class: Class) -> bool {
        self.of_class(class).next().is_some()
    }

    /// The rules of a class.
    pub(crate) fn of_class(&self, class: Class) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.class() == class)
    }

    /// The policies that make the class an allow-list.
    pub(crate) fn allow_lists(&self, class: Class) -> AllowLists {
        self.of_class(class).filter(|r| r.action() == Action::Allow).map(|r| (r.policy_index, r.audited)).collect()
    }

    /// The posture of a class.
    pub(crate) fn posture(&self, class: Class) -> Posture {
        let Workload { postures, .. } = &self.workload;
        match class {
            Class::Process | Class::File => postures.file,
            Class::Network => postures.network,
            Class::Capability => postures.capability,
        }
    }
}
