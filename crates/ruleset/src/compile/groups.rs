//! Sharing out patterns over automata: literal ones in one, globs in as few groups as stay small.
//!
//! What explodes is several floating globs (`**/*a*`) together, or with anchored ones: so a group that grows too large
//! is split, floating patterns from anchored ones first, then by text.

use std::collections::BTreeSet;

use super::CompileError;
use super::layout::GLOB_GROUPS;
use crate::automaton::{Dfa, DfaLimits, PatternIndex};
use crate::decision::RuleId;
use crate::pattern::Pattern;

/// Literal patterns grow with their text: 10,000 of 95 bytes are 240,000 states.
const LITERAL_LIMITS: DfaLimits = DfaLimits { states: 2_000_000, work: 60_000_000 };
/// One glob group: 65,536 states.
const GLOB_LIMITS: DfaLimits = DfaLimits { states: 65_536, work: 6_000_000 };

/// Patterns to be compiled, each with its index and the rule to blame.
pub(super) type Indexed = Vec<(Pattern, PatternIndex)>;

/// The automaton of the simple patterns.
pub(super) fn literal(patterns: &Indexed, blame: &dyn Fn(PatternIndex) -> Option<RuleId>) -> Result<Dfa, CompileError> {
    Dfa::new(patterns, LITERAL_LIMITS).map_err(|_| CompileError::LiteralsExplode { rules: blamed(patterns, blame) })
}

/// The automaton over the keys of network operations.
pub(super) fn keys(patterns: &Indexed, blame: &dyn Fn(PatternIndex) -> Option<RuleId>) -> Result<Dfa, CompileError> {
    Dfa::new(patterns, LITERAL_LIMITS).map_err(|_| CompileError::EndpointsExplode { rules: blamed(patterns, blame) })
}

/// The automata of the others, at most [`GLOB_GROUPS`].
pub(super) fn globs(mut patterns: Indexed, blame: &dyn Fn(PatternIndex) -> Option<RuleId>) -> Result<Vec<Dfa>, CompileError> {
    patterns.sort_by(|a, b| (a.0.is_floating(), &a.0, a.1).cmp(&(b.0.is_floating(), &b.0, b.1)));
    let mut done = Vec::new();
    let mut open = vec![patterns];
    while let Some(group) = open.pop() {
        if group.is_empty() {
            continue;
        }
        if let Ok(dfa) = Dfa::new(&group, GLOB_LIMITS) {
            done.push(dfa);
            continue;
        }
        let floating = group.iter().position(|(p, _)| p.is_floating()).unwrap_or(0);
        let cut = if floating > 0 { floating } else { group.len() / 2 };
        if cut == 0 || done.len() + open.len() + 2 > GLOB_GROUPS {
            return Err(CompileError::GlobsExplode {
                rules: blamed(&group, blame),
                groups: GLOB_GROUPS,
                states: GLOB_LIMITS.states,
            });
        }
        let mut first = group;
        let second = first.split_off(cut);
        open.push(second);
        open.push(first);
    }
    Ok(done)
}

/// The automaton of the base set, all of it. It is our own list: it fits, or a test fails.
pub(super) fn base_set(patterns: &Indexed) -> Result<Dfa, CompileError> {
    Dfa::new(patterns, GLOB_LIMITS).map_err(|_| CompileError::BaseSetExplodes { states: GLOB_LIMITS.states })
}

fn blamed(patterns: &Indexed, blame: &dyn Fn(PatternIndex) -> Option<RuleId>) -> Vec<RuleId> {
    let rules: BTreeSet<RuleId> = patterns.iter().filter_map(|(_, index)| blame(*index)).collect();
    rules.into_iter().collect()
}
