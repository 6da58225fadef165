//! From files to rules.
//!
//! In this order, each on what the one before left over:
//! 1. entries of procfs by the number of a process: a pattern;
//! 2. names that the run made and that another run makes otherwise: a pattern, and everything below a directory so made;
//! 3. several files in one directory: the directory, read-only if most were only read; what differs is named besides;
//! 4. several such directories below one: that one, with everything below;
//! 5. the rest by path.

use std::collections::{BTreeMap, BTreeSet};

use crate::Directories;
use crate::accesses::{FileSeen, Use};
use crate::names::{
    escaped, is_never_whole, is_secret, is_secret_directory, numbers_open, passing_pattern, process_pattern, temporary_pattern,
};

/// Files of one directory from which the directory is named instead.
pub const FILES: usize = 3;
/// Directories below one from which that one is named with all below it.
pub const DIRECTORIES: usize = 3;
/// Names looked at before a directory with all below it is opened; more are not, for secrets could be among them.
pub const LOOKED_AT: usize = 50_000;

/// How a rule names files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    Directory { recursive: bool },
    Path,
    Pattern,
}

/// A rule over files. Its text is a path, a directory with its final `/`, or a glob.
#[derive(Clone, Debug)]
pub(crate) struct FileRule {
    pub(crate) shape: Shape,
    pub(crate) text: Vec<u8>,
    pub(crate) read_only: bool,
    pub(crate) of: Use,
    /// Files that it stands for.
    pub(crate) files: usize,
}

/// What one directory holds of what was observed.
#[derive(Default)]
struct Directory {
    read: Vec<Vec<u8>>,
    written: Vec<Vec<u8>>,
}

/// Rules that allow these files, in order of shape and text, each once.
pub(crate) fn rules(seen: &BTreeMap<Vec<u8>, FileSeen>, tree: &dyn Directories) -> Vec<FileRule> {
    let mut left = seen.clone();
    let mut out = BTreeMap::new();
    take_patterns(&mut left, &mut out);
    take_directories(&mut left, seen, tree, &mut out);
    for (path, file) in left {
        add(&mut out, Shape::Path, path, &file);
    }
    out.into_values().collect()
}

type Rules = BTreeMap<(Shape, Vec<u8>), FileRule>;

fn add(out: &mut Rules, shape: Shape, text: Vec<u8>, file: &FileSeen) {
    let new = || FileRule { shape, text: text.clone(), read_only: true, of: Use::default(), files: 0 };
    let rule = out.entry((shape, text.clone())).or_insert_with(new);
    rule.read_only &= !file.written;
    rule.of.add(&file.of);
    rule.files += 1;
}

// === patterns ===

fn take_patterns(left: &mut BTreeMap<Vec<u8>, FileSeen>, out: &mut Rules) {
    // Directories that the run made under names of its own: all below them goes by their pattern.
    let made: BTreeMap<Vec<u8>, Vec<u8>> = left
        .iter()
        .filter(|(_, file)| file.creates)
        .filter_map(|(path, file)| Some((path.clone(), pattern_of(path, file)?)))
        .collect();
    let kinds = kinds(left);
    let mut named = BTreeMap::new();
    for path in left.keys() {
        let below = ancestors(path).find_map(|above| made.get(above));
        let pattern = match (process_pattern(path), below) {
            (Some(pattern), _) => Some(pattern),
            (None, Some(above)) => Some([above.as_slice(), b"/**"].concat()),
            (None, None) => made.get(path).cloned().or_else(|| kind_of(path).filter(|kind| kinds.contains(kind))),
        };
        if let Some(pattern) = pattern {
            named.insert(path.clone(), pattern);
        }
    }
    for (path, pattern) in named {
        if let Some(file) = left.remove(&path) {
            add(out, Shape::Pattern, pattern, &file);
        }
    }
}

/// Patterns that two names or more, made by the run in one directory, have in common but for their numbers.
fn kinds(left: &BTreeMap<Vec<u8>, FileSeen>) -> BTreeSet<Vec<u8>> {
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (path, _) in left.iter().filter(|(_, file)| file.creates) {
        if let Some(kind) = kind_of(path) {
            *counts.entry(kind).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(kind, _)| kind).collect()
}

fn kind_of(path: &[u8]) -> Option<Vec<u8>> {
    in_directory(path, numbers_open(split(path).1)?)
}

fn pattern_of(path: &[u8], file: &FileSeen) -> Option<Vec<u8>> {
    let (directory, name) = split(path);
    let temporary = temporary_pattern(name);
    let open = temporary.is_some() || file.removes;
    temporary
        .and_then(|pattern| in_directory(path, pattern))
        .or_else(|| in_directory(path, passing_pattern(directory, name).filter(|_| open)?))
}

fn in_directory(path: &[u8], name: Vec<u8>) -> Option<Vec<u8>> {
    let directory = split(path).0;
    // A name that is nothing but a wildcard would be the directory as a whole.
    let whole = name.iter().all(|b| *b == b'*') && is_never_whole(directory);
    (!whole).then(|| [escaped(directory).as_slice(), b"/", name.as_slice()].concat())
}

// === directories ===

fn take_directories(
    left: &mut BTreeMap<Vec<u8>, FileSeen>,
    seen: &BTreeMap<Vec<u8>, FileSeen>,
    tree: &dyn Directories,
    out: &mut Rules,
) {
    let mut all: BTreeMap<Vec<u8>, Directory> = BTreeMap::new();
    for (path, file) in left.iter().filter(|(path, _)| !is_secret(path)) {
        let directory = all.entry(split(path).0.to_vec()).or_default();
        if file.written { &mut directory.written } else { &mut directory.read }.push(path.clone());
    }
    let trees = whole_trees(&all, seen, tree);
    for root in &trees {
        take_below(root, left, out);
    }
    for (path, Directory { read, written }) in all {
        let enough = read.len() >= FILES || written.len() >= FILES;
        if !enough || ancestors_and_self(&path).any(|above| trees.contains(above)) || !may_open(&path, seen, tree, false) {
            continue;
        }
        // Files that were only read keep their own, better ranked, rules where the directory may be written, and those
        // that were written where it may not.
        let write = written.len() >= FILES;
        let text = [path.as_slice(), b"/"].concat();
        for file in if write { written } else { read } {
            if let Some(seen) = left.remove(&file) {
                add(out, Shape::Directory { recursive: false }, text.clone(), &seen);
            }
        }
        take_itself(&path, &text, false, left, out);
    }
}

/// Directories to be opened, read-only, with all below them: the outermost that may be.
fn whole_trees(
    all: &BTreeMap<Vec<u8>, Directory>,
    seen: &BTreeMap<Vec<u8>, FileSeen>,
    tree: &dyn Directories,
) -> BTreeSet<Vec<u8>> {
    // Per directory: those right below it with files, anywhere below them, that were only read.
    let mut branches: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (path, _) in all.iter().filter(|(_, directory)| !directory.read.is_empty()) {
        let chain: Vec<&[u8]> = ancestors_and_self(path).collect();
        for pair in chain.windows(2) {
            branches.entry(pair[1].to_vec()).or_default().insert(pair[0].to_vec());
        }
    }
    let mut trees: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, below) in branches {
        // In order of paths, so what lies above came first.
        let covered = ancestors(&path).any(|above| trees.contains(above));
        if !covered && below.len() >= DIRECTORIES && may_open(&path, seen, tree, true) {
            trees.insert(path);
        }
    }
    trees
}

fn take_below(root: &[u8], left: &mut BTreeMap<Vec<u8>, FileSeen>, out: &mut Rules) {
    let text = [root, b"/"].concat();
    let read: Vec<Vec<u8>> =
        left.iter().filter(|(path, file)| path.starts_with(&text) && !file.written).map(|(path, _)| path.clone()).collect();
    for path in read {
        if let Some(seen) = left.remove(&path) {
            add(out, Shape::Directory { recursive: true }, text.clone(), &seen);
        }
    }
    take_itself(root, &text, true, left, out);
}

/// A rule for a directory means the directory itself as well.
fn take_itself(path: &[u8], text: &[u8], recursive: bool, left: &mut BTreeMap<Vec<u8>, FileSeen>, out: &mut Rules) {
    if left.get(path).is_some_and(|file| !file.written)
        && let Some(seen) = left.remove(path)
    {
        add(out, Shape::Directory { recursive }, text.to_vec(), &seen);
    }
}

/// Whether a directory may be opened as a whole: it is none of those that never are, and holds no secret that was not
/// itself opened.
fn may_open(directory: &[u8], seen: &BTreeMap<Vec<u8>, FileSeen>, tree: &dyn Directories, below: bool) -> bool {
    if is_never_whole(directory) || directory.split(|b| *b == b'/').any(is_secret_directory) {
        return false;
    }
    let mut looked_at = 0;
    let mut open = vec![directory.to_vec()];
    while let Some(path) = open.pop() {
        let Some(names) = tree.names(&path) else { return false };
        for (name, is_directory) in names {
            looked_at += 1;
            let path = [path.as_slice(), b"/", name.as_slice()].concat();
            let secret = if is_directory { is_secret_directory(&name) } else { is_secret(&path) };
            if looked_at > LOOKED_AT || (secret && (below || !is_directory) && !seen.contains_key(&path)) {
                return false;
            }
            if is_directory && below {
                open.push(path);
            }
        }
    }
    true
}

// === paths ===

/// The directory of a path, without a final `/` (empty for `/`), and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The directories above a path, nearest first, without the root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(split(path).0), |above| Some(split(above).0)).take_while(|above| !above.is_empty())
}

fn ancestors_and_self(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(path).chain(ancestors(path))
}
