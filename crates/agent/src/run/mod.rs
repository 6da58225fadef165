//! `palisade run`: one command, in a cgroup of its own, under a back end.
//!
//! ```text
//! run() -- cgroup /palisade/run-ID -- rules resolved in / -- back end chosen, armed
//!   |-- stub (this binary again: `palisade __enter`): enters the cgroup, then execs the command; judged from there on
//!   |-- links thread: new tables, as links appear that rules lead through
//!   |-- pipeline thread: events                        \
//!   |-- waiter, signal and cgroup threads: what happens -> one channel -> the loop -> Notice to the caller
//! ```
//! The command keeps the terminal, the standard streams, the process group and the working directory of `palisade`, so
//! that Ctrl-C, Ctrl-Z and job control reach it as without it.
//!
//! If `palisade` is killed, nothing changes for the command: programs, table and label are pinned in the kernel. The next
//! `palisade` frees them once the cgroup is empty.

mod command;
mod confine;
mod enter;
mod supervise;
mod watching;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use palisade_event::{Host, Record};
use palisade_policy::model::Policy;
use palisade_ruleset::{RuleSet, Workload};
use thiserror::Error;

use crate::cgroup::{Cgroup, Member, Tree};
use crate::enforce::bpf::{BpfError, Released};
use crate::enforce::table::TableError;
use crate::enforce::{Backend, Coverage, Gap};
use crate::health::{HealthError, Trouble};
use crate::learn::{Observer, Watcher, Watchers};
use crate::links::LinksError;
use crate::pipeline::PipelineError;
use crate::tree::{RootError, RootTree};

pub use command::Exit;
pub use enter::{ENTER, enter};

/// What to run and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The command and its arguments; at least one word.
    pub command: Vec<OsString>,
    /// The policies.
    pub policies: Vec<Policy>,
    /// What the policies see of the run: labels, mode, postures, base set. Its `stdio` is filled in by [`run`].
    pub workload: Workload,
    /// The name of the run, in events.
    pub name: String,
    /// Which back end.
    pub enforcer: Choice,
    /// Refuse a back end that does not cover everything.
    pub strict: bool,
    /// Let opens be judged by the cache of directories, where the back end has one and it can be right.
    pub fast_path: bool,
    /// What becomes of processes that outlive the command.
    pub leftovers: Leftovers,
    /// Repeats of an event are counted over so long before they are told; zero: each is told.
    pub repeat_window: Duration,
    /// The host, in events.
    pub host: Host,
    /// Takes what the run does, instead of events: see [`learn`](crate::learn).
    pub observer: Option<Observer>,
}

/// Which back end to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first that works: BPF, then Landlock.
    Auto,
    /// This one or none.
    Only(Backend),
    /// None: what watches for [`RunOptions::observer`].
    Watch(Watchers),
    /// No enforcement at all: for tests of the supervision, and said in [`Started`].
    Unenforced,
}

/// What becomes of processes that outlive the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They are killed after so long.
    Grace(Duration),
    /// The run goes on until they end.
    Wait,
}

/// What the caller is told while it runs, in order.
#[derive(Debug)]
pub enum Notice {
    /// Once, before the command starts.
    Started(Started),
    /// An event (repeats counted), a loss, a message.
    Record(Record),
    /// The command has exited and these live on, until they end or this time is over.
    Outlived {
        /// They.
        members: Vec<Member>,
        /// `None`: for ever.
        grace: Option<Duration>,
    },
    /// These did not end and are being killed.
    Killing(Vec<Member>),
    /// About once a second while nothing else happens.
    Tick,
}

/// How it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The back end; `None` only with [`Choice::Unenforced`], and where tracepoints watch.
    pub backend: Option<Backend>,
    /// What watches, with [`Choice::Watch`].
    pub watcher: Option<Watcher>,
    /// Those tried before, and why they do not serve.
    pub refused: Vec<Refused>,
    /// What the back end covers.
    pub coverage: Coverage,
    /// What it never does, whatever the policies say; `--strict` does not refuse these.
    pub inherent: Vec<Gap>,
    /// Why denials are told to nobody, and what would change that; `None` where they are told.
    pub invisible: Option<String>,
    /// Its cgroup; where there is none, only the command itself is followed.
    pub cgroup: Result<PathBuf, String>,
}

/// A back end that does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub backend: Backend,
    /// Why not.
    pub reason: String,
}

/// What came of it.
#[derive(Debug)]
pub struct RunReport {
    /// How the command ended.
    pub exit: Exit,
    /// How it ran.
    pub started: Started,
    /// How many processes outlived the command and were killed.
    pub killed: usize,
    /// What remains in the kernel; `None` where the back end leaves nothing.
    pub released: Option<Released>,
    /// What went wrong in the kernel while it ran, on the whole machine: the programs are shared.
    pub troubles: Vec<Trouble>,
    /// Problems of the clean-up, which the next palisade tries again.
    pub problems: Vec<String>,
}

/// Why the command was not run. Nothing of it is left then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// No word of a command.
    #[error("no command given")]
    NoCommand,
    /// No back end serves.
    #[error("no back end can enforce these policies here{}", reasons(.0))]
    NoBackend(Vec<Refused>),
    /// Nothing watches, for [`Choice::Watch`].
    #[error("nothing can watch a command here{}", .0.iter().map(|reason| format!("\n  {reason}")).collect::<String>())]
    NoWatcher(Vec<String>),
    /// The root directory cannot be opened.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The policies do not compile.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The kernel could not be set up.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// Events cannot be read.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Counters cannot be read.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The plan for the stub could not be handed over.
    #[error("cannot hand the plan over: {0}")]
    Plan(#[source] io::Error),
    /// The stub could not be started.
    #[error("cannot start the command: {0}")]
    Spawn(#[source] io::Error),
    /// Links on the way of rules cannot be followed.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// A thread or a signal handler could not be set up.
    #[error("cannot follow the command: {0}")]
    Follow(#[source] io::Error),
}

/// Runs a command to its end, and to that of every process it leaves in its cgroup.
///
/// # Guarantees
/// * No instruction of the command runs before it is judged.
/// * Records are told in the order in which the kernel wrote them, repeats counted; what is lost is told as a
///   [`palisade_event::Loss`].
/// * When it returns, the run's cgroup is empty and removed, and nothing of it is left in the kernel but what
///   [`RunReport::released`] names.
///
/// # Assumptions
/// * The binary that calls it hands its own command line `__enter ...` to [`enter`] before anything else.
/// * No other thread of the process waits for children or handles signals.
///
/// # Errors
/// See [`RunError`]. A command that cannot be executed is none: it is [`Exit::Code`] 126 or 127, as in shells.
///
/// Minimum kernel: 5.14 (cgroup.kill); the back ends need more.
pub fn run(options: &RunOptions, tell: &mut dyn FnMut(Notice)) -> Result<RunReport, RunError> {
    if options.command.is_empty() {
        return Err(RunError::NoCommand);
    }
    let id = mk_id();
    let cgroup = Tree::find().and_then(|tree| tree.make_run(&id)).map_err(|error| error.to_string());
    let result = run_in(options, &id, cgroup.clone(), tell);
    if let (Err(_), Ok(cgroup)) = (&result, &cgroup) {
        drop(cgroup.remove()); // the error at hand matters more
    }
    result
}

fn run_in(
    options: &RunOptions,
    id: &str,
    cgroup: Result<Cgroup, String>,
    tell: &mut dyn FnMut(Notice),
) -> Result<RunReport, RunError> {
    let tree = RootTree::open("/".as_ref(), SystemTime::now())?;
    let mut workload = options.workload.clone();
    workload.stdio = command::stdio();
    let rules = RuleSet::new(&options.policies, &workload, &tree);
    let (confinement, refused) = confine::arm(options, id, &cgroup, &rules)?;
    let started = Started {
        backend: confinement.backend(),
        watcher: confinement.watcher(options),
        refused,
        coverage: confinement.coverage().clone(),
        inherent: confinement.inherent().to_vec(),
        invisible: confinement.invisible().map(str::to_owned),
        cgroup: cgroup.as_ref().map(|cgroup| cgroup.directory().to_owned()).map_err(Clone::clone),
    };
    supervise::follow(options, cgroup.ok(), confinement, started, tell)
}

/// Unique on this boot: the process id and the time.
fn mk_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}", std::process::id(), since.as_nanos() & 0xffff_ffff)
}

fn reasons(refused: &[Refused]) -> String {
    refused.iter().map(|Refused { backend, reason }| format!("\n  {backend}: {reason}")).collect()
}
