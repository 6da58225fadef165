//! What tracepoints see of a run, to its observer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_bpf::watch::{Tallies, Watch};
use palisade_event::{Level, Message};

use super::enrich::{Enricher, now};
use super::{BATCH, COUNT, Sink, TURN, Unsent};
use crate::learn::{Observer, Resolver};

pub(super) struct Worker {
    watch: Watch,
    resolver: Resolver,
    observer: Observer,
    /// For losses and messages alone.
    enricher: Enricher,
    sink: Sink,
    unsent: Unsent,
    /// What was told of them.
    told: Tallies,
    /// The ring cannot be read any more.
    broken: bool,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(watch: Watch, observer: Observer, enricher: Enricher, sink: Sink) -> Self {
        let (unsent, told) = (Unsent::default(), Tallies::default());
        Self { watch, resolver: Resolver::default(), observer, enricher, sink, unsent, told, broken: false }
    }

    pub(super) fn work(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) && !self.broken {
            self.turn(TURN);
        }
        let begun = Instant::now();
        while !self.broken && self.turn(Duration::from_millis(5)) && begun.elapsed() < COUNT {}
        self.unsent.missed += self.watch.missed();
        self.unsent.tell(&self.enricher, &mut self.sink);
    }

    /// Returns whether there was anything.
    fn turn(&mut self, wait: Duration) -> bool {
        let seen = self.watch.next(wait, BATCH).unwrap_or_else(|error| {
            self.broken = true;
            // As a loss it makes the policy say that it is incomplete.
            self.unsent.undecoded += 1;
            self.say(format!("what the command does cannot be read any more: {error}"));
            Vec::new()
        });
        let any = !seen.is_empty();
        for record in seen {
            match record {
                Ok(seen) => self.resolver.events(seen).into_iter().for_each(|event| self.observer.take(event)),
                Err(_) => self.unsent.undecoded += 1,
            }
        }
        // What cannot be read now is read in the next turn.
        if let Ok(tallies) = self.watch.tallies() {
            self.count(tallies);
        }
        self.unsent.tell(&self.enricher, &mut self.sink);
        any
    }

    fn count(&mut self, tallies: Tallies) {
        let Tallies { lost, unreadable, compat, queues } = tallies;
        self.unsent.ring += lost - self.told.lost;
        self.unsent.names += unreadable - self.told.unreadable;
        self.unsent.compat += compat - self.told.compat;
        self.unsent.queues += queues - self.told.queues;
        self.told = tallies;
    }

    fn say(&mut self, text: String) {
        let message = Message { time: now(), host: self.enricher.host(), level: Level::Error, text };
        if !(self.sink)(message.into()) {
            self.unsent.sink += 1;
        }
    }
}
