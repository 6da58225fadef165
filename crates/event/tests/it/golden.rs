//! The encodings of a few records, compared with files of `testdata/events`: one text file and one JSON file (a line per
//! record). `PALISADE_BLESS=1 cargo test -p palisade-event golden` writes them anew.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::{TIME, mk_arguments, mk_event, mk_host, mk_rule};
use palisade_event::text::{Layout, Styles};
use palisade_event::{
    Decider, EncodeOptions, Enforcer, Errno, Event, Level, Loss, LossPlace, Message, Object, Operation, Record, Repeats, Socket,
    Text, Timestamp, Verdict, json,
};
use palisade_policy::model::{Kind, RuleList};

/// Records of all kinds, hostile ones too.
fn records() -> Vec<Record> {
    let rule = |list, change: fn(&mut palisade_event::Rule)| {
        let mut rule = mk_rule(list);
        change(&mut rule);
        Decider::Rule(Arc::new(rule))
    };
    let nameless = |event: Event| Event { arguments: Vec::new(), ..event };
    let mut host_task = nameless(mk_event());
    host_task.workload = None;
    host_task.process.uid = 1000;
    host_task.process.user = "alice".to_owned();
    host_task.process.exec_id = None;
    let bytes = |bytes: &[u8]| Object::Path(bytes.to_vec());
    let host = || Arc::new(mk_host());
    let mut hostile = mk_event();
    hostile.process.program = b"/tmp/a\x1b[2Jb\xff".to_vec();
    hostile.object = bytes("/tmp/\u{202e}gpj.exe \\x41\n".as_bytes());
    hostile.arguments = mk_arguments(&["x", "two words", "", "a\"b", "\u{9b}31m"]);
    hostile.process.command_line.clear();
    let events = [
        mk_event(),
        Event {
            repeats: Repeats {
                count: 3.try_into().unwrap(),
                first: Timestamp::from_nanoseconds(1_789_999_990_000_000_000),
                last: TIME,
            },
            operation: Operation::OpenReadWrite,
            object: bytes(b"/etc/passwd"),
            decider: rule(RuleList::FileDirectories, |rule| {
                rule.policy.kind = Kind::Cluster;
                rule.policy.namespace.clear();
                rule.tags = vec!["NIST".to_owned(), "PCI-DSS".to_owned()];
            }),
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::SocketCreate,
            object: Object::Socket(Socket { family: 2, kind: 3, protocol: 1 }),
            verdict: Verdict::WouldBlock,
            decider: Decider::DefaultPosture,
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::SocketCreate,
            object: Object::Socket(Socket { family: 38, kind: 5, protocol: 0 }),
            verdict: Verdict::Block(Errno::ACCES),
            decider: Decider::DefaultPosture,
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::SocketConnect,
            object: Object::Endpoint(Socket { family: 2, kind: 1, protocol: 6 }, "10.1.2.3:5432".parse().unwrap()),
            verdict: Verdict::Block(Errno::ACCES),
            decider: rule(RuleList::NetworkEndpoints, |_| {}),
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::SocketBind,
            object: Object::Endpoint(Socket { family: 10, kind: 2, protocol: 17 }, "[::1]:53".parse().unwrap()),
            verdict: Verdict::Block(Errno::ACCES),
            decider: Decider::DefaultPosture,
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::Capability,
            object: Object::Capability(13),
            verdict: Verdict::Block(Errno::PERM),
            decider: rule(RuleList::Capabilities, |rule| rule.severity = None),
            ..nameless(mk_event())
        },
        Event {
            operation: Operation::MountRearrange,
            object: bytes(b"/etc"),
            verdict: Verdict::Block(Errno::PERM),
            decider: Decider::BuiltIn("mount-integrity".into()),
            ..nameless(mk_event())
        },
        Event {
            object: Object::Memfd(b"payload".to_vec()),
            verdict: Verdict::Audit,
            enforcer: Enforcer::AppArmor,
            decider: rule(RuleList::ProcessPatterns, |rule| {
                rule.policy.kind = Kind::Host;
                rule.policy.namespace.clear();
            }),
            ..host_task.clone()
        },
        Event { operation: Operation::Unlink, object: Object::Unresolvable, decider: Decider::Unknown(17), ..host_task },
        hostile,
    ];
    let others = [
        Loss { time: TIME, host: host(), place: LossPlace::RingBuffer, count: 1234 }.into(),
        Loss { time: TIME, host: host(), place: LossPlace::Queue("file \x1b sink".into()), count: 1 }.into(),
        Message { time: TIME, host: host(), level: Level::Warning, text: "policy x:\n kept the last good set".to_owned() }.into(),
    ];
    events.into_iter().map(Record::from).chain(others).collect()
}

fn compare(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/events").join(name);
    if std::env::var_os("PALISADE_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (at, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}, line {}", at + 1);
    }
    assert_eq!(actual, expected, "{name}");
}

#[test]
fn text_is_as_in_the_file() {
    let wide = Layout { workload: Some(56), program: 16, ..Layout::default() };
    let texts = [Text::default(), Text { layout: wide, ..Text::default() }];
    let lines: String = texts.iter().flat_map(|text| records().iter().map(|r| text.line(r)).collect::<Vec<_>>()).collect();
    compare("records.txt", &lines);
}

#[test]
fn json_is_as_in_the_file() {
    let lines: String = records().iter().map(|r| json::encode(r, EncodeOptions::default()).unwrap()).collect();
    compare("records.json", &lines);
}

#[test]
fn without_command_lines_is_as_in_the_file() {
    let options = EncodeOptions { drop_command_lines: true };
    let lines: String = records().iter().take(2).map(|r| json::encode(r, options).unwrap()).collect();
    compare("no-command-lines.json", &lines);
}

/// The alert of the published interface, but for what differs on purpose (version, ids) and Palisade's own fields.
#[test]
fn an_alert_has_the_fields_of_the_original_in_its_order() {
    let line = json::encode(&mk_event().into(), EncodeOptions::default()).unwrap();
    let expected = r#"{"Timestamp":1790000000,"UpdatedTime":"2026-09-21T14:13:20.123456Z","ClusterName":"default","HostName":"node1","NamespaceName":"multiubuntu","Owner":{"Ref":"Deployment","Name":"ubuntu-1-deployment","Namespace":"multiubuntu"},"PodName":"ubuntu-1-deployment-abc","Labels":"container=ubuntu-1,group=group-1","ContainerID":"cd34","ContainerName":"ubuntu-1-container","ContainerImage":"docker.io/kubearmor/ubuntu-w-utils:latest@sha256:ef56","HostPPID":4100,"HostPID":4123,"PPID":31,"PID":37,"ParentProcessName":"/bin/bash","ProcessName":"/bin/sleep","PolicyName":"ksp-group-1-block-proc-path","Severity":"5","Message":"block /bin/sleep","Type":"MatchedPolicy","Source":"/bin/bash","Operation":"Process","Resource":"/bin/sleep 1","Data":"lsm=SECURITY_BPRM_CHECK","EventData":{"Lsm":"SECURITY_BPRM_CHECK"},"Enforcer":"BPFLSM","Action":"Block","Result":"Permission denied","Cwd":"/","TTY":"pts0","ExecEvent":{"ExecID":"7","ExecutableName":"sleep"},"KubeArmorVersion":"v0.1.0-palisade","NodeID":"ab12","PalisadeNumber":42,"#;
    assert_eq!(&line[..expected.len()], expected);
}

#[test]
fn columns_begin_in_the_same_place() {
    let text = Text { layout: Layout { origin: false, ..Layout::default() }, ..Text::default() };
    for object in ["/a", "/tmp/文件", "/tmp/e\u{301}"] {
        let event = Event { object: Object::Path(object.as_bytes().to_vec()), operation: Operation::Mkdir, ..mk_event() };
        let line = text.line(&event.into());
        let (before, _) = line.split_once("multiubuntu/").unwrap();
        // Time, verdict, operation, program, object, each followed by two spaces.
        assert_eq!(unicode_width::UnicodeWidthStr::width(before), 12 + 11 + 14 + 24 + 32 + 5 * 2, "{line}");
    }
}

#[test]
fn colours_add_nothing_but_themselves() {
    let plain = Text::default();
    let coloured = Text { styles: Styles::coloured(), ..plain };
    let Styles { time, block, would_block, audit, object, decided_by, count, loss } = coloured.styles;
    let styles = [time, block, would_block, audit, object, decided_by, count, loss];
    // Longest first: some begin with another.
    let mut sequences: Vec<_> = styles.iter().map(|style| style.render().to_string()).chain(["\x1b[0m".to_owned()]).collect();
    sequences.sort_by_key(|sequence| std::cmp::Reverse(sequence.len()));
    for record in records() {
        let mut line = coloured.line(&record);
        for sequence in &sequences {
            line = line.replace(sequence, "");
        }
        assert_eq!(line, plain.line(&record));
    }
}

#[test]
fn a_line_shows_the_beginning_of_many_arguments() {
    let arguments: Vec<_> = std::iter::repeat_n(vec![b'a'; 100], 5).collect();
    let line = Text::default().line(&Event { arguments, ..mk_event() }.into());
    assert!(line.contains("aaa ...(2 more)  "), "{line}");
}
