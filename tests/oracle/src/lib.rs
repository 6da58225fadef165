//! A second opinion on what policies mean, written from the law alone.
//!
//! ```text
//! policies, workload, links, access -> judge() -> Judgement        slow, naive, by plain reading of the clauses
//!                     seed -> random::case() -> policies, workload, links, accesses
//! ```
//!
//! The product's `decide()` and its compiled tables are compared with [`judge`] over many random rule sets
//! (`tests/agree.rs`): a difference is a bug in one of them or an ambiguity of the law. So this crate shares *types* with
//! the product (policies, workloads, accesses) and no logic: it parses globs from their text, resolves links itself and
//! builds no tables. Clauses are cited as "meaning 4(2)": section 4, item 2 of the page that says what policies mean.
//! Where that page can be read in several ways, the chosen reading stands at a comment that begins with `AMBIGUITY`.
//!
//! It is *not* fast, and nothing outside tests may depend on it.

mod base;
mod builtin;
mod form;
mod glob;
mod judge;
mod links;
mod network;
mod rank;
mod rule;
mod select;

pub mod build;
pub mod random;
pub mod show;
pub mod shrink;

pub use judge::{By, Judgement, Speaker, judge, judge_with_audited};
pub use links::{Link, Links};

/// One question: everything that [`judge`] looks at.
#[derive(Clone, Debug)]
pub struct Case {
    /// All policies there are, selected or not.
    pub policies: Vec<palisade_policy::model::Policy>,
    /// Whom they are applied to.
    pub workload: palisade_ruleset::Workload,
    /// The symbolic links of its tree.
    pub links: Links,
    /// What is judged.
    pub access: palisade_ruleset::Access,
}
