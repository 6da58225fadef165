//! Aggregator and summary, by example.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{mk_event, mk_host, mk_workload};
use palisade_event::{
    Aggregator, Errno, Event, Loss, LossPlace, Object, Operation, Record, Repeats, Summary, Timestamp, Verdict, Workload,
};

const WINDOW: Duration = Duration::from_nanos(100);

fn at(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanoseconds(nanoseconds)
}

fn mk_at(time: u64) -> Event {
    Event { number: time, time: at(time), repeats: Repeats::once(at(time)), ..mk_event() }
}

/// Feeds the events at their times and returns (number, count, first, last) of what came out, then of what a flush gave.
fn run(aggregator: &mut Aggregator, events: Vec<Event>) -> (Vec<[u64; 4]>, Vec<[u64; 4]>) {
    let facts = |e: Arc<Event>| {
        let Repeats { count, first, last } = e.repeats;
        [e.number, count.get(), first.nanoseconds(), last.nanoseconds()]
    };
    let (mut out, mut flushed) = (Vec::new(), Vec::new());
    for event in events {
        let time = event.time;
        aggregator.take(Arc::new(event), time, &mut |e| out.push(facts(e)));
    }
    aggregator.flush(&mut |e| flushed.push(facts(e)));
    (out, flushed)
}

#[test]
fn the_first_comes_at_once_and_repeats_come_counted_at_the_windows_end() {
    let events = [0, 10, 20, 99, 100, 150].map(mk_at).into();
    let (out, flushed) = run(&mut Aggregator::new(WINDOW), events);
    assert_eq!(out, [[0, 1, 0, 0], [99, 3, 10, 99], [100, 1, 100, 100]]);
    assert_eq!(flushed, [[150, 1, 150, 150]]);
}

#[test]
fn a_window_without_repeats_ends_in_silence() {
    let mut aggregator = Aggregator::new(WINDOW);
    aggregator.take(Arc::new(mk_at(0)), at(0), &mut |_| {});
    assert_eq!(aggregator.next_end(), Some(at(100)));
    aggregator.expire(at(100), &mut |_| panic!("nothing was counted"));
    assert_eq!(aggregator.next_end(), None);
}

#[test]
fn what_differs_in_a_part_is_another_kind() {
    let change = |change: fn(&mut Event)| {
        let mut event = mk_at(0);
        change(&mut event);
        event
    };
    let events = vec![
        mk_at(0),
        change(|e| e.process.program = b"/bin/dash".to_vec()),
        change(|e| e.operation = Operation::MapExec),
        change(|e| e.object = Object::Memfd(b"/bin/sleep".to_vec())),
        change(|e| e.verdict = Verdict::WouldBlock),
        change(|e| e.decider = palisade_event::Decider::DefaultPosture),
        change(|e| e.generation += 1),
        change(|e| e.process.uid = 1),
        change(|e| e.workload = None),
        change(|e| e.workload = Some(Arc::new(Workload { pod: "other".to_owned(), ..mk_workload() }))),
        change(|e| e.enforcer = palisade_event::Enforcer::AppArmor),
    ];
    let kinds = events.len();
    let (out, flushed) = run(&mut Aggregator::new(WINDOW), events);
    assert_eq!((out.len(), flushed.len()), (kinds, 0));
}

#[test]
fn another_process_or_other_arguments_are_the_same_kind() {
    let mut other = mk_at(1);
    other.process.pid = 99;
    other.arguments.clear();
    let (out, flushed) = run(&mut Aggregator::new(WINDOW), vec![mk_at(0), other]);
    assert_eq!((out.len(), flushed.len()), (1, 1));
}

#[test]
fn too_many_kinds_close_the_oldest_window_early() {
    let kind = |time, number| Event { object: Object::Capability(number), ..mk_at(time) };
    let events = vec![kind(0, 0), kind(1, 0), kind(2, 1), kind(3, 2), kind(4, 0)];
    let (out, flushed) = run(&mut Aggregator::with_keys(WINDOW, 2), events);
    assert_eq!(out, [[0, 1, 0, 0], [2, 1, 2, 2], [1, 1, 1, 1], [3, 1, 3, 3], [4, 1, 4, 4]]);
    assert_eq!(flushed, [] as [[u64; 4]; 0]);
}

#[test]
fn a_count_that_does_not_fit_goes_out_before() {
    let many =
        |time| Event { repeats: Repeats { count: u64::MAX.try_into().unwrap(), ..Repeats::once(at(time)) }, ..mk_at(time) };
    let (out, flushed) = run(&mut Aggregator::new(WINDOW), vec![many(0), many(1), many(2)]);
    assert_eq!(out.iter().chain(&flushed).map(|[_, count, ..]| u128::from(*count)).sum::<u128>(), 3 * u128::from(u64::MAX));
}

#[test]
fn a_summary_orders_denials_by_frequency() {
    let mut summary = Summary::default();
    let mut add = |times: usize, object: u8, verdict| {
        for _ in 0..times {
            summary.add(&Event { object: Object::Capability(object), verdict, ..mk_at(5) }.into());
        }
    };
    add(9, 0, Verdict::Audit);
    add(1, 1, Verdict::Block(Errno::ACCES));
    add(3, 2, Verdict::Block(Errno::ACCES));
    add(4, 3, Verdict::WouldBlock);
    add(1, 4, Verdict::Block(Errno::PERM));
    summary.add(&Loss { time: at(6), host: Arc::new(mk_host()), place: LossPlace::RingBuffer, count: 8 }.into());
    let rows: Vec<_> = summary.rows().iter().map(|r| r.cells()).map(|c| (c.verdict, c.object, c.count)).collect();
    let expected = [
        ("Block", "CAP_DAC_READ_SEARCH", 3),
        ("Block", "CAP_DAC_OVERRIDE", 1),
        ("Block", "CAP_FSETID", 1),
        ("would block", "CAP_FOWNER", 4),
        ("Audit", "CAP_CHOWN", 9),
    ];
    assert_eq!(rows, expected.map(|(v, o, c)| (v, o.to_owned(), c)));
    let totals = summary.totals();
    assert_eq!((totals.block, totals.would_block, totals.audit, totals.beyond, totals.lost), (5, 4, 9, 0, 8));
}

#[test]
fn rows_that_do_not_fit_are_counted() {
    let mut summary = Summary::with_rows(1);
    for number in 0..3 {
        summary.add(&Record::from(Event { object: Object::Capability(number), ..mk_event() }));
    }
    assert_eq!(summary.rows().len(), 1);
    assert_eq!((summary.totals().block, summary.totals().beyond), (3, 2));
}
