//! Making a case smaller while it stays interesting.

use palisade_policy::model::{Direction, Host, NetworkObject, Policy, Selector};
use palisade_ruleset::{Operation, Program, Workload};

use crate::Case;

/// Takes away policies, rules, conditions, links and settings one at a time, as long as `interesting` holds, until nothing
/// more can go.
#[must_use]
pub fn shrink(case: Case, interesting: &dyn Fn(&Case) -> bool) -> Case {
    let mut case = case;
    while let Some(smaller) = steps(&case).into_iter().find(|smaller| interesting(smaller)) {
        case = smaller;
    }
    case
}

/// All cases that are one step smaller.
fn steps(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    for index in 0..case.policies.len() {
        let mut smaller = case.clone();
        smaller.policies.remove(index);
        out.push(smaller);
    }
    for (index, policy) in case.policies.iter().enumerate() {
        for less in policy_steps(policy) {
            let mut smaller = case.clone();
            smaller.policies[index] = less;
            out.push(smaller);
        }
    }
    for path in case.links.by_path.keys() {
        let mut smaller = case.clone();
        smaller.links.by_path.remove(path);
        out.push(smaller);
    }
    out.extend(workload_steps(&case.workload).into_iter().map(|workload| Case { workload, ..case.clone() }));
    out.extend(access_steps(case));
    out
}

fn policy_steps(policy: &Policy) -> Vec<Policy> {
    let mut out = Vec::new();
    let mut step = |change: &dyn Fn(&mut Policy)| {
        let mut less = policy.clone();
        change(&mut less);
        if less != *policy {
            out.push(less);
        }
    };
    for i in 0..policy.process.len() {
        step(&|p| drop(p.process.remove(i)));
        step(&|p| p.process[i].from_source.truncate(1));
        step(&|p| p.process[i].from_source.clear());
        step(&|p| p.process[i].owner_only = false);
        step(&|p| p.process[i].pts_false = false);
        step(&|p| p.process[i].allowed_args = None);
    }
    for i in 0..policy.file.len() {
        step(&|p| drop(p.file.remove(i)));
        step(&|p| p.file[i].from_source.truncate(1));
        step(&|p| p.file[i].from_source.clear());
        step(&|p| p.file[i].owner_only = false);
        step(&|p| p.file[i].read_only = false);
        step(&|p| p.file[i].pts_false = false);
    }
    for i in 0..policy.network.len() {
        step(&|p| drop(p.network.remove(i)));
        step(&|p| p.network[i].from_source.clear());
        step(&|p| p.network[i].pts_false = false);
        step(&|p| {
            if let NetworkObject::Endpoint(endpoint) = &mut p.network[i].object {
                endpoint.ports.truncate(1);
            }
        });
        step(&|p| {
            if let NetworkObject::Endpoint(endpoint) = &mut p.network[i].object {
                endpoint.ports.clear();
            }
        });
        step(&|p| {
            if let NetworkObject::Endpoint(endpoint) = &mut p.network[i].object {
                endpoint.host = Host::Any;
            }
        });
        step(&|p| {
            if let NetworkObject::Endpoint(endpoint) = &mut p.network[i].object {
                endpoint.direction = Direction::Both;
            }
        });
    }
    for i in 0..policy.capabilities.len() {
        step(&|p| drop(p.capabilities.remove(i)));
        step(&|p| p.capabilities[i].from_source.clear());
    }
    step(&|p| p.selector = Selector::default());
    out
}

fn workload_steps(workload: &Workload) -> Vec<Workload> {
    let usual = Workload::run();
    vec![
        Workload { mode: usual.mode, ..workload.clone() },
        Workload { postures: usual.postures, ..workload.clone() },
        Workload { base_set: usual.base_set, ..workload.clone() },
        Workload { allow_mounts: usual.allow_mounts, ..workload.clone() },
        Workload { multi_call: Vec::new(), ..workload.clone() },
        Workload { stdio: Vec::new(), ..workload.clone() },
        Workload { ignore_selectors: true, ..workload.clone() },
        Workload { labels: usual.labels, container: None, ..workload.clone() },
    ]
    .into_iter()
    .filter(|less| format!("{less:?}") != format!("{workload:?}"))
    .collect()
}

fn access_steps(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    let mut step = |change: &dyn Fn(&mut Case)| {
        let mut less = case.clone();
        change(&mut less);
        if less.access != case.access {
            out.push(less);
        }
    };
    step(&|c| c.access.actor.terminal = false);
    step(&|c| c.access.actor.program = Program::Path(b"/app/main".to_vec()));
    step(&|c| {
        if let Operation::Exec { scripts, .. } = &mut c.access.operation {
            scripts.pop();
        }
    });
    step(&|c| {
        if let Operation::Exec { invoked_as, .. } = &mut c.access.operation {
            invoked_as.pop();
        }
    });
    step(&|c| {
        if let Operation::Exec { arguments, .. } = &mut c.access.operation {
            *arguments = None;
        }
    });
    out
}
