//! `cargo xtask test-kernels`: every test of the virtual machine on every kernel that is supported, one after the other.
//!
//! ```text
//! objects (clang-14, the newest clang) -> guest of each kernel: kernel-facts with each object, then tests/vm/suite.sh all
//!   facts    held against tests/kernels/KERNEL.toml: a difference fails, whichever way it goes
//!   verified held against tests/kernels/verified.toml: instructions verified may grow by a fifth
//! ```
//! `--bless` rewrites the second; the first is a declaration and written by hand.

mod declared;
mod objects;
mod verified;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::suite::{self, GuestBinaries};
use crate::vm::{self, Cache, KernelSpec, Outcome, PayloadFile, Vm};
use declared::Declared;
use objects::Objects;
use verified::Verified;

/// The kernels, oldest first: each Debian suite's newest.
const KERNELS: [&str; 4] = ["6.1", "6.12", "newest", "sid"];
/// About five times what one takes on two idle cores: the races in full are most of it.
const TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);
const MEMORY_MIB: u32 = 2048;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// This kernel alone.
    pub kernel: Option<KernelSpec>,
    /// Rewrite `verified.toml` with what is found.
    pub bless: bool,
    /// Only the facts: what loads, and what verifying takes.
    pub facts: bool,
}

/// What a guest's kernel said of itself, with one object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Facts {
    pub(crate) release: String,
    pub(crate) lsms: Vec<String>,
    pub(crate) preemption: String,
    pub(crate) landlock_abi: u32,
    pub(crate) programs: std::collections::BTreeMap<String, u32>,
    pub(crate) missing: Vec<String>,
}

/// A line of the table at the end.
struct Row {
    kernel: String,
    release: String,
    guest: String,
    problems: Vec<String>,
}

/// Runs the matrix. Exit code 1 if a kernel differs from what is declared, or a test fails on it.
///
/// # Errors
/// What keeps a kernel from being tested at all.
pub fn run(options: &Options) -> Result<u8> {
    let binaries = GuestBinaries::build()?;
    let objects = Objects::build()?;
    let cache = Cache::open()?;
    let kernels = match &options.kernel {
        Some(kernel) => vec![kernel.clone()],
        None => KERNELS.iter().map(|name| name.parse()).collect::<Result<_>>()?,
    };
    let path = kernels_dir().join("verified.toml");
    let mut verified = Verified::read(&path)?;
    let mut rows = Vec::new();
    for kernel in &kernels {
        eprintln!("\nxtask: === kernel {kernel}");
        rows.push(one(options, &cache, kernel, &binaries, &objects, &mut verified)?);
    }
    if options.bless {
        verified.write(&path)?;
        eprintln!("xtask: wrote {}", path.display());
    }
    print!("{}", table(&rows));
    Ok(u8::from(rows.iter().any(|row| !row.problems.is_empty())))
}

fn one(
    options: &Options,
    cache: &Cache,
    kernel: &KernelSpec,
    binaries: &GuestBinaries,
    objects: &Objects,
    verified: &mut Verified,
) -> Result<Row> {
    let name = kernel.name().replace('/', "_");
    let out = suite::target_dir().join("vm-results/kernels").join(&name);
    drop(std::fs::remove_dir_all(&out)); // an older result must not pass for this one's
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let mut files = suite::payload(binaries, scratch.path())?;
    for (compiler, object) in &objects.by_compiler {
        files.push(PayloadFile::new(object, format!("{compiler}.bpf.o"))?);
    }
    let groups = if options.facts { "facts" } else { "all" };
    let report = vm::run(
        cache,
        &Vm {
            kernel: kernel.clone(),
            timeout: TIMEOUT,
            memory_mib: MEMORY_MIB,
            files,
            out: Some(out.clone()),
            log: Some(out.join("console.txt")),
            processors: 3,
            // All of the races, and a million opens over two file systems: `make test` does a tenth.
            ..Vm::new(["env", "PALISADE_RACES=100", "OPENS=500000", "bash", "suite.sh", groups])
        },
    )?;
    eprintln!("xtask: {kernel}: {}", report.summary());
    let mut problems = Vec::new();
    match &report.outcome {
        Outcome::Exited(0) => {}
        Outcome::Exited(_) => {
            problems.extend(suite::failed_parts(&report.console).iter().map(ToString::to_string));
        }
        Outcome::Failed(cause) => problems.push(cause.to_string()),
    }
    if problems.is_empty() && report.outcome != Outcome::Exited(0) {
        problems.push(report.outcome.to_string());
    }
    let declared = Declared::read(&kernels_dir().join(format!("{name}.toml")))?;
    for compiler in objects.by_compiler.keys() {
        let path = out.join(format!("facts-{compiler}.json"));
        match read_facts(&path) {
            Ok(facts) => {
                problems.extend(declared.differences(&facts).into_iter().map(|text| format!("{compiler}: {text}")));
                if options.bless {
                    verified.take(&name, compiler, &facts);
                } else {
                    problems.extend(verified.differences(&name, compiler, &facts));
                }
            }
            Err(error) => problems.push(format!("{compiler}: no facts: {error:#}")),
        }
    }
    let guest = report.ended.zip(report.ready).map_or("-".to_owned(), |(end, start)| format!("{} s", (end - start).as_secs()));
    Ok(Row { kernel: kernel.name().to_owned(), release: report.release, guest, problems })
}

fn read_facts(path: &Path) -> Result<Facts> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("\n{:<10} {:<32} {:>8}  result\n", "kernel", "release", "guest");
    for Row { kernel, release, guest, problems } in rows {
        let result = if problems.is_empty() { "passed" } else { "FAILED" };
        text.push_str(&format!("{kernel:<10} {release:<32} {guest:>8}  {result}\n"));
        problems.iter().for_each(|problem| text.push_str(&format!("{:<10}   {problem}\n", "")));
    }
    text
}

fn kernels_dir() -> PathBuf {
    suite::workspace().join("tests/kernels")
}

/// Reads a TOML file of tests/kernels.
fn read_toml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => bail!("{}: {error}: a kernel under test is declared in tests/kernels", path.display()),
    };
    toml::from_str(&text).with_context(|| path.display().to_string())
}
