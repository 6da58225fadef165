//! What `palisade run` promises whatever the back end: exit codes, streams, signals, leftovers. Without enforcement, so
//! that it runs on any machine; those about leftovers need a writable cgroup tree of version 2 (root), and say so.
//!
//! The same and more under BPF: `tests/vm/scenarios.sh`.

#![expect(clippy::unwrap_used, reason = "all of it is tests, their helpers included")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The example, which cargo builds before it runs tests, unless it is told to build one test alone (`--test`).
fn minirun() -> Command {
    let test = std::env::current_exe().unwrap();
    let binary: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/minirun");
    assert!(binary.exists(), "build it first: cargo build -p palisade-agent --example minirun");
    let mut command = Command::new(binary);
    command.args(["--enforcer", "none"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    minirun().args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether runs get a cgroup here. Without one only the command itself is followed, and that is what is tested then.
fn has_cgroup(output: &Output) -> bool {
    let text = stderr(output);
    let has = text.contains("cgroup=Ok(");
    if !has {
        eprintln!("no cgroup here, leftovers are not followed: {text}");
    }
    has
}

/// Starts `sh -c script` and waits until it prints `ready`.
fn start(script: &str) -> Child {
    let mut child = minirun().args(["--grace", "0.2", "--", "sh", "-c", script]).spawn().unwrap();
    let mut byte = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"ready\n");
    child
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    assert_eq!(run(&["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&["--", "/nonexistent/command"]).status.code(), Some(127));
    assert_eq!(run(&["--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(run(&["--", "sh", "-c", "kill -9 $$"]).status.code(), Some(128 + 9));
}

#[test]
fn streams_pass_through() {
    let mut child = minirun().args(["--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"in\n");
}

#[test]
fn signals_are_passed_on() {
    use rustix::process::Signal;
    for (name, signal) in [("TERM", Signal::TERM), ("HUP", Signal::HUP), ("USR1", Signal::USR1), ("USR2", Signal::USR2)] {
        let child = start(&format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.05; done"));
        kill(&child, signal);
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(9), "{name}");
    }
}

#[test]
fn a_signal_that_ends_the_command_is_its_exit() {
    let child = start("echo ready; exec sleep 60");
    kill(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(128 + 15));
}

#[test]
fn an_ignored_signal_stays_ignored_for_the_command() {
    let inner = minirun().get_program().to_owned();
    let script = "trap '' HUP; exec \"$0\" --enforcer none -- sh -c 'kill -HUP $$; exit 5'";
    let output = Command::new("sh").args(["-c", script]).arg(inner).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn what_outlives_the_command_is_named_and_killed_after_the_grace() {
    let began = Instant::now();
    let output = run(&["--grace", "0.3", "--", "sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    if has_cgroup(&output) {
        assert!(stderr(&output).contains("outlived [Member"), "{}", stderr(&output));
        assert!(stderr(&output).contains("killed=1"), "{}", stderr(&output));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn or_is_waited_for() {
    let output = run(&["--wait", "--", "sh", "-c", "setsid sleep 0.5 >/dev/null 2>&1 & exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    if has_cgroup(&output) {
        assert!(stderr(&output).contains("grace=None"), "{}", stderr(&output));
        assert!(stderr(&output).contains("killed=0"), "{}", stderr(&output));
    }
}

#[test]
fn a_run_inside_a_run_lies_in_its_cgroup() {
    let inner = minirun().get_program().to_owned();
    let mut outer = minirun();
    outer.arg("--").arg(inner).args(["--enforcer", "none", "--", "sh", "-c", "cat /proc/self/cgroup; exit 6"]);
    let output = outer.output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    if has_cgroup(&output) {
        let cgroups = String::from_utf8_lossy(&output.stdout).into_owned();
        let own = cgroups.lines().find(|line| line.starts_with("0::")).unwrap();
        assert_eq!(own.matches("/run-").count(), 2, "{own}");
    }
}

#[test]
fn twenty_runs_at_once_keep_apart() {
    let spawn = |i: i32| (i, minirun().args(["--", "sh", "-c", &format!("exit {i}")]).spawn().unwrap());
    let children: Vec<_> = (0..20).map(spawn).collect();
    for (i, child) in children {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(i));
    }
}
