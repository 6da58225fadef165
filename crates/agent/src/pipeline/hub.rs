//! Fan-out: one stream of records, a bounded queue for each subscriber, and the newest records for whoever comes later.
//!
//! ```text
//! publish -> history (the newest, bounded)
//!         -> queue of each subscriber: has room? push : WhenFull { DropOldest: counted; Block: the publisher waits }
//! Subscription (a Stream): the losses of its queue, then its records
//! ```
//! # Losses
//! What a queue had to drop is told to its subscriber as a [`Loss`], at the place in the stream where it is missing. A
//! loss that is itself dropped keeps its count. So of what is published to a subscriber, all is delivered or counted, in
//! its own stream.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use palisade_event::{Host, Loss, LossPlace, Record};

use super::now;

/// The hub. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Its name, in losses.
    pub name: &'static str,
    /// Which records it gets.
    pub wants: Wants,
    /// Records that wait for it at most; at least 1.
    pub capacity: usize,
    /// What happens to those beyond.
    pub when_full: WhenFull,
    /// So many of the newest records it would have got are told first, the oldest first.
    pub backlog: usize,
    /// Its stream ends after these.
    pub backlog_only: bool,
}

/// Kinds of records. Losses come with either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Events.
    Events,
    /// What the producer tells about itself.
    Messages,
    /// Both.
    All,
}

/// What happens where a subscriber does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Its oldest records are dropped, counted, and told as a loss. Nobody else is disturbed.
    DropOldest,
    /// The publisher waits, and with it every other subscriber: losses then happen in the kernel's ring, and are counted
    /// there.
    Block,
}

/// How the hub fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records published.
    pub published: u64,
    /// Records that queues dropped, all subscribers together.
    pub dropped: u64,
    /// Subscribers now.
    pub subscribers: usize,
}

/// A subscriber's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    id: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A queue has room again, or is gone.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    host: Arc<Host>,
    history: VecDeque<Record>,
    history_max: usize,
    queues: BTreeMap<u64, Queue>,
    next: u64,
    closed: bool,
    counts: Counts,
}

#[derive(Debug)]
struct Queue {
    name: &'static str,
    wants: Wants,
    capacity: usize,
    when_full: WhenFull,
    records: VecDeque<Record>,
    /// What is missing before the oldest record.
    lost: Vec<(LossPlace, u64)>,
    waker: Option<Waker>,
    /// Nothing more comes.
    ended: bool,
}

// === impl Hub ===

impl Hub {
    /// A hub that keeps so many of the newest records.
    #[must_use]
    pub fn new(host: Arc<Host>, history_max: usize) -> Self {
        let (history, queues, counts) = (VecDeque::new(), BTreeMap::new(), Counts::default());
        let state = Mutex::new(State { host, history, history_max, queues, next: 0, closed: false, counts });
        Self { shared: Arc::new(Shared { state, room: Condvar::new() }) }
    }

    /// Tells a record to every subscriber that wants it. Waits where one that blocks has no room.
    pub fn publish(&self, record: Record) {
        let mut state = self.shared.lock();
        state.counts.published += 1;
        state.remember(record.clone());
        // Whoever subscribes while this waits finds the record in the history.
        let (mut from, end) = (0, state.next);
        loop {
            let next = state.queues.range(from..end).find(|(_, queue)| queue.takes(&record)).map(|(id, _)| *id);
            let Some(id) = next else { break };
            while state.queues.get(&id).is_some_and(Queue::must_wait) && !state.closed {
                state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let dropped = state.queues.get_mut(&id).map_or(0, |queue| queue.push(record.clone()));
            state.counts.dropped += dropped;
            from = id + 1;
        }
    }

    /// Subscribes. Records of the backlog and those that come are one stream, without gap and without repetition.
    #[must_use]
    pub fn subscribe(&self, asked: Subscribe) -> Subscription {
        let Subscribe { name, wants, capacity, when_full, backlog, backlog_only } = asked;
        let mut state = self.shared.lock();
        let wanted = state.history.iter().rev().filter(|record| wants.take(record)).take(backlog);
        let mut records: VecDeque<Record> = wanted.cloned().collect();
        records.make_contiguous().reverse();
        // The backlog has room of its own: asked for, it is not a reason to drop.
        let capacity = capacity.max(1).max(records.len());
        let ended = backlog_only || state.closed;
        let queue = Queue { name, wants, capacity, when_full, records, lost: Vec::new(), waker: None, ended };
        let id = state.next;
        state.next += 1;
        state.queues.insert(id, queue);
        Subscription { shared: Arc::clone(&self.shared), id }
    }

    /// How it fares.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.shared.lock();
        Counts { subscribers: state.queues.len(), ..state.counts }
    }

    /// Ends all streams, once what waits in them has been taken.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        for queue in state.queues.values_mut() {
            queue.ended = true;
            queue.wake();
        }
        drop(state);
        self.shared.room.notify_all();
    }
}

// === impl Shared, State ===

impl Shared {
    /// Nothing that panics halfway runs under the lock: what it guards is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, record: Record) {
        if self.history_max == 0 {
            return;
        }
        if self.history.len() >= self.history_max {
            self.history.pop_front();
        }
        self.history.push_back(record);
    }
}

// === impl Queue ===

impl Queue {
    fn takes(&self, record: &Record) -> bool {
        !self.ended && self.wants.take(record)
    }

    fn must_wait(&self) -> bool {
        self.when_full == WhenFull::Block && !self.ended && self.records.len() >= self.capacity
    }

    /// Adds a record. Returns how many were dropped for it.
    fn push(&mut self, record: Record) -> u64 {
        let mut dropped = 0;
        if self.ended {
            return dropped; // meanwhile
        }
        while self.records.len() >= self.capacity {
            let Some(oldest) = self.records.pop_front() else { break };
            dropped += self.note_dropped(&oldest);
        }
        self.records.push_back(record);
        self.wake();
        dropped
    }

    /// Returns how many records are missing that were not missing before.
    fn note_dropped(&mut self, record: &Record) -> u64 {
        let (place, count, fresh) = match record {
            Record::Loss(loss) => (loss.place.clone(), loss.count, 0),
            Record::Event(_) | Record::Message(_) => (LossPlace::Queue(self.name.into()), 1, 1),
        };
        match self.lost.iter_mut().find(|(known, _)| *known == place) {
            Some((_, lost)) => *lost = lost.saturating_add(count),
            None => self.lost.push((place, count)),
        }
        fresh
    }

    fn pop(&mut self, host: &Arc<Host>) -> Option<Record> {
        if let Some((place, count)) = self.lost.pop() {
            return Some(Loss { time: now(), host: Arc::clone(host), place, count }.into());
        }
        self.records.pop_front()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

// === impl Wants ===

impl Wants {
    fn take(self, record: &Record) -> bool {
        match record {
            Record::Event(_) => self != Self::Messages,
            Record::Message(_) => self != Self::Events,
            Record::Loss(_) => true,
        }
    }
}

// === impl Subscription ===

impl Stream for Subscription {
    type Item = Record;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Record>> {
        let mut state = self.shared.lock();
        let State { host, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(&self.id) else { return Poll::Ready(None) };
        let Some(record) = queue.pop(host) else {
            if queue.ended {
                return Poll::Ready(None);
            }
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let blocks = queue.when_full == WhenFull::Block;
        drop(state);
        if blocks {
            self.shared.room.notify_all();
        }
        Poll::Ready(Some(record))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.lock().queues.remove(&self.id);
        self.shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{Level, Message, Timestamp};

    use super::*;

    fn mk_record(text: &str) -> Record {
        let host = Arc::new(Host::default());
        Message { time: Timestamp::from_nanoseconds(0), host, level: Level::Info, text: text.to_owned() }.into()
    }

    fn mk_loss(count: u64) -> Record {
        let host = Arc::new(Host::default());
        Loss { time: Timestamp::from_nanoseconds(0), host, place: LossPlace::RingBuffer, count }.into()
    }

    fn asked(capacity: usize, backlog: usize) -> Subscribe {
        let when_full = WhenFull::DropOldest;
        Subscribe { name: "test", wants: Wants::All, capacity, when_full, backlog, backlog_only: false }
    }

    fn mk_hub() -> Hub {
        Hub::new(Arc::new(Host::default()), 3)
    }

    /// What can be read now: texts of messages, and losses as `PLACE COUNT`.
    fn read(subscription: &mut Subscription) -> Vec<String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        while let Poll::Ready(Some(record)) = Pin::new(&mut *subscription).poll_next(&mut context) {
            read.push(match record {
                Record::Message(message) => message.text.clone(),
                Record::Loss(loss) => format!("{} {}", loss.place.text(), loss.count),
                Record::Event(event) => panic!("{event:?}"),
            });
        }
        read
    }

    #[test]
    fn what_is_dropped_is_told_before_what_follows_it() {
        let hub = mk_hub();
        let mut subscription = hub.subscribe(asked(2, 0));
        for text in ["a", "b", "c", "d"] {
            hub.publish(mk_record(text));
        }
        assert_eq!(read(&mut subscription), ["queue full: test 2", "c", "d"]);
        hub.publish(mk_record("e"));
        assert_eq!(read(&mut subscription), ["e"]);
        assert_eq!(hub.counts(), Counts { published: 5, dropped: 2, subscribers: 1 });
        drop(subscription);
        assert_eq!(hub.counts().subscribers, 0);
    }

    #[test]
    fn a_loss_that_is_dropped_keeps_its_count() {
        let hub = mk_hub();
        let mut subscription = hub.subscribe(asked(2, 0));
        for record in [mk_loss(5), mk_record("a"), mk_loss(6), mk_record("b"), mk_record("c")] {
            hub.publish(record);
        }
        let mut told = read(&mut subscription);
        told[..2].sort();
        assert_eq!(told, ["kernel ring buffer full 11", "queue full: test 1", "b", "c"]);
    }

    #[test]
    fn who_comes_later_gets_the_newest_records_and_then_what_comes() {
        let hub = mk_hub();
        for text in ["a", "b", "c", "d"] {
            hub.publish(mk_record(text));
        }
        let mut two = hub.subscribe(asked(1, 2));
        let mut only = hub.subscribe(Subscribe { backlog_only: true, ..asked(1, 100) });
        hub.publish(mk_record("e"));
        assert_eq!(read(&mut two), ["queue full: test 1", "d", "e"], "the backlog has room, more has not");
        assert_eq!(read(&mut only), ["b", "c", "d"]);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut only).poll_next(&mut context), Poll::Ready(None));
    }

    #[test]
    fn a_hub_that_closes_ends_streams_once_they_are_read() {
        let hub = mk_hub();
        let mut subscription = hub.subscribe(asked(10, 0));
        hub.publish(mk_record("a"));
        hub.close();
        hub.publish(mk_record("b"));
        assert_eq!(read(&mut subscription), ["a"]);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut subscription).poll_next(&mut context), Poll::Ready(None));
    }
}
