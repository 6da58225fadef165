//! What the scenarios share: files, workloads under tables, workers in them, and the count of promises kept.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::cgroup::Cgroup;
use palisade_agent::enforce::bpf::{BpfEnforcer, Opening, ProtectedWorkload};
use palisade_agent::enforce::table::Table;
use palisade_agent::health::{Counters, Trouble};
use palisade_bpf::abi::{ABI_VERSION, Counter};
use palisade_bpf::load::LoadOptions;
use palisade_bpf::pins::Pins;
use palisade_policy::SourceFile;
use palisade_ruleset::{Mode, NoLinks, RuleSet, Workload};
use palisade_system_tests::LABELS_AND_OPENS;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Where everything lies.
pub(crate) const ROOT: &str = "/races";
/// Where the test machine has its cgroups.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";
/// Programs with a second chance: docs/threat-model.md, "Calls that the kernel leaves out".
const PAIRS: [&str; 4] = ["missed pal_task_newtask", "missed pal_task_forked", "missed pal_task_exit", "missed pal_task_free"];
/// Workers beside each other.
pub(crate) const WORKERS: u64 = 8;

/// Which programs. All but the shipped ones get a place of their own, as another version's, and are no more than what
/// labels tasks and judges opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    Shipped,
    /// With room for so many labelled threads.
    RoomFor(u32),
    /// Those of the control build.
    Control,
}

/// The programs, attached, and nobody under them yet.
pub(crate) struct Scene {
    pub(crate) enforcer: BpfEnforcer,
    /// The enforcer of each workload; one each, as `palisade run` has.
    runs: u64,
    version: u32,
    begun: Counters,
    /// Others held the programs already, and will when this has gone.
    held: bool,
}

/// A cgroup under a table.
pub(crate) struct Protected {
    pub(crate) enforcer: BpfEnforcer,
    pub(crate) workload: ProtectedWorkload,
    pub(crate) cgroup: Cgroup,
    generation: u64,
}

#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) failed: bool,
}

/// What workers report, summed.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sum {
    /// Attempts that succeeded.
    pub(crate) passed: u64,
    /// Attempts that ended in EACCES.
    pub(crate) refused: u64,
    /// Attempts that ended otherwise.
    pub(crate) other: u64,
}

/// A number of the whole suite, as far as this run does all of it.
pub(crate) fn scaled(whole: u64) -> u64 {
    let percent = std::env::var("PALISADE_RACES").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(10);
    (whole * percent / 100).max(1)
}

/// The files, readable to everybody: only Palisade can deny them.
pub(crate) fn lay_out() -> Outcome<()> {
    for directory in ["fixed/denied/a/b/c/d/e/f", "fixed/allowed/a/b/c/d/e/f", "moving/denied/a/b", "moving/allowed/a/b", "pair"]
    {
        fs::create_dir_all(Path::new(ROOT).join(directory))?;
    }
    for file in [
        "fixed/denied/a/b/c/d/e/f/a-file-of-some-length",
        "fixed/allowed/a/b/c/d/e/f/a-file-of-some-length",
        "moving/denied/a/b/file",
        "moving/allowed/a/b/file",
        "pair/f1",
        "pair/g1",
    ] {
        fs::write(Path::new(ROOT).join(file), "content\n")?;
    }
    fs::copy("/bin/true", Path::new(ROOT).join("program"))?;
    Ok(())
}

/// A policy with these lines under `spec`.
pub(crate) fn rules(spec: &str) -> Outcome<RuleSet> {
    let text = format!(
        "kind: KubeArmorPolicy\napiVersion: security.kubearmor.com/v1\nmetadata: {{ name: p }}\nspec:\n  \
         selector: {{ matchLabels: {{ a: b }} }}\n{spec}"
    );
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
    if let Some(problem) = parsed.problems.first() {
        return Err(format!("{problem}\n{text}").into());
    }
    Ok(RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks))
}

/// Starts a worker in a cgroup; it begins when `begin` is called.
pub(crate) fn worker(cgroup: &Cgroup, words: &[&str]) -> Outcome<Child> {
    let own = std::env::current_exe()?;
    let procs = cgroup.procs();
    let procs = procs.to_str().ok_or("a cgroup that is not UTF-8")?;
    let child = Command::new(own).args(["enter", procs]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    Ok(child)
}

/// Lets workers begin together and waits for their sums.
pub(crate) fn finish(mut workers: Vec<Child>) -> Outcome<Vec<Sum>> {
    for worker in &mut workers {
        drop(worker.stdin.take());
    }
    workers.into_iter().map(sum_of).collect()
}

fn sum_of(mut worker: Child) -> Outcome<Sum> {
    let mut text = String::new();
    worker.stdout.take().ok_or("no stdout")?.read_to_string(&mut text)?;
    let status = worker.wait()?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [passed, refused, other] if status.success() => Ok(Sum { passed: *passed, refused: *refused, other: *other }),
        _ => Err(format!("a worker ended with {status} and said {text:?}").into()),
    }
}

/// Adds up.
pub(crate) fn total(sums: &[Sum]) -> Sum {
    sums.iter().fold(Sum::default(), |a, b| Sum {
        passed: a.passed + b.passed,
        refused: a.refused + b.refused,
        other: a.other + b.other,
    })
}

// === impl Scene ===

impl Scene {
    /// Loads the programs.
    pub(crate) fn open(id: &str, programs: Programs) -> Outcome<Self> {
        let mut load = LoadOptions::default();
        let version = if programs == Programs::Shipped {
            ABI_VERSION
        } else {
            load.only = Some(LABELS_AND_OPENS);
            ABI_VERSION + 1000
        };
        if let Programs::RoomFor(tasks) = programs {
            load.tasks = tasks;
        }
        let held = Pins::of_version(version).root().exists();
        let began = Instant::now();
        let enforcer = BpfEnforcer::open_as(id, Opening { version, load })?;
        println!("  {} in {:.1} s", if held { "adopted" } else { "loaded" }, began.elapsed().as_secs_f64());
        let begun = Counters::read(enforcer.maps(), &enforcer.pins().programs()?)?;
        Ok(Self { enforcer, runs: 0, version, begun, held })
    }

    /// Puts a new cgroup under a table.
    pub(crate) fn protect(&mut self, spec: &str) -> Outcome<Protected> {
        let cgroup = self.cgroup()?;
        self.protect_cgroup(cgroup, spec)
    }

    /// A new cgroup.
    pub(crate) fn cgroup(&mut self) -> Outcome<Cgroup> {
        self.runs += 1;
        // Not among those of `palisade run`, which removes empty ones.
        let directory = Path::new(CGROUPS).join(format!("races/{}", self.runs));
        fs::create_dir_all(&directory)?;
        Ok(Cgroup::open(&directory)?)
    }

    /// Puts a cgroup under a table.
    pub(crate) fn protect_cgroup(&mut self, cgroup: Cgroup, spec: &str) -> Outcome<Protected> {
        let opening = Opening { version: self.version, load: LoadOptions::default() };
        let mut enforcer = BpfEnforcer::open_as(&format!("races-{}", self.runs), opening)?;
        let table = Table::build(&rules(spec)?, 1, enforcer.next_table_id()?)?;
        let workload = enforcer.protect(cgroup.clone(), &table, Mode::Enforce)?;
        Ok(Protected { enforcer, workload, cgroup, generation: 1 })
    }

    /// A counter's growth since the programs were loaded by this scene.
    pub(crate) fn counted(&self, counter: Counter) -> Outcome<u64> {
        Ok(self.enforcer.maps().counters.get(counter)?)
    }

    /// Tells what the kernel counted as trouble. Ring losses are none here: nobody reads the ring.
    pub(crate) fn troubles(&self) -> Outcome<Vec<Trouble>> {
        let now = Counters::read(self.enforcer.maps(), &self.enforcer.pins().programs()?)?;
        let mut troubles = now.troubles_since(&self.begun);
        troubles.retain(|trouble| trouble.name != Counter::EventsLost.name());
        Ok(troubles)
    }

    /// Detaches the programs.
    pub(crate) fn close(self, checks: &mut Checks) -> Outcome<()> {
        let troubles = self.troubles()?;
        for trouble in &troubles {
            println!("  trouble: {}", trouble.text());
        }
        // Calls of a pair of programs may be left out each at its time: what follows from both is looked for itself.
        let grave = |trouble: &Trouble| {
            trouble.name != Counter::Unresolvable.name()
                && !PAIRS.contains(&trouble.name.as_str())
                && !trouble.is_closed(&troubles)
        };
        checks.say("nothing went wrong in the kernel meanwhile (counters, calls left out)", !troubles.iter().any(grave));
        // The last tasks are freed a moment after their end.
        let begun = Instant::now();
        let labelled = || self.enforcer.pins().labelled_threads();
        while !labelled()?.is_empty() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(50));
        }
        checks.say("no thread that has ended keeps a label", labelled()?.is_empty());
        let pins = self.enforcer.pins().root().to_owned();
        self.enforcer.leave()?;
        if self.held {
            checks.say("the programs stay for who held them before", pins.exists());
        } else {
            checks.say("the programs are detached", !pins.exists());
        }
        Ok(())
    }
}

// === impl Protected ===

impl Protected {
    /// The next table.
    pub(crate) fn table(&mut self, rules: &RuleSet) -> Outcome<Table> {
        self.generation += 1;
        Ok(Table::build(rules, self.generation, self.enforcer.next_table_id()?)?)
    }

    /// Starts a worker in it.
    pub(crate) fn worker(&self, words: &[&str]) -> Outcome<Child> {
        worker(&self.cgroup, words)
    }

    /// Lets it go; its workers have ended.
    pub(crate) fn release(self) -> Outcome<()> {
        let Self { enforcer, workload, cgroup, generation: _ } = self;
        cgroup.wait_empty(Some(Duration::from_secs(10)))?;
        let begun = Instant::now();
        while !enforcer.maps().tasks.holders(workload.label)?.is_empty() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(50));
        }
        enforcer.release(workload)?;
        Ok(cgroup.remove()?)
    }
}

// === impl Checks ===

impl Checks {
    pub(crate) fn say(&mut self, text: &str, holds: bool) {
        println!("{} {text}", if holds { "ok" } else { "FAIL" });
        self.failed |= !holds;
    }
}
