//! Symbolic links of a workload's tree, and their resolution (meaning 3.5).

use std::collections::BTreeMap;

use palisade_ruleset::{Resolved, Tree};

/// The most links on one way, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// All symbolic links of a tree, by their path. What is not a link is a file or directory, or not there; resolution does
/// not need to know which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The links; each key is an absolute path without `.`, `..`, `//` or a trailing `/`.
    pub by_path: BTreeMap<Vec<u8>, Link>,
}

/// One symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its text: absolute (from the workload's root) or relative to its directory.
    pub target: Vec<u8>,
    /// Whether an Allow may follow it: it is older than the workload, or on a mount that the workload cannot write.
    pub allow_may_follow: bool,
}

// === impl Links ===

impl Links {
    /// Adds a link that an Allow may follow.
    #[must_use]
    pub fn with(self, path: &str, target: &str) -> Self {
        self.with_link(path, target, true)
    }

    /// Adds a link that the workload could have made itself.
    #[must_use]
    pub fn with_young(self, path: &str, target: &str) -> Self {
        self.with_link(path, target, false)
    }

    fn with_link(mut self, path: &str, target: &str, allow_may_follow: bool) -> Self {
        self.by_path.insert(path.into(), Link { target: target.into(), allow_may_follow });
        self
    }

    /// Walks the path component by component. `..` goes up and stays at the root; a link starts over at its target.
    fn walk(&self, path: &[u8]) -> Option<Resolved> {
        let mut to_do: Vec<Vec<u8>> = components(path);
        let mut current: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut allow_may_follow = true;
        while let Some(component) = to_do.pop() {
            if component == b".." {
                current.pop();
                continue;
            }
            current.push(component);
            if current == [b"proc"] {
                // Procfs is never entered: the path is taken as it was written.
                return Some(Resolved { path: path.to_vec(), allow_may_follow: true });
            }
            let Some(link) = self.by_path.get(&join(&current)) else { continue };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            allow_may_follow &= link.allow_may_follow;
            current.pop();
            if link.target.first() == Some(&b'/') {
                current.clear();
            }
            to_do.extend(components(&link.target));
        }
        Some(Resolved { path: join(&current), allow_may_follow })
    }
}

impl Tree for Links {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        self.walk(path)
    }
}

/// The components of a path, last first; without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).collect()
}

fn join(components: &[Vec<u8>]) -> Vec<u8> {
    if components.is_empty() {
        return b"/".to_vec();
    }
    components.iter().flat_map(|c| [b"/".as_slice(), c]).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use palisade_ruleset::Tree;

    use super::Links;

    fn resolve(links: &Links, path: &str) -> Option<(String, bool)> {
        links.resolve(path.as_bytes()).map(|r| (String::from_utf8(r.path).unwrap(), r.allow_may_follow))
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let links = Links::default()
            .with("/bin", "usr/bin")
            .with("/usr/bin/sh", "dash")
            .with("/var/run", "../../../run")
            .with_young("/tmp/l", "/bin/sh")
            .with("/loop", "/loop")
            .with("/top", "/");
        let yes = |p: &str| Some((p.to_owned(), true));
        assert_eq!(resolve(&links, "/bin/sh"), yes("/usr/bin/dash"));
        assert_eq!(resolve(&links, "/var/run/x/y"), yes("/run/x/y"));
        assert_eq!(resolve(&links, "/tmp/l"), Some(("/usr/bin/dash".to_owned(), false)));
        assert_eq!(resolve(&links, "/loop/x"), None);
        assert_eq!(resolve(&links, "/top"), yes("/"));
        assert_eq!(resolve(&links, "/proc/self/x"), yes("/proc/self/x"));
        assert_eq!(resolve(&links, "/no/link"), yes("/no/link"));
    }
}
