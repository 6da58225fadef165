//! Compiles the BPF C programs of `src/c` into one object that the crate embeds.
//!
//! `PALISADE_BPF_OBJECT=/path/to/palisade.bpf.o` takes a prebuilt object instead, for builds without clang.
//! `CLANG` names another compiler.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libbpf_cargo::SkeletonBuilder;

/// Compilers in order of preference: what PATH calls clang, then Debian 12's oldest supported one.
const COMPILERS: [&str; 2] = ["clang", "clang-14"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("cargo::error={}", text.replace('\n', " | "));
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PALISADE_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CLANG");
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("src/c");
    let object = PathBuf::from(variable("OUT_DIR")?).join("palisade.bpf.o");
    watch(&sources)?;

    if let Some(prebuilt) = env::var_os("PALISADE_BPF_OBJECT") {
        println!("cargo::rerun-if-changed={}", Path::new(&prebuilt).display());
        return fs::copy(&prebuilt, &object)
            .map(|_| ())
            .map_err(|e| format!("cannot copy PALISADE_BPF_OBJECT {}: {e}", Path::new(&prebuilt).display()));
    }
    let source = sources.join("palisade.bpf.c");
    let mut builder = SkeletonBuilder::new();
    builder.source(&source).obj(&object).clang(compiler()?).clang_args(arguments(&sources)?);
    builder.build().map_err(|e| format!("cannot compile {}: {e:#}", source.display()))
}

/// Tells cargo of every file of the C part: `rerun-if-changed` on a directory sees only its own mtime.
fn watch(directory: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let entries = fs::read_dir(directory).map_err(|e| format!("cannot list {}: {e}", directory.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("cannot list {}: {e}", directory.display()))?.path();
        if path.is_dir() {
            watch(&path)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}

/// The first compiler that runs and knows the bpf target.
fn compiler() -> Result<PathBuf, String> {
    let named = env::var("CLANG").ok();
    let candidates = named.as_deref().into_iter().chain(COMPILERS);
    for candidate in candidates {
        let targets = Command::new(candidate).arg("--print-targets").output();
        if targets.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("bpfel")) {
            return Ok(candidate.into());
        }
    }
    Err("no clang with a BPF target found. The BPF programs need clang 14 or later: \
         install the Debian package `clang` (or `clang-14`), name one with CLANG=, \
         or give a prebuilt object with PALISADE_BPF_OBJECT="
        .to_owned())
}

/// `asm/types.h` lies in the multiarch directory, which clang does not search for the bpf target.
fn arguments(sources: &Path) -> Result<Vec<String>, String> {
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        return Err("the tables are little-endian: big-endian targets are not supported".to_owned());
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    Ok(vec![
        format!("-I{}", sources.display()),
        format!("-I/usr/include/{arch}-linux-gnu"),
        "-mcpu=v3".to_owned(),
        "-Wall".to_owned(),
        "-Werror".to_owned(),
    ])
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}
