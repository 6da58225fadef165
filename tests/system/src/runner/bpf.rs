//! The BPF back end under test: each workload gets a label and a table of its own; the programs stay loaded.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use palisade_agent::cgroup::Cgroup;
use palisade_agent::enforce::bpf::{BpfEnforcer, ProtectedWorkload, Released};
use palisade_agent::enforce::table::{Rules, Table};
use palisade_agent::tree::RootTree;
use palisade_bpf::abi::{Event, ObjectKind, Verdict};
use palisade_bpf::ring::Reader;
use palisade_policy::SourceFile;
use palisade_ruleset::{By, RuleSet, Scope, Workload};

use super::enforcer::{Enforcer, ProtectError, Protection, SeenEvent, Target};
use crate::corpus::VerdictCase;

/// The programs, kept loaded, and the ring's only reader.
pub struct Bpf {
    /// Keeps the programs attached between cases.
    _holder: BpfEnforcer,
    reader: Reader,
    current: Rc<RefCell<Option<Names>>>,
    cases: u32,
}

/// What the codes in the events of one workload stand for.
#[derive(Clone, Debug)]
pub struct Names {
    /// The workload's label.
    pub label: u32,
    rules: Rules,
}

/// A workload in a cgroup that somebody else made, under policies.
#[derive(Debug)]
pub struct Guarded {
    enforcer: BpfEnforcer,
    workload: ProtectedWorkload,
    /// For its events.
    pub names: Names,
}

/// Lifts a protection when it is dropped.
struct Guard {
    guarded: Option<Guarded>,
    current: Rc<RefCell<Option<Names>>>,
}

/// Clock ticks a second of /proc/PID/stat, on every architecture that Palisade supports (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;
/// The field of /proc/PID/stat that holds the start time, counted behind the name's closing bracket.
const START_TIME_FIELD: usize = 19;

impl Bpf {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// Where they do not load or are not called.
    pub fn new() -> Result<Self> {
        let holder = BpfEnforcer::open(&format!("corpus-{}", std::process::id())).context("cannot use BPF-LSM")?;
        let reader = Reader::new(&holder.maps().events)?;
        Ok(Self { _holder: holder, reader, current: Rc::default(), cases: 0 })
    }

    fn protect_cgroup(&mut self, target: &Target<'_>, cgroup: &Path) -> Result<Guard> {
        let first = target.tasks.first().context("no acting task")?.0;
        self.cases += 1;
        let id = format!("corpus-{}-{}", std::process::id(), self.cases);
        let guarded = Guarded::begin(&id, cgroup, (target.root, first), target.policy_yaml, target.workload)?;
        *self.current.borrow_mut() = Some(guarded.names.clone());
        Ok(Guard { guarded: Some(guarded), current: Rc::clone(&self.current) })
    }
}

impl Guarded {
    /// Puts whatever runs in a cgroup under policies, which are resolved in the root of a process that runs there.
    ///
    /// # Errors
    /// Policies that are wrong, and whatever the back end says.
    pub fn begin(id: &str, cgroup: &Path, of: (&Path, u32), policy_yaml: &str, workload: &Workload) -> Result<Self> {
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("case.yaml"), text: policy_yaml }]);
        if let Some(problem) = parsed.problems.first() {
            bail!("the policy is wrong: {problem}");
        }
        let (root, pid) = of;
        let tree = RootTree::open(root, start_of(pid)?)?;
        let rules = RuleSet::new(&parsed.policies, workload, &tree);
        let mut enforcer = BpfEnforcer::open(id)?;
        let table = Table::build(&rules, 1, enforcer.next_table_id()?)?;
        let workload = enforcer.protect(Cgroup::open(cgroup)?, &table, workload.mode)?;
        let names = Names { label: workload.label, rules: Arc::clone(&table.rules) };
        Ok(Self { enforcer, workload, names })
    }

    /// Lets it go, once its processes are gone.
    ///
    /// # Errors
    /// The back end's.
    pub fn release(self) -> Result<Released> {
        Ok(self.enforcer.release(self.workload)?)
    }
}

impl Enforcer for Bpf {
    fn name(&self) -> &'static str {
        "bpf"
    }

    fn protect(&mut self, target: &Target<'_>) -> Result<Protection, ProtectError> {
        if target.workload.scope == Scope::Host {
            return Err(ProtectError::Unsupported("host policies are not enforced yet".to_owned()));
        }
        let Some(cgroup) = target.cgroup else {
            return Err(ProtectError::Unsupported("no cgroup2 tree".to_owned()));
        };
        let guard = self.protect_cgroup(target, cgroup).map_err(ProtectError::Failed)?;
        Ok(Protection { in_process: Vec::new(), guard: Box::new(guard) })
    }

    fn events(&mut self) -> Result<Vec<SeenEvent>> {
        let mut seen = Vec::new();
        loop {
            let records = self.reader.take(256)?;
            if records.is_empty() {
                return Ok(seen);
            }
            let current = self.current.borrow();
            for record in records {
                let event = Event::decode(&record)?;
                if let Some(current) = current.as_ref().filter(|c| c.label == event.label) {
                    seen.push(current.seen(&event));
                }
            }
        }
    }
}

impl Names {
    /// Who a code stands for, as cases write it.
    fn name(&self, code: u32) -> String {
        let rule = match By::from_code(code) {
            Some(By::Rule(id)) => self.rules.get(id.index()).map(|r| format!("{}:{}", r.policy.name, r.position)),
            Some(By::DefaultPosture) => Some("DefaultPosture".to_owned()),
            Some(By::BuiltIn(built_in)) => Some(format!("builtin:{}", built_in.name())),
            Some(By::BaseSet) => Some("base".to_owned()),
            Some(By::Nothing) => Some("none".to_owned()),
            None => None,
        };
        rule.unwrap_or_else(|| format!("code {code:#x}"))
    }

    /// An event of the workload, in words.
    #[must_use]
    pub fn seen(&self, event: &Event) -> SeenEvent {
        let rule = self.name(event.code);
        let shadow = event.shadow.map(|(verdict, code)| {
            let verdict = match verdict {
                Verdict::Allow => VerdictCase::Allow,
                Verdict::Audit => VerdictCase::Audit,
                Verdict::Block | Verdict::WouldBlock => VerdictCase::Block,
            };
            (verdict, self.name(code))
        });
        let (verdict, rule, shadow) = match event.verdict {
            Verdict::Allow => (VerdictCase::Allow, String::new(), shadow),
            Verdict::Audit => (VerdictCase::Audit, rule, shadow),
            Verdict::Block => (VerdictCase::Block, rule, shadow),
            Verdict::WouldBlock => (VerdictCase::Allow, String::new(), Some((VerdictCase::Block, rule))),
        };
        let object = match event.object_kind {
            ObjectKind::Path | ObjectKind::Memfd => String::from_utf8_lossy(&event.object).into_owned(),
            ObjectKind::Unresolvable => "(unresolvable)".to_owned(),
            ObjectKind::Socket | ObjectKind::Endpoint4 | ObjectKind::Endpoint6 => {
                let end = event.endpoint.map_or_else(String::new, |end| format!(" {end}"));
                format!("{}:{}:{}{end}", event.family, event.socket_type, event.protocol)
            }
            ObjectKind::Capability => format!("capability {}", event.family),
        };
        SeenEvent { rule, verdict, errno: event.error, operation: format!("{:?}", event.operation), object, shadow }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *self.current.borrow_mut() = None;
        if let Some(guarded) = self.guarded.take()
            && let Err(error) = guarded.release()
        {
            eprintln!("cannot release a case: {error}");
        }
    }
}

/// When a process was started, by the wall clock.
pub(super) fn start_of(pid: u32) -> Result<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks: u64 = fields.split_whitespace().nth(START_TIME_FIELD).context("no start time")?.parse()?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime.split_whitespace().next().context("no uptime")?.parse()?;
    let age = uptime - Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND).as_secs_f64();
    Ok(SystemTime::now() - Duration::from_secs_f64(age.max(0.0)))
}
