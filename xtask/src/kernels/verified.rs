//! The instructions that verifying each program takes, by kernel and compiler: they are bounded by the kernel, and a
//! rise goes unnoticed until a program is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Facts;

/// The greatest rise that passes, in percent.
const RISE_PERCENT: u64 = 20;

/// `tests/kernels/verified.toml`: kernel, compiler, program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Verified(BTreeMap<String, BTreeMap<String, BTreeMap<String, u32>>>);

// === impl Verified ===

impl Verified {
    pub(super) fn read(path: &Path) -> Result<Self> {
        super::read_toml(path)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let head = "# Instructions verified, by kernel, compiler and program. Written by `cargo xtask test-kernels --bless`.\n\n";
        let text = toml::to_string(self).context("write TOML")?;
        fs::write(path, format!("{head}{text}")).with_context(|| format!("write {}", path.display()))
    }

    /// Records what was found.
    pub(super) fn take(&mut self, kernel: &str, compiler: &str, facts: &Facts) {
        let Self(kernels) = self;
        kernels.entry(kernel.to_owned()).or_default().insert(compiler.to_owned(), facts.programs.clone());
    }

    /// What rose too far, and what was never recorded or is recorded and gone.
    pub(super) fn differences(&self, kernel: &str, compiler: &str, facts: &Facts) -> Vec<String> {
        let Self(kernels) = self;
        let none = BTreeMap::new();
        let recorded = kernels.get(kernel).and_then(|compilers| compilers.get(compiler)).unwrap_or(&none);
        let mut texts = Vec::new();
        for (program, now) in &facts.programs {
            match recorded.get(program) {
                Some(before) if u64::from(*now) * 100 > u64::from(*before) * (100 + RISE_PERCENT) => {
                    texts.push(format!("{compiler}: verifying {program} took {before} instructions and takes {now}"));
                }
                Some(_) => {}
                None => texts.push(format!("{compiler}: {program} is not in verified.toml (--bless)")),
            }
        }
        let gone = recorded.keys().filter(|program| !facts.programs.contains_key(*program));
        texts.extend(gone.map(|program| format!("{compiler}: {program} of verified.toml does not load (--bless)")));
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_facts(programs: &[(&str, u32)]) -> Facts {
        Facts {
            release: String::new(),
            lsms: Vec::new(),
            preemption: String::new(),
            landlock_abi: 0,
            programs: programs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            missing: Vec::new(),
        }
    }

    #[test]
    fn a_rise_of_more_than_a_fifth_is_told() {
        let mut verified = Verified::default();
        verified.take("6.1", "clang-14", &mk_facts(&[("a", 100), ("b", 100), ("c", 100)]));
        let told = verified.differences("6.1", "clang-14", &mk_facts(&[("a", 120), ("b", 121), ("d", 5)]));
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("b took 100") && told[1].contains("d is not in") && told[2].contains("c of"), "{told:?}");
        assert_eq!(verified.differences("6.12", "clang-14", &mk_facts(&[("a", 1)])).len(), 1);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut verified = Verified::default();
        verified.take("6.1", "clang-14", &mk_facts(&[("a", 100)]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verified.toml");
        verified.write(&path).unwrap();
        assert_eq!(Verified::read(&path).unwrap(), verified);
    }
}
