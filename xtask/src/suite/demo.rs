//! `cargo xtask demo`: a real nginx under its policy, and what becomes of attempts from inside.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::guest::{self, GuestBinaries};
use crate::process::Step;
use crate::vm::{self, Cache, Outcome, PayloadFile, Vm};

/// About five times what it takes on two idle cores.
const GUEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Shows it on this machine with the best back end here; where that is not BPF-LSM, in the virtual machine as well.
///
/// # Errors
/// A build that fails, or a demonstration that does not show what it should.
pub fn demo() -> Result<u8> {
    let binaries = GuestBinaries::build()?;
    let probe = Command::new(&binaries.palisade).args(["probe", "--json"]).output().context("start palisade probe")?;
    let probe: serde_json::Value = serde_json::from_slice(&probe.stdout).context("palisade probe --json")?;
    let lines = probe["lines"].as_array().context("no lines in palisade probe --json")?;
    let bpf = lines.iter().any(|line| line["name"] == "bpf-lsm" && line["state"] == "yes");

    eprintln!("\nxtask: === nginx under its policy, on this machine");
    let work = tempfile::tempdir().context("make a scratch directory")?;
    let status = Command::new("bash")
        .arg(guest::workspace().join("tests/vm/nginx.sh"))
        .arg(&binaries.palisade)
        .arg(guest::workspace().join("examples"))
        .arg(if bpf { "bpf" } else { "landlock" })
        .current_dir(work.path())
        .status()
        .context("start bash")?;
    ensure!(status.success(), "the demonstration on this machine failed ({status})");
    if bpf {
        return Ok(0);
    }
    eprintln!("\nxtask: === BPF-LSM does not work on this machine (`palisade probe` says why): the same in a virtual machine");
    in_guest(&binaries)
}

fn in_guest(binaries: &GuestBinaries) -> Result<u8> {
    let step = Step::start("virtual machine");
    let scratch = tempfile::tempdir().context("make a scratch directory")?;
    let examples = scratch.path().join("examples.tar");
    guest::pack("examples", &examples)?;
    let report = vm::run(
        &Cache::open()?,
        &Vm {
            timeout: GUEST_TIMEOUT,
            files: vec![
                PayloadFile::new(&binaries.palisade, "palisade")?,
                PayloadFile::new(examples, "examples.tar")?,
                PayloadFile::new(guest::workspace().join("tests/vm/nginx.sh"), "nginx.sh")?,
            ],
            ..Vm::new(["bash", "-c", "tar -xf examples.tar && bash nginx.sh /payload/palisade /payload/examples bpf"])
        },
    )?;
    step.done();
    match report.outcome {
        Outcome::Exited(0) => Ok(0),
        Outcome::Exited(code) => bail!("the demonstration in the virtual machine failed (exit code {code})"),
        Outcome::Failed(_) => bail!("the virtual machine gave no result"),
    }
}
