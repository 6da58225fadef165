//! `run --learn` by tracepoints on this machine, and what was learned in force again, by Landlock. As root; every process
//! is this test's own, in its run's cgroup. By BPF-LSM: `tests/vm/learn.sh`.

#![expect(clippy::unwrap_used, reason = "all of it is tests, their helpers included")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What of a machine that cannot watch, or enforce, is no fault: it is told, and the test ends there.
const MACHINE: [&str; 6] =
    ["needs root", "no cgroup for the run", "has no BTF", "refuses to load", "lacks the hook", "this kernel offers no Landlock"];

/// A place for one test: a directory whose path has no links.
struct Place {
    _made: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let made = tempfile::Builder::new().prefix("learned").tempdir().unwrap();
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = made.path().canonicalize().unwrap();
        Self { _made: made, path }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.name(name)
    }

    fn name(&self, name: &str) -> String {
        self.path.join(name).to_str().unwrap().to_owned()
    }

    fn policy(&self) -> String {
        fs::read_to_string(self.path.join("policy.yaml")).unwrap()
    }

    /// Watches a command. `None` where this machine cannot, which is told.
    fn learn(&self, more: &[&str], command: &[&str]) -> Option<Output> {
        let mut palisade = self.learning(more, command);
        let output = palisade.output().unwrap();
        (!cannot(&output)).then_some(output)
    }

    fn learning(&self, more: &[&str], command: &[&str]) -> Command {
        let mut palisade = palisade(&["run", "--learn", &self.name("policy.yaml"), "--learn-with", "tracepoints", "--force"]);
        palisade.arg("--tests").args(more).arg("--").args(command);
        palisade
    }

    fn again(&self, command: &[&str]) -> Command {
        let mut palisade = palisade(&["run", "--enforcer", "landlock", "--policy", &self.name("policy.yaml")]);
        palisade.arg("--").args(command);
        palisade
    }

    /// The policy is complete and valid, and allows what was seen.
    fn is_sound(&self, learned: &Output) {
        assert!(learned.status.success(), "{}", text(learned));
        let policy = self.policy();
        assert!(policy.contains("#   by        tracepoints"), "{policy}");
        assert!(policy.contains("#   lost      none"), "{}\n{policy}", text(learned));
        assert!(!policy.contains("NOT IN IT"), "{policy}");
        for arguments in [["policy", "check", &self.name("policy.yaml")], ["policy", "test", &self.name("policy.test.yaml")]] {
            let output = palisade(&arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}\n{policy}", text(&output));
        }
    }

    /// Watches a command, then does the same under what was learned: it comes to the same end. False where this machine
    /// cannot.
    fn twice(&self, command: &[&str], between: impl Fn()) -> bool {
        let Some(first) = self.learn(&["--no-sources"], command) else { return false };
        self.is_sound(&first);
        between();
        let second = self.again(command).output().unwrap();
        if cannot(&second) {
            return false;
        }
        let policy = self.policy();
        assert!(second.status.success(), "{}\n{policy}", text(&second));
        assert_eq!(first.stdout, second.stdout, "{policy}");
        let other = self.again(&["/usr/bin/env", "true"]).output().unwrap();
        assert_eq!(other.status.code(), Some(126), "what was not seen is not denied: {}", text(&other));
        true
    }
}

fn palisade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether palisade had to give up for a reason that lies in the machine.
fn cannot(output: &Output) -> bool {
    let said = text(output);
    let gave_up = said.contains("nothing can watch a command here") || said.contains("no back end can enforce");
    let reason = MACHINE.iter().find(|reason| gave_up && said.contains(**reason));
    assert!(!gave_up || reason.is_some(), "{said}");
    if let Some(reason) = reason {
        eprintln!("SKIPPED: {reason}: {said}");
    }
    reason.is_some()
}

fn python() -> Option<String> {
    let python = fs::canonicalize("/usr/bin/python3").ok().map(|path| path.to_str().unwrap().to_owned());
    if python.is_none() {
        eprintln!("SKIPPED: no /usr/bin/python3 here");
    }
    python
}

/// The lines of the rule for a path.
fn rule<'a>(policy: &'a str, path: &str) -> Option<Vec<&'a str>> {
    let mut lines = policy.lines().skip_while(|line| *line != format!("    - path: {path}"));
    lines.next()?;
    Some(lines.take_while(|line| line.starts_with("      ")).map(str::trim).collect())
}

const TOOLS: &str = "#!/bin/sh
set -e
cd \"$1\"
seq 1 50 >numbers
sort -rn numbers | head -n 5 | tr '\\n' ' ' >top
grep -c 1 numbers >count
sed -e 's/1/one/g' numbers >words
cut -c1 numbers | uniq -c | wc -l >groups
cp numbers copy
mv copy moved
chmod 600 moved
touch now
cat top groups
rm moved now words
";

#[test]
fn a_script_of_ten_tools_does_its_work_again_under_what_was_learned_of_it() {
    let place = Place::new();
    let (script, work) = (place.file("tools.sh", TOOLS), place.name("work"));
    fs::create_dir(&work).unwrap();
    if !place.twice(&[&script, &work], || ()) {
        return;
    }
    // The same with sources: the shell is executed for the script, the tools by the shell.
    let learned = place.learn(&[], &[&script, &work]).unwrap();
    place.is_sound(&learned);
    let policy = place.policy();
    let shell = fs::canonicalize("/bin/sh").unwrap().to_str().unwrap().to_owned();
    assert_eq!(rule(&policy, &script), Some(vec!["action: Allow"]), "{policy}");
    assert_eq!(rule(&policy, &shell), Some(vec!["fromSource:", &format!("- path: {script}"), "action: Allow"]), "{policy}");
    for tool in ["seq", "sort", "head", "tr", "grep", "sed", "cut", "uniq", "wc", "cp", "mv", "chmod", "touch", "cat", "rm"] {
        let path = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool)).into_iter().find(|path| path.exists());
        let path = fs::canonicalize(path.unwrap()).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            rule(&policy, &path),
            Some(vec!["fromSource:", &format!("- path: {shell}"), "action: Allow"]),
            "{path}\n{policy}"
        );
    }
}

#[test]
fn python_with_its_modules_does_its_work_again_under_what_was_learned_of_it() {
    const WORK: &str = "
import argparse, ast, base64, csv, dataclasses, hashlib, json, logging, os, re, socket, subprocess, sys, zlib
import email.message, html.parser, http.client, urllib.parse, xml.etree.ElementTree, zipfile
os.chdir(sys.argv[1])
for name in 'one', 'two', 'three':
    with open(name, 'w') as f:
        json.dump({name: hashlib.sha256(b'x').hexdigest()}, f)
with zipfile.ZipFile('all.zip', 'w') as z:
    z.write('one')
print(subprocess.run(['/usr/bin/uname', '-s'], capture_output=True).stdout)
s = socket.create_server(('127.0.0.1', 18641)); c = socket.create_connection(('127.0.0.1', 18641)); c.close()
for name in os.listdir('.'):
    os.remove(name)
";
    let place = Place::new();
    let Some(python) = python() else { return };
    let (script, work) = (place.file("work.py", WORK), place.name("work"));
    fs::create_dir(&work).unwrap();
    // Bytecode would be written the first time alone.
    if place.twice(&[&python, "-B", &script, &work], || ()) {
        let policy = place.policy();
        assert!(policy.contains("dir: /usr/lib/python3"), "{policy}");
        assert!(policy.contains("- cidr: 127.0.0.1/32\n      ports:\n      - port: 18641\n"), "{policy}");
    }
}

#[test]
fn what_is_done_to_files_is_learned_by_their_own_paths() {
    const WORK: &str = "
import os, socket, sys, time
os.chdir(sys.argv[1])
open('a/made', 'w').close()
os.mkdir('b/dir')
os.rename('c/old', 'd/new')
os.symlink('nowhere', 'e/link')
os.link('f/first', 'g/second')
os.unlink('h/gone')
os.chmod('through/to-mode', 0o600)
at = os.open('s', os.O_PATH)
os.chmod('/proc/self/fd/%d' % at, 0o700)
os.close(at)
os.truncate('j/size', 1)
with open('k/time') as f:
    os.utime(f.fileno())
    os.fchmod(f.fileno(), 0o600)
socket.socket(socket.AF_UNIX).bind('l/socket')
at = os.open('m', os.O_PATH)
os.rmdir('below', dir_fd=at)
os.chown('n/link', 1, 1, follow_symlinks=False)
os.setxattr('o/named', 'user.x', b'x')
open('p/read').close()
for name in 'q/missing', 'q':
    try:
        open(name + '/no', 'w')
    except OSError:
        pass
    else:
        os.remove(name + '/no')
time.sleep(1)
";
    let place = Place::new();
    let Some(python) = python() else { return };
    let script = place.file("work.py", WORK);
    for name in ["c/old", "f/first", "h/gone", "i/mode", "j/size", "k/time", "o/named", "p/read", "r/outside"] {
        place.file(name, "text");
    }
    for name in ["a", "b", "d", "e", "g", "l", "m/below", "n", "q", "s"] {
        fs::create_dir_all(place.path.join(name)).unwrap();
    }
    symlink("i", place.path.join("through")).unwrap();
    symlink("mode", place.path.join("i/to-mode")).unwrap();
    symlink("nowhere", place.path.join("n/link")).unwrap();
    let (outside, end) = (place.path.join("r/outside"), Instant::now() + Duration::from_millis(700));
    let others = std::thread::spawn(move || {
        while Instant::now() < end {
            fs::read(&outside).unwrap(); // by a process that is not of the run
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let learned = place.learn(&[], &[&python, "-B", &script, &place.name("")]);
    others.join().unwrap();
    let Some(learned) = learned else { return };
    place.is_sound(&learned);
    let policy = place.policy();
    for written in [
        "a/made", "b/dir", "c/old", "d/new", "e/link", "f/first", "g/second", "h/gone", "i/mode", "j/size", "k/time", "l/socket",
        "m/below", "n/link", "o/named", "q/no", "s",
    ] {
        assert_eq!(rule(&policy, &place.name(written)), Some(vec!["action: Allow"]), "{written}\n{policy}");
    }
    assert_eq!(rule(&policy, &place.name("p/read")), Some(vec!["readOnly: true", "action: Allow"]), "{policy}");
    for never in ["q/missing", "q/missing/no", "r/outside", "i/to-mode", "through", "n/nowhere"] {
        assert!(!policy.contains(&format!("{}\n", place.name(never))), "{never}\n{policy}");
    }
}

#[test]
fn whatever_way_a_program_is_executed_it_is_learned_with_its_caller() {
    const WORK: &str = "
import os, sys, threading
os.chdir(sys.argv[1])
def child(act):
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(9)
    assert os.waitpid(pid, 0)[1] == 0
def memfd():
    fd = os.memfd_create('tool')
    with open('/bin/true', 'rb') as f:
        os.write(fd, f.read())
    os.execve(fd, ['tool'], {})
def thread():
    act = threading.Thread(target=lambda: os.execv('./link', ['link']))
    act.start()
    act.join()
child(lambda: os.execv(sys.argv[2], ['ld', '/bin/true']))
child(memfd)
child(thread)
child(lambda: os.execv('outer', ['outer']))
child(lambda: os.execv('/bin/sh', ['sh', '-c', './plain']))
";
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.iter().find_map(|path| fs::canonicalize(path).ok()) else {
        eprintln!("SKIPPED: no loader of glibc here");
        return;
    };
    let loader = loader.to_str().unwrap();
    let place = Place::new();
    let Some(python) = python() else { return };
    let script = place.file("work.py", WORK);
    let inner = place.file("inner", "#! /bin/sh\nexit 0\n");
    let outer = place.file("outer", &format!("#!{inner} word\n"));
    let plain = place.file("plain", "exit 0\n");
    symlink("/bin/true", place.path.join("link")).unwrap();
    let Some(learned) = place.learn(&[], &[&python, "-B", &script, &place.name(""), loader]) else { return };
    place.is_sound(&learned);
    let policy = place.policy();
    let real = |path: &str| fs::canonicalize(path).unwrap().to_str().unwrap().to_owned();
    let (shell, program) = (real("/bin/sh"), real("/bin/true"));
    for (executed, callers) in [
        (loader, vec![&*python]),
        (&*program, vec![&*python, loader]), // by the thread, under the loader
        (&*outer, vec![&*python]),
        (&*inner, vec![&*outer]),
        (&*plain, vec![&*shell]),
    ] {
        let mut expected: Vec<String> = callers.iter().map(|caller| format!("- path: {caller}")).collect();
        expected.sort();
        let rule = rule(&policy, executed).unwrap_or_else(|| panic!("{executed}\n{policy}"));
        let callers: Vec<&str> = rule.iter().filter(|line| line.starts_with("- path: ")).copied().collect();
        assert_eq!(callers, expected, "{executed}\n{policy}");
    }
    let shells = rule(&policy, &shell).unwrap();
    for caller in [&*inner, &*python] {
        assert!(shells.contains(&&*format!("- path: {caller}")), "{caller}\n{policy}");
    }
    assert!(policy.contains("    - pattern: \"memfd:tool\"\n      action: Allow\n"), "{policy}");
}

#[test]
fn what_tracepoints_cannot_follow_makes_the_policy_say_that_it_is_incomplete() {
    const WORK: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 4, ctypes.create_string_buffer(120)))
";
    let place = Place::new();
    let Some(python) = python() else { return };
    let script = place.file("work.py", WORK);
    let Some(learned) = place.learn(&[], &[&python, "-B", &script]) else { return };
    assert!(learned.status.success(), "{}", text(&learned));
    if learned.stdout.starts_with(b"-1") {
        eprintln!("SKIPPED: no io_uring here");
        return;
    }
    let policy = place.policy();
    assert!(policy.contains("#   lost      1: THIS POLICY IS INCOMPLETE"), "{policy}");
    assert!(text(&learned).contains("queues of io_uring"), "{}", text(&learned));
}

/// A record takes some 200 bytes of a ring of 8 MiB: twice as many as there is room for.
#[test]
fn what_found_no_room_is_counted_to_the_last_access() {
    const OPENS: u64 = 80_000;
    const WORK: &str = "
import os, signal, sys
os.kill(os.getppid(), signal.SIGSTOP)
try:
    for _ in range(int(sys.argv[2])):
        os.close(os.open(sys.argv[1], os.O_RDONLY))
finally:
    os.kill(os.getppid(), signal.SIGCONT)
";
    let place = Place::new();
    let Some(python) = python() else { return };
    let (script, file) = (place.file("work.py", WORK), place.file("a/file", ""));
    let Some(learned) = place.learn(&[], &[&python, "-B", &script, &file, &OPENS.to_string()]) else { return };
    assert!(learned.status.success(), "{}", text(&learned));
    let policy = place.policy();
    let number =
        |line: &str| line.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()).unwrap().parse::<u64>().unwrap();
    let lost = number(policy.lines().find(|line| line.starts_with("#   lost      ")).unwrap());
    let lines: Vec<&str> = policy.lines().collect();
    let at = lines.iter().position(|line| *line == format!("    - path: {file}")).unwrap();
    let seen = number(lines[at - 1]);
    // Palisade is stopped a moment after it was told to be: some are read at the beginning.
    assert!(lost > 0 && seen > 0, "{policy}");
    assert_eq!(seen + lost, OPENS, "{policy}");
    assert!(policy.contains("THIS POLICY IS INCOMPLETE"), "{policy}");
}

#[test]
fn it_is_said_what_watches_and_what_it_cannot_see() {
    let place = Place::new();
    let Some(learned) = place.learn(&[], &["/bin/true"]) else { return };
    let said = text(&learned);
    assert!(said.contains("learning with tracepoints, nothing is denied"), "{said}");
    assert!(said.contains("not seen: "), "{said}");
    assert!(place.policy().contains("#   unseen    "), "{}", place.policy());
}

const PORT: u16 = 18_642;

fn page() -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.rsplit("\r\n\r\n").next().map(str::to_owned)
}

fn served() -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if page().as_deref() == Some("a page") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// Has nginx serve, reload and end, by signals to palisade, which passes them on.
fn serve(mut child: Child) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    let up = served();
    if up {
        signal(rustix::process::Signal::HUP);
        std::thread::sleep(Duration::from_secs(1));
    }
    let again = up && served();
    if child.try_wait().unwrap().is_none() {
        signal(rustix::process::Signal::TERM);
    }
    let output = child.wait_with_output().unwrap();
    assert!((up && again) || cannot(&output), "nginx did not serve: {}", text(&output));
    output
}

#[test]
fn nginx_serves_and_reloads_again_under_what_was_learned_of_it() {
    let place = Place::new();
    if !Path::new("/usr/sbin/nginx").exists() {
        eprintln!("SKIPPED: no /usr/sbin/nginx here");
        return;
    }
    let d = place.name("");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {d}tmp/{kind}; "))
        .collect();
    let configuration = format!(
        "error_log {d}logs/error.log; pid {d}logs/nginx.pid; events {{}}\n\
         http {{ access_log {d}logs/access.log; {temporary}\nserver {{ listen 127.0.0.1:{PORT}; root {d}www; }} }}\n"
    );
    let configuration = place.file("nginx.conf", &configuration);
    place.file("www/index.html", "a page");
    place.file("www/other.html", "never asked for");
    for directory in ["logs", "tmp"] {
        fs::create_dir(place.path.join(directory)).unwrap();
    }
    let log = place.name("logs/error.log");
    let command = ["/usr/sbin/nginx", "-e", &log, "-c", &configuration, "-g", "daemon off;"];
    let learned = serve(place.learning(&["--no-sources"], &command).spawn().unwrap());
    if cannot(&learned) {
        return;
    }
    place.is_sound(&learned);
    let policy = place.policy();
    assert!(
        policy.contains(&format!("- cidr: 127.0.0.1/32\n      ports:\n      - port: {PORT}\n      protocol: TCP\n")),
        "{policy}"
    );
    assert_eq!(rule(&policy, &place.name("www/index.html")), Some(vec!["readOnly: true", "action: Allow"]), "{policy}");
    let explained = palisade(&["policy", "explain", &place.name("policy.yaml"), "--read", &place.name("www/other.html")]);
    let explained = text(&{ explained }.output().unwrap());
    assert!(explained.starts_with("Block"), "{explained}");
    let again = serve(place.again(&command).spawn().unwrap());
    assert!(cannot(&again) || again.status.success(), "{}\n{policy}", text(&again));
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("Permission denied") && !log.contains("[emerg]"), "{log}");
}
