//! The binaries that a guest runs: static, since a guest has neither cargo nor this machine's libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Step;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where Debian and Ubuntu keep libelf.a and libz.a.
const STATIC_LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// The one source of `tests/bypass` that becomes a library.
const PRELOAD: &str = "preload.c";

/// Static builds of what guests run.
#[derive(Clone, Debug)]
pub struct GuestBinaries {
    /// The product.
    pub palisade: PathBuf,
    /// The corpus by real system calls.
    pub corpus_run: PathBuf,
    /// `palisade run` without its command line, for the scenarios.
    pub minirun: PathBuf,
    /// The attacks of the bypass suite.
    pub bypass: PathBuf,
    /// The library that they put into other programs.
    pub preload: PathBuf,
    /// What puts their workloads under policies.
    pub ward: PathBuf,
    /// The same with the kernel programs of the control build, whose closers can be opened.
    pub ward_controls: PathBuf,
    /// The races against the kernel programs.
    pub races: PathBuf,
    /// Their control.
    pub races_controls: PathBuf,
    /// The life of the kernel side.
    pub lifecycle: PathBuf,
    /// What a kernel is to Palisade.
    pub kernel_facts: PathBuf,
    /// What protects the openers of the stress test.
    pub opens: PathBuf,
    /// The same with programs that leave out parts of the cache's key when told to.
    pub opens_controls: PathBuf,
    /// Its openers and movers.
    pub stress: PathBuf,
}

// === impl GuestBinaries ===

impl GuestBinaries {
    /// Builds them, in a target directory of their own (other flags would rebuild everything in the common one).
    ///
    /// # Errors
    /// The build's.
    pub fn build() -> Result<Self> {
        let step = Step::start("static binaries for guests");
        let target = target_dir().join("guest");
        let cargo = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO"));
            command
                .args(["build", "--locked", "--target", TARGET])
                .args(arguments)
                .current_dir(workspace())
                .env("CARGO_TARGET_DIR", &target)
                .env("LIBBPF_SYS_LIBRARY_PATH", STATIC_LIBRARIES)
                .env("RUSTFLAGS", "-C target-feature=+crt-static");
            command
        };
        // Control builds end up in the same place: first, and out of the way.
        let [ward_controls, opens_controls, races_controls] =
            ["ward-controls", "opens-controls", "races-controls"].map(|name| target.join(name));
        let built = |name: &str| target.join(TARGET).join("debug").join(name);
        let controls =
            ["-p", "palisade-agent", "--example", "opens", "-p", "palisade-system-tests", "--bin", "races", "--bin", "ward"];
        let features = "palisade-agent/static,palisade-system-tests/test-controls";
        step.run(cargo(&controls).args(["--features", features]))?;
        for (from, to) in [("ward", &ward_controls), ("examples/opens", &opens_controls), ("races", &races_controls)] {
            std::fs::copy(built(from), to).with_context(|| format!("copy {from}"))?;
        }
        let bins = ["-p", "palisade", "-p", "palisade-system-tests", "--bins"];
        step.run(cargo(&bins).args(["--features", "palisade/static,palisade-system-tests/static"]))?;
        step.run(&mut cargo(&["-p", "palisade-agent", "--example", "minirun", "--example", "opens", "--features", "static"]))?;
        let bypass = target.join("bypass");
        step.run(&mut attacks(&bypass)?)?;
        let preload = target.join("preload.so");
        let source = workspace().join("tests/bypass").join(PRELOAD);
        step.run(compiler().args(["-shared", "-fPIC", "-nostdlib", "-O1", "-Wall", "-Wextra", "-o"]).arg(&preload).arg(source))?;
        let stress = target.join("stress-opens");
        let source = workspace().join("tests/stress/opens.c");
        step.run(compiler().args(["-O2", "-Wall", "-Wextra", "-static", "-s", "-o"]).arg(&stress).arg(source))?;
        step.done();
        let built = |name: &str| {
            let path = built(name);
            ensure!(path.exists(), "{} was not built", path.display());
            Ok(path)
        };
        Ok(Self {
            palisade: built("palisade")?,
            corpus_run: built("corpus-run")?,
            minirun: built("examples/minirun")?,
            bypass,
            preload,
            ward: built("ward")?,
            ward_controls,
            races: built("races")?,
            races_controls,
            lifecycle: built("lifecycle")?,
            kernel_facts: built("kernel-facts")?,
            opens: built("examples/opens")?,
            opens_controls,
            stress,
        })
    }
}

/// The compiler's command for the attacks of `tests/bypass`: one program of all its files but one.
fn attacks(to: &Path) -> Result<Command> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(workspace().join("tests/bypass")).context("read tests/bypass")? {
        let path = entry.context("read tests/bypass")?.path();
        if path.extension().is_some_and(|extension| extension == "c") && !path.ends_with(PRELOAD) {
            sources.push(path);
        }
    }
    sources.sort();
    let mut command = compiler();
    command.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(to).args(sources);
    Ok(command)
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The common target directory.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Packs a directory of the workspace as a tar file that a guest unpacks.
pub(super) fn pack(directory: &str, to: &Path) -> Result<()> {
    let (parent, name) = directory.rsplit_once('/').unwrap_or((".", directory));
    let status = Command::new("tar").arg("-C").arg(workspace().join(parent)).arg("-cf").arg(to).arg(name).status();
    ensure!(status.context("start tar")?.success(), "tar cannot pack {directory}");
    Ok(())
}
