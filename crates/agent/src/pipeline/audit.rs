//! Denials of a run under Landlock, from the kernel's audit log.
//!
//! The log is subscribed to before the command starts; what comes meanwhile waits in the socket until the process number
//! of the stub is known, which tells the run's domain from all others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use palisade_event::{Level, Message, Record};

use super::enrich::{Enricher, now};
use super::{Sink, TURN, Unsent};
use crate::enforce::landlock::{AuditReader, Entered, Explainer, RealView, Seen, SeenDenial};

/// Where denials come from.
#[derive(Debug)]
pub struct AuditSource {
    /// The subscription.
    pub reader: AuditReader,
    /// What tells rules.
    pub explainer: Explainer,
    /// Our own program, which enters the domain: a domain that the command makes for itself has another.
    pub stub: Vec<u8>,
    /// The stub's process number, once it has started.
    pub first: Arc<OnceLock<u32>>,
}

pub(super) struct Worker {
    source: AuditSource,
    enricher: Enricher,
    sink: Sink,
    unsent: Unsent,
    domain: Domain,
    /// Overruns that were told.
    overruns: u64,
    /// The log cannot be read any more.
    broken: bool,
}

/// What is known of the run's domain.
#[derive(Debug, Default)]
struct Domain {
    number: Option<u64>,
    told: u64,
    /// How many denials it had, once it has ended.
    all: Option<u64>,
}

/// How long the end waits for the kernel to tell that the domain has ended.
const DRAIN: Duration = Duration::from_secs(3);
/// As long as nothing was denied, no such word comes.
const DRAIN_SILENT: Duration = Duration::from_millis(200);

// === impl Worker ===

impl Worker {
    pub(super) fn new(source: AuditSource, enricher: Enricher, sink: Sink) -> Self {
        let (unsent, domain) = (Unsent::default(), Domain::default());
        Self { source, enricher, sink, unsent, domain, overruns: 0, broken: false }
    }

    pub(super) fn work(&mut self, stop: &AtomicBool) {
        while self.source.first.get().is_none() {
            if stop.load(Ordering::Acquire) {
                return; // the command never started
            }
            thread::sleep(Duration::from_millis(1));
        }
        while !stop.load(Ordering::Acquire) {
            self.turn(TURN);
        }
        let begun = Instant::now();
        let silent = |worker: &Self| worker.domain.number.is_none();
        while self.domain.all.is_none() && !self.broken {
            self.turn(TURN);
            if begun.elapsed() > if silent(self) { DRAIN_SILENT } else { DRAIN } {
                break;
            }
        }
        self.count();
    }

    fn turn(&mut self, wait: Duration) {
        if self.broken {
            thread::sleep(wait);
            return;
        }
        match self.source.reader.next(wait) {
            Ok(seen) => seen.into_iter().for_each(|seen| self.take(seen)),
            Err(error) => {
                self.broken = true;
                self.say(format!("the kernel's audit messages cannot be read any more ({error}): denials are invisible now"));
            }
        }
        let overruns = self.source.reader.overruns();
        if overruns > self.overruns {
            self.overruns = overruns;
            self.say("audit messages came faster than they were read: denials are missing, the end says how many".to_owned());
        }
        self.unsent.tell(&self.enricher, &mut self.sink);
    }

    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Denial(denial) if self.is_ours(&denial) => {
                self.domain.told += 1;
                match self.source.explainer.explain(&denial, &RealView) {
                    Some(denied) => {
                        let event = self.enricher.denial(&denial, denied);
                        if !(self.sink)(Record::from(event)) {
                            self.unsent.sink += 1;
                        }
                    }
                    None => self.unsent.undecoded += 1,
                }
            }
            Seen::Ended { domain, denials } if Some(domain) == self.domain.number => self.domain.all = Some(denials),
            Seen::Denial(_) | Seen::Ended { .. } => {}
        }
    }

    /// Whether the run's domain denied it. The first denial of it that comes with the domain's record tells its number.
    fn is_ours(&mut self, denial: &SeenDenial) -> bool {
        let AuditSource { first, stub, .. } = &self.source;
        if let Some(number) = self.domain.number {
            return denial.domain == number;
        }
        let ours = denial.entered.as_ref().is_some_and(|Entered { pid, program }| first.get() == Some(pid) && program == stub);
        if ours {
            self.domain.number = Some(denial.domain);
        }
        ours
    }

    /// What is missing, as well as it can be said: exactly where the kernel told how many denials the domain had.
    fn count(&mut self) {
        let Domain { number, told, all } = self.domain;
        if number.is_some() && all.is_none() {
            self.say("the kernel did not tell how many denials there were: some may be missing".to_owned());
        }
        let reader = &self.source.reader;
        self.unsent.audit += match all {
            Some(all) => all.saturating_sub(told),
            None => reader.overruns().max(reader.lost_in_kernel()),
        };
        self.unsent.tell(&self.enricher, &mut self.sink);
    }

    fn say(&mut self, text: String) {
        let message = Message { time: now(), host: self.enricher.host(), level: Level::Warning, text };
        // Where even this finds no room, the count at the end says that something is missing.
        let _ = (self.sink)(message.into());
    }
}
