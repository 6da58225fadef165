//! Source classes: what of a task's program matters to its rules, as one small number.
//!
//! All sources of all rules form one automaton over the program's path. Its accept set is the *plain class*: which
//! sources the program meets. In the interpreter stages of an exec the scripts count too (`meaning` section 3.7), so
//! there plain classes are folded: a folded class knows what the caller and all scripts meet (for Block and Audit)
//! and what the last script meets (for Allow).

use std::collections::{BTreeMap, BTreeSet};

use palisade_policy::model::{Action, Class};

use super::CompileError;
use crate::automaton::{Dfa, DfaLimits, PatternIndex};
use crate::judge::{SourceMatch, terminal_fits};
use crate::pattern::Pattern;
use crate::rules::{Rule, RuleSet};

/// Classes at most. What would be folded into more counts as an unknown source, which is stricter.
const CLASS_LIMIT: usize = 4_096;
const LIMITS: DfaLimits = DfaLimits { states: 65_536, work: 16_000_000 };

/// All source classes of a rule set.
pub(super) struct Sources {
    /// The automaton over program paths; its accept sets are the plain classes.
    pub(super) automaton: Dfa,
    /// Plain classes, the unknown one last of them, then folded ones.
    classes: Vec<SourceClass>,
    /// Plain classes, the unknown one included.
    pub(super) plain: usize,
    /// `fold[class * plain + script]`.
    pub(super) fold: Vec<usize>,
    /// Some folded class counts as unknown because there are too many.
    pub(super) overflow: bool,
    /// By rule: the index of each of its sources, and whether it is exact.
    rule_sources: Vec<Vec<(PatternIndex, bool)>>,
}

/// What is known of the programs that act: the caller and, in an interpreter stage, its scripts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SourceClass {
    /// Some of them is unknown: meets every sourced Block and Audit.
    unknown: bool,
    /// What some of them meets.
    any: BTreeSet<PatternIndex>,
    /// What the last of them meets; `None` if that is unknown: meets no sourced Allow.
    last: Option<BTreeSet<PatternIndex>>,
}

/// How the rules of one class fare with each source class and terminal.
pub(super) struct Columns {
    /// By `class * 2 + terminal`: the column.
    pub(super) map: Vec<u32>,
    columns: Vec<Column>,
}

/// What a column stands for: how each rule that has a condition fares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Column(BTreeMap<usize, SourceMatch>);

// === impl Sources ===

impl Sources {
    pub(super) fn new(rules: &RuleSet) -> Result<Self, CompileError> {
        let mut interned: BTreeMap<Pattern, PatternIndex> = BTreeMap::new();
        let mut rule_sources = Vec::new();
        for rule in rules.rules() {
            let names = rules.names(rule).map_or(&[][..], |n| n.sources.as_slice());
            let index = |pattern: &Pattern| {
                let fresh = PatternIndex::try_from(interned.len()).unwrap_or(PatternIndex::MAX);
                *interned.entry(pattern.clone()).or_insert(fresh)
            };
            let mut index = index;
            rule_sources.push(names.iter().map(|s| (index(&s.pattern), s.exact)).collect());
        }
        let patterns: Vec<(Pattern, PatternIndex)> = interned.into_iter().collect();
        let automaton = Dfa::new(&patterns, LIMITS).map_err(|_| CompileError::SourcesExplode {
            rules: rules.rules().iter().filter(|r| rules.names(r).is_some_and(|n| !n.sources.is_empty())).map(|r| r.id).collect(),
        })?;
        let plain = automaton.accept_sets.len() + 1;
        if plain > CLASS_LIMIT / 2 {
            return Err(CompileError::TooManySources { classes: plain, limit: CLASS_LIMIT / 2 });
        }
        let sets = automaton.accept_sets.iter().map(|set| set.iter().copied().collect::<BTreeSet<_>>());
        let mut classes: Vec<SourceClass> =
            sets.map(|set| SourceClass { unknown: false, any: set.clone(), last: Some(set) }).collect();
        classes.push(SourceClass { unknown: true, any: BTreeSet::new(), last: None });
        let mut sources = Self { automaton, classes, plain, fold: Vec::new(), overflow: false, rule_sources };
        if sources.needs_fold(rules) {
            sources.close_under_fold(rules);
        }
        Ok(sources)
    }

    /// The class of an unknown source.
    pub(super) fn unknown(&self) -> usize {
        self.plain - 1
    }

    /// The number of classes.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether some rule has a source.
    pub(super) fn are_used(&self) -> bool {
        self.rule_sources.iter().any(|s| !s.is_empty())
    }

    /// Whether scripts matter: some process rule has a source.
    pub(super) fn needs_fold(&self, rules: &RuleSet) -> bool {
        rules.of_class(Class::Process).any(|r| !self.rule_sources[r.id.index()].is_empty())
    }

    /// The sources that process rules of some action have; others do not matter while an exec is going on.
    fn sources_of(&self, rules: &RuleSet, wanted: impl Fn(Action) -> bool) -> BTreeSet<PatternIndex> {
        let of_rule = |rule: &Rule| self.rule_sources[rule.id.index()].iter().map(|(index, _)| *index);
        rules.of_class(Class::Process).filter(|r| wanted(r.action())).flat_map(of_rule).collect()
    }

    fn close_under_fold(&mut self, rules: &RuleSet) {
        let for_any = self.sources_of(rules, |action| action != Action::Allow);
        let for_last = self.sources_of(rules, |action| action == Action::Allow);
        let mut ids: BTreeMap<SourceClass, usize> = self.classes.iter().cloned().enumerate().map(|(i, c)| (c, i)).collect();
        let unknown = self.unknown();
        let mut at = 0;
        while at < self.classes.len() {
            for script in 0..self.plain {
                let (so_far, script) = (&self.classes[at], &self.classes[script]);
                let folded = SourceClass {
                    unknown: so_far.unknown || script.unknown,
                    any: (&so_far.any | &script.any).intersection(&for_any).copied().collect(),
                    last: script.last.as_ref().map(|last| last.intersection(&for_last).copied().collect()),
                };
                let id = match ids.get(&folded) {
                    Some(id) => *id,
                    None if self.classes.len() >= CLASS_LIMIT => {
                        self.overflow = true;
                        unknown
                    }
                    None => {
                        let id = self.classes.len();
                        self.classes.push(folded.clone());
                        ids.insert(folded, id);
                        id
                    }
                };
                self.fold.push(id);
            }
            at += 1;
        }
    }

    fn source_match(&self, rule: &Rule, class: &SourceClass) -> SourceMatch {
        let sources = &self.rule_sources[rule.id.index()];
        if sources.is_empty() {
            return SourceMatch::Any;
        }
        let best = |sources: &[(PatternIndex, bool)]| {
            if sources.iter().any(|(_, exact)| *exact) { SourceMatch::Exact } else { SourceMatch::Loose }
        };
        let SourceClass { unknown, any, last } = class;
        let (met, least) = match (rule.action(), last) {
            (Action::Allow, None) => return SourceMatch::No,
            (Action::Allow, Some(last)) => (last, SourceMatch::No),
            (Action::Audit | Action::Block, _) => (any, if *unknown { best(sources) } else { SourceMatch::No }),
        };
        let found = sources.iter().filter(|(index, _)| met.contains(index));
        found
            .map(|(_, exact)| if *exact { SourceMatch::Exact } else { SourceMatch::Loose })
            .max()
            .map_or(least, |best| best.max(least))
    }

    /// The columns of a rule class: as many as its rules can tell apart.
    pub(super) fn columns(&self, rules: &RuleSet, class: Class) -> Columns {
        let mut ids: BTreeMap<Column, u32> = BTreeMap::new();
        let mut columns = Columns { map: Vec::new(), columns: Vec::new() };
        for (id, source) in self.classes.iter().enumerate() {
            // Folded classes occur in exec stages only.
            let occurs = class == Class::Process || id < self.plain;
            for terminal in [false, true] {
                let fare = |rule: &Rule| {
                    let fits = terminal_fits(&rule.body, terminal);
                    let found = if fits { self.source_match(rule, source) } else { SourceMatch::No };
                    (found != SourceMatch::Any).then_some((rule.id.index(), found))
                };
                let column =
                    if occurs { Column(rules.of_class(class).filter_map(fare).collect()) } else { Column(BTreeMap::new()) };
                let fresh = u32::try_from(columns.columns.len()).unwrap_or(u32::MAX);
                let id = *ids.entry(column.clone()).or_insert_with(|| {
                    columns.columns.push(column);
                    fresh
                });
                columns.map.push(id);
            }
        }
        columns
    }
}

// === impl Columns ===

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter()
    }
}

impl Column {
    /// How a rule fares in this column.
    pub(super) fn source_match(&self, rule: &Rule) -> SourceMatch {
        self.0.get(&rule.id.index()).copied().unwrap_or(SourceMatch::Any)
    }
}
