//! What is brought into the guest: `palisade` as it is released, and the programs of `tests/bench`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{self, Step};
use crate::vm::PayloadFile;

const SOURCES: &str = "tests/bench";
/// No C library, no start: see `child.c`.
const BARE: [&str; 3] = ["-nostdlib", "-no-pie", "-Wl,--build-id=none"];

/// The programs, built.
#[derive(Clone, Debug)]
pub(super) struct Artifacts {
    /// The release build.
    pub(super) palisade: PathBuf,
    bench: PathBuf,
    child: PathBuf,
}

/// What `cargo build --message-format=json` says of a finished target.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
}

// === impl Artifacts ===

impl Artifacts {
    /// Builds all of it, the C programs into `into`; but not `palisade` where it is given.
    ///
    /// # Errors
    /// A build fails.
    pub(super) fn build(into: &Path, palisade: Option<&Path>) -> Result<Self> {
        let sources = crate::workspace_root().join(SOURCES);
        let bench = compile(&sources.join("bench.c"), &into.join("bench"), &[])?;
        let child = compile(&sources.join("child.c"), &into.join("child"), &BARE)?;
        let palisade = match palisade {
            Some(palisade) => palisade.canonicalize().with_context(|| format!("find {}", palisade.display()))?,
            None => build_palisade()?,
        };
        Ok(Self { palisade, bench, child })
    }

    /// The files as the guest's script names them.
    ///
    /// # Errors
    /// Never for these names.
    pub(super) fn payload(&self) -> Result<Vec<PayloadFile>> {
        let Self { palisade, bench, child } = self;
        let script = crate::workspace_root().join(SOURCES).join(super::GUEST_SCRIPT);
        [(palisade.clone(), "palisade"), (bench.clone(), "bench"), (child.clone(), "child"), (script, super::GUEST_SCRIPT)]
            .into_iter()
            .map(|(host, guest)| PayloadFile::new(host, guest))
            .collect()
    }
}

/// Linked with the C library of this machine, which must not be newer than the guest's: Debian 12 has both.
fn build_palisade() -> Result<PathBuf> {
    let step = Step::start("palisade (release build)");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Its messages on standard output are read; its progress on standard error is shown.
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "palisade", "--message-format=json-render-diagnostics"])
        .current_dir(crate::workspace_root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("cargo build ended with {}", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo printed what is not UTF-8")?;
    step.done();
    executable(&messages).context("cargo named no executable of palisade")
}

/// The executable that cargo's messages name last.
fn executable(messages: &str) -> Option<PathBuf> {
    let artifact = |line: &str| serde_json::from_str::<Message>(line).ok();
    let built = messages.lines().filter_map(artifact).filter(|message| message.reason == "compiler-artifact");
    built.filter_map(|message| message.executable).next_back()
}

fn compile(source: &Path, output: &Path, flags: &[&str]) -> Result<PathBuf> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    process::output(
        Command::new(compiler).args(["-O2", "-Wall", "-Wextra", "-static", "-s"]).args(flags).arg("-o").arg(output).arg(source),
    )?;
    Ok(output.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","executable":null,"target":{}}
{"reason":"compiler-artifact","executable":"/t/release/palisade","fresh":true}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/palisade")));
        assert_eq!(executable("not json\n"), None);
    }

    #[test]
    fn the_programs_build_and_the_child_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let sources = crate::workspace_root().join(SOURCES);
        compile(&sources.join("bench.c"), &dir.path().join("bench"), &[]).unwrap();
        let child = compile(&sources.join("child.c"), &dir.path().join("child"), &BARE).unwrap();
        assert!(Command::new(child).status().unwrap().success());
    }
}
