//! Following symbolic links, over any tree; and a tree that is a table of them.

use std::collections::BTreeMap;

use anyhow::bail;
use palisade_ruleset::{Resolved, Tree};

/// What is at a path none of whose directories is a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing.
    Missing,
    /// A symbolic link to this text.
    Link(Vec<u8>),
    /// Anything else.
    There,
    /// It cannot be said.
    Unknown,
}

/// Links followed at most, as by the kernel.
const LINKS_MAX: usize = 40;

/// Follows every link of an absolute path, the last component included, never above the root. Where something is missing
/// the rest is appended; procfs is not entered. `None` where it cannot be said.
pub(crate) fn follow(path: &[u8], node: impl Fn(&[u8]) -> Node) -> Option<Vec<u8>> {
    let mut done: Vec<u8> = Vec::new();
    let mut rest: Vec<Vec<u8>> = components(path);
    rest.reverse();
    let mut links = 0;
    let mut looking = true;
    while let Some(component) = rest.pop() {
        if component == b".." {
            let parent = done.iter().rposition(|b| *b == b'/').unwrap_or(0);
            done.truncate(parent);
            continue;
        }
        let before = done.len();
        done.push(b'/');
        done.extend_from_slice(&component);
        if done == b"/proc" {
            looking = false;
        }
        if !looking {
            continue;
        }
        match node(&done) {
            Node::There => {}
            Node::Missing => looking = false,
            Node::Unknown => return None,
            Node::Link(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                done.truncate(if target.starts_with(b"/") { 0 } else { before });
                rest.extend(components(&target).into_iter().rev());
            }
        }
    }
    if done.is_empty() {
        done.push(b'/');
    }
    Some(done)
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).collect()
}

/// A tree in which everything exists, with these links.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkTable(BTreeMap<Vec<u8>, Vec<u8>>);

// === impl LinkTable ===

impl LinkTable {
    /// Links by their places.
    ///
    /// # Errors
    /// A place that is not absolute, or that lies behind another link.
    pub(crate) fn new(links: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let table = Self(links.iter().map(|(at, to)| (at.as_bytes().to_vec(), to.as_bytes().to_vec())).collect());
        for at in links.keys() {
            let parent = at.rfind('/').map_or("", |slash| &at[..slash]);
            if !at.starts_with('/') || at.ends_with('/') {
                bail!("the place of a link is an absolute path without a `/` at its end");
            }
            if !parent.is_empty() && table.resolve(parent.as_bytes()).is_none_or(|r| r.path != parent.as_bytes()) {
                bail!("{at} lies behind another link: give its place after following that");
            }
        }
        Ok(table)
    }
}

impl Tree for LinkTable {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        let node = |at: &[u8]| self.0.get(at).map_or(Node::There, |target| Node::Link(target.clone()));
        follow(path, node).map(|path| Resolved { path, allow_may_follow: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_table(links: &[(&str, &str)]) -> LinkTable {
        LinkTable::new(&links.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()).unwrap()
    }

    fn resolved(table: &LinkTable, path: &str) -> Option<String> {
        table.resolve(path.as_bytes()).map(|r| String::from_utf8(r.path).unwrap())
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let table = mk_table(&[("/bin", "usr/bin"), ("/usr/bin/sh", "dash"), ("/up", "../../etc"), ("/abs", "/usr/bin/sh")]);
        assert_eq!(resolved(&table, "/bin/sh").as_deref(), Some("/usr/bin/dash"));
        assert_eq!(resolved(&table, "/up/passwd").as_deref(), Some("/etc/passwd"));
        assert_eq!(resolved(&table, "/abs").as_deref(), Some("/usr/bin/dash"));
        assert_eq!(resolved(&table, "/").as_deref(), Some("/"));
    }

    #[test]
    fn a_loop_is_not_followed_for_ever() {
        assert_eq!(resolved(&mk_table(&[("/a", "b"), ("/b", "a")]), "/a/x"), None);
    }

    #[test]
    fn procfs_is_not_entered() {
        let table = mk_table(&[("/etc/mtab", "/proc/self/mounts"), ("/proc/self", "1")]);
        assert_eq!(resolved(&table, "/proc/self/maps").as_deref(), Some("/proc/self/maps"));
        assert_eq!(resolved(&table, "/etc/mtab").as_deref(), Some("/proc/self/mounts"));
    }

    #[test]
    fn a_link_behind_a_link_is_refused() {
        let links = [("/bin", "usr/bin"), ("/bin/sh", "dash")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert!(LinkTable::new(&links.into_iter().collect()).is_err());
    }
}
