//! One pass over one case: a fresh root, acting probes, perhaps a protection, then every access.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cgroup::{CaseCgroup, RunCgroup};
use super::enforcer::{Enforcer, InProcess, ProtectError, SeenEvent, Target};
use super::home::{Home, Setting};
use super::kit::Kit;
use super::process::{Outcome, Process, Start};
use super::root::{Root, needs_network};
use crate::corpus::{AccessCase, Case};
use crate::lower;

/// Longer than a tick of the clock that stamps inodes (10 ms at 100 Hz): what is made before and after differ in ctime.
const TICK: Duration = Duration::from_millis(12);

/// What was seen of one access.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// What the program was answered.
    pub(super) outcome: Outcome,
    /// What the back end reported meanwhile.
    pub(super) events: Vec<SeenEvent>,
}

/// What came of one pass.
#[derive(Debug)]
pub(super) enum Pass {
    /// Each access; `None` for those that no kernel makes.
    Ran(Vec<Option<Observed>>),
    /// The back end says that it cannot do this.
    Unsupported(String),
}

/// What every pass needs.
pub(super) struct Place<'a> {
    /// The programs and the directory of roots.
    pub(super) kit: &'a Kit,
    /// The run's cgroup.
    pub(super) cgroup: Option<&'a RunCgroup>,
    /// How workloads are made.
    pub(super) setting: Setting,
    /// Who owns what the cases give no owner.
    pub(super) owner: u32,
}

impl Place<'_> {
    /// Runs every access of a case, protected where there is an enforcer.
    pub(super) fn run(
        &self,
        case: &Case,
        policy_yaml: &str,
        name: &str,
        mut enforcer: Option<&mut dyn Enforcer>,
    ) -> Result<Pass> {
        // Entering a cgroup waits for the whole machine, and the pass without policy needs none.
        let setting = if enforcer.is_some() { self.setting } else { self.setting.without_policy() };
        let by_cgroup = enforcer.as_ref().is_some_and(|e| e.by_cgroup()) && setting != Setting::Runc;
        let made = self.cgroup.filter(|_| by_cgroup).map(|c| c.case(name)).transpose()?;
        let root = Root::build(self.kit, case, name, setting, self.cgroup, self.owner)?;
        let home = root.home()?;
        let cgroup = home.cgroup().or(made.as_ref().map(CaseCgroup::path));
        let clocks = enforcer.is_some() && !(case.tree.links.is_empty() && case.tree.late_links.is_empty());
        if clocks {
            thread::sleep(TICK);
        }
        let actors = self.start(case, home, cgroup)?;
        if clocks {
            thread::sleep(TICK);
        }
        root.late_links()?;
        // The protection lives as long as the acting probes.
        let mut in_force = None;
        if let Some(enforcer) = enforcer.as_deref_mut() {
            let tasks: Vec<(u32, String)> = actors.iter().map(|(s, p)| (p.pid(), s.program.clone())).collect();
            let target = Target {
                cgroup,
                root: root.inside(),
                namespaces: home.pid()?,
                tasks: &tasks,
                policy_yaml,
                workload: &lower::workload(case),
            };
            match enforcer.protect(&target) {
                Ok(protection) => in_force = Some(protection),
                Err(ProtectError::Unsupported(why)) => return Ok(Pass::Unsupported(why)),
                Err(ProtectError::Failed(error)) => return Err(error.context("cannot protect")),
            }
            let in_process = in_force.as_ref().map_or(&[][..], |p| p.in_process.as_slice());
            ensure!(in_process.is_empty() || in_process.len() == actors.len(), "not every task is protected");
            for ((start, actor), in_process) in actors.iter().zip(in_process) {
                restrict(actor, in_process).with_context(|| format!("{} cannot restrict itself", start.program))?;
            }
        }
        let mut seen = Vec::new();
        for (index, access) in case.access.iter().enumerate() {
            if access.decide_only.is_some() {
                seen.push(None);
                continue;
            }
            root.prepare(access).with_context(|| format!("cannot prepare {:?}", access.op))?;
            if let Some(enforcer) = enforcer.as_deref_mut() {
                enforcer.events()?;
            }
            let actor = actors.get(&start_of(access)).context("no acting probe")?;
            let outcome = actor.perform(&command(index, access, &actors)?, None)?;
            let events = match enforcer.as_deref_mut() {
                Some(enforcer) => enforcer.events()?,
                None => Vec::new(),
            };
            seen.push(Some(Observed { outcome, events }));
        }
        drop(actors);
        drop(in_force);
        Ok(Pass::Ran(seen))
    }

    /// Starts the acting probes and the tasks they act upon, and makes the sockets from before the policy.
    fn start(&self, case: &Case, home: &Home, cgroup: Option<&Path>) -> Result<BTreeMap<Start, Process>> {
        let network = needs_network(case);
        let stdio = case.workload.stdio.as_ref().map(|s| {
            let mode = match (s.readable, s.writable) {
                (true, true) => "rw",
                (false, true) => "w",
                (_, false) => "r",
            };
            (s.path.as_str(), mode)
        });
        let mut actors: BTreeMap<Start, Process> = BTreeMap::new();
        for (index, access) in case.access.iter().enumerate().filter(|(_, a)| a.decide_only.is_none()) {
            for start in std::iter::once(start_of(access)).chain(target_of(access)) {
                if let Entry::Vacant(place) = actors.entry(start) {
                    let process = home.start(&self.kit.probe, cgroup, place.key(), network, stdio)?;
                    place.insert(process);
                }
            }
            if access.op.is_on_early_socket() {
                let actor = actors.get(&start_of(access)).context("no acting probe")?;
                let early = format!("{index} early later={} {}", access.op.name(), socket_words(index, access)?);
                // A family that the kernel lacks shows up again in the access itself.
                actor.perform(&early, None)?;
            }
        }
        Ok(actors)
    }
}

/// The acting probe of an access.
fn start_of(access: &AccessCase) -> Start {
    let started_as = access.started_as.clone().unwrap_or_else(|| access.from.clone());
    Start { program: access.from.clone(), started_as, uid: access.uid, tty: access.tty }
}

/// The task that an access is upon.
fn target_of(access: &AccessCase) -> Option<Start> {
    access.target.as_ref().map(|t| Start { program: t.clone(), started_as: t.clone(), uid: access.uid, tty: false })
}

fn restrict(actor: &Process, in_process: &InProcess) -> Result<()> {
    let InProcess { ruleset, seccomp } = in_process;
    for program in seccomp {
        let program: String = program.iter().map(|b| format!("{b:02x}")).collect();
        let outcome = actor.perform(&format!("0 landlock filter={program}"), None)?;
        ensure!(outcome == Outcome::Passed, "seccomp: {outcome:?}");
    }
    let outcome = actor.perform("0 landlock", ruleset.as_ref().map(AsFd::as_fd))?;
    ensure!(outcome == Outcome::Passed, "{outcome:?}");
    Ok(())
}

fn command(index: usize, access: &AccessCase, actors: &BTreeMap<Start, Process>) -> Result<String> {
    let mut words = vec![index.to_string(), access.op.name()];
    let mut word = |key: &str, value: &str| words.push(format!("{key}={}", escape(value)));
    let pid = match target_of(access) {
        Some(target) => actors.get(&target).context("no target")?.pid_inside().to_string(),
        None => String::new(),
    };
    if let Some(path) = &access.path {
        word("path", &path.replace("{pid}", &pid));
    }
    if let Some(to) = &access.to {
        word("to", to);
    }
    if let Some(argv0) = &access.argv0 {
        word("as", argv0);
    }
    for argument in &access.args {
        word("arg", argument);
    }
    for (key, value) in [("capability", &access.capability), ("memfd", &access.memfd)] {
        if let Some(value) = value {
            word(key, value);
        }
    }
    if !pid.is_empty() {
        word("pid", &pid);
    }
    if access.setsid {
        word("setsid", "1");
    }
    if access.socket.is_some() {
        words.push(socket_words(index, access)?);
    }
    Ok(words.join(" "))
}

fn socket_words(index: usize, access: &AccessCase) -> Result<String> {
    let socket = lower::socket(access.socket.as_ref().context("no socket")?)?;
    let mut words = format!("slot={index} family={} type={} protocol={}", socket.family, socket.kind, socket.protocol);
    if let Some(address) = access.address {
        words += &format!(" at={}", sockaddr(address).iter().map(|b| format!("{b:02x}")).collect::<String>());
    }
    Ok(words)
}

/// `struct sockaddr_in` or `sockaddr_in6`, in hexadecimal to the probe.
fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(v4) => [&[2, 0], port.as_slice(), &v4.octets(), &[0; 8]].concat(),
        IpAddr::V6(v6) => [&[10, 0], port.as_slice(), &[0; 4], &v6.octets(), &[0; 4]].concat(),
    }
}

fn escape(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-:".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}
