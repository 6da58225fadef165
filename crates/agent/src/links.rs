//! Links that appear while workloads live (`meaning` section 3.5): a thread that resolves their rules again when a name on
//! the way of one appears or a mount changes, and has tables swapped whose rules gained names.
//!
//! The first change is acted on at once. Then the thread rests, four times as long as its work took, and acts on all
//! that came meanwhile: a burst costs a fifth of a processor at most, and its last change is never left out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_event::Level;
use palisade_ruleset::Gained;
use rustix::event::{EventfdFlags, eventfd};
use thiserror::Error;

use crate::enforce::enforcer::Failure;
use crate::tree::Lookups;
use crate::watch::Watch;

/// Where messages go. Returns false where there is no room: the message is kept and told later.
pub(crate) type Tell = Box<dyn FnMut(Level, &str) -> bool + Send>;

/// What has rules to be resolved again.
pub(crate) trait Relink: Send {
    /// Resolves all of them, telling of each name that it looks up, and puts those that gained names into force.
    ///
    /// # Guarantees
    /// On error the tables in force stay, and the next call tries again.
    fn resolve_again(&mut self, lookups: &dyn Lookups) -> Result<Vec<Relinked>, Failure>;
}

/// What a workload's rules gained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relinked {
    /// Whose, as messages begin: empty where there is only one, else `NAME: `.
    pub(crate) whose: String,
    /// How much.
    pub(crate) gained: Gained,
    /// From which generation on.
    pub(crate) generation: u64,
}

/// Why links are not followed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinksError {
    /// Names cannot be waited for.
    #[error("cannot watch for links: {0}")]
    Watch(#[source] io::Error),
    /// The thread cannot be started.
    #[error("cannot start the thread that follows links: {0}")]
    Thread(#[source] io::Error),
    /// The rules cannot be resolved.
    #[error(transparent)]
    Resolve(Failure),
}

/// The thread.
pub(crate) struct LinkFollower {
    call: Arc<Call>,
    thread: JoinHandle<()>,
}

/// How the thread is called.
struct Call {
    event: OwnedFd,
    /// Set before the event: it is to end.
    stop: AtomicBool,
}

struct Follower {
    watch: Watch,
    rules: Box<dyn Relink>,
    tell: Tell,
    /// What could not be told yet; the newest of each kind.
    untold: Vec<(Level, String)>,
    told: Told,
}

/// What is told once.
#[derive(Default)]
struct Told {
    incomplete: bool,
    left_out: bool,
    failure: String,
}

/// The rest between two turns, at least.
const REST: Duration = Duration::from_millis(10);
/// The rest, in durations of the work before it.
const REST_FACTOR: u32 = 4;
/// How often everything is resolved again where some directory cannot be watched, or where the last turn failed.
const LOOK: Duration = Duration::from_secs(1);
/// Messages kept until there is room.
const UNTOLD: usize = 16;

// === impl LinkFollower ===

impl LinkFollower {
    /// Resolves the rules once more, now watching, then starts the thread.
    pub(crate) fn start(rules: Box<dyn Relink>, tell: Tell) -> Result<Self, LinksError> {
        let watch = Watch::new().map_err(LinksError::Watch)?;
        let mut follower = Follower { watch, rules, tell, untold: Vec::new(), told: Told::default() };
        follower.turn().map_err(LinksError::Resolve)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event.map_err(|errno| LinksError::Watch(errno.into()))?;
        let call = Arc::new(Call { event, stop: AtomicBool::new(false) });
        let called = Arc::clone(&call);
        let thread = thread::Builder::new().name("links".to_owned()).spawn(move || follower.work(&called));
        Ok(Self { call, thread: thread.map_err(LinksError::Thread)? })
    }

    /// Has all rules resolved again: there are others.
    pub(crate) fn again(&self) {
        self.call.wake();
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        let Self { call, thread } = self;
        call.stop.store(true, Ordering::Release);
        call.wake();
        // A panic of the thread has been printed; the run's end is not the place to raise it again.
        drop(thread.join());
    }
}

// === impl Call ===

impl Call {
    fn wake(&self) {
        // A counter of 2^64 - 2 calls that have not been answered: there is room.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Answers the calls so far. Returns whether it is to end.
    fn answer(&self) -> bool {
        // Without a call there is nothing to read.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        self.stop.load(Ordering::Acquire)
    }
}

// === impl Follower ===

impl Follower {
    fn work(&mut self, call: &Call) {
        let mut due = false;
        loop {
            let again = due || self.watch.is_incomplete() || !self.untold.is_empty();
            match self.watch.wait(&call.event, again.then_some(LOOK)) {
                Ok(woken) if woken.called => {
                    if call.answer() {
                        return;
                    }
                }
                Ok(woken) if !woken.changed && !again => continue,
                Ok(_) => {}
                Err(error) => {
                    self.say(Level::Error, format!("cannot wait for links that appear: {error}"));
                    thread::sleep(LOOK);
                }
            }
            let begun = Instant::now();
            due = match self.turn() {
                Ok(()) => false,
                Err(error) => {
                    self.say_failure(&error);
                    true
                }
            };
            let rest = REST.max(begun.elapsed() * REST_FACTOR);
            // Changes wait meanwhile, calls do not.
            Self::rest(call, rest);
        }
    }

    /// Waits so long, or until there is a call, which stays to be answered.
    fn rest(call: &Call, rest: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec::try_from(rest).ok();
        let _ = poll(&mut [PollFd::new(&call.event, PollFlags::IN)], timeout.as_ref());
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let Self { watch, rules, .. } = self;
        let relinked = watch.renew(|lookups| rules.resolve_again(lookups))?;
        let took = begun.elapsed();
        self.told.failure.clear();
        for Relinked { whose, gained: Gained { names, left_out }, generation } in relinked {
            if names > 0 {
                let text = format!(
                    "{whose}links appeared: rules hold for {names} more names from generation {generation} on, in force {} us \
                     after it was noticed",
                    took.as_micros()
                );
                self.say(Level::Info, text);
            }
            if left_out > 0 && !self.told.left_out {
                self.told.left_out = true;
                self.say(Level::Error, format!("{whose}links appeared that rules do not hold for: {left_out} names too many"));
            }
        }
        if self.watch.is_incomplete() && !self.told.incomplete {
            self.told.incomplete = true;
            let text = "not every directory can be watched (see fs.inotify.max_user_watches): links are looked for once a second";
            self.say(Level::Warning, text.to_owned());
        }
        self.tell_rest();
        Ok(())
    }

    /// Once for each reason: a failure comes again with every try.
    fn say_failure(&mut self, error: &Failure) {
        let reason = error.to_string();
        if self.told.failure != reason {
            let text = format!("links appeared that rules do not hold for yet: {reason}");
            self.told.failure = reason;
            self.say(Level::Error, text);
        }
    }

    fn say(&mut self, level: Level, text: String) {
        if self.untold.len() >= UNTOLD {
            self.untold.remove(0);
        }
        self.untold.push((level, text));
        self.tell_rest();
    }

    fn tell_rest(&mut self) {
        let Self { tell, untold, .. } = self;
        let told = untold.iter().take_while(|(level, text)| tell(*level, text)).count();
        untold.drain(..told);
    }
}
