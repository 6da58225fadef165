//! Denied opens against allowed opens, on one processor and on all, with still and with moving directories; and the
//! control, which has to leak.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use palisade_bpf::abi::Counter;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::scene::{Checks, Outcome, Programs, Protected, ROOT, Scene, Sum, WORKERS, finish, scaled, total};

const STILL: &str = "  file:\n    matchDirectories:\n    - { dir: /races/fixed/denied/, recursive: true }\n  action: Block\n";
const MOVING: &str = "  file:\n    matchDirectories:\n    - { dir: /races/moving/denied/, recursive: true }\n    \
                      - { dir: /races/moving/denied-2/, recursive: true }\n  action: Block\n";

/// `CLOSER_SLOTS` of `controls.h`.
const CLOSER_SLOTS: u32 = 15;

/// What came of opens of a denied and of an allowed file.
struct Both {
    denied: Sum,
    allowed: Sum,
}

pub(crate) fn still(checks: &mut Checks, scene: &mut Scene) -> Outcome<()> {
    let protected = scene.protect(STILL)?;
    for (cpu, where_) in [("0", "on one processor"), ("-", "on all processors")] {
        let Both { denied, allowed } = opens(&protected, cpu, "fixed", "a/b/c/d/e/f/a-file-of-some-length", scaled(500_000))?;
        println!("  {where_}: denied {denied:?}, allowed {allowed:?}");
        checks.say(&format!("{where_}, no denied file is opened"), denied.passed + denied.other == 0 && denied.refused > 0);
        checks.say(&format!("{where_}, no allowed file is refused"), allowed.refused + allowed.other == 0 && allowed.passed > 0);
    }
    protected.release()
}

pub(crate) fn renamed(checks: &mut Checks, scene: &mut Scene) -> Outcome<()> {
    let protected = scene.protect(MOVING)?;
    let before = scene.counted(Counter::Unresolvable)?;
    let stop = AtomicBool::new(false);
    let renames = AtomicU64::new(0);
    let both = thread::scope(|scope| {
        for place in ["denied", "allowed"] {
            let (stop, renames) = (&stop, &renames);
            scope.spawn(move || rename_until(place, stop, renames));
        }
        let both = opens(&protected, "-", "moving", "a/b/file", scaled(1_000_000));
        stop.store(true, Ordering::Release);
        both
    });
    let Both { denied, allowed } = both?;
    let renames = renames.load(Ordering::Acquire);
    let unresolvable = scene.counted(Counter::Unresolvable)? - before;
    println!("  {renames} renames: denied {denied:?}, allowed {allowed:?}, {unresolvable} unresolvable");
    checks.say("while directories above it are renamed, no denied file is opened", denied.passed == 0 && denied.refused > 0);
    checks.say(
        "an allowed one is refused only where its path cannot be told, and that is counted",
        allowed.refused <= unresolvable,
    );
    checks.say("there were renames enough", renames > scaled(1_000));
    protected.release()
}

/// Exchanges two directories above the file, moves one away and back: both names are denied, or both allowed.
fn rename_until(place: &str, stop: &AtomicBool, renames: &AtomicU64) {
    let at = |name: &str| PathBuf::from(ROOT).join("moving").join(format!("{place}{name}"));
    let (one, two) = (at(""), at("-2"));
    let made = fs::create_dir_all(two.join("a/b")).and_then(|()| fs::write(two.join("a/b/file"), "content\n"));
    while made.is_ok() && !stop.load(Ordering::Acquire) {
        let exchanged = renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE);
        let inner = fs::rename(one.join("a/b"), one.join("a/c")).and_then(|()| fs::rename(one.join("a/c"), one.join("a/b")));
        if exchanged.is_ok() && inner.is_ok() {
            renames.fetch_add(3, Ordering::AcqRel);
        }
    }
}

/// The control: working memory is one for each processor, whoever else is at it. That has to be caught.
pub(crate) fn control(checks: &mut Checks) -> Outcome<()> {
    let mut scene = Scene::open("races-control", Programs::Control)?;
    open_closer(CLOSER_SLOTS)?;
    let protected = scene.protect(STILL)?;
    let mut sum = Sum::default();
    let mut tries = 0;
    // It takes a preemption at the right place: until one is seen.
    while sum.passed == 0 && tries < 40 {
        tries += 1;
        let Both { denied, allowed } = opens(&protected, "0", "fixed", "a/b/c/d/e/f/a-file-of-some-length", 50_000)?;
        println!("  control: denied {denied:?}, allowed {allowed:?}");
        sum = total(&[sum, denied]);
    }
    checks.say(
        &format!("the control leaks ({} of {} denied opens): the suite can tell", sum.passed, sum.passed + sum.refused),
        sum.passed > 0,
    );
    protected.release()?;
    Ok(scene.enforcer.leave()?)
}

/// Opens one of `controls.h` in the programs that are loaded.
fn open_closer(closer: u32) -> Outcome<()> {
    let value = (1_u64 << closer).to_le_bytes().map(|byte| byte.to_string());
    let update = ["map", "update", "name", "pal_test_off", "key", "0", "0", "0", "0", "value"];
    let status = Command::new("bpftool").args(update).args(value).status()?;
    if status.success() { Ok(()) } else { Err("bpftool cannot open a closer: not the control build?".into()) }
}

/// So many opens, half of the workers at the denied file, half at the allowed one.
fn opens(protected: &Protected, cpu: &str, place: &str, file: &str, count: u64) -> Outcome<Both> {
    let each = (count / WORKERS).max(1).to_string();
    let path = |kind: &str| format!("{ROOT}/{place}/{kind}/{file}");
    let (denied, allowed) = (path("denied"), path("allowed"));
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(protected.worker(&["open", cpu, &each, if number % 2 == 0 { &denied } else { &allowed }])?);
    }
    let sums = finish(workers)?;
    let half = |of: usize| total(&sums.iter().copied().skip(of).step_by(2).collect::<Vec<_>>());
    Ok(Both { denied: half(0), allowed: half(1) })
}
