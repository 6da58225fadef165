//! Opens judged while their paths and their table change (root, in a VM): protects the openers of `tests/stress/opens.c`
//! and swaps their table for another that says the same, in other states.
//!
//! ```text
//! opens [--no-fast-path] [--no-swaps] OPENS-PROGRAM BASE OPENS [MOVERS]
//! ```
//! The exit code is that of the program: 0 if every judged open had the right verdict.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use palisade_agent::cgroup::Tree;
use palisade_agent::enforce::bpf::BpfEnforcer;
use palisade_agent::enforce::table::Table;
use palisade_policy::SourceFile;
use palisade_ruleset::{Mode, NoLinks, RuleSet, Workload};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SWAP_INTERVAL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match stress() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            println!("FAIL {error}");
            ExitCode::from(2)
        }
    }
}

fn stress() -> Outcome<u8> {
    let (options, words): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |name: &str| options.iter().any(|option| option == name);
    let [program, base, rest @ ..] = words.as_slice() else {
        return Err("opens [--no-fast-path] [--no-swaps] OPENS-PROGRAM BASE OPENS [MOVERS]".into());
    };
    let cgroup = Tree::find()?.make_run(&format!("opens-{}", std::process::id()))?;
    let mut enforcer = BpfEnforcer::open(&format!("opens-{}", std::process::id()))?;
    if let Some(why) = enforcer.why_no_cache() {
        return Err(format!("the cache is not used here: {why}").into());
    }
    enforcer.use_cache(!has("--no-fast-path"));
    let rules = [rules(base, 0)?, rules(base, 8)?];
    let table = |enforcer: &BpfEnforcer, turn: u64| -> Outcome<Table> {
        let rules = if turn.is_multiple_of(2) { &rules[0] } else { &rules[1] };
        Ok(Table::build(rules, turn, enforcer.next_table_id()?)?)
    };
    let first = table(&enforcer, 0)?;
    let mut workload = enforcer.protect(cgroup.clone(), &first, Mode::Enforce)?;
    let mut child = Command::new(Path::new(program)).arg(base).arg(cgroup.directory()).args(rest).spawn()?;
    let mut turn = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(SWAP_INTERVAL);
        if !has("--no-swaps") {
            turn += 1;
            let next = table(&enforcer, turn)?;
            enforcer.swap(&mut workload, &next)?;
        }
    };
    for (counter, count) in enforcer.maps().counters.all()? {
        print!("{} {count} ", counter.name());
    }
    println!("table_swaps {turn}");
    enforcer.release(workload)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// What `opens.c` takes for the truth, and rules that meet nothing, for other states.
fn rules(base: &str, fill: usize) -> Outcome<RuleSet> {
    let long = "another-name-of-more-than-forty-bytes-in-a-directory";
    let mut paths = String::new();
    // Beside every state on the way to what is denied, so that it lies elsewhere.
    for i in 0..fill {
        for beside in ["", "d", "de", "den", "pub/", "pub/a/", "mixed-", "mixed-a/"] {
            writeln!(paths, "    - path: {base}/{beside}{:x}/{i}", i * 7919)?;
        }
    }
    let text = format!(
        "kind: KubeArmorPolicy\napiVersion: security.kubearmor.com/v1\nmetadata: {{ name: opens }}\nspec:\n  \
         selector: {{ matchLabels: {{ a: b }} }}\n  file:\n    matchDirectories:\n    - {{ dir: {base}/deny/, recursive: true }}\n    \
         matchPatterns:\n    - pattern: \"{base}/pub/**/*.key\"\n    matchPaths:\n    - path: {base}/mixed-a/x\n    \
         - path: {base}/mixed-b/y\n    - path: {base}/pub/a/b/{long}\n    - path: /proc/self/limits\n{paths}  action: Block\n"
    );
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("opens.yaml"), text: &text }]);
    if let Some(problem) = parsed.problems.first() {
        return Err(problem.to_string().into());
    }
    Ok(RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks))
}
