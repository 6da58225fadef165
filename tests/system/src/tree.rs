//! The file tree of a case as names resolve in it: symbolic links and who may follow them.

use std::collections::BTreeSet;

use palisade_ruleset::{Resolved, Tree};

use crate::corpus::{Case, MountCase, TreeCase};

/// Longest chain of links that the kernel follows (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// Symbolic links of a case, and on which mounts they lie.
#[derive(Debug, Clone)]
pub struct TreeTable {
    tree: TreeCase,
    /// Directories in which a link was made after the workload's first instruction: their ctime is younger.
    young_dirs: BTreeSet<String>,
}

/// How far one walk followed links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Follow,
    Keep,
}

// === impl TreeTable ===

impl TreeTable {
    /// The tree of a case.
    #[must_use]
    pub fn new(case: &Case) -> Self {
        let mut tree = case.tree.clone();
        tree.links.entry("/dev/ptmx".to_owned()).or_insert_with(|| "pts/ptmx".to_owned());
        let young_dirs = tree.late_links.keys().map(|link| parent(link).to_owned()).collect();
        Self { tree, young_dirs }
    }

    /// The path with every link followed, the last component included; `None` for a loop.
    #[must_use]
    pub fn follow(&self, path: &str) -> Option<String> {
        self.walk(path, Last::Follow).map(|(path, _)| path)
    }

    /// The path with the links on the way followed, but not the last component.
    #[must_use]
    pub fn follow_parent(&self, path: &str) -> Option<String> {
        self.walk(path, Last::Keep).map(|(path, _)| path)
    }

    fn walk(&self, path: &str, last: Last) -> Option<(String, bool)> {
        let mut rest: Vec<String> = components(path).rev().map(str::to_owned).collect();
        let mut at = String::new();
        let mut may_follow = true;
        let mut followed = 0_usize;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "." => continue,
                ".." => {
                    at.truncate(at.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = format!("{at}/{name}");
            if next == "/proc" {
                // Procfs is never entered.
                let tail: String = rest.iter().rev().map(|c| format!("/{c}")).collect();
                return Some((format!("{next}{tail}"), may_follow));
            }
            let link = self.link(&next).filter(|_| last == Last::Follow || !rest.is_empty());
            let Some(target) = link else {
                at = next;
                continue;
            };
            followed += 1;
            if followed > LINK_LIMIT {
                return None;
            }
            may_follow &= self.allow_follows(&next);
            if target.starts_with('/') {
                at.clear();
            }
            rest.extend(components(target).rev().map(str::to_owned));
        }
        Some((if at.is_empty() { "/".to_owned() } else { at }, may_follow))
    }

    fn link(&self, path: &str) -> Option<&str> {
        let at = |path: &str| self.tree.late_links.get(path).or_else(|| self.tree.links.get(path)).map(String::as_str);
        at(path).or_else(|| at(&self.source(path)?))
    }

    /// The mount that a path lies on, where it is not the root's.
    fn mount(&self, path: &str) -> Option<&MountCase> {
        self.tree.mounts.iter().filter(|m| below(path, &m.at)).max_by_key(|m| m.at.len())
    }

    /// The same file by its name under the directory that was bound.
    #[must_use]
    pub fn source(&self, path: &str) -> Option<String> {
        let mount = self.mount(path)?;
        Some(format!("{}{}", mount.from.as_ref()?, &path[mount.at.len()..]))
    }

    /// Whether an Allow may follow the link: it lies on the root mount and it and the directories leading to it are
    /// older than the workload, or it lies on a read-only mount.
    fn allow_follows(&self, link: &str) -> bool {
        match self.mount(link) {
            Some(mount) => mount.read_only,
            None => {
                let young = |dir: &String| dir == parent(link) || below(link, dir);
                !self.tree.late_links.contains_key(link) && !self.young_dirs.iter().any(young)
            }
        }
    }
}

impl Tree for TreeTable {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        let text = std::str::from_utf8(path).ok()?;
        let (path, allow_may_follow) = self.walk(text, Last::Follow)?;
        Some(Resolved { path: path.into_bytes(), allow_may_follow })
    }
}

/// The directory of an absolute path.
#[must_use]
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// The last component of a path.
#[must_use]
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a path lies below a directory.
fn below(path: &str, dir: &str) -> bool {
    dir == "/" || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|c| !c.is_empty())
}
