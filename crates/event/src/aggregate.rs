//! Repeats counted instead of repeated.
//!
//! ```text
//! event, new      -> handed on at once, a window opens
//! event, the same -> counted
//! window's end    -> one event with the count of what was counted (none where nothing was)
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Repeats};
use crate::identity::ByOrigin;
use crate::time::Timestamp;

/// The greatest number of open windows. Each keeps at most two events, its first and its last; at about 1 KiB each,
/// 4096 windows keep 8 MiB.
pub const KEYS: usize = 4096;

/// Counts events that are the same again: same acting program, operation, object, decider and verdict, and also same
/// workload, uid, enforcer and generation.
///
/// # Guarantees
///
/// * What is handed on stands for what came in: the counts of all events handed on, [`Self::flush`] included, add up to
///   those of all events taken.
/// * The first of its kind in a window is handed on at once and as it is.
/// * A count comes at most one window after the access, as long as [`Self::expire`] is called when [`Self::next_end`] says.
/// * An event that stands for repeats shows the process, the number and the time of the last of them.
/// * At most [`KEYS`] windows are open. Another one closes the oldest early, so that its count is handed on; nothing is
///   lost, but repeats of more kinds than that at once are handed on more often.
///
/// # Assumptions
///
/// * Times come from one clock. One that runs back is taken as the latest seen.
/// * Losses and messages do not pass through here. Who merges them into the stream may see a count after the loss.
#[derive(Debug)]
pub struct Aggregator {
    window: Duration,
    keys: usize,
    /// The latest time seen.
    now: Timestamp,
    /// What was counted since the window opened; `None`: nothing yet.
    counted: HashMap<ByOrigin, Option<Counted>>,
    /// Open windows in order of their end, which is that of their opening.
    ends: VecDeque<(Timestamp, ByOrigin)>,
}

#[derive(Debug)]
struct Counted {
    last: Arc<Event>,
    repeats: Repeats,
}

// === impl Aggregator ===

impl Aggregator {
    /// With windows of this length. A length of zero hands everything on as it is.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self::with_keys(window, KEYS)
    }

    /// With at most this many open windows (at least one).
    #[must_use]
    pub fn with_keys(window: Duration, keys: usize) -> Self {
        Self { window, keys: keys.max(1), now: Timestamp::default(), counted: HashMap::new(), ends: VecDeque::new() }
    }

    /// Takes one event at this time; hands on what is due by now, then the event itself where it is the first of its kind.
    pub fn take(&mut self, event: Arc<Event>, now: Timestamp, emit: &mut impl FnMut(Arc<Event>)) {
        self.expire(now, emit);
        if self.window.is_zero() {
            emit(event);
            return;
        }
        let key = ByOrigin(Arc::clone(&event));
        if let Some(counted) = self.counted.get_mut(&key) {
            let Some(before) = counted else {
                *counted = Some(Counted { repeats: event.repeats, last: event });
                return;
            };
            match before.repeats.and(event.repeats) {
                Some(repeats) => *before = Counted { repeats, last: event },
                // The count would not fit: what was counted goes out, counting begins anew.
                None => {
                    let full = std::mem::replace(before, Counted { repeats: event.repeats, last: event });
                    emit(full.into_event());
                }
            }
            return;
        }
        while self.ends.len() >= self.keys {
            self.close_oldest(emit);
        }
        self.ends.push_back((self.now.saturating_add(self.window), key.clone()));
        self.counted.insert(key, None);
        emit(event);
    }

    /// Closes the windows that have ended by this time.
    pub fn expire(&mut self, now: Timestamp, emit: &mut impl FnMut(Arc<Event>)) {
        self.now = self.now.max(now);
        while self.next_end().is_some_and(|end| end <= self.now) {
            self.close_oldest(emit);
        }
    }

    /// Closes all windows.
    pub fn flush(&mut self, emit: &mut impl FnMut(Arc<Event>)) {
        while !self.ends.is_empty() {
            self.close_oldest(emit);
        }
    }

    /// When the next window ends; `None` where none is open.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.front().map(|(end, _)| *end)
    }

    fn close_oldest(&mut self, emit: &mut impl FnMut(Arc<Event>)) {
        let Some((_, key)) = self.ends.pop_front() else { return };
        if let Some(counted) = self.counted.remove(&key).flatten() {
            emit(counted.into_event());
        }
    }
}

impl Counted {
    fn into_event(self) -> Arc<Event> {
        let Self { last, repeats } = self;
        if last.repeats == repeats {
            return last;
        }
        Arc::new(Event { repeats, ..Event::clone(&last) })
    }
}
