//! The commands as they are typed; doc comments here are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::deps;
use crate::kernels;
use crate::suite;
use crate::vm::{self, Cache, ConsoleSink, DEFAULT_BOOT_TIMEOUT_SECONDS, DEFAULT_LSM, KernelSpec, PayloadFile, Vm, selftest};

/// Developer commands of Palisade.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all tests: format, lints, tests on this machine, tests in a virtual machine
    Test(Test),
    /// Run every test of the virtual machine on every supported kernel, the races in full
    ///
    /// Exit code 1 if a test fails on a kernel, a kernel differs from what tests/kernels declares, or verifying a
    /// program takes more than a fifth more instructions than tests/kernels/verified.toml says.
    TestKernels(TestKernels),
    /// Show a real nginx under its policy, and what becomes of attempts from inside
    Demo,
    /// Build, boot and check test virtual machines
    #[command(subcommand)]
    Vm(VmCommand),
    /// Count the instructions that Palisade adds, in a virtual machine, and hold them against the budgets
    ///
    /// Exit code 1 if a budget is exceeded, 3 if the figures are incomplete or cannot be trusted. See docs/benchmarks.md.
    Bench(Bench),
    /// Print, or install, the Debian packages that the project needs on this machine
    Deps(Deps),
}

#[derive(Debug, Args)]
struct Bench {
    #[command(flatten)]
    kernel: KernelChoice,
    /// The 60-byte path alone, under 10 and 1,000 rules
    #[arg(long, conflicts_with = "write")]
    quick: bool,
    /// Replace the figures in docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// Measure this palisade, not a release build of the sources
    #[arg(long, value_name = "FILE")]
    palisade: Option<PathBuf>,
    /// Stop the guest after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

#[derive(Debug, Args)]
struct Test {
    /// Leave the virtual machine out: nothing of BPF-LSM is tested then
    #[arg(long)]
    no_vm: bool,
}

#[derive(Debug, Args)]
struct TestKernels {
    /// This kernel alone: 6.1, 6.12, newest, sid
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<KernelSpec>,
    /// Rewrite tests/kernels/verified.toml with what is found
    #[arg(long)]
    bless: bool,
    /// Only what loads and what verifying takes, no tests
    #[arg(long)]
    facts: bool,
}

#[derive(Debug, Args)]
struct Deps {
    /// Install those that are missing, with apt-get (as root)
    #[arg(long)]
    install: bool,
}

#[derive(Debug, Subcommand)]
enum VmCommand {
    /// Build what a boot needs: root file system, kernel, initial file system
    ///
    /// Kept in target/vm, or where PALISADE_VM_CACHE says, until the recipe
    /// changes. `vm run` does the same when it has to.
    Prepare(Prepare),
    /// Boot a machine and run a command in it
    ///
    /// The exit code is the command's. 124: stopped by the timeout. 123: the
    /// guest's kernel panicked. 122: the guest ended without a result for
    /// another reason. 125: the harness failed.
    Run(Run),
    /// Check that the harness tells success from every kind of failure
    Selftest(Selftest),
}

/// Which kernel to boot.
#[derive(Debug, Args)]
struct KernelChoice {
    /// 5.10, 6.1, 6.12, newest (trixie-backports), sid, or SUITE/PACKAGE of Debian
    #[arg(long, value_name = "KERNEL", default_value_t = KernelSpec::default())]
    kernel: KernelSpec,
}

#[derive(Debug, Args)]
struct Prepare {
    #[command(flatten)]
    kernel: KernelChoice,
    /// Ask the mirror again which version the kernel's name stands for
    #[arg(long)]
    refresh: bool,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    kernel: KernelChoice,
    /// The kernel's list of security modules, in order
    #[arg(long, value_name = "LIST", default_value = DEFAULT_LSM)]
    lsm: String,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Memory of the guest, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Processors of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    smp: u8,
    /// Stop the guest after this many seconds; a busy host needs five times what an idle one takes
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Boot once more if the command has not started after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_BOOT_TIMEOUT_SECONDS)]
    boot_timeout: u64,
    /// Count time in instructions, on one processor, so that measurements repeat
    #[arg(long)]
    icount: bool,
    /// Bring a file or directory into the guest's /payload (may be repeated)
    #[arg(long = "file", value_name = "HOSTPATH[:GUESTNAME]")]
    files: Vec<PayloadFile>,
    /// Bring what the guest leaves in /payload/out into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The most that the guest may leave in /payload/out, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    out_size: u32,
    /// Keep the guest's console in this file besides
    #[arg(long, value_name = "FILE")]
    keep_log: Option<PathBuf>,
    /// The command and its arguments, run in /payload; for a shell: sh -c 'WORDS'
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct Selftest {
    #[command(flatten)]
    kernel: KernelChoice,
}

// === impl Xtask ===

impl Xtask {
    /// Does what was asked and returns the exit code.
    ///
    /// # Errors
    /// The command itself failed; what a guest or a test returns is the exit code.
    pub fn run(self) -> Result<u8> {
        let Self { command } = self;
        match command {
            Command::Test(Test { no_vm }) => suite::test(!no_vm),
            Command::TestKernels(TestKernels { kernel, bless, facts }) => {
                kernels::run(&kernels::Options { kernel, bless, facts })
            }
            Command::Demo => suite::demo(),
            Command::Bench(Bench { kernel, quick, write, palisade, timeout }) => {
                let (kernel, timeout) = (kernel.kernel, Duration::from_secs(timeout));
                bench::run(&bench::Options { quick, write, kernel, timeout, palisade })
            }
            Command::Deps(Deps { install }) => run_deps(install),
            Command::Vm(VmCommand::Prepare(prepare)) => run_prepare(&prepare),
            Command::Vm(VmCommand::Run(run)) => run_vm(run),
            Command::Vm(VmCommand::Selftest(Selftest { kernel })) => selftest::run(&Cache::open()?, &kernel.kernel),
        }
    }
}

fn run_deps(install: bool) -> Result<u8> {
    let missing = deps::missing(None)?;
    for package in deps::PACKAGES {
        let mark = if missing.contains(package) { "missing" } else { "ok" };
        println!("{mark:8} {:24} {}", package.name, package.why);
    }
    if missing.is_empty() {
        return Ok(0);
    }
    if install {
        deps::install(&missing)?;
        return Ok(0);
    }
    println!("\n{}", deps::install_line(&missing));
    Ok(1)
}

fn run_prepare(prepare: &Prepare) -> Result<u8> {
    let Prepare { kernel, refresh } = prepare;
    let vm::Prepared { kernel, root } = vm::prepare(&Cache::open()?, &kernel.kernel, *refresh)?;
    println!("kernel     {}", kernel.release);
    println!("vmlinuz    {}", kernel.vmlinuz.display());
    println!("initramfs  {}", kernel.initramfs.display());
    println!("root       {}", root.path.display());
    Ok(0)
}

fn run_vm(run: Run) -> Result<u8> {
    let Run { kernel, lsm, append, memory, smp, timeout, boot_timeout, icount, files, out, out_size, keep_log, command } = run;
    let report = vm::run(
        &Cache::open()?,
        &Vm {
            command,
            kernel: kernel.kernel,
            lsm,
            append,
            memory_mib: memory,
            processors: smp,
            timeout: Duration::from_secs(timeout),
            boot_timeout: Duration::from_secs(boot_timeout),
            icount,
            files,
            out,
            out_mib: out_size,
            log: keep_log,
            console: ConsoleSink::Stdout,
        },
    )?;
    if !report.console.is_empty() && !report.console.ends_with('\n') {
        eprintln!();
    }
    eprintln!("xtask: {}", report.summary());
    Ok(report.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn the_guests_command_is_not_read_as_ours() {
        let parsed =
            Xtask::try_parse_from(["xtask", "vm", "run", "--icount", "--file", "/a:b", "--", "sh", "-c", "--help"]).unwrap();
        let Command::Vm(VmCommand::Run(run)) = parsed.command else {
            panic!("not vm run");
        };
        assert!(run.icount && run.files.len() == 1);
        assert_eq!(run.command, ["sh", "-c", "--help"]);
    }
}
