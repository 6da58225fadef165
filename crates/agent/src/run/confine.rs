//! Choosing a back end and arming it.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use palisade_bpf::load::LoadError;
use palisade_ruleset::{Gained, RuleId, RuleSet, Tree};

use super::watching::{self, WatchConfinement};
use super::{Choice, Refused, RunError, RunOptions, command};
use crate::cgroup::Cgroup;
use crate::enforce::bpf::{BpfEnforcer, BpfError, OpenError, ProtectedWorkload, Released};
use crate::enforce::enforcer::Failure;
use crate::enforce::landlock::{
    self, AuditReader, AuditUnavailable, Explainer, KernelLandlock, Plan, PlanOptions, RealView, Weight,
};
use crate::enforce::table::{self, Table};
use crate::enforce::{Backend, Coverage, Gap, bpf_gaps, bpf_inherent};
use crate::health::{HealthError, Watch};
use crate::learn::Watcher;
use crate::links::{self, LinkFollower, Relink, Relinked};
use crate::pipeline::{AuditSource, Destination, Enricher, Legends, Pipeline, PipelineError, Sink};
use crate::tree::{Lookups, Observed, RootTree};

/// An armed back end.
pub(super) enum Confinement {
    /// The cgroup is under a table.
    Bpf(Box<BpfConfinement>),
    /// The stub restricts itself by the plan in this file.
    Landlock(Box<LandlockConfinement>),
    /// Nothing is denied, and tracepoints watch.
    Watched(Box<WatchConfinement>),
    /// Nothing: supervision alone.
    Unenforced(Coverage),
}

pub(super) struct LandlockConfinement {
    plan: PathBuf,
    coverage: Coverage,
    inherent: Vec<Gap>,
    /// What tells denials, until the pipeline takes it; or why nothing does.
    reports: Result<Reports, String>,
}

/// Denials from the kernel's audit log.
struct Reports {
    source: Mutex<Option<AuditSource>>,
    legends: Legends,
    /// The stub's process number, once it has started.
    first: Arc<OnceLock<u32>>,
}

pub(super) struct BpfConfinement {
    protection: Arc<Mutex<Option<Protection>>>,
    coverage: Coverage,
    inherent: Vec<Gap>,
}

/// A workload under a table, with what the next table is made of. Shared with the thread that follows links; gone once
/// the workload is released.
pub(super) struct Protection {
    enforcer: BpfEnforcer,
    workload: ProtectedWorkload,
    rules: RuleSet,
    generation: u64,
    legends: Legends,
}

/// The rules of a run, with the tree that they are resolved in.
struct RunRules {
    tree: RootTree,
    protection: Arc<Mutex<Option<Protection>>>,
}

/// The generation of a run's first table.
const FIRST_GENERATION: u64 = 1;

/// Why arming ended: the back end does not serve, or something failed that no other back end would mend.
pub(super) enum Stop {
    Unsupported(String),
    Failed(RunError),
}

// === impl Confinement ===

impl Confinement {
    pub(super) fn backend(&self) -> Option<Backend> {
        match self {
            Self::Bpf(_) => Some(Backend::Bpf),
            Self::Landlock(_) => Some(Backend::Landlock),
            Self::Watched(_) | Self::Unenforced(_) => None,
        }
    }

    /// What watches, where that was asked for.
    pub(super) fn watcher(&self, options: &RunOptions) -> Option<Watcher> {
        match (self, options.enforcer) {
            (Self::Watched(watched), _) => Some(watched.watcher()),
            (Self::Bpf(_), Choice::Watch(_)) => Some(Watcher::Lsm),
            (Self::Bpf(_) | Self::Landlock(_) | Self::Unenforced(_), _) => None,
        }
    }

    pub(super) fn coverage(&self) -> &Coverage {
        match self {
            Self::Bpf(bpf) => &bpf.coverage,
            Self::Landlock(landlock) => &landlock.coverage,
            Self::Watched(watched) => watched.coverage(),
            Self::Unenforced(coverage) => coverage,
        }
    }

    /// What the back end never does, whatever the policies say.
    pub(super) fn inherent(&self) -> &[Gap] {
        match self {
            Self::Bpf(bpf) => &bpf.inherent,
            Self::Landlock(landlock) => &landlock.inherent,
            Self::Watched(_) | Self::Unenforced(_) => &[],
        }
    }

    /// The file with what the stub has to apply to itself.
    pub(super) fn plan(&self) -> Option<PathBuf> {
        match self {
            Self::Landlock(landlock) => Some(landlock.plan.clone()),
            Self::Bpf(_) | Self::Watched(_) | Self::Unenforced(_) => None,
        }
    }

    /// Starts reading events, where the back end makes any.
    pub(super) fn pipeline(&self, options: &RunOptions, sink: Sink) -> Result<Option<Pipeline>, PipelineError> {
        match self {
            Self::Bpf(bpf) => {
                let protection = lock(&bpf.protection);
                // Released only by what takes this value.
                let Some(Protection { enforcer, workload, legends, .. }) = &*protection else { return Ok(None) };
                let host = Arc::new(options.host.clone());
                let enricher = Enricher::new(host, Arc::new(workload_of(options)), legends.clone());
                let to = Destination { enricher, observer: options.observer.clone(), sink };
                Pipeline::start(enforcer.maps(), enforcer.home(), workload.label, to).map(Some)
            }
            Self::Landlock(landlock) => {
                let Ok(Reports { source, legends, first: _ }) = &landlock.reports else { return Ok(None) };
                let Some(source) = source.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(None) };
                let host = Arc::new(options.host.clone());
                let enricher = Enricher::new(host, Arc::new(workload_of(options)), legends.clone());
                Pipeline::start_audit(source, enricher, sink).map(Some)
            }
            Self::Watched(watched) => {
                let host = Arc::new(options.host.clone());
                let enricher = Enricher::new(host, Arc::new(workload_of(options)), Legends::default());
                watched.pipeline(enricher, sink)
            }
            Self::Unenforced(_) => Ok(None),
        }
    }

    /// Tells it the process number of the stub, before that can be used again.
    pub(super) fn started(&self, pid: u32) {
        if let Self::Landlock(landlock) = self
            && let Ok(Reports { first, .. }) = &landlock.reports
        {
            let _ = first.set(pid); // once
        }
    }

    /// Why denials reach nobody, where that is so.
    pub(super) fn invisible(&self) -> Option<&str> {
        match self {
            Self::Landlock(landlock) => landlock.reports.as_ref().err().map(String::as_str),
            Self::Bpf(_) | Self::Watched(_) | Self::Unenforced(_) => None,
        }
    }

    /// Starts to follow the links that appear on the way of its rules, where the back end can take new rules.
    ///
    /// # Guarantees
    /// When it returns, the rules hold for the links that are there; from then on for those that come.
    pub(super) fn follow_links(&self, tell: links::Tell) -> Result<Option<LinkFollower>, RunError> {
        match self {
            Self::Bpf(bpf) => {
                let tree = RootTree::open("/".as_ref(), SystemTime::now())?;
                let rules = Box::new(RunRules { tree, protection: Arc::clone(&bpf.protection) });
                Ok(LinkFollower::start(rules, tell).map(Some)?)
            }
            // Landlock binds to files when it starts; its gaps say so.
            Self::Landlock(_) | Self::Watched(_) | Self::Unenforced(_) => Ok(None),
        }
    }

    /// Watches how the kernel side fares.
    pub(super) fn watch(&self) -> Result<Option<Watch>, HealthError> {
        match self {
            Self::Bpf(bpf) => {
                let protection = lock(&bpf.protection);
                let watch = protection.as_ref().map(|of| Watch::begin(of.enforcer.maps(), of.enforcer.pins()));
                watch.transpose()
            }
            Self::Landlock(_) | Self::Watched(_) | Self::Unenforced(_) => Ok(None),
        }
    }

    /// Labels the run's cgroups once more.
    pub(super) fn label_again(&self) -> Result<(), BpfError> {
        match self {
            Self::Bpf(bpf) => {
                let protection = lock(&bpf.protection);
                protection.as_ref().map_or(Ok(()), |of| of.enforcer.label_again(&of.workload))
            }
            Self::Landlock(_) | Self::Watched(_) | Self::Unenforced(_) => Ok(()),
        }
    }

    /// Disarms it. The run's processes are gone, or keep what they have.
    pub(super) fn release(self) -> Result<Option<Released>, BpfError> {
        match self {
            Self::Bpf(bpf) => {
                let taken = lock(&bpf.protection).take();
                let Some(Protection { enforcer, workload, .. }) = taken else { return Ok(None) };
                enforcer.release(workload).map(Some)
            }
            Self::Landlock(landlock) => {
                drop(fs::remove_file(landlock.plan)); // the stub removed it, but where it never ran
                Ok(None)
            }
            Self::Watched(_) | Self::Unenforced(_) => Ok(None),
        }
    }
}

// === impl Protection ===

impl Protection {
    /// Resolves the rules again, and puts them into the kernel if they gained names.
    ///
    /// # Guarantees
    /// On error the table in force stays, and the next call tries again.
    pub(super) fn resolve_again(&mut self, tree: &dyn Tree) -> Result<Gained, RunError> {
        let Self { enforcer, workload, rules, generation, legends } = self;
        let mut renewed = rules.clone();
        let gained = renewed.resolve_again(tree);
        if gained.names == 0 {
            return Ok(gained);
        }
        let table_id = enforcer.next_table_id().map_err(BpfError::from)?;
        let table = Table::build(&renewed, *generation + 1, table_id)?;
        // Before the kernel can name a rule of it.
        legends.add(table.id, Arc::clone(&table.rules));
        enforcer.swap(workload, &table)?;
        *generation = table.generation;
        *rules = renewed;
        Ok(gained)
    }
}

// === impl RunRules ===

impl Relink for RunRules {
    fn resolve_again(&mut self, lookups: &dyn Lookups) -> Result<Vec<Relinked>, Failure> {
        let Self { tree, protection } = self;
        let mut protection = lock(protection);
        let Some(protection) = &mut *protection else { return Ok(Vec::new()) };
        let gained = protection.resolve_again(&Observed { tree, lookups })?;
        Ok(vec![Relinked { whose: String::new(), gained, generation: protection.generation }])
    }
}

/// The lock is never held across anything that panics halfway: what it guards is whole.
pub(super) fn lock(protection: &Mutex<Option<Protection>>) -> MutexGuard<'_, Option<Protection>> {
    protection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arms the first back end that serves.
pub(super) fn arm(
    options: &RunOptions,
    id: &str,
    cgroup: &Result<Cgroup, String>,
    rules: &RuleSet,
) -> Result<(Confinement, Vec<Refused>), RunError> {
    let candidates: &[Backend] = match &options.enforcer {
        Choice::Auto => &[Backend::Bpf, Backend::Landlock],
        Choice::Only(backend) => std::slice::from_ref(backend),
        Choice::Watch(watchers) => return watching::arm(options, *watchers, id, cgroup, rules),
        Choice::Unenforced => {
            let coverage = Coverage::None("no enforcement was asked for".to_owned());
            return Ok((Confinement::Unenforced(coverage), Vec::new()));
        }
    };
    let mut refused = Vec::new();
    for backend in candidates {
        let armed = match backend {
            Backend::Bpf => arm_bpf(options, id, cgroup, rules),
            Backend::Landlock => arm_landlock(options, id, rules),
        };
        match armed {
            Ok(confinement) => return Ok((confinement, refused)),
            Err(Stop::Unsupported(reason)) => refused.push(Refused { backend: *backend, reason }),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Err(RunError::NoBackend(refused))
}

pub(super) fn arm_bpf(
    options: &RunOptions,
    id: &str,
    cgroup: &Result<Cgroup, String>,
    rules: &RuleSet,
) -> Result<Confinement, Stop> {
    let coverage = Coverage::of(bpf_gaps(rules));
    strict(options, &coverage)?;
    if !rustix::process::geteuid().is_root() {
        // Said first: that no cgroup can be made follows from it.
        return Err(Stop::Unsupported(LoadError::NotPrivileged.to_string()));
    }
    let cgroup = cgroup.as_ref().map_err(|reason| Stop::Unsupported(format!("no cgroup for the run: {reason}")))?;
    let mut enforcer = BpfEnforcer::open(id).map_err(|error| match error {
        OpenError::Shared(error) if !error.is_denied() => Stop::Failed(error.into()),
        error @ (OpenError::Load(_) | OpenError::NeverCalled(_) | OpenError::Nested | OpenError::Shared(_)) => {
            Stop::Unsupported(error.to_string())
        }
    })?;
    let legends = Legends::of(enforcer.home().clone());
    match protect(options, &mut enforcer, cgroup, rules, &legends) {
        Ok(workload) => {
            let protection = Protection { enforcer, workload, rules: rules.clone(), generation: FIRST_GENERATION, legends };
            let protection = Arc::new(Mutex::new(Some(protection)));
            Ok(Confinement::Bpf(Box::new(BpfConfinement { protection, coverage, inherent: bpf_inherent() })))
        }
        Err(error) => {
            drop(enforcer.leave()); // the error at hand matters more; the next palisade cleans up
            Err(Stop::Failed(error))
        }
    }
}

fn protect(
    options: &RunOptions,
    enforcer: &mut BpfEnforcer,
    cgroup: &Cgroup,
    rules: &RuleSet,
    legends: &Legends,
) -> Result<ProtectedWorkload, RunError> {
    enforcer.use_cache(options.fast_path);
    let table_id = enforcer.next_table_id().map_err(BpfError::from)?;
    let table = Table::build(rules, FIRST_GENERATION, table_id)?;
    legends.add(table.id, Arc::clone(&table.rules));
    Ok(enforcer.protect(cgroup.clone(), &table, options.workload.mode)?)
}

fn arm_landlock(options: &RunOptions, id: &str, rules: &RuleSet) -> Result<Confinement, Stop> {
    let kernel = KernelLandlock::ask().map_err(|error| Stop::Unsupported(error.to_string()))?;
    let mut plan_options = PlanOptions::new(kernel.abi());
    plan_options.start = options.command.first().and_then(|word| command::find(word)).map(into_bytes);
    let reader = AuditReader::open();
    plan_options.reports = reader.is_ok();
    let plan = Plan::new(rules, &RealView, &plan_options).map_err(|error| Stop::Unsupported(error.to_string()))?;
    let reports = reports(reader, &plan, rules);
    let (unmet, inherent): (Vec<_>, Vec<_>) = plan.gaps.iter().partition(|gap| gap.weight == Weight::Unmet);
    let coverage = Coverage::of(unmet.into_iter().flat_map(gaps_of).collect());
    let inherent = inherent.into_iter().flat_map(gaps_of).collect();
    strict(options, &coverage)?;
    let path = hand_over(id, &plan).map_err(|error| Stop::Failed(RunError::Plan(error)))?;
    Ok(Confinement::Landlock(Box::new(LandlockConfinement { plan: path, coverage, inherent, reports })))
}

/// What tells the denials of a plan, or why nothing does.
fn reports(reader: Result<AuditReader, AuditUnavailable>, plan: &Plan, rules: &RuleSet) -> Result<Reports, String> {
    if plan.handled.is_empty() {
        return Err("what seccomp refuses and what a dropped capability denies is never told".to_owned());
    }
    let reader = reader.map_err(|error| error.to_string())?;
    let stub = fs::read_link("/proc/self/exe").map(into_bytes).map_err(|error| format!("/proc/self/exe: {error}"))?;
    let first = Arc::new(OnceLock::new());
    let source = AuditSource { reader, explainer: Explainer::new(rules, &RealView), stub, first: Arc::clone(&first) };
    let legends = Legends::default();
    legends.add(0, table::names(rules));
    Ok(Reports { source: Mutex::new(Some(source)), legends, first })
}

/// Writes the plan where only this user can read it, or put another in its place: in a file of its own, made new.
fn hand_over(id: &str, plan: &Plan) -> io::Result<PathBuf> {
    let path = env::temp_dir().join(format!("palisade-{id}.plan"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = plan.write_to(BufWriter::new(&file)).map_err(io::Error::other);
    written.map(|()| path)
}

/// One gap of ours for each rule that a gap of Landlock's concerns.
fn gaps_of(gap: &landlock::Gap) -> Vec<Gap> {
    let landlock::Gap { difference, effect: _, weight: _, class: _, rules, text } = gap;
    let mk = |rule| Gap { rule, name: difference.title(), text: format!("({difference}): {text}") };
    if rules.is_empty() {
        return vec![mk(None)];
    }
    let id = |rule: &u32| usize::try_from(*rule).ok().and_then(RuleId::new);
    rules.iter().map(|rule| mk(id(rule))).collect()
}

fn into_bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

/// With `--strict`, gaps are a reason not to take a back end.
fn strict(options: &RunOptions, coverage: &Coverage) -> Result<(), Stop> {
    if !options.strict || *coverage == Coverage::Full {
        return Ok(());
    }
    let names: Vec<&str> = coverage.gaps().iter().map(|gap| gap.name).collect();
    Err(Stop::Unsupported(format!(
        "{coverage} ({}), which --strict refuses; --gaps without --strict tells each",
        names.join(", ")
    )))
}

/// Restricts this process by the plan in a file, which is removed.
pub(super) fn apply(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    fs::remove_file(path)?;
    let plan = Plan::read_from(BufReader::new(file)).map_err(io::Error::other)?;
    let applied = landlock::restrict_current_process(&plan).map_err(|error| io::Error::other(chain(&error)))?;
    for landlock::LeftOut { path, reason } in applied.left_out {
        eprintln!("palisade: not granted: {}: {reason}", String::from_utf8_lossy(&path).escape_debug());
    }
    Ok(())
}

/// An error and what it came from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The run as events name it.
fn workload_of(options: &RunOptions) -> palisade_event::Workload {
    palisade_event::Workload {
        namespace: options.workload.namespace.clone(),
        container: options.name.clone(),
        labels: options.workload.labels.clone(),
        ..palisade_event::Workload::default()
    }
}
