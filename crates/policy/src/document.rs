//! A document: which kind it is, its metadata, and its `spec` as a [`Policy`].

use crate::decode::{self, Fields, Item};
use crate::model::{CapabilityRule, FileRule, Gap, Kind, NetworkRule, Policy, PolicyKey, PolicyMode, ProcessRule, Selector};
use crate::problem::{Path, Sink, shown};
use crate::rules::{self, COMMON, Inherited};
use crate::selector;
use crate::tree::Node;
use crate::unenforced;
use crate::values;

/// The API version of all kinds of policies.
pub const API_VERSION: &str = "security.kubearmor.com/v1";
/// The namespace of a namespaced policy that names none, where nobody says otherwise.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The longest name of a policy or namespace, in bytes: that of a DNS subdomain.
pub const POLICY_NAME_MAX_BYTES: usize = 253;

/// The annotation on a policy that sets its [`PolicyMode`].
const MODE_ANNOTATION: &str = "kubearmor-policy";
const KINDS: [&str; 4] = ["KubeArmorPolicy", "KubeArmorClusterPolicy", "KubeArmorHostPolicy", "List"];
const MODES: [&str; 3] = ["enabled", "audited", "disabled"];
const SECTIONS: [&str; 6] = ["process", "file", "network", "capabilities", "syscalls", "apparmor"];

/// Reads a document: a policy, or a `List` of policies. An invalid policy is reported and left out.
pub(crate) fn read(root: &Node, policies: &mut Vec<Policy>, sink: &mut Sink<'_>) {
    object(root, &Path::Root, true, policies, sink);
}

/// An object with `kind`. Lists hold no lists: that bounds the recursion.
fn object(node: &Node, path: &Path<'_>, may_be_list: bool, policies: &mut Vec<Policy>, sink: &mut Sink<'_>) {
    let errors = sink.errors();
    let Some(kind_node) = Fields::peek(node, "kind") else {
        if let Some(fields) = Fields::open_any(node, path, sink) {
            fields.require("kind", sink);
        }
        return;
    };
    let at = path.field("kind");
    let Some(name) = decode::string(kind_node, &at, sink) else { return };
    let kind = match name {
        "KubeArmorPolicy" => Kind::Namespaced,
        "KubeArmorClusterPolicy" => Kind::Cluster,
        "KubeArmorHostPolicy" => Kind::Host,
        "List" | "KubeArmorPolicyList" | "KubeArmorClusterPolicyList" | "KubeArmorHostPolicyList" if may_be_list => {
            return list(node, path, policies, sink);
        }
        "KubeArmorNetworkPolicy" => {
            let help = "the host's firewall is not managed; sockets are judged by `network` in the other kinds";
            return sink.error(&kind_node.place, &at, "KubeArmorNetworkPolicy is not supported yet", help);
        }
        "List" => return sink.error(&kind_node.place, &at, "a List in a List", "list the policies themselves"),
        other => return values::unknown(other, "kind", &KINDS, &kind_node.place, &at, sink),
    };
    let Some(fields) = Fields::open(node, path, &["apiVersion", "kind", "metadata", "spec", "status"], sink) else { return };
    api_version(&fields, sink);
    if let Some(status) = fields.get("status") {
        decode::check_keys_below(status, &path.field("status"), sink);
    }
    let identity = fields.require("metadata", sink).and_then(|node| metadata(kind, node, &path.field("metadata"), sink));
    let body = fields.require("spec", sink).and_then(|node| spec(kind, node, &path.field("spec"), sink));
    let (Some((key, mode)), Some(body)) = (identity, body) else { return };
    if sink.errors() > errors || !node.is_sound {
        return;
    }
    let Body { selector, process, file, network, capabilities, gaps } = body;
    if process.is_empty() && file.is_empty() && network.is_empty() && capabilities.is_empty() {
        let message = if gaps.is_empty() { "the policy has no rule" } else { "nothing that the policy says is enforced yet" };
        sink.note(&node.place, &path.field("spec"), message, "");
    }
    policies.push(Policy { key, origin: sink.origin(&node.place), selector, mode, process, file, network, capabilities, gaps });
}

/// The items of a `List`, each an object of its own.
fn list(node: &Node, path: &Path<'_>, policies: &mut Vec<Policy>, sink: &mut Sink<'_>) {
    let Some(fields) = Fields::open(node, path, &["apiVersion", "kind", "metadata", "items"], sink) else { return };
    if let Some(metadata) = fields.get("metadata") {
        decode::check_keys_below(metadata, &path.field("metadata"), sink);
    }
    let Some(items) = fields.require("items", sink) else { return };
    for Item { index: _, node, path } in decode::items(items, &path.field("items"), sink) {
        object(node, &path, false, policies, sink);
    }
}

fn api_version(fields: &Fields<'_>, sink: &mut Sink<'_>) {
    let Some(node) = fields.require("apiVersion", sink) else { return };
    let path = fields.path.field("apiVersion");
    match decode::string(node, &path, sink) {
        Some(version) if version != API_VERSION => {
            values::unknown(version, "apiVersion", &[API_VERSION], &node.place, &path, sink)
        }
        Some(_) | None => {}
    }
}

/// Name, namespace and annotation. Everything else that Kubernetes keeps there is left alone.
fn metadata(kind: Kind, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<(PolicyKey, PolicyMode)> {
    let fields = Fields::open_any(node, path, sink)?;
    for (key, _, value) in fields.iter().filter(|(key, _, _)| *key != "annotations") {
        decode::check_keys_below(value, &path.field(key), sink);
    }
    let mode = fields.get("annotations").and_then(|node| mode(node, &path.field("annotations"), sink)).unwrap_or_default();
    let namespace = fields.get("namespace").map(|node| (node, name(node, &path.field("namespace"), sink)));
    let namespace = match (kind, namespace) {
        (Kind::Namespaced, None) => sink.namespace.to_owned(),
        (Kind::Namespaced, Some((_, namespace))) => namespace?.to_owned(),
        (Kind::Cluster | Kind::Host, None) => String::new(),
        (Kind::Cluster | Kind::Host, Some((node, _))) => {
            let message = format!("a {} has no namespace; this one is ignored", kind.resource());
            sink.note(&node.place, &path.field("namespace"), message, "");
            String::new()
        }
    };
    let name = name(fields.require("name", sink)?, &path.field("name"), sink)?.to_owned();
    Some((PolicyKey { kind, namespace, name }, mode))
}

/// A name of a policy or namespace: what can stand in a log line and in a key.
fn name<'a>(node: &'a Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<&'a str> {
    let text = decode::string(node, path, sink)?;
    let message = if text.is_empty() {
        "the name is empty".to_owned()
    } else if text.len() > POLICY_NAME_MAX_BYTES {
        format!("the name is longer than {POLICY_NAME_MAX_BYTES} bytes")
    } else if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._".contains(*c)) {
        format!("a name holds no `{}`", shown(c.encode_utf8(&mut [0; 4])))
    } else {
        return Some(text);
    };
    sink.error(&node.place, path, message, "letters, digits, `-`, `.` and `_`");
    None
}

fn mode(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<PolicyMode> {
    let value = Fields::open_any(node, path, sink)?.get(MODE_ANNOTATION)?;
    let path = path.field(MODE_ANNOTATION);
    match decode::string(value, &path, sink)? {
        "enabled" => Some(PolicyMode::Enabled),
        "audited" => Some(PolicyMode::Audited),
        "disabled" => Some(PolicyMode::Disabled),
        other => {
            values::unknown(other, "mode", &MODES, &value.place, &path, sink);
            None
        }
    }
}

/// What a `spec` says.
struct Body {
    selector: Selector,
    process: Vec<ProcessRule>,
    file: Vec<FileRule>,
    network: Vec<NetworkRule>,
    capabilities: Vec<CapabilityRule>,
    gaps: Vec<Gap>,
}

fn spec(kind: Kind, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<Body> {
    let own = match kind {
        Kind::Host => "device",
        Kind::Cluster | Kind::Namespaced => "presets",
    };
    let known = [[selector::field(kind), own].as_slice(), &SECTIONS, &COMMON].concat();
    let fields = Fields::open(node, path, &known, sink)?;
    let inherited = Inherited::read(&fields, sink);
    let mut gaps = Vec::new();
    let selector = selector::read(kind, &fields, sink);
    let process = rules::process(&fields, &inherited, sink);
    let file = rules::file(&fields, &inherited, sink);
    let network = rules::network(&fields, &inherited, &mut gaps, sink);
    let capabilities = rules::capabilities(&fields, &inherited, sink);
    unenforced::syscalls(&fields, &mut gaps, sink);
    unenforced::apparmor(&fields, &mut gaps, sink);
    match kind {
        Kind::Host => unenforced::device(&fields, &mut gaps, sink),
        Kind::Cluster | Kind::Namespaced => unenforced::presets(&fields, &mut gaps, sink),
    }
    Some(Body { selector, process, file, network, capabilities, gaps })
}
