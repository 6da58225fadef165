//! A run that is watched and not confined, while its policy is learned.

use std::sync::{Mutex, PoisonError};

use palisade_bpf::load::LoadError;
use palisade_bpf::watch::Watch;
use palisade_ruleset::RuleSet;

use super::confine::{Confinement, Stop, arm_bpf};
use super::{Refused, RunError, RunOptions};
use crate::cgroup::Cgroup;
use crate::enforce::{Backend, Coverage};
use crate::learn::{Observer, Watcher, Watchers};
use crate::pipeline::{Enricher, Pipeline, PipelineError, Sink};

/// A cgroup that tracepoints watch.
pub(super) struct WatchConfinement {
    /// Until the pipeline takes it.
    watch: Mutex<Option<Watch>>,
    watcher: Watcher,
    observer: Observer,
    coverage: Coverage,
}

// === impl WatchConfinement ===

impl WatchConfinement {
    pub(super) fn watcher(&self) -> Watcher {
        self.watcher
    }

    /// None: nothing is enforced.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Starts to tell the observer; `None` if that was done before.
    pub(super) fn pipeline(&self, enricher: Enricher, sink: Sink) -> Result<Option<Pipeline>, PipelineError> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        watch.map(|watch| Pipeline::start_watch(watch, self.observer.clone(), enricher, sink)).transpose()
    }
}

/// Arms what watches: the LSM programs under rules that audit everything, else tracepoints.
pub(super) fn arm(
    options: &RunOptions,
    watchers: Watchers,
    id: &str,
    cgroup: &Result<Cgroup, String>,
    rules: &RuleSet,
) -> Result<(Confinement, Vec<Refused>), RunError> {
    let mut refused = Vec::new();
    if watchers != Watchers::Tracepoints {
        match arm_bpf(options, id, cgroup, rules) {
            Ok(confinement) => return Ok((confinement, refused)),
            Err(Stop::Unsupported(reason)) => refused.push(Refused { backend: Backend::Bpf, reason }),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    let reasons = |last: Option<String>| {
        let lsm = refused.iter().map(|Refused { backend, reason }| format!("{backend}: {reason}"));
        RunError::NoWatcher(lsm.chain(last.map(|reason| format!("tracepoints: {reason}"))).collect())
    };
    if watchers == Watchers::Lsm {
        return Err(reasons(None));
    }
    match watch(options, cgroup) {
        Ok(watched) => Ok((Confinement::Watched(Box::new(watched)), refused)),
        Err(reason) => Err(reasons(Some(reason))),
    }
}

fn watch(options: &RunOptions, cgroup: &Result<Cgroup, String>) -> Result<WatchConfinement, String> {
    if !rustix::process::geteuid().is_root() {
        return Err(LoadError::NotPrivileged.to_string()); // else the cgroup would be named as the reason
    }
    let cgroup = cgroup.as_ref().map_err(|reason| format!("no cgroup for the run: {reason}"))?;
    let observer = options.observer.clone().ok_or("nobody observes")?;
    let watch = Watch::start(cgroup.id()).map_err(|error| error.to_string())?;
    let watcher = Watcher::Tracepoints { capabilities: watch.sees_capabilities() };
    let coverage = Coverage::None("the run is watched by tracepoints".to_owned());
    Ok(WatchConfinement { watch: Mutex::new(Some(watch)), watcher, observer, coverage })
}
