//! `policy.PolicyService` and `policy.ProbeService`.

use std::collections::BTreeMap;

use palisade_api::policy::policy_service_server::PolicyService;
use palisade_api::policy::probe_service_server::ProbeService;
use palisade_api::policy::{ContainerData, HostSecurityPolicies, Policy, PolicyStatus, ProbeResponse, Response as Answer};
use palisade_policy::model::Kind;
use tonic::{Request, Response, Status};

use crate::world::{Outcome, PoliciesError, Requests, StatusCell};

/// Policies that come and go.
pub(super) struct Policies {
    pub(super) requests: Requests,
}

/// What selects what.
pub(super) struct Probe {
    pub(super) status: StatusCell,
    pub(super) node: String,
}

/// `policyEnabled`.
const ENABLED: i32 = 1;

// === impl Policies ===

impl Policies {
    async fn ask(&self, kind: Kind, request: Request<Policy>) -> Result<Response<Answer>, Status> {
        let json = request.into_inner().policy.to_vec();
        let Some(outcome) = self.requests.policy(kind, json).await else {
            return Err(Status::unavailable("the agent has too much to do, or is about to end: try again"));
        };
        let (status, problems) = match outcome {
            Ok(Outcome::Applied) => (PolicyStatus::Applied, Vec::new()),
            Ok(Outcome::Modified) => (PolicyStatus::Modified, Vec::new()),
            Ok(Outcome::Deleted) => (PolicyStatus::Deleted, Vec::new()),
            Ok(Outcome::NotExist) => (PolicyStatus::NotExist, Vec::new()),
            Ok(Outcome::Invalid(problems)) => (PolicyStatus::Invalid, problems),
            Ok(Outcome::NotEnabled) => (PolicyStatus::NotEnabled, Vec::new()),
            Err(error @ PoliciesError::InFile { .. }) => return Err(Status::failed_precondition(error.to_string())),
            Err(error) => (PolicyStatus::Failure, vec![error.to_string()]),
        };
        Ok(Response::new(Answer { status: status.into(), palisade_problems: problems }))
    }
}

#[tonic::async_trait]
impl PolicyService for Policies {
    async fn container_policy(&self, request: Request<Policy>) -> Result<Response<Answer>, Status> {
        self.ask(Kind::Namespaced, request).await
    }

    async fn host_policy(&self, request: Request<Policy>) -> Result<Response<Answer>, Status> {
        self.ask(Kind::Host, request).await
    }

    /// Palisade does not manage the host's firewall.
    async fn network_policy(&self, _: Request<Policy>) -> Result<Response<Answer>, Status> {
        Ok(Response::new(Answer { status: PolicyStatus::NotEnabled.into(), palisade_problems: Vec::new() }))
    }
}

#[tonic::async_trait]
impl ProbeService for Probe {
    async fn get_probe_data(&self, _: Request<()>) -> Result<Response<ProbeResponse>, Status> {
        let status = self.status.get();
        let mut containers = BTreeMap::new();
        for workload in &status.workloads {
            let selecting = workload.policies.iter().filter_map(|key| status.policies.iter().find(|policy| policy.key == *key));
            let json = selecting.filter_map(|policy| policy.json.clone());
            let data = ContainerData {
                policy_list: workload.policies.iter().map(|key| key.name.clone()).collect(),
                policy_enabled: ENABLED,
                policy_data_list: json.map(|json| Policy { policy: json.into_bytes().into() }).collect(),
            };
            containers.insert(workload.name.clone(), data);
        }
        let host = HostSecurityPolicies { policy_list: Vec::new(), policy_data_list: Vec::new() };
        Ok(Response::new(ProbeResponse {
            container_list: containers.keys().cloned().collect(),
            container_map: containers,
            host_map: BTreeMap::from([(self.node.clone(), host)]),
            network_map: BTreeMap::new(),
        }))
    }
}
