//! Whose records are whose: the workloads of this process, by label.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use palisade_event::Workload;

/// The workloads of this process as events name them, by label. Shared: whoever protects one adds it first.
#[derive(Clone, Debug, Default)]
pub struct Owners(Arc<RwLock<HashMap<u32, Arc<Workload>>>>);

// === impl Owners ===

impl Owners {
    /// Adds a workload, or names it otherwise.
    pub fn set(&self, label: u32, workload: Arc<Workload>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(label, workload);
    }

    /// Takes one away.
    pub fn remove(&self, label: u32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&label);
    }

    /// The workload of a label, if it is of this process.
    #[must_use]
    pub fn get(&self, label: u32) -> Option<Arc<Workload>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&label).cloned()
    }
}
