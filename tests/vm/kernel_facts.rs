//! What a kernel is to Palisade, as JSON: `kernel-facts [OBJECT]`, as root in a virtual machine. `cargo xtask
//! test-kernels` holds it against what tests/kernels declares. OBJECT: programs built by another compiler.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use palisade_agent::enforce::landlock::KernelLandlock;
use palisade_bpf::load::{LoadError, LoadOptions, load};
use palisade_bpf::{probe, stats};
use serde::Serialize;

/// Lines of a verifier's log that are shown.
const LOG_LINES: usize = 60;

#[derive(Serialize)]
struct Facts {
    release: String,
    lsms: Vec<String>,
    preemption: String,
    landlock_abi: u32,
    /// Instructions verified, by program that loads and attaches.
    programs: BTreeMap<String, u32>,
    /// Sections of optional programs whose hook is not there.
    missing: Vec<String>,
}

fn main() -> Result<()> {
    let object = match std::env::args().nth(1) {
        Some(path) => Some(&*Box::leak(fs::read(&path).with_context(|| format!("read {path}"))?.into_boxed_slice())),
        None => None,
    };
    let loaded = load(LoadOptions { object, ..LoadOptions::default() }).inspect_err(tell_log)?;
    let programs = stats::of(&loaded.ids()).into_iter().map(|program| (program.name, program.verified_instructions)).collect();
    let facts = Facts {
        release: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        lsms: probe::lsms().context("securityfs is not mounted")?,
        preemption: preemption()?,
        landlock_abi: KernelLandlock::ask().map_or(0, |kernel| kernel.abi().version()),
        programs,
        missing: loaded.missing.into_iter().map(|missing| missing.section).collect(),
    };
    println!("{}", serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// The end of what the verifier said: a program that one compiler's object cannot load is mended by that.
fn tell_log(error: &LoadError) {
    let lines: Vec<&str> = error.log().unwrap_or_default().lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        eprintln!("{line}");
    }
}

/// The word in brackets of `none (voluntary) full`: what the kernel chose, where it can choose.
fn preemption() -> Result<String> {
    let text = fs::read_to_string("/sys/kernel/debug/sched/preempt").context("debugfs is not mounted")?;
    let (_, rest) = text.split_once('(').context("no model is chosen")?;
    Ok(rest.split_once(')').context("no model is chosen")?.0.to_owned())
}
