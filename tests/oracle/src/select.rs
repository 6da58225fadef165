//! Which policies concern a workload (meaning 1).

use palisade_policy::model::{Kind, NamespaceTerm, Policy, PolicyMode, SelectorTerm};
use palisade_ruleset::{Scope, Workload};

/// Whether a policy takes part in the verdict of this workload; with `audited`, also policies in audited mode do.
//
// AMBIGUITY (meaning 1.4): untracked namespaces are configuration, which a `Workload` does not carry: whoever asks does
// not ask about workloads of such a namespace.
pub(crate) fn concerns(policy: &Policy, workload: &Workload, audited: bool) -> bool {
    let in_force = match policy.mode {
        PolicyMode::Enabled => true,
        PolicyMode::Audited => audited,
        PolicyMode::Disabled => false,
    };
    let right_kind = match (policy.key.kind, workload.scope) {
        (Kind::Cluster | Kind::Namespaced, Scope::Workload) | (Kind::Host, Scope::Host) => true,
        (Kind::Cluster | Kind::Namespaced, Scope::Host) | (Kind::Host, Scope::Workload) => false,
    };
    in_force && right_kind && (workload.ignore_selectors || selects(policy, workload))
}

fn selects(policy: &Policy, workload: &Workload) -> bool {
    let selector = &policy.selector;
    let same_namespace = policy.key.kind != Kind::Namespaced || policy.key.namespace == workload.namespace;
    let labels = selector.terms.iter().all(|term| holds(term, workload));
    let container =
        selector.containers.is_empty() || workload.container.as_ref().is_some_and(|name| selector.containers.contains(name));
    let namespace = selector.namespaces.iter().all(|term| match term {
        NamespaceTerm::In(list) => list.contains(&workload.namespace),
        NamespaceTerm::NotIn(list) => !list.contains(&workload.namespace),
    });
    let node = selector.hostnames.is_empty()
        || selector.hostnames.iter().any(|pattern| star_matches(pattern.as_bytes(), workload.hostname.as_bytes()));
    same_namespace && labels && container && namespace && node
}

fn holds(term: &SelectorTerm, workload: &Workload) -> bool {
    let value = |key: &String| workload.labels.get(key);
    let is = |key: &String, wanted: &String| value(key) == Some(wanted);
    match term {
        SelectorTerm::Equals(key, wanted) => is(key, wanted),
        SelectorTerm::In(key, list) => list.iter().any(|wanted| is(key, wanted)),
        SelectorTerm::NotIn(key, list) => !list.iter().any(|wanted| is(key, wanted)),
        SelectorTerm::Exists(key) => value(key).is_some(),
        SelectorTerm::DoesNotExist(key) => value(key).is_none(),
        SelectorTerm::AnyPair(pairs) => pairs.iter().any(|(key, wanted)| is(key, wanted)),
        SelectorTerm::NoPair(pairs) => !pairs.iter().any(|(key, wanted)| is(key, wanted)),
    }
}

fn star_matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| star_matches(rest, &text[skip..])),
        Some((byte, rest)) => text.first() == Some(byte) && star_matches(rest, &text[1..]),
    }
}
