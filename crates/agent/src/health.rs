//! How the kernel side fares: what it counted, and what of that is trouble, each with what it means and what to do.
//!
//! All counters are of the machine, not of one workload: programs, maps and ring are shared by all of them.
//! What a call that was left out means for enforcement stands in docs/threat-model.md, "Calls that the kernel leaves out".

use std::sync::Arc;

use palisade_bpf::abi::Counter;
use palisade_bpf::maps::{MapError, Maps};
use palisade_bpf::pins::{PinError, Pins};
use palisade_bpf::probe;
use palisade_bpf::stats;
use serde::Serialize;
use thiserror::Error;

pub use palisade_bpf::stats::ProgramStats;

/// What was counted since the programs were loaded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// By counter.
    pub counts: Vec<(Counter, u64)>,
    /// By program.
    pub programs: Vec<ProgramStats>,
}

/// Something that should not have happened, and did so often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What: the name of a counter, or `missed NAME` for calls of a program.
    pub name: String,
    /// How often.
    pub count: u64,
    /// What it means.
    pub effect: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Watches the counters while a workload runs.
#[derive(Debug)]
pub struct Watch {
    maps: Arc<Maps>,
    programs: Vec<(String, u32)>,
    begun: Counters,
    told: Counters,
}

/// Why the counters cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HealthError {
    /// A map cannot be read.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The pins cannot be read.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// No programs are pinned.
    #[error("no Palisade programs of this version are loaded: nothing is enforced by BPF-LSM now, so nothing is counted")]
    NotLoaded,
}

/// Trouble by counter; the others count work.
const TROUBLES: &[(Counter, &str, &str)] = &[
    (Counter::EventsLost, "denials held, but were not told", "let fewer accesses be reported (Audit rules), or report this"),
    (Counter::NoSlot, "accesses were refused, in audited mode let pass, for want of working memory", "report this"),
    (Counter::Unresolvable, "objects whose path cannot be told were accessed; denied where their class denies", FIND_EVENTS),
    (Counter::TaskFull, "forks of workloads failed with EAGAIN: too many labelled threads", "set pids.max on the workloads"),
    (
        Counter::TaskFailed,
        "the label of a thread was not stored at the first try; until it is, the thread is refused what it asks for",
        "look for a shortage of memory; report this if it grows",
    ),
    (Counter::NoTable, "accesses were refused because a label had no table", "start the workloads named by EACCES again"),
    (
        Counter::CgroupFailed,
        "a new cgroup got no label; what enters it from outside is not judged until `palisade run` has put that right",
        "use fewer cgroups (8,192 labelled ones fit)",
    ),
    (Counter::LabelLost, "threads outside of their workload's cgroup are refused everything", "start those workloads again"),
];

const FIND_EVENTS: &str = "look for events with an unresolvable object";

/// What a call means that the kernel left out, by program; for every other, which is an LSM program, an access was not
/// judged.
const MISSED: &[(&str, &str)] = &[
    ("pal_task_newtask", "nothing, as long as pal_task_forked was called for the same fork"),
    ("pal_task_forked", "nothing, as long as pal_task_newtask was called for the same fork"),
    ("pal_task_alloc", "a fork was not held against the number of labelled threads"),
    ("pal_task_exit", "nothing: pal_task_free comes after it"),
    ("pal_task_free", "nothing, where pal_task_exit was called; else a thread id keeps a label until it is used again"),
    ("pal_task_execed", "a thread id keeps a label until it is used again; the label is not freed before"),
    ("pal_cgroup_mkdir", "a new cgroup got no label; what enters it from outside is not judged until palisade put that right"),
    ("pal_cgroup_rmdir", "nothing: ids of cgroups are not used again"),
    ("pal_exec_begin", "a script's interpreter may have been judged by the exec before"),
    ("pal_exec_commit", "a program may have been taken for the one before it"),
    ("pal_label_tasks", "nothing: it is repeated"),
    ("pal_want_write", SEARCHED),
    ("pal_want_write_file", SEARCHED),
    ("pal_kern_path", "a connection to a socket file was judged by the path that the socket was bound by"),
    ("pal_copy_mnt_ns", "a mount namespace of a workload's own counts as foreign: entering it may be refused"),
    ("pal_mntns_install", "a mount namespace counted as foreign: entering it may have been refused"),
];

const SEARCHED: &str = "nothing: the mounts of the file system are searched for the object";

// === impl Counters ===

impl Counters {
    /// Reads all of them.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn read(maps: &Maps, programs: &[(String, u32)]) -> Result<Self, HealthError> {
        Ok(Self { counts: maps.counters.all()?, programs: stats::of(programs) })
    }

    /// Reads those of the programs that are pinned now.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn of_pinned() -> Result<Self, HealthError> {
        let pins = Pins::system();
        let maps = pins.adopt()?.ok_or(HealthError::NotLoaded)?;
        Self::read(&maps, &pins.programs()?)
    }

    /// What is trouble of it.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        self.troubles_since(&Self::default())
    }

    /// What became trouble since an earlier reading.
    #[must_use]
    pub fn troubles_since(&self, earlier: &Self) -> Vec<Trouble> {
        let count = |of: &Self, wanted| of.counts.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, n)| *n);
        let mut troubles = Vec::new();
        for (counter, effect, remedy) in TROUBLES {
            let count = count(self, *counter).saturating_sub(count(earlier, *counter));
            if count > 0 {
                troubles.push(Trouble { name: counter.name().to_owned(), count, effect, remedy });
            }
        }
        for ProgramStats { name, runs: _, recursion_misses, verified_instructions: _ } in &self.programs {
            let before = earlier.programs.iter().find(|program| program.name == *name);
            let count = recursion_misses.saturating_sub(before.map_or(0, |program| program.recursion_misses));
            if count > 0 {
                troubles.push(Trouble { name: format!("missed {name}"), count, effect: missed(name), remedy: MISSED_REMEDY });
            }
        }
        troubles
    }
}

const MISSED_REMEDY: &str = "a kernel that preempts less (preempt=voluntary or lazy) leaves out fewer";

/// Programs that do the same, each by a hook of its own: it is done unless both are left out for the same task.
const SECOND_CHANCES: &[(&str, &str)] = &[("pal_task_newtask", "pal_task_forked"), ("pal_task_exit", "pal_task_free")];

fn missed(program: &str) -> &'static str {
    MISSED.iter().find(|(name, _)| *name == program).map_or("accesses passed without being judged", |(_, effect)| effect)
}

// === impl Trouble ===

impl Trouble {
    /// One line.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { name, count, effect, remedy } = self;
        format!("{name} {count}: {effect}; {remedy}")
    }

    /// Whether a second program did what the one that was left out should have done, or it was done in another way.
    #[must_use]
    pub fn is_closed(&self, all: &[Self]) -> bool {
        let is_searched = self.effect == SEARCHED;
        is_searched
            || SECOND_CHANCES.iter().any(|(first, second)| {
                let missed = |program: &str| all.iter().any(|trouble| trouble.name == format!("missed {program}"));
                (self.name == format!("missed {first}") && !missed(second))
                    || (self.name == format!("missed {second}") && !missed(first))
            })
    }

    /// Whether it is told while it happens. Events that were lost come as losses, objects that cannot be told as events.
    #[must_use]
    pub fn is_told_live(&self) -> bool {
        ![Counter::EventsLost, Counter::Unresolvable].iter().any(|counter| counter.name() == self.name)
    }

    /// Whether labelling the workload's cgroups once more puts it right.
    #[must_use]
    pub fn is_mended_by_labelling(&self) -> bool {
        self.name == Counter::CgroupFailed.name() || self.name == "missed pal_cgroup_mkdir"
    }
}

// === impl Watch ===

impl Watch {
    /// Begins: what was counted so far is of the past.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn begin(maps: &Arc<Maps>, pins: &Pins) -> Result<Self, HealthError> {
        let programs = pins.programs()?;
        let begun = Counters::read(maps, &programs)?;
        Ok(Self { maps: Arc::clone(maps), programs, told: begun.clone(), begun })
    }

    /// What happened since the last call.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn grown(&mut self) -> Result<Vec<Trouble>, HealthError> {
        let now = Counters::read(&self.maps, &self.programs)?;
        let troubles = now.troubles_since(&self.told);
        self.told = now;
        Ok(troubles)
    }

    /// What happened since it began.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn total(&self) -> Result<Vec<Trouble>, HealthError> {
        Ok(Counters::read(&self.maps, &self.programs)?.troubles_since(&self.begun))
    }
}

/// `kernel.ftrace_enabled=0` switches every LSM program off: set back, and said.
pub(crate) fn keep_tracing_on() -> Option<String> {
    if probe::ftrace_enabled() != Some(false) {
        return None;
    }
    Some(match std::fs::write("/proc/sys/kernel/ftrace_enabled", "1") {
        Ok(()) => "kernel.ftrace_enabled was set to 0, which switched enforcement off; it is 1 again".to_owned(),
        Err(error) => format!("kernel.ftrace_enabled is 0, which switches enforcement off, and cannot be set: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(counts: &[(Counter, u64)], programs: &[(&str, u64)]) -> Counters {
        let program = |(name, misses): &(&str, u64)| ProgramStats {
            name: (*name).to_owned(),
            runs: 7,
            recursion_misses: *misses,
            verified_instructions: 100,
        };
        Counters { counts: counts.to_vec(), programs: programs.iter().map(program).collect() }
    }

    #[test]
    fn work_is_no_trouble() {
        let work = [(Counter::Judged, 9), (Counter::Block, 8), (Counter::Audit, 7), (Counter::Unstable, 6), (Counter::Events, 5)];
        assert_eq!(counters(&work, &[("pal_file_open", 0)]).troubles(), vec![]);
    }

    #[test]
    fn what_grew_is_told_with_what_it_means() {
        let before =
            counters(&[(Counter::NoSlot, 3), (Counter::TaskFailed, 1)], &[("pal_file_open", 2), ("pal_task_newtask", 0)]);
        let after = counters(&[(Counter::NoSlot, 3), (Counter::TaskFailed, 5)], &[("pal_file_open", 3), ("pal_task_newtask", 4)]);
        let troubles = after.troubles_since(&before);
        let told: Vec<_> = troubles.iter().map(|trouble| (trouble.name.as_str(), trouble.count)).collect();
        assert_eq!(told, [("task_label_failed", 4), ("missed pal_file_open", 1), ("missed pal_task_newtask", 4)]);
        assert!(troubles[1].text().contains("without being judged"), "{}", troubles[1].text());
        assert!(troubles[2].text().contains("pal_task_forked"), "{}", troubles[2].text());
        assert!(troubles.iter().all(Trouble::is_told_live));
        let closed: Vec<bool> = troubles.iter().map(|trouble| trouble.is_closed(&troubles)).collect();
        assert_eq!(closed, [false, false, true]);
    }

    #[test]
    fn every_counter_is_work_or_trouble() {
        let work = [Counter::Events, Counter::Unstable, Counter::Block, Counter::Audit, Counter::Judged];
        for counter in Counter::ALL {
            let trouble = TROUBLES.iter().any(|(other, ..)| *other == counter);
            assert_ne!(trouble, work.contains(&counter), "{counter:?}");
        }
    }

    #[test]
    fn of_every_program_that_the_kernel_may_leave_out_it_is_said_what_that_means() {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../bpf/src/c");
        let mut seen = 0;
        for file in std::fs::read_dir(sources).unwrap().map(Result::unwrap) {
            // What watches for `run --learn` judges nothing: calls left out are losses there.
            if file.file_name().to_string_lossy().starts_with("watch") {
                continue;
            }
            let text = std::fs::read_to_string(file.path()).unwrap();
            for kind in ["tp_btf", "fentry", "fexit", "iter"] {
                for after in text.split(&format!("\nSEC(\"{kind}/")).skip(1) {
                    let at = after.find("pal_").unwrap();
                    let name = after[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                    assert!(MISSED.iter().any(|(known, _)| *known == name), "{kind}: {name}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 8, "{seen}");
    }
}
