//! `selector` and `nodeSelector`: labels, expressions over labels, and the special keys.
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `label` with `In`, `NotIn` | all kinds | the values are `k=v` pairs |
//! | `namespace` | cluster policies | the workload's namespace |
//! | `kubearmor.io/container.name` | not host policies | only these containers, as `[c1,c2]`; `[]` is all |
//! | `kubearmor.io/hostname` | host policies | node names, comma-separated; `*` is all |
//! | `kubearmor.io/hostnamereg`, `kubernetes.io/hostnamereg` | host policies | node names, `*` stands for any text |
//! | `kubernetes.io/hostname` | host policies | the label; a comma list is any of them, `*` is all |

use crate::decode::{self, Fields, Item};
use crate::model::{Kind, NamespaceTerm, Selector, SelectorTerm};
use crate::problem::{Path, Sink, shown};
use crate::tree::Node;
use crate::values;

const CONTAINER_NAME: &str = "kubearmor.io/container.name";
const HOSTNAME: &str = "kubearmor.io/hostname";
const HOSTNAME_PATTERNS: [&str; 2] = ["kubearmor.io/hostnamereg", "kubernetes.io/hostnamereg"];
const NODE_LABEL_HOSTNAME: &str = "kubernetes.io/hostname";
const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// The special meanings of keys.
enum Key {
    Label,
    Pairs,
    Namespace,
    ContainerName,
    Hostname,
    HostnamePattern,
    NodeLabelHostname,
}

/// Reads the selector of a policy of this kind. Always returns one; where something is wrong it is reported.
pub(crate) fn read(kind: Kind, spec: &Fields<'_>, sink: &mut Sink<'_>) -> Selector {
    let name = field(kind);
    let path = spec.path.field(name);
    let mut selector = Selector::default();
    let node = match kind {
        Kind::Host => spec.require(name, sink),
        Kind::Cluster | Kind::Namespaced => spec.get(name),
    };
    let Some(node) = node else { return selector };
    let Some(fields) = Fields::open(node, &path, &["matchLabels", "matchExpressions"], sink) else { return selector };
    let errors = sink.errors();
    if let Some(node) = fields.get("matchLabels") {
        match_labels(node, &path.field("matchLabels"), kind, &mut selector, sink);
    }
    if let Some(node) = fields.get("matchExpressions") {
        for item in decode::items(node, &path.field("matchExpressions"), sink) {
            expression(&item, kind, &mut selector, sink);
        }
    }
    if kind == Kind::Host && selector == Selector::default() && sink.errors() == errors {
        let help = "name the nodes; all of them: `kubearmor.io/hostname: \"*\"`";
        sink.error(&node.place, &path, "a host policy selects no node by an empty nodeSelector", help);
    }
    selector
}

/// The name of the selector's field.
pub(crate) fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "nodeSelector",
        Kind::Cluster | Kind::Namespaced => "selector",
    }
}

fn match_labels(node: &Node, path: &Path<'_>, kind: Kind, selector: &mut Selector, sink: &mut Sink<'_>) {
    let Some(labels) = Fields::open_any(node, path, sink) else { return };
    for (key, _, node) in labels.iter() {
        let path = path.field(key);
        let Some(value) = decode::string(node, &path, sink) else { continue };
        match Key::of(key, kind) {
            Key::Label | Key::Pairs | Key::Namespace => {
                selector.terms.push(SelectorTerm::Equals(key.to_owned(), value.to_owned()))
            }
            Key::ContainerName => containers(value, node, &path, selector, sink),
            Key::Hostname => hostnames(comma_list(value), node, &path, selector, sink),
            Key::HostnamePattern => {
                if let Some(c) = value.chars().find(|c| "[](){}+?^$|\\".contains(*c)) {
                    let message = format!("`{c}` is not supported in a host name pattern");
                    sink.error(&node.place, &path, message, "`*` stands for any text; list names in `kubearmor.io/hostname`");
                } else {
                    hostnames(vec![value.to_owned()], node, &path, selector, sink);
                }
            }
            Key::NodeLabelHostname if value == "*" => hostnames(vec!["*".to_owned()], node, &path, selector, sink),
            Key::NodeLabelHostname if value.contains(',') => {
                selector.terms.push(SelectorTerm::In(key.to_owned(), comma_list(value)))
            }
            Key::NodeLabelHostname => selector.terms.push(SelectorTerm::Equals(key.to_owned(), value.to_owned())),
        }
    }
}

fn expression(item: &Item<'_>, kind: Kind, selector: &mut Selector, sink: &mut Sink<'_>) {
    let Item { index: _, node, path } = item;
    let Some(fields) = Fields::open(node, path, &["key", "operator", "values"], sink) else { return };
    let key = fields.require("key", sink).and_then(|node| decode::string(node, &path.field("key"), sink));
    let operator_node = fields.require("operator", sink);
    let operator = operator_node.and_then(|node| decode::string(node, &path.field("operator"), sink));
    let listed = fields.strings("values", sink).unwrap_or_default();
    let (Some(key), Some(operator), Some(operator_node)) = (key, operator, operator_node) else { return };
    let is_list = matches!(operator, "In" | "NotIn");
    let at = path.field("values");
    match fields.get("values") {
        _ if !OPERATORS.contains(&operator) => {
            return values::unknown(operator, "operator", &OPERATORS, &operator_node.place, &path.field("operator"), sink);
        }
        None if is_list => return sink.error(&node.place, &at, format!("`{operator}` needs values"), ""),
        Some(list) if is_list && matches!(&list.value, crate::tree::Value::List(items) if items.is_empty()) => {
            return sink.error(&list.place, &at, format!("`{operator}` needs values"), "");
        }
        Some(list) if !is_list && !listed.is_empty() => {
            return sink.error(&list.place, &at, format!("`{operator}` takes no values"), "");
        }
        Some(_) | None => {}
    }
    let values_node = fields.get("values").unwrap_or(node);
    match (Key::of(key, kind), operator) {
        (Key::Pairs, "In") => selector.terms.push(SelectorTerm::AnyPair(pairs(&listed, values_node, &at, sink))),
        (Key::Pairs, "NotIn") => selector.terms.push(SelectorTerm::NoPair(pairs(&listed, values_node, &at, sink))),
        (Key::Namespace, "In") => selector.namespaces.push(NamespaceTerm::In(listed)),
        (Key::Namespace, "NotIn") => selector.namespaces.push(NamespaceTerm::NotIn(listed)),
        (Key::ContainerName, "In") => restrict(&mut selector.containers, listed, values_node, &at, sink),
        (Key::Hostname | Key::HostnamePattern, "In") => hostnames(listed, values_node, &at, selector, sink),
        (Key::Namespace | Key::ContainerName | Key::Hostname | Key::HostnamePattern, _) => {
            let message = format!("`{operator}` is not supported for the key `{}`", shown(key));
            sink.error(&operator_node.place, &path.field("operator"), message, "use `In`");
        }
        (Key::Label | Key::NodeLabelHostname, "In") => selector.terms.push(SelectorTerm::In(key.to_owned(), listed)),
        (Key::Label | Key::NodeLabelHostname, "NotIn") => selector.terms.push(SelectorTerm::NotIn(key.to_owned(), listed)),
        (_, "Exists") => selector.terms.push(SelectorTerm::Exists(key.to_owned())),
        (_, _) => selector.terms.push(SelectorTerm::DoesNotExist(key.to_owned())),
    }
    if key == "namespace" && kind == Kind::Namespaced {
        let message = "in a KubeArmorPolicy `namespace` is a label like any other";
        sink.note(
            &node.place,
            path,
            message,
            "the policy holds in its own namespace; a KubeArmorClusterPolicy chooses namespaces",
        );
    }
}

// === impl Key ===

impl Key {
    fn of(key: &str, kind: Kind) -> Self {
        match (key, kind) {
            ("label", _) => Self::Pairs,
            ("namespace", Kind::Cluster) => Self::Namespace,
            (CONTAINER_NAME, Kind::Cluster | Kind::Namespaced) => Self::ContainerName,
            (HOSTNAME, Kind::Host) => Self::Hostname,
            (NODE_LABEL_HOSTNAME, Kind::Host) => Self::NodeLabelHostname,
            (key, Kind::Host) if HOSTNAME_PATTERNS.contains(&key) => Self::HostnamePattern,
            _ => Self::Label,
        }
    }
}

/// `[c1,c2]`, or a single name; `[]` and the empty text are all containers.
fn containers(value: &str, node: &Node, path: &Path<'_>, selector: &mut Selector, sink: &mut Sink<'_>) {
    let names = match value.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(list) => comma_list(list),
        None => comma_list(value),
    };
    let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => {
            let message = format!("`{}` is not a container name", shown(name));
            sink.error(&node.place, path, message, "list the names, as \"[web,proxy]\"; regular expressions are not supported");
        }
        None if names.is_empty() => {}
        None => restrict(&mut selector.containers, names, node, path, sink),
    }
}

fn hostnames(names: Vec<String>, node: &Node, path: &Path<'_>, selector: &mut Selector, sink: &mut Sink<'_>) {
    if names.iter().all(String::is_empty) {
        return sink.error(&node.place, path, "no host name", "all nodes: `*`");
    }
    restrict(&mut selector.hostnames, names, node, path, sink);
}

/// Sets a restriction by name, of which a selector has one of each sort: two would be joined by AND, a list is by OR.
fn restrict(names: &mut Vec<String>, new: Vec<String>, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) {
    if names.is_empty() {
        *names = new;
    } else {
        sink.error(&node.place, path, "a second restriction by name in one selector", "give all names in one list");
    }
}

/// `k=v` pairs.
fn pairs(listed: &[String], node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in listed {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
            Some(_) | None => {
                let message = format!("`{}` is not a label of the form `key=value`", shown(text));
                sink.error(&node.place, path, message, "with `key: label` values are pairs; else write the label's own key");
            }
        }
    }
    pairs
}

fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
