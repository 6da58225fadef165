//! The walk over the file tree that turns answers of the rule set into grants on directories and files.
//!
//! ```text
//! at a directory, per kind of grant:
//!   everything below alike   -> granted here, or nothing below; the walk ends
//!   told apart by a name that may begin anywhere -> look at everything; where all of it passes, grant here
//!   told apart               -> list; grant each child that passes; go on in directories
//!   cannot be listed, or too much -> what a new name would get, and a gap
//! ```
//! A grant is recursive and nothing can be taken out of it, so a directory gets one only where the law lets pass
//! everything below it, existing or not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use palisade_policy::model::Class;
use palisade_ruleset::{By, RuleSet};

use super::ask::{Answer, Asker};
use super::plan::{NonRecursive, PlanOptions};
use super::programs::PROGRAM_DIRECTORIES;
use super::rights::{Grant, Rights};
use super::shapes::{Position, Question, Reach, Shapes};
use super::view::{Child, FileKind, View};

/// A set of kinds of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Kinds(u8);

/// The grants of one path: rights, and the deciders (codes of `By`) that they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) rights: Rights,
    pub(super) by: BTreeSet<u32>,
}

/// What the walk found out about itself, for gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Entries looked at.
    pub(super) looked_at: usize,
    /// Directories listed for grants on their children, where the law would let new entries pass.
    pub(super) later: BTreeSet<Vec<u8>>,
    /// Directories without `recursive` that have subdirectories: existing children are granted.
    pub(super) non_recursive: BTreeSet<Vec<u8>>,
    /// The same, granted with everything below because it was asked for.
    pub(super) widened: BTreeSet<Vec<u8>>,
    /// Directories without `recursive` and without subdirectories: exact, but none can be made.
    pub(super) flat: BTreeSet<Vec<u8>>,
    /// Directories that may be listed by the law but not here.
    pub(super) unlisted: BTreeSet<Vec<u8>>,
    /// Directories granted as they stood although a floating name may appear below, by class.
    pub(super) floating: BTreeSet<Class>,
    /// Directories that could not be looked into: granted in whole (true) or not at all.
    pub(super) unseen: BTreeMap<Vec<u8>, bool>,
    /// Entries of procfs are told apart.
    pub(super) procfs: bool,
    /// Files that a Block names (not by directory), with the rights that it denies.
    pub(super) blocked: Vec<(Vec<u8>, Rights)>,
    /// Directories that a Block names, or in which something is told apart, with the rights not granted there.
    pub(super) withheld: Vec<(Vec<u8>, Rights)>,
}

/// The walk.
pub(super) struct Walk<'a> {
    pub(super) asker: &'a Asker<'a>,
    pub(super) view: &'a dyn View,
    pub(super) options: &'a PlanOptions,
    pub(super) shapes: ByQuestion<Shapes>,
    pub(super) grants: BTreeMap<Vec<u8>, Granted>,
    pub(super) notes: Notes,
}

/// Something of each question.
#[derive(Clone, Debug)]
pub(super) struct ByQuestion<T> {
    pub(super) exec: T,
    pub(super) read: T,
    pub(super) write: T,
}

/// How far the shapes have been matched at a directory.
type At = ByQuestion<Position>;

/// A directory under consideration.
struct Here<'p> {
    path: &'p [u8],
    at: At,
    /// The answers for a name that no rule names.
    typical: ByQuestion<Answer>,
    /// The directory itself may be listed.
    listable: bool,
}

/// A name that no sensible rule means.
pub(super) const TYPICAL_NAME: &[u8] = b"palisade~typical";

// === impl Kinds ===

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const EXEC: Self = Self(1);
    pub(super) const FILES: Self = Self(0b11110);

    pub(super) fn of(grant: Grant) -> Self {
        Self(match grant {
            Grant::Exec => 1,
            Grant::Read => 1 << 1,
            Grant::List => 1 << 2,
            Grant::Write => 1 << 3,
            Grant::Names => 1 << 4,
        })
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, grant: Grant) -> bool {
        self.0 & Self::of(grant).0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, grant: Grant) -> Self {
        Self(self.0 & !Self::of(grant).0)
    }

    fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn iter(self) -> impl Iterator<Item = Grant> {
        Grant::ALL.into_iter().filter(move |g| self.has(*g))
    }
}

// === impl ByQuestion ===

impl<T> ByQuestion<T> {
    /// That of the question that a grant depends on.
    fn of(&self, grant: Grant) -> &T {
        match grant {
            Grant::Exec => &self.exec,
            Grant::Read | Grant::List => &self.read,
            Grant::Write | Grant::Names => &self.write,
        }
    }
}

impl ByQuestion<Shapes> {
    pub(super) fn new(rules: &RuleSet, view: &dyn View) -> Self {
        let shapes = |question| Shapes::of(rules, question, view);
        Self { exec: shapes(Question::Exec), read: shapes(Question::Read), write: shapes(Question::Write) }
    }

    fn root(&self) -> At {
        At { exec: self.exec.root(), read: self.read.root(), write: self.write.root() }
    }

    fn enter(&self, at: &At, name: &[u8]) -> At {
        let ByQuestion { exec, read, write } = at;
        At { exec: self.exec.enter(exec, name), read: self.read.enter(read, name), write: self.write.enter(write, name) }
    }
}

// === impl Walk ===

impl Walk<'_> {
    /// Walks from the root for these kinds of grants.
    pub(super) fn run(&mut self, kinds: Kinds) {
        let at = self.shapes.root();
        let typical = self.typical(b"/");
        let listable = self.asker.read(b"/", false).passes;
        self.directory(Here { path: b"/", at, typical, listable }, kinds, !kinds.has(Grant::Names));
    }

    /// Grants what can be granted at and below a directory; returns the kinds that all of it now has.
    ///
    /// `makes_directories`: the workload may make directories here, by a grant above or because nothing forbids it.
    fn directory(&mut self, here: Here<'_>, open: Kinds, makes_directories: bool) -> Kinds {
        let (closed_full, open) = self.alike(&here, open);
        if open.is_empty() {
            return closed_full;
        }
        let makes_directories = makes_directories || closed_full.has(Grant::Names);
        match self.list(&here, open) {
            None => closed_full.with(self.unseen(&here, open)),
            Some(children) => {
                // A block device is not let pass by its directory.
                let flat = !children.iter().any(|c| matches!(c.kind, FileKind::Directory | FileKind::BlockDevice));
                let (plain_full, open) = self.plain(&here, open, flat, makes_directories);
                closed_full.with(plain_full).with(self.children(&here, &children, open, makes_directories))
            }
        }
    }

    fn typical(&self, path: &[u8]) -> ByQuestion<Answer> {
        let probe = join(path, TYPICAL_NAME);
        ByQuestion { exec: self.asker.exec(&probe), read: self.asker.read(&probe, false), write: self.asker.write(&probe, false) }
    }

    /// A child directory under consideration; asks only what may differ from its parent.
    fn enter<'p>(&self, above: &Here<'_>, name: &[u8], path: &'p [u8]) -> Here<'p> {
        let at = self.shapes.enter(&above.at, name);
        let probe = join(path, TYPICAL_NAME);
        let typical = |grant: Grant, ask: &dyn Fn() -> Answer| {
            let same = self.shapes.of(grant).same(above.at.of(grant), at.of(grant), TYPICAL_NAME);
            if same { *above.typical.of(grant) } else { ask() }
        };
        let typical = ByQuestion {
            exec: typical(Grant::Exec, &|| self.asker.exec(&probe)),
            read: typical(Grant::Read, &|| self.asker.read(&probe, false)),
            write: typical(Grant::Write, &|| self.asker.write(&probe, false)),
        };
        let named = self.shapes.read.names(&above.at.read, name);
        let listable = if named { self.asker.read(path, false).passes } else { above.typical.read.passes };
        Here { path, at, typical, listable }
    }

    /// Settles the kinds for which everything below is alike: (granted in full, still open).
    fn alike(&mut self, here: &Here<'_>, open: Kinds) -> (Kinds, Kinds) {
        let (mut full, mut still) = (Kinds::NONE, Kinds::NONE);
        for grant in open.iter() {
            let answer = *here.typical.of(grant);
            let itself = if grant == Grant::List { here.listable } else { answer.passes };
            match (self.reach(here, grant), itself, answer.passes) {
                (Reach::Alike, true, true) => {
                    self.grant(here.path, grant.rights(), answer);
                    full = full.with(Kinds::of(grant));
                }
                (Reach::Alike, false, false) => {
                    if matches!(By::from_code(answer.by), Some(By::Rule(_))) {
                        self.notes.withheld.push((here.path.to_vec(), grant.rights()));
                    }
                }
                (Reach::Alike | Reach::Floating | Reach::Mixed, ..) => still = still.with(Kinds::of(grant)),
            }
        }
        (full, still)
    }

    fn reach(&self, here: &Here<'_>, grant: Grant) -> Reach {
        self.shapes.of(grant).below(here.at.of(grant), here.typical.of(grant).asked_base)
    }

    /// The children, where they can be listed within the bound.
    fn list(&mut self, here: &Here<'_>, open: Kinds) -> Option<Vec<Child>> {
        // Nothing that floats is looked for in sysfs: it holds no programs and no ordinary files.
        if here.path == b"/sys" && open.iter().all(|g| self.reach(here, g) != Reach::Mixed) {
            return None;
        }
        let left = self.options.look_max.saturating_sub(self.notes.looked_at);
        let children = self.view.children(here.path, left)?;
        self.notes.looked_at += children.len();
        Some(children)
    }

    /// What cannot be looked into gets what a new name would get.
    fn unseen(&mut self, here: &Here<'_>, open: Kinds) -> Kinds {
        let mut full = Kinds::NONE;
        for grant in open.iter() {
            let answer = *here.typical.of(grant);
            let passes = answer.passes && (grant != Grant::List || here.listable);
            if passes {
                self.grant(here.path, grant.rights(), answer);
                full = full.with(Kinds::of(grant));
            }
            // Reading what cannot even be listed: where nothing is told apart there, nothing is lost.
            if self.reach(here, grant) != Reach::Alike {
                *self.notes.unseen.entry(here.path.to_vec()).or_default() |= passes;
            }
        }
        full
    }

    /// A directory without `recursive`: its direct children are alike and pass, what lies deeper is something else.
    /// Settled where it has no subdirectories and gets none, or where it was asked to be taken with everything below.
    fn plain(&mut self, here: &Here<'_>, open: Kinds, flat: bool, makes_directories: bool) -> (Kinds, Kinds) {
        let (mut full, mut still) = (Kinds::NONE, open);
        let exact = flat && !makes_directories;
        let widen = !exact && self.options.non_recursive == NonRecursive::Recursive;
        for grant in open.both(Kinds::FILES).iter() {
            let answer = *here.typical.of(grant);
            let passes = match grant {
                Grant::List => here.listable,
                Grant::Exec | Grant::Read | Grant::Write | Grant::Names => answer.passes,
            };
            if !passes || !(exact || widen) || !self.is_plain(here, grant) {
                continue;
            }
            let rights = if exact && grant == Grant::Names { Grant::names_without_directories() } else { grant.rights() };
            self.grant(here.path, rights, answer);
            still = still.without(grant);
            if widen {
                self.notes.widened.insert(here.path.to_vec());
            }
            // Listing what others make below is L5's.
            if exact && grant != Grant::List {
                self.notes.flat.insert(here.path.to_vec());
            }
            if !(exact && grant == Grant::Names) {
                full = full.with(Kinds::of(grant));
            }
        }
        (full, still)
    }

    /// Whether the direct children are alike and what lies deeper is not.
    fn is_plain(&self, here: &Here<'_>, grant: Grant) -> bool {
        let children = self.shapes.of(grant).children(here.at.of(grant), here.typical.of(grant).asked_base);
        children == Reach::Alike && self.reach(here, grant) != Reach::Floating
    }

    /// Grants each child what passes, and the directory what all of it has.
    fn children(&mut self, here: &Here<'_>, children: &[Child], open: Kinds, makes_directories: bool) -> Kinds {
        let mut all = open;
        for child in self.in_order(here, children) {
            let path = join(here.path, &child.name);
            let has = match child.kind {
                FileKind::Directory if path == b"/proc" => self.procfs(&self.enter(here, &child.name, &path), open),
                FileKind::Directory => self.directory(self.enter(here, &child.name, &path), open, makes_directories),
                FileKind::File | FileKind::BlockDevice => self.leaf(here, child, &path, open),
                // A link has no content; what it names is judged by its own path.
                FileKind::Link => open,
            };
            let named = self.shapes.write.names(&here.at.write, &child.name);
            let has = if named && !self.asker.write(&path, false).passes { has.without(Grant::Names) } else { has };
            all = all.both(has);
        }
        let mut full = Kinds::NONE;
        for grant in open.iter() {
            let answer = *here.typical.of(grant);
            let promotable = match grant {
                Grant::List => here.listable,
                Grant::Exec | Grant::Read | Grant::Write | Grant::Names => {
                    answer.passes && self.reach(here, grant) == Reach::Floating
                }
            };
            if promotable && all.has(grant) {
                self.promote(here.path, grant, answer);
                full = full.with(Kinds::of(grant));
                if grant != Grant::List {
                    self.notes.floating.insert(if grant == Grant::Exec { Class::Process } else { Class::File });
                }
            } else {
                self.note_partial(here, grant, promotable);
            }
        }
        full
    }

    fn note_partial(&mut self, here: &Here<'_>, grant: Grant, listable: bool) {
        let path = here.path.to_vec();
        if here.typical.of(grant).passes {
            self.notes.withheld.push((path.clone(), grant.rights()));
        }
        if grant == Grant::List {
            if listable {
                self.notes.unlisted.insert(path);
            }
        } else if here.typical.of(grant).passes {
            let plain = grant != Grant::Exec && self.is_plain(here, grant);
            if plain {
                self.notes.non_recursive.insert(path)
            } else {
                self.notes.later.insert(path)
            };
        }
    }

    /// The order in which to spend the bound on entries: what rules name by its place first, then where programs are.
    fn in_order<'c>(&self, here: &Here<'_>, children: &'c [Child]) -> Vec<&'c Child> {
        let mut out: Vec<&Child> = children.iter().collect();
        out.sort_by_cached_key(|child| {
            let at = self.shapes.enter(&here.at, &child.name);
            let mixed = [Grant::Exec, Grant::Read, Grant::Write].into_iter().any(|grant| {
                let base = here.typical.of(grant).asked_base;
                self.shapes.of(grant).below(at.of(grant), base) == Reach::Mixed
            });
            let path = join(here.path, &child.name);
            let programs = PROGRAM_DIRECTORIES.iter().any(|d| d.as_bytes().starts_with(&path));
            (child.kind == FileKind::Directory, !mixed, !programs)
        });
        out
    }

    /// Grants a file what passes; returns the kinds that it has.
    fn leaf(&mut self, here: &Here<'_>, child: &Child, path: &[u8], open: Kinds) -> Kinds {
        let block = child.kind == FileKind::BlockDevice;
        let named = |grant| self.shapes.of(grant).names(here.at.of(grant), &child.name);
        let named =
            ByQuestion { exec: named(Grant::Exec), read: block || named(Grant::Read), write: block || named(Grant::Write) };
        let mut has = Kinds::NONE;
        for grant in open.iter() {
            let answer = match grant {
                Grant::Exec if named.exec => self.asker.exec(path),
                Grant::Read if named.read => self.asker.read(path, block),
                Grant::Write | Grant::Names if named.write => self.asker.write(path, block),
                Grant::List => Answer { passes: true, by: 0, asked_base: false },
                Grant::Exec | Grant::Read | Grant::Write | Grant::Names => *here.typical.of(grant),
            };
            if answer.passes {
                has = has.with(Kinds::of(grant));
                if !matches!(grant, Grant::List | Grant::Names) {
                    self.grant(path, grant.rights() & Rights::OF_FILES, answer);
                }
            } else if self.asker.names_object(answer) {
                self.notes.blocked.push((path.to_vec(), grant.rights() & Rights::OF_FILES));
            }
        }
        has
    }

    /// procfs: entries of processes come and go, so only the acting process's own can be granted, by the stub.
    fn procfs(&mut self, here: &Here<'_>, open: Kinds) -> Kinds {
        let written = self.written_below(&here.at);
        let mut full = Kinds::NONE;
        let mut apart = Kinds::NONE;
        for grant in open.iter() {
            let passes = |path: &[u8]| match grant {
                Grant::Exec => self.asker.exec(path).passes,
                Grant::Read | Grant::List => self.asker.read(path, false).passes,
                Grant::Write | Grant::Names => self.asker.write(path, false).passes,
            };
            let everywhere = [b"/proc".as_slice(), b"/proc/1", b"/proc/self"].map(|dir| passes(&join(dir, TYPICAL_NAME)));
            match (everywhere, grant == Grant::Exec || !written) {
                ([true, true, true], true) => {
                    self.grant(b"/proc", grant.rights(), *here.typical.of(grant));
                    full = full.with(Kinds::of(grant));
                }
                ([false, false, false], true) => {}
                _ => apart = apart.with(Kinds::of(grant)),
            }
        }
        if !apart.is_empty() {
            self.notes.procfs = true;
            self.own_entries(here, apart);
            if written {
                self.global_entries(here, apart);
            }
        }
        full
    }

    fn written_below(&self, at: &At) -> bool {
        self.shapes.read.written_below(&at.read) || self.shapes.write.written_below(&at.write)
    }

    fn own_entries(&mut self, proc: &Here<'_>, open: Kinds) {
        let own = self.enter(proc, b"self", b"/proc/self");
        if self.written_below(&own.at) {
            self.directory(own, open, false);
            return;
        }
        let typical = own.typical;
        for grant in open.iter().filter(|g| *g != Grant::Names) {
            let answer = *typical.of(grant);
            if answer.passes {
                self.grant(b"/proc/self", grant.rights(), answer);
            }
        }
    }

    fn global_entries(&mut self, proc: &Here<'_>, open: Kinds) {
        let Some(children) = self.list(proc, open) else { return };
        for child in children {
            let name = child.name.as_slice();
            if name.iter().all(u8::is_ascii_digit) || matches!(name, b"self" | b"thread-self") {
                continue;
            }
            let path = join(b"/proc", name);
            match child.kind {
                FileKind::Directory => {
                    self.directory(self.enter(proc, name, &path), open, false);
                }
                FileKind::File | FileKind::BlockDevice => {
                    self.leaf(proc, &child, &path, open);
                }
                FileKind::Link => {}
            }
        }
    }

    fn grant(&mut self, path: &[u8], rights: Rights, answer: Answer) {
        let granted = self.grants.entry(path.to_vec()).or_default();
        granted.rights |= rights;
        granted.by.insert(answer.by);
    }

    /// Grants at a directory and takes the same rights off everything below, which has them now anyway.
    fn promote(&mut self, path: &[u8], grant: Grant, answer: Answer) {
        let prefix = join(path, b"");
        let range = (Bound::Excluded(prefix.clone()), Bound::Unbounded);
        let mut empty = Vec::new();
        for (below, granted) in self.grants.range_mut::<Vec<u8>, _>(range) {
            if !below.starts_with(&prefix) {
                break;
            }
            granted.rights = granted.rights & !grant.rights();
            if granted.rights.is_empty() {
                empty.push(below.clone());
            }
        }
        for path in empty {
            self.grants.remove(&path);
        }
        self.grant(path, grant.rights(), answer);
    }
}

/// A child's path.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory == b"/" { [b"/", name].concat() } else { [directory, b"/", name].concat() }
}
