//! A rule set as a table for the kernel, with the names of its rules for events.

use std::sync::Arc;

use palisade_bpf::abi::SizeClass;
use palisade_bpf::maps::{MapError, TableImage};
use palisade_ruleset::{CompileError, Legend, RuleSet, Stamp, compile};
use thiserror::Error;

/// A compiled rule set.
#[derive(Debug)]
pub struct Table {
    /// Its id, never given twice on this boot.
    pub id: u32,
    /// The generation of the workload's rules.
    pub generation: u64,
    /// What goes into the kernel.
    pub image: TableImage,
    /// What its rule codes stand for, to be kept on disk.
    pub legend: Legend,
    /// The same for events of this process, by rule id.
    pub rules: Rules,
}

/// The rules of a table as events name them, by rule id.
pub type Rules = Arc<[Arc<palisade_event::Rule>]>;

/// Why a rule set is no table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    /// It does not compile: too many states, rules, policies.
    #[error("the policies do not compile: {0}")]
    Compile(#[from] CompileError),
    /// Its size class is none.
    #[error("the policies compiled to a table of size class {0}, which is none")]
    SizeClass(u8),
    /// It does not fit its size class.
    #[error(transparent)]
    Image(#[from] MapError),
}

// === impl Table ===

impl Table {
    /// Compiles a rule set.
    ///
    /// # Errors
    /// If it exceeds a limit of the tables.
    pub fn build(rules: &RuleSet, generation: u64, id: u32) -> Result<Self, TableError> {
        let compiled = compile(rules, Stamp { table_id: id, generation })?;
        let number = compiled.size_class();
        let size_class = SizeClass::new(number).ok_or(TableError::SizeClass(number))?;
        let image = TableImage::new(size_class, compiled.bytes())?;
        Ok(Self { id, generation, image, legend: rules.legend(), rules: names(rules) })
    }
}

/// The rules of a set as events name them.
#[must_use]
pub fn names(rules: &RuleSet) -> Rules {
    rules.rules().iter().map(|rule| Arc::new(name(rule))).collect()
}

fn name(rule: &palisade_ruleset::Rule) -> palisade_event::Rule {
    let palisade_policy::model::RuleMeta { position, origin, action: _, severity, tags, message } = rule.meta();
    palisade_event::Rule {
        policy: (*rule.policy).clone(),
        position: *position,
        origin: origin.clone(),
        severity: *severity,
        tags: tags.clone(),
        message: message.clone(),
    }
}
