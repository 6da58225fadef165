//! Selection and names: which rules concern a workload, and every way in which each names objects and sources there.

use std::sync::Arc;

use palisade_policy::glob::{Glob, Token};
use palisade_policy::model::{
    Action, Class, Kind, PathName, PathObject, Policy, PolicyKey, PolicyMode, SelectorInput, SourceMatch,
};

use crate::base_set::{self, BaseName};
use crate::decision::RuleId;
use crate::pattern::Pattern;
use crate::rules::{Rule, RuleBody, RuleSet, Tier};
use crate::workload::{Scope, Tree, Workload};

/// The names of the rules, by rule id, and the base set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolution {
    pub(crate) rules: Vec<RuleNames>,
    pub(crate) base: Vec<BaseName>,
    /// Rules met through a multi-call binary (`meaning` section 3.6): rule and the binary.
    pub(crate) multi_call: Vec<(RuleId, Vec<u8>)>,
    /// How many names were gained since (`late.rs`).
    pub(crate) late: usize,
}

/// Every way in which one rule names its objects and its sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleNames {
    /// Objects by path.
    pub(crate) objects: Vec<Name>,
    /// Objects by path and invocation name, over `path//name`.
    pub(crate) invoked: Vec<Name>,
    /// Sources; empty: any.
    pub(crate) sources: Vec<SourceName>,
}

/// One way to name an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) pattern: Pattern,
    pub(crate) rank: ObjectRank,
}

/// One way to name a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceName {
    pub(crate) pattern: Pattern,
    /// Named exactly, not by a glob or a directory.
    pub(crate) exact: bool,
}

/// The rank of a rule by its object (`meaning` section 4(2)); the greater is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectRank {
    kind: RankKind,
    length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum RankKind {
    /// A directory, or `all` of the network.
    Directory,
    /// A glob, or a socket type.
    Glob,
    /// A base name, or a protocol.
    ExecName,
    /// An exact path.
    Exact,
    /// An address range and ports.
    Endpoint,
}

/// How a pattern came about.
#[derive(Clone, Copy)]
struct Spelling {
    /// It is all of its text, not one of several alternatives.
    alone: bool,
    /// `/proc/thread-self` in it means the acting process's own entry.
    own: bool,
}

impl Spelling {
    const PLAIN: Self = Self { alone: true, own: true };
}

/// The multi-call binaries that are always known.
pub const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];

// === impl RuleSet ===

impl RuleSet {
    /// The rules of `policies` that concern `workload`, with their names resolved in its `tree`. A policy whose key
    /// comes again later in the list is replaced by the later one.
    #[must_use]
    pub fn new(policies: &[Policy], workload: &Workload, tree: &dyn Tree) -> Self {
        let mut selected: Vec<&Policy> = Vec::new();
        for (i, policy) in policies.iter().enumerate() {
            let replaced = policies[i + 1..].iter().any(|later| later.key == policy.key);
            if !replaced && policy.mode != PolicyMode::Disabled && concerns(policy, workload) {
                selected.push(policy);
            }
        }
        // Full ties are ordered by kind, namespace, name and position: so are the rule ids.
        selected.sort_by(|a, b| a.key.cmp(&b.key));
        let mut rules = Vec::new();
        for (policy_index, policy) in selected.into_iter().enumerate() {
            let Policy { key, origin: _, selector: _, mode, process, file, network, capabilities, gaps: _ } = policy;
            let key = Arc::new(key.clone());
            let mut bodies: Vec<RuleBody> = Vec::new();
            bodies.extend(process.iter().cloned().map(RuleBody::Process));
            bodies.extend(file.iter().cloned().map(RuleBody::File));
            bodies.extend(network.iter().cloned().map(RuleBody::Network));
            bodies.extend(capabilities.iter().cloned().map(RuleBody::Capability));
            bodies.sort_by_key(RuleBody::position);
            for body in bodies {
                let Some(id) = RuleId::new(rules.len()) else { break };
                let tier = tier(&key);
                rules.push(Rule {
                    id,
                    policy: Arc::clone(&key),
                    policy_index,
                    tier,
                    audited: *mode == PolicyMode::Audited,
                    body,
                });
            }
        }
        let mut resolution = Resolution { base: base_set::resolve(workload, tree), ..Resolution::default() };
        for rule in &rules {
            let (names, multi_call) = resolve_rule(rule, workload, tree);
            resolution.rules.push(names);
            resolution.multi_call.extend(multi_call.map(|file| (rule.id, file)));
        }
        Self { workload: workload.clone(), rules, resolution }
    }
}

/// The names of one rule, and the multi-call binary that it is met through, if any.
pub(crate) fn resolve_rule(rule: &Rule, workload: &Workload, tree: &dyn Tree) -> (RuleNames, Option<Vec<u8>>) {
    let is_process = rule.class() == Class::Process;
    let mut resolver = Resolver { tree, workload, action: rule.action(), is_process, multi_call: None };
    let names = resolver.names(&rule.body);
    (names, resolver.multi_call)
}

/// Whether a policy's kind, namespace and selector take in the workload (`meaning` section 1), whatever its mode.
#[must_use]
pub fn concerns(policy: &Policy, workload: &Workload) -> bool {
    let Workload { scope, namespace, labels, container, hostname, ignore_selectors, .. } = workload;
    let kind_fits = match (policy.key.kind, scope) {
        (Kind::Cluster | Kind::Namespaced, Scope::Workload) | (Kind::Host, Scope::Host) => true,
        (Kind::Cluster | Kind::Namespaced, Scope::Host) | (Kind::Host, Scope::Workload) => false,
    };
    if !kind_fits || *ignore_selectors {
        return kind_fits;
    }
    let namespace_fits = policy.key.kind != Kind::Namespaced || policy.key.namespace == *namespace;
    let input = SelectorInput { namespace, labels, container: container.as_deref(), hostname };
    namespace_fits && policy.selector.selects(input)
}

fn tier(key: &PolicyKey) -> Tier {
    match key.kind {
        Kind::Cluster => Tier::Upper,
        Kind::Namespaced | Kind::Host => Tier::Lower,
    }
}

// === impl ObjectRank ===

impl ObjectRank {
    pub(crate) const EXACT: Self = Self { kind: RankKind::Exact, length: 0 };
    pub(crate) const EXEC_NAME: Self = Self { kind: RankKind::ExecName, length: 0 };
    /// Of a protocol rule, a type rule and `all`.
    pub(crate) const PROTOCOL: Self = Self { kind: RankKind::ExecName, length: 0 };
    pub(crate) const SOCKET_TYPE: Self = Self { kind: RankKind::Glob, length: 0 };
    pub(crate) const EVERYTHING: Self = Self { kind: RankKind::Directory, length: 0 };

    /// Of an endpoint rule: the longer prefix, then the fewer ports.
    pub(crate) fn endpoint(prefix: u8, ports: u32) -> Self {
        const PORTS: u32 = 1 << 16;
        Self { kind: RankKind::Endpoint, length: u32::from(prefix) << 17 | PORTS.saturating_sub(ports) }
    }

    pub(crate) fn directory(length: usize) -> Self {
        Self { kind: RankKind::Directory, length: clamp(length) }
    }

    fn glob(literal_bytes: usize) -> Self {
        Self { kind: RankKind::Glob, length: clamp(literal_bytes) }
    }

    /// Whether the object is named as a directory (or by a glob that ranks as one).
    pub(crate) fn is_directory(self) -> bool {
        self.kind == RankKind::Directory
    }

    /// Whether the object is named by an exact path or a glob.
    pub(crate) fn is_exact_or_glob(self) -> bool {
        matches!(self.kind, RankKind::Exact | RankKind::Glob)
    }

    /// The rank in words.
    pub(crate) fn describe(self) -> String {
        match self.kind {
            RankKind::Endpoint => {
                let (prefix, ports) = (self.length >> 17, (1 << 16) - (self.length & 0x1_ffff));
                match ports {
                    65_536 => format!("endpoint of {prefix} bits"),
                    1 => format!("endpoint of {prefix} bits and one port"),
                    _ => format!("endpoint of {prefix} bits and {ports} ports"),
                }
            }
            RankKind::Exact => "exact".to_owned(),
            RankKind::ExecName => "name".to_owned(),
            RankKind::Glob => format!("glob of {} literal bytes", self.length),
            RankKind::Directory => format!("directory of {} bytes", self.length),
        }
    }

    /// The same kind with another length.
    fn of_length(self, length: usize) -> Self {
        Self { length: clamp(length), ..self }
    }

    /// The same with one part of its text replaced by another.
    fn resized(self, from: usize, to: usize) -> Self {
        if matches!(self.kind, RankKind::Exact | RankKind::ExecName | RankKind::Endpoint) {
            return self;
        }
        let length = (self.length as usize + to).saturating_sub(from);
        Self { length: clamp(length), ..self }
    }
}

fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

// === impl Resolver ===

/// Finds the names of one rule.
struct Resolver<'a> {
    tree: &'a dyn Tree,
    workload: &'a Workload,
    action: Action,
    /// It is about programs, which multi-call binaries are invoked as.
    is_process: bool,
    /// The multi-call binary that the rule is met through, if any.
    multi_call: Option<Vec<u8>>,
}

impl Resolver<'_> {
    fn names(&mut self, body: &RuleBody) -> RuleNames {
        let (object, sources) = match body {
            RuleBody::Process(rule) => (Some(&rule.object), &rule.from_source),
            RuleBody::File(rule) => (Some(&rule.object), &rule.from_source),
            RuleBody::Network(rule) => (None, &rule.from_source),
            RuleBody::Capability(rule) => (None, &rule.from_source),
        };
        let mut names = RuleNames::default();
        if let Some(object) = object {
            self.object(object, &mut names);
        }
        // A source means the whole file, whatever it was invoked as.
        self.is_process = false;
        for source in sources {
            self.source(source, &mut names.sources);
        }
        names
    }

    fn object(&mut self, object: &PathObject, names: &mut RuleNames) {
        match object {
            PathObject::Path(PathName { literal, glob }) => {
                let pattern = Pattern::exact(literal.as_bytes());
                self.pattern(pattern, ObjectRank::EXACT, Spelling::PLAIN, names);
                if let Some(glob) = glob {
                    self.glob(glob, names);
                }
            }
            PathObject::Directory { dir, recursive } => self.directory(dir, *recursive, names),
            PathObject::Pattern(glob) => self.glob(glob, names),
            PathObject::ExecName(name) => {
                let rank = ObjectRank::EXEC_NAME;
                names.objects.push(Name { pattern: Pattern::base_name(name.as_bytes()), rank });
                if self.action != Action::Allow {
                    for file in self.multi_call_names() {
                        names.invoked.push(Name { pattern: Pattern::base_name_invoked(file.as_bytes(), name.as_bytes()), rank });
                    }
                }
            }
        }
    }

    fn directory(&mut self, dir: &PathName, recursive: bool, names: &mut RuleNames) {
        let PathName { literal, glob } = dir;
        let literal = literal.as_bytes();
        push_directory(literal, recursive, &mut names.objects);
        if let Some(mut resolved) = self.resolve(without_slash(literal)) {
            if resolved != b"/" {
                resolved.push(b'/');
            }
            push_directory(&resolved, recursive, &mut names.objects);
        }
        if let Some(glob) = glob {
            let rank = ObjectRank::directory(glob.literal_bytes());
            for sequence in glob.sequences() {
                // The directory's text ends in `/`: the object itself has none.
                let itself = sequence.strip_suffix(&[Token::Byte(b'/')]).unwrap_or(sequence);
                let tail = if recursive { Token::DoubleStar } else { Token::Star };
                let below: Vec<Token> = sequence.iter().cloned().chain([tail]).collect();
                for pattern in [itself, &below].into_iter().flat_map(Pattern::glob) {
                    self.pattern(pattern, rank, Spelling::PLAIN, names);
                }
            }
        }
    }

    fn glob(&mut self, glob: &Glob, names: &mut RuleNames) {
        let rank = rank_of(glob);
        if matches!(glob.text(), "/**" | "**") {
            names.objects.push(Name { pattern: Pattern::below(b"/"), rank });
            names.objects.push(Name { pattern: Pattern::any_memfd(), rank });
            return;
        }
        for sequence in glob.sequences() {
            // `/proc/thread-self` is a text that rules write, not one that alternatives spell.
            let own = glob.text().starts_with("/proc/thread-self");
            for pattern in Pattern::glob(sequence) {
                self.pattern(pattern, rank, Spelling { alone: glob.sequences().len() == 1, own }, names);
            }
        }
    }

    /// A pattern, and the same with its literal part resolved: all of it where it is literal to its end.
    fn pattern(&mut self, pattern: Pattern, rank: ObjectRank, spelling: Spelling, names: &mut RuleNames) {
        if let Some(path) = pattern.as_path() {
            self.literal(&path, rank, names);
        } else {
            let literal = pattern.literal_beginning();
            let cut = literal.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
            let prefix = &literal[..cut];
            if prefix.len() > 1
                && let Some(mut resolved) = self.resolve(without_slash(prefix))
            {
                if resolved != b"/" {
                    resolved.push(b'/');
                }
                if let Some(moved) = pattern.with_prefix(prefix, &resolved) {
                    let rank = if spelling.alone {
                        rank.resized(prefix.len(), resolved.len())
                    } else {
                        rank.of_length(moved.literal_bytes())
                    };
                    if moved == Pattern::below(b"/") {
                        names.objects.push(Name { pattern: Pattern::any_memfd(), rank });
                    }
                    names.objects.push(Name { pattern: moved, rank });
                }
            }
        }
        let patterns = if spelling.own { pattern.own_entries() } else { vec![pattern] };
        names.objects.extend(patterns.into_iter().map(|pattern| Name { pattern, rank }));
    }

    /// What a literal path resolves to.
    fn literal(&mut self, path: &[u8], rank: ObjectRank, names: &mut RuleNames) {
        let Some(resolved) = self.resolve(path) else { return };
        let rank = rank.resized(path.len(), resolved.len());
        let (own, file) = (base_name(path), base_name(&resolved));
        if self.is_process && own != file && self.is_multi_call(file) {
            self.multi_call = Some(resolved.clone());
            if self.action != Action::Allow {
                let text = [resolved.as_slice(), b"//", own].concat();
                names.invoked.push(Name { pattern: Pattern::exact(&text), rank });
                return;
            }
        }
        names.objects.push(Name { pattern: Pattern::exact(&resolved), rank });
    }

    fn source(&mut self, source: &SourceMatch, sources: &mut Vec<SourceName>) {
        let mut exact = RuleNames::default();
        let mut loose = RuleNames::default();
        match source {
            SourceMatch::Path(PathName { literal, glob }) => {
                self.pattern(Pattern::exact(literal.as_bytes()), ObjectRank::EXACT, Spelling::PLAIN, &mut exact);
                if let Some(glob) = glob {
                    self.glob(glob, &mut loose);
                }
            }
            SourceMatch::Directory { dir, recursive } => self.directory(dir, *recursive, &mut loose),
        }
        sources.extend(exact.objects.into_iter().map(|name| SourceName { pattern: name.pattern, exact: true }));
        sources.extend(loose.objects.into_iter().map(|name| SourceName { pattern: name.pattern, exact: false }));
    }

    /// What the path resolves to, where that differs and the rule may follow.
    fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        if path.is_empty()
            || path == b"/"
            || path.starts_with(b"/proc/")
            || path.starts_with(b"memfd:")
            || has_empty_component(path)
        {
            return None;
        }
        let resolved = self.tree.resolve(path)?;
        let may_follow = self.action != Action::Allow || resolved.allow_may_follow;
        (may_follow && resolved.path != path).then_some(resolved.path)
    }

    fn is_multi_call(&self, name: &[u8]) -> bool {
        self.multi_call_names().any(|known| known.as_bytes() == name)
    }

    fn multi_call_names(&self) -> impl Iterator<Item = &str> {
        MULTI_CALL.into_iter().chain(self.workload.multi_call.iter().map(String::as_str))
    }
}

/// The patterns of a glob that an Allow means, with its literal beginning resolved (for the base set).
pub(crate) fn resolved_patterns(glob: &Glob, tree: &dyn Tree) -> Vec<Pattern> {
    let workload = Workload::run();
    let mut resolver = Resolver { tree, workload: &workload, action: Action::Allow, is_process: false, multi_call: None };
    let mut names = RuleNames::default();
    resolver.glob(glob, &mut names);
    names.objects.into_iter().map(|name| name.pattern).collect()
}

fn push_directory(directory: &[u8], recursive: bool, names: &mut Vec<Name>) {
    // `/proc/thread-self/` is another spelling of `/proc/self/` and ranks like it.
    let spelled_longer = if directory.starts_with(b"/proc/thread-self/") { "thread-".len() } else { 0 };
    let rank = ObjectRank::directory(directory.len() - spelled_longer);
    let itself = if directory == b"/" { directory } else { without_slash(directory) };
    let below = if recursive { Pattern::below(directory) } else { Pattern::children(directory) };
    let patterns = [Pattern::exact(itself), below].into_iter().flat_map(Pattern::own_entries);
    names.extend(patterns.map(|pattern| Name { pattern, rank }));
    if recursive && directory == b"/" {
        names.push(Name { pattern: Pattern::any_memfd(), rank });
    }
}

fn rank_of(glob: &Glob) -> ObjectRank {
    // In a memfd's name `/` is an ordinary byte: there are no components.
    if glob.ranks_as_directory() && !glob.is_memfd() {
        ObjectRank::directory(glob.literal_bytes())
    } else {
        ObjectRank::glob(glob.literal_bytes())
    }
}

/// Whether a text is no object's path because a component of it is empty: resolving it would name another.
fn has_empty_component(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"//")
}

fn without_slash(path: &[u8]) -> &[u8] {
    match path.strip_suffix(b"/") {
        Some(b"") | None => path,
        Some(rest) => rest,
    }
}

/// The last component of a path.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |i| &path[i + 1..])
}
