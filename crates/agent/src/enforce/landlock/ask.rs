//! Questions to the one meaning: every right of a plan is an answer of `decide()`.
//!
//! Landlock knows neither the acting program nor its terminal, the owner or the arguments. So each question is asked
//! as of a program that cannot be told (sourced Blocks meet it, sourced Allows do not), of a task that owns nothing
//! and whose arguments are unknown, and, where some rule has `pts`, with and without a terminal: what passes here
//! passes for everybody.

use palisade_policy::model::{Action, PathObject};
use palisade_ruleset::{
    Access, Actor, By, Decision, FileMode, Object, Operation, Program, RuleBody, RuleSet, Socket, Verdict, decide,
};

/// Asks a rule set.
pub(super) struct Asker<'a> {
    rules: &'a RuleSet,
    terminals: &'static [bool],
}

/// What the rule set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Nobody is denied.
    pub(super) passes: bool,
    /// Who decided, by [`palisade_ruleset::By::code`].
    pub(super) by: u32,
    /// The base set had a say: for another name it might have said something else.
    pub(super) asked_base: bool,
}

/// The uid of a task that owns nothing: no inode is of this uid (`(uid_t) -1`).
const NO_OWNER: u32 = u32::MAX;

// === impl Asker ===

impl<'a> Asker<'a> {
    pub(super) fn new(rules: &'a RuleSet) -> Self {
        let has_pts = rules.rules().iter().any(|rule| match &rule.body {
            RuleBody::Process(body) => body.pts_false,
            RuleBody::File(body) => body.pts_false,
            RuleBody::Network(body) => body.pts_false,
            RuleBody::Capability(_) => false,
        });
        Self { rules, terminals: if has_pts { &[false, true] } else { &[false] } }
    }

    /// May this file be executed?
    pub(super) fn exec(&self, path: &[u8]) -> Answer {
        self.exec_object(Object::Path(path.to_vec()))
    }

    /// May a memfd be executed?
    pub(super) fn exec_memfd(&self) -> Answer {
        self.exec_object(Object::Memfd(b"palisade".to_vec()))
    }

    fn exec_object(&self, object: Object) -> Answer {
        self.ask(&Operation::Exec { object, owner: None, scripts: Vec::new(), invoked_as: Vec::new(), arguments: None })
    }

    /// May this file be read (or, a directory, listed)?
    pub(super) fn read(&self, path: &[u8], block_device: bool) -> Answer {
        self.file(path, FileMode::Read, block_device)
    }

    /// May this file be written, made, removed?
    pub(super) fn write(&self, path: &[u8], block_device: bool) -> Answer {
        self.file(path, FileMode::Write, block_device)
    }

    fn file(&self, path: &[u8], mode: FileMode, block_device: bool) -> Answer {
        self.ask(&Operation::File { mode, object: Object::Path(path.to_vec()), owner: None, block_device })
    }

    /// May such a socket be made?
    pub(super) fn socket(&self, socket: Socket) -> Answer {
        self.ask(&Operation::Socket { socket, end: None })
    }

    /// May this capability be used?
    pub(super) fn capability(&self, number: u8) -> Answer {
        self.ask(&Operation::Capability { number })
    }

    /// Whether the answer comes from a rule that names this object, not a directory around it.
    pub(super) fn names_object(&self, answer: Answer) -> bool {
        let Some(By::Rule(id)) = By::from_code(answer.by) else { return false };
        let object = self.rules.rule(id).and_then(|rule| match &rule.body {
            RuleBody::Process(body) => Some(&body.object),
            RuleBody::File(body) => Some(&body.object),
            RuleBody::Network(_) | RuleBody::Capability(_) => None,
        });
        match object {
            Some(PathObject::Path(_) | PathObject::ExecName(_)) => true,
            Some(PathObject::Pattern(glob)) => !glob.ranks_as_directory(),
            Some(PathObject::Directory { .. }) | None => false,
        }
    }

    fn ask(&self, operation: &Operation) -> Answer {
        let mut strictest: Option<Decision> = None;
        for terminal in self.terminals {
            let actor = Actor { program: Program::Unknown, uid: NO_OWNER, terminal: *terminal };
            let decision = decide(self.rules, &Access { actor, operation: operation.clone() });
            if strictest.is_none_or(|s| decision.verdict > s.verdict) {
                strictest = Some(decision);
            }
        }
        let decision = strictest.unwrap_or(Decision::NOTHING);
        let asked_base = match decision.by {
            By::DefaultPosture | By::BaseSet => true,
            // An Audit is named although the base set or the posture let the access pass.
            By::Rule(id) => self.rules.rule(id).is_some_and(|rule| rule.action() == Action::Audit),
            By::BuiltIn(_) | By::Nothing => false,
        };
        Answer { passes: decision.verdict != Verdict::Block, by: decision.by.code(), asked_base }
    }
}
