//! Distinct accesses, counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use palisade_ruleset::{End, FileMode, Object, Program, Socket};

use crate::observation::{Observation, What};

/// The most distinct accesses that are kept. At about 300 bytes each: 40 MiB. What comes beyond is counted only.
pub const ACCESSES: usize = 1 << 17;
/// Programs that are remembered of one access; the comment of a rule names fewer.
const PROGRAMS: usize = 16;
/// Stages of an exec: the kernel follows five interpreters.
const STAGES: usize = 6;

/// One distinct access. The order is that of the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Access {
    /// A stage of an exec: the file, the caller, the scripts before it.
    Exec { object: Name, caller: Name, scripts: Vec<Name> },
    /// A file that a loader maps.
    Load { object: Name, loader: Name },
    /// A file.
    File { path: Vec<u8>, write: bool },
    /// A socket (family, type, protocol), and the end that an operation on it names.
    Socket { socket: [i32; 3], end: Option<End> },
    /// A capability.
    Capability(u8),
}

/// A program or the file of an exec.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Path(Vec<u8>),
    Memfd(Vec<u8>),
    Unknown,
}

/// What is known of one.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// How often.
    pub(crate) count: u64,
    /// Its first time, as the number of the access among all.
    pub(crate) first: u64,
    /// By whom, at most [`PROGRAMS`].
    pub(crate) programs: BTreeSet<Name>,
    pub(crate) marks: Marks,
}

/// What is true of an access at one of its times, and so of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// A name was made by it.
    pub(crate) creates: bool,
    /// A name was taken away by it.
    pub(crate) removes: bool,
    /// An own end was chosen by the program.
    pub(crate) binds: bool,
}

/// Counts accesses. What is not kept is counted: [`Self::beyond`].
#[derive(Debug, Default)]
pub struct Collector {
    pub(crate) seen: HashMap<Access, Seen>,
    /// Accesses so far.
    pub(crate) total: u64,
    /// Accesses of kinds beyond [`ACCESSES`].
    pub(crate) beyond: u64,
    /// Records that got lost on the way here.
    pub(crate) lost: u64,
    /// Objects that could not be told.
    pub(crate) unresolvable: u64,
    /// What built-in rules deny whatever policies say.
    pub(crate) built_in: BTreeMap<&'static str, u64>,
    /// The stages so far of the exec that a process does.
    stages: HashMap<u32, Vec<Name>>,
}

// === impl Collector ===

impl Collector {
    /// Takes one observation. Those of one process come in their order.
    pub fn take(&mut self, observation: Observation) {
        let Observation { process, program, what } = observation;
        let program = Name::from(program);
        match what {
            What::Exec { object, interpreter } => {
                let scripts = self.scripts(process, interpreter);
                let Some(object) = self.name(object) else { return };
                self.stages.entry(process).or_default().push(object.clone());
                self.add(Access::Exec { object, caller: program.clone(), scripts }, program, Marks::default());
            }
            What::Load(object) => {
                let Some(object) = self.name(object) else { return };
                self.add(Access::Load { object, loader: program.clone() }, program, Marks::default());
            }
            What::File { object, read, write, creates, removes } => match object {
                Object::Path(path) => {
                    let marks = Marks { creates, removes, binds: false };
                    for (done, write) in [(read, false), (write, true)] {
                        if done {
                            self.add(Access::File { path: path.clone(), write }, program.clone(), marks);
                        }
                    }
                }
                Object::Memfd(_) => {} // no file rule meets it
                Object::Unresolvable => self.cannot_tell(),
            },
            What::Socket { socket: Socket { family, kind, protocol }, end, binds } => {
                let end = end.map(|end| End { address: end.reached(), ..end });
                let access = Access::Socket { socket: [family, kind, protocol], end };
                self.add(access, program, Marks { binds, ..Marks::default() });
            }
            What::Capability(number) => self.add(Access::Capability(number), program, Marks::default()),
            What::BuiltIn(name) => *self.built_in.entry(name).or_default() += 1,
        }
    }

    /// Notes that so many records are missing.
    pub fn lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// How many accesses were taken.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many of them are different.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Accesses that found no room.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Records that are missing, as far as they were told here.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.lost
    }

    /// The scripts before this stage. A stage that is no interpreter begins another exec.
    fn scripts(&mut self, process: u32, interpreter: bool) -> Vec<Name> {
        if !interpreter {
            self.stages.remove(&process);
            // A process that ended leaves its last exec behind: the map is emptied before it grows without end.
            if self.stages.len() >= ACCESSES {
                self.stages.clear();
            }
            return Vec::new();
        }
        let mut scripts = self.stages.get(&process).cloned().unwrap_or_default();
        scripts.truncate(STAGES);
        scripts
    }

    fn name(&mut self, object: Object) -> Option<Name> {
        match object {
            Object::Path(path) => Some(Name::Path(path)),
            Object::Memfd(name) => Some(Name::Memfd(name)),
            Object::Unresolvable => {
                self.cannot_tell();
                None
            }
        }
    }

    fn cannot_tell(&mut self) {
        self.total += 1;
        self.unresolvable += 1;
    }

    fn add(&mut self, access: Access, program: Name, marks: Marks) {
        let first = self.total;
        self.total += 1;
        if self.seen.len() >= ACCESSES && !self.seen.contains_key(&access) {
            self.beyond += 1;
            return;
        }
        let new = || Seen { count: 0, first, programs: BTreeSet::new(), marks: Marks::default() };
        let seen = self.seen.entry(access).or_insert_with(new);
        seen.count += 1;
        seen.marks.add(marks);
        if seen.programs.len() < PROGRAMS {
            seen.programs.insert(program);
        }
    }
}

// === impl Marks, Access, Name ===

impl Marks {
    fn add(&mut self, other: Self) {
        let Self { creates, removes, binds } = other;
        self.creates |= creates;
        self.removes |= removes;
        self.binds |= binds;
    }
}

impl Access {
    /// The same access as the law sees it, by one of those who did it.
    pub(crate) fn to_law(&self, program: &Name) -> palisade_ruleset::Access {
        use palisade_ruleset::Operation;
        let operation = match self {
            Self::Exec { object, caller: _, scripts } => Operation::Exec {
                object: object.to_object(),
                owner: None,
                scripts: scripts.iter().map(Name::to_program).collect(),
                invoked_as: Vec::new(),
                arguments: None,
            },
            Self::Load { object, loader: _ } => Operation::MapExec { object: object.to_object(), owner: None },
            Self::File { path, write } => Operation::File {
                mode: if *write { FileMode::Write } else { FileMode::Read },
                object: Object::Path(path.clone()),
                owner: None,
                block_device: false,
            },
            Self::Socket { socket: [family, kind, protocol], end } => {
                Operation::Socket { socket: Socket { family: *family, kind: *kind, protocol: *protocol }, end: *end }
            }
            Self::Capability(number) => Operation::Capability { number: *number },
        };
        let actor = palisade_ruleset::Actor { program: program.to_program(), uid: 0, terminal: false };
        palisade_ruleset::Access { actor, operation }
    }
}

impl Name {
    pub(crate) fn to_program(&self) -> Program {
        match self {
            Self::Path(path) => Program::Path(path.clone()),
            Self::Memfd(name) => Program::Memfd(name.clone()),
            Self::Unknown => Program::Unknown,
        }
    }

    fn to_object(&self) -> Object {
        match self {
            Self::Path(path) => Object::Path(path.clone()),
            Self::Memfd(name) => Object::Memfd(name.clone()),
            Self::Unknown => Object::Unresolvable,
        }
    }
}

impl From<Program> for Name {
    fn from(program: Program) -> Self {
        match program {
            Program::Path(path) => Self::Path(path),
            Program::Memfd(name) => Self::Memfd(name),
            Program::Unknown => Self::Unknown,
        }
    }
}
