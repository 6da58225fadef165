//! Where the acting programs of a case live: who holds their namespaces, and starts them there.

use std::path::Path;

use anyhow::Result;

use super::container::Container;
use super::process::{Process, Start, Stdio2};

/// How a run makes the workloads of its cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Setting {
    /// A mount namespace whose root is a directory.
    #[default]
    Namespace,
    /// The same with an overlay.
    Overlay,
    /// A container of runc whose root is an overlay.
    Runc,
}

/// What holds the namespaces of one pass.
pub(super) enum Home {
    /// A probe that has made them.
    Namespace(Process),
    /// A container.
    Container(Container),
}

// === impl Setting ===

impl Setting {
    /// How the pass without policy is made. It proves the calls and the trees, which are the same on the overlay alone,
    /// and a container is dear; under policy each denial has to come with its event, so that none of runc's own doing
    /// can pass for one.
    pub(super) fn without_policy(self) -> Self {
        match self {
            Self::Runc => Self::Overlay,
            Self::Namespace | Self::Overlay => self,
        }
    }
}

// === impl Home ===

impl Home {
    /// The process whose root is the workload's.
    pub(super) fn pid(&self) -> Result<u32> {
        match self {
            Self::Namespace(init) => Ok(init.pid()),
            Self::Container(container) => Ok(container.first()?.pid()),
        }
    }

    /// Its own cgroup, where it comes with one.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        match self {
            Self::Namespace(_) => None,
            Self::Container(container) => Some(container.cgroup()),
        }
    }

    /// Starts an acting probe; where the home has no cgroup of its own, in `cgroup`.
    pub(super) fn start(
        &self,
        probe: &Path,
        cgroup: Option<&Path>,
        start: &Start,
        network: bool,
        stdio: Stdio2<'_>,
    ) -> Result<Process> {
        match self {
            Self::Namespace(init) => Process::act(probe, init, cgroup, start, network, stdio),
            Self::Container(container) => container.start(start, network, stdio),
        }
    }
}
