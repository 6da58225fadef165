//! `cargo xtask bench`: what Palisade costs, in instructions.
//!
//! What it is: counts that come out the same on every machine, because the guest's clock counts instructions (QEMU
//! `-icount shift=0`, one processor). What it is not: a measurement of time. Cache misses, branches and contention are
//! not in it. The method is described in `docs/benchmarks.md`.
//!
//! ```text
//! tree -> rules -> plan (steps, policies, profiles) --> vm --> figures (what the guest reported) --\
//! artifacts (palisade, tests/bench/*.c) --------------/                                            budget -> report
//!         \-> tables (palisade policy compile, on the host) ---------------------------------------/
//! ```

mod artifacts;
mod budget;
mod figures;
mod plan;
mod report;
mod rules;
mod tables;
mod tree;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::vm::{self, Cache, ConsoleSink, KernelSpec, Outcome, Vm};
use artifacts::Artifacts;
use figures::Figures;
use plan::{PLAN_FILE, Plan};
use report::Findings;

/// xtask's exit code when a budget is exceeded.
pub const EXIT_OVER_BUDGET: u8 = 1;
/// xtask's exit code when the figures cannot be trusted, or are not all there.
pub const EXIT_DOUBTFUL: u8 = 3;

/// Below the workspace: what the guest runs, and what the command writes.
const GUEST_SCRIPT: &str = "guest.sh";
const DOCUMENT: &str = "docs/benchmarks.md";
/// In MiB: the programs' maps take 200, the tables of 10,000 rules and their making some hundred.
const GUEST_MEMORY_MIB: u32 = 3072;
/// A counted boot takes 20 s on an idle host.
const BOOT_TIMEOUT: Duration = Duration::from_secs(400);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The 60-byte path alone, under 10 and 1,000 rules.
    pub quick: bool,
    /// Replace the figures in `docs/benchmarks.md`.
    pub write: bool,
    /// The kernel to measure on; budgets are those of 6.1.
    pub kernel: KernelSpec,
    /// For the whole guest.
    pub timeout: Duration,
    /// Measure this `palisade` instead of building one.
    pub palisade: Option<PathBuf>,
}

/// Builds, measures, judges and prints. The exit code: 0, [`EXIT_OVER_BUDGET`] or [`EXIT_DOUBTFUL`].
///
/// # Errors
/// A build or the harness failed.
pub fn run(options: &Options) -> Result<u8> {
    let Options { quick, write, kernel, timeout, palisade } = options;
    let work = tempfile::tempdir().context("create a working directory")?;
    let artifacts = Artifacts::build(work.path(), palisade.as_deref())?;
    let tables = tables::compile(&artifacts.palisade, work.path(), *quick)?;
    let plan = if *quick { Plan::quick() } else { Plan::whole() };
    let mut files = plan.write(work.path())?;
    files.extend(artifacts.payload()?);
    let command = ["sh", GUEST_SCRIPT, PLAN_FILE].iter().chain(plan.operations);
    let report = vm::run(
        &Cache::open()?,
        &Vm {
            kernel: kernel.clone(),
            icount: true,
            processors: 1,
            memory_mib: GUEST_MEMORY_MIB,
            timeout: *timeout,
            boot_timeout: BOOT_TIMEOUT,
            files,
            console: ConsoleSink::Stdout,
            ..Vm::new(command.copied())
        },
    )?;
    let figures = Figures::read(&report.console);
    let ended_well = report.outcome == Outcome::Exited(0) && figures.complete;
    let trouble = (!ended_well).then(|| format!("the guest did not end as planned: {}", report.summary()));
    let findings = Findings { plan, figures, tables, release: report.release.clone(), trouble };
    let markdown = findings.markdown();
    println!("\n{markdown}");
    let doubts = findings.doubts();
    for doubt in &doubts {
        eprintln!("xtask: doubtful: {doubt}");
    }
    if *write {
        let path = crate::workspace_root().join(DOCUMENT);
        let document = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(&path, report::replace(&document, &markdown)?).with_context(|| format!("write {}", path.display()))?;
    }
    let over = findings.checks().iter().any(|check| check.met == Some(false));
    Ok(if !doubts.is_empty() {
        EXIT_DOUBTFUL
    } else if over {
        EXIT_OVER_BUDGET
    } else {
        0
    })
}
