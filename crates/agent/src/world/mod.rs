//! The agent: everything on this machine that the configuration names, under its policies.
//!
//! ```text
//! workload::Source  -- Change ------\
//! policy directory  -- it changed ---> one loop (World) -> Protections: tables built, then put into force -> Status
//! gRPC              -- Request -----/                          ^
//!                                             links thread ----/
//! enforcer -> events thread -> Hub -> subscribers (gRPC)
//! ```
//! The loop owns the policies; workloads and their tables are shared with the thread that follows links. Everybody else
//! reads snapshots ([`StatusCell`]).
//!
//! When the agent ends, by a signal or killed, everything stays in force; the next agent adopts it. Only
//! `palisade agent --detach` takes it away.

mod instance;
mod policies;
mod protections;
mod status;
mod watch_policies;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade_event::{Host, Level, Message};
use palisade_policy::model::Kind;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::enforce::enforcer::{Enforcer, Failure};
use crate::links::{LinkFollower, LinksError};
use crate::pipeline::{Destination, Enricher, Hub, Owners, Pipeline, now};
use crate::workload::{Change, Source, SourceError};
use protections::{Applied, Protections, Shared};

pub use instance::{Instance, InstanceError};
pub use policies::{Outcome, Policies, PoliciesError};
pub use status::{PolicyStatus, Status, StatusCell, WorkloadStatus};

/// What the agent is told.
pub struct AgentOptions {
    /// The directory of policy files.
    pub policies: Option<PathBuf>,
    /// Where policies that came by gRPC, and the last good texts of files, are kept.
    pub state: PathBuf,
    /// The namespace of policies that name none.
    pub namespace: String,
    /// The host, in events and for selectors.
    pub host: Host,
    /// Records kept for whoever subscribes later.
    pub history: usize,
    /// Told what happens to the agent itself.
    pub log: Log,
}

/// Takes what the agent tells about itself; never waits.
pub type Log = Box<dyn FnMut(Level, &str) + Send>;

/// The running agent. Dropping it leaves everything in force.
pub struct Agent {
    /// What is told.
    pub hub: Hub,
    /// How it stands.
    pub status: StatusCell,
    /// How it is asked.
    pub requests: Requests,
    inputs: Receiver<Input>,
    world: World,
}

/// Asks the agent to change something. Clones ask the same one.
#[derive(Clone, Debug)]
pub struct Requests(SyncSender<Input>);

/// What the loop is told.
#[derive(Debug)]
enum Input {
    Workload(Change),
    /// Something happened in the policy directory; these files are being written.
    PolicyFiles(HashSet<String>),
    Trouble(String),
    Policy(Kind, Vec<u8>, oneshot::Sender<Result<Outcome, PoliciesError>>),
    Stop,
}

struct World {
    policies: Policies,
    protections: Arc<Mutex<Protections>>,
    pipeline: Pipeline,
    links: LinkFollower,
    status: StatusCell,
    /// What is there has been told: events are read, and changes put into force.
    ready: bool,
    teller: Teller,
    /// Problems that were told.
    told: Vec<String>,
    looked: Instant,
}

/// Tells what happens to the agent itself: to subscribers, and to the log.
struct Teller {
    hub: Hub,
    host: Arc<Host>,
    log: Log,
}

/// Why the agent does not start. What was in force stays so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The kept policies cannot be read.
    #[error(transparent)]
    Policies(#[from] PoliciesError),
    /// The policy directory cannot be watched.
    #[error("cannot watch {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A source of workloads does not start.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Events cannot be read.
    #[error("cannot read events: {0}")]
    Events(Failure),
    /// Links cannot be followed.
    #[error(transparent)]
    Links(#[from] LinksError),
}

/// Inputs that wait: whoever has more waits.
const INPUTS: usize = 1024;
/// How often the loop looks around.
const TICK: Duration = Duration::from_secs(1);

// === impl Requests ===

impl Requests {
    /// Asks for a policy to be added or taken away; `None` if the agent is about to end.
    pub async fn policy(&self, kind: Kind, json: Vec<u8>) -> Option<Result<Outcome, PoliciesError>> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Input::Policy(kind, json, reply)).ok()?;
        answer.await.ok()
    }

    /// Asks it to end when this process gets SIGTERM or SIGINT.
    ///
    /// # Errors
    /// If signals cannot be handled, or no thread started.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let requests = self.clone();
        let wait = move || {
            if signals.forever().next().is_some() {
                requests.stop();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }

    /// Asks the agent to end.
    pub fn stop(&self) {
        // Where the loop has ended already, nobody is there to be told.
        let _ = self.0.send(Input::Stop);
    }
}

// === impl Agent ===

impl Agent {
    /// Starts everything but the loop.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn start(
        options: AgentOptions,
        mut enforcer: Box<dyn Enforcer>,
        sources: Vec<Box<dyn Source>>,
    ) -> Result<Self, AgentError> {
        let AgentOptions { policies: directory, state, namespace, host, history, log } = options;
        let host = Arc::new(host);
        let hub = Hub::new(Arc::clone(&host), history);
        let policies = Policies::open(directory.as_deref(), &state, &namespace)?;
        let (sender, inputs) = mpsc::sync_channel(INPUTS);
        if let Some(directory) = directory {
            let queue = sender.clone();
            let started = watch_policies::start(&directory, move |input| queue.send(input).is_ok());
            started.map_err(|source| AgentError::Directory { path: directory, source })?;
        }
        let owners = Owners::default();
        let enricher = Enricher::new(Arc::clone(&host), Arc::default(), enforcer.legends());
        let to_hub = hub.clone();
        let sink = Box::new(move |record| {
            to_hub.publish(record);
            true
        });
        let pipeline = enforcer.start_events(owners.clone(), Destination { enricher, observer: None, sink });
        let pipeline = pipeline.map_err(AgentError::Events)?;
        let protections = Arc::new(Mutex::new(Protections::new(enforcer, owners, host.name.clone())));
        let (told, from) = (hub.clone(), Arc::clone(&host));
        let tell = Box::new(move |level, text: &str| {
            told.publish(Message { time: now(), host: Arc::clone(&from), level, text: text.to_owned() }.into());
            true
        });
        let links = LinkFollower::start(Box::new(Shared(Arc::clone(&protections))), tell)?;
        for source in sources {
            let queue = sender.clone();
            source.start(Box::new(move |change| queue.send(Input::Workload(change)).is_ok()))?;
        }
        let status = StatusCell::default();
        let teller = Teller { hub: hub.clone(), host, log };
        let (looked, told) = (Instant::now(), Vec::new());
        let world = World { policies, protections, pipeline, links, status: status.clone(), ready: false, teller, told, looked };
        Ok(Self { hub, status, requests: Requests(sender), inputs, world })
    }

    /// Runs until it is asked to stop. Everything stays in force.
    pub fn run(self) {
        let Self { hub, status: _, requests, inputs, mut world } = self;
        drop(requests);
        world.tell_problems();
        world.publish_status();
        while world.step(&inputs) {}
        world.pipeline.leave();
        world.links.stop();
        hub.close();
    }
}

// === impl World ===

impl World {
    /// Takes what has come, or looks around. False: it is to end.
    fn step(&mut self, inputs: &Receiver<Input>) -> bool {
        let go_on = match inputs.recv_timeout(TICK) {
            Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(input) => {
                self.take(input);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
        };
        if self.looked.elapsed() >= TICK {
            self.look_around();
        }
        go_on
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Workload(change) => self.workload(change),
            Input::PolicyFiles(writing) => match self.policies.read_directory(&writing) {
                Ok(true) => self.apply("policies changed"),
                Ok(false) => {}
                Err(error) => {
                    self.teller.say(Level::Error, &error.to_string());
                    self.apply("policies changed");
                }
            },
            Input::Policy(kind, json, reply) => {
                let outcome = self.policies.request(kind, &json);
                if matches!(outcome, Ok(Outcome::Applied | Outcome::Modified | Outcome::Deleted)) {
                    self.apply("policies changed");
                }
                // Whoever asked may have gone; what was asked for has been done.
                let _ = reply.send(outcome);
            }
            Input::Trouble(text) => self.teller.say(Level::Error, &text),
            Input::Stop => {}
        }
    }

    fn workload(&mut self, change: Change) {
        match change {
            Change::Appeared(found) => {
                let name = found.name.clone();
                if let Err(error) = lock(&self.protections).appear(found) {
                    self.teller.say(Level::Error, &format!("{name}: what protected it cannot be taken over: {error}"));
                }
                // At the start all of them go under their policies together.
                if self.ready {
                    self.apply(&format!("{name} is there"));
                }
            }
            Change::Gone(id) => {
                if let Err(error) = lock(&self.protections).go(&id) {
                    self.teller.say(Level::Error, &format!("{id} has ended, what protected it remains: {error}"));
                }
                self.publish_status();
            }
            Change::Listed => {
                self.ready = true;
                // Whose the records are that waited is known now.
                self.pipeline.resume();
                self.apply("started");
            }
            Change::Trouble(text) => self.teller.say(Level::Error, &text),
        }
    }

    fn apply(&mut self, why: &str) {
        // Before the units that are there are known, nothing is to be changed of what holds.
        if !self.ready {
            return;
        }
        let policies = self.policies.all();
        let Applied { changed, generation, took_us, problems } = lock(&self.protections).apply(&policies);
        if changed > 0 {
            let text = format!("{why}: {changed} workloads under generation {generation} after {took_us} us");
            self.teller.say(Level::Info, &text);
        }
        for problem in problems {
            self.teller.say(Level::Error, &problem);
        }
        self.links.again();
        self.tell_problems();
        self.publish_status();
    }

    /// What is wrong with policies, once for each text.
    fn tell_problems(&mut self) {
        let problems = self.policies.problems();
        for problem in &problems {
            if !self.told.contains(problem) {
                self.teller.say(Level::Error, problem);
            }
        }
        self.told = problems;
    }

    fn look_around(&mut self) {
        self.looked = Instant::now();
        let mut protections = lock(&self.protections);
        let mut texts = protections.look_around();
        if let Err(error) = protections.retire_ended() {
            texts.push(format!("what protected a workload that has ended remains: {error}"));
        }
        let relinked = protections.generation() != self.status.get().generation;
        drop(protections);
        for text in texts {
            self.teller.say(Level::Error, &text);
        }
        if relinked {
            self.publish_status();
        }
    }

    fn publish_status(&self) {
        let protections = lock(&self.protections);
        let all = self.policies.all();
        let status = Status {
            workloads: protections.workloads(),
            policies: protections.policies(&all, |key| self.policies.json_of(key).map(str::to_owned)),
            problems: self.policies.problems(),
            generation: protections.generation(),
            ready: self.ready,
        };
        drop(protections);
        self.status.set(status);
    }
}

// === impl Teller ===

impl Teller {
    fn say(&mut self, level: Level, text: &str) {
        (self.log)(level, text);
        self.hub.publish(Message { time: now(), host: Arc::clone(&self.host), level, text: text.to_owned() }.into());
    }
}

/// The lock is not held across anything that panics halfway: what it guards is whole.
fn lock(protections: &Mutex<Protections>) -> MutexGuard<'_, Protections> {
    protections.lock().unwrap_or_else(PoisonError::into_inner)
}
