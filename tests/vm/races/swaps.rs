//! Tables exchanged under opens. Two tables say the same of a file, each by another part of itself: one by a literal
//! rule, one by a pattern, which are different automata. An open that was judged by the literal rules of one and the
//! patterns of the other would come out otherwise. One workload is denied the file, another, under an allow-list, is
//! allowed it. The events say besides which rule decided in which generation: it must be that generation's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use palisade_bpf::abi::Event;
use palisade_bpf::ring::Reader;
use palisade_ruleset::RuleSet;

use crate::scene::{Checks, Outcome, Protected, ROOT, Scene, Sum, WORKERS, finish, rules, scaled, total};

/// Rounds of the control at most.
const CONTROL_TRIES: u32 = 40;

/// The tables that take turns, and one that says nothing of the file: the control's.
struct Turns {
    literal: RuleSet,
    pattern: RuleSet,
    neither: RuleSet,
}

/// A generation of `literal` is even, one of `pattern` odd, as `Protected` counts from 1.
const LITERAL_IS_EVEN: u64 = 2;

pub(crate) fn swaps(checks: &mut Checks, scene: &mut Scene) -> Outcome<()> {
    let denying = Turns::new("f", "Block")?;
    let allowing = Turns::new("g", "Allow")?;
    let mut denied = scene.protect(&spec("f1", "g-*", "Block", 0))?;
    let mut allowed = scene.protect(&spec("g1", "f-*", "Allow", 0))?;
    let mut reader = Reader::new(&scene.enforcer.maps().events)?;
    // What earlier scenarios left in the ring is not of these generations.
    while !reader.take(1024)?.is_empty() {}

    let count = scaled(1_000_000);
    let outcome = opens_and_swaps(&mut denied, &mut allowed, &denying, &allowing, &mut reader, count, false)?;
    let Swapped { denied: not, allowed: may, swaps, seen, mixed } = outcome;
    println!("  {swaps} swaps: denied {not:?}, allowed {may:?}; {seen} events read, {mixed} of another generation's rule");
    checks.say("under swaps, what both tables deny is never opened", not.passed + not.other == 0 && not.refused > 0);
    checks.say("under swaps, what both tables allow is never refused", may.refused + may.other == 0 && may.passed > 0);
    checks.say("each event names a rule of its own generation", mixed == 0 && seen > 0);
    checks.say("there were swaps", swaps >= 2);

    // It takes an open in the moment between: until one is seen of either.
    let (mut not, mut may) = (Sum::default(), Sum::default());
    for _ in 0..CONTROL_TRIES {
        let outcome = opens_and_swaps(&mut denied, &mut allowed, &denying, &allowing, &mut reader, scaled(100_000), true)?;
        (not, may) = (total(&[not, outcome.denied]), total(&[may, outcome.allowed]));
        if not.passed > 0 && may.refused > 0 {
            break;
        }
    }
    println!("  control, with a table between that says nothing of it: denied {not:?}, allowed {may:?}");
    checks.say("the control shows: such a table is noticed", not.passed > 0 && may.refused > 0);
    denied.release()?;
    allowed.release()
}

/// What came of it.
struct Swapped {
    denied: Sum,
    allowed: Sum,
    swaps: u64,
    seen: u64,
    mixed: u64,
}

fn opens_and_swaps(
    denied: &mut Protected,
    allowed: &mut Protected,
    denying: &Turns,
    allowing: &Turns,
    reader: &mut Reader,
    count: u64,
    control: bool,
) -> Outcome<Swapped> {
    let each = (count / WORKERS).max(1).to_string();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let (workload, file) = if number % 2 == 0 { (&*denied, "f1") } else { (&*allowed, "g1") };
        workers.push(workload.worker(&["open", "-", &each, &format!("{ROOT}/pair/{file}")])?);
    }
    let stop = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    let label = denied.workload.label;
    thread::scope(|scope| {
        let (stop, swaps) = (&stop, &swaps);
        for (workload, turns) in [(denied, denying), (allowed, allowing)] {
            scope.spawn(move || {
                let mut generation = 1_u64;
                while !stop.load(Ordering::Acquire) {
                    generation += 1;
                    if turns.swap(workload, generation.is_multiple_of(LITERAL_IS_EVEN), control).is_err() {
                        eprintln!("a swap failed");
                        return;
                    }
                    swaps.fetch_add(1, Ordering::AcqRel);
                }
                // As it began, so that generations stay of one kind.
                if generation.is_multiple_of(LITERAL_IS_EVEN) {
                    let _ = turns.swap(workload, false, control);
                }
            });
        }
        let reading = scope.spawn(move || read_events(reader, label, stop));
        let sums = finish(workers);
        stop.store(true, Ordering::Release);
        let (seen, mixed) = reading.join().map_err(|_| "the reader panicked")?;
        let sums = sums?;
        let half = |of: usize| total(&sums.iter().copied().skip(of).step_by(2).collect::<Vec<_>>());
        Ok(Swapped { denied: half(0), allowed: half(1), swaps: swaps.load(Ordering::Acquire), seen, mixed })
    })
}

/// The events of a label, and those of them whose rule is not the one that their generation denies by.
fn read_events(reader: &mut Reader, label: u32, stop: &AtomicBool) -> (u64, u64) {
    let (mut seen, mut mixed) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        let _ = reader.wait(Duration::from_millis(20));
        for record in reader.take(256).unwrap_or_default() {
            let Ok(event) = Event::decode(&record) else {
                mixed += 1;
                continue;
            };
            if event.label != label || event.generation == 1 {
                continue;
            }
            seen += 1;
            // Rules are numbered as they are written: the literal one is rule 0, patterns come after it.
            let literal = event.code == 0;
            mixed += u64::from(literal != event.generation.is_multiple_of(LITERAL_IS_EVEN));
        }
    }
    (seen, mixed)
}

/// A literal rule, a pattern, and so many rules more.
fn spec(literal: &str, pattern: &str, action: &str, more: u32) -> String {
    let rest: String = (0..more).map(|i| format!("    - path: /srv/{:x}/{i}\n", i * 7919)).collect();
    format!(
        "  file:\n    matchPaths:\n    - path: {ROOT}/pair/{literal}\n{rest}    matchPatterns:\n    \
         - pattern: {ROOT}/pair/{pattern}\n  action: {action}\n"
    )
}

// === impl Turns ===

impl Turns {
    /// Of a file whose name begins so; the tables are of different size classes.
    fn new(file: &str, action: &str) -> Outcome<Self> {
        Ok(Self {
            literal: rules(&spec(&format!("{file}1"), "none-*", action, 0))?,
            pattern: rules(&spec("none", &format!("{file}*"), action, 1000))?,
            neither: rules(&spec("none", "none-*", action, 0))?,
        })
    }

    fn swap(&self, protected: &mut Protected, literal: bool, control: bool) -> Outcome<()> {
        let mut put = |rules: &RuleSet| -> Outcome<()> {
            let table = protected.table(rules)?;
            Ok(protected.enforcer.swap(&mut protected.workload, &table)?)
        };
        if control {
            put(&self.neither)?;
        }
        put(if literal { &self.literal } else { &self.pattern })
    }
}
