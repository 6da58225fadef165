//! Builders that the tests share.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_event::{
    Decider, Enforcer, Errno, Event, Host, Object, Operation, Owner, Process, Repeats, Rule, Timestamp, Verdict, Workload,
};
use palisade_policy::model::{Kind, Origin, PolicyKey, Position, RuleList};

/// 2026-09-21T14:13:20.123456789Z.
pub(crate) const TIME: Timestamp = Timestamp::from_nanoseconds(1_790_000_000_123_456_789);

pub(crate) fn mk_host() -> Host {
    Host {
        cluster: "default".to_owned(),
        name: "node1".to_owned(),
        ip: "10.0.0.1".to_owned(),
        node_id: "ab12".to_owned(),
        version: "v0.1.0-palisade".to_owned(),
    }
}

pub(crate) fn mk_workload() -> Workload {
    Workload {
        namespace: "multiubuntu".to_owned(),
        pod: "ubuntu-1-deployment-abc".to_owned(),
        container: "ubuntu-1-container".to_owned(),
        container_id: "cd34".to_owned(),
        image: "docker.io/kubearmor/ubuntu-w-utils:latest@sha256:ef56".to_owned(),
        labels: BTreeMap::from([("group", "group-1"), ("container", "ubuntu-1")].map(|(k, v)| (k.to_owned(), v.to_owned()))),
        owner: Some(Owner {
            kind: "Deployment".to_owned(),
            name: "ubuntu-1-deployment".to_owned(),
            namespace: "multiubuntu".to_owned(),
        }),
    }
}

pub(crate) fn mk_arguments(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

pub(crate) fn mk_rule(list: RuleList) -> Rule {
    Rule {
        policy: PolicyKey {
            kind: Kind::Namespaced,
            namespace: "multiubuntu".to_owned(),
            name: "ksp-group-1-block-proc-path".to_owned(),
        },
        position: Position { list, index: 0, part: 0 },
        origin: Origin { file: "policies/group-1.yaml".into(), line: 14, column: 7 },
        severity: Some(5),
        tags: Vec::new(),
        message: "block /bin/sleep".to_owned(),
    }
}

/// The event of the facts: /bin/bash is denied the exec of `sleep 1`.
pub(crate) fn mk_event() -> Event {
    Event {
        number: 42,
        time: TIME,
        repeats: Repeats::once(TIME),
        host: Arc::new(mk_host()),
        workload: Some(Arc::new(mk_workload())),
        process: Process {
            pid: 37,
            parent_pid: 31,
            host_pid: 4123,
            host_parent_pid: 4100,
            uid: 0,
            user: "root".to_owned(),
            program: b"/bin/bash".to_vec(),
            parent_program: b"/usr/bin/containerd-shim".to_vec(),
            command_line: mk_arguments(&["bash", "-c", "sleep 1"]),
            cwd: b"/".to_vec(),
            tty: b"pts0".to_vec(),
            exec_id: Some(7),
        },
        operation: Operation::Exec,
        object: Object::Path(b"/bin/sleep".to_vec()),
        arguments: mk_arguments(&["sleep", "1"]),
        arguments_cut: false,
        verdict: Verdict::Block(Errno::ACCES),
        decider: Decider::Rule(Arc::new(mk_rule(RuleList::ProcessPaths))),
        shadow: None,
        enforcer: Enforcer::BpfLsm,
        generation: 3,
    }
}
