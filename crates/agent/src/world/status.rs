//! How everything stands: what the world tells whoever asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_policy::model::{Origin, PolicyKey, PolicyMode};
use palisade_ruleset::Postures;

use crate::enforce::{Backend, Coverage};

/// All of it, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// Every workload.
    pub workloads: Vec<WorkloadStatus>,
    /// Every policy in force.
    pub policies: Vec<PolicyStatus>,
    /// What keeps a policy from being used, or from being in force as it stands.
    pub problems: Vec<String>,
    /// The generation of the newest table.
    pub generation: u64,
    /// The units that are there have been found, and are under their policies.
    pub ready: bool,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its cgroup's directory.
    pub cgroup: PathBuf,
    /// What carries its policies out; `None` where nothing does.
    pub enforcer: Option<Backend>,
    /// How much of them.
    pub coverage: Coverage,
    /// Why it is not as its policies say.
    pub problem: Option<String>,
    /// The generation of its table.
    pub generation: u64,
    /// The policies that select it.
    pub policies: Vec<PolicyKey>,
    /// What becomes of accesses that an allow-list does not name.
    pub postures: Postures,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Its key.
    pub key: PolicyKey,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it takes part.
    pub mode: PolicyMode,
    /// Its text, where it came by gRPC.
    pub json: Option<String>,
    /// The workloads that it selects, by name.
    pub workloads: Vec<String>,
}

/// The newest status. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct StatusCell(Arc<Mutex<Arc<Status>>>);

// === impl StatusCell ===

impl StatusCell {
    /// As it is now.
    #[must_use]
    pub fn get(&self) -> Arc<Status> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, status: Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(status);
    }
}
