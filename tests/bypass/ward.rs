//! Keeps cgroups under policies for the bypass suite, which makes them and says what to do, a line each:
//!
//! ```text
//! protect NAME PID POLICY   puts the cgroup of a process under a policy, resolved in that process's root -> protected
//! events                    what was reported since the last time: NAME VERDICT RULE OBJECT, a line each -> end
//! leave                     another has read the ring meanwhile: what it took is not lost                 -> left
//! release                   lets all go; their processes are gone                                        -> released
//! ```
//! The programs are loaded when it says `ready`, once, and detached at the end of its input. Built with the feature
//! `test-controls` its programs are those of the control build, whose closers can be opened (`pal_test_off`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use palisade_agent::enforce::bpf::BpfEnforcer;
use palisade_bpf::abi::Event;
use palisade_bpf::ring::{Gaps, Reader};
use palisade_ruleset::Workload;
use palisade_system_tests::runner::Guarded;

/// Where the cgroup2 tree of a guest is.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Records taken from the ring at once.
const BATCH: usize = 256;

struct Ward {
    /// Keeps the programs loaded, between workloads as well.
    holder: BpfEnforcer,
    reader: Reader,
    gaps: Gaps,
    guarded: BTreeMap<String, Guarded>,
    count: u32,
}

fn main() -> Result<()> {
    let holder = BpfEnforcer::open("ward").context("cannot use BPF-LSM")?;
    let reader = Reader::new(&holder.maps().events)?;
    let mut ward = Ward { holder, reader, gaps: Gaps::default(), guarded: BTreeMap::new(), count: 0 };
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["protect", name, pid, policy] => {
                ward.protect(name, pid.parse().context("a process number")?, policy.as_ref())?;
                writeln!(out, "protected")?;
            }
            ["events"] => {
                ward.events(&mut out)?;
                writeln!(out, "end")?;
            }
            ["leave"] => {
                ward.gaps = Gaps::default();
                writeln!(out, "left")?;
            }
            ["release"] => {
                ward.release()?;
                writeln!(out, "released")?;
            }
            _ => bail!("no such order: {line}"),
        }
        out.flush()?;
    }
    ward.release()?;
    ward.holder.leave()?;
    Ok(())
}

// === impl Ward ===

impl Ward {
    fn protect(&mut self, name: &str, pid: u32, policy: &Path) -> Result<()> {
        let cgroup = cgroup_of(pid)?;
        let yaml = fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        self.count += 1;
        let id = format!("ward-{}", self.count);
        let guarded = Guarded::begin(&id, &cgroup, (&root, pid), &yaml, &Workload::run())?;
        ensure!(self.guarded.insert(name.to_owned(), guarded).is_none(), "{name} is protected already");
        Ok(())
    }

    fn events(&mut self, out: &mut impl io::Write) -> Result<()> {
        loop {
            let records = self.reader.take(BATCH)?;
            if records.is_empty() {
                let lost = self.gaps.take();
                ensure!(lost == 0, "{lost} events were lost");
                return Ok(());
            }
            for record in records {
                let event = Event::decode(&record)?;
                self.gaps.note(event.cpu, event.number);
                let of = self.guarded.iter().find(|(_, guarded)| guarded.names.label == event.label);
                if let Some((name, guarded)) = of {
                    let seen = guarded.names.seen(&event);
                    writeln!(out, "{name} {:?} {} {}", seen.verdict, seen.rule, seen.object)?;
                }
            }
        }
    }

    fn release(&mut self) -> Result<()> {
        while let Some((name, guarded)) = self.guarded.pop_first() {
            let released = guarded.release().with_context(|| format!("cannot release {name}"))?;
            eprintln!("{name}: {released:?}");
        }
        Ok(())
    }
}

/// The cgroup that a process is in.
fn cgroup_of(pid: u32) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("no process {pid}"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup2 tree")?;
    ensure!(!path.is_empty(), "process {pid} is in the root cgroup");
    Ok(Path::new(CGROUPS).join(path))
}
