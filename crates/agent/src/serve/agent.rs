//! `palisade.v1.Agent`.

use palisade_api::palisade::agent_server::Agent as AgentService;
use palisade_api::palisade::{
    Gap, ListPoliciesRequest, ListPoliciesResponse, ListWorkloadsRequest, ListWorkloadsResponse, Policy, Postures, Workload,
};
use palisade_policy::model::PolicyMode;
use palisade_ruleset::Posture;
use tonic::{Request, Response, Status};

use crate::enforce::{self, Coverage};
use crate::world::{PolicyStatus, StatusCell, WorkloadStatus};

/// The service.
pub(super) struct Agent {
    pub(super) status: StatusCell,
}

#[tonic::async_trait]
impl AgentService for Agent {
    async fn list_workloads(&self, _: Request<ListWorkloadsRequest>) -> Result<Response<ListWorkloadsResponse>, Status> {
        let workloads = self.status.get().workloads.iter().map(workload).collect();
        Ok(Response::new(ListWorkloadsResponse { workloads }))
    }

    async fn list_policies(&self, _: Request<ListPoliciesRequest>) -> Result<Response<ListPoliciesResponse>, Status> {
        let status = self.status.get();
        Ok(Response::new(ListPoliciesResponse {
            policies: status.policies.iter().map(policy).collect(),
            problems: status.problems.clone(),
            generation: status.generation,
        }))
    }
}

fn workload(status: &WorkloadStatus) -> Workload {
    let WorkloadStatus {
        name,
        namespace,
        labels,
        cgroup,
        enforcer,
        coverage,
        problem,
        generation,
        policies,
        postures: palisade_ruleset::Postures { file, network, capability },
    } = status;
    let gap = |gap: &enforce::Gap| Gap { name: gap.name.to_owned(), text: gap.text.clone() };
    Workload {
        name: name.clone(),
        namespace: namespace.clone(),
        labels: labels.clone(),
        cgroup: cgroup.display().to_string(),
        enforcer: enforcer.map(|backend| backend.to_string()).unwrap_or_default(),
        coverage: word(coverage).to_owned(),
        gaps: coverage.gaps().iter().map(gap).collect(),
        problem: problem.clone().unwrap_or_default(),
        generation: *generation,
        policies: policies.iter().map(ToString::to_string).collect(),
        postures: Some(Postures {
            file: posture(*file).to_owned(),
            network: posture(*network).to_owned(),
            capabilities: posture(*capability).to_owned(),
        }),
    }
}

fn policy(status: &PolicyStatus) -> Policy {
    let PolicyStatus { key, origin, mode, json: _, workloads } = status;
    let mode = match mode {
        PolicyMode::Enabled => "enabled",
        PolicyMode::Audited => "audited",
        PolicyMode::Disabled => "disabled",
    };
    Policy {
        kind: key.kind.resource().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        origin: format!("{}:{}:{}", origin.file, origin.line, origin.column),
        mode: mode.to_owned(),
        workloads: workloads.clone(),
    }
}

fn word(coverage: &Coverage) -> &'static str {
    match coverage {
        Coverage::Full => "full",
        Coverage::Partial(_) => "partial",
        Coverage::None(_) => "none",
    }
}

fn posture(posture: Posture) -> &'static str {
    match posture {
        Posture::Block => "block",
        Posture::Audit => "audit",
    }
}
