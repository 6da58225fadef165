//! The workloads and the tables they are under: what the world changes, and what the thread that follows links changes
//! as well. Behind one lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use palisade_policy::model::{Policy, PolicyKey, PolicyMode};
use palisade_ruleset::{Mode, Postures, RuleSet, Scope, Workload, concerns};

use super::status::{PolicyStatus, WorkloadStatus};
use crate::enforce::bpf::Released;
use crate::enforce::enforcer::{Enforcer, Failure, Label};
use crate::enforce::table::Table;
use crate::enforce::{Coverage, Gap};
use crate::links::{Relink, Relinked};
use crate::pipeline::Owners;
use crate::tree::{Lookups, Observed, RootTree};
use crate::workload::{Found, WorkloadId};

/// All of them.
pub(super) struct Protections {
    enforcer: Box<dyn Enforcer>,
    owners: Owners,
    hostname: String,
    members: BTreeMap<WorkloadId, Member>,
    /// Ended, while some of their processes live and keep their label.
    ended: Vec<Label>,
    /// The newest table's.
    generation: u64,
}

/// A workload.
struct Member {
    found: Found,
    /// What it is under; `None` where nothing could be set up.
    held: Option<Held>,
    /// Why it is not under what its policies say now.
    problem: Option<String>,
}

/// What a workload is under.
struct Held {
    label: Label,
    /// The policies that its table was made of; `None` for a table that an agent before this one made.
    policies: Option<Vec<Policy>>,
    rules: RuleSet,
    tree: RootTree,
    generation: u64,
    gaps: Vec<Gap>,
}

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Workloads under a new table.
    pub(super) changed: usize,
    /// Its generation.
    pub(super) generation: u64,
    /// How long it took from the first table built to the last in force, in microseconds.
    pub(super) took_us: u128,
    /// What did not go as it should.
    pub(super) problems: Vec<String>,
}

/// A table that is ready to be put into force.
struct Ready {
    id: WorkloadId,
    policies: Vec<Policy>,
    rules: RuleSet,
    tree: RootTree,
    table: Table,
    gaps: Vec<Gap>,
}

// === impl Protections ===

impl Protections {
    pub(super) fn new(enforcer: Box<dyn Enforcer>, owners: Owners, hostname: String) -> Self {
        Self { enforcer, owners, hostname, members: BTreeMap::new(), ended: Vec::new(), generation: 0 }
    }

    /// Takes a workload in, which [`Self::apply`] then puts under its policies. What an agent before this one protected
    /// goes on as it was until then.
    pub(super) fn appear(&mut self, found: Found) -> Result<(), Failure> {
        let id = found.id.clone();
        let adopted = self.enforcer.adopt(id.as_str(), &found.cgroup);
        let label = adopted.as_ref().ok().copied().flatten();
        if let Some(label) = label {
            self.owners.set(label.0, Arc::new(named(&found)));
        }
        let held = label.and_then(|label| self.hold_adopted(&found, label));
        self.members.insert(id, Member { found, held, problem: None });
        adopted.map(drop)
    }

    /// An adopted workload: its rules are not known, only that they hold.
    fn hold_adopted(&self, found: &Found, label: Label) -> Option<Held> {
        let tree = tree_of(found).ok()?;
        let rules = RuleSet::new(&[], &self.workload_of(found), &tree);
        Some(Held { label, policies: None, rules, tree, generation: 0, gaps: Vec::new() })
    }

    /// Lets a workload go that has ended.
    pub(super) fn go(&mut self, id: &WorkloadId) -> Result<(), Failure> {
        let Some(Member { held: Some(Held { label, .. }), .. }) = self.members.remove(id) else { return Ok(()) };
        self.ended.push(label);
        self.retire_ended()
    }

    /// Tries again to let go of workloads that have ended.
    pub(super) fn retire_ended(&mut self) -> Result<(), Failure> {
        let Self { enforcer, owners, ended, .. } = self;
        let mut result = Ok(());
        ended.retain(|label| match enforcer.retire(*label) {
            Ok(Released::Entirely) => {
                owners.remove(label.0);
                false
            }
            Ok(Released::StillHeld) => true,
            Err(error) => {
                result = Err(error);
                true
            }
        });
        result
    }

    /// Puts every workload under what these policies say of it.
    ///
    /// # Guarantees
    /// All tables are built before the first is put into force. Each workload changes in one step. One whose table cannot
    /// be built or put into force keeps what it is under, and hinders no other.
    pub(super) fn apply(&mut self, policies: &[Policy]) -> Applied {
        let begun = Instant::now();
        let mut applied = Applied::default();
        let mut ready = Vec::new();
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            match self.build(&id, policies, &mut applied.generation) {
                Ok(None) => {}
                Ok(Some(table)) => ready.push(table),
                Err(error) => self.fail(&id, error, &mut applied),
            }
        }
        for Ready { id, policies, rules, tree, table, gaps } in ready {
            match self.put(&id, &table) {
                Ok(label) => {
                    let generation = table.generation;
                    let held = Held { label, policies: Some(policies), rules, tree, generation, gaps };
                    if let Some(member) = self.members.get_mut(&id) {
                        (member.held, member.problem) = (Some(held), None);
                    }
                    applied.changed += 1;
                }
                Err(error) => self.fail(&id, error, &mut applied),
            }
        }
        self.generation = self.generation.max(applied.generation);
        applied.took_us = begun.elapsed().as_micros();
        applied
    }

    /// The table of a workload, if it is not under these policies already. All tables of one change have one generation:
    /// the id of the first.
    fn build(&mut self, id: &WorkloadId, policies: &[Policy], generation: &mut u64) -> Result<Option<Ready>, Failure> {
        let Some(member) = self.members.get(id) else { return Ok(None) };
        let workload = self.workload_of(&member.found);
        let selected: Vec<Policy> = policies.iter().filter(|policy| concerns(policy, &workload)).cloned().collect();
        if member.problem.is_none() && member.held.as_ref().is_some_and(|held| held.policies.as_ref() == Some(&selected)) {
            return Ok(None);
        }
        let tree = tree_of(&member.found)?;
        let rules = RuleSet::new(&selected, &workload, &tree);
        let gaps = self.enforcer.gaps(&rules);
        let table_id = self.enforcer.next_table_id()?;
        if *generation == 0 {
            *generation = table_id.into();
        }
        let table = Table::build(&rules, *generation, table_id)?;
        Ok(Some(Ready { id: id.clone(), policies: selected, rules, tree, table, gaps }))
    }

    fn put(&mut self, id: &WorkloadId, table: &Table) -> Result<Label, Failure> {
        let Self { enforcer, owners, members, .. } = self;
        let member = members.get(id).ok_or("the workload has ended")?;
        // Before the kernel can name a rule of it.
        enforcer.legends().add(table.id, Arc::clone(&table.rules));
        if let Some(held) = &member.held {
            enforcer.swap(held.label, table)?;
            return Ok(held.label);
        }
        let label = enforcer.protect(id.as_str(), &member.found.cgroup, table, Mode::Enforce)?;
        owners.set(label.0, Arc::new(named(&member.found)));
        Ok(label)
    }

    fn fail(&mut self, id: &WorkloadId, error: Failure, applied: &mut Applied) {
        let Some(member) = self.members.get_mut(id) else { return };
        let holds = if member.held.is_some() { "what was in force stays" } else { "it is not protected" };
        let problem = format!("{error}; {holds}");
        applied.problems.push(format!("{}: {problem}", member.found.name));
        member.problem = Some(problem);
    }

    /// What the rules see of a workload.
    fn workload_of(&self, found: &Found) -> Workload {
        let Found { id: _, cgroup: _, name, namespace, labels } = found;
        Workload {
            scope: Scope::Workload,
            namespace: namespace.clone(),
            labels: labels.clone(),
            container: Some(name.clone()),
            hostname: self.hostname.clone(),
            ignore_selectors: false,
            postures: Postures::WORKLOAD,
            ..Workload::run()
        }
    }

    pub(super) fn look_around(&mut self) -> Vec<String> {
        self.enforcer.look_around()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How each workload stands.
    pub(super) fn workloads(&self) -> Vec<WorkloadStatus> {
        self.members.values().map(|member| self.status(member)).collect()
    }

    fn status(&self, member: &Member) -> WorkloadStatus {
        let Member { found, held, problem } = member;
        let reason = || problem.clone().unwrap_or_else(|| "its policies have not been put into force yet".to_owned());
        let keys = |policies: &[Policy]| policies.iter().map(|policy| policy.key.clone()).collect::<Vec<PolicyKey>>();
        WorkloadStatus {
            name: found.name.clone(),
            namespace: found.namespace.clone(),
            labels: found.labels.clone(),
            cgroup: found.cgroup.directory().to_owned(),
            enforcer: held.as_ref().map(|_| self.enforcer.backend()),
            coverage: match held {
                Some(held) => Coverage::of(held.gaps.clone()),
                None => Coverage::None(reason()),
            },
            problem: problem.clone(),
            generation: held.as_ref().map_or(0, |held| held.generation),
            policies: held.as_ref().and_then(|held| held.policies.as_deref()).map(keys).unwrap_or_default(),
            postures: Postures::WORKLOAD,
        }
    }

    /// How each policy stands.
    pub(super) fn policies(&self, policies: &[Policy], json: impl Fn(&PolicyKey) -> Option<String>) -> Vec<PolicyStatus> {
        let selected = |policy: &Policy| {
            let members = self.members.values().map(|member| &member.found);
            let takes_part = policy.mode != PolicyMode::Disabled;
            let members = members.filter(|found| takes_part && concerns(policy, &self.workload_of(found)));
            members.map(|found| found.name.clone()).collect()
        };
        let status = |policy: &Policy| PolicyStatus {
            key: policy.key.clone(),
            origin: policy.origin.clone(),
            mode: policy.mode,
            json: json(&policy.key),
            workloads: selected(policy),
        };
        policies.iter().map(status).collect()
    }

    /// Resolves the rules of all workloads again, and puts those that gained names into force.
    fn resolve_again(&mut self, lookups: &dyn Lookups) -> Result<Vec<Relinked>, Failure> {
        let Self { enforcer, members, generation, .. } = self;
        let mut relinked = Vec::new();
        let mut result = Ok(());
        for Member { found, held, problem: _ } in members.values_mut() {
            let Some(held) = held else { continue };
            let mut renewed = held.rules.clone();
            let gained = renewed.resolve_again(&Observed { tree: &held.tree, lookups });
            if gained.names > 0 {
                // One that fails is tried again, and hinders no other.
                match swap(enforcer.as_mut(), held, renewed) {
                    Ok(()) => *generation = (*generation).max(held.generation),
                    Err(error) => {
                        result = Err(error);
                        continue;
                    }
                }
            }
            relinked.push(Relinked { whose: format!("{}: ", found.name), gained, generation: held.generation });
        }
        result.map(|()| relinked)
    }
}

fn swap(enforcer: &mut dyn Enforcer, held: &mut Held, renewed: RuleSet) -> Result<(), Failure> {
    let table_id = enforcer.next_table_id()?;
    let table = Table::build(&renewed, table_id.into(), table_id)?;
    enforcer.legends().add(table.id, Arc::clone(&table.rules));
    enforcer.swap(held.label, &table)?;
    (held.rules, held.generation) = (renewed, table.generation);
    Ok(())
}

/// The thread that follows links has them too.
pub(super) struct Shared(pub(super) Arc<std::sync::Mutex<Protections>>);

impl Relink for Shared {
    fn resolve_again(&mut self, lookups: &dyn Lookups) -> Result<Vec<Relinked>, Failure> {
        super::lock(&self.0).resolve_again(lookups)
    }
}

/// The tree that a workload's names are resolved in: that of its first process, or, as long as it has none, this one's.
fn tree_of(found: &Found) -> Result<RootTree, Failure> {
    let members = found.cgroup.members()?;
    let roots = members.iter().map(|member| PathBuf::from(format!("/proc/{}/root", member.pid)));
    let started = started(found);
    for root in roots {
        if let Ok(tree) = RootTree::open(&root, started) {
            return Ok(tree); // else it has ended meanwhile
        }
    }
    Ok(RootTree::open("/".as_ref(), started)?)
}

/// When a workload's first instruction came at the earliest: when its cgroup was made.
fn started(found: &Found) -> SystemTime {
    let made =
        std::fs::metadata(found.cgroup.directory()).and_then(|metadata| metadata.created().or_else(|_| metadata.modified()));
    made.unwrap_or_else(|_| SystemTime::now())
}

/// A workload as events name it.
fn named(found: &Found) -> palisade_event::Workload {
    let Found { id: _, cgroup: _, name, namespace, labels } = found;
    palisade_event::Workload {
        namespace: namespace.clone(),
        container: name.clone(),
        labels: labels.clone(),
        ..palisade_event::Workload::default()
    }
}
