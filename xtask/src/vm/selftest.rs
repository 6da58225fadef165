//! Shows that the harness tells success from every kind of failure.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Cache, Cause, ConsoleSink, KernelSpec, Outcome, PayloadFile, Phase, Report, Vm, run as boot};
use crate::vm::{EXIT_NO_RESULT, EXIT_PANIC, EXIT_TIMEOUT};

/// How long a guest that hangs is left to it. A boot takes 4 s on an idle host;
/// on a busy one the timeout falls into the boot, and the outcome is the same.
const HANG: Duration = Duration::from_secs(12);
/// Bytes of the file that goes in and comes back: more than any one buffer, 3 MiB and one.
const FILE_BYTES: usize = (3 << 20) + 1;
/// Memory of the guest that runs out of it, in MiB: little, to run out soon.
const LITTLE_MEMORY_MIB: u32 = 320;

/// Prints the instructions of a loop: the least of many tries, as a measurement
/// should, for the guest's kernel has work of its own at moments that depend on
/// the host's disk.
const COUNTED_LOOP: &str = "
import time
def count():
    start = time.perf_counter_ns()
    sum(range(20000))
    return time.perf_counter_ns() - start
print('ns', min(count() for _ in range(50)))
";

/// What a check needs.
struct Setting<'a> {
    cache: &'a Cache,
    kernel: &'a KernelSpec,
}

/// One check; its description says what must hold.
struct Check {
    name: &'static str,
    run: fn(&Setting<'_>) -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check { name: "an exit code comes back, from the kernel and with the LSMs that were asked for", run: exit_code },
    Check { name: "files and directories go in and come out unchanged", run: files },
    Check { name: "words reach the command as they are, and a signal is 128 + n", run: words_and_signal },
    Check { name: "a guest whose kernel panics is a failure, and is not tried again", run: panic },
    Check { name: "a boot that panics before the command starts is tried once more, then is a failure", run: panic_in_boot },
    Check { name: "a boot that hangs is tried once more, then is a failure", run: hang_in_boot },
    Check { name: "a guest that hangs is stopped by the timeout", run: hang },
    Check { name: "a guest that powers off without a result is a failure, whatever it printed", run: silent },
    Check { name: "a command that uses up the memory is named as such", run: memory },
    Check { name: "too much in /payload/out is a failure", run: too_much_out },
    Check { name: "with instruction counting, time repeats", run: icount },
];

/// Runs all checks with `kernel` and returns the exit code: 0 if all pass, else 1.
///
/// # Errors
/// What booting needs cannot be built.
pub fn run(cache: &Cache, kernel: &KernelSpec) -> Result<u8> {
    let prepared = super::prepare(cache, kernel, false)?;
    println!("kernel {kernel}: {}", prepared.kernel.release);
    let setting = Setting { cache, kernel };
    let mut failed = 0_usize;
    for Check { name, run } in CHECKS {
        match run(&setting) {
            Ok(()) => println!("PASS {name}"),
            Err(error) => {
                failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }
    println!("{} passed, {failed} failed", CHECKS.len() - failed);
    Ok(u8::from(failed > 0))
}

// === impl Setting ===

impl Setting<'_> {
    /// A machine that runs a line of shell, its console kept for the report.
    fn shell(&self, line: &str) -> Vm {
        Vm { kernel: self.kernel.clone(), console: ConsoleSink::Kept, ..Vm::new(["sh", "-c", line]) }
    }

    /// Boots, says how it went, and fails with all that is known unless the
    /// outcome is as `expected`.
    fn boot(&self, vm: &Vm, expected: fn(&Outcome) -> bool) -> Result<Report> {
        let report = boot(self.cache, vm)?;
        let summary = report.summary();
        ensure!(expected(&report.outcome), "{summary}");
        println!("     {}", summary.lines().last().unwrap_or_default());
        Ok(report)
    }
}

fn exit_code(setting: &Setting<'_>) -> Result<()> {
    let line = "uname -r; cat /sys/kernel/security/lsm; echo; exit 7";
    let report = setting.boot(&setting.shell(line), |outcome| *outcome == Outcome::Exited(7))?;
    print!("{}", indented(&report.console));
    ensure!(report.exit_code() == 7, "xtask would end with another code");
    ensure!(report.console.lines().any(|line| line == report.release), "uname -r says something else than {}", report.release);
    for lsm in ["apparmor", "bpf"] {
        ensure!(
            report.console.lines().any(|line| line.split(',').any(|word| word == lsm)),
            "{lsm} is not among the guest's LSMs"
        );
    }
    Ok(())
}

fn files(setting: &Setting<'_>) -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory")?;
    let content: Vec<u8> = (0..FILE_BYTES).map(|index| (index % 251).to_le_bytes()[0]).collect();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("sub")).context("make a directory")?;
    fs::write(source.join("sub/file"), &content).context("write a file")?;
    let out = dir.path().join("out");
    let vm = Vm {
        files: vec![PayloadFile::new(source.join("sub/file"), "deep/er/name")?, PayloadFile::new(&source, "tree")?],
        out: Some(out.clone()),
        ..setting.shell("cmp deep/er/name tree/sub/file && cp -r tree out/ && mkdir out/empty")
    };
    setting.boot(&vm, |outcome| *outcome == Outcome::Exited(0))?;
    let back = fs::read(out.join("tree/sub/file")).context("read what came back")?;
    ensure!(back == content, "the file came back changed");
    ensure!(out.join("empty").is_dir(), "an empty directory was lost");
    Ok(())
}

fn words_and_signal(setting: &Setting<'_>) -> Result<()> {
    let mut vm = setting.shell("printf '%s|' \"$@\"; kill -TERM $$");
    let words = ["sh", "a b", "it's", "$HOME", "\\n", ""];
    vm.command.extend(words.map(str::to_owned));
    let report = setting.boot(&vm, |outcome| *outcome == Outcome::Exited(143))?;
    ensure!(report.console.contains("a b|it's|$HOME|\\n||"), "the words came out as {:?}", report.console);
    Ok(())
}

fn panic(setting: &Setting<'_>) -> Result<()> {
    let report = setting.boot(&setting.shell("echo c > /proc/sysrq-trigger"), is_panic)?;
    ensure!(report.exit_code() == EXIT_PANIC, "xtask would end with another code");
    ensure!(!report.retried, "it was tried again");
    Ok(())
}

fn panic_in_boot(setting: &Setting<'_>) -> Result<()> {
    let vm = Vm { append: "rdinit=/none root=/dev/none".to_owned(), ..setting.shell("true") };
    let report = setting.boot(&vm, is_panic)?;
    ensure!(report.retried, "it was not tried again");
    Ok(())
}

fn hang(setting: &Setting<'_>) -> Result<()> {
    let vm = Vm { timeout: HANG, ..setting.shell("echo hanging; sleep 3600") };
    let report = setting.boot(&vm, |outcome| matches!(outcome, Outcome::Failed(Cause::TimedOut { .. })))?;
    ensure!(report.exit_code() == EXIT_TIMEOUT, "xtask would end with another code");
    ensure!(report.wall < HANG + Duration::from_secs(5), "it took {:?} to stop it", report.wall);
    Ok(())
}

fn hang_in_boot(setting: &Setting<'_>) -> Result<()> {
    // No boot is that fast; what remains is the same as with one that hangs.
    let vm = Vm { boot_timeout: Duration::from_millis(500), ..setting.shell("true") };
    let report = setting.boot(&vm, |outcome| matches!(outcome, Outcome::Failed(Cause::TimedOut { phase: Phase::Boot, .. })))?;
    ensure!(report.retried, "it was not tried again");
    Ok(())
}

fn silent(setting: &Setting<'_>) -> Result<()> {
    let line = "echo palisade-vm exit 0 1.0; /run/vm/busybox poweroff -f";
    let report = setting.boot(&setting.shell(line), |outcome| *outcome == Outcome::Failed(Cause::Silent))?;
    ensure!(report.exit_code() == EXIT_NO_RESULT, "xtask would end with another code");
    Ok(())
}

fn memory(setting: &Setting<'_>) -> Result<()> {
    let vm = Vm { memory_mib: LITTLE_MEMORY_MIB, ..setting.shell("tail /dev/zero") };
    let report = setting.boot(&vm, |outcome| *outcome == Outcome::Exited(137))?;
    ensure!(report.summary().contains("ran out of memory"), "the summary does not say so");
    Ok(())
}

fn too_much_out(setting: &Setting<'_>) -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory")?;
    let vm = Vm { out: Some(dir.path().join("out")), out_mib: 1, ..setting.shell("head -c 2000000 /dev/zero > out/file") };
    setting.boot(&vm, |outcome| matches!(outcome, Outcome::Failed(Cause::Guest(_))))?;
    ensure!(is_empty(&dir.path().join("out")), "half of it came back");
    Ok(())
}

fn icount(setting: &Setting<'_>) -> Result<()> {
    let mut figures = Vec::new();
    for _ in 0..2 {
        let vm = Vm {
            icount: true,
            command: ["env", "PYTHONHASHSEED=0", "python3", "-c", COUNTED_LOOP].map(str::to_owned).into(),
            ..setting.shell("")
        };
        let report = setting.boot(&vm, |outcome| *outcome == Outcome::Exited(0))?;
        let figure: f64 = report
            .console
            .lines()
            .find_map(|line| line.strip_prefix("ns "))
            .context("no figure")?
            .parse()
            .context("read a figure")?;
        figures.push(figure);
    }
    println!("     instructions of a loop in two boots: {figures:?}");
    let [first, second] = figures.as_slice() else {
        anyhow::bail!("two boots gave {} figures", figures.len());
    };
    ensure!((first - second).abs() / first < 0.01, "they differ by 1 % or more");
    Ok(())
}

fn is_panic(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Cause::Panic(_)))
}

fn indented(console: &str) -> String {
    console.lines().map(|line| format!("     | {line}\n")).collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}
