//! `explain`: the decision on one access, with every rule that matched and what became of it.

use palisade_policy::model::Class;

use crate::access::{Access, FileMode, Operation};
use crate::decide::decide;
use crate::decision::{By, Decision, RuleId, Verdict};
use crate::judge::{Candidate, Conditions, Says};
use crate::matching::Sources;
use crate::rules::RuleSet;

/// Why an access is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// Why, in one sentence.
    pub reason: String,
    /// The rules that matched, best ranked first.
    pub matched: Vec<Matched>,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The rule.
    pub rule: RuleId,
    /// What it says to this access: `Block`, `Allow`, `Audit`, or `passes silently`.
    pub says: &'static str,
    /// How it ranks, in words.
    pub rank: String,
    /// What became of it, in words.
    pub outcome: String,
}

/// Decides an access and tells why.
#[must_use]
pub fn explain(rules: &RuleSet, access: &Access) -> Explanation {
    let decision = decide(rules, access);
    let mut candidates = rules.candidates_of(access);
    candidates.sort_by_key(|c| (std::cmp::Reverse(c.rank), c.rule));
    candidates.dedup_by_key(|c| c.rule);
    let matched = candidates.iter().map(|c| matched(rules, c, &candidates, decision)).collect();
    Explanation { decision, reason: reason(rules, access, decision), matched }
}

fn matched(rules: &RuleSet, candidate: &Candidate, all: &[Candidate], decision: Decision) -> Matched {
    let own_better = all.iter().find(|c| c.policy_index == candidate.policy_index && c.rank > candidate.rank);
    let name = |c: &Candidate| rules.rule(c.rule).map_or_else(String::new, |r| format!("{} of {}", r.position(), r.policy.name));
    let outcome = if decision.by == By::Rule(candidate.rule) {
        "decides".to_owned()
    } else if candidate.audited {
        "left out: its policy is in audited mode".to_owned()
    } else if let Some(better) = own_better {
        format!("outranked in its own policy by {}", name(better))
    } else if candidate.rank.says.looks_on() {
        "looks on: it opens nothing that another policy closes".to_owned()
    } else {
        let better =
            all.iter().find(|c| c.tier == candidate.tier && c.rank > candidate.rank && !c.audited && !c.rank.says.looks_on());
        match better {
            Some(better) => format!("outranked by {}", name(better)),
            None if decision.verdict == Verdict::Block => "overruled: the stricter tier holds".to_owned(),
            None => "agrees".to_owned(),
        }
    };
    Matched { rule: candidate.rule, says: says_word(candidate.rank.says), rank: rank_words(candidate), outcome }
}

fn says_word(says: Says) -> &'static str {
    match says {
        Says::Block => "Block",
        Says::Audit => "Audit",
        Says::Allow => "Allow",
        Says::Silent => "passes silently",
    }
}

fn rank_words(candidate: &Candidate) -> String {
    let object = candidate.rank.object.describe();
    match (candidate.rank.sourced, candidate.rank.source_exact) {
        (false, _) => object,
        (true, true) => format!("{object}, from an exact source"),
        (true, false) => format!("{object}, from a source by glob"),
    }
}

fn reason(rules: &RuleSet, access: &Access, decision: Decision) -> String {
    let Some(class) = access.operation.class() else { return decision.by.sentence().to_owned() };
    match decision.by {
        By::Rule(id) => rules.rule(id).map_or_else(String::new, |rule| {
            format!("{} of {} ({}) is the best ranked rule that decides", rule.position(), rule.policy, rule.origin())
        }),
        By::DefaultPosture => {
            let first = rules.of_class(class).find(|r| r.action() == palisade_policy::model::Action::Allow && !r.audited);
            let because =
                first.map_or_else(String::new, |r| format!(" because of {} of {} ({})", r.position(), r.policy, r.origin()));
            format!("no rule lets it pass, and the class is an allow-list{because}")
        }
        By::BaseSet | By::BuiltIn(_) => decision.by.sentence().to_owned(),
        By::Nothing if rules.is_active(class) => "no rule matches, and no Allow rule makes the class an allow-list".to_owned(),
        By::Nothing => "no rule of this class concerns the workload".to_owned(),
    }
}

// === impl By ===

impl By {
    /// What it means that this decided.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        use crate::decision::BuiltIn;
        match self {
            Self::Rule(_) => "a rule decides",
            Self::DefaultPosture => "the posture of the class applies",
            Self::BaseSet => "the base set lets every program read it",
            Self::Nothing => "nothing concerns it",
            Self::BuiltIn(BuiltIn::Unresolvable) => "a path that cannot be told meets every Block and no Allow",
            Self::BuiltIn(BuiltIn::SelfProtection) => "no workload touches what belongs to Palisade",
            Self::BuiltIn(BuiltIn::MountIntegrity) => "a workload with path rules may not change what paths mean",
            Self::BuiltIn(BuiltIn::TreeIntegrity) => "a rule that can deny meets paths below this directory",
            Self::BuiltIn(BuiltIn::Source) => "some Allow trusts a program, so no other program may take one over",
            Self::BuiltIn(BuiltIn::Device) => "a block device is opened only by an exact path or a glob under /dev",
        }
    }
}

// === impl Operation, RuleSet ===

impl Operation {
    /// The class whose rules judge it; `None` where only built-in rules do.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Exec { .. } | Self::MapExec { .. } => Some(Class::Process),
            Self::File { .. } | Self::MoveDirectory { .. } => Some(Class::File),
            Self::Socket { .. } => Some(Class::Network),
            Self::Capability { .. } => Some(Class::Capability),
            Self::Mount(_) | Self::Attach { .. } | Self::TouchPalisade => None,
        }
    }
}

impl RuleSet {
    /// The rules that match an access, by each of their names.
    fn candidates_of(&self, access: &Access) -> Vec<Candidate> {
        let Access { actor, operation } = access;
        let conditions = |owner: &Option<u32>, write, mapping| Conditions {
            write,
            owner: *owner == Some(actor.uid),
            arguments_listed: false,
            mapping,
        };
        match operation {
            Operation::Exec { object, owner, scripts, invoked_as, arguments } => {
                let Some(text) = object.text() else { return Vec::new() };
                let conditions = |rule: &crate::rules::Rule| Conditions {
                    arguments_listed: crate::decide::arguments_listed(rule, arguments.as_deref()),
                    ..conditions(owner, false, false)
                };
                self.match_paths(Class::Process, &text, invoked_as, Sources { actor, scripts }, conditions)
            }
            Operation::MapExec { object, owner } => {
                let Some(text) = object.text() else { return Vec::new() };
                let mapping = !actor.program.is_loader();
                self.match_paths(Class::Process, &text, &[], Sources { actor, scripts: &[] }, |_| {
                    conditions(owner, false, mapping)
                })
            }
            Operation::File { mode, object, owner, .. } => {
                let Some(text) = object.text() else { return Vec::new() };
                let write = *mode == FileMode::Write;
                self.match_paths(Class::File, &text, &[], Sources { actor, scripts: &[] }, |_| conditions(owner, write, false))
            }
            Operation::Socket { socket, end } => self.match_socket(*socket, *end, Sources { actor, scripts: &[] }),
            Operation::Capability { number } => self.match_capability(*number, Sources { actor, scripts: &[] }),
            Operation::MoveDirectory { .. } | Operation::Mount(_) | Operation::Attach { .. } | Operation::TouchPalisade => {
                Vec::new()
            }
        }
    }
}
