//! Which rules match an access, found by trying each: slow and plain. The automata are compared with this.

use palisade_policy::model::{Action, Class};

use crate::access::{Actor, End, Object, Program, Socket};
use crate::endpoint;
use crate::judge::{Candidate, Conditions, SourceMatch, candidate, terminal_fits};
use crate::pattern::{MEMFD, Pattern};
use crate::resolve::{Name, ObjectRank, RuleNames};
use crate::rules::{Rule, RuleBody, RuleSet};

/// Who acts, for the source of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) actor: &'a Actor,
    /// The scripts of an exec's earlier stages.
    pub(crate) scripts: &'a [Program],
}

// === impl RuleSet ===

impl RuleSet {
    /// The rules of a path class that match, by their best name each.
    pub(crate) fn match_paths(
        &self,
        class: Class,
        text: &[u8],
        invoked_as: &[Vec<u8>],
        sources: Sources<'_>,
        conditions: impl Fn(&Rule) -> Conditions,
    ) -> Vec<Candidate> {
        let invocations: Vec<Vec<u8>> = invoked_as.iter().map(|name| [text, b"//", name].concat()).collect();
        self.candidates(class, sources, conditions, |names| {
            let by_path = best_name(&names.objects, text);
            let by_invocation = invocations.iter().filter_map(|text| best_name(&names.invoked, text)).max();
            by_path.max(by_invocation)
        })
    }

    /// The network rules that match.
    pub(crate) fn match_socket(&self, socket: Socket, end: Option<End>, sources: Sources<'_>) -> Vec<Candidate> {
        let rules = self.of_class(Class::Network).filter_map(|rule| {
            let RuleBody::Network(body) = &rule.body else { return None };
            Some((rule, endpoint::meets(body, socket, end)?))
        });
        rules.filter_map(|(rule, rank)| self.admit(rule, rank, sources, Conditions::NONE)).collect()
    }

    /// The capability rules that match.
    pub(crate) fn match_capability(&self, number: u8, sources: Sources<'_>) -> Vec<Candidate> {
        let rules = self.of_class(Class::Capability).filter(|rule| {
            let RuleBody::Capability(body) = &rule.body else { return false };
            body.capability.number() == number
        });
        rules.filter_map(|rule| self.admit(rule, ObjectRank::EVERYTHING, sources, Conditions::NONE)).collect()
    }

    fn candidates(
        &self,
        class: Class,
        sources: Sources<'_>,
        conditions: impl Fn(&Rule) -> Conditions,
        best: impl Fn(&RuleNames) -> Option<ObjectRank>,
    ) -> Vec<Candidate> {
        let found = self.of_class(class).filter_map(|rule| Some((rule, best(self.names(rule)?)?)));
        found.filter_map(|(rule, rank)| self.admit(rule, rank, sources, conditions(rule))).collect()
    }

    fn admit(&self, rule: &Rule, rank: ObjectRank, sources: Sources<'_>, conditions: Conditions) -> Option<Candidate> {
        if !terminal_fits(&rule.body, sources.actor.terminal) {
            return None;
        }
        candidate(rule, rank, self.source_match(rule, sources), conditions)
    }

    /// The names of a rule.
    pub(crate) fn names(&self, rule: &Rule) -> Option<&RuleNames> {
        self.resolution.rules.get(rule.id.index())
    }

    fn source_match(&self, rule: &Rule, sources: Sources<'_>) -> SourceMatch {
        let Some(names) = self.names(rule).filter(|n| !n.sources.is_empty()) else { return SourceMatch::Any };
        let Sources { actor, scripts } = sources;
        let by = |program: &Program| {
            let Some(text) = program.text() else {
                return if rule.action() == Action::Allow { SourceMatch::No } else { names.best_source() };
            };
            let met = names.sources.iter().filter(|s| s.pattern.meets(&text));
            met.map(|s| if s.exact { SourceMatch::Exact } else { SourceMatch::Loose }).max().unwrap_or(SourceMatch::No)
        };
        match (scripts.split_last(), rule.action()) {
            // In an interpreter stage an Allow trusts the last script alone.
            (Some((last, _)), Action::Allow) => by(last),
            (_, Action::Audit | Action::Block) => scripts.iter().chain([&actor.program]).map(by).max().unwrap_or(SourceMatch::No),
            (None, Action::Allow) => by(&actor.program),
        }
    }

    /// Whether a read or a write of the base set is meant.
    pub(crate) fn in_base(&self, text: &[u8], write: bool) -> bool {
        let allows = |b: &&crate::base_set::BaseName| if write { b.write } else { b.read };
        self.resolution.base.iter().filter(allows).any(|b| b.name.pattern.meets(text))
    }

    /// The patterns of the rules of the path classes, with the rule of each.
    pub(crate) fn path_patterns(&self) -> impl Iterator<Item = (&Rule, &Pattern)> {
        let rules = self.rules.iter().filter_map(|rule| Some((rule, self.names(rule)?)));
        rules.flat_map(|(rule, names)| names.objects.iter().map(move |name| (rule, &name.pattern)))
    }
}

impl RuleNames {
    /// How the best of its sources is met.
    pub(crate) fn best_source(&self) -> SourceMatch {
        if self.sources.iter().any(|s| s.exact) { SourceMatch::Exact } else { SourceMatch::Loose }
    }
}

fn best_name(names: &[Name], text: &[u8]) -> Option<ObjectRank> {
    names.iter().filter(|name| name.pattern.meets(text)).map(|name| name.rank).max()
}

// === impl Conditions, Program, Object ===

impl Conditions {
    /// Of classes without conditions.
    pub(crate) const NONE: Self = Self { write: false, owner: false, arguments_listed: false, mapping: false };
}

impl Program {
    /// The text that source patterns are matched with; `None` if unknown.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        match self {
            Self::Path(path) => Some(path.clone()),
            Self::Memfd(name) => Some([MEMFD, name].concat()),
            Self::Unknown => None,
        }
    }

    /// Whether it is a dynamic loader, by its base name: `ld-*.so*`, `ld.so*`, `ld-musl-*`.
    #[must_use]
    pub fn is_loader(&self) -> bool {
        let Self::Path(path) = self else { return false };
        let name = crate::resolve::base_name(path);
        let contains_so = |rest: &[u8]| rest.windows(3).any(|w| w == b".so");
        name.starts_with(b"ld.so") || name.starts_with(b"ld-musl-") || name.strip_prefix(b"ld-").is_some_and(contains_so)
    }
}

impl Object {
    /// The text that object patterns are matched with; `None` if unresolvable.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        match self {
            Self::Path(path) => Some(path.clone()),
            Self::Memfd(name) => Some([MEMFD, name].concat()),
            Self::Unresolvable => None,
        }
    }
}
