//! From what a program did to a policy that allows it, with a measure of how complete that is.
//!
//! ```text
//! Observation -> Collector      distinct accesses, how often, by whom; bounded, and counts what it had no room for
//!             -> suggest()      accesses -> rules: base set left out, names generalised, secrets kept out
//!                               rules -> YAML -> parsed again -> decide() asked for every access: none may be denied
//!             -> Suggestion     the policy, its tests, the measures
//! ```
//! This crate is pure: no I/O, no clock, no unsafe. The file tree is asked through [`Tree`](palisade_ruleset::Tree) and
//! [`Directories`], times are given to it. It is *not* the place that says what a policy means: it asks `ruleset`.
//! The same observations in the same order give the same bytes.
//!
//! How names are generalised is told to users in `docs/learn.md`; the rules stand in [`mod@names`] and [`mod@files`].

mod accesses;
mod collect;
pub mod files;
pub mod names;
mod observation;
mod sockets;
mod suggest;
mod tests_file;
mod yaml;

pub use collect::{ACCESSES, Collector};
pub use observation::{Observation, What};
pub use suggest::{Context, Measures, Suggestion, suggest};

/// What lies in a directory of the workload's tree, as far as generalising has to know: what else a rule would open.
pub trait Directories {
    /// The names in a directory (an absolute path without a trailing `/`), each with whether it is a directory itself;
    /// empty where there is none. `None` where it cannot be said: then the directory is not opened as a whole.
    fn names(&self, directory: &[u8]) -> Option<Vec<(Vec<u8>, bool)>>;
}

/// A tree that holds nothing but what was observed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingElse;

impl Directories for NothingElse {
    fn names(&self, _: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
        Some(Vec::new())
    }
}
