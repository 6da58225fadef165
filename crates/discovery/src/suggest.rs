//! The policy: drafted, written, read again, and asked about every access it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use palisade_policy::model::{Capability, PortRange};
use palisade_policy::{SourceFile, parse};
use palisade_ruleset::{By, End, RuleSet, Side, Tree, Verdict, Workload, decide};

use crate::Directories;
use crate::accesses::{Accesses, ExecSeen, FileSeen, Use};
use crate::collect::{Access, Collector, Name, Seen};
use crate::files::{self, FileRule, Shape};
use crate::sockets::{SocketRules, Words, endpoint_protocol};
use crate::yaml;

/// Accesses from which the newness is worth a number.
const ENOUGH: u64 = 60;
/// Rounds of naming by path what a first draft denies. One is enough unless rules shadow each other.
const ROUNDS: usize = 3;

/// For whom, and how it was watched.
pub struct Context<'a> {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `spec.selector.matchLabels`; where empty, `app: NAME`.
    pub labels: BTreeMap<String, String>,
    /// The command, for people.
    pub command: String,
    /// What watched: the kernel's mechanism.
    pub watched_by: String,
    /// What it could not see, each in words.
    pub unseen: Vec<String>,
    /// Whether rules of programs name who executes them; a back end that does not know the caller allows nothing by those.
    pub sources: bool,
    /// Whether it saw capabilities used: if not, the policy leaves them open.
    pub capabilities_seen: bool,
    /// How long.
    pub watched_for: Duration,
    /// The program that started the command; what it executes is where the run begins.
    pub launcher: Option<Vec<u8>>,
    /// As the policy will be applied: base set, multi-call names, descriptors 0 to 2.
    pub workload: &'a Workload,
    /// Its symbolic links.
    pub tree: &'a dyn Tree,
    /// What else its directories hold.
    pub directories: &'a dyn Directories,
    /// From which the kernel takes ports that a program leaves to it.
    pub chosen_ports: PortRange,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The policy, commented.
    pub policy: String,
    /// Its accesses as tests for `palisade policy test`.
    pub tests: Vec<TestLine>,
    /// How far to trust it.
    pub measures: Measures,
    pub(crate) name: String,
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestLine {
    pub(crate) field: &'static str,
    pub(crate) object: String,
    pub(crate) from: Option<String>,
    pub(crate) allowed: bool,
}

/// How far to trust a suggestion.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Measures {
    /// Accesses seen.
    pub accesses: u64,
    /// Distinct ones.
    pub distinct: usize,
    /// Accesses that the base set lets pass, and that so are in no rule.
    pub base_set: u64,
    /// Records lost on the way: what they told is in no rule.
    pub lost: u64,
    /// Accesses for which there was no room.
    pub beyond: u64,
    /// Accesses of objects that could not be told, which no rule can name.
    pub unresolvable: u64,
    /// Of the last third of the accesses, how many no rule of the first two thirds would have allowed; and that third.
    /// `None`: too few to say.
    pub newness: Option<(u64, u64)>,
    /// What the built-in rules deny, by their names.
    pub built_in: BTreeMap<&'static str, u64>,
    /// What the policy does not allow although it was seen, in words.
    pub uncovered: Vec<String>,
    /// Rules written.
    pub rules: usize,
}

/// Rules, before they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) programs: BTreeMap<Name, ExecSeen>,
    pub(crate) files: Vec<FileRule>,
    pub(crate) sockets: SocketRules,
    pub(crate) capabilities: BTreeMap<Capability, Use>,
}

/// A TCP socket, and an end that nobody has: 203.0.113.0/24 is for documentation.
const TCP: [i32; 3] = [2, 1, 6];
const NEVER_REACHED: End = End { side: Side::Remote, address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), port: 4444 };

/// Suggests a policy that allows what was seen.
///
/// # Guarantees
/// Each access that the collector keeps is allowed by the policy as `decide` reads it, or listed in
/// [`Measures::uncovered`]. The policy parses without a problem, and is the same for the same input.
#[must_use]
pub fn suggest(collector: &Collector, context: &Context<'_>) -> Suggestion {
    let words = Words::new();
    let base = base_rules(context);
    let mut base_count = 0;
    let mut kept: BTreeMap<&Access, &Seen> = BTreeMap::new();
    for (access, seen) in &collector.seen {
        if passes_without_rule(access, seen, &base) {
            base_count += seen.count;
        } else {
            kept.insert(access, seen);
        }
    }
    let (draft, rules) = settle(&kept, context, &words);
    let uncovered: Vec<&Access> = kept.iter().filter(|(a, s)| !is_allowed(&rules, a, s)).map(|(a, _)| *a).collect();
    let measures = Measures {
        accesses: collector.total,
        distinct: collector.seen.len(),
        base_set: base_count,
        lost: collector.lost,
        beyond: collector.beyond,
        unresolvable: collector.unresolvable,
        newness: newness(collector.total, &kept, context, &words),
        built_in: collector.built_in.clone(),
        uncovered: uncovered.iter().map(|access| yaml::access_text(access)).collect(),
        rules: draft.len(),
    };
    let policy = yaml::policy(&draft, context, &measures);
    let tests = tests(&kept, &rules, context, &words);
    Suggestion { policy, tests, measures, name: context.name.clone() }
}

/// Drafts until nothing that a rule can name is denied.
fn settle(kept: &BTreeMap<&Access, &Seen>, context: &Context<'_>, words: &Words) -> (Draft, RuleSet) {
    let launcher = context.launcher.clone().map(Name::Path);
    let mut accesses = Accesses::arrange(kept.iter().map(|(a, s)| (*a, *s)), launcher.as_ref());
    // What rules cannot be written of is left out here and comes out as uncovered.
    accesses.files.retain(|path, _| is_text(path));
    accesses.programs.retain(|name, _| name_text(name).is_some());
    if !context.sources {
        accesses.programs.values_mut().for_each(|exec| exec.sources.clear());
    }
    let mut draft = Draft {
        programs: accesses.programs,
        files: files::rules(&accesses.files, context.directories),
        sockets: words.rules(&accesses.sockets, context.chosen_ports),
        capabilities: accesses.capabilities,
    };
    if draft.files.is_empty() {
        draft.files = start_of_list(&draft.programs);
    }
    let mut rules = rules_of(&draft, context);
    for _ in 0..ROUNDS {
        let denied: BTreeSet<&[u8]> = kept
            .iter()
            .filter(|(access, seen)| !is_allowed(&rules, access, seen))
            .filter_map(|(access, _)| match access {
                Access::File { path, .. } if is_text(path) => Some(path.as_slice()),
                Access::File { .. }
                | Access::Exec { .. }
                | Access::Load { .. }
                | Access::Socket { .. }
                | Access::Capability(_) => None,
            })
            .collect();
        if denied.is_empty() {
            break;
        }
        for path in denied {
            if let Some(file) = accesses.files.get(path) {
                draft.files.push(by_path(path, file));
            }
        }
        draft.files.sort_by(|a, b| (a.shape, &a.text).cmp(&(b.shape, &b.text)));
        draft.files.dedup_by(|a, b| a.shape == b.shape && a.text == b.text);
        rules = rules_of(&draft, context);
    }
    (draft, rules)
}

fn by_path(path: &[u8], file: &FileSeen) -> FileRule {
    FileRule { shape: Shape::Path, text: path.to_vec(), read_only: !file.written, of: file.of.clone(), files: 1 }
}

/// Nothing but the base set was needed: one rule still makes the class an allow-list, the first program read-only.
fn start_of_list(programs: &BTreeMap<Name, ExecSeen>) -> Vec<FileRule> {
    let first = programs.keys().find_map(|name| match name {
        Name::Path(path) => Some(path.clone()),
        Name::Memfd(_) | Name::Unknown => None,
    });
    let rule = |text| FileRule { shape: Shape::Path, text, read_only: true, of: Use::default(), files: 0 };
    first.map(rule).into_iter().collect()
}

/// Of the last third of the accesses, those that a policy of the first two thirds would not have allowed.
fn newness(total: u64, kept: &BTreeMap<&Access, &Seen>, context: &Context<'_>, words: &Words) -> Option<(u64, u64)> {
    if total < ENOUGH {
        return None;
    }
    // An access that was first seen in the last third was seen only there, so its count is its share of that third.
    let from = total - total / 3;
    let (early, late): (BTreeMap<&Access, &Seen>, BTreeMap<&Access, &Seen>) =
        kept.iter().map(|(a, s)| (*a, *s)).partition(|(_, seen)| seen.first < from);
    let (_, rules) = settle(&early, context, words);
    let new = late.iter().filter(|(access, seen)| !is_allowed(&rules, access, seen)).map(|(_, seen)| seen.count).sum();
    Some((new, total / 3))
}

fn rules_of(draft: &Draft, context: &Context<'_>) -> RuleSet {
    let text = yaml::policy(draft, context, &Measures::default());
    let policies = parse(&[SourceFile { name: "learned".into(), text: &text }]).policies;
    let mut workload = context.workload.clone();
    workload.ignore_selectors = true;
    RuleSet::new(&policies, &workload, context.tree)
}

/// Rules under which the file class is an allow-list of nothing: what passes then passes by the base set.
fn base_rules(context: &Context<'_>) -> RuleSet {
    let nothing = Draft {
        files: vec![FileRule {
            shape: Shape::Path,
            text: b"/dev/null/nothing".to_vec(),
            read_only: true,
            of: Use::default(),
            files: 0,
        }],
        ..Draft::default()
    };
    rules_of(&nothing, context)
}

fn passes_without_rule(access: &Access, seen: &Seen, base: &RuleSet) -> bool {
    match access {
        Access::File { .. } => decisions(base, access, seen).all(|d| d.verdict == Verdict::Allow && d.by == By::BaseSet),
        // What no network rule reaches (AF_UNIX, NETLINK_ROUTE): under `all` blocked, nothing speaks.
        Access::Socket { .. } => decisions(base, access, seen).all(|d| d.by == By::Nothing),
        Access::Exec { .. } | Access::Load { .. } | Access::Capability(_) => false,
    }
}

fn is_allowed(rules: &RuleSet, access: &Access, seen: &Seen) -> bool {
    decisions(rules, access, seen).all(|d| d.verdict != Verdict::Block)
}

/// The decision on an access for each program that did it.
fn decisions<'a>(
    rules: &'a RuleSet,
    access: &'a Access,
    seen: &'a Seen,
) -> impl Iterator<Item = palisade_ruleset::Decision> + 'a {
    let by: Vec<Name> = match access {
        Access::Exec { caller, .. } => vec![caller.clone()],
        Access::Load { .. } | Access::File { .. } | Access::Socket { .. } | Access::Capability(_) => {
            seen.programs.iter().cloned().collect()
        }
    };
    by.into_iter().map(move |program| decide(rules, &access.to_law(&program)))
}

// === impl Draft ===

impl Draft {
    fn len(&self) -> usize {
        let Self { programs, files, sockets: SocketRules { protocols, endpoints }, capabilities } = self;
        programs.len() + files.len() + protocols.len() + endpoints.len() + capabilities.len()
    }
}

// === tests ===

/// Each access as an expectation, as far as a test file can tell it; and two that nobody would want allowed.
fn tests(kept: &BTreeMap<&Access, &Seen>, rules: &RuleSet, context: &Context<'_>, words: &Words) -> Vec<TestLine> {
    let mut lines = BTreeSet::new();
    for (access, seen) in kept.iter().filter(|(access, seen)| is_allowed(rules, access, seen)) {
        lines.extend(
            test_line(access, seen, context, words).filter(|line| line.field != "bind" || binds_everywhere(access, rules)),
        );
    }
    // A program that nobody has, and the passwords unless the run read them itself; an address of documentation.
    let never = [
        ("exec", "/tmp/dropped-by-someone"),
        ("read", "/etc/shadow"),
        ("write", "/etc/cron.d/dropped-by-someone"),
        ("connect", "tcp/203.0.113.7:4444"),
    ];
    for (field, object) in never {
        let line = TestLine { field, object: object.to_owned(), from: None, allowed: false };
        let mut expected = line.clone();
        expected.allowed = true;
        let path = object.as_bytes();
        let write = field == "write";
        let access = match field {
            "exec" => Access::Exec { object: Name::Path(path.to_vec()), caller: Name::Unknown, scripts: Vec::new() },
            "connect" => Access::Socket { socket: TCP, end: Some(NEVER_REACHED) },
            _ => Access::File { path: path.to_vec(), write },
        };
        let denied = decide(rules, &access.to_law(&Name::Unknown)).verdict == Verdict::Block;
        if denied && !lines.contains(&expected) {
            lines.insert(line);
        }
    }
    lines.into_iter().collect()
}

fn test_line(access: &Access, seen: &Seen, context: &Context<'_>, words: &Words) -> Option<TestLine> {
    let line = |field, object, from| Some(TestLine { field, object, from, allowed: true });
    match access {
        Access::Exec { object, caller, scripts } => {
            let source = scripts.last().unwrap_or(caller);
            let launcher = matches!((source, &context.launcher), (Name::Path(path), Some(launcher)) if path == launcher);
            let from = if launcher { None } else { name_text(source) };
            line("exec", name_text(object)?, from)
        }
        Access::Load { object, loader } => line("mapExec", name_text(object)?, name_text(loader)),
        Access::File { path, write } => {
            let path = std::str::from_utf8(path).ok()?.to_owned();
            line(if *write { "write" } else { "read" }, path, None)
        }
        Access::Socket { socket: [family, kind, protocol], end: None } => {
            line("socket", format!("{family}:{kind}:{protocol}"), seen.programs.first().and_then(name_text))
        }
        Access::Socket { socket, end: Some(End { side, address, port }) } => {
            // Of other sockets an end decides nothing.
            let protocol = endpoint_protocol(words.of(*socket)?)?.name().to_ascii_lowercase();
            let field = match side {
                Side::Remote => "connect",
                Side::Local => "bind",
            };
            line(field, format!("{protocol}/{}", SocketAddr::new(*address, *port)), None)
        }
        Access::Capability(number) => line("capability", Capability::from_number(*number)?.name().to_owned(), None),
    }
}

/// Whether what a test file says by this end is allowed: there `::` stands for 0.0.0.0 as well, which a socket that is of
/// IPv6 alone never asked for.
fn binds_everywhere(access: &Access, rules: &RuleSet) -> bool {
    let Access::Socket { socket, end: Some(end) } = access else { return true };
    let twin = End { address: Ipv4Addr::UNSPECIFIED.into(), ..*end };
    let twin = Access::Socket { socket: *socket, end: Some(twin) }.to_law(&Name::Unknown);
    end.address != IpAddr::V6(Ipv6Addr::UNSPECIFIED) || decide(rules, &twin).verdict != Verdict::Block
}

// === names as text ===

fn is_text(path: &[u8]) -> bool {
    std::str::from_utf8(path).is_ok()
}

/// A program as policies and tests write it; `None` where they cannot.
pub(crate) fn name_text(name: &Name) -> Option<String> {
    match name {
        Name::Path(path) => String::from_utf8(path.clone()).ok(),
        Name::Memfd(name) => String::from_utf8(name.clone()).ok().map(|name| format!("memfd:{name}")),
        Name::Unknown => None,
    }
}
