//! What a kernel is declared to be, and how it differs from that.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::Facts;

/// A file `tests/kernels/KERNEL.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    /// What the release begins with.
    release: String,
    /// The security modules of a guest, in order.
    lsms: Vec<String>,
    /// The preemption model that it boots with.
    preemption: String,
    /// The version of Landlock, as far as Palisade knows versions.
    landlock_abi: u32,
    /// Sections of the optional programs whose hook it lacks.
    missing: BTreeSet<String>,
    /// How many programs load and attach.
    programs: usize,
}

// === impl Declared ===

impl Declared {
    pub(super) fn read(path: &Path) -> Result<Self> {
        super::read_toml(path)
    }

    /// Each difference, in words; more than declared is one as well as less.
    pub(super) fn differences(&self, facts: &Facts) -> Vec<String> {
        let Self { release, lsms, preemption, landlock_abi, missing, programs } = self;
        let mut texts = Vec::new();
        let mut differ = |what: &str, is: String, declared: String| {
            if is != declared {
                texts.push(format!("{what} is {is}, declared {declared}"));
            }
        };
        if !facts.release.starts_with(release.as_str()) {
            differ("release", facts.release.clone(), format!("{release}*"));
        }
        differ("the list of LSMs", facts.lsms.join(","), lsms.join(","));
        differ("the preemption model", facts.preemption.clone(), preemption.clone());
        differ("Landlock's ABI", facts.landlock_abi.to_string(), landlock_abi.to_string());
        differ("the number of programs", facts.programs.len().to_string(), programs.to_string());
        let found: BTreeSet<String> = facts.missing.iter().cloned().collect();
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        differ("the list of hooks that are missing", list(&found), list(missing));
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_facts() -> Facts {
        Facts {
            release: "6.1.0-56".to_owned(),
            lsms: vec!["bpf".to_owned()],
            preemption: "voluntary".to_owned(),
            landlock_abi: 2,
            programs: [("pal_file_open".to_owned(), 100)].into(),
            missing: vec!["lsm/file_truncate".to_owned()],
        }
    }

    fn mk_declared() -> Declared {
        toml::from_str(
            "release = '6.1.'\nlsms = ['bpf']\npreemption = 'voluntary'\nlandlock_abi = 2\nprograms = 1\n\
             missing = ['lsm/file_truncate']\n",
        )
        .unwrap()
    }

    #[test]
    fn a_kernel_as_declared_has_no_differences() {
        assert_eq!(mk_declared().differences(&mk_facts()), Vec::<String>::new());
    }

    #[test]
    fn more_is_a_difference_as_well_as_less() {
        let mut more = mk_facts();
        more.programs.insert("pal_new".to_owned(), 1);
        more.missing.clear();
        assert_eq!(mk_declared().differences(&more).len(), 2);
        let mut less = mk_facts();
        less.landlock_abi = 1;
        less.release = "6.12.1".to_owned();
        assert_eq!(mk_declared().differences(&less).len(), 2);
    }
}
