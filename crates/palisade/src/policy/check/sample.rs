//! Accesses that a rule is met by: witnesses, which make a finding true whatever else there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_policy::glob::{Glob, Token};
use palisade_policy::model::{Endpoint, Host, NetworkObject, PathName, PathObject, SourceMatch};
use palisade_ruleset::{End, Object, Program, Rule, RuleBody, Side};

/// A port where any will do: one that no rule is likely to name.
const SOME_PORT: u16 = 61_001;
/// The name of a sample where any will do.
const SOME_NAME: &str = "some-file";
/// Sequences of one glob that are sampled, at most.
const SEQUENCES_MAX: usize = 4;

/// Objects that meet the rule; none for classes without objects.
pub(super) fn objects(body: &RuleBody) -> Vec<Object> {
    match object_of(body) {
        Some(object) => objects_of(object),
        None => Vec::new(),
    }
}

/// What a rule of the path classes names.
pub(super) fn object_of(body: &RuleBody) -> Option<&PathObject> {
    match body {
        RuleBody::Process(rule) => Some(&rule.object),
        RuleBody::File(rule) => Some(&rule.object),
        RuleBody::Network(_) | RuleBody::Capability(_) => None,
    }
}

/// Ends that meet an endpoint rule, and none, where no end is named; of a rule by protocol none alone.
pub(super) fn ends(object: &NetworkObject) -> Vec<Option<End>> {
    let NetworkObject::Endpoint(Endpoint { protocol: _, direction, host, ports }) = object else { return vec![None] };
    let addresses: Vec<IpAddr> = match host {
        Host::Any => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Host::Cidr(cidr) => vec![cidr.address()],
        Host::Name(_) => Vec::new(),
    };
    let sides = [(Side::Remote, direction.is_egress()), (Side::Local, direction.is_ingress())];
    let sides = sides.into_iter().filter(|(_, meant)| *meant).map(|(side, _)| side);
    let ports: Vec<u16> = if ports.is_empty() { vec![SOME_PORT] } else { ports.iter().map(|range| range.first()).collect() };
    let ends = sides.flat_map(|side| addresses.iter().map(move |address| (side, *address)));
    let ends = ends.flat_map(|(side, address)| ports.iter().map(move |port| Some(End { side, address, port: *port })));
    std::iter::once(None).chain(ends).collect()
}

/// Ends that meet the rule, where it is by endpoint.
pub(super) fn ends_of(rule: &Rule) -> Vec<End> {
    let RuleBody::Network(body) = &rule.body else { return Vec::new() };
    ends(&body.object).into_iter().flatten().collect()
}

/// The rule's sources.
pub(super) fn sources_of(body: &RuleBody) -> &[SourceMatch] {
    match body {
        RuleBody::Process(rule) => &rule.from_source,
        RuleBody::File(rule) => &rule.from_source,
        RuleBody::Network(rule) => &rule.from_source,
        RuleBody::Capability(rule) => &rule.from_source,
    }
}

/// Programs that meet the rule's sources; where it has none, one that nobody names.
pub(super) fn programs(body: &RuleBody) -> Vec<Program> {
    let sources = sources_of(body);
    if sources.is_empty() {
        return vec![some_program()];
    }
    let literal = |source: &SourceMatch| match source {
        SourceMatch::Path(PathName { literal, glob: _ }) => literal.clone(),
        SourceMatch::Directory { dir, recursive: _ } => format!("{}{SOME_NAME}", dir.literal),
    };
    sources.iter().map(|source| Program::Path(literal(source).into_bytes())).collect()
}

/// A program that no policy names.
pub(super) fn some_program() -> Program {
    Program::Path(b"/some/program/that/no/policy/names".to_vec())
}

/// A file of that kind in another rule's directory: where two rules meet that do not name each other.
pub(super) fn in_directory(object: &PathObject, directory: &str) -> Option<Object> {
    match object {
        PathObject::ExecName(name) => Some(path(format!("{directory}{name}").into_bytes())),
        PathObject::Pattern(glob) if !glob.is_anchored() && !glob.is_memfd() => {
            let tail = sample(glob.sequences().first()?);
            Some(path([directory.as_bytes(), tail.strip_prefix(b"/").unwrap_or(&tail)].concat()))
        }
        PathObject::Pattern(_) | PathObject::Path(_) | PathObject::Directory { .. } => None,
    }
}

fn objects_of(object: &PathObject) -> Vec<Object> {
    match object {
        PathObject::Path(PathName { literal, glob }) => {
            let mut found = vec![path(literal.clone().into_bytes())];
            found.extend(glob.iter().flat_map(glob_objects));
            found
        }
        PathObject::Directory { dir: PathName { literal, glob: _ }, recursive: _ } => {
            vec![path(format!("{literal}{SOME_NAME}").into_bytes())]
        }
        PathObject::Pattern(glob) => glob_objects(glob),
        PathObject::ExecName(name) => vec![path(format!("/usr/bin/{name}").into_bytes())],
    }
}

fn glob_objects(glob: &Glob) -> Vec<Object> {
    glob.sequences().iter().take(SEQUENCES_MAX).map(|sequence| path(sample(sequence))).collect()
}

/// A path of the shape of a glob. It may fail to meet it (a set that holds no letter): then it is a witness of nothing.
fn sample(sequence: &[Token]) -> Vec<u8> {
    let mut text = Vec::new();
    for token in sequence {
        match token {
            Token::Byte(byte) => text.push(*byte),
            Token::AnyByte => text.push(b'x'),
            Token::Star | Token::DoubleStar => text.extend_from_slice(b"x"),
            Token::SlashDoubleStarSlash => text.push(b'/'),
            Token::Set(set) => text.extend((b'!'..=b'~').rev().find(|byte| *byte != b'/' && set.contains(*byte))),
        }
    }
    if text.starts_with(b"/") || text.starts_with(b"memfd:") { text } else { [b"/".as_slice(), &text].concat() }
}

fn path(text: Vec<u8>) -> Object {
    match text.strip_prefix(b"memfd:") {
        Some(name) => Object::Memfd(name.to_vec()),
        None => Object::Path(text),
    }
}
