//! Policies, rules and accesses in few words, for the generator and for hand-written cases.

use std::collections::BTreeMap;

use palisade_policy::glob::Glob;
use palisade_policy::model::{
    Action, Capability, CapabilityRule, Endpoint, FileRule, Kind, NetworkObject, NetworkRule, Origin, PathName, PathObject,
    Policy, PolicyKey, PolicyMode, Position, ProcessRule, Protocol, RuleList, RuleMeta, Selector, SourceMatch,
};
use palisade_ruleset::{Access, Actor, FileMode, Object, Operation, Program, Socket};

/// A policy without rules that selects everything in its scope.
#[must_use]
pub fn policy(kind: Kind, name: &str) -> Policy {
    let namespace = if kind == Kind::Namespaced { "default" } else { "" };
    Policy {
        key: PolicyKey { kind, namespace: namespace.to_owned(), name: name.to_owned() },
        origin: origin(),
        selector: Selector::default(),
        mode: PolicyMode::Enabled,
        process: Vec::new(),
        file: Vec::new(),
        network: Vec::new(),
        capabilities: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Gives every rule the position that it has in its list.
#[must_use]
pub fn numbered(mut policy: Policy) -> Policy {
    let mut next: BTreeMap<RuleList, u32> = BTreeMap::new();
    let mut number = |meta: &mut RuleMeta, list: RuleList| {
        let index = next.entry(list).or_default();
        meta.position = Position { list, index: *index, part: 0 };
        *index += 1;
    };
    for rule in &mut policy.process {
        let list = match rule.object {
            PathObject::Path(_) | PathObject::ExecName(_) => RuleList::ProcessPaths,
            PathObject::Directory { .. } => RuleList::ProcessDirectories,
            PathObject::Pattern(_) => RuleList::ProcessPatterns,
        };
        number(&mut rule.meta, list);
    }
    for rule in &mut policy.file {
        let list = match rule.object {
            PathObject::Path(_) | PathObject::ExecName(_) => RuleList::FilePaths,
            PathObject::Directory { .. } => RuleList::FileDirectories,
            PathObject::Pattern(_) => RuleList::FilePatterns,
        };
        number(&mut rule.meta, list);
    }
    for rule in &mut policy.network {
        let list = match rule.object {
            NetworkObject::Protocol(_) => RuleList::NetworkProtocols,
            NetworkObject::Endpoint(_) => RuleList::NetworkEndpoints,
        };
        number(&mut rule.meta, list);
    }
    for rule in &mut policy.capabilities {
        number(&mut rule.meta, RuleList::Capabilities);
    }
    policy
}

/// A name as `path`, `dir` and `fromSource` have it: also a glob, where it is one.
#[must_use]
pub fn path_name(text: &str) -> PathName {
    let glob = if Glob::is_magic(text) { Glob::parse(text).ok() } else { None };
    PathName { literal: text.to_owned(), glob }
}

/// `path: TEXT`
#[must_use]
pub fn path(text: &str) -> PathObject {
    PathObject::Path(path_name(text))
}

/// `dir: TEXT` (which ends in `/`)
#[must_use]
pub fn dir(text: &str, recursive: bool) -> PathObject {
    PathObject::Directory { dir: path_name(text), recursive }
}

/// `pattern: TEXT`; `None` if it is no glob.
#[must_use]
pub fn pattern(text: &str) -> Option<PathObject> {
    Glob::parse(text).ok().map(PathObject::Pattern)
}

/// `execname: TEXT`
#[must_use]
pub fn execname(text: &str) -> PathObject {
    PathObject::ExecName(text.to_owned())
}

/// `fromSource: [{path: TEXT}]`
#[must_use]
pub fn source(text: &str) -> Vec<SourceMatch> {
    vec![SourceMatch::Path(path_name(text))]
}

/// A process rule without conditions.
#[must_use]
pub fn process(action: Action, object: PathObject) -> ProcessRule {
    ProcessRule { meta: meta(action), object, owner_only: false, pts_false: false, from_source: Vec::new(), allowed_args: None }
}

/// A file rule without conditions.
#[must_use]
pub fn file(action: Action, object: PathObject) -> FileRule {
    FileRule { meta: meta(action), object, read_only: false, owner_only: false, pts_false: false, from_source: Vec::new() }
}

/// A network rule by protocol.
#[must_use]
pub fn network(action: Action, protocol: Protocol) -> NetworkRule {
    network_rule(action, NetworkObject::Protocol(protocol))
}

/// A network rule by address and port.
#[must_use]
pub fn endpoint(action: Action, endpoint: Endpoint) -> NetworkRule {
    network_rule(action, NetworkObject::Endpoint(endpoint))
}

fn network_rule(action: Action, object: NetworkObject) -> NetworkRule {
    NetworkRule { meta: meta(action), object, pts_false: false, from_source: Vec::new() }
}

/// A capability rule.
#[must_use]
pub fn capability(action: Action, capability: Capability) -> CapabilityRule {
    CapabilityRule { meta: meta(action), capability, from_source: Vec::new() }
}

fn meta(action: Action) -> RuleMeta {
    let position = Position { list: RuleList::ProcessPaths, index: 0, part: 0 };
    RuleMeta { position, origin: origin(), action, severity: None, tags: Vec::new(), message: String::new() }
}

fn origin() -> Origin {
    Origin { file: "oracle".into(), line: 1, column: 1 }
}

/// A task of uid 1000 that runs this program, without a terminal.
#[must_use]
pub fn actor(program: &str) -> Actor {
    Actor { program: Program::Path(program.into()), uid: 1000, terminal: false }
}

/// The path as an object.
#[must_use]
pub fn object(path: &str) -> Object {
    Object::Path(path.into())
}

/// `/app/main` does this.
#[must_use]
pub fn by_main(operation: Operation) -> Access {
    Access { actor: actor("/app/main"), operation }
}

/// The exec of a root-owned program, by its own name and without further arguments.
#[must_use]
pub fn exec(path: &str) -> Operation {
    let name = path.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
    Operation::Exec {
        object: object(path),
        owner: Some(0),
        scripts: Vec::new(),
        invoked_as: vec![name.clone()],
        arguments: Some(vec![name]),
    }
}

/// A mapping of a root-owned file.
#[must_use]
pub fn map(path: &str) -> Operation {
    Operation::MapExec { object: object(path), owner: Some(0) }
}

/// Reading a root-owned file.
#[must_use]
pub fn read(path: &str) -> Operation {
    file_access(path, FileMode::Read)
}

/// Writing to a root-owned file.
#[must_use]
pub fn write(path: &str) -> Operation {
    file_access(path, FileMode::Write)
}

fn file_access(path: &str, mode: FileMode) -> Operation {
    Operation::File { mode, object: object(path), owner: Some(0), block_device: false }
}

/// A socket by the kernel's numbers.
#[must_use]
pub fn socket(family: i32, kind: i32, protocol: i32) -> Operation {
    Operation::Socket { socket: Socket { family, kind, protocol }, end: None }
}
