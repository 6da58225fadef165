//! Nothing is lost silently: what the generator wrote is what a subscriber got, and what its stream says is missing.

use std::thread;
use std::time::{Duration, Instant};

use palisade_agent::enforce::enforcer::Label;
use palisade_agent::pipeline::hub::{Subscribe, Subscription, Wants, WhenFull};
use palisade_agent::workload::Change;
use palisade_event::{LossPlace, Record};
use tokio_stream::StreamExt as _;

use crate::scene::{Scene, Setting, mk_policy};
use crate::stub::Ring;

/// What a subscriber got.
#[derive(Debug, Default)]
struct Got {
    events: u64,
    lost_in_ring: u64,
    lost_in_queue: u64,
}

/// Records a generator writes.
const RECORDS: u64 = 20_000;

/// Writes at a rate (none: as fast as it can), the last one when there is room: only a later number shows a gap.
fn generate(ring: &Ring, label: Label, table: u32, per_second: Option<u32>) -> u64 {
    let begun = Instant::now();
    let mut dropped = 0;
    for n in 1..=RECORDS {
        if let Some(rate) = per_second {
            let due = Duration::from_secs(1) * u32::try_from(n).unwrap() / rate;
            if let Some(early) = due.checked_sub(begun.elapsed()).filter(|early| *early > Duration::from_millis(1)) {
                thread::sleep(early);
            }
        }
        if n == 1 || n == RECORDS {
            ring.wait_for_room();
        }
        dropped += u64::from(!ring.write(label, table, &format!("/secret/{n}")));
    }
    dropped
}

/// Reads a stream to its end, resting after so many records.
fn read(mut subscription: Subscription, rest: Option<(u64, Duration)>) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut got, mut last) = (Got::default(), 0);
        while let Some(record) = subscription.next().await {
            match record {
                Record::Event(event) => {
                    assert!(event.number > last, "number {} after {last}", event.number);
                    last = event.number;
                    got.events += 1;
                    if let Some((every, rest)) = rest
                        && got.events.is_multiple_of(every)
                    {
                        tokio::time::sleep(rest).await;
                    }
                }
                Record::Loss(loss) => match &loss.place {
                    LossPlace::RingBuffer => got.lost_in_ring += loss.count,
                    LossPlace::Queue(_) => got.lost_in_queue += loss.count,
                    other @ (LossPlace::Sequence | LossPlace::Decoding | LossPlace::RateLimit) => panic!("lost at {other:?}"),
                },
                Record::Message(message) => panic!("{}", message.text),
            }
        }
        got
    })
}

fn account(per_second: Option<u32>, rest: Option<(u64, Duration)>, when_full: WhenFull, ring: usize) -> (Got, u64) {
    let scene = Scene::new(Setting { ring, ..Setting::default() }, &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    let (label, held) = scene.wait_for("web.service", &["a"]);
    let wants = Wants::Events;
    let asked = Subscribe { name: "test", wants, capacity: 500, when_full, backlog: 0, backlog_only: false };
    let subscription = scene.hub.subscribe(asked);
    let reader = thread::spawn(move || read(subscription, rest));
    let dropped = generate(&scene.ring, label, held.table_id, per_second);
    scene.ring.wait_empty();
    scene.stop();
    (reader.join().unwrap(), dropped)
}

#[test]
fn what_is_written_is_delivered_or_counted_at_every_rate_and_by_every_reader() {
    let slow = Some((100, Duration::from_millis(20)));
    let (mut in_ring, mut in_queue) = (0, 0);
    for per_second in [Some(10_000), Some(100_000), None] {
        for rest in [None, slow] {
            for when_full in [WhenFull::DropOldest, WhenFull::Block] {
                let (got, dropped) = account(per_second, rest, when_full, 1000);
                let Got { events, lost_in_ring, lost_in_queue } = got;
                let setting = format!("{per_second:?} a second, rest {rest:?}, {when_full:?}: {got:?}");
                assert_eq!(events + lost_in_ring + lost_in_queue, RECORDS, "{setting}");
                assert_eq!(lost_in_ring, dropped, "{setting}");
                assert!(when_full == WhenFull::DropOldest || lost_in_queue == 0, "{setting}");
                println!("{setting}");
                (in_ring, in_queue) = (in_ring + lost_in_ring, in_queue + lost_in_queue);
            }
        }
    }
    assert!(in_ring > 0 && in_queue > 0, "no loss at any place ({in_ring}, {in_queue}): nothing was tried");
}

#[test]
fn a_ring_with_room_for_all_loses_nothing_to_a_reader_that_blocks() {
    let (got, dropped) = account(None, None, WhenFull::Block, usize::try_from(RECORDS).unwrap());
    assert_eq!((got.events, got.lost_in_ring, got.lost_in_queue, dropped), (RECORDS, 0, 0, 0));
}
