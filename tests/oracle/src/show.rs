//! Cases as text, close to the YAML that a user would write.

use std::fmt::{self, Display, Write as _};

use palisade_policy::model::{NetworkObject, PathObject, Policy, PolicyMode, RuleMeta, Selector, SourceMatch};
use palisade_ruleset::{Access, MountChange, Object, Operation, Program, Workload};

use crate::Case;
use crate::links::Links;

/// A case as several lines of text.
#[must_use]
pub fn case(case: &Case) -> String {
    let Case { policies, workload, links, access } = case;
    let mut out = String::new();
    for policy in policies {
        out += &show_policy(policy);
    }
    out + &show_workload(workload) + &show_links(links) + &show_access(access)
}

/// Bytes as text, the unprintable ones escaped.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn show_policy(policy: &Policy) -> String {
    let mut out = format!("policy {} namespace={:?}", policy.key, policy.key.namespace);
    match policy.mode {
        PolicyMode::Enabled => {}
        PolicyMode::Audited => out += " audited",
        PolicyMode::Disabled => out += " disabled",
    }
    if policy.selector != Selector::default() {
        let _ = write!(out, " selector={:?}", policy.selector);
    }
    out += ":\n";
    for rule in &policy.process {
        let mut line = Line::of(&rule.meta, Some(&rule.object), &rule.from_source);
        line.flag(rule.owner_only, "ownerOnly");
        line.flag(rule.pts_false, "pts: false");
        if let Some(list) = &rule.allowed_args {
            line.field(format!("allowedArgs: {list:?}"));
        }
        out += &line.end();
    }
    for rule in &policy.file {
        let mut line = Line::of(&rule.meta, Some(&rule.object), &rule.from_source);
        line.flag(rule.read_only, "readOnly");
        line.flag(rule.owner_only, "ownerOnly");
        line.flag(rule.pts_false, "pts: false");
        out += &line.end();
    }
    for rule in &policy.network {
        let mut line = Line::of(&rule.meta, None, &rule.from_source);
        match &rule.object {
            NetworkObject::Protocol(protocol) => line.field(format!("protocol: {}", protocol.name())),
            NetworkObject::Endpoint(endpoint) => line.field(endpoint),
        }
        line.flag(rule.pts_false, "pts: false");
        out += &line.end();
    }
    for rule in &policy.capabilities {
        let mut line = Line::of(&rule.meta, None, &rule.from_source);
        line.field(format!("capability: {}", rule.capability.name()));
        out += &line.end();
    }
    out
}

/// One rule on one line.
struct Line(String);

impl Line {
    fn of(meta: &RuleMeta, object: Option<&PathObject>, sources: &[SourceMatch]) -> Self {
        let mut line = Self(format!("  {}: {{{:?}", meta.position, meta.action));
        match object {
            Some(PathObject::Path(name)) => line.field(format!("path: {}", name.literal)),
            Some(PathObject::Directory { dir, recursive }) => {
                line.field(format!("dir: {}", dir.literal));
                line.flag(*recursive, "recursive");
            }
            Some(PathObject::Pattern(glob)) => line.field(format!("pattern: {}", glob.text())),
            Some(PathObject::ExecName(name)) => line.field(format!("execname: {name}")),
            None => {}
        }
        for source in sources {
            match source {
                SourceMatch::Path(name) => line.field(format!("fromSource: {}", name.literal)),
                SourceMatch::Directory { dir, recursive } => {
                    line.field(format!("fromSource dir: {} recursive={recursive}", dir.literal));
                }
            }
        }
        line
    }

    fn field(&mut self, text: impl Display) {
        let _ = write!(self.0, ", {text}");
    }

    fn flag(&mut self, set: bool, name: &str) {
        if set {
            self.field(name);
        }
    }

    fn end(self) -> String {
        self.0 + "}\n"
    }
}

fn show_workload(workload: &Workload) -> String {
    let usual = format!("{:?}", Workload::run());
    let this = format!("{workload:?}");
    if usual == this { String::new() } else { format!("workload: {this}\n") }
}

fn show_links(links: &Links) -> String {
    let mut out = String::new();
    for (path, link) in &links.by_path {
        let young = if link.allow_may_follow { "" } else { " (not for Allow)" };
        let _ = writeln!(out, "link {} -> {}{young}", bytes(path), bytes(&link.target));
    }
    out
}

fn show_access(access: &Access) -> String {
    let Access { actor, operation } = access;
    let program = ProgramText(&actor.program);
    let mut out = format!("access by {program} uid={} terminal={}: ", actor.uid, actor.terminal);
    let _ = match operation {
        Operation::Exec { object, owner, scripts, invoked_as, arguments } => {
            let scripts: Vec<String> = scripts.iter().map(|s| ProgramText(s).to_string()).collect();
            let list = |list: &[Vec<u8>]| list.iter().map(|b| bytes(b)).collect::<Vec<_>>();
            write!(
                out,
                "exec {} owner={owner:?} scripts={scripts:?} invoked_as={:?} arguments={:?}",
                ObjectText(object),
                list(invoked_as),
                arguments.as_deref().map(list)
            )
        }
        Operation::MapExec { object, owner } => write!(out, "map_exec {} owner={owner:?}", ObjectText(object)),
        Operation::File { mode, object, owner, block_device } => {
            write!(out, "{mode:?} {} owner={owner:?} block_device={block_device}", ObjectText(object))
        }
        Operation::MoveDirectory { object } => write!(out, "move directory {}", ObjectText(object)),
        Operation::Attach { target } => write!(out, "attach to {}", ProgramText(target)),
        Operation::Mount(MountChange::New { at }) => write!(out, "mount a new file system at {}", bytes(at)),
        other @ (Operation::Mount(_) | Operation::Socket { .. } | Operation::Capability { .. } | Operation::TouchPalisade) => {
            write!(out, "{other:?}")
        }
    };
    out + "\n"
}

struct ProgramText<'a>(&'a Program);

impl Display for ProgramText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Program::Path(path) => f.write_str(&bytes(path)),
            Program::Memfd(name) => write!(f, "memfd:{}", bytes(name)),
            Program::Unknown => f.write_str("(unknown)"),
        }
    }
}

struct ObjectText<'a>(&'a Object);

impl Display for ObjectText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Object::Path(path) => f.write_str(&bytes(path)),
            Object::Memfd(name) => write!(f, "memfd:{}", bytes(name)),
            Object::Unresolvable => f.write_str("(unresolvable)"),
        }
    }
}
