//! The rule sections of a `spec`: process, file, network, capabilities, with what they inherit.

use crate::decode::{self, Fields, Item};
use crate::endpoints;
use crate::model::{
    Action, Capability, CapabilityRule, FileRule, Gap, NetworkObject, NetworkRule, PathObject, Position, ProcessRule, Protocol,
    RuleList, RuleMeta, SourceMatch,
};
use crate::problem::{Place, Sink};
use crate::unenforced;
use crate::values;

/// The fields that every rule, every section and the spec may have.
pub(crate) const COMMON: [&str; 4] = ["severity", "tags", "message", "action"];

/// What a rule has from its section, and a section from the spec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    action: Option<Action>,
    severity: Option<u8>,
    tags: Vec<String>,
    message: String,
}

/// The rule lists of a section, each with the fields of its items beside [`COMMON`].
type Lists = [(RuleList, &'static [&'static str])];

const PROCESS: [(RuleList, &[&str]); 3] = [
    (RuleList::ProcessPaths, &["path", "execname", "allowedArgs", "ownerOnly", "pts", "fromSource"]),
    (RuleList::ProcessDirectories, &["dir", "recursive", "ownerOnly", "pts", "fromSource"]),
    (RuleList::ProcessPatterns, &["pattern", "ownerOnly"]),
];
const FILE: [(RuleList, &[&str]); 3] = [
    (RuleList::FilePaths, &["path", "readOnly", "ownerOnly", "pts", "fromSource"]),
    (RuleList::FileDirectories, &["dir", "recursive", "readOnly", "ownerOnly", "pts", "fromSource"]),
    (RuleList::FilePatterns, &["pattern", "readOnly", "ownerOnly"]),
];
const NETWORK: [(RuleList, &[&str]); 2] = [
    (RuleList::NetworkProtocols, &["protocol", "pts", "fromSource"]),
    (RuleList::NetworkEndpoints, &["cidr", "fqdn", "ports", "protocol", "direction", "pts", "fromSource"]),
];
const CAPABILITIES: [(RuleList, &[&str]); 1] = [(RuleList::Capabilities, &["capability", "fromSource"])];

/// A rule item: its list, fields and common part.
struct RuleItem<'a> {
    list: RuleList,
    fields: Fields<'a>,
    meta: RuleMeta,
}

/// `spec.process`
pub(crate) fn process(spec: &Fields<'_>, outer: &Inherited, sink: &mut Sink<'_>) -> Vec<ProcessRule> {
    let mut rules = Vec::new();
    section(spec, "process", &PROCESS, &[], outer, sink, |item, sink| {
        let RuleItem { list, fields, meta } = item;
        let object = path_object(list, &fields, sink);
        let owner_only = fields.boolean("ownerOnly", sink).unwrap_or(false);
        let pts_false = fields.boolean("pts", sink) == Some(false);
        let from_source = from_source(&fields, sink);
        let allowed_args = fields.strings("allowedArgs", sink);
        rules.extend(object.map(|object| ProcessRule { meta, object, owner_only, pts_false, from_source, allowed_args }));
    });
    rules
}

/// `spec.file`
pub(crate) fn file(spec: &Fields<'_>, outer: &Inherited, sink: &mut Sink<'_>) -> Vec<FileRule> {
    let mut rules = Vec::new();
    section(spec, "file", &FILE, &[], outer, sink, |item, sink| {
        let RuleItem { list, fields, meta } = item;
        let object = path_object(list, &fields, sink);
        let read_only = fields.boolean("readOnly", sink).unwrap_or(false);
        let owner_only = fields.boolean("ownerOnly", sink).unwrap_or(false);
        let pts_false = fields.boolean("pts", sink) == Some(false);
        let from_source = from_source(&fields, sink);
        rules.extend(object.map(|object| FileRule { meta, object, read_only, owner_only, pts_false, from_source }));
    });
    rules
}

/// `spec.network`; its DNS queries, and endpoints by name, are checked and become gaps.
pub(crate) fn network(spec: &Fields<'_>, outer: &Inherited, gaps: &mut Vec<Gap>, sink: &mut Sink<'_>) -> Vec<NetworkRule> {
    let accepted = Protocol::ALL.map(Protocol::name);
    let mut rules = Vec::new();
    section(spec, "network", &NETWORK, &["matchDNSQueries"], outer, sink, |item, sink| {
        let RuleItem { list, fields, meta } = item;
        let pts_false = fields.boolean("pts", sink) == Some(false);
        let from_source = from_source(&fields, sink);
        let objects: Vec<NetworkObject> = if list == RuleList::NetworkEndpoints {
            endpoints::endpoints(&fields, meta.action, gaps, sink).into_iter().map(NetworkObject::Endpoint).collect()
        } else {
            let Some(node) = fields.require("protocol", sink) else { return };
            let path = fields.path.field("protocol");
            let find = |word: &str| Protocol::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(word));
            values::words(node, "protocol", &accepted, find, &path, sink).into_iter().map(NetworkObject::Protocol).collect()
        };
        for (object, part) in objects.into_iter().zip(0..) {
            // Each alternative has all ports, sources and tags of the item.
            let ports = if let NetworkObject::Endpoint(endpoint) = &object { size_of_val(endpoint.ports.as_slice()) } else { 0 };
            let bytes = ports + size_of_val(from_source.as_slice()) + size_of_val(meta.tags.as_slice()) + meta.message.len();
            if part > 0 && !sink.spend(bytes, &fields.node.place, fields.path) {
                return;
            }
            rules.push(NetworkRule { meta: meta.part(part), object, pts_false, from_source: from_source.clone() });
        }
    });
    let path = spec.path.field("network");
    if let Some(node) = spec.get("network").and_then(|node| Fields::peek(node, "matchDNSQueries")) {
        unenforced::dns_queries(node, &path.field("matchDNSQueries"), gaps, sink);
    }
    rules
}

/// `spec.capabilities`
pub(crate) fn capabilities(spec: &Fields<'_>, outer: &Inherited, sink: &mut Sink<'_>) -> Vec<CapabilityRule> {
    let accepted: Vec<&str> = Capability::all().map(Capability::name).collect();
    let mut rules = Vec::new();
    section(spec, "capabilities", &CAPABILITIES, &[], outer, sink, |item, sink| {
        let RuleItem { list: _, fields, meta } = item;
        let from_source = from_source(&fields, sink);
        let Some(node) = fields.require("capability", sink) else { return };
        let path = fields.path.field("capability");
        let words = values::words(node, "capability", &accepted, Capability::from_name, &path, sink);
        for (capability, part) in words.into_iter().zip(0..) {
            rules.push(CapabilityRule { meta: meta.part(part), capability, from_source: from_source.clone() });
        }
    });
    rules
}

/// Reads a section's lists and hands each item, with what it inherits, to `each`.
///
/// `elsewhere` are the section's further fields, read by the caller.
fn section(
    spec: &Fields<'_>,
    name: &'static str,
    lists: &Lists,
    elsewhere: &[&str],
    outer: &Inherited,
    sink: &mut Sink<'_>,
    mut each: impl FnMut(RuleItem<'_>, &mut Sink<'_>),
) {
    let Some(node) = spec.get(name) else { return };
    let path = spec.path.field(name);
    let list_names = lists.iter().map(|(list, _)| list.field().rsplit('.').next().unwrap_or_default());
    let known: Vec<&str> = list_names.clone().chain(elsewhere.iter().copied()).chain(COMMON).collect();
    let Some(section) = Fields::open(node, &path, &known, sink) else { return };
    let inherited = Inherited::read(&section, sink).or(outer);
    for ((list, fields), list_name) in lists.iter().zip(list_names) {
        let Some(node) = section.get(list_name) else { continue };
        let path = path.field(list_name);
        let known = [*fields, &COMMON].concat();
        for Item { index, node, path } in decode::items(node, &path, sink) {
            let Some(fields) = Fields::open(node, &path, &known, sink) else { continue };
            let position = Position { list: *list, index: u32::try_from(index).unwrap_or(u32::MAX), part: 0 };
            let Some(meta) = inherited.meta(position, &fields, sink) else { continue };
            each(RuleItem { list: *list, fields, meta }, sink);
        }
    }
}

/// What a process or file rule is about.
fn path_object(list: RuleList, fields: &Fields<'_>, sink: &mut Sink<'_>) -> Option<PathObject> {
    let at = |name| fields.path.field(name);
    match list {
        RuleList::ProcessPaths => match (fields.get("path"), fields.get("execname")) {
            (Some(path), None) => values::path(path, &at("path"), sink).map(PathObject::Path),
            (None, Some(name)) => values::exec_name(name, &at("execname"), sink).map(PathObject::ExecName),
            (Some(_), Some(name)) => {
                sink.error(&name.place, &at("execname"), "`path` and `execname` in one rule", "make it two rules");
                None
            }
            (None, None) => {
                sink.error(&fields.node.place, fields.path, "a rule needs `path` or `execname`", "");
                None
            }
        },
        RuleList::FilePaths => values::path(fields.require("path", sink)?, &at("path"), sink).map(PathObject::Path),
        RuleList::ProcessDirectories | RuleList::FileDirectories => {
            let recursive = fields.boolean("recursive", sink).unwrap_or(false);
            let dir = values::directory(fields.require("dir", sink)?, false, &at("dir"), sink)?;
            Some(PathObject::Directory { dir, recursive })
        }
        RuleList::ProcessPatterns | RuleList::FilePatterns => {
            values::pattern(fields.require("pattern", sink)?, &at("pattern"), sink).map(PathObject::Pattern)
        }
        RuleList::NetworkProtocols | RuleList::NetworkEndpoints | RuleList::Capabilities => None,
    }
}

fn from_source(fields: &Fields<'_>, sink: &mut Sink<'_>) -> Vec<SourceMatch> {
    let Some(node) = fields.get("fromSource") else { return Vec::new() };
    values::sources(node, &fields.path.field("fromSource"), sink)
}

// === impl Inherited ===

impl Inherited {
    /// What these fields say themselves. An empty action, message or tag list is an absent one.
    pub(crate) fn read(fields: &Fields<'_>, sink: &mut Sink<'_>) -> Self {
        let action = fields.get("action").and_then(|node| values::action(node, &fields.path.field("action"), sink));
        let severity = fields.get("severity").and_then(|node| decode::integer(node, 1, 10, &fields.path.field("severity"), sink));
        Self {
            action,
            severity: severity.and_then(|n| u8::try_from(n).ok()),
            tags: fields.strings("tags", sink).unwrap_or_default(),
            message: fields.string("message", sink).unwrap_or_default().to_owned(),
        }
    }

    /// Fills what is absent from the level above.
    fn or(self, outer: &Self) -> Self {
        let Self { action, severity, tags, message } = self;
        Self {
            action: action.or(outer.action),
            severity: severity.or(outer.severity),
            tags: if tags.is_empty() { outer.tags.clone() } else { tags },
            message: if message.is_empty() { outer.message.clone() } else { message },
        }
    }

    /// A rule's common part. `None` where the file's rules no longer fit in memory, which is reported.
    fn meta(&self, position: Position, fields: &Fields<'_>, sink: &mut Sink<'_>) -> Option<RuleMeta> {
        let place: &Place = &fields.node.place;
        let Self { action, severity, tags, message } = Self::read(fields, sink).or(self);
        let bytes = message.len() + tags.iter().map(|tag| tag.len() + size_of::<String>()).sum::<usize>();
        if !sink.spend(bytes, place, fields.path) {
            return None;
        }
        // A policy without any action blocks.
        let action = action.unwrap_or(Action::Block);
        Some(RuleMeta { position, origin: sink.origin(place), action, severity, tags, message })
    }
}

impl RuleMeta {
    /// The same, of the alternative `part` of a comma list.
    fn part(&self, part: u32) -> Self {
        let position = Position { part, ..self.position };
        Self { position, ..self.clone() }
    }
}
