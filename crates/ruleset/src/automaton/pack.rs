//! Packing: a deterministic automaton as a double array with default transitions, in the words of a table.
//!
//! The layout is that of `abi.h`: a state is the index of its record; the record of an exception on byte `c` stands
//! `c` words behind it and names its owner, so that one comparison tells whether it applies.

use super::Dfa;

/// An automaton as words.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The start state, as an index of the whole table.
    pub(crate) start: u32,
}

/// An index that can be a state: records set bit 31 of their low half, sinks that of an index.
const STATE_LIMIT: usize = 1 << 30;
/// How far a search for room may fail before it gives up on the words it has passed.
const PATIENCE: usize = 2_000;

const RECORD: u64 = 1 << 31;
const SINK: u32 = 1 << 31;

/// Appends the automaton to `words`; `marks` are the bits that each state's record carries beside its accept set (none
/// where the slice ends). `None` where the table would outgrow what an index can say.
pub(crate) fn pack(words: &mut Vec<u64>, dfa: &Dfa, marks: &[u32]) -> Option<Packed> {
    let bases = Placement::new(words.len()).place(dfa);
    let is_sink = |s: usize| dfa.states[s].exceptions.is_empty() && dfa.states[s].default as usize == s;
    let index = |s: u32| {
        let base = bases[s as usize];
        if is_sink(s as usize) { base | SINK } else { base }
    };
    // A step looks up to 255 words behind a state: no word there may belong to anything else, or it could pass for an
    // exception of this state.
    let end = bases.iter().map(|base| *base as usize + 256).max().unwrap_or(0);
    if end >= STATE_LIMIT {
        return None;
    }
    words.resize(words.len().max(end), 0);
    for (s, state) in dfa.states.iter().enumerate() {
        let base = bases[s];
        let marks = u64::from(marks.get(s).copied().unwrap_or(0));
        words[base as usize] = RECORD | marks | u64::from(state.accept) | u64::from(index(state.default)) << 32;
        for (byte, to) in &state.exceptions {
            words[base as usize + usize::from(*byte)] = u64::from(base) | u64::from(index(*to)) << 32;
        }
    }
    Some(Packed { start: bases[super::dfa::START] })
}

/// Finds a place for each state such that no two records fall on one word.
struct Placement {
    first: usize,
    used: Vec<bool>,
    /// No free word below.
    low: usize,
}

// === impl Placement ===

impl Placement {
    fn new(first: usize) -> Self {
        // Index 0 is no state.
        Self { first: first.max(1), used: Vec::new(), low: 0 }
    }

    /// The index of each state, states with many exceptions first, since they are the hardest to place.
    fn place(mut self, dfa: &Dfa) -> Vec<u32> {
        let mut order: Vec<usize> = (0..dfa.states.len()).collect();
        order.sort_by_key(|s| std::cmp::Reverse(dfa.states[*s].exceptions.len()));
        let mut bases = vec![0; dfa.states.len()];
        let mut from = 0;
        let mut failed = 0;
        for s in order {
            let exceptions = &dfa.states[s].exceptions;
            from = from.max(self.low);
            let mut at = from;
            while !self.fits(at, exceptions) {
                at += 1;
                failed += 1;
            }
            self.take(at, exceptions);
            if failed > PATIENCE {
                failed = 0;
                from = at;
            }
            if exceptions.is_empty() {
                // What is left has no exceptions and fits in any hole.
                from = self.low;
            }
            bases[s] = u32::try_from(self.first + at).unwrap_or(u32::MAX);
        }
        bases
    }

    fn fits(&self, at: usize, exceptions: &[(u8, u32)]) -> bool {
        let free = |i: usize| !self.used.get(i).copied().unwrap_or(false);
        free(at) && exceptions.iter().all(|(byte, _)| free(at + usize::from(*byte)))
    }

    fn take(&mut self, at: usize, exceptions: &[(u8, u32)]) {
        if self.used.len() < at + 256 {
            self.used.resize((at + 256).next_power_of_two(), false);
        }
        self.used[at] = true;
        for (byte, _) in exceptions {
            self.used[at + usize::from(*byte)] = true;
        }
        while self.used.get(self.low).copied().unwrap_or(false) {
            self.low += 1;
        }
    }
}
