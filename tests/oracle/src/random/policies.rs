//! Random policies.

use palisade_policy::model::{
    Action, Capability, CapabilityRule, FileRule, Kind, NamespaceTerm, NetworkRule, PathObject, Policy, PolicyMode, ProcessRule,
    Protocol, Selector, SelectorTerm, SourceMatch,
};
use palisade_ruleset::{Scope, Workload};

use super::names;
use super::rng::Rng;
use crate::build;

/// What the rules of one set have in common.
struct Taste {
    /// How many of 100 rules have a source.
    sources: usize,
    /// How many of 100 rules have each of their conditions.
    conditions: usize,
    /// Objects that many of its process rules share, so that only the other parts of a rank tell them apart.
    programs: Vec<PathObject>,
    /// The same of its file rules.
    files: Vec<PathObject>,
}

/// One to six policies, mostly of the kinds that concern the workload.
pub(super) fn policies(rng: &mut Rng, workload: &Workload) -> Vec<Policy> {
    // Half of the sets are small: there single clauses show.
    let (most_policies, most_rules) = if rng.chance(50) { (2, 4) } else { (6, 12) };
    let taste = taste(rng);
    (0..rng.between(1, most_policies)).map(|index| policy(rng, &taste, workload, index, most_rules)).collect()
}

fn taste(rng: &mut Rng) -> Taste {
    let shared = if rng.chance(40) { 3 } else { 0 };
    Taste {
        sources: rng.pick(&[20, 30, 80]),
        conditions: rng.pick(&[5, 15, 40]),
        programs: (0..shared).map(|_| object(rng, false)).collect(),
        files: (0..shared).map(|_| object(rng, true)).collect(),
    }
}

fn policy(rng: &mut Rng, taste: &Taste, workload: &Workload, index: usize, most_rules: usize) -> Policy {
    let usual = match workload.scope {
        Scope::Workload => rng.pick(&[Kind::Cluster, Kind::Namespaced]),
        Scope::Host => Kind::Host,
    };
    let kind = if rng.chance(95) { usual } else { rng.pick(&[Kind::Cluster, Kind::Namespaced, Kind::Host]) };
    let mut policy = build::policy(kind, &format!("p{index}"));
    if kind == Kind::Namespaced && rng.chance(5) {
        policy.key.namespace = "other".to_owned();
    }
    policy.mode = match rng.below(20) {
        0 => PolicyMode::Disabled,
        1 | 2 => PolicyMode::Audited,
        _ => PolicyMode::Enabled,
    };
    if rng.chance(20) {
        policy.selector = selector(rng, kind);
    }
    // Actions of one policy are often alike, as in practice; a policy without Allow is no allow-list.
    let actions: &[Action] = rng.pick(&[
        &[Action::Block, Action::Audit, Action::Allow],
        &[Action::Block, Action::Audit],
        &[Action::Allow, Action::Block],
        &[Action::Allow],
        &[Action::Audit, Action::Allow],
    ]);
    for _ in 0..rng.between(1, most_rules) {
        let action = rng.pick(actions);
        match rng.below(11) {
            0..=3 => policy.process.push(process(rng, taste, action)),
            4..=7 => policy.file.push(file(rng, taste, action)),
            8 | 9 => policy.network.push(network(rng, taste, action)),
            _ => policy.capabilities.push(capability(rng, taste, action)),
        }
    }
    build::numbered(policy)
}

fn selector(rng: &mut Rng, kind: Kind) -> Selector {
    let mut selector = Selector::default();
    let (key, value) = ("app".to_owned(), rng.pick(&["a", "b"]).to_owned());
    selector.terms.push(match rng.below(7) {
        0 => SelectorTerm::Equals(key, value),
        1 => SelectorTerm::In(key, vec![value, "c".to_owned()]),
        2 => SelectorTerm::NotIn(key, vec![value]),
        3 => SelectorTerm::Exists(key),
        4 => SelectorTerm::DoesNotExist(key),
        5 => SelectorTerm::AnyPair(vec![(key, value), ("tier".to_owned(), "t".to_owned())]),
        _ => SelectorTerm::NoPair(vec![(key, value)]),
    });
    if rng.chance(20) {
        selector.containers.push("main".to_owned());
    }
    if kind == Kind::Cluster && rng.chance(30) {
        let list = vec![rng.pick(&["default", "other"]).to_owned()];
        selector.namespaces.push(if rng.chance(50) { NamespaceTerm::In(list) } else { NamespaceTerm::NotIn(list) });
    }
    if kind == Kind::Host && rng.chance(50) {
        selector.hostnames.push(rng.pick(&["node1", "node*", "*", "n*1", "other", "*2"]).to_owned());
    }
    selector
}

fn object(rng: &mut Rng, files: bool) -> PathObject {
    match rng.below(10) {
        0..=2 => build::path(&names::path_or_glob(rng, files)),
        3..=5 => build::dir(&names::directory(rng, files), rng.chance(50)),
        6 if !files => build::execname(rng.pick(names::NAMES)),
        _ => {
            let text = if rng.chance(5) { names::path(rng, files) } else { names::glob(rng, files) };
            build::pattern(&text).unwrap_or_else(|| build::path("/a/b"))
        }
    }
}

/// An object of its own, or one that the set shares.
fn object_of(rng: &mut Rng, shared: &[PathObject], files: bool) -> PathObject {
    let index = rng.below(shared.len());
    match shared.get(index) {
        Some(object) if rng.chance(70) => object.clone(),
        Some(_) | None => object(rng, files),
    }
}

fn sources(rng: &mut Rng, taste: &Taste) -> Vec<SourceMatch> {
    if !rng.chance(taste.sources) {
        return Vec::new();
    }
    (0..rng.between(1, 2)).map(|_| one_source(rng)).collect()
}

fn one_source(rng: &mut Rng) -> SourceMatch {
    match rng.below(10) {
        0..=4 => SourceMatch::Path(build::path_name(rng.pick(names::PROGRAMS))),
        5 | 6 => SourceMatch::Path(build::path_name(&names::path_or_glob(rng, false))),
        7 => SourceMatch::Path(build::path_name(rng.pick(&[
            "/usr/bin/*",
            "/a/**",
            "/**",
            "/{bin,usr/bin}/sh",
            "/lib/ld-*",
            "/a/?",
        ]))),
        _ => SourceMatch::Directory { dir: build::path_name(&names::directory(rng, false)), recursive: rng.chance(50) },
    }
}

fn process(rng: &mut Rng, taste: &Taste, action: Action) -> ProcessRule {
    ProcessRule {
        owner_only: rng.chance(taste.conditions),
        pts_false: rng.chance(taste.conditions),
        from_source: sources(rng, taste),
        allowed_args: rng
            .chance(taste.conditions)
            .then(|| (0..rng.below(3)).map(|_| rng.pick(names::WORDS).to_owned()).collect()),
        ..build::process(action, object_of(rng, &taste.programs, false))
    }
}

fn file(rng: &mut Rng, taste: &Taste, action: Action) -> FileRule {
    FileRule {
        read_only: rng.chance(taste.conditions),
        owner_only: rng.chance(taste.conditions),
        pts_false: rng.chance(taste.conditions),
        from_source: sources(rng, taste),
        ..build::file(action, object_of(rng, &taste.files, true))
    }
}

fn network(rng: &mut Rng, taste: &Taste, action: Action) -> NetworkRule {
    NetworkRule {
        pts_false: rng.chance(taste.conditions),
        from_source: sources(rng, taste),
        ..if rng.chance(40) {
            build::network(action, rng.pick(&Protocol::ALL))
        } else {
            build::endpoint(action, super::ends::endpoint(rng))
        }
    }
}

fn capability(rng: &mut Rng, taste: &Taste, action: Action) -> CapabilityRule {
    let number = u8::try_from(rng.below(4)).unwrap_or(0);
    let capability = Capability::from_number(number).or_else(|| Capability::from_name("chown"));
    let rule = capability.map(|capability| build::capability(action, capability));
    match rule {
        Some(rule) => CapabilityRule { from_source: sources(rng, taste), ..rule },
        None => unreachable!("capability 0 has a name"),
    }
}
