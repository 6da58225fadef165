//! Labels against first execs: processes that run in a cgroup before it gets its label, and processes that enter it
//! right after. Whatever begins once `protect` has returned is judged, from its first exec on.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use palisade_agent::cgroup::Cgroup;

use crate::scene::{Checks, Outcome, ROOT, Scene, Sum, finish, scaled, total, worker};

const SPEC: &str = "  process:\n    matchPaths:\n    - path: /races/program\n  action: Block\n";
/// Storms beside each other.
const STORMS: usize = 4;

pub(crate) fn first(checks: &mut Checks, scene: &mut Scene) -> Outcome<()> {
    let rounds = scaled(40);
    let (mut leaks, mut storms, mut entered) = (0, Sum::default(), Sum::default());
    for _ in 0..rounds {
        let cgroup = scene.cgroup()?;
        let mut running = Vec::new();
        for _ in 0..STORMS {
            running.push(storm(&cgroup, 30)?);
        }
        for child in &mut running {
            drop(child.stdin.take());
        }
        // Somewhere among their forks.
        thread::sleep(Duration::from_millis(300));
        let protected = scene.protect_cgroup(cgroup, SPEC)?;
        // Those that are begun from here on, by processes that were there before: none may pass.
        let late = enter_and_exec(&protected.cgroup, 8)?;
        entered = total(&[entered, late]);
        leaks += late.passed;
        // The storms themselves end denied: their last children began after the label.
        let sums = finish(running)?;
        leaks += sums.iter().filter(|sum| sum.refused == 0).count() as u64;
        storms = total(&[storms, total(&sums)]);
        protected.release()?;
    }
    println!("  {rounds} rounds: storms {storms:?}, entered after the label {entered:?}");
    checks.say("whoever enters a labelled cgroup is judged at its first exec", entered.passed == 0 && entered.refused > 0);
    checks.say("whoever was in it before is judged from then on, and so are its children", leaks == 0 && storms.refused > 0);
    checks.say("some execs did pass before the label: the storms were there", storms.passed > 0);
    Ok(())
}

fn storm(cgroup: &Cgroup, count: u32) -> Outcome<Child> {
    worker(cgroup, &["exec", &count.to_string(), &format!("{ROOT}/program")])
}

/// Processes that enter the cgroup and exec the denied program at once.
fn enter_and_exec(cgroup: &Cgroup, count: u32) -> Outcome<Sum> {
    let mut sum = Sum::default();
    let mut children = Vec::new();
    for _ in 0..count {
        let procs = cgroup.procs();
        let program = format!("{ROOT}/program");
        let script = "echo 0 >\"$1\" && exec \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(procs).arg(program).stdin(Stdio::null()).stderr(Stdio::null());
        children.push(command.spawn()?);
    }
    for mut child in children {
        // 126: the shell could not execute it.
        match child.wait()?.code() {
            Some(0) => sum.passed += 1,
            Some(126) => sum.refused += 1,
            _ => sum.other += 1,
        }
    }
    Ok(sum)
}
