//! Questions to the judging half of the kernel programs, compiled for this machine: `decide.c`, which describes their
//! format. A module of the tests that have tables and accesses: the corpus and the oracle.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use palisade_ruleset::{Access, End, FileMode, MountChange, Object, Operation, Program, Side, Verdict, Walked};

/// Tables, and questions about them with the answers that are expected.
#[derive(Default)]
pub(crate) struct Questions {
    bytes: Vec<u8>,
}

/// What came of them.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) asked: usize,
    /// Answered from several automata.
    pub(crate) composed: usize,
    /// Opens that pass by the states of their directory and their name alone.
    pub(crate) cached: usize,
    pub(crate) wrong: usize,
    /// The program's own words, each wrong answer in full.
    said: String,
}

/// What a question is about.
enum Row<'a> {
    Path(&'a Object),
    Socket([u32; 3], Option<End>),
    Capability(u32),
    /// A question of a kind of its own, about a path.
    BuiltIn(u8, Option<Object>),
}

/// The code that any answer has.
const ANY_CODE: u32 = u32::MAX;

// Numbers of `abi.h` and of decide.c.
const CLASS_PROCESS: u8 = 0;
const CLASS_FILE: u8 = 1;
const CLASS_NETWORK: u8 = 2;
const CLASS_CAPABILITY: u8 = 3;
const KIND_PATH: u8 = 0;
const KIND_UNRESOLVABLE: u8 = 1;
const KIND_SOCKET: u8 = 2;
const KIND_CAPABILITY: u8 = 3;
const KIND_MOUNT_AT: u8 = 4;
const KIND_MOVED: u8 = 5;
const KIND_MOUNTS: u8 = 6;
const KIND_ATTACH: u8 = 7;
/// Of a block device.
const KIND_DEVICE: u8 = 128;

// === impl Questions ===

impl Questions {
    /// The table that the questions from here on are about.
    pub(crate) fn table(&mut self, table: &[u8]) {
        self.bytes.push(1);
        self.u32(u32::try_from(table.len()).expect("a table has less than 4 GiB"));
        self.bytes.extend_from_slice(table);
    }

    /// The access with the two names that a program can be invoked by: that of the exec, and that of `argv[0]`.
    pub(crate) fn as_the_kernel_sees(access: &Access) -> Access {
        let mut access = access.clone();
        if let Operation::Exec { invoked_as, .. } = &mut access.operation {
            invoked_as.truncate(2);
        }
        access
    }

    /// One access that reaches the table: what the programs let pass before they ask it (a mapping of the program's own
    /// file, a memfd that is opened or mapped) is no question, nor is what they decide without one.
    pub(crate) fn ask(&mut self, access: &Access, expected: Walked) {
        let loader = access.actor.program.is_loader();
        let (class, operation, owner, row) = match &access.operation {
            Operation::Exec { object, owner, .. } => (CLASS_PROCESS, 0, *owner, Row::Path(object)),
            Operation::MapExec { object, .. } if is_own_file(&access.actor.program, object) => return,
            Operation::MapExec { object: Object::Memfd(_), .. } if !loader => return,
            Operation::MapExec { object, owner } => (CLASS_PROCESS, u8::from(!loader), *owner, Row::Path(object)),
            Operation::File { object: Object::Memfd(_), .. } => return,
            Operation::File { mode, object, owner, .. } => {
                (CLASS_FILE, u8::from(*mode == FileMode::Write), *owner, Row::Path(object))
            }
            Operation::Socket { socket, end } => {
                let [family, kind, protocol] = [socket.family, socket.kind, socket.protocol].map(i32::cast_unsigned);
                (CLASS_NETWORK, 0, None, Row::Socket([family, kind, protocol], *end))
            }
            Operation::Capability { number } => (CLASS_CAPABILITY, 0, None, Row::Capability(u32::from(*number))),
            Operation::MoveDirectory { object: object @ Object::Path(_) } => {
                (CLASS_FILE, 0, None, Row::BuiltIn(KIND_MOVED, Some(object.clone())))
            }
            Operation::Mount(MountChange::New { at }) => {
                (CLASS_FILE, 0, None, Row::BuiltIn(KIND_MOUNT_AT, Some(Object::Path(at.clone()))))
            }
            Operation::Attach { target } if is_same_program(&access.actor.program, target) => return,
            Operation::Attach { .. } => (CLASS_PROCESS, 0, None, Row::BuiltIn(KIND_ATTACH, None)),
            Operation::Mount(MountChange::UnmountOwn) | Operation::TouchPalisade | Operation::MoveDirectory { .. } => return,
            Operation::Mount(
                MountChange::Rearrange
                | MountChange::UnmountForeign
                | MountChange::PivotRoot
                | MountChange::EnterForeign
                | MountChange::OpenDetached,
            ) => (CLASS_FILE, 0, None, Row::BuiltIn(KIND_MOUNTS, None)),
        };
        let is_device = matches!(access.operation, Operation::File { block_device: true, .. });
        let kind = match &row {
            Row::Path(Object::Unresolvable) => KIND_UNRESOLVABLE,
            Row::Path(_) => KIND_PATH,
            Row::Socket(..) => KIND_SOCKET,
            Row::Capability(_) => KIND_CAPABILITY,
            Row::BuiltIn(kind, _) => *kind,
        } | if is_device { KIND_DEVICE } else { 0 };
        let terminal = u8::from(access.actor.terminal);
        let is_owner = u8::from(owner == Some(access.actor.uid));
        self.bytes.extend([2, class, operation, terminal, is_owner, kind]);
        let (numbers, text) = match row {
            Row::Path(object) => ([0; 3], object.text()),
            Row::Socket(numbers, end) => (numbers, end.map(as_the_hook_notes)),
            Row::Capability(number) => ([number, 0, 0], None),
            Row::BuiltIn(_, object) => ([0; 3], object.and_then(|object| object.text())),
        };
        numbers.into_iter().for_each(|n| self.u32(n));
        self.text(text.as_deref().unwrap_or_default());
        let (invoked_as, scripts) = match &access.operation {
            Operation::Exec { invoked_as, scripts, .. } => (invoked_as.as_slice(), scripts.as_slice()),
            Operation::MapExec { .. }
            | Operation::File { .. }
            | Operation::Socket { .. }
            | Operation::Capability { .. }
            | Operation::MoveDirectory { .. }
            | Operation::Mount(_)
            | Operation::Attach { .. }
            | Operation::TouchPalisade => (&[][..], &[][..]),
        };
        self.bytes.push(u8::try_from(invoked_as.len()).expect("two names at most"));
        invoked_as.iter().for_each(|name| self.text(name));
        self.program(&access.actor.program);
        self.bytes.push(u8::try_from(scripts.len()).expect("the kernel gives up sooner"));
        scripts.iter().for_each(|script| self.program(script));
        self.u32(match (expected.would_block, expected.verdict) {
            (true, _) => 3,
            (false, Verdict::Allow) => 0,
            (false, Verdict::Audit) => 1,
            (false, Verdict::Block) => 2,
        });
        self.u32(expected.by.map_or(ANY_CODE, palisade_ruleset::By::code));
        self.u32(match expected.shadow {
            None => u32::MAX,
            Some((Verdict::Allow, _)) => 0,
            Some((Verdict::Audit, _)) => 1,
            Some((Verdict::Block, _)) => 2,
        });
        self.u32(expected.shadow.and_then(|(_, by)| by).map_or(ANY_CODE, palisade_ruleset::By::code));
    }

    /// Compiles the program and asks it.
    pub(crate) fn answers(&self) -> Answers {
        let dir = tempfile::tempdir().expect("a directory");
        let (program, file) = (dir.path().join("decide"), dir.path().join("questions"));
        // Both tests lie two directories deep.
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/bpf");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(&compiler)
            // `#pragma clang loop` is for the kernel's verifier.
            .args(["-O2", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-I"])
            .arg(sources.join("src/c"))
            .arg("-o")
            .arg(&program)
            .arg(sources.join("tests/c/decide.c"))
            .status()
            .unwrap_or_else(|e| panic!("the test needs a C compiler, and {} does not start: {e}", compiler.display()));
        assert!(built.success(), "decide.c does not compile");
        std::fs::write(&file, &self.bytes).expect("the questions are written");
        let output = Command::new(&program).arg(&file).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        let numbers: Vec<usize> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [asked, composed, cached, wrong] = numbers[..] else { panic!("decide ended with {}: {said}", output.status) };
        assert_eq!(output.status.success(), wrong == 0, "{said}");
        Answers { asked, composed, cached, wrong, said }
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.extend(u16::try_from(text.len()).expect("a path has less than 64 KiB").to_le_bytes());
        self.bytes.extend_from_slice(text);
    }

    fn program(&mut self, program: &Program) {
        let text = program.text();
        self.bytes.push(u8::from(text.is_some()));
        self.text(text.as_deref().unwrap_or_default());
    }
}

fn is_same_program(a: &Program, b: &Program) -> bool {
    matches!((a, b), (Program::Path(a), Program::Path(b)) if a == b)
}

/// What the hooks make of an address: which end of which family, the port, the address as on the wire.
fn as_the_hook_notes(end: End) -> Vec<u8> {
    let End { side, address, port } = end;
    let address = match (side, address.to_canonical()) {
        (Side::Remote, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
        (Side::Remote, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
        (Side::Remote | Side::Local, address) => address,
    };
    let (kind, octets) = match (side, address) {
        (Side::Remote, IpAddr::V4(v4)) => (1, v4.octets().to_vec()),
        (Side::Remote, IpAddr::V6(v6)) => (2, v6.octets().to_vec()),
        (Side::Local, IpAddr::V4(v4)) => (3, v4.octets().to_vec()),
        (Side::Local, IpAddr::V6(v6)) => (4, v6.octets().to_vec()),
    };
    [vec![kind], port.to_le_bytes().to_vec(), octets].concat()
}

fn is_own_file(program: &Program, object: &Object) -> bool {
    match (program, object) {
        (Program::Path(a), Object::Path(b)) | (Program::Memfd(a), Object::Memfd(b)) => a == b,
        _ => false,
    }
}

// === impl Answers ===

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}
