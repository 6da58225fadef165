//! Builds the probe (`probe/*.c`), which the runner carries inside itself: where it runs there is no compiler.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same for both programs: no C library, and no instrumentation that would need one.
const COMMON: [&str; 8] = [
    "-O2",
    "-Wall",
    "-Wextra",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-tree-loop-distribute-patterns",
    "-s",
];
/// At fixed addresses, in one small segment less.
const PROBE: [&str; 6] =
    ["-static", "-no-pie", "-fno-pie", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-z,norelro"];
/// With the interpreter that `tree.dynamic` of a case promises.
const DYNAMIC: [&str; 3] = ["-pie", "-fpie", "-Wl,-dynamic-linker,/lib/ld-probe.so.1"];

fn main() {
    println!("cargo::rerun-if-changed=probe");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let probe = ["probe.c", "file.c", "socket.c", "task.c", "launch.c"].map(|name| Path::new("probe").join(name));
    compile(&PROBE, &probe, &out.join("probe"));
    compile(&DYNAMIC, &[Path::new("probe").join("dynamic.c")], &out.join("dynamic"));
}

fn compile(flags: &[&str], sources: &[PathBuf], output: &Path) {
    let target = env::var("TARGET").unwrap_or_default();
    let host = env::var("HOST").unwrap_or_default();
    let arch = target.split('-').next().unwrap_or_default();
    let compiler = match env::var("CC") {
        Ok(cc) => cc,
        Err(_) if target == host => "cc".to_owned(),
        Err(_) => format!("{arch}-linux-gnu-gcc"),
    };
    let status = Command::new(&compiler).args(COMMON).args(flags).arg("-o").arg(output).args(sources).status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("cannot build the probe with {compiler}: {other:?}"),
    }
}
