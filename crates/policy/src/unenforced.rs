//! The fields of [`crate::gaps`]: checked like all others, then recorded as gaps.

use crate::decode::{self, Fields, Item};
use crate::gaps::{self, Declared};
use crate::model::Gap;
use crate::problem::{Path, Sink};
use crate::rules::{COMMON, Inherited};
use crate::tree::Node;
use crate::values;

/// The names of presets.
const PRESETS: [&str; 5] = ["filelessExec", "anonymousMapExec", "protectEnv", "protectProc", "exec"];

/// `spec.presets`
pub(crate) fn presets(spec: &Fields<'_>, found: &mut Vec<Gap>, sink: &mut Sink<'_>) {
    let Some(node) = spec.get("presets") else { return };
    for Item { index: _, node, path } in decode::items(node, &spec.path.field("presets"), sink) {
        let Some(fields) = Fields::open(node, &path, &["name", "action"], sink) else { continue };
        if let Some(action) = fields.get("action") {
            values::action(action, &path.field("action"), sink);
        }
        if let Some(node) = fields.require("name", sink) {
            let path = path.field("name");
            match decode::string(node, &path, sink) {
                Some(name) if !PRESETS.contains(&name) => values::unknown(name, "preset", &PRESETS, &node.place, &path, sink),
                Some(_) | None => {}
            }
        }
        found.push(gaps::PRESETS.at(&node.place, &path, sink));
    }
}

/// `spec.apparmor`
pub(crate) fn apparmor(spec: &Fields<'_>, found: &mut Vec<Gap>, sink: &mut Sink<'_>) {
    if spec.string("apparmor", sink).is_some_and(|text| !text.is_empty()) {
        record(gaps::APPARMOR, spec, found, sink);
    }
}

/// `spec.syscalls`
pub(crate) fn syscalls(spec: &Fields<'_>, found: &mut Vec<Gap>, sink: &mut Sink<'_>) {
    let path = spec.path.field("syscalls");
    let Some(node) = spec.get("syscalls") else { return };
    let known = [["matchSyscalls", "matchPaths"].as_slice(), &COMMON].concat();
    let Some(section) = Fields::open(node, &path, &known, sink) else { return };
    Inherited::read(&section, sink);
    for (list, known) in
        [("matchSyscalls", ["syscall", "fromSource"].as_slice()), ("matchPaths", &["path", "recursive", "syscall", "fromSource"])]
    {
        let path = path.field(list);
        let Some(node) = section.get(list) else { continue };
        for Item { index: _, node, path } in decode::items(node, &path, sink) {
            let Some(fields) = Fields::open(node, &path, known, sink) else { continue };
            fields.strings("syscall", sink);
            if let Some(node) = fields.get("fromSource") {
                values::sources(node, &path.field("fromSource"), sink);
            }
            if list == "matchPaths" {
                fields.boolean("recursive", sink);
                let Some(node) = fields.require("path", sink) else { continue };
                let path = path.field("path");
                // Here alone `path` may also be a directory.
                match node.text() {
                    Some(text) if text.ends_with('/') => _ = values::directory(node, false, &path, sink),
                    Some(_) | None => _ = values::path(node, &path, sink),
                }
            }
        }
    }
    record(gaps::SYSCALLS, spec, found, sink);
}

/// `spec.device` of a host policy.
pub(crate) fn device(spec: &Fields<'_>, found: &mut Vec<Gap>, sink: &mut Sink<'_>) {
    let path = spec.path.field("device");
    let Some(node) = spec.get("device") else { return };
    let known = [["matchDevice"].as_slice(), &COMMON].concat();
    let Some(section) = Fields::open(node, &path, &known, sink) else { return };
    Inherited::read(&section, sink);
    let path = path.field("matchDevice");
    let known = [["class", "subClass", "protocol", "level"].as_slice(), &COMMON].concat();
    for Item { index: _, node, path } in
        section.get("matchDevice").map(|node| decode::items(node, &path, sink)).unwrap_or_default()
    {
        let Some(fields) = Fields::open(node, &path, &known, sink) else { continue };
        Inherited::read(&fields, sink);
        if let Some(node) = fields.require("class", sink) {
            decode::string(node, &path.field("class"), sink);
        }
        for (name, low) in [("subClass", 0), ("protocol", 0), ("level", 1)] {
            if let Some(node) = fields.get(name) {
                decode::integer(node, low, i64::from(i32::MAX), &path.field(name), sink);
            }
        }
    }
    record(gaps::DEVICE, spec, found, sink);
}

/// `spec.network.matchDNSQueries`, each item a gap.
pub(crate) fn dns_queries(node: &Node, path: &Path<'_>, found: &mut Vec<Gap>, sink: &mut Sink<'_>) {
    let known = [["domain", "fromSource"].as_slice(), &COMMON].concat();
    for Item { index: _, node, path } in decode::items(node, path, sink) {
        let Some(fields) = Fields::open(node, &path, &known, sink) else { continue };
        Inherited::read(&fields, sink);
        if let Some(node) = fields.require("domain", sink) {
            decode::string(node, &path.field("domain"), sink);
        }
        if let Some(node) = fields.get("fromSource") {
            values::sources(node, &path.field("fromSource"), sink);
        }
        found.push(gaps::DNS.at(&node.place, &path, sink));
    }
}

fn record(gap: Declared, spec: &Fields<'_>, found: &mut Vec<Gap>, sink: &Sink<'_>) {
    if let Some(node) = spec.get(gap.field) {
        found.push(gap.at(&node.place, &spec.path.field(gap.field), sink));
    }
}
