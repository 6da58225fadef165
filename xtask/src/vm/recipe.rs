//! Cache keys: the same recipe gives the same key, any change another one.

use std::fmt;

/// Names one build of one recipe: 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// The inputs of a build, hashed as they are named.
///
/// FNV-1a with 64 bits: stable over Rust releases (the standard hasher is not),
/// and nobody attacks a cache of one's own.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    hash: u64,
}

// === impl Recipe ===

impl Recipe {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// A recipe for a `kind` of thing, with nothing in it yet.
    pub(super) fn new(kind: &str) -> Self {
        let mut recipe = Self { hash: Self::OFFSET };
        recipe.absorb(kind.as_bytes());
        recipe
    }

    /// Adds one input.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.absorb(name.as_bytes());
        self.absorb(value.as_bytes());
        self
    }

    /// Adds a list of inputs whose order matters.
    pub(super) fn with_list(mut self, name: &str, values: &[&str]) -> Self {
        self.absorb(name.as_bytes());
        for value in values {
            self.absorb(value.as_bytes());
        }
        self.absorb(&[]);
        self
    }

    /// The key of the recipe as it stands.
    pub(super) fn key(&self) -> Key {
        Key(self.hash)
    }

    /// Hashes the length first, so that `ab`+`c` and `a`+`bc` differ.
    fn absorb(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}

// === impl Key ===

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(hash) = self;
        write!(formatter, "{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stable_over_builds() {
        let key = Recipe::new("root").with("suite", "bookworm").key();
        assert_eq!(key.to_string(), "5fd43585e754ef8a");
    }

    #[test]
    fn every_change_changes_the_key() {
        let base = Recipe::new("root").with_list("packages", &["ab", "c"]);
        let moved = Recipe::new("root").with_list("packages", &["a", "bc"]);
        let fewer = Recipe::new("root").with_list("packages", &["ab"]);
        let more = base.clone().with("script", "true");
        let keys = [base, moved, fewer, more].map(|recipe| recipe.key());
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys.iter().skip(index + 1).any(|other| other == key));
        }
    }
}
