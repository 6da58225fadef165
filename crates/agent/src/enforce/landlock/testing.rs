//! For tests: rule sets from YAML, and a stub that restricts itself by a plan and then tries things.
//!
//! The stub is this test program again, started for its one ignored test, so that only processes that the tests start
//! are ever restricted.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use palisade_policy::SourceFile;
use palisade_ruleset::{RuleSet, Tree, Workload};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

use super::{Abi, KernelLandlock, NonRecursive, Plan, PlanOptions, RealView, restrict_current_process};

const PLAN: &str = "PALISADE_STUB_PLAN";
const STEPS: &str = "PALISADE_STUB_STEPS";
/// The user that tests run as beside root: nobody.
pub(super) const NOBODY: u32 = 65534;
pub(super) const EPERM: i32 = 1;
pub(super) const EACCES: i32 = 13;
pub(super) const EXDEV: i32 = 18;
pub(super) const SIGSYS: i32 = 31;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Ok,
    Errno(i32),
    /// An exec that started and ended with this code.
    Exit(i32),
    Signal(i32),
}

/// A policy of a run: the `spec` is given, indented by two.
pub(super) fn rules_of(spec: &str, tree: &dyn Tree, workload: &Workload) -> RuleSet {
    let text = format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: p, namespace: default}}\n\
         spec:\n  selector: {{matchLabels: {{a: b}}}}\n{spec}\n"
    );
    rules_of_text(&text, tree, workload)
}

/// The policies of a whole text.
pub(super) fn rules_of_text(text: &str, tree: &dyn Tree, workload: &Workload) -> RuleSet {
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text }]);
    assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
    assert!(!parsed.policies.is_empty());
    RuleSet::new(&parsed.policies, workload, tree)
}

/// A directory for a test, open to everybody.
pub(super) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    pub(super) fn path(&self, name: &str) -> String {
        let root = fs::canonicalize(self.0.path()).unwrap();
        if name.is_empty() { root } else { root.join(name) }.to_str().unwrap().to_owned()
    }

    pub(super) fn file(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, "content\n").unwrap();
        open_to_all(Path::new(&path), 0o666);
        let mut above = Path::new(&path).parent();
        while let Some(dir) = above.filter(|d| d.starts_with(self.path("")) && *d != Path::new(&self.path(""))) {
            open_to_all(dir, 0o777);
            above = dir.parent();
        }
        path
    }

    pub(super) fn program(&self, name: &str, content: &[u8]) -> String {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        open_to_all(Path::new(&path), 0o755);
        path
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Options for the kernel that runs the test.
pub(super) fn options() -> PlanOptions {
    PlanOptions::new(KernelLandlock::ask().unwrap().abi())
}

/// Plans a policy over the real tree and tries the steps under it, as root (if the tests are) and as nobody.
pub(super) fn under(spec: &str, steps: &[&[&str]]) -> Vec<Vec<Got>> {
    let rules = rules_of(spec, &RealView, &Workload::run());
    let plan = Plan::new(&rules, &RealView, &options()).unwrap();
    users().into_iter().map(|user| run_plan(&plan, user, steps)).collect()
}

/// As [`under`], with what must come out for each user.
pub(super) fn expect(spec: &str, expected: &[(&[&str], Got)]) {
    let steps: Vec<&[&str]> = expected.iter().map(|(step, _)| *step).collect();
    for (user, got) in users().into_iter().zip(under(spec, &steps)) {
        for ((step, expected), got) in expected.iter().zip(&got) {
            assert_eq!(got, expected, "{step:?} as {user:?} under\n{spec}");
        }
    }
}

pub(super) fn recursive(spec: &str) -> Plan {
    let rules = rules_of(spec, &RealView, &Workload::run());
    Plan::new(&rules, &RealView, &PlanOptions { non_recursive: NonRecursive::Recursive, ..options() }).unwrap()
}

/// Root tries both; anybody else only himself.
pub(super) fn users() -> Vec<Option<u32>> {
    if rustix::process::geteuid().is_root() { vec![None, Some(NOBODY)] } else { vec![None] }
}

pub(super) fn run_plan(plan: &Plan, user: Option<u32>, steps: &[&[&str]]) -> Vec<Got> {
    let scratch = Scratch::new();
    let handed = scratch.path("plan.json");
    plan.write_to(fs::File::create(&handed).unwrap()).unwrap();
    let text: Vec<String> = steps.iter().map(|step| step.join("\t")).collect();
    let own = module_path!().split_once("::").unwrap().1;
    // By its descriptor: the checkout may lie below a directory that the user may not enter, as /root is.
    let own_binary = fs::File::open("/proc/self/exe").unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", own_binary.as_raw_fd()));
    command
        .args([&format!("{own}::stub"), "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLAN, &handed)
        .env(STEPS, text.join("\n"))
        .stdin(Stdio::null());
    if let Some(uid) = user {
        command.uid(uid).gid(uid);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let got: Vec<Got> = told.lines().filter_map(|l| l.split_once("=> ")).map(|(_, word)| parse(word)).collect();
    assert_eq!(got.len(), steps.len(), "the stub said\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    got
}

fn parse(word: &str) -> Got {
    let (kind, number) = word.split_once(' ').unwrap_or((word, "0"));
    let number = number.parse().unwrap();
    match kind {
        "ok" => Got::Ok,
        "errno" => Got::Errno(number),
        "exit" => Got::Exit(number),
        _ => Got::Signal(number),
    }
}

#[test]
#[ignore = "the stub: other tests start it, with a plan and steps in the environment"]
fn stub() {
    let plan = Plan::read_from(fs::File::open(std::env::var(PLAN).unwrap()).unwrap()).unwrap();
    let steps = std::env::var(STEPS).unwrap();
    let applied = restrict_current_process(&plan).unwrap();
    assert_eq!(applied.landlock, !plan.handled.is_empty());
    for step in steps.lines() {
        let words: Vec<&str> = step.split('\t').collect();
        let word = match attempt(&words) {
            Got::Ok => "ok".to_owned(),
            Got::Errno(n) => format!("errno {n}"),
            Got::Exit(n) => format!("exit {n}"),
            Got::Signal(n) => format!("signal {n}"),
        };
        println!("\n=> {word}");
    }
}

fn attempt(words: &[&str]) -> Got {
    let done = |result: std::io::Result<()>| match result {
        Ok(()) => Got::Ok,
        Err(e) => Got::Errno(e.raw_os_error().unwrap_or(-1)),
    };
    match words {
        ["read", path] => done(fs::File::open(path).and_then(|mut f| f.read(&mut [0; 16]).map(drop))),
        ["list", path] => done(fs::read_dir(path).map(drop)),
        ["write", path] => done(fs::OpenOptions::new().write(true).open(path).map(drop)),
        ["truncate", path] => done(fs::OpenOptions::new().write(true).truncate(true).open(path).map(drop)),
        ["create", path] => done(fs::OpenOptions::new().write(true).create_new(true).open(path).map(drop)),
        ["mkdir", path] => done(fs::create_dir(path)),
        ["unlink", path] => done(fs::remove_file(path)),
        ["rename", from, to] => done(fs::rename(from, to)),
        ["link", from, to] => done(fs::hard_link(from, to)),
        ["chmod", path] => done(fs::set_permissions(path, fs::Permissions::from_mode(0o600))),
        ["connect", path] => done(UnixStream::connect(path).map(drop)),
        ["bind", port] => done(TcpListener::bind(("127.0.0.1", port.parse().unwrap())).map(drop)),
        ["memfd", flags] => {
            let flags = if *flags == "noexec" { MemfdFlags::NOEXEC_SEAL } else { MemfdFlags::empty() };
            done(rustix::fs::memfd_create("t", flags).map(drop).map_err(Into::into))
        }
        ["socket", family, kind, protocol] => {
            let number = |text: &str| text.parse::<u32>().unwrap();
            let family = AddressFamily::from_raw(u16::try_from(number(family)).unwrap());
            let kind = SocketType::from_raw(number(kind));
            let protocol = NonZeroU32::new(number(protocol)).map(Protocol::from_raw);
            done(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol).map(drop).map_err(Into::into))
        }
        ["exec", program, arguments @ ..] => {
            let started =
                Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            match started {
                Ok(status) => status.signal().map_or_else(|| Got::Exit(status.code().unwrap()), Got::Signal),
                Err(e) => Got::Errno(e.raw_os_error().unwrap_or(-1)),
            }
        }
        other => panic!("no step {other:?}"),
    }
}

/// A whole static program for x86-64 of this machine code.
pub(super) fn elf64(code: &[u8]) -> Vec<u8> {
    let base = 0x40_0000_u64;
    let size = 120 + code.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend([2_u16, 62].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(1_u32.to_le_bytes());
    out.extend([base + 120, 64, 0].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(0_u32.to_le_bytes());
    out.extend([64_u16, 56, 1, 64, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([1_u32, 5].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([0, base, base, size, size, 4096].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(code);
    out
}

/// A whole static program for i386 that ends with code 7.
pub(super) fn elf32() -> Vec<u8> {
    // mov eax,1; mov ebx,7; int 0x80
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80];
    let base = 0x0804_8000_u32;
    let size = 84 + 12;
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend([2_u16, 3].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([1, base + 84, 52, 0, 0].iter().flat_map(|n: &u32| n.to_le_bytes()));
    out.extend([52_u16, 32, 1, 40, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([1, 0, base, base, size, size, 5, 4096].iter().flat_map(|n: &u32| n.to_le_bytes()));
    out.extend(code);
    out
}

/// A program for x86-64 that makes one system call with three arguments and ends with its errno.
pub(super) fn call_program(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    for (opcode, value) in [(0xbf_u8, arguments[0]), (0xbe, arguments[1]), (0xba, arguments[2]), (0xb8, number)] {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    }
    // syscall; neg eax; mov edi,eax; mov eax,60; syscall
    code.extend([0x0f, 0x05, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    elf64(&code)
}

/// Where a program of the system lies, without links.
pub(super) fn system(program: &str) -> String {
    let path = RealView.resolve(program.as_bytes()).unwrap().path;
    String::from_utf8(path).unwrap()
}

/// A path as the standard library has it.
pub(super) fn exists(path: &str) -> bool {
    PathBuf::from(path).exists()
}

/// The ABI of the running kernel.
pub(super) fn abi() -> Abi {
    KernelLandlock::ask().unwrap().abi()
}
