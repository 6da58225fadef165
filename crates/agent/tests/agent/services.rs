//! The services, by clients over the socket.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use palisade_agent::pipeline::hub::WhenFull;
use palisade_agent::workload::Change;
use palisade_api::feeder::log_service_client::LogServiceClient;
use palisade_api::feeder::{Alert, NonceMessage, RequestMessage};
use palisade_api::palisade::agent_client::AgentClient;
use palisade_api::palisade::{ListPoliciesRequest, ListWorkloadsRequest};
use palisade_api::policy::policy_service_client::PolicyServiceClient;
use palisade_api::policy::probe_service_client::ProbeServiceClient;
use palisade_api::policy::{Policy, PolicyStatus};
use palisade_api::state_agent::state_agent_client::StateAgentClient;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::scene::{Scene, Setting, mk_policy, wait};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap().block_on(test);
}

fn mk_scene(setting: Setting) -> Scene {
    let scene = Scene::new(setting, &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    scene.wait_for("web.service", &["a"]);
    scene
}

fn filter(word: &str) -> RequestMessage {
    RequestMessage { filter: word.to_owned(), ..RequestMessage::default() }
}

#[test]
fn a_denied_open_comes_to_a_client_with_kubearmors_fields() {
    run(async {
        let scene = mk_scene(Setting::default());
        let mut service = LogServiceClient::new(scene.connect().await);
        let mut alerts = service.watch_alerts(filter("policy")).await.unwrap().into_inner();
        let (label, held) = scene.kernel.of("web.service").unwrap();
        assert!(scene.ring.write(label, held.table_id, "/secret"));
        let Alert { policy_name, severity, r#type, operation, resource, data, action, result, enforcer, .. } =
            alerts.message().await.unwrap().unwrap();
        assert_eq!([policy_name.as_str(), &severity, &r#type, &operation], ["a", "7", "MatchedPolicy", "File"]);
        assert_eq!([resource.as_str(), &data, &action], ["/secret", "lsm=FILE_OPEN", "Block"]);
        assert_eq!([result.as_str(), &enforcer], ["Permission denied", "BPFLSM"]);
        // The same again, to whoever comes later.
        let request = RequestMessage { palisade_backlog: 10, palisade_backlog_only: true, ..filter("all") };
        let mut kept = service.watch_alerts(request).await.unwrap().into_inner();
        let alert = kept.message().await.unwrap().unwrap();
        assert_eq!((alert.container_name.as_str(), alert.namespace_name.as_str()), ("web.service", "container_namespace"));
        assert_eq!((alert.host_name.as_str(), alert.labels.as_str()), ("node1", "app=web.service"));
        assert_eq!((alert.palisade_number, alert.palisade_rule.as_str()), (1, "file.matchPaths[0]"));
        assert!(alert.palisade_origin.ends_with("policies/a.yaml:8"), "{}", alert.palisade_origin);
        assert!(kept.message().await.unwrap().is_none(), "the backlog alone was asked for");
        scene.stop();
    });
}

#[test]
fn what_a_slow_client_misses_is_told_in_its_stream() {
    run(async {
        let scene = mk_scene(Setting { queue: 10, ring: 100_000, when_full: WhenFull::DropOldest, ..Setting::default() });
        let mut service = LogServiceClient::new(scene.connect().await);
        let mut alerts = service.watch_alerts(filter("policy")).await.unwrap().into_inner();
        let (label, held) = scene.kernel.of("web.service").unwrap();
        // More than the queue, and what HTTP/2 lets through before a client reads, can hold.
        const RECORDS: u64 = 20_000;
        for n in 0..RECORDS {
            assert!(scene.ring.write(label, held.table_id, &format!("/secret/{n}")));
        }
        scene.ring.wait_empty();
        let (mut delivered, mut lost) = (0, 0);
        while delivered + lost < RECORDS {
            let alert = alerts.message().await.unwrap().unwrap();
            match alert.lost() {
                Some(count) => lost += count,
                None => delivered += 1,
            }
        }
        assert_eq!(delivered + lost, RECORDS);
        assert!(lost > 0, "all {delivered} were delivered: the client was not slow");
        scene.stop();
    });
}

#[test]
fn filters_and_health_checks_are_answered_as_clients_expect() {
    run(async {
        let scene = mk_scene(Setting::default());
        let mut service = LogServiceClient::new(scene.connect().await);
        let nonce = service.health_check(NonceMessage { nonce: 4711 }).await.unwrap().into_inner();
        assert_eq!(nonce.retval, 4711);
        for word in ["", "system", "Policy"] {
            let mut ended = service.watch_alerts(filter(word)).await.unwrap().into_inner();
            assert!(ended.message().await.unwrap().is_none(), "{word}");
        }
        let mut ended = service.watch_logs(filter("policy")).await.unwrap().into_inner();
        assert!(ended.message().await.unwrap().is_none());
        // A message is told while alerts are not disturbed.
        let mut messages = service.watch_messages(filter("")).await.unwrap().into_inner();
        scene.policy("b.yaml", "kind: [");
        let message = messages.message().await.unwrap().unwrap();
        assert_eq!((message.r#type.as_str(), message.level.as_str()), ("Message", "ERROR"));
        assert!(message.message.contains("policies/b.yaml:1:"), "{}", message.message);
        scene.stop();
    });
}

fn request(change: &str, name: &str) -> Policy {
    let spec = r#"{"selector":{"matchLabels":{"kubearmor.io/container.name":"web.service"}},"action":"Block",
                   "file":{"matchPaths":[{"path":"/x"}]}}"#;
    let json = format!(r#"{{"type":"{change}","object":{{"metadata":{{"name":"{name}"}},"spec":{spec}}}}}"#);
    Policy { policy: json.into_bytes().into() }
}

#[test]
fn policies_come_and_go_over_the_socket() {
    run(async {
        let scene = mk_scene(Setting::default());
        let channel = scene.connect().await;
        let mut service = PolicyServiceClient::new(channel.clone());
        let answer = service.container_policy(request("ADDED", "x")).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::Applied);
        // It was answered when it was in force.
        assert_eq!(scene.kernel.of("web.service").unwrap().1.tables.last().unwrap().0, ["a", "x"]);
        let answer = service.container_policy(request("MODIFIED", "x")).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::Modified);
        let probe = ProbeServiceClient::new(channel.clone()).get_probe_data(()).await.unwrap().into_inner();
        assert_eq!(probe.container_map["web.service"].policy_list, ["a", "x"]);
        assert_eq!(probe.container_map["web.service"].policy_enabled, 1);
        assert!(probe.host_map.contains_key("node1"));
        let answer = service.container_policy(request("DELETED", "x")).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::Deleted);
        assert_eq!(scene.kernel.of("web.service").unwrap().1.tables.last().unwrap().0, ["a"]);
        let answer = service.container_policy(request("DELETED", "x")).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::NotExist);
        let answer = service.container_policy(Policy { policy: b"no".to_vec().into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::Invalid);
        assert_eq!(answer.palisade_problems.len(), 1);
        let answer = service.host_policy(request("ADDED", "h")).await.unwrap().into_inner();
        assert_eq!(answer.status(), PolicyStatus::NotEnabled);
        let refused = service.container_policy(request("ADDED", "a")).await.unwrap_err();
        assert!(refused.message().contains("stands in a.yaml"), "{refused}");
        scene.stop();
    });
}

#[test]
fn workloads_and_policies_are_listed_with_what_selects_what() {
    run(async {
        let scene = mk_scene(Setting::default());
        scene.policy("b.yaml", &mk_policy("b", "/x").replace("web.service", "nobody.service"));
        wait("b to be there", || Some(()).filter(|()| scene.status.get().policies.len() == 2));
        let mut service = AgentClient::new(scene.connect().await);
        let workloads = service.list_workloads(ListWorkloadsRequest {}).await.unwrap().into_inner().workloads;
        assert_eq!(workloads.len(), 1);
        let web = &workloads[0];
        assert_eq!((web.name.as_str(), web.enforcer.as_str(), web.coverage.as_str()), ("web.service", "BPF-LSM", "full"));
        assert_eq!(web.policies, ["KubeArmorPolicy container_namespace/a"]);
        assert_eq!(web.postures.clone().unwrap().file, "block");
        assert!(web.problem.is_empty());
        let listed = service.list_policies(ListPoliciesRequest {}).await.unwrap().into_inner();
        let selects: Vec<_> = listed.policies.iter().map(|policy| (policy.name.as_str(), policy.workloads.clone())).collect();
        assert_eq!(selects, [("a", vec!["web.service".to_owned()]), ("b", vec![])]);
        assert_eq!(listed.generation, web.generation);
        scene.stop();
    });
}

#[test]
fn services_are_healthy_and_described_and_what_is_not_there_says_so() {
    run(async {
        let scene = mk_scene(Setting::default());
        let channel = scene.connect().await;
        let mut health = HealthClient::new(channel.clone());
        let services = ["feeder.LogService", "policy.PolicyService", "policy.ProbeService", "palisade.v1.Agent"];
        for service in services {
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut serving = 0;
            for _ in 0..100 {
                serving = health.check(request.clone()).await.map_or(0, |answer| answer.into_inner().status);
                if serving == 1 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(serving, 1, "{service}");
        }
        let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut reflection = ServerReflectionClient::new(channel.clone());
        let mut answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
        let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        assert!(services.iter().all(|service| names.contains(&(*service).to_owned())), "{names:?}");
        let refused = StateAgentClient::new(channel).get_state(()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
        scene.stop();
    });
}

#[test]
fn the_socket_is_for_its_owner_and_group_alone_and_goes_with_the_agent() {
    let scene = mk_scene(Setting::default());
    let socket = scene.path("agent.sock");
    let found = wait("the socket", || fs::symlink_metadata(&socket).ok());
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let directory = scene.stop();
    assert!(!directory.path().join("agent.sock").exists());
}
