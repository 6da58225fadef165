//! The deterministic automaton, by subset construction, within limits.

use std::collections::HashMap;

use super::nfa::{Nfa, NodeId};
use super::{MixBuild, PatternIndex};
use crate::pattern::Pattern;

/// A deterministic automaton over bytes. State 0 is dead, state 1 the start.
#[derive(Debug)]
pub(crate) struct Dfa {
    pub(crate) states: Vec<State>,
    /// The sets of patterns met, by number; 0 is the empty set.
    pub(crate) accept_sets: Vec<Vec<PatternIndex>>,
}

/// One state.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Where every byte leads that is no exception.
    pub(crate) default: u32,
    /// Bytes that lead elsewhere, ascending.
    pub(crate) exceptions: Vec<(u8, u32)>,
    /// The set of patterns met where the text ends here.
    pub(crate) accept: u32,
}

/// How large an automaton may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DfaLimits {
    /// States.
    pub(crate) states: usize,
    /// Sum of the sizes of all subsets, a measure of both time and memory: a unit is about 4 bytes and 20 ns.
    pub(crate) work: usize,
}

/// A limit was reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooLarge;

/// The start state.
pub(crate) const START: usize = 1;

/// Numbers subsets of the nondeterministic automaton.
struct Subsets {
    ids: HashMap<Box<[NodeId]>, u32, MixBuild>,
    queue: Vec<Box<[NodeId]>>,
    work: usize,
}

// === impl Dfa ===

impl Dfa {
    /// Builds the automaton of `patterns`. Deterministic: states are numbered in the order in which they are reached.
    ///
    /// # Errors
    /// [`TooLarge`] where a limit is reached.
    pub(crate) fn new(patterns: &[(Pattern, PatternIndex)], limits: DfaLimits) -> Result<Self, TooLarge> {
        let nfa = Nfa::new(patterns);
        let mut subsets = Subsets { ids: HashMap::default(), queue: Vec::new(), work: 0 };
        let mut accepts: HashMap<Vec<PatternIndex>, u32, MixBuild> = HashMap::default();
        let mut dfa = Self { states: Vec::new(), accept_sets: vec![Vec::new()] };
        accepts.insert(Vec::new(), 0);
        subsets.id(Vec::new());
        dfa.states.push(State { default: 0, exceptions: Vec::new(), accept: 0 });

        // The start stands for "nothing read": a path goes on by `/`, a memfd name by `m`.
        let [path, memfd] = nfa.starts();
        let start = State {
            default: 0,
            exceptions: [(b'/', nfa.step(&path, b'/')), (b'm', nfa.step(&memfd, b'm'))]
                .into_iter()
                .filter(|(_, set)| !set.is_empty())
                .map(|(byte, set)| (byte, subsets.id_after_start(set)))
                .collect(),
            accept: 0,
        };
        dfa.states.push(start);

        let mut next = 1;
        while next < subsets.queue.len() {
            if subsets.queue.len() > limits.states || subsets.work > limits.work {
                return Err(TooLarge);
            }
            let set = subsets.queue[next].clone();
            next += 1;
            let special = nfa.special_bytes(&set);
            let ordinary = (1..=255_u8).find(|b| !special.contains(*b));
            let default = ordinary.map_or(0, |byte| subsets.id_after_start(nfa.step(&set, byte)));
            let mut exceptions = Vec::new();
            for byte in (1..=255_u8).filter(|b| special.contains(*b)) {
                let to = subsets.id_after_start(nfa.step(&set, byte));
                if to != default {
                    exceptions.push((byte, to));
                }
            }
            let met = nfa.accepts(&set);
            let fresh = u32::try_from(dfa.accept_sets.len()).map_err(|_| TooLarge)?;
            let accept = *accepts.entry(met).or_insert_with_key(|met| {
                dfa.accept_sets.push(met.clone());
                fresh
            });
            dfa.states.push(State { default, exceptions, accept });
        }
        Ok(dfa)
    }

    /// The set of patterns that a text meets.
    #[cfg(test)]
    pub(crate) fn run(&self, text: &[u8]) -> &[PatternIndex] {
        let mut at = START;
        for byte in text {
            let state = &self.states[at];
            at = state.exceptions.iter().find(|(b, _)| b == byte).map_or(state.default, |(_, to)| *to) as usize;
        }
        &self.accept_sets[self.states[at].accept as usize]
    }

    /// For each state, whether an accept set that `wanted` holds of can be reached from it, itself included.
    fn can_reach(&self, wanted: impl Fn(&[PatternIndex]) -> bool) -> Vec<bool> {
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for (from, state) in self.states.iter().enumerate() {
            let from_id = u32::try_from(from).unwrap_or(u32::MAX);
            for to in std::iter::once(state.default).chain(state.exceptions.iter().map(|(_, to)| *to)) {
                if to as usize != from {
                    sources[to as usize].push(from_id);
                }
            }
        }
        let good_sets: Vec<bool> = self.accept_sets.iter().map(|set| wanted(set)).collect();
        let mut reach: Vec<bool> = self.states.iter().map(|s| good_sets[s.accept as usize]).collect();
        let mut open: Vec<usize> = (0..reach.len()).filter(|i| reach[*i]).collect();
        while let Some(at) = open.pop() {
            for from in &sources[at] {
                if !std::mem::replace(&mut reach[*from as usize], true) {
                    open.push(*from as usize);
                }
            }
        }
        reach
    }

    /// For each state, whether the text can go on to one whose accept set is wanted.
    pub(crate) fn can_go_on_to(&self, wanted: impl Fn(&[PatternIndex]) -> bool) -> Vec<bool> {
        let reach = self.can_reach(wanted);
        let goes = |to: u32| reach[to as usize];
        self.states.iter().map(|state| goes(state.default) || state.exceptions.iter().any(|(_, to)| goes(*to))).collect()
    }
}

// === impl Subsets ===

impl Subsets {
    fn id(&mut self, set: Vec<NodeId>) -> u32 {
        if let Some(id) = self.ids.get(set.as_slice()) {
            return *id;
        }
        let id = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.work += set.len() + 8;
        let set: Box<[NodeId]> = set.into();
        self.queue.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    /// State numbers leave room for the start state, which is no subset.
    fn id_after_start(&mut self, set: Vec<NodeId>) -> u32 {
        match self.id(set) {
            0 => 0,
            id => id + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_policy::glob::Glob;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: DfaLimits = DfaLimits { states: 100_000, work: 10_000_000 };

    fn patterns(globs: &[String]) -> Vec<(Pattern, PatternIndex)> {
        let mut out = Vec::new();
        for (i, glob) in globs.iter().enumerate() {
            if let Ok(glob) = Glob::parse(glob) {
                out.extend(
                    glob.sequences().iter().flat_map(|s| Pattern::glob(s)).map(|p| (p, PatternIndex::try_from(i).unwrap())),
                );
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_automaton_meets_what_each_pattern_meets(
            globs in prop::collection::vec("(/|\\*\\*/|memfd:|)(a|b|ab|\\*|\\*\\*|\\?|\\[ab\\]|\\[!a\\]|\\{a,b/c\\})(/(a|b|\\*|\\*\\*|c\\?)){0,3}", 1..8),
            paths in prop::collection::vec("(/|memfd:)[abc](/?[abc]){0,5}", 1..20),
        ) {
            let patterns = patterns(&globs);
            let dfa = Dfa::new(&patterns, LIMITS).unwrap();
            for path in paths {
                let text = path.as_bytes();
                let mut expected: Vec<PatternIndex> = patterns.iter().filter(|(p, _)| p.meets(text)).map(|(_, i)| *i).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(dfa.run(text), expected.as_slice(), "{:?} on {}", globs, path);
            }
        }
    }
}
