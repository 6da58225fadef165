//! What `palisade run` does not reach of the BPF back end, tried on a real kernel (root, in a VM): a cgroup whose
//! processes run already, and tables swapped under them. Prints one line for each promise, `ok` or `FAIL`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::cgroup::Tree;
use palisade_agent::enforce::bpf::{BpfEnforcer, ProtectedWorkload, Released};
use palisade_agent::enforce::table::Table;
use palisade_policy::SourceFile;
use palisade_ruleset::{Mode, NoLinks, RuleSet, Workload};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A shell that reads a file when asked to.
struct Shell {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

struct Checks {
    failed: bool,
}

fn main() -> ExitCode {
    let mut checks = Checks { failed: false };
    if let Err(error) = try_all(&mut checks) {
        println!("FAIL {error}");
        checks.failed = true;
    }
    ExitCode::from(u8::from(checks.failed))
}

fn try_all(checks: &mut Checks) -> Outcome<()> {
    fs::create_dir_all("/denied")?;
    for i in 1..=2 {
        fs::write(format!("/denied/{i}"), "secret\n")?;
    }
    let cgroup = Tree::find()?.make_run("swapcheck")?;
    let mut shell = Shell::start()?;
    fs::write(cgroup.procs(), shell.child.id().to_string())?;
    checks.say("before it is protected it reads both", shell.reads(1)? && shell.reads(2)?);

    let mut enforcer = BpfEnforcer::open("swapcheck")?;
    let table = |enforcer: &BpfEnforcer, paths: &[String], generation| -> Outcome<Table> {
        Ok(Table::build(&rules(paths), generation, enforcer.next_table_id()?)?)
    };
    let one = vec!["/denied/1".to_owned()];
    let two = vec!["/denied/2".to_owned()];
    // Enough distinct names that the table needs a larger class.
    let many: Vec<String> = (0..1000).map(|i| format!("/srv/{:x}/{i}", i * 7919)).chain(one.clone()).collect();

    let first = table(&enforcer, &one, 1)?;
    let mut workload = enforcer.protect(cgroup.clone(), &first, Mode::Enforce)?;
    checks.say("a process that runs already is denied 1", !shell.reads(1)? && shell.reads(2)?);
    let swap = |enforcer: &mut BpfEnforcer, workload: &mut ProtectedWorkload, paths: &[String], generation| {
        let began = Instant::now();
        let table = table(enforcer, paths, generation)?;
        let compiled = began.elapsed();
        enforcer.swap(workload, &table)?;
        println!("  generation {generation}: compiled in {compiled:?}, swapped in {:?}", began.elapsed() - compiled);
        Outcome::Ok(table.image.size_class().number())
    };
    let class = swap(&mut enforcer, &mut workload, &two, 2)?;
    checks.say(&format!("swapped (class {class}) it is denied 2"), shell.reads(1)? && !shell.reads(2)?);
    let class = swap(&mut enforcer, &mut workload, &many, 3)?;
    checks.say(&format!("swapped (class {class}) it is denied 1"), !shell.reads(1)? && shell.reads(2)?);
    checks.say("which is another size class", class > 0);
    let class = swap(&mut enforcer, &mut workload, &two, 4)?;
    checks.say(&format!("swapped back (class {class}) it is denied 2"), shell.reads(1)? && !shell.reads(2)?);

    for generation in 5..11 {
        let paths = if generation % 2 == 0 { &two } else { &many };
        swap(&mut enforcer, &mut workload, paths, generation)?;
    }
    checks.say("after 6 more swaps it still is", shell.reads(1)? && !shell.reads(2)?);
    checks.say("no access was refused for want of a table", enforcer.maps().counters.get(NO_TABLE)? == 0);

    shell.end()?;
    checks.say("the cgroup is empty then", cgroup.wait_empty(Some(Duration::from_secs(5)))?);
    checks.say("and all is released", enforcer.release(workload)? == Released::Entirely);
    checks.say("programs included", !std::path::Path::new("/sys/fs/bpf/palisade-v6").exists());
    Ok(())
}

const NO_TABLE: palisade_bpf::abi::Counter = palisade_bpf::abi::Counter::NoTable;

fn rules(paths: &[String]) -> RuleSet {
    let list: String = paths.iter().map(|path| format!("      - path: {path}\n")).collect();
    let text = format!(
        "kind: KubeArmorPolicy\napiVersion: security.kubearmor.com/v1\nmetadata: {{ name: p }}\nspec:\n  \
         selector: {{ matchLabels: {{ a: b }} }}\n  file:\n    matchPaths:\n{list}  action: Block\n"
    );
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
    RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks)
}

// === impl Shell ===

impl Shell {
    fn start() -> Outcome<Self> {
        let script = "while read f; do if read x <$f; then echo yes; else echo no; fi; done 2>/dev/null";
        let mut child = Command::new("bash").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (ask, answer) = (child.stdin.take().ok_or("no stdin")?, child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, ask, answer: BufReader::new(answer) })
    }

    fn reads(&mut self, number: u32) -> Outcome<bool> {
        writeln!(self.ask, "/denied/{number}")?;
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        Ok(line == "yes\n")
    }

    fn end(self) -> Outcome<()> {
        let Self { mut child, ask, answer: _ } = self;
        drop(ask);
        child.wait()?;
        Ok(())
    }
}

// === impl Checks ===

impl Checks {
    fn say(&mut self, text: &str, holds: bool) {
        println!("{} {text}", if holds { "ok" } else { "FAIL" });
        self.failed |= !holds;
    }
}
