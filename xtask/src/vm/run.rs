//! One run: boot, watch, judge, bring back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::cache::Cache;
use super::console::{self, ConsoleSink, LastOutput};
use super::control::Transcript;
use super::kernel::KernelSpec;
use super::payload::{self, PayloadFile};
use super::qemu::{self, Machine};
use super::report::{Cause, Outcome, Phase, Report, SHOWN_LINES};
use super::{Prepared, prepare};
use crate::process;

/// The LSMs of a guest that asks for no others: BPF and AppArmor both work.
pub const DEFAULT_LSM: &str = "landlock,lockdown,yama,integrity,apparmor,bpf";
/// A boot takes 3 s on an idle host, and took 20 s under a load of 15 on two
/// processors; with counted instructions it takes twice as long.
pub const DEFAULT_BOOT_TIMEOUT_SECONDS: u64 = 120;

/// How often a running machine is looked at.
const POLL: Duration = Duration::from_millis(20);
/// What to run, in what machine.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The program and its arguments, started in `/payload`; no shell reads them.
    pub command: Vec<String>,
    /// The kernel to boot.
    pub kernel: KernelSpec,
    /// The kernel's `lsm=` list.
    pub lsm: String,
    /// More words for the kernel's command line.
    pub append: String,
    /// Memory of the guest, in MiB; `/payload` is in it.
    pub memory_mib: u32,
    /// Processors of the guest.
    pub processors: u8,
    /// From the start of QEMU to its end.
    pub timeout: Duration,
    /// From the start of QEMU to the start of the command; a boot that takes
    /// longer hangs, and is tried once more.
    pub boot_timeout: Duration,
    /// Count time in instructions, with one processor: measurements repeat.
    pub icount: bool,
    /// What to bring into `/payload`.
    pub files: Vec<PayloadFile>,
    /// Where to bring what the guest leaves in `/payload/out`.
    pub out: Option<PathBuf>,
    /// The most that it may leave there, in MiB.
    pub out_mib: u32,
    /// Where to keep the console besides.
    pub log: Option<PathBuf>,
    /// Where the console goes while the guest runs.
    pub console: ConsoleSink,
}

/// One boot, before it is judged.
struct Boot {
    end: End,
    silent: Duration,
    wall: Duration,
    console: String,
    errors: String,
    transcript: Transcript,
}

/// How QEMU ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself.
    Ended(ExitStatus),
    /// It was stopped, after this time.
    Stopped(Duration),
}

/// Ends QEMU when dropped, on every way out.
struct Running(Child);

// === impl Vm ===

impl Vm {
    /// A machine as most tests want it, that runs `command`.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            kernel: KernelSpec::default(),
            lsm: DEFAULT_LSM.to_owned(),
            append: String::new(),
            memory_mib: 1024,
            processors: 2,
            timeout: Duration::from_secs(300),
            boot_timeout: Duration::from_secs(DEFAULT_BOOT_TIMEOUT_SECONDS),
            icount: false,
            files: Vec::new(),
            out: None,
            out_mib: 256,
            log: None,
            console: ConsoleSink::Stdout,
        }
    }
}

/// Boots a machine, runs the command in it and brings back the result.
///
/// # Guarantees
/// - The result is the guest's own report; a guest that makes none is
///   [`Outcome::Failed`], whatever it printed.
/// - QEMU has ended when this returns, and ends if this process is killed.
/// - A boot that dies or hangs before the command starts is tried once more, and
///   the report and standard error say so: emulated kernels do that at times.
///
/// # Errors
/// The harness failed: a build, a missing file, a QEMU that does not start, or
/// `/payload/out` not brought back.
pub fn run(cache: &Cache, vm: &Vm) -> Result<Report> {
    let prepared = prepare(cache, &vm.kernel, false)?;
    let first = boot(cache, vm, &prepared)?;
    if !failed_in_boot(vm, &first) {
        return Ok(report(vm, &prepared, first, false));
    }
    let what = judge(vm, &first);
    eprintln!("xtask: the boot failed before the command started ({what}); trying once more");
    let second = boot(cache, vm, &prepared)?;
    Ok(report(vm, &prepared, second, true))
}

fn boot(cache: &Cache, vm: &Vm, prepared: &Prepared) -> Result<Boot> {
    let work = cache.work_dir()?;
    let place = |name: &str| work.path().join(name);
    let staging = place("payload");
    fs::create_dir(&staging).context("create the payload directory")?;
    let payload = place("payload.tar");
    payload::pack(&vm.files, &vm.command, &staging, &payload)?;
    let out_disk = match vm.out {
        Some(_) => {
            let path = place("out.raw");
            File::create(&path).and_then(|file| file.set_len(u64::from(vm.out_mib) << 20)).context("create the out disk")?;
            Some(path)
        }
        None => None,
    };
    let control = place("control");
    let Prepared { kernel, root } = prepared;
    let machine = Machine {
        kernel: &kernel.vmlinuz,
        initramfs: &kernel.initramfs,
        processor: kernel.processor(),
        root: &root.path,
        payload: &payload,
        out: out_disk.as_deref(),
        control: &control,
        lsm: &vm.lsm,
        append: &vm.append,
        memory_mib: vm.memory_mib,
        processors: vm.processors,
        icount: vm.icount,
    };
    let boot = watch(vm, &machine, &place("errors"))?;
    if let (Some(into), Some(disk)) = (&vm.out, &out_disk)
        && boot.transcript.out_bytes.is_some()
    {
        payload::unpack_out(disk, into)?;
    }
    Ok(boot)
}

/// Runs QEMU to its end or the timeout.
fn watch(vm: &Vm, machine: &Machine<'_>, errors: &Path) -> Result<Boot> {
    let log = match &vm.log {
        Some(path) => Some(File::create(path).with_context(|| format!("create {}", path.display()))?),
        None => None,
    };
    let error_file = File::create(errors).context("create a file for QEMU's errors")?;
    let started = Instant::now();
    // setpriv: should this process be killed, the kernel kills QEMU.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", qemu::PROGRAM])
        .args(machine.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(error_file)
        .spawn()
        .context("start QEMU")?;
    let output = child.stdout.take();
    let mut running = Running(child);
    let output = output.context("QEMU has no standard output")?;
    let last = LastOutput::now();
    let sink = vm.console;
    let reader = {
        let last = last.clone();
        thread::spawn(move || console::pump(output, sink, log, &last))
    };
    let mut ready = false;
    let end = loop {
        let Running(child) = &mut running;
        if let Some(status) = child.try_wait().context("wait for QEMU")? {
            break End::Ended(status);
        }
        if started.elapsed() >= vm.timeout {
            break End::Stopped(vm.timeout);
        }
        if !ready && started.elapsed() >= vm.boot_timeout {
            ready = Transcript::parse(&read_lossy(machine.control)).ready.is_some();
            if !ready {
                break End::Stopped(vm.boot_timeout);
            }
        }
        thread::sleep(POLL);
    };
    let silent = last.elapsed();
    drop(running);
    let console = reader.join().map_err(|_| anyhow!("the console reader panicked"))?.context("read the guest's console")?;
    Ok(Boot {
        end,
        silent,
        wall: started.elapsed(),
        console,
        errors: read_lossy(errors),
        transcript: Transcript::parse(&read_lossy(machine.control)),
    })
}

/// The text of a file, empty if there is none.
fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Whether trying again may help: the guest ended or hung before its PID 1
/// reported anything. Not if QEMU failed, or the time for the whole run is up.
fn failed_in_boot(vm: &Vm, boot: &Boot) -> bool {
    let Transcript { ready, error, .. } = &boot.transcript;
    let may_help = match boot.end {
        End::Ended(status) => status.success(),
        End::Stopped(_) => boot.wall < vm.timeout,
    };
    ready.is_none() && error.is_none() && may_help
}

fn judge(vm: &Vm, boot: &Boot) -> Outcome {
    let Boot { end, silent, wall: _, console, errors, transcript } = boot;
    let Transcript { ready, exit, out_bytes, error } = transcript;
    // A panic counts even after the command's end: its traces were still there.
    if let Some(line) = console::panic_line(console) {
        return Outcome::Failed(Cause::Panic(line.trim().to_owned()));
    }
    let status = match end {
        End::Ended(status) => status,
        End::Stopped(after) => {
            let phase = match (ready, exit) {
                (_, Some(_)) => Phase::PowerOff,
                (Some(_), None) => Phase::Command,
                (None, None) => Phase::Boot,
            };
            return Outcome::Failed(Cause::TimedOut { phase, after: *after, silent: *silent });
        }
    };
    if !status.success() {
        let said = process::tail(errors, SHOWN_LINES);
        return Outcome::Failed(Cause::Emulator(format!("{status}: {said}")));
    }
    if let Some(error) = error {
        return Outcome::Failed(Cause::Guest(error.clone()));
    }
    match exit {
        Some(_) if vm.out.is_some() && out_bytes.is_none() => Outcome::Failed(Cause::Silent),
        Some((code, _)) => Outcome::Exited(*code),
        None => Outcome::Failed(Cause::Silent),
    }
}

fn report(vm: &Vm, prepared: &Prepared, boot: Boot, retried: bool) -> Report {
    let outcome = judge(vm, &boot);
    let Boot { end: _, silent: _, wall, console, errors: _, transcript } = boot;
    let Transcript { ready, exit, .. } = transcript;
    Report {
        outcome,
        release: prepared.kernel.release.clone(),
        console,
        ready,
        ended: exit.map(|(_, clock)| clock),
        wall,
        retried,
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let Self(child) = self;
        // Both fail only if it has ended and been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}
