//! The suggestion as YAML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use palisade_policy::model::{Capability, Protocol};
use palisade_ruleset::{End, Side};

use crate::accesses::{ExecSeen, Use};
use crate::collect::{Access, Name};
use crate::files::{FileRule, Shape};
use crate::names::escaped;
use crate::sockets::{EndpointKey, EndpointRule, Note, SocketRules};
use crate::suggest::{Context, Draft, Measures, name_text};

/// Programs that a comment names.
const NAMED: usize = 4;

/// The policy. Sections in the order of the schema, rules in the order of their texts.
pub(crate) fn policy(draft: &Draft, context: &Context<'_>, measures: &Measures) -> String {
    let Context { name, namespace, labels, .. } = context;
    let mut out = header(context, measures);
    let _ = write!(out, "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: {}\n", scalar(name));
    if !namespace.is_empty() && namespace != "default" {
        let _ = writeln!(out, "  namespace: {}", scalar(namespace));
    }
    out.push_str("spec:\n  selector:\n    matchLabels:\n");
    if labels.is_empty() {
        let _ = writeln!(out, "      app: {}", scalar(name));
    }
    for (key, value) in labels {
        let _ = writeln!(out, "      {}: {}", scalar(key), scalar(value));
    }
    let message = format!("not done by {name} while it was watched");
    let _ = write!(out, "  severity: 5\n  tags: [learned]\n  message: {}\n", scalar(&message));
    process(&mut out, &draft.programs);
    file(&mut out, &draft.files);
    network(&mut out, &draft.sockets);
    if context.capabilities_seen {
        capabilities(&mut out, &draft.capabilities);
    }
    out
}

/// A policy that allows nothing but one protocol word, to ask what it meets.
pub(crate) fn only_protocol(protocol: Protocol) -> String {
    format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: one\nspec:\n  selector:\n    \
         matchLabels:\n      app: one\n  network:\n    matchProtocols:\n    - protocol: {}\n      action: Allow\n",
        protocol.name()
    )
}

// === header ===

fn header(context: &Context<'_>, measures: &Measures) -> String {
    let Context { command, watched_by, watched_for, unseen, .. } = context;
    let Measures { accesses, distinct, base_set, lost, beyond, unresolvable, newness, built_in, uncovered, rules } = measures;
    let mut lines = vec![
        "Written by `palisade run --learn`: it allows what was seen and denies everything else. Read it before you use it."
            .to_owned(),
        String::new(),
        format!("  watched   {}", comment(command.as_bytes())),
        format!("  by        {watched_by}, for {}", duration(*watched_for)),
        format!(
            "  seen      {accesses} accesses, {distinct} of them different; {base_set} need no rule (base set, local sockets)"
        ),
        format!("  rules     {rules}"),
    ];
    lines.extend(unseen.iter().map(|what| format!("  unseen    {what}")));
    let missing = lost + beyond;
    lines.push(if missing == 0 {
        "  lost      none".to_owned()
    } else {
        format!("  lost      {missing}: THIS POLICY IS INCOMPLETE. Watch again, with less going on at once, or in parts")
    });
    lines.push(match newness {
        None => "  complete? too little was seen to say".to_owned(),
        Some((new, third)) => format!(
            "  complete? of the last third of what was seen ({third} accesses), {} were new to rules made from the first two thirds{}",
            percent(*new, *third),
            if *new == 0 { "" } else { ": watch for longer, until it stays near 0" }
        ),
    });
    if *unresolvable > 0 {
        lines.push(format!("  not told  {unresolvable} accesses of objects without a path, which no rule can allow"));
    }
    for (name, count) in built_in {
        lines.push(format!("  denied    {count} by the built-in rule {name}, whatever a policy says"));
    }
    for access in uncovered {
        lines.push(format!("  NOT IN IT {access}"));
    }
    lines.push(String::new());
    lines.push("How names were generalised, and what a policy like this cannot know: docs/learn.md.".to_owned());
    lines.iter().map(|line| if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") }).collect()
}

/// Per thousand is enough, and exact: no rounding to zero of what is not zero.
fn percent(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000).checked_div(whole).unwrap_or(0);
    if part > 0 && tenths == 0 {
        return format!("less than 0.1 % ({part})");
    }
    format!("{}.{} % ({part})", tenths / 10, tenths % 10)
}

fn duration(of: std::time::Duration) -> String {
    match of.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

// === sections ===

fn process(out: &mut String, programs: &BTreeMap<Name, ExecSeen>) {
    let paths: Vec<_> = programs.iter().filter(|(name, _)| matches!(name, Name::Path(_))).collect();
    let memfds: Vec<_> = programs.iter().filter(|(name, _)| matches!(name, Name::Memfd(_))).collect();
    if paths.is_empty() && memfds.is_empty() {
        return;
    }
    out.push_str("\n  process:\n");
    if !paths.is_empty() {
        out.push_str("    matchPaths:\n");
    }
    for (name, exec) in paths {
        program(out, "path", &name_text(name).unwrap_or_default(), exec);
    }
    if !memfds.is_empty() {
        out.push_str("    matchPatterns:\n");
    }
    for (name, exec) in memfds {
        let Name::Memfd(name) = name else { continue };
        let text = String::from_utf8_lossy(&escaped(name)).into_owned();
        program(out, "pattern", &format!("memfd:{text}"), exec);
    }
}

fn program(out: &mut String, field: &str, text: &str, exec: &ExecSeen) {
    let ExecSeen { of, sources, anywhere } = exec;
    let sources: Vec<String> = sources.iter().filter_map(name_text).collect();
    let start = if *anywhere { "the run begins with it" } else { "" };
    let multi = if is_multi_call(text) { ", a multi-call file: all its names are allowed" } else { "" };
    let _ = writeln!(out, "    # {}{multi}", uses(of, start));
    let _ = writeln!(out, "    - {field}: {}", scalar(text));
    // The schema knows no source of a pattern.
    if !*anywhere && !sources.is_empty() && field == "path" {
        out.push_str("      fromSource:\n");
        for source in sources {
            let _ = writeln!(out, "      - path: {}", scalar(&source));
        }
    }
    out.push_str("      action: Allow\n");
}

fn is_multi_call(path: &str) -> bool {
    palisade_ruleset::MULTI_CALL.iter().any(|name| path.rsplit('/').next() == Some(*name))
}

fn file(out: &mut String, rules: &[FileRule]) {
    if rules.is_empty() {
        return;
    }
    out.push_str("\n  file:\n");
    for (list, field) in [("matchDirectories", "dir"), ("matchPaths", "path"), ("matchPatterns", "pattern")] {
        let mut rules = rules.iter().filter(|rule| field_of(rule.shape) == field).peekable();
        if rules.peek().is_some() {
            let _ = writeln!(out, "    {list}:");
        }
        for FileRule { shape, text, read_only, of, files } in rules {
            let several = if *files > 1 { format!("{files} files, ") } else { String::new() };
            let why = if *files == 0 {
                "nothing but the base set was needed: this makes the class an allow-list".to_owned()
            } else {
                uses(of, "")
            };
            let _ = writeln!(out, "    # {several}{why}");
            let _ = writeln!(out, "    - {field}: {}", scalar(&String::from_utf8_lossy(text)));
            if *shape == (Shape::Directory { recursive: true }) {
                out.push_str("      recursive: true\n");
            }
            if *read_only {
                out.push_str("      readOnly: true\n");
            }
            out.push_str("      action: Allow\n");
        }
    }
}

fn field_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Directory { .. } => "dir",
        Shape::Path => "path",
        Shape::Pattern => "pattern",
    }
}

fn network(out: &mut String, rules: &SocketRules) {
    let SocketRules { protocols, endpoints } = rules;
    out.push_str("\n  network:\n");
    if protocols.is_empty() && endpoints.is_empty() {
        out.push_str("    matchProtocols:\n    # no socket was made, but local ones\n    - protocol: all\n      action: Block\n");
    }
    if !protocols.is_empty() {
        out.push_str("    matchProtocols:\n");
    }
    for (protocol, of) in protocols {
        let _ = writeln!(out, "    # {}", uses(of, ""));
        // No word is narrower for some families: then at least only for those programs.
        if *protocol == Protocol::All {
            out.push_str("    # of a family that no other word meets: this allows these programs every socket\n");
        }
        let _ = writeln!(out, "    - protocol: {}", protocol.name());
        let sources: Vec<String> = of.programs.iter().filter_map(name_text).collect();
        if *protocol == Protocol::All && sources.len() == of.programs.len() {
            out.push_str("      fromSource:\n");
            for source in sources {
                let _ = writeln!(out, "      - path: {}", scalar(&source));
            }
        }
        out.push_str("      action: Allow\n");
    }
    if !endpoints.is_empty() {
        out.push_str("    matchEndpoints:\n");
    }
    for (key, rule) in endpoints {
        endpoint(out, *key, rule);
    }
}

fn endpoint(out: &mut String, key: EndpointKey, rule: &EndpointRule) {
    let EndpointKey { protocol, direction, address } = key;
    let EndpointRule { ports, of, note } = rule;
    let _ = writeln!(out, "    # {}", uses(of, ""));
    out.push_str(match note {
        Note::Plain => "",
        Note::Chosen => "    # the kernel chose a port, so it has all that it chooses from\n",
        Note::Nowhere => "    # made, and neither connected nor bound: this end leads nowhere, and allows no more than that\n",
    });
    // An IPv4 address is a word of YAML's, an IPv6 one could begin with a colon.
    let _ = match address {
        IpAddr::V4(v4) => writeln!(out, "    - cidr: {v4}/32"),
        IpAddr::V6(v6) => writeln!(out, "    - cidr: \"{v6}/128\""),
    };
    out.push_str("      ports:\n");
    for range in ports {
        let _ = writeln!(out, "      - port: {}", range.first());
        if range.last() != range.first() {
            let _ = writeln!(out, "        endPort: {}", range.last());
        }
    }
    let _ = write!(out, "      protocol: {}\n      direction: {}\n      action: Allow\n", protocol.name(), direction.name());
}

fn capabilities(out: &mut String, used: &BTreeMap<Capability, Use>) {
    out.push_str("\n  capabilities:\n    matchCapabilities:\n");
    if used.is_empty() {
        out.push_str("    # none was used\n");
        for capability in Capability::all() {
            let _ = write!(out, "    - capability: {}\n      action: Block\n", capability.name());
        }
    }
    for (capability, of) in used {
        let _ = writeln!(out, "    # {}", uses(of, ""));
        let _ = write!(out, "    - capability: {}\n      action: Allow\n", capability.name());
    }
}

// === texts ===

/// `12 times, by nginx, sh`.
fn uses(of: &Use, more: &str) -> String {
    let Use { count, programs } = of;
    let mut text = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    let names: Vec<String> = programs.iter().filter_map(name_text).collect();
    let mut short: Vec<&str> = names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    short.dedup();
    let further = short.len().saturating_sub(NAMED);
    short.truncate(NAMED);
    if !more.is_empty() {
        let _ = write!(text, "; {more}");
    } else if !short.is_empty() {
        let _ = write!(text, ", by {}", comment(short.join(", ").as_bytes()));
        if further > 0 {
            let _ = write!(text, " and {further} more");
        }
    }
    text
}

/// An access in words.
pub(crate) fn access_text(access: &Access) -> String {
    let name = |name: &Name| match name {
        Name::Path(path) => comment(path),
        Name::Memfd(name) => format!("memfd:{}", comment(name)),
        Name::Unknown => "a program that could not be told".to_owned(),
    };
    match access {
        Access::Exec { object, caller, scripts } => {
            format!("exec of {} by {}", name(object), name(scripts.last().unwrap_or(caller)))
        }
        Access::Load { object, loader } => format!("mapping of {} by {}", name(object), name(loader)),
        Access::File { path, write } => format!("{} {}", if *write { "write" } else { "read" }, comment(path)),
        Access::Socket { socket: [family, kind, protocol], end: None } => format!("socket {family}:{kind}:{protocol}"),
        Access::Socket { socket: [family, kind, protocol], end: Some(End { side, address, port }) } => {
            let done = match side {
                Side::Remote => "connect to",
                Side::Local => "bind to",
            };
            format!("{done} {} by socket {family}:{kind}:{protocol}", SocketAddr::new(*address, *port))
        }
        Access::Capability(number) => format!("capability {number}"),
    }
}

/// What a program chose cannot end a comment or fake another line: everything but printable ASCII is escaped.
fn comment(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A YAML scalar: plain where nothing in it could mean anything else, else in double quotes.
pub(crate) fn scalar(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '+' | '-' | '@' | '=' | '*' | '[' | ']' | ' ' | '~');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    // YAML 1.1 reads these as booleans or nothing.
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&text.to_ascii_lowercase().as_str());
    if begins && !word && text.chars().all(plain) && !text.ends_with(' ') {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if u32::from(c) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}
