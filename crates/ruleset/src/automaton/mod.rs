//! From patterns to automata: which patterns does a text meet, in one pass, at a cost that does not grow with their
//! number.
//!
//! ```text
//! patterns -> nfa (a tree that shares beginnings) -> dfa (subset construction; accept sets interned)
//!          -> pack (double array with default transitions, in the words of a table)
//! ```
//!
//! Not minimised: minimisation gains about 1 % on such automata and costs many times the rest.

mod dfa;
mod nfa;
mod pack;

pub(crate) use dfa::{Dfa, DfaLimits};
pub(crate) use pack::pack;

/// An index into the list of patterns that an automaton was built from.
pub(crate) type PatternIndex = u32;

/// A 64-bit hasher for keys that no attacker chooses freely enough to matter: policies are the user's own.
#[derive(Clone, Copy, Default)]
pub(crate) struct MixHasher(u64);

/// Builds [`MixHasher`]s.
pub(crate) type MixBuild = std::hash::BuildHasherDefault<MixHasher>;

// === impl MixHasher ===

impl std::hash::Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
