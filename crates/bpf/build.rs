//! Compiles the BPF C programs of `src/c` into the objects that the crate embeds: what enforces, and what only watches.
//!
//! `PALISADE_BPF_OBJECT=/path/to/palisade.bpf.o` and `PALISADE_BPF_WATCH_OBJECT=/path/to/watch.bpf.o` take prebuilt objects
//! instead, for builds without clang.
//! `CLANG` names another compiler.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Compilers in order of preference: what PATH calls clang, then Debian 12's oldest supported one.
const COMPILERS: [&str; 2] = ["clang", "clang-14"];

/// Each object, and the variable that names a prebuilt one.
const OBJECTS: [(&str, &str); 2] = [("palisade", "PALISADE_BPF_OBJECT"), ("watch", "PALISADE_BPF_WATCH_OBJECT")];

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
    println!("cargo::rerun-if-env-changed=CLANG");
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("src/c");
    watch(&sources)?;
    link_zstd()?;
    for (name, prebuilt) in OBJECTS {
        compile(&sources, name, prebuilt)?;
    }
    Ok(())
}

/// One object: `src/c/NAME.bpf.c`, or what the environment names instead.
fn compile(sources: &Path, name: &str, prebuilt: &str) -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={prebuilt}");
    let object = PathBuf::from(variable("OUT_DIR")?).join(format!("{name}.bpf.o"));
    if let Some(file) = env::var_os(prebuilt) {
        let file = Path::new(&file);
        println!("cargo::rerun-if-changed={}", file.display());
        return fs::copy(file, &object).map(drop).map_err(|e| format!("cannot copy {prebuilt} {}: {e}", file.display()));
    }
    let source = sources.join(format!("{name}.bpf.c"));
    let mut clang = Command::new(compiler()?);
    clang.args(arguments(sources, &libbpf_headers()?)?).arg("-c").arg(&source).arg("-o").arg(&object);
    if env::var_os("CARGO_FEATURE_TEST_CONTROLS").is_some() {
        clang.arg("-DPAL_TEST_CONTROLS");
    }
    let output = clang.output().map_err(|e| format!("cannot start {clang:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("cannot compile {}: {}", source.display(), String::from_utf8_lossy(&output.stderr)))
}

/// The headers of the libbpf that will load the object, in a directory.
fn libbpf_headers() -> Result<PathBuf, String> {
    let include = PathBuf::from(variable("OUT_DIR")?).join("include");
    let directory = include.join("bpf");
    fs::create_dir_all(&directory).map_err(|e| format!("cannot make {}: {e}", directory.display()))?;
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(directory.join(name), text).map_err(|e| format!("cannot write {name}: {e}"))?;
    }
    Ok(include)
}

/// A static libelf may have been built with zstd (Ubuntu's is), of which libbpf-sys does not know.
fn link_zstd() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=LIBBPF_SYS_LIBRARY_PATH");
    if env::var_os("CARGO_FEATURE_STATIC").is_none() {
        return Ok(());
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let named = env::var("LIBBPF_SYS_LIBRARY_PATH").unwrap_or_default();
    let usual = format!("/usr/lib/{arch}-linux-gnu");
    if let Some(directory) = named.split(':').chain([usual.as_str()]).find(|dir| Path::new(dir).join("libzstd.a").exists()) {
        println!("cargo::rustc-link-search=native={directory}");
        println!("cargo::rustc-link-lib=static=zstd");
    }
    Ok(())
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
         or give prebuilt objects with PALISADE_BPF_OBJECT and PALISADE_BPF_WATCH_OBJECT="
        .to_owned())
}

/// `asm/types.h` lies in the multiarch directory, which clang does not search for the bpf target.
fn arguments(sources: &Path, libbpf: &Path) -> Result<Vec<String>, String> {
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        return Err("the tables are little-endian: big-endian targets are not supported".to_owned());
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let arch_of_kernel = match arch.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => other,
    };
    let mut arguments = vec![
        format!("-I{}", sources.display()),
        format!("-I{}", libbpf.display()),
        format!("-I/usr/include/{arch}-linux-gnu"),
        format!("-D__TARGET_ARCH_{arch_of_kernel}"),
        // The object holds debugging information, whose paths would be those of this machine.
        "-fdebug-compilation-dir=.".to_owned(),
        format!("-ffile-prefix-map={}=.", sources.display()),
        format!("-ffile-prefix-map={}=libbpf", libbpf.display()),
    ];
    // -g: BTF is made from it. The BPF target knows no stack protector.
    let fixed = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-fno-stack-protector", "-Wall", "-Werror"];
    arguments.extend(fixed.map(str::to_owned));
    Ok(arguments)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}
