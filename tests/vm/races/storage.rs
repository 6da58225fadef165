//! Fork storms where labels cannot be stored: the map of labelled threads is made small when the programs are loaded, so
//! the programs do not refuse forks in time, as they do where it has its size. No child may be free for it: not in the
//! cgroup, where its label is found anew, and not outside of it, where nothing else tells that it was labelled.

use std::fs;
use std::path::Path;

use palisade_bpf::abi::Counter;

use crate::scene::{CGROUPS, Checks, Outcome, Programs, ROOT, Scene, Sum, finish, scaled};

const SPEC: &str = "  file:\n    matchDirectories:\n    - { dir: /races/fixed/denied/, recursive: true }\n  action: Block\n";
/// Room for so many labelled threads.
const TASKS: u32 = 16;
/// Children at once of each storm.
const CHILDREN: u64 = 24;

pub(crate) fn storage(checks: &mut Checks) -> Outcome<()> {
    let mut scene = Scene::open("races-storage", Programs::RoomFor(TASKS))?;
    let rounds = scaled(40);
    let outside = outside()?;
    let (mut inside_sum, mut outside_sum) = (Vec::new(), Vec::new());
    let protected = scene.protect(SPEC)?;
    let denied = format!("{ROOT}/fixed/denied/a/b/c/d/e/f/a-file-of-some-length");
    let allowed = format!("{ROOT}/fixed/allowed/a/b/c/d/e/f/a-file-of-some-length");
    let children = CHILDREN.to_string();
    for _ in 0..rounds {
        let at = |outside: &str| protected.worker(&["storm", &children, "2", &denied, outside]);
        let sums = finish(vec![at("-")?, at(&outside)?])?;
        inside_sum.push(sums[0]);
        outside_sum.push(sums[1]);
    }
    let (inside, left) = (crate::scene::total(&inside_sum), crate::scene::total(&outside_sum));
    let failed = scene.counted(Counter::TaskFailed)?;
    let lost = scene.counted(Counter::LabelLost)?;
    println!(
        "  {rounds} rounds: in the cgroup {inside:?}, outside of it {left:?}; {failed} labels not stored, {lost} found lost"
    );
    checks.say("labels could not be stored, as this was to be", failed > 0);
    checks.say("no child in the cgroup opens the denied file for it", inside.passed == 0 && inside.refused > 0);
    checks.say("no child outside of the cgroup opens it for it", left.passed == 0);
    let after: Vec<Sum> = finish(vec![protected.worker(&["open", "-", "10", &allowed])?])?;
    checks.say("once the storm is over everything is as before", after[0].passed == 10);
    protected.release()?;
    Ok(scene.enforcer.leave()?)
}

/// A cgroup of no workload, by its list of processes.
fn outside() -> Outcome<String> {
    let directory = Path::new(CGROUPS).join("races-outside");
    fs::create_dir_all(&directory)?;
    Ok(directory.join("cgroup.procs").to_string_lossy().into_owned())
}
