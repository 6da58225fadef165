//! The BPF object as the oldest and the newest compiler build it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::process::{self, Step};
use crate::suite;

/// The oldest compiler that is supported.
const OLDEST: u32 = 14;

/// Paths of the objects.
pub(super) struct Objects {
    /// By compiler: `clang-14`.
    pub(super) by_compiler: BTreeMap<String, PathBuf>,
}

// === impl Objects ===

impl Objects {
    /// Builds both, through the build script of the crate.
    pub(super) fn build() -> Result<Self> {
        let newest = newest_clang()?;
        let mut by_compiler = BTreeMap::new();
        for version in [OLDEST, newest] {
            let compiler = format!("clang-{version}");
            let object = object(&compiler)?;
            by_compiler.insert(compiler, object);
        }
        Ok(Self { by_compiler })
    }
}

/// The newest compiler that is installed, as `clang-N` of Debian's packages.
fn newest_clang() -> Result<u32> {
    let versions = |names: &str| names.lines().filter_map(|name| name.trim().strip_prefix("clang-")?.parse().ok()).max();
    let installed: Vec<String> = std::fs::read_dir("/usr/bin")
        .context("list /usr/bin")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if let Some(newest) = versions(&installed.join("\n")).filter(|newest: &u32| *newest > OLDEST) {
        return Ok(newest);
    }
    let listed = process::output(Command::new("apt-cache").args(["search", "--names-only", "^clang-[0-9]+$"]))?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let wanted = versions(&names.join("\n")).unwrap_or(OLDEST + 1);
    bail!(
        "the kernel matrix wants a newer compiler beside clang-{OLDEST}: apt-get install --no-install-recommends clang-{wanted}"
    )
}

/// Builds the object, and takes it from where the build script left it.
fn object(compiler: &str) -> Result<PathBuf> {
    let step = Step::start(format!("BPF object: {compiler}"));
    // The build script would take another one without a word.
    process::output(Command::new(compiler).arg("--version")).with_context(|| format!("{compiler} is wanted"))?;
    let target = suite::target_dir().join("objects");
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["check", "--locked", "-p", "palisade-bpf", "--message-format=json"])
        .current_dir(suite::workspace())
        .env("CARGO_TARGET_DIR", &target)
        .env("CLANG", compiler);
    let messages = process::output(&mut command)?;
    let out = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let ours = message["reason"] == "build-script-executed" && message["package_id"].as_str()?.contains("/crates/bpf#");
        ours.then(|| message["out_dir"].as_str().map(str::to_owned)).flatten()
    });
    let out = out.ok_or_else(|| anyhow!("cargo did not say where the build script of palisade-bpf left its object"))?;
    let object = target.join(format!("{compiler}.bpf.o"));
    std::fs::copy(Path::new(&out).join("palisade.bpf.o"), &object).with_context(|| format!("copy to {}", object.display()))?;
    step.done();
    Ok(object)
}
