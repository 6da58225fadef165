//! Observations in, a policy out, as a user reads it: what the tests of its parts share.

mod files;
mod programs;
mod sockets;
mod text;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use palisade_discovery::{Collector, Context, Directories, NothingElse, Observation, Suggestion, What, suggest};
use palisade_policy::model::{Policy, PortRange};
use palisade_policy::{SourceFile, parse};
use palisade_ruleset::{
    Access, Actor, End, FileMode, NoLinks, Object, Operation, Program, RuleSet, Side, Socket, Verdict, Workload, decide,
};

pub(crate) const LAUNCHER: &str = "/usr/bin/palisade";

pub(crate) fn path(text: &str) -> Object {
    Object::Path(text.as_bytes().to_vec())
}

pub(crate) fn program(text: &str) -> Program {
    Program::Path(text.as_bytes().to_vec())
}

/// A run that is watched.
#[derive(Default)]
pub(crate) struct Run(Collector);

impl Run {
    /// A run that begins with /bin/app.
    pub(crate) fn begun() -> Self {
        let mut run = Self::default();
        run.exec(LAUNCHER, "/bin/app", false);
        run
    }

    pub(crate) fn take(&mut self, by: &str, what: What) {
        self.0.take(Observation { process: 7, program: program(by), what });
    }

    pub(crate) fn exec(&mut self, by: &str, object: &str, interpreter: bool) {
        self.take(by, What::Exec { object: path(object), interpreter });
    }

    pub(crate) fn read(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: true, write: false, creates: false, removes: false });
    }

    pub(crate) fn write(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: false, write: true, creates: false, removes: false });
    }

    pub(crate) fn create(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: false, write: true, creates: true, removes: false });
    }

    pub(crate) fn socket(&mut self, socket: Socket) {
        self.take("/bin/app", What::Socket { socket, end: None, binds: false });
    }

    /// What is done by /bin/app with a socket: `connect`, `bind` or `listen`, and the end.
    pub(crate) fn end(&mut self, socket: Socket, done: &str, end: &str) {
        self.take("/bin/app", What::Socket { socket, end: Some(mk_end(done, end)), binds: done == "bind" });
    }

    pub(crate) fn suggest(&self) -> Suggestion {
        self.suggest_in(&NothingElse)
    }

    pub(crate) fn suggest_in(&self, directories: &dyn Directories) -> Suggestion {
        suggest(&self.0, &context(&Workload::run(), directories))
    }
}

pub(crate) fn context<'a>(workload: &'a Workload, directories: &'a dyn Directories) -> Context<'a> {
    Context {
        name: "app".to_owned(),
        namespace: "default".to_owned(),
        labels: BTreeMap::new(),
        command: "/bin/app --serve".to_owned(),
        watched_by: "a test".to_owned(),
        unseen: Vec::new(),
        capabilities_seen: true,
        sources: true,
        watched_for: Duration::from_secs(65),
        launcher: Some(LAUNCHER.as_bytes().to_vec()),
        workload,
        tree: &NoLinks,
        directories,
        chosen_ports: PortRange::new(32_768, 60_999).expect("in order"),
    }
}

pub(crate) fn policies(suggestion: &Suggestion) -> Vec<Policy> {
    let parsed = parse(&[SourceFile { name: "learned.yaml".into(), text: &suggestion.policy }]);
    assert!(parsed.problems.is_empty(), "{:?}\n{}", parsed.problems, suggestion.policy);
    assert_eq!(parsed.policies.len(), 1);
    parsed.policies
}

pub(crate) fn verdict(suggestion: &Suggestion, by: Program, operation: Operation) -> Verdict {
    let rules = RuleSet::new(&policies(suggestion), &Workload::run(), &NoLinks);
    decide(&rules, &Access { actor: Actor { program: by, uid: 0, terminal: false }, operation }).verdict
}

pub(crate) fn file(suggestion: &Suggestion, mode: FileMode, object: &str) -> Verdict {
    let operation = Operation::File { mode, object: path(object), owner: None, block_device: false };
    verdict(suggestion, program("/bin/app"), operation)
}

pub(crate) fn read(suggestion: &Suggestion, object: &str) -> Verdict {
    file(suggestion, FileMode::Read, object)
}

pub(crate) fn write(suggestion: &Suggestion, object: &str) -> Verdict {
    file(suggestion, FileMode::Write, object)
}

pub(crate) fn exec(suggestion: &Suggestion, by: &str, object: &str, scripts: &[&str]) -> Verdict {
    let scripts = scripts.iter().map(|script| program(script)).collect();
    let operation = Operation::Exec { object: path(object), owner: None, scripts, invoked_as: Vec::new(), arguments: None };
    verdict(suggestion, program(by), operation)
}

pub(crate) fn mk_end(done: &str, end: &str) -> End {
    let end: SocketAddr = end.parse().expect("an address and port");
    let side = if done == "connect" { Side::Remote } else { Side::Local };
    End { side, address: end.ip(), port: end.port() }
}

pub(crate) fn end(suggestion: &Suggestion, socket: Socket, done: &str, end: &str) -> Verdict {
    verdict(suggestion, program("/bin/app"), Operation::Socket { socket, end: Some(mk_end(done, end)) })
}

pub(crate) const TCP: Socket = Socket { family: 2, kind: 1, protocol: 6 };
pub(crate) const TCP6: Socket = Socket { family: 10, kind: 1, protocol: 6 };
pub(crate) const UDP: Socket = Socket { family: 2, kind: 2, protocol: 17 };
pub(crate) const ALG: Socket = Socket { family: 38, kind: 5, protocol: 0 };

pub(crate) const ALLOW: Verdict = Verdict::Allow;
pub(crate) const BLOCK: Verdict = Verdict::Block;
