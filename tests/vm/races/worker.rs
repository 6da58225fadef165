//! What runs inside the workloads: this binary again, with a word that says what to do.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::scene::Sum;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `enter PROCS ACT...`: enters a cgroup, then execs itself.
    Enter,
    /// `open CPU COUNT PATH`: opens the file; CPU `-` is any.
    Open,
    /// `exec COUNT PROGRAM`: executes it, again and again, each time in a child, until it was refused so often.
    Exec,
    /// `storm COUNT DEPTH PATH OUTSIDE`: makes children that make children and open the file; OUTSIDE is a cgroup's
    /// list of processes to move to first, or `-`.
    Storm,
    /// `child DEPTH PATH`: one of them.
    Child,
}

// === impl Act ===

impl Act {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "enter" => Self::Enter,
            "open" => Self::Open,
            "exec" => Self::Exec,
            "storm" => Self::Storm,
            "child" => Self::Child,
            _ => return None,
        })
    }
}

pub(crate) fn run(act: Act, words: &[String]) -> ExitCode {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let number = |at: usize| word(at).parse().unwrap_or(0);
    match act {
        Act::Enter => return enter(word(0), &words[1..]),
        Act::Open => {
            if let Ok(cpu) = word(0).parse() {
                let mut set = CpuSet::new();
                set.set(cpu);
                if sched_setaffinity(None, &set).is_err() {
                    return ExitCode::FAILURE;
                }
            }
            wait_for_the_others();
            tell(open(number(1), word(2)));
        }
        Act::Exec => {
            wait_for_the_others();
            tell(exec(number(0), word(1)));
        }
        Act::Storm => {
            wait_for_the_others();
            if word(3) != "-" && fs::write(word(3), "0").is_err() {
                return ExitCode::FAILURE;
            }
            tell(storm(number(0), word(1), word(2)));
        }
        Act::Child => return child(number(0), word(1)),
    }
    ExitCode::SUCCESS
}

fn enter(procs: &str, words: &[String]) -> ExitCode {
    if let Err(error) = fs::write(procs, "0") {
        eprintln!("enter {procs}: {error}");
        return ExitCode::FAILURE;
    }
    let own = std::env::args_os().next().unwrap_or_default();
    eprintln!("exec: {}", Command::new(own).args(words).exec());
    ExitCode::FAILURE
}

/// Until standard input is closed.
fn wait_for_the_others() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn tell(sum: Sum) {
    let Sum { passed, refused, other } = sum;
    println!("{passed} {refused} {other}");
}

fn open(count: u64, path: &str) -> Sum {
    let mut sum = Sum::default();
    for _ in 0..count {
        sum.add(&File::open(path).map(drop));
    }
    sum
}

/// One open by each child; a fork that is refused is none.
fn storm(count: u64, depth: &str, path: &str) -> Sum {
    let mut sum = Sum::default();
    let own = std::env::args_os().next().unwrap_or_default();
    let mut children = Vec::new();
    for _ in 0..count {
        match Command::new(&own).args(["child", depth, path]).stdin(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(_) => sum.other += 1,
        }
    }
    for mut child in children {
        match child.wait().ok().and_then(|status| status.code()) {
            Some(PASSED) => sum.passed += 1,
            Some(REFUSED) => sum.refused += 1,
            _ => sum.other += 1,
        }
    }
    sum
}

const PASSED: i32 = 10;
const REFUSED: i32 = 11;

/// Opens the file, and has children that do so too: passes if one of them does.
fn child(depth: u64, path: &str) -> ExitCode {
    let mut worst = match File::open(path) {
        Ok(_) => PASSED,
        Err(_) => REFUSED,
    };
    if depth > 0 {
        let own = std::env::args_os().next().unwrap_or_default();
        let made = Command::new(own).args(["child", &(depth - 1).to_string(), path]).stdin(Stdio::null()).spawn();
        if let Ok(mut made) = made
            && made.wait().ok().and_then(|status| status.code()) == Some(PASSED)
        {
            worst = PASSED;
        }
    }
    ExitCode::from(u8::try_from(worst).unwrap_or(u8::MAX))
}

/// More executions that succeed than any machine does before a label comes: then it has not come.
const EXECS_MAX: u64 = 20_000;

/// Until so many were refused, however long the label takes to come.
fn exec(count: u64, program: &str) -> Sum {
    let mut sum = Sum::default();
    while sum.refused < count && sum.passed + sum.other < EXECS_MAX {
        sum.add(&Command::new(program).stdin(Stdio::null()).spawn().and_then(|mut child| child.wait()).map(drop));
    }
    sum
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.refused += 1,
            Err(_) => self.other += 1,
        }
    }
}
