//! The life of the kernel side, in a virtual machine, as root: adopted, upgraded without a moment in which nothing
//! judges, detached, cleaned up after a kill. Prints one line for each promise, `ok` or `FAIL`.
//!
//! ```text
//! lifecycle PALISADE     runs all of it
//! lifecycle hold VERSION [WHILE]   protects the reader's cgroup, then waits to be killed: the palisade of a version; with
//!                        WHILE, a path, it leaves in order when nothing is there any more
//! ```
//! A build of another ABI version is stood in for by this one under that version's name.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::cgroup::Cgroup;
use palisade_agent::enforce::bpf::{BpfEnforcer, Opening, ProtectedWorkload};
use palisade_agent::enforce::table::Table;
use palisade_bpf::abi::ABI_VERSION;
use palisade_bpf::load::LoadOptions;
use palisade_bpf::pins::Pins;
use palisade_policy::SourceFile;
use palisade_ruleset::{Mode, NoLinks, RuleSet, Workload};
use palisade_system_tests::LABELS_AND_OPENS;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DENIED: &str = "/lifecycle/denied";
const CGROUP: &str = "/sys/fs/cgroup/lifecycle";
/// The version of a build before this one.
const OLD: u32 = ABI_VERSION - 1;

#[derive(Default)]
struct Checks {
    failed: bool,
}

/// A process of the workload that reads the file every few milliseconds, and says each time it can.
struct Reader {
    child: Child,
    said: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut checks = Checks::default();
    let done = match words.first().map(String::as_str) {
        Some("hold") => {
            let version = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(ABI_VERSION);
            hold(version, words.get(2).map(Path::new))
        }
        Some(palisade) => all(&mut checks, palisade),
        None => Err("usage: lifecycle PALISADE".into()),
    };
    if let Err(error) = done {
        checks.say(&format!("it runs: {error}"), false);
    }
    ExitCode::from(u8::from(checks.failed))
}

fn all(checks: &mut Checks, palisade: &str) -> Outcome<()> {
    fs::create_dir_all("/lifecycle")?;
    fs::write(DENIED, "secret\n")?;
    fs::create_dir_all(CGROUP)?;
    let (own, old) = (Pins::system(), Pins::of_version(OLD));

    // What a palisade leaves that is killed while it pins, or while it removes.
    leave_half_made(&own)?;

    let mut reader = Reader::start()?;
    let begun = Instant::now();
    while reader.reads()? == 0 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    checks.say("before it is protected the workload reads the file", reader.reads()? > 0);

    // The old version protects it, and its palisade is killed.
    let mut holder = hold_by(OLD)?;
    // What it opened just before it tells a moment later.
    std::thread::sleep(Duration::from_millis(500));
    reader.forget()?;
    holder.kill()?;
    holder.wait()?;
    std::thread::sleep(Duration::from_millis(500));
    checks.say("under the old version it is denied, its palisade killed", reader.reads()? == 0 && old.root().exists());

    // Another workload under the new version changes nothing for this one: the old one still judges it.
    let other = Cgroup::open(&mk_cgroup("lifecycle-other")?)?;
    let (enforcer, workload) = protect(other.clone(), ABI_VERSION, Some(LABELS_AND_OPENS))?;
    checks.say("what was half made is gone", own.half_made().is_empty());
    checks.say("the old version stays while it judges what the new one does not", old.root().exists());
    checks.say("and the workload is denied", reader.reads()? == 0);
    leave_half_made(&own)?;
    let threads = old.labelled_threads()?.len();
    let found = probed(palisade)?;
    checks.say("the probe names what was left half made", found.contains("half made"));
    checks.say(
        "the probe names the other version and what it judges",
        threads > 0 && found.contains(&format!("palisade-v{OLD}: of another version, judging {threads} threads")),
    );
    enforcer.release(workload)?;
    checks.say("the last one of the new version detaches its own alone", !own.root().exists() && old.root().exists());

    // The new version takes the workload over; it is killed too, and the next one adopts.
    let mut holder = hold_by(ABI_VERSION)?;
    checks.say("taken over, the old version is detached", !old.root().exists() && own.root().exists());
    let programs = own.programs()?;
    holder.kill()?;
    holder.wait()?;
    std::thread::sleep(Duration::from_millis(500));
    checks.say("there was no moment in which the file could be read", reader.reads()? == 0);
    let (enforcer, workload) = protect(other.clone(), ABI_VERSION, None)?;
    checks.say("the next palisade adopts the programs, and loads none", enforcer.pins().programs()? == programs);
    enforcer.release(workload)?;
    checks.say("which stay for the workload that lives on", own.root().exists() && reader.reads()? == 0);

    reader.end()?;
    let (enforcer, workload) = protect(other.clone(), ABI_VERSION, None)?;
    enforcer.release(workload)?;
    checks.say("once that is gone the last palisade detaches them", !own.root().exists() && own.half_made().is_empty());
    File::open(DENIED)?;
    Ok(other.remove()?)
}

fn leave_half_made(pins: &Pins) -> Outcome<()> {
    for suffix in ["-new", "-going"] {
        fs::create_dir_all(PathBuf::from(format!("{}{suffix}", pins.root().display())).join("maps"))?;
    }
    Ok(())
}

fn probed(palisade: &str) -> Outcome<String> {
    let output = Command::new(palisade).args(["probe", "--json"]).output()?;
    let probe: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let lines = probe["lines"].as_array().ok_or("no lines in the probe")?;
    let line = lines.iter().find(|line| line["name"] == "pins").ok_or("no line of the pins in the probe")?;
    Ok(line["reason"].as_str().unwrap_or_default().to_owned())
}

fn protect(cgroup: Cgroup, version: u32, only: Option<&'static [&'static str]>) -> Outcome<(BpfEnforcer, ProtectedWorkload)> {
    let text = format!(
        "kind: KubeArmorPolicy\napiVersion: security.kubearmor.com/v1\nmetadata: {{ name: p }}\nspec:\n  \
         selector: {{ matchLabels: {{ a: b }} }}\n  file:\n    matchPaths:\n    - path: {DENIED}\n  action: Block\n"
    );
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
    let rules = RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks);
    let id = format!("lifecycle-{version}-{}", std::process::id());
    let load = LoadOptions { only, ..LoadOptions::default() };
    let mut enforcer = BpfEnforcer::open_as(&id, Opening { version, load })?;
    let table = Table::build(&rules, 1, enforcer.next_table_id()?)?;
    let workload = enforcer.protect(cgroup, &table, Mode::Enforce)?;
    Ok((enforcer, workload))
}

/// A palisade of a version in a process of its own, once it has protected the workload.
fn hold_by(version: u32) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.args(["hold", &version.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    if line != "protected\n" {
        return Err(format!("the palisade of version {version} said {line:?}").into());
    }
    Ok(child)
}

fn hold(version: u32, while_there: Option<&Path>) -> Outcome<()> {
    // Of the old version no more than the test needs.
    let only = (version != ABI_VERSION).then_some(LABELS_AND_OPENS);
    fs::create_dir_all(CGROUP)?;
    let (enforcer, workload) = protect(Cgroup::open(Path::new(CGROUP))?, version, only)?;
    println!("protected");
    std::io::stdout().flush()?;
    while while_there.is_none_or(Path::exists) {
        std::thread::sleep(Duration::from_millis(100));
    }
    enforcer.release(workload)?;
    Ok(())
}

fn mk_cgroup(name: &str) -> Outcome<PathBuf> {
    let directory = Path::new("/sys/fs/cgroup").join(name);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

// === impl Reader ===

impl Reader {
    fn start() -> Outcome<Self> {
        let said = PathBuf::from("/lifecycle/said");
        fs::write(&said, "")?;
        // A pause, so that what it watches gets on: some milliseconds are less than any step of an upgrade.
        let script = format!(
            "exec 3>>{} 4<> <(:); while :; do if read x <{DENIED}; then echo read >&3; fi; read -t 0.002 -u 4; done 2>/dev/null",
            said.display()
        );
        let enter = format!("echo 0 >{CGROUP}/cgroup.procs; {script}");
        let child = Command::new("bash").args(["-c", &enter]).stdin(Stdio::null()).spawn()?;
        Ok(Self { child, said })
    }

    /// How often it could be read since it was last asked to forget.
    fn reads(&self) -> Outcome<usize> {
        Ok(fs::read_to_string(&self.said)?.lines().count())
    }

    fn forget(&self) -> Outcome<()> {
        Ok(File::options().write(true).open(&self.said)?.set_len(0)?)
    }

    fn end(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
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
