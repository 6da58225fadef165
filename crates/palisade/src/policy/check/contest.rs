//! Allows that defeat another policy's Block: within a tier the better ranked wins, so an exact Allow opens what a
//! directory Block elsewhere closes.
//!
//! Every finding has a witness: an access on which `ruleset::explain` lets the Allow decide over the Block. Accesses are
//! made up from what the two policies name, so what is missed is an overlap of two globs that no such sample meets.

use std::collections::HashSet;
use std::net::SocketAddr;

use palisade_policy::Problem;
use palisade_policy::model::{Action, Kind, PathObject, Policy};
use palisade_ruleset::{
    Access, Actor, By, End, Explanation, FileMode, NoLinks, Object, Operation, Program, Rule, RuleBody, RuleSet, Side, Verdict,
    explain,
};

use super::{coexist, rules_of, sample};
use crate::policy::access::base_name;
use crate::policy::report;
use crate::policy::socket::NamedSocket;
use crate::text;

/// Work at most, in comparisons of a rule with an access: about two seconds.
const WORK_MAX: usize = 4_000_000;

/// Directories of other rules in which a name or a floating glob is tried, at most.
const DIRECTORIES_MAX: usize = 32;

/// A note on each Allow, and each policy whose Block it defeats.
pub(super) fn notes(policies: &[&Policy]) -> Vec<Problem> {
    let mut notes = Vec::new();
    let mut work = 0;
    for (index, one) in policies.iter().enumerate() {
        for other in &policies[index + 1..] {
            let lists = [one, other].iter().any(|p| has(p, Action::Allow)) && [one, other].iter().any(|p| has(p, Action::Block));
            if !lists || !coexist::may_meet(one, other) {
                continue;
            }
            pair(&rules_of(&[one, other], &NoLinks), &mut work, &mut notes);
            if work > WORK_MAX {
                let message = "so many rules that not all Allows were compared with the Blocks of other policies";
                notes.push(report::note(&other.origin, String::new(), message.to_owned(), "check fewer policies at once"));
                return notes;
            }
        }
    }
    notes
}

fn has(policy: &Policy, action: Action) -> bool {
    let Policy { process, file, network, capabilities, .. } = policy;
    process.iter().any(|r| r.meta.action == action)
        || file.iter().any(|r| r.meta.action == action)
        || network.iter().any(|r| r.meta.action == action)
        || capabilities.iter().any(|r| r.meta.action == action)
}

fn pair(rules: &RuleSet, work: &mut usize, notes: &mut Vec<Problem>) {
    // The program that nobody names comes first: its findings are the plainest.
    let named = rules.rules().iter().flat_map(|rule| sample::programs(&rule.body));
    let mut programs: Vec<Program> = std::iter::once(sample::some_program()).chain(named).collect();
    unique(&mut programs);
    let operations = operations(rules);
    let mut told = HashSet::new();
    for (program, operation) in programs.iter().flat_map(|program| operations.iter().map(move |operation| (program, operation))) {
        *work += rules.rules().len();
        if *work > WORK_MAX {
            return;
        }
        let actor = Actor { program: program.clone(), uid: 0, terminal: false };
        let access = Access { actor, operation: operation.clone() };
        let Some((allow, block)) = defeat(rules, &access) else { continue };
        if told.insert(allow.id) {
            notes.push(note(allow, block, &access));
        }
    }
}

/// The Allow that decides an access, and a Block of another policy that it decides against.
fn defeat<'a>(rules: &'a RuleSet, access: &Access) -> Option<(&'a Rule, &'a Rule)> {
    let Explanation { decision, reason: _, matched } = explain(rules, access);
    let By::Rule(winner) = decision.by else { return None };
    let allow = rules.rule(winner).filter(|rule| rule.action() == Action::Allow && decision.verdict != Verdict::Block)?;
    let blocks = matched.iter().filter(|m| m.says == "Block").filter_map(|m| rules.rule(m.rule));
    let block = blocks.into_iter().find(|block| block.policy != allow.policy)?;
    Some((allow, block))
}

fn note(allow: &Rule, block: &Rule, access: &Access) -> Problem {
    let message = format!(
        "this Allow opens what {} of {} ({}) blocks, where both select a workload: {}",
        block.position(),
        block.policy,
        block.origin(),
        title(access)
    );
    let help = match allow.policy.kind {
        Kind::Namespaced => "a Block that must hold belongs in a KubeArmorClusterPolicy: across tiers the stricter wins",
        Kind::Cluster | Kind::Host => "name in the Block exactly what must stay closed: of equal names the Block wins",
    };
    report::note(allow.origin(), format!("spec.{}", allow.position()), message, help)
}

fn title(access: &Access) -> String {
    let Access { actor, operation } = access;
    let from = match &actor.program {
        program if *program == sample::some_program() => String::new(),
        Program::Path(path) => format!(" by {}", text::name(path)),
        Program::Memfd(_) | Program::Unknown => String::new(),
    };
    let what = match operation {
        Operation::Exec { object, .. } => format!("exec of {}", name(object)),
        Operation::MapExec { object, .. } => format!("executable mapping of {}", name(object)),
        Operation::File { mode: FileMode::Read, object, .. } => format!("reading {}", name(object)),
        Operation::File { mode: FileMode::Write, object, .. } => format!("writing {}", name(object)),
        Operation::Socket { socket, end } => {
            let found = NamedSocket::all().find(|named| named.socket == *socket);
            let socket = found.map_or_else(|| "a socket".to_owned(), |named| format!("a {} socket", named.name));
            match end {
                None => socket,
                Some(End { side: Side::Remote, address, port }) => format!("{socket} to {}", SocketAddr::new(*address, *port)),
                Some(End { side: Side::Local, address, port }) => format!("{socket} at {}", SocketAddr::new(*address, *port)),
            }
        }
        Operation::Capability { number } => {
            let name = palisade_policy::model::Capability::from_number(*number).map_or("?", |c| c.name());
            format!("capability {name}")
        }
        Operation::MoveDirectory { .. } | Operation::Mount(_) | Operation::Attach { .. } | Operation::TouchPalisade => {
            String::new()
        }
    };
    format!("{what}{from}")
}

fn name(object: &Object) -> String {
    match object {
        Object::Path(path) => text::name(path).into_owned(),
        Object::Memfd(name) => format!("memfd:{}", text::name(name)),
        Object::Unresolvable => String::new(),
    }
}

/// Everything that the rules name.
fn operations(rules: &RuleSet) -> Vec<Operation> {
    let bodies = || rules.rules().iter().map(|rule| &rule.body);
    let mut operations: Vec<Operation> = Vec::new();
    for rule in rules.rules() {
        let others = rules.rules().iter().filter(|other| other.class() == rule.class() && other.policy != rule.policy);
        let directories = others.filter_map(|other| match sample::object_of(&other.body)? {
            PathObject::Directory { dir, recursive: _ } => Some(dir.literal.as_str()),
            PathObject::Path(_) | PathObject::Pattern(_) | PathObject::ExecName(_) => None,
        });
        let own = sample::object_of(&rule.body);
        let met = directories.take(DIRECTORIES_MAX).filter_map(|directory| sample::in_directory(own?, directory));
        let objects = sample::objects(&rule.body).into_iter().chain(met);
        match &rule.body {
            RuleBody::Process(process) => operations.extend(objects.map(|object| exec(object, process.allowed_args.as_deref()))),
            RuleBody::File(_) => operations.extend(objects.flat_map(|object| {
                [FileMode::Read, FileMode::Write].map(|mode| Operation::File {
                    mode,
                    object: object.clone(),
                    owner: Some(0),
                    block_device: false,
                })
            })),
            RuleBody::Network(rule) => {
                let ends = sample::ends(&rule.object).into_iter().filter(Option::is_some);
                operations.extend(
                    ends.flat_map(|end| sockets_with_ends().map(move |named| Operation::Socket { socket: named.socket, end })),
                );
            }
            RuleBody::Capability(rule) => operations.push(Operation::Capability { number: rule.capability.number() }),
        }
    }
    if bodies().any(|body| matches!(body, RuleBody::Network(_))) {
        operations.extend(NamedSocket::all().map(|named| Operation::Socket { socket: named.socket, end: None }));
    }
    operations
}

/// One of each protocol that endpoint rules tell apart.
fn sockets_with_ends() -> impl Iterator<Item = NamedSocket> {
    NamedSocket::all().filter(|named| ["tcp", "udp", "sctp", "ping"].contains(&named.name.as_str()))
}

fn exec(object: Object, allowed_args: Option<&[String]>) -> Operation {
    let name = match &object {
        Object::Path(path) => base_name(path).to_vec(),
        Object::Memfd(name) => name.clone(),
        Object::Unresolvable => Vec::new(),
    };
    let argument = allowed_args.and_then(<[String]>::first).map(|a| a.as_bytes().to_vec());
    let arguments = Some([name.clone()].into_iter().chain(argument).collect());
    Operation::Exec { object, owner: Some(0), scripts: Vec::new(), invoked_as: vec![name], arguments }
}

fn unique(programs: &mut Vec<Program>) {
    let mut seen = HashSet::new();
    programs.retain(|program| seen.insert(program.clone()));
}
