//! Rules that never decide anything: another rule of the same policy is met whenever they are, and is always better
//! ranked.
//!
//! Sound, by two steps. What is met: two rules with the same object (or, of a directory, one that is recursive), the same
//! sources or none, and terminals that fit, meet the same accesses. Who ranks better: `ruleset::explain` is asked under
//! every combination of the conditions that rules depend on.
//!
//! Not looked for: rules that several others together leave nothing to, and rules of other policies (selectors decide
//! whether these concern the same workload).

use std::collections::HashMap;

use palisade_policy::Problem;
use palisade_policy::model::{Action, Capability, NetworkObject, PathObject, Policy, SourceMatch};
use palisade_ruleset::{
    Access, Actor, FileMode, MULTI_CALL, Matched, NoLinks, Object, Operation, Rule, RuleBody, RuleSet, Socket, explain,
};

use super::{rules_of, sample};
use crate::policy::report;
use crate::policy::socket::NamedSocket;

/// What rules must have in common to meet the same accesses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Process(&'a PathObject, &'a [SourceMatch]),
    /// A directory: recursive and not recursive together.
    ProcessDirectory(&'a str, &'a [SourceMatch]),
    File(&'a PathObject, &'a [SourceMatch]),
    FileDirectory(&'a str, &'a [SourceMatch]),
    Network(&'a NetworkObject, &'a [SourceMatch]),
    Capability(Capability, &'a [SourceMatch]),
}

/// Rules of equal keys that are compared, at most: each with each.
const GROUP_MAX: usize = 32;

/// A note on each rule that never decides.
pub(super) fn notes(policy: &Policy) -> Vec<Problem> {
    let all = rules_of(&[policy], &NoLinks);
    let mut groups: HashMap<Key<'_>, Vec<&Rule>> = HashMap::new();
    for rule in all.rules() {
        groups.entry(Key::of(&rule.body)).or_default().push(rule);
    }
    let mut notes = Vec::new();
    for group in groups.values().filter(|group| group.len() > 1) {
        for rule in group.iter().take(GROUP_MAX) {
            let better = group.iter().take(GROUP_MAX).find(|better| better.id != rule.id && dominates(better, rule, policy));
            notes.extend(better.map(|better| note(rule, better)));
        }
    }
    notes
}

fn note(rule: &Rule, better: &Rule) -> Problem {
    let place = format!("{} ({})", better.position(), better.origin());
    let message = match (rule.action() == better.action(), rule.action()) {
        (true, _) => format!("this rule can never win: {place} says the same before it"),
        (false, Action::Allow) => {
            format!("this rule can never win: {place} names the same and ranks better; it still makes the class an allow-list")
        }
        (false, Action::Audit | Action::Block) => format!("this rule can never win: {place} names the same and ranks better"),
    };
    let help = match (&rule.body, rule.action()) {
        (RuleBody::Process(process), Action::Allow) if may_be_multi_call(&process.object) => {
            "where this is a link to a multi-call binary, the Allow opens all of that binary: remove one of the two"
        }
        _ => "remove one of the two",
    };
    report::note(rule.origin(), format!("spec.{}", rule.position()), message, help)
}

/// Whether the path could be a link to busybox or the like, whose Allow reaches further than a Block (`meaning` 3.6).
fn may_be_multi_call(object: &PathObject) -> bool {
    match object {
        PathObject::Path(name) => !MULTI_CALL.iter().any(|known| name.literal.ends_with(&format!("/{known}"))),
        PathObject::Directory { .. } | PathObject::Pattern(_) | PathObject::ExecName(_) => false,
    }
}

/// Whether `better` is met whenever `rule` is, and always ranks before it.
fn dominates(better: &Rule, rule: &Rule, policy: &Policy) -> bool {
    // An Allow follows fewer links than a Block or an Audit (`meaning` 3.5): it may be met by less.
    let names_fit = better.action() != Action::Allow || rule.action() == Action::Allow;
    let terminal_fits = !pts_false(&better.body)
        || (pts_false(&rule.body) && (better.action() == Action::Allow) == (rule.action() == Action::Allow));
    let directories_fit = is_recursive(&better.body) || !is_recursive(&rule.body);
    if !names_fit || !terminal_fits || !directories_fit {
        return false;
    }
    let rules = rules_of(&[&policy_of(policy, better, rule)], &NoLinks);
    let mut accesses = accesses(rule).into_iter().peekable();
    accesses.peek().is_some() && accesses.all(|access| ranks_before(&rules, &access, better, rule))
}

fn ranks_before(rules: &RuleSet, access: &Access, better: &Rule, rule: &Rule) -> bool {
    let matched = explain(rules, access).matched;
    let find = |wanted: &Rule| {
        let is_it =
            |m: &Matched| rules.rule(m.rule).is_some_and(|r| r.origin() == wanted.origin() && r.position() == wanted.position());
        matched.iter().position(is_it)
    };
    let Some(own) = find(rule) else { return true };
    let Some(other) = find(better) else { return false };
    // Where the better one looks on, an Allow behind it still speaks.
    let looks_on = |m: &Matched| m.says != "Allow" && m.says != "Block";
    other < own && !(looks_on(&matched[other]) && matched[own].says == "Allow")
}

/// The policy with these two rules alone.
fn policy_of(policy: &Policy, one: &Rule, other: &Rule) -> Policy {
    let Policy { key, origin, selector, mode, process: _, file: _, network: _, capabilities: _, gaps: _ } = policy;
    let mut small = Policy {
        key: key.clone(),
        origin: origin.clone(),
        selector: selector.clone(),
        mode: *mode,
        process: Vec::new(),
        file: Vec::new(),
        network: Vec::new(),
        capabilities: Vec::new(),
        gaps: Vec::new(),
    };
    for body in [one.body.clone(), other.body.clone()] {
        match body {
            RuleBody::Process(rule) => small.process.push(rule),
            RuleBody::File(rule) => small.file.push(rule),
            RuleBody::Network(rule) => small.network.push(rule),
            RuleBody::Capability(rule) => small.capabilities.push(rule),
        }
    }
    small
}

/// An access that meets the rule, under every combination of what rules depend on.
fn accesses(rule: &Rule) -> Vec<Access> {
    let Some(program) = sample::programs(&rule.body).into_iter().next() else { return Vec::new() };
    let object = sample::objects(&rule.body).into_iter().next();
    let mut operations: Vec<Operation> = Vec::new();
    for owner in [None, Some(0)] {
        match (&rule.body, &object) {
            (RuleBody::Process(process), Some(object)) => {
                let listed = process.allowed_args.iter().flatten().next().map(|a| a.as_bytes().to_vec());
                for argument in listed.into_iter().chain([b"\0".to_vec()]) {
                    operations.push(exec(object, owner, argument));
                }
                operations.push(Operation::MapExec { object: object.clone(), owner });
            }
            (RuleBody::File(_), Some(object)) => {
                for mode in [FileMode::Read, FileMode::Write] {
                    operations.push(Operation::File { mode, object: object.clone(), owner, block_device: false });
                }
            }
            (RuleBody::Network(rule), _) => {
                let sockets = NamedSocket::all().map(|s| s.socket).chain(OTHER_SOCKETS);
                let ends = sample::ends(&rule.object);
                operations.extend(
                    sockets.flat_map(|socket| ends.clone().into_iter().map(move |end| Operation::Socket { socket, end })),
                );
            }
            (RuleBody::Capability(rule), _) => operations.push(Operation::Capability { number: rule.capability.number() }),
            (RuleBody::Process(_) | RuleBody::File(_), None) => {}
        }
    }
    let actor = |terminal| Actor { program: program.clone(), uid: 0, terminal };
    let with = |terminal| operations.clone().into_iter().map(move |operation| Access { actor: actor(terminal), operation });
    with(false).chain(with(true)).collect()
}

/// Of the types that no name stands for: rdm, seqpacket, dccp, packet.
const OTHER_SOCKETS: [Socket; 4] = [
    Socket { family: 2, kind: 4, protocol: 0 },
    Socket { family: 2, kind: 5, protocol: 0 },
    Socket { family: 2, kind: 6, protocol: 33 },
    Socket { family: 2, kind: 10, protocol: 0 },
];

fn exec(object: &Object, owner: Option<u32>, argument: Vec<u8>) -> Operation {
    let arguments = Some(vec![b"x".to_vec(), argument]);
    Operation::Exec { object: object.clone(), owner, scripts: Vec::new(), invoked_as: Vec::new(), arguments }
}

fn pts_false(body: &RuleBody) -> bool {
    match body {
        RuleBody::Process(rule) => rule.pts_false,
        RuleBody::File(rule) => rule.pts_false,
        RuleBody::Network(rule) => rule.pts_false,
        RuleBody::Capability(_) => false,
    }
}

fn is_recursive(body: &RuleBody) -> bool {
    matches!(sample::object_of(body), Some(PathObject::Directory { recursive: true, .. }))
}

// === impl Key ===

impl<'a> Key<'a> {
    fn of(body: &'a RuleBody) -> Self {
        let sources = sample::sources_of(body);
        match body {
            RuleBody::Process(rule) => match &rule.object {
                PathObject::Directory { dir, recursive: _ } => Self::ProcessDirectory(&dir.literal, sources),
                object @ (PathObject::Path(_) | PathObject::Pattern(_) | PathObject::ExecName(_)) => {
                    Self::Process(object, sources)
                }
            },
            RuleBody::File(rule) => match &rule.object {
                PathObject::Directory { dir, recursive: _ } => Self::FileDirectory(&dir.literal, sources),
                object @ (PathObject::Path(_) | PathObject::Pattern(_) | PathObject::ExecName(_)) => Self::File(object, sources),
            },
            RuleBody::Network(rule) => Self::Network(&rule.object, sources),
            RuleBody::Capability(rule) => Self::Capability(rule.capability, sources),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_policy::SourceFile;

    use super::*;

    fn mk_notes(spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n{}",
            spec.lines().map(|line| format!("  {line}\n")).collect::<String>()
        );
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let mut found: Vec<String> = notes(&parsed.policies[0]).into_iter().map(|n| n.field).collect();
        found.sort();
        found
    }

    #[test]
    fn a_block_of_the_same_path_leaves_an_allow_nothing() {
        let spec = "file:\n  matchPaths: [{path: /a, action: Allow}, {path: /a, action: Block}, {path: /b, action: Allow}]\n";
        assert_eq!(mk_notes(spec), ["spec.file.matchPaths[0]"]);
    }

    #[test]
    fn a_repeated_rule_is_told_once() {
        let spec = "network:\n  matchProtocols: [{protocol: tcp, action: Allow}, {protocol: tcp, action: Allow}]\n";
        assert_eq!(mk_notes(spec), ["spec.network.matchProtocols[1]"]);
    }

    #[test]
    fn conditions_leave_a_rule_something() {
        for spec in [
            // A read passes the Block silently: there the Allow speaks.
            "file:\n  matchPaths: [{path: /a, action: Allow}, {path: /a, action: Block, readOnly: true}]\n",
            "file:\n  matchPaths: [{path: /a, action: Allow}, {path: /a, action: Block, fromSource: [{path: /x}]}]\n",
            "file:\n  matchPaths: [{path: /a, action: Allow}, {path: /a, action: Block, pts: false}]\n",
            "file:\n  matchPaths: [{path: /a, action: Allow}, {path: /a, action: Audit}]\n",
            "file:\n  matchDirectories: [{dir: /a/, recursive: true, action: Allow}, {dir: /a/, action: Block}]\n",
            "process:\n  matchPaths: [{path: /a, action: Allow}]\n  matchDirectories: [{dir: /, recursive: true, action: Block}]\n",
        ] {
            assert_eq!(mk_notes(spec), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn a_recursive_block_leaves_the_direct_children_nothing() {
        let spec = "file:\n  matchDirectories: [{dir: /a/, action: Allow}, {dir: /a/, recursive: true, action: Block}]\n";
        assert_eq!(mk_notes(spec), ["spec.file.matchDirectories[0]"]);
    }
}
