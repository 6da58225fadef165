//! Races against the kernel programs, in a virtual machine, as root: what must hold at every moment, tried while
//! something changes at every moment. Prints one line for each promise, `ok` or `FAIL`, with its figures.
//!
//! ```text
//! races [SCENARIO...]
//!   opens      denied and allowed files, many tasks on one processor and on all: 0 leaks, 0 refusals
//!   renames    the same, while directories above them are renamed: 0 leaks; refused is only what is told as unresolvable
//!   swaps      tables exchanged under opens: no open is judged by half of one and half of another
//!   first      a process in a cgroup that gets its label meanwhile: nothing that begins after that runs unlabelled
//!   storage    fork storms where labels cannot be stored: no child is free for it
//! ```
//! Built with the feature `test-controls` it is the control instead: without the pool of slots, denied files must be
//! opened where the kernel preempts, or the suite would prove nothing.
//! `PALISADE_RACES` says how much of the whole (1,000,000 opens a scenario) is done, in percent: 10 unless it is there.

mod first;
mod opens;
mod scene;
mod storage;
mod swaps;
mod worker;

use std::process::ExitCode;

use scene::{Checks, Outcome, Scene};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(act) = words.first()
        && let Some(act) = worker::Act::parse(act)
    {
        return worker::run(act, &words[1..]);
    }
    let all = ["opens", "renames", "swaps", "first", "storage"].map(str::to_owned).to_vec();
    let mut checks = Checks::default();
    let done = if cfg!(feature = "test-controls") {
        scene::lay_out().and_then(|()| opens::control(&mut checks))
    } else {
        try_all(&mut checks, if words.is_empty() { &all } else { &words })
    };
    if let Err(error) = done {
        checks.say(&format!("the suite runs: {error}"), false);
    }
    ExitCode::from(u8::from(checks.failed))
}

fn try_all(checks: &mut Checks, scenarios: &[String]) -> Outcome<()> {
    let has = |name: &str| scenarios.iter().any(|scenario| scenario == name);
    scene::lay_out()?;
    if ["opens", "renames", "swaps", "first"].iter().any(|name| has(name)) {
        let mut scene = Scene::open("races", scene::Programs::Shipped)?;
        if has("opens") {
            opens::still(checks, &mut scene)?;
        }
        if has("renames") {
            opens::renamed(checks, &mut scene)?;
        }
        if has("swaps") {
            swaps::swaps(checks, &mut scene)?;
        }
        if has("first") {
            first::first(checks, &mut scene)?;
        }
        scene.close(checks)?;
    }
    if has("storage") {
        storage::storage(checks)?;
    }
    Ok(())
}
