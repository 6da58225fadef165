//! Who runs: one stream of changes, whatever tells it.
//!
//! ```text
//! units (cgroups that systemd makes) --\
//! later: containerd, Podman, ...     ---> Change -> world
//! ```
//! A source tells what is there when it starts, then that this was all ([`Change::Listed`]), then what comes and goes. It
//! decides nothing: which policies concern a workload is the world's to say.

pub mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::cgroup::{Cgroup, CgroupError};

/// Names a workload on this machine, as long as it is there: its name and its cgroup's id, so that a unit that is started
/// again is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId(Arc<str>);

/// A workload as its source found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: WorkloadId,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its name in events and for `kubearmor.io/container.name`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What happened to workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there.
    Appeared(Found),
    /// It is gone.
    Gone(WorkloadId),
    /// All that was there when the source started has been told.
    Listed,
    /// Something that keeps the source from telling all.
    Trouble(String),
}

/// Where changes go. Waits where there is no room; false: nobody listens any more.
pub type Tell = Box<dyn FnMut(Change) -> bool + Send>;

/// What tells changes.
pub trait Source: Send {
    /// Starts to tell, on a thread of its own.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn start(self: Box<Self>, tell: Tell) -> Result<(), SourceError>;
}

/// Why a source does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no cgroup tree to look at.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Directories cannot be watched.
    #[error("cannot watch for cgroups: {0}")]
    Watch(#[source] io::Error),
    /// The thread cannot be started.
    #[error("cannot start the thread that follows units: {0}")]
    Thread(#[source] io::Error),
}

// === impl WorkloadId ===

impl WorkloadId {
    /// Of a name without `/`, and a cgroup.
    #[must_use]
    pub fn new(name: &str, cgroup: &Cgroup) -> Self {
        Self(format!("{}@{:x}", name.replace('/', "!"), cgroup.id()).into())
    }

    /// As text, fit for a file's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
