//! `cargo xtask test`: formatting, lints and builds one after the other, of which the first that fails ends it; then the
//! tests on this machine, which mostly wait, beside those in virtual machines, and each comes to its end.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::failures::failed_parts;
use super::guest::{self, GuestBinaries};
use crate::vm::{self, Cache, ConsoleSink, Outcome, PayloadFile, Vm};

/// About five times what the guest's part takes on two idle cores.
const GUEST_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The programs, hundreds of roots on disk and twenty runs at once.
const GUEST_MEMORY_MIB: u32 = 2048;

/// A guest: two run beside each other.
struct Guest {
    name: &'static str,
    /// Groups of parts, as `tests/vm/suite.sh` names them.
    groups: &'static [&'static str],
    /// As `--kernel` of `cargo xtask vm` names it.
    kernel: &'static str,
    /// More of the kernel's command line.
    append: &'static str,
    processors: u8,
}

/// Two guests beside each other, each with what comes after the other in it; shared out to take about as long.
const GUESTS: [&[Guest]; 2] = [
    &[Guest {
        name: "corpus",
        groups: &["corpus", CONTAINERS, "learn", "races", "lifecycle"],
        kernel: "6.1",
        append: "",
        processors: 2,
    }],
    &[
        Guest { name: "run", groups: &["run", "agent"], kernel: "6.1", append: "", processors: 2 },
        // Of all settings the hardest for programs that share memory.
        Guest { name: "opens", groups: &["opens"], kernel: "6.1", append: "preempt=full", processors: 3 },
        // Landlock tells its denials from Linux 6.15 on, where audit is on.
        Guest { name: "newest", groups: &["landlock", "mappings"], kernel: "newest", append: "audit=1", processors: 2 },
    ],
];
/// The group of a sample of the corpus in containers.
const CONTAINERS: &str = "containers";
/// The group in its place where the environment holds [`WHOLE`]: every case in a container, which takes minutes more.
const CONTAINERS_WHOLE: &str = "containers-whole";
/// The name in the environment.
const WHOLE: &str = "PALISADE_WHOLE_CORPUS";

/// Every known way around, each with its control: minutes, so only where `PALISADE_BYPASS` is set.
const BYPASS: Guest = Guest { name: "bypass", groups: &["bypass"], kernel: "6.1", append: "", processors: 2 };
const BYPASS_SWITCH: &str = "PALISADE_BYPASS";
/// Judged opens of the stress test, on each of two file systems, unless `PALISADE_STRESS_OPENS` says otherwise.
const STRESS_OPENS: u32 = 50_000;

/// A step on the host.
struct HostStep {
    name: &'static str,
    arguments: &'static [&'static str],
}

const HOST_STEPS: &[HostStep] = &[
    HostStep { name: "format", arguments: &["fmt", "--all", "--check"] },
    HostStep { name: "lints", arguments: &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"] },
    HostStep { name: "tests, built", arguments: &["test", "--locked", "--workspace", "--no-run"] },
];
/// All of them, whichever fails.
const HOST_TESTS: HostStep =
    HostStep { name: "tests on this machine", arguments: &["test", "--locked", "--workspace", "--no-fail-fast"] };
/// What its lines begin with among those of guests.
const HERE: &str = "here";
/// How libtest begins what it says of the tests that failed.
const FAILURES: &str = "failures:";
/// So many lines of that are said again at the end.
const FAILURE_LINES: usize = 60;

/// Runs everything; with `vm` false all but the virtual machine.
///
/// # Errors
/// A step that fails, by name.
pub fn test(vm: bool) -> Result<u8> {
    for step in HOST_STEPS {
        host(step)?;
    }
    if !vm {
        tests_here()?;
        eprintln!("xtask: SKIPPED: the virtual machine (--no-vm): nothing of BPF-LSM was tested");
        return Ok(0);
    }
    everywhere()?;
    eprintln!("xtask: all passed");
    Ok(0)
}

fn host(step: &HostStep) -> Result<()> {
    let started = Instant::now();
    let status = step.command().status().context("start cargo")?;
    step.done(started, status.success())
}

/// The tests on this machine, each line behind a name; those that failed once more in the error.
fn tests_here() -> Result<()> {
    let started = Instant::now();
    let (reader, writer) = io::pipe().context("make a pipe")?;
    let mut command = HOST_TESTS.command();
    command.stdout(writer.try_clone().context("duplicate a pipe")?).stderr(writer);
    let mut child = command.spawn().context("start cargo")?;
    // With it go the ends of the pipe, so that it ends when cargo does.
    drop(command);
    let mut failures = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read what cargo says")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        // A closed standard output is no reason to stop.
        let _ = writeln!(io::stdout(), "{HERE:<7} | {line}");
        if line == FAILURES || (!failures.is_empty() && failures.len() < FAILURE_LINES) {
            failures.push(line);
        }
    }
    let status = child.wait().context("wait for cargo")?;
    let failures: String = failures.iter().map(|line| format!("\n    {line}")).collect();
    HOST_TESTS.done(started, status.success()).map_err(|error| anyhow!("{error}{failures}"))
}

fn everywhere() -> Result<()> {
    let binaries = GuestBinaries::build()?;
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let files = payload(&binaries, scratch.path())?;
    let cache = Cache::open()?;
    // Kernels and root first, one after the other; the guests then find them.
    for guest in GUESTS.iter().copied().flatten() {
        vm::prepare(&cache, &guest.kernel.parse()?, false)?;
    }
    eprintln!("xtask: === tests on this machine and in virtual machines");
    let results = thread::scope(|scope| {
        let here = scope.spawn(tests_here);
        let running = GUESTS
            .map(|guests| scope.spawn(|| guests.iter().map(|guest| in_guest(guest, &cache, files.clone())).collect::<Vec<_>>()));
        let here = here.join().unwrap_or_else(|_| Err(anyhow!("the thread of the tests on this machine panicked")));
        let guests =
            running.map(|thread| thread.join().unwrap_or_else(|_| vec![Err(anyhow!("a virtual machine's thread panicked"))]));
        guests.into_iter().flatten().chain([here]).collect::<Vec<_>>()
    });
    together(results.into_iter())?;
    if std::env::var_os(BYPASS_SWITCH).is_none() {
        eprintln!("xtask: SKIPPED: the bypass suite ({BYPASS_SWITCH}=1 runs it)");
        return Ok(());
    }
    in_guest(&BYPASS, &cache, files)
}

/// All the errors, so that the last lines say what failed in each guest and not only in the first.
fn together(results: impl Iterator<Item = Result<()>>) -> Result<()> {
    let errors: Vec<String> = results.filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("\n")) }
}

fn in_guest(guest: &Guest, cache: &Cache, files: Vec<PayloadFile>) -> Result<()> {
    let Guest { name, groups, kernel, append, processors } = guest;
    let out = guest::target_dir().join("vm-results").join(name);
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let whole = std::env::var_os(WHOLE).is_some();
    let groups = groups.iter().map(|group| if whole && *group == CONTAINERS { CONTAINERS_WHOLE } else { *group });
    let opens = match std::env::var("PALISADE_STRESS_OPENS") {
        Ok(text) => text.parse().with_context(|| format!("PALISADE_STRESS_OPENS={text}"))?,
        Err(_) => STRESS_OPENS,
    };
    let opens = format!("OPENS={opens}");
    let command = ["env", &opens, "bash", "suite.sh"].into_iter().chain(groups);
    let report = vm::run(
        cache,
        &Vm {
            timeout: GUEST_TIMEOUT,
            memory_mib: GUEST_MEMORY_MIB,
            files,
            out: Some(out.clone()),
            log: Some(out.join("console.txt")),
            console: ConsoleSink::Named(name),
            kernel: kernel.parse()?,
            append: (*append).to_owned(),
            processors: *processors,
            ..Vm::new(command)
        },
    )?;
    eprintln!("xtask: {name}: {}", report.summary());
    match report.outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(code) => {
            let parts: String = failed_parts(&report.console).iter().map(|part| format!("\n  {part}")).collect();
            bail!("{name}, in a virtual machine, failed (exit code {code}); details in {}{parts}", out.display())
        }
        Outcome::Failed(cause) => bail!("the virtual machine of {name} gave no result: {cause}"),
    }
}

/// What the guest gets in /payload.
pub(crate) fn payload(binaries: &GuestBinaries, scratch: &Path) -> Result<Vec<PayloadFile>> {
    let GuestBinaries {
        palisade,
        corpus_run,
        minirun,
        bypass,
        preload,
        ward,
        ward_controls,
        opens,
        opens_controls,
        stress,
        races,
        races_controls,
        lifecycle,
        kernel_facts,
    } = binaries;
    let mut files = vec![
        PayloadFile::new(palisade, "palisade")?,
        PayloadFile::new(corpus_run, "corpus-run")?,
        PayloadFile::new(minirun, "minirun")?,
        PayloadFile::new(bypass, "bypass")?,
        PayloadFile::new(preload, "preload.so")?,
        PayloadFile::new(ward, "ward")?,
        PayloadFile::new(ward_controls, "ward-controls")?,
        PayloadFile::new(races, "races")?,
        PayloadFile::new(races_controls, "races-controls")?,
        PayloadFile::new(lifecycle, "lifecycle")?,
        PayloadFile::new(kernel_facts, "kernel-facts")?,
        PayloadFile::new(opens, "opens")?,
        PayloadFile::new(opens_controls, "opens-controls")?,
        PayloadFile::new(stress, "stress-opens")?,
    ];
    for (directory, name) in [("testdata/decisions", "decisions.tar"), ("examples", "examples.tar")] {
        let tar = scratch.join(name);
        guest::pack(directory, &tar)?;
        files.push(PayloadFile::new(tar, name)?);
    }
    for (path, name) in [
        ("tests/vm/suite.sh", "suite.sh"),
        ("tests/vm/nginx.sh", "nginx.sh"),
        ("tests/vm/landlock.sh", "landlock.sh"),
        ("tests/vm/bypass.sh", "bypass.sh"),
        ("tests/vm/bypass-place.sh", "bypass-place.sh"),
        ("docs/threat-model.md", "threat-model.md"),
        ("tests/bypass/attacks.tsv", "attacks.tsv"),
        ("tests/vm/learn.sh", "learn.sh"),
        ("tests/vm/agent.sh", "agent.sh"),
        ("crates/agent/tests/vm/scenarios.sh", "scenarios.sh"),
        ("tests/stress/stress.sh", "stress.sh"),
    ] {
        files.push(PayloadFile::new(guest::workspace().join(path), name)?);
    }
    Ok(files)
}

// === impl HostStep ===

impl HostStep {
    /// Says what is done.
    fn command(&self) -> Command {
        let Self { name, arguments } = self;
        eprintln!("xtask: === {name}: cargo {}", arguments.join(" "));
        let mut command = Command::new(env!("CARGO"));
        command.args(*arguments).current_dir(guest::workspace());
        command
    }

    fn done(&self, started: Instant, success: bool) -> Result<()> {
        let Self { name, .. } = self;
        eprintln!("xtask: === {name}: {:.0} s", started.elapsed().as_secs_f64());
        ensure!(success, "{name} failed");
        Ok(())
    }
}
