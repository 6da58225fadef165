//! Links that appear while a run lives (`meaning` section 3.5): a thread that resolves the rules again when a name on
//! the way of one appears or a mount changes, and swaps the table if they gained names.
//!
//! The first change is acted on at once. Then the thread rests, four times as long as its work took, and acts on all
//! that came meanwhile: a burst costs a fifth of a processor at most, and its last change is never left out.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use palisade_event::Level;
use palisade_ruleset::Gained;
use rustix::event::{EventfdFlags, eventfd};

use super::RunError;
use super::confine::{Protection, lock};
use crate::tree::{Observed, RootTree};
use crate::watch::Watch;

/// Where messages go. Returns false where there is no room: the message is kept and told later.
pub(super) type Tell = Box<dyn FnMut(Level, &str) -> bool + Send>;

/// The thread.
pub(super) struct LinkFollower {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

struct Follower {
    watch: Watch,
    tree: RootTree,
    protection: Arc<Mutex<Option<Protection>>>,
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
    /// Resolves the rules of a run once more, now watching, then starts the thread.
    pub(super) fn start(protection: Arc<Mutex<Option<Protection>>>, tell: Tell) -> Result<Self, RunError> {
        let watch = Watch::new().map_err(RunError::Watch)?;
        let tree = RootTree::open("/".as_ref(), SystemTime::now())?;
        let mut follower = Follower { watch, tree, protection, tell, untold: Vec::new(), told: Told::default() };
        follower.turn()?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(stop.map_err(|errno| RunError::Watch(errno.into()))?);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("links".to_owned()).spawn(move || follower.work(&stopped));
        Ok(Self { stop, thread: thread.map_err(RunError::Follow)? })
    }

    /// Ends it.
    pub(super) fn stop(self) {
        let Self { stop, thread } = self;
        // A counter of 2^64 - 2 calls: there is room for one.
        let _ = rustix::io::write(&*stop, &1_u64.to_ne_bytes());
        // A panic of the thread has been printed; the run's end is not the place to raise it again.
        drop(thread.join());
    }
}

// === impl Follower ===

impl Follower {
    fn work(&mut self, stop: &OwnedFd) {
        let mut due = false;
        loop {
            let again = due || self.watch.is_incomplete() || !self.untold.is_empty();
            match self.watch.wait(stop, again.then_some(LOOK)) {
                Ok(woken) if woken.called => return,
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
            // Changes wait meanwhile; only the end of the run does not.
            if self.rest(stop, rest) {
                return;
            }
        }
    }

    /// Waits; true if it is to stop.
    fn rest(&mut self, stop: &OwnedFd, rest: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec::try_from(rest).ok();
        poll(&mut [PollFd::new(stop, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    fn turn(&mut self) -> Result<(), RunError> {
        let begun = Instant::now();
        let Some((Gained { names, left_out }, generation)) = self.resolve_again()? else { return Ok(()) };
        let took = begun.elapsed();
        self.told.failure.clear();
        if names > 0 {
            let text = format!(
                "links appeared: rules hold for {names} more names from generation {generation} on, in force {} us after it \
                 was noticed",
                took.as_micros()
            );
            self.say(Level::Info, text);
        }
        if left_out > 0 && !self.told.left_out {
            self.told.left_out = true;
            self.say(Level::Error, format!("links appeared that rules do not hold for: {left_out} names too many"));
        }
        if self.watch.is_incomplete() && !self.told.incomplete {
            self.told.incomplete = true;
            let text = "not every directory can be watched (see fs.inotify.max_user_watches): links are looked for once a second";
            self.say(Level::Warning, text.to_owned());
        }
        self.tell_rest();
        Ok(())
    }

    fn resolve_again(&self) -> Result<Option<(Gained, u64)>, RunError> {
        let Self { watch, tree, protection, .. } = self;
        let mut protection = lock(protection);
        let Some(protection) = &mut *protection else { return Ok(None) };
        let gained = watch.renew(|lookups| protection.resolve_again(&Observed { tree, lookups }))?;
        Ok(Some((gained, protection.generation())))
    }

    /// Once for each reason: a failure comes again with every try.
    fn say_failure(&mut self, error: &RunError) {
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
