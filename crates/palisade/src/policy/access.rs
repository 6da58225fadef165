//! One access as command lines and test files give it, and what the policies say to it.

use palisade_policy::model::Capability;
use palisade_ruleset::{
    Access, Actor, By, Decision, Explanation, FileMode, Object, Operation, Program, RuleSet, Verdict, explain,
};

use super::end::NamedEnd;
use super::socket::NamedSocket;
use crate::text;
use crate::tree::World;

/// A question: what happens if this task does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is done.
    pub(crate) what: What,
    /// The acting program; `None`: some program that no policy names.
    pub(crate) from: Option<Program>,
    /// The task's real uid.
    pub(crate) uid: u32,
    /// The file's owner; `None`: as the tree says, else somebody else.
    pub(crate) owner: Option<u32>,
    /// Whether there is a terminal.
    pub(crate) terminal: bool,
    /// `argv[0]`, where it is not the program's name.
    pub(crate) invoked_as: Option<Vec<u8>>,
    /// What follows `argv[0]`.
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Running a program.
    Exec(Named),
    /// Making a file's pages executable.
    MapExec(Named),
    /// Opening for reading.
    Read(Named),
    /// Opening for writing, creating, removing, and so on.
    Write(Named),
    /// Opening a socket, or using one.
    Socket(NamedSocket),
    /// Connecting or sending to an address.
    Connect(NamedEnd),
    /// Binding to an address, listening and accepting there.
    Bind(NamedEnd),
    /// Using a capability.
    Capability(Capability),
}

/// A file as the user names it: a clean absolute path, or a memfd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A path.
    Path(Vec<u8>),
    /// `memfd:NAME`, without `memfd:`.
    Memfd(Vec<u8>),
}

/// Why a name is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadName {
    /// Neither a path from the root nor a memfd.
    NotAbsolute,
    /// It holds `..`, which only the kernel resolves.
    DotDot,
}

/// The answer: one explanation per stage (a script is run in several), and the stage that decides.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// In the order in which the kernel asks; never empty.
    pub(crate) stages: Vec<Stage>,
    /// The index of the strictest.
    pub(crate) deciding: usize,
}

/// One stage.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// What is done, for people.
    pub(crate) title: String,
    /// What the policies say.
    pub(crate) explanation: Explanation,
}

/// Who decided, by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decider {
    /// A rule: policy and position.
    Rule { policy: String, position: String },
    /// Anything else: `DefaultPosture`, `BaseSet`, a built-in rule.
    Other(&'static str),
    /// Nothing speaks.
    None,
}

/// A program that no `fromSource` names, unless it names a directory above everything.
const SOME_PROGRAM: &[u8] = b"/some/program/that/no/policy/names";
/// The longest chain of scripts that the kernel follows.
const SCRIPTS_MAX: usize = 5;

// === impl Question ===

impl Question {
    /// Asks a rule set.
    pub(crate) fn ask(&self, rules: &RuleSet, world: &World) -> Answer {
        let stages: Vec<Stage> = self
            .accesses(world)
            .into_iter()
            .map(|(title, access)| Stage { title, explanation: explain(rules, &access) })
            .collect();
        let mut deciding = 0;
        for (index, stage) in stages.iter().enumerate() {
            if stage.verdict() > stages[deciding].verdict() {
                deciding = index;
            }
        }
        Answer { stages, deciding }
    }

    /// In words: what is done, and by which program where that is said.
    pub(crate) fn title(&self, world: &World) -> String {
        let by = match &self.from {
            None => String::new(),
            Some(Program::Path(path)) => format!(" by {}", text::name(path)),
            Some(Program::Memfd(name)) => format!(" by memfd:{}", text::name(name)),
            Some(Program::Unknown) => " by an unknown program".to_owned(),
        };
        format!("{}{by}", self.what.title(world))
    }

    /// The accesses that it consists of; at least one.
    fn accesses(&self, world: &World) -> Vec<(String, Access)> {
        let program = match &self.from {
            None => Program::Path(SOME_PROGRAM.to_vec()),
            Some(Program::Path(path)) => Program::Path(world.file(path)),
            Some(other) => other.clone(),
        };
        let actor = Actor { program, uid: self.uid, terminal: self.terminal };
        let file = |mode, named: &Named| {
            let (object, path) = (named.object(world), named.path());
            let block_device = path.is_some_and(|p| world.is_block_device(p));
            Operation::File { mode, object, owner: self.owner_of(path, world), block_device }
        };
        let operation = match &self.what {
            What::Exec(named) => return self.exec_stages(named, &actor, world),
            What::MapExec(named) => Operation::MapExec { object: named.object(world), owner: self.owner_of(named.path(), world) },
            What::Read(named) => file(FileMode::Read, named),
            What::Write(named) => file(FileMode::Write, named),
            What::Socket(socket) => Operation::Socket { socket: socket.socket, end: None },
            What::Connect(end) => end.connected(),
            What::Bind(end) => {
                let title = |address| What::Bind(NamedEnd { address, ..end.clone() }).title(world);
                let access = |(address, operation)| (title(address), Access { actor: actor.clone(), operation });
                return end.bound().into_iter().map(access).collect();
            }
            What::Capability(capability) => Operation::Capability { number: capability.number() },
        };
        vec![(self.what.title(world), Access { actor, operation })]
    }

    /// A program, or a script and then each interpreter.
    fn exec_stages(&self, named: &Named, actor: &Actor, world: &World) -> Vec<(String, Access)> {
        let own_name = named.base_name().to_vec();
        let zeroth = self.invoked_as.clone().unwrap_or_else(|| own_name.clone());
        let mut stages = Vec::new();
        let mut scripts: Vec<Program> = Vec::new();
        let (mut named, mut arguments) = (named.clone(), [vec![zeroth.clone()], self.arguments.clone()].concat());
        let mut invoked_as = if zeroth == own_name { vec![own_name] } else { vec![own_name, base_name(&zeroth).to_vec()] };
        loop {
            let object = named.object(world);
            let operation = Operation::Exec {
                object: object.clone(),
                owner: self.owner_of(named.path(), world),
                scripts: scripts.clone(),
                invoked_as,
                arguments: Some(arguments.clone()),
            };
            stages.push((What::Exec(named.clone()).title(world), Access { actor: actor.clone(), operation }));
            let Some((path, shebang)) = named.path().and_then(|path| Some((path.to_vec(), world.shebang(path)?))) else { break };
            let Ok(interpreter) = Named::parse(&shebang.interpreter) else { break };
            if stages.len() > SCRIPTS_MAX {
                break;
            }
            if let Object::Path(file) = object {
                scripts.push(Program::Path(file));
            }
            let rest = arguments.split_off(1);
            arguments = [shebang.interpreter].into_iter().chain(shebang.argument).chain([path]).chain(rest).collect();
            invoked_as = vec![interpreter.base_name().to_vec()];
            named = interpreter;
        }
        stages
    }

    fn owner_of(&self, path: Option<&[u8]>, world: &World) -> Option<u32> {
        self.owner.or_else(|| world.owner(path?))
    }
}

// === impl What ===

impl What {
    /// In words, with what a link leads to.
    pub(crate) fn title(&self, world: &World) -> String {
        let (verb, named) = match self {
            Self::Exec(named) => ("exec", named),
            Self::MapExec(named) => ("map-exec", named),
            Self::Read(named) => ("read", named),
            Self::Write(named) => ("write", named),
            Self::Socket(socket) => return format!("socket {}", text::name(socket.name.as_bytes())),
            Self::Connect(end) => return format!("connect {}", text::name(end.to_string().as_bytes())),
            Self::Bind(end) => return format!("bind {}", text::name(end.to_string().as_bytes())),
            Self::Capability(capability) => return format!("capability {}", capability.name()),
        };
        let given = named.shown();
        match (named.path(), named.object(world)) {
            (Some(path), Object::Path(file)) if file != path => format!("{verb} {given} -> {}", text::name(&file)),
            _ => format!("{verb} {given}"),
        }
    }
}

// === impl Named ===

impl Named {
    /// Reads a name: doubled slashes, `.` and slashes at the end are dropped.
    ///
    /// # Errors
    /// What names no object by itself.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, BadName> {
        if let Some(name) = text.strip_prefix(b"memfd:") {
            return Ok(Self::Memfd(name.to_vec()));
        }
        if !text.starts_with(b"/") {
            return Err(BadName::NotAbsolute);
        }
        let mut path = Vec::with_capacity(text.len());
        for component in text.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".") {
            if component == b".." {
                return Err(BadName::DotDot);
            }
            path.push(b'/');
            path.extend_from_slice(component);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(Self::Path(path))
    }

    /// The acting program of this name; `unknown` where it cannot be told.
    pub(crate) fn parse_program(text: &[u8]) -> Result<Program, BadName> {
        if text == b"unknown" {
            return Ok(Program::Unknown);
        }
        Ok(match Self::parse(text)? {
            Self::Path(path) => Program::Path(path),
            Self::Memfd(name) => Program::Memfd(name),
        })
    }

    fn object(&self, world: &World) -> Object {
        match self {
            Self::Path(path) => Object::Path(world.file(path)),
            Self::Memfd(name) => Object::Memfd(name.clone()),
        }
    }

    fn path(&self) -> Option<&[u8]> {
        match self {
            Self::Path(path) => Some(path),
            Self::Memfd(_) => None,
        }
    }

    fn base_name(&self) -> &[u8] {
        match self {
            Self::Path(path) => base_name(path),
            Self::Memfd(name) => name,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Path(path) => text::name(path).into_owned(),
            Self::Memfd(name) => format!("memfd:{}", text::name(name)),
        }
    }
}

/// The last component.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |slash| &path[slash + 1..])
}

impl std::fmt::Display for BadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "begin with `/`, or write `memfd:NAME`",
            Self::DotDot => "a path with `..` names nothing by itself: leave it out",
        })
    }
}

impl std::error::Error for BadName {}

// === impl Answer, Stage ===

impl Answer {
    /// The stage that decides.
    pub(crate) fn decisive(&self) -> &Stage {
        &self.stages[self.deciding]
    }

    /// The decision over all stages.
    pub(crate) fn decision(&self) -> Decision {
        self.decisive().explanation.decision
    }
}

impl Stage {
    /// Its verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        self.explanation.decision.verdict
    }
}

// === impl Decider ===

impl Decider {
    /// By its names in the rule set.
    pub(crate) fn of(by: By, rules: &RuleSet) -> Self {
        match by {
            By::Rule(id) => rules.rule(id).map_or(Self::None, |rule| Self::Rule {
                policy: rule.policy.name.clone(),
                position: rule.position().to_string(),
            }),
            By::DefaultPosture => Self::Other("DefaultPosture"),
            By::BaseSet => Self::Other("BaseSet"),
            By::BuiltIn(rule) => Self::Other(rule.name()),
            By::Nothing => Self::None,
        }
    }
}

/// `POLICY:POSITION`, a name, or `none`.
impl std::fmt::Display for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule { policy, position } => write!(f, "{policy}:{position}"),
            Self::Other(name) => f.write_str(name),
            Self::None => f.write_str("none"),
        }
    }
}
