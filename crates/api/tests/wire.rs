//! What goes over the wire: KubeArmor's numbers, byte by byte, and the JSON that its clients make of it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_api::feeder;
use palisade_event::{
    Decider, EncodeOptions, Enforcer, Errno, Event, Host, Level, Loss, LossPlace, Message, Object, Operation, Process, Record,
    Repeats, Rule, Socket, Timestamp, Verdict, Workload, json,
};
use palisade_policy::model::{Kind, Origin, PolicyKey, Position, RuleList};
use prost::Message as _;

/// 2026-09-21T14:13:20.123456789Z.
const TIME: Timestamp = Timestamp::from_nanoseconds(1_790_000_000_123_456_789);

fn mk_host() -> Arc<Host> {
    Arc::new(Host { name: "node1".to_owned(), cluster: "default".to_owned(), version: "v1".to_owned(), ..Host::default() })
}

fn mk_event() -> Event {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    Event {
        number: 42,
        time: TIME,
        repeats: Repeats::once(TIME),
        host: mk_host(),
        workload: Some(Arc::new(Workload {
            namespace: "container_namespace".to_owned(),
            container: "web.service".to_owned(),
            labels,
            ..Workload::default()
        })),
        process: Process {
            pid: 37,
            parent_pid: 31,
            host_pid: 4123,
            host_parent_pid: 4100,
            uid: 1000,
            program: b"/usr/bin/cat".to_vec(),
            parent_program: b"/bin/bash".to_vec(),
            command_line: vec![b"cat".to_vec(), b"/etc/shadow".to_vec()],
            cwd: b"/".to_vec(),
            tty: b"pts0".to_vec(),
            exec_id: Some(7),
            ..Process::default()
        },
        operation: Operation::OpenRead,
        object: Object::Path(b"/etc/sha\xffdow".to_vec()),
        arguments: Vec::new(),
        arguments_cut: false,
        verdict: Verdict::Block(Errno::ACCES),
        decider: Decider::Rule(Arc::new(Rule {
            policy: PolicyKey { kind: Kind::Namespaced, namespace: "container_namespace".to_owned(), name: "p".to_owned() },
            position: Position { list: RuleList::FilePaths, index: 0, part: 0 },
            origin: Origin { file: "p.yaml".into(), line: 9, column: 7 },
            severity: Some(5),
            tags: vec!["a".to_owned(), "b".to_owned()],
            message: "no".to_owned(),
        })),
        shadow: None,
        enforcer: Enforcer::BpfLsm,
        generation: 3,
    }
}

/// Field numbers and raw values of a message, in the order of the wire.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The texts of a message by field number; numbers as decimal text.
fn texts(message: &impl prost::Message) -> BTreeMap<u64, String> {
    let text = |number: u64, value: Vec<u8>| {
        const NUMBERS: [u64; 8] = [1, 9, 10, 11, 12, 27, 1000, 1010];
        if NUMBERS.contains(&number) {
            i64::from_le_bytes(value.try_into().unwrap()).to_string()
        } else {
            String::from_utf8(value).unwrap()
        }
    };
    fields(&message.encode_to_vec()).into_iter().map(|(number, value)| (number, text(number, value))).collect()
}

#[test]
fn an_alert_has_kubearmors_numbers() {
    let alert = feeder::Alert::of_event(&mk_event(), EncodeOptions::default());
    let texts = texts(&alert);
    let expected = [
        (1, "1790000000"),
        (2, "2026-09-21T14:13:20.123456Z"),
        (3, "default"),
        (4, "node1"),
        (5, "container_namespace"),
        (8, "web.service"),
        (9, "4123"),
        (10, "31"),
        (11, "37"),
        (12, "1000"),
        (13, "p"),
        (14, "5"),
        (15, "a,b"),
        (16, "no"),
        (17, "MatchedPolicy"),
        (18, "/usr/bin/cat /etc/shadow"),
        (19, "File"),
        (20, "/etc/sha\\xFFdow"),
        (21, "lsm=FILE_OPEN"),
        (22, "Block"),
        (23, "Permission denied"),
        (25, "/bin/bash"),
        (26, "/usr/bin/cat"),
        (27, "4100"),
        (28, "BPFLSM"),
        (29, "app=web"),
        (32, "/"),
        (33, "pts0"),
        (37, "v1"),
        (1000, "42"),
        (1001, "read"),
        (1004, "KubeArmorPolicy container_namespace/p"),
        (1005, "file.matchPaths[0]"),
        (1006, "p.yaml:9"),
        (1010, "3"),
    ];
    for (number, text) in expected {
        assert_eq!(texts.get(&number).map(|text| text.to_ascii_lowercase()), Some(text.to_ascii_lowercase()), "field {number}");
    }
    let nested = |number: u64| {
        let found = fields(&alert.encode_to_vec()).into_iter().find(|(n, _)| *n == number).unwrap();
        fields(&found.1).into_iter().map(|(n, value)| (n, String::from_utf8(value).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(nested(36), [(1, "7".to_owned()), (2, "cat".to_owned())]);
    assert_eq!(nested(43), [(1, "Lsm".to_owned()), (2, "FILE_OPEN".to_owned())]);
    assert_eq!(texts[&30], "b", "each tag has field 30");
}

#[test]
fn a_log_is_an_alert_without_policy_at_kubearmors_numbers_of_logs() {
    let log = feeder::Log::of_event(&mk_event(), EncodeOptions::default());
    let found: BTreeMap<u64, Vec<u8>> = fields(&log.encode_to_vec()).into_iter().collect();
    let text = |number: u64| found.get(&number).map(|value| String::from_utf8_lossy(value).into_owned());
    for (number, expected) in [
        (13, "ContainerLog"),
        (14, "/usr/bin/cat /etc/shadow"),
        (15, "File"),
        (17, "lsm=FILE_OPEN"),
        (18, "Permission denied"),
        (20, "/bin/bash"),
        (21, "/usr/bin/cat"),
        (23, "app=web"),
        (25, "/"),
        (26, "pts0"),
        (1001, "read"),
    ] {
        assert_eq!(text(number).as_deref(), Some(expected), "field {number}");
    }
    assert_eq!(found.get(&22), Some(&4100_u64.to_le_bytes().to_vec()), "HostPPID");
}

/// What `palisade run --json` writes and what a client makes of the wire is the same JSON.
#[test]
fn the_json_of_a_message_is_that_of_its_event() {
    let endpoint = Event {
        operation: Operation::SocketConnect,
        object: Object::Endpoint(Socket { family: 2, kind: 1, protocol: 6 }, "10.0.0.1:443".parse().unwrap()),
        repeats: Repeats::once(TIME).and(Repeats::once(TIME)).unwrap(),
        decider: Decider::DefaultPosture,
        ..mk_event()
    };
    let host = Event { workload: None, verdict: Verdict::Audit, decider: Decider::BuiltIn("self".into()), ..mk_event() };
    for event in [mk_event(), endpoint, host] {
        let options = EncodeOptions::default();
        let written: serde_json::Value = serde_json::from_str(&json::encode(&event.clone().into(), options).unwrap()).unwrap();
        let wire = feeder::Alert::of_event(&event, options).encode_to_vec();
        let read = serde_json::to_value(feeder::Alert::decode(&wire[..]).unwrap()).unwrap();
        assert_eq!(read, written);
    }
}

#[test]
fn losses_and_messages_are_told_as_in_json_files() {
    let loss = Loss { time: TIME, host: mk_host(), place: LossPlace::RingBuffer, count: 7 };
    let alert = feeder::Alert::of_loss(&loss);
    assert_eq!(alert.lost(), Some(7));
    assert_eq!(feeder::Alert::of_event(&mk_event(), EncodeOptions::default()).lost(), None);
    let message = Message { time: TIME, host: mk_host(), level: Level::Warning, text: "t".to_owned() };
    let told = feeder::Message::from(&message);
    for (read, record) in
        [(serde_json::to_value(alert).unwrap(), Record::from(loss)), (serde_json::to_value(told).unwrap(), Record::from(message))]
    {
        let written = json::encode(&record, EncodeOptions::default()).unwrap();
        assert_eq!(read, serde_json::from_str::<serde_json::Value>(&written).unwrap());
    }
}

#[test]
fn a_loss_is_told_with_its_number_to_who_reads_messages_alone() {
    let loss = Loss { time: TIME, host: mk_host(), place: LossPlace::RingBuffer, count: 7 };
    let told = feeder::Message::of_loss(&loss);
    assert_eq!((told.level, told.host_name), (Level::Warning.name().to_owned(), "node1".to_owned()));
    assert!(told.message.contains('7') && told.message == loss.text(), "{}", told.message);
}

#[test]
fn the_descriptors_name_every_service_with_its_methods() {
    let set = prost_types::FileDescriptorSet::decode(palisade_api::DESCRIPTORS).unwrap();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let of =
                |method: &prost_types::MethodDescriptorProto| format!("{}.{}/{}", file.package(), service.name(), method.name());
            methods.extend(service.method.iter().map(of));
        }
    }
    methods.sort();
    let expected = [
        "feeder.LogService/HealthCheck",
        "feeder.LogService/WatchAlerts",
        "feeder.LogService/WatchLogs",
        "feeder.LogService/WatchMessages",
        "palisade.v1.Agent/ListPolicies",
        "palisade.v1.Agent/ListWorkloads",
        "policy.PolicyService/containerPolicy",
        "policy.PolicyService/hostPolicy",
        "policy.PolicyService/networkPolicy",
        "policy.ProbeService/getProbeData",
        "state_agent.StateAgent/GetState",
        "state_agent.StateAgent/WatchState",
    ];
    assert_eq!(methods, expected);
}
