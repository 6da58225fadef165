//! Whether two policies may concern the same workload.

use palisade_policy::model::{Kind, NamespaceTerm, Policy, Selector, SelectorTerm};

/// Whether some workload could be selected by both. Told apart are kinds, namespaces, and terms over one label that
/// exclude each other; in doubt the answer is yes.
pub(super) fn may_meet(one: &Policy, other: &Policy) -> bool {
    let hosts = [one, other].map(|policy| policy.key.kind == Kind::Host);
    hosts[0] == hosts[1] && namespaces_fit(one, other) && namespaces_fit(other, one) && labels_fit(&one.selector, &other.selector)
}

fn namespaces_fit(one: &Policy, other: &Policy) -> bool {
    if one.key.kind != Kind::Namespaced {
        return true;
    }
    let namespace = &one.key.namespace;
    let holds = |term: &NamespaceTerm| match term {
        NamespaceTerm::In(list) => list.contains(namespace),
        NamespaceTerm::NotIn(list) => !list.contains(namespace),
    };
    match other.key.kind {
        Kind::Namespaced => other.key.namespace == *namespace,
        Kind::Cluster => other.selector.namespaces.iter().all(holds),
        Kind::Host => false,
    }
}

fn labels_fit(one: &Selector, other: &Selector) -> bool {
    !one.terms.iter().any(|a| other.terms.iter().any(|b| excludes(a, b) || excludes(b, a)))
}

/// Whether no label set meets both terms.
fn excludes(one: &SelectorTerm, other: &SelectorTerm) -> bool {
    let Some((key, wanted)) = values(one) else { return false };
    match other {
        SelectorTerm::Equals(k, v) => k == key && !wanted.contains(&v.as_str()),
        SelectorTerm::In(k, list) => k == key && !list.iter().any(|v| wanted.contains(&v.as_str())),
        SelectorTerm::NotIn(k, list) => k == key && wanted.iter().all(|w| list.iter().any(|v| v == w)),
        SelectorTerm::DoesNotExist(k) => k == key,
        SelectorTerm::NoPair(pairs) => wanted.iter().all(|w| pairs.iter().any(|(k, v)| k == key && v == w)),
        SelectorTerm::Exists(_) | SelectorTerm::AnyPair(_) => false,
    }
}

/// The label that a term demands, and the values that it may have.
fn values(term: &SelectorTerm) -> Option<(&str, Vec<&str>)> {
    match term {
        SelectorTerm::Equals(key, value) => Some((key, vec![value])),
        SelectorTerm::In(key, list) => Some((key, list.iter().map(String::as_str).collect())),
        SelectorTerm::NotIn(..)
        | SelectorTerm::Exists(_)
        | SelectorTerm::DoesNotExist(_)
        | SelectorTerm::AnyPair(_)
        | SelectorTerm::NoPair(_) => None,
    }
}
