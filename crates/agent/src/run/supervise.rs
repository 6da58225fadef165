//! Following a run to its end.

use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use palisade_event::{Aggregator, Level, Message, Record};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::command::{self, Exit, Target};
use super::confine::Confinement;
use super::enter::Entry;
use super::{Leftovers, Notice, RunError, RunOptions, RunReport, Started};
use crate::cgroup::{Cgroup, Member};
use crate::health::{Trouble, Watch, keep_tracing_on};
use crate::links::{self, LinkFollower};
use crate::pipeline::{Pipeline, now};

/// Records that wait for the caller. At 1 KiB each: 4 MiB. Full: the record is dropped and counted.
const QUEUE: usize = 4096;
/// How often the loop looks around where nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// How long killed processes may take to end.
const KILL: Duration = Duration::from_secs(5);

/// What reaches the loop.
enum Input {
    Record(Record),
    Exited(std::io::Result<Exit>),
    Empty,
    Signal(i32),
}

struct Run<'a> {
    options: &'a RunOptions,
    cgroup: Option<Cgroup>,
    target: Target,
    inputs: Receiver<Input>,
    sender: SyncSender<Input>,
    aggregator: Aggregator,
    tell: &'a mut dyn FnMut(Notice),
    problems: Vec<String>,
    confinement: &'a Confinement,
    health: Option<Watch>,
    /// When the loop last looked around.
    looked: Instant,
}

/// What runs beside the command.
struct Begun {
    pipeline: Option<Pipeline>,
    links: Option<LinkFollower>,
    target: Target,
    signals: Handle,
    health: Option<Watch>,
}

/// How the wait for what outlives the command stands.
struct Outliving {
    deadline: Option<Instant>,
    killed: Vec<Member>,
}

/// Starts the command and follows it and its cgroup to their end.
pub(super) fn follow(
    options: &RunOptions,
    cgroup: Option<Cgroup>,
    confinement: Confinement,
    started: Started,
    tell: &mut dyn FnMut(Notice),
) -> Result<RunReport, RunError> {
    let (sender, inputs) = mpsc::sync_channel(QUEUE);
    let begun = begin(options, cgroup.as_ref(), &confinement, &started, &sender, tell);
    let Begun { pipeline, links, target, signals, health } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            drop(confinement.release()); // the error at hand matters more
            return Err(error);
        }
    };
    let aggregator = Aggregator::new(options.repeat_window);
    let problems = Vec::new();
    let looked = Instant::now();
    let confined = &confinement;
    let mut run =
        Run { options, cgroup, target, inputs, sender, aggregator, tell, problems, confinement: confined, health, looked };
    let exit = run.until_exit();
    let killed = run.until_empty();
    signals.close();
    if let Some(links) = links {
        links.stop();
    }
    run.drain(pipeline);
    run.look_around();
    let Run { cgroup, mut problems, health, .. } = run;
    let troubles = health.map_or_else(|| Ok(Vec::new()), |health| health.total()).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    let released = match confinement.release() {
        Ok(released) => released,
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    if let Some(cgroup) = cgroup
        && let Err(error) = cgroup.remove()
    {
        problems.push(error.to_string());
    }
    Ok(RunReport { exit, started, killed: killed.len(), released, troubles, problems })
}

/// Pipeline, links, command, threads, in that order: no event of the command comes before there is somebody to read it,
/// and it makes no link before somebody watches.
fn begin(
    options: &RunOptions,
    cgroup: Option<&Cgroup>,
    confinement: &Confinement,
    started: &Started,
    sender: &SyncSender<Input>,
    tell: &mut dyn FnMut(Notice),
) -> Result<Begun, RunError> {
    let queue = sender.clone();
    let sink = Box::new(move |record| queue.try_send(Input::Record(record)).is_ok());
    let health = confinement.watch()?;
    let pipeline = confinement.pipeline(options, sink)?;
    let links = confinement.follow_links(message_sink(options, sender))?;
    let started = begin_command(options, cgroup, confinement, started, sender, tell);
    match started {
        Ok((target, signals)) => Ok(Begun { pipeline, links, target, signals, health }),
        Err(error) => {
            if let Some(links) = links {
                links.stop();
            }
            Err(error)
        }
    }
}

/// Messages of the run about itself.
fn message_sink(options: &RunOptions, sender: &SyncSender<Input>) -> links::Tell {
    let (queue, host) = (sender.clone(), Arc::new(options.host.clone()));
    Box::new(move |level, text| {
        let message = Message { time: now(), host: Arc::clone(&host), level, text: text.to_owned() };
        queue.try_send(Input::Record(message.into())).is_ok()
    })
}

fn begin_command(
    options: &RunOptions,
    cgroup: Option<&Cgroup>,
    confinement: &Confinement,
    started: &Started,
    sender: &SyncSender<Input>,
    tell: &mut dyn FnMut(Notice),
) -> Result<(Target, Handle), RunError> {
    tell(Notice::Started(started.clone()));
    let entry = Entry { procs: cgroup.map(Cgroup::procs), plan: confinement.plan(), command: options.command.clone() };
    let mut signals = Signals::new(command::handled_signals()).map_err(RunError::Follow)?;
    let (child, target) = command::start(&entry).map_err(RunError::Spawn)?;
    confinement.started(child.id());
    let handle = signals.handle();
    let queue = sender.clone();
    spawn("signals", move || {
        for signal in signals.forever() {
            if queue.send(Input::Signal(signal)).is_err() {
                break;
            }
        }
    })?;
    let queue = sender.clone();
    spawn("waiter", move || wait(child, &queue))?;
    Ok((target, handle))
}

fn wait(mut child: Child, queue: &SyncSender<Input>) {
    // Where the loop has ended, nobody is there to be told.
    let _ = queue.send(Input::Exited(child.wait().map(Exit::from)));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RunError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(RunError::Follow)
}

// === impl Run ===

impl Run<'_> {
    /// Until the command itself has ended.
    fn until_exit(&mut self) -> Exit {
        loop {
            match self.next(None) {
                Some(Input::Exited(Ok(exit))) => return exit,
                Some(Input::Exited(Err(error))) => {
                    self.problems.push(format!("cannot wait for the command: {error}"));
                    return Exit::Code(u8::MAX);
                }
                Some(Input::Signal(signal)) if !command::comes_from_terminal(signal) => self.target.send(signal),
                Some(Input::Signal(_) | Input::Empty | Input::Record(_)) | None => {}
            }
        }
    }

    /// Until nothing of the run lives any more. Returns what had to be killed.
    fn until_empty(&mut self) -> Vec<Member> {
        let Some(cgroup) = self.cgroup.clone() else { return Vec::new() };
        if matches!(cgroup.is_populated(), Ok(false)) {
            return Vec::new();
        }
        let members = cgroup.members().unwrap_or_default();
        let grace = match self.options.leftovers {
            Leftovers::Grace(grace) => Some(grace),
            Leftovers::Wait => None,
        };
        (self.tell)(Notice::Outlived { members, grace });
        self.watch(cgroup.clone());
        let mut outliving = Outliving { deadline: grace.map(|grace| Instant::now() + grace), killed: Vec::new() };
        loop {
            match self.next(outliving.deadline) {
                Some(Input::Empty) => return outliving.killed,
                // Whoever asks palisade to end now means all of it.
                Some(Input::Signal(SIGINT | SIGTERM | SIGHUP)) => outliving.deadline = Some(Instant::now()),
                Some(Input::Signal(_) | Input::Exited(_) | Input::Record(_)) | None => {}
            }
            let late = outliving.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late && outliving.killed.is_empty() {
                self.kill(&cgroup, &mut outliving);
            } else if late {
                let left = cgroup.members().unwrap_or_default();
                self.problems.push(format!("{} processes did not end when killed", left.len()));
                return outliving.killed;
            }
        }
    }

    fn kill(&mut self, cgroup: &Cgroup, outliving: &mut Outliving) {
        outliving.killed = cgroup.members().unwrap_or_default();
        outliving.deadline = Some(Instant::now() + KILL);
        if outliving.killed.is_empty() {
            return; // they ended by themselves just now
        }
        (self.tell)(Notice::Killing(outliving.killed.clone()));
        if let Err(error) = cgroup.kill() {
            self.problems.push(error.to_string());
        }
    }

    /// Tells the loop when the cgroup is empty.
    fn watch(&mut self, cgroup: Cgroup) {
        let queue = self.sender.clone();
        let watching = spawn("cgroup", move || {
            // Without an answer the loop's deadline decides.
            if matches!(cgroup.wait_empty(None), Ok(true)) {
                let _ = queue.send(Input::Empty);
            }
        });
        if let Err(error) = watching {
            self.problems.push(error.to_string());
        }
    }

    /// The next thing that happens, at most until the deadline or the next tick. Records are told on the way.
    fn next(&mut self, deadline: Option<Instant>) -> Option<Input> {
        let mut wait = TICK;
        if let Some(end) = self.aggregator.next_end() {
            wait = wait.min(Duration::from_nanos(end.nanoseconds().saturating_sub(now().nanoseconds())));
        }
        if let Some(deadline) = deadline {
            wait = wait.min(deadline.saturating_duration_since(Instant::now()));
        }
        if self.looked.elapsed() >= TICK {
            self.look_around();
        }
        match self.inputs.recv_timeout(wait) {
            Ok(Input::Record(record)) => {
                self.record(record);
                None
            }
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => {
                self.tick();
                None
            }
            Err(RecvTimeoutError::Disconnected) => None, // self.sender lives
        }
    }

    fn tick(&mut self) {
        let tell = &mut *self.tell;
        self.aggregator.expire(now(), &mut |event| tell(Notice::Record(Record::Event(event))));
        tell(Notice::Tick);
    }

    /// Sees whether enforcement is still what it should be, and says so where it is not.
    fn look_around(&mut self) {
        self.looked = Instant::now();
        let mut texts: Vec<String> = keep_tracing_on().into_iter().collect();
        match self.health.as_mut().map_or_else(|| Ok(Vec::new()), Watch::grown) {
            Ok(troubles) => {
                if troubles.iter().any(Trouble::is_mended_by_labelling)
                    && let Err(error) = self.confinement.label_again()
                {
                    texts.push(format!("a new cgroup has no label, and cannot be given one: {error}"));
                }
                let told = |trouble: &&Trouble| trouble.is_told_live() && !trouble.is_closed(&troubles);
                texts.extend(troubles.iter().filter(told).map(Trouble::text));
            }
            Err(error) => texts.push(format!("it cannot be told how enforcement fares: {error}")),
        }
        let host = Arc::new(self.options.host.clone());
        for text in texts {
            let message = Message { time: now(), host: Arc::clone(&host), level: Level::Error, text };
            (self.tell)(Notice::Record(message.into()));
        }
    }

    fn record(&mut self, record: Record) {
        let tell = &mut *self.tell;
        match record {
            Record::Event(event) => {
                self.aggregator.take(event, now(), &mut |event| tell(Notice::Record(Record::Event(event))));
            }
            Record::Loss(_) | Record::Message(_) => tell(Notice::Record(record)),
        }
    }

    /// Tells what is still on its way.
    fn drain(&mut self, pipeline: Option<Pipeline>) {
        let finishing = pipeline.map(|pipeline| thread::spawn(move || pipeline.finish()));
        while finishing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if let Ok(Input::Record(record)) = self.inputs.recv_timeout(Duration::from_millis(10)) {
                self.record(record);
            }
        }
        while let Ok(input) = self.inputs.try_recv() {
            if let Input::Record(record) = input {
                self.record(record);
            }
        }
        let tell = &mut *self.tell;
        self.aggregator.flush(&mut |event| tell(Notice::Record(Record::Event(event))));
    }
}
