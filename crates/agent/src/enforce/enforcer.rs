//! The seam between the agent and what carries verdicts out: the agent knows workloads, rules and labels; how a label
//! comes to hold is behind [`Enforcer`]. Tests put another in the place of the kernel.

use std::collections::HashMap;

use palisade_ruleset::{Mode, RuleSet};
use thiserror::Error;

use super::bpf::{BpfEnforcer, OpenError, ProtectedWorkload, Released};
use super::table::Table;
use super::{Backend, Gap, bpf_gaps};
use crate::cgroup::Cgroup;
use crate::health::{HealthError, Trouble, Watch, keep_tracing_on};
use crate::pipeline::{Destination, Legends, Owners, Pipeline};

/// Why an enforcer could not do something.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What names a protected workload: in the kernel, in records, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub u32);

/// Carries tables out over cgroups. What it protects stays protected when it is dropped, or its process killed.
pub trait Enforcer: Send {
    /// What it is.
    fn backend(&self) -> Backend;

    /// What it does not carry out of these rules.
    fn gaps(&self, rules: &RuleSet) -> Vec<Gap>;

    /// An id for the next table, never given before on this boot; each is greater than those before.
    ///
    /// # Errors
    /// If none can be given.
    fn next_table_id(&mut self) -> Result<u32, Failure>;

    /// Takes over what an agent before this one protected as `id`, as it is; `None` if there is nothing.
    ///
    /// # Errors
    /// If it cannot be told, or not taken over.
    fn adopt(&mut self, id: &str, cgroup: &Cgroup) -> Result<Option<Label>, Failure>;

    /// Puts a cgroup, and whatever runs in it, under a table.
    ///
    /// # Errors
    /// If it cannot; then the cgroup is as it was.
    fn protect(&mut self, id: &str, cgroup: &Cgroup, table: &Table, mode: Mode) -> Result<Label, Failure>;

    /// Replaces the table of a label, in one step.
    ///
    /// # Errors
    /// If it cannot; then the old table stays.
    fn swap(&mut self, label: Label, table: &Table) -> Result<(), Failure>;

    /// Lets go of a workload that has ended. [`Released::StillHeld`] where some of its processes live: ask again later.
    ///
    /// # Errors
    /// If it cannot; ask again later.
    fn retire(&mut self, label: Label) -> Result<Released, Failure>;

    /// What stands for the rules of which table, for events.
    fn legends(&self) -> Legends;

    /// Makes ready to tell events, from the moment that the pipeline is resumed.
    ///
    /// # Errors
    /// If they cannot be read.
    fn start_events(&mut self, owners: Owners, to: Destination) -> Result<Pipeline, Failure>;

    /// Sees whether enforcement is still what it should be, mends what can be mended, and tells the rest.
    fn look_around(&mut self) -> Vec<String>;
}

/// BPF-LSM over all workloads of the agent.
pub struct BpfFleet {
    enforcer: BpfEnforcer,
    workloads: HashMap<Label, ProtectedWorkload>,
    legends: Legends,
    health: Watch,
}

/// Why BPF-LSM cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FleetError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be told how it fares.
    #[error(transparent)]
    Health(#[from] HealthError),
}

/// The agent's own entry in `/run/palisade`.
const AGENT: &str = "agent";

// === impl BpfFleet ===

impl BpfFleet {
    /// Adopts the programs, or loads them.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn open() -> Result<Self, FleetError> {
        let enforcer = BpfEnforcer::open(AGENT)?;
        let legends = Legends::of(enforcer.home().clone());
        let health = Watch::begin(enforcer.maps(), enforcer.pins())?;
        Ok(Self { enforcer, workloads: HashMap::new(), legends, health })
    }

    fn workload(&mut self, label: Label) -> Result<(&mut BpfEnforcer, &mut ProtectedWorkload), Failure> {
        let workload = self.workloads.get_mut(&label).ok_or_else(|| format!("no workload has label {}", label.0))?;
        Ok((&mut self.enforcer, workload))
    }
}

impl Enforcer for BpfFleet {
    fn backend(&self) -> Backend {
        Backend::Bpf
    }

    fn gaps(&self, rules: &RuleSet) -> Vec<Gap> {
        bpf_gaps(rules)
    }

    fn next_table_id(&mut self) -> Result<u32, Failure> {
        Ok(self.enforcer.next_table_id()?)
    }

    fn adopt(&mut self, id: &str, cgroup: &Cgroup) -> Result<Option<Label>, Failure> {
        let Some(workload) = self.enforcer.adopt(id, cgroup)? else { return Ok(None) };
        let label = Label(workload.label);
        self.enforcer.home().send_to_agent(label.0)?;
        self.workloads.insert(label, workload);
        Ok(Some(label))
    }

    fn protect(&mut self, id: &str, cgroup: &Cgroup, table: &Table, mode: Mode) -> Result<Label, Failure> {
        let workload = self.enforcer.protect_foreign(id, cgroup.clone(), table, mode)?;
        let label = Label(workload.label);
        self.workloads.insert(label, workload);
        // Until then its records are read as those of a workload whose palisade is gone: told, with its entry's name.
        self.enforcer.home().send_to_agent(label.0)?;
        Ok(label)
    }

    fn swap(&mut self, label: Label, table: &Table) -> Result<(), Failure> {
        let (enforcer, workload) = self.workload(label)?;
        Ok(enforcer.swap(workload, table)?)
    }

    fn retire(&mut self, label: Label) -> Result<Released, Failure> {
        let (enforcer, workload) = self.workload(label)?;
        let released = enforcer.retire(workload)?;
        if released == Released::Entirely {
            enforcer.home().send_to_nobody(label.0)?;
            self.workloads.remove(&label);
        }
        Ok(released)
    }

    fn legends(&self) -> Legends {
        self.legends.clone()
    }

    fn start_events(&mut self, owners: Owners, to: Destination) -> Result<Pipeline, Failure> {
        Ok(Pipeline::start_agent(self.enforcer.maps(), self.enforcer.home(), owners, to)?)
    }

    fn look_around(&mut self) -> Vec<String> {
        let mut texts: Vec<String> = keep_tracing_on().into_iter().collect();
        let troubles = match self.health.grown() {
            Ok(troubles) => troubles,
            Err(error) => {
                texts.push(format!("it cannot be told how enforcement fares: {error}"));
                return texts;
            }
        };
        if troubles.iter().any(Trouble::is_mended_by_labelling) {
            for workload in self.workloads.values() {
                if let Err(error) = self.enforcer.label_again(workload) {
                    texts.push(format!("a new cgroup has no label, and cannot be given one: {error}"));
                }
            }
        }
        let told = |trouble: &&Trouble| trouble.is_told_live() && !trouble.is_closed(&troubles);
        texts.extend(troubles.iter().filter(told).map(Trouble::text));
        texts
    }
}
