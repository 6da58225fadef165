//! Properties that hold whatever comes in.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{mk_event, mk_host, mk_rule, mk_workload};
use palisade_event::escape::{from_json_text, misleads, shown, to_json_text, word};
use palisade_event::text::Layout;
use palisade_event::{
    Aggregator, Decider, EncodeOptions, Event, Level, Loss, LossPlace, Message, Object, Operation, Record, Repeats, Shadow,
    ShadowVerdict, Socket, Summary, Text, Timestamp, Verdict, json,
};
use palisade_policy::model::RuleList;
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that look for trouble: raw ones, text of any characters, and pieces of escapes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..8),
        any::<String>().prop_map(String::into_bytes),
        prop_oneof![
            Just("\\"),
            Just("\\x"),
            Just("\\x4"),
            Just("\\x1b"),
            Just("\x1b[2J"),
            Just("\u{9b}"),
            Just("\u{202e}"),
            Just("\n"),
            Just("  "),
            Just("\""),
            Just("/"),
            Just("\u{2028}"),
            Just("\u{feff}"),
            Just("\u{e0041}"),
            Just("\u{85}")
        ]
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    bytes().prop_map(|b| String::from_utf8_lossy(&b).into_owned())
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        bytes().prop_map(Object::Path),
        bytes().prop_map(Object::Memfd),
        Just(Object::Unresolvable),
        any::<(u32, u32, u32)>().prop_map(|(family, kind, protocol)| Object::Socket(Socket { family, kind, protocol })),
        any::<(u32, std::net::IpAddr, u16)>().prop_map(|(family, address, port)| {
            Object::Endpoint(Socket { family, kind: 1, protocol: 6 }, (address, port).into())
        }),
        any::<u8>().prop_map(Object::Capability),
    ]
}

fn decider() -> impl Strategy<Value = Decider> {
    prop_oneof![
        (text(), text(), text(), text(), vec(text(), 0..3)).prop_map(|(namespace, name, file, message, tags)| {
            let mut rule = mk_rule(RuleList::FilePaths);
            (rule.policy.namespace, rule.policy.name, rule.message, rule.tags) = (namespace, name, message, tags);
            rule.origin.file = file.into();
            Decider::Rule(Arc::new(rule))
        }),
        text().prop_map(|name| Decider::BuiltIn(name.into())),
        Just(Decider::DefaultPosture),
        any::<u32>().prop_map(Decider::Unknown),
        text().prop_map(|reason| Decider::Untold(reason.into())),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = (any::<i32>(), any::<bool>())
        .prop_map(|(error, audit)| Verdict::block(error).unwrap_or(if audit { Verdict::Audit } else { Verdict::WouldBlock }));
    let operation = (0..Operation::ALL.len()).prop_map(|at| Operation::ALL[at]);
    let names = (bytes(), bytes(), bytes(), bytes(), vec(bytes(), 0..4), vec(bytes(), 0..4));
    let world = (text(), text(), text(), any::<u64>(), 1..u64::MAX, any::<u32>());
    (names, world, operation, object(), outcome, decider()).prop_map(|(names, world, operation, object, verdict, decider)| {
        let mut event = mk_event();
        let process = &mut event.process;
        (process.program, process.parent_program, process.cwd, process.tty, process.command_line, event.arguments) = names;
        let (mut workload, mut host) = (mk_workload(), mk_host());
        let count;
        (workload.pod, workload.namespace, host.name, count) = (world.0, world.1, world.2, world.4);
        event.time = Timestamp::from_nanoseconds(world.3);
        process.uid = world.5;
        event.repeats = Repeats { count: count.try_into().unwrap(), first: event.time, last: event.time };
        Event {
            workload: (world.5 % 4 != 0).then(|| Arc::new(workload)),
            shadow: (world.5 % 3 != 0).then(|| Shadow {
                verdict: [ShadowVerdict::Allow, ShadowVerdict::Block][usize::from(world.5 % 2 == 0)],
                decider: decider.clone(),
            }),
            host: Arc::new(host),
            operation,
            object,
            verdict,
            decider,
            ..event
        }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let host = || Arc::new(mk_host());
    prop_oneof![
        4 => event().prop_map(Record::from),
        1 => (text(), any::<u64>()).prop_map(move |(name, count)| {
            Loss { time: Timestamp::default(), host: host(), place: LossPlace::Queue(name.into()), count }.into()
        }),
        1 => text().prop_map(move |text| Message { time: Timestamp::default(), host: host(), level: Level::Error, text }.into()),
    ]
}

proptest! {
    #[test]
    fn no_control_character_but_the_newline_comes_out_of_text(record in record(), workload: bool, origin: bool) {
        let layout = Layout { workload: workload.then_some(20), origin, ..Layout::default() };
        let line = Text { layout, ..Text::default() }.line(&record);
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(!body.chars().any(misleads), "{body:?}");
        prop_assert!(!body.bytes().any(|b| b < 0x20 || b == 0x7f));
    }

    #[test]
    fn no_control_character_but_the_newline_comes_out_of_a_summary(event in event()) {
        let mut summary = Summary::default();
        summary.add(&event.into());
        let cells = summary.rows()[0].cells();
        for cell in [cells.program, cells.object, cells.decided_by, cells.origin] {
            prop_assert!(!cell.chars().any(misleads), "{cell:?}");
        }
    }

    #[test]
    fn json_is_one_harmless_line_and_parses(record in record(), drop_command_lines: bool) {
        let line = json::encode(&record, EncodeOptions { drop_command_lines }).unwrap();
        let body = line.strip_suffix('\n').unwrap();
        prop_assert!(!body.chars().any(misleads), "{body:?}");
        prop_assert!(serde_json::from_str::<serde_json::Value>(body).unwrap().is_object());
    }

    #[test]
    fn json_gives_the_bytes_back(bytes in bytes()) {
        prop_assert_eq!(from_json_text(&to_json_text(&bytes)), bytes.clone());
        let event = Event { object: Object::Path(bytes.clone()), operation: Operation::Mkdir, ..mk_event() };
        let line = json::encode(&event.into(), EncodeOptions::default()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(from_json_text(value["Resource"].as_str().unwrap_or_default()), bytes);
    }

    #[test]
    fn shown_bytes_are_told_apart(a in bytes(), b in bytes()) {
        prop_assert_eq!(shown(&a) == shown(&b), a == b);
        prop_assert_eq!(word(&a) == word(&b), a == b);
    }

    #[test]
    fn a_word_has_no_space_outside_of_quotes(bytes in bytes()) {
        let word = word(&bytes);
        prop_assert!(!word.is_empty());
        prop_assert!(!word.contains(' ') || (word.starts_with('"') && word.ends_with('"')));
    }

    #[test]
    fn without_command_lines_no_argument_is_left(mut event in event(), operation in 0..Operation::ALL.len()) {
        const SECRET: &str = "s3cr3t";
        event.operation = Operation::ALL[operation];
        event.arguments = vec![b"name".to_vec(), SECRET.as_bytes().to_vec()];
        event.process.command_line = event.arguments.clone();
        let options = EncodeOptions { drop_command_lines: true };
        let record = Record::from(event);
        prop_assert!(!json::encode(&record, options).unwrap().contains(SECRET));
        let text = Text { options, ..Text::default() };
        prop_assert!(!text.line(&record).contains(SECRET));
    }

    /// A stream over few kinds, so that they repeat; times go back now and then.
    #[test]
    fn counts_add_up(
        stream in vec((0..12_u8, 1..20_u64, any::<bool>()), 0..200),
        window in 0..30_u64,
        keys in 1..8_usize,
    ) {
        let mut aggregator = Aggregator::with_keys(Duration::from_nanos(window), keys);
        let (mut now, mut taken, mut out) = (1000, 0_u128, Vec::new());
        let mut direct = Summary::default();
        for (kind, step, back) in stream {
            now = if back { now - step } else { now + 2 * step };
            let time = Timestamp::from_nanoseconds(now);
            let repeats = Repeats { count: (u64::from(kind) + 1).try_into().unwrap(), ..Repeats::once(time) };
            let event = Arc::new(Event { time, repeats, object: Object::Capability(kind % 4), generation: u64::from(kind / 8), ..mk_event() });
            taken += u128::from(repeats.count.get());
            direct.add(&Record::Event(Arc::clone(&event)));
            aggregator.take(event, time, &mut |event| out.push(event));
        }
        aggregator.flush(&mut |event| out.push(event));
        prop_assert_eq!(aggregator.next_end(), None);
        prop_assert_eq!(out.iter().map(|e| u128::from(e.repeats.count.get())).sum::<u128>(), taken);
        let mut aggregated = Summary::default();
        out.into_iter().for_each(|event| aggregated.add(&Record::Event(event)));
        prop_assert_eq!(aggregated.totals(), direct.totals());
        let counts = |summary: &Summary| summary.rows().iter().map(|r| (r.cells(), r.repeats)).collect::<Vec<_>>();
        prop_assert_eq!(counts(&aggregated), counts(&direct));
    }
}
