//! What is measured: the steps that the guest takes, in order, and the files that they need.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::rules::{Mix, Rules};
use crate::vm::PayloadFile;

/// Rule counts of the whole benchmark.
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Rule counts of the quick one.
const QUICK_COUNTS: [usize; 2] = [10, 1_000];
/// Rules of the kinds of policies that are measured at one size only.
const ONE_COUNT: usize = 1_000;
/// Operations of the quick benchmark, as `tests/bench/bench.c` names them; none stands for all.
const QUICK_OPERATIONS: &[&str] =
    &["calibrate", "open-20", "open-60", "open-196", "open-deep", "rename", "rename-dir", "rename-open", "denied"];
/// What AppArmor's parser is given for a profile, in seconds of processor time: thousands of millions of instructions.
const PARSER_SECONDS: u32 = 40;
/// AppArmor's rule counts: at 10,000 its parser takes minutes on real hardware.
const APPARMOR_COUNTS: [usize; 3] = [10, 100, 1_000];

/// The name of the file with the steps, in the guest's `/payload`.
pub(super) const PLAN_FILE: &str = "plan";
const HOLD_POLICY: &str = "hold.yaml";
/// Keeps the programs attached and meets nothing.
const HOLD_RULES: &str = "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata: {name: hold, namespace: default}
spec:
  selector: {matchLabels: {app: hold}}
  action: Block
  file:
    matchPaths:
    - path: /srv/nothing
";

/// One thing whose cost is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configuration {
    /// No Palisade.
    None,
    /// No Palisade, from here on with an inotify watch on the file system: what everything outside of workloads is
    /// compared with, since systemd has one on every machine. A run has its own, to see links that appear.
    Watched,
    /// No Palisade, once more at the end: by how much two equal measurements differ.
    NoneAgain,
    /// No Palisade, in a cgroup of its own: what workloads are compared with, since they have one anyway.
    NoneInCgroup,
    /// The programs are attached, the task belongs to no workload.
    Unlabelled,
    /// Under `palisade run`.
    Palisade(Mix, usize),
    /// The same without the base set, which holds globs of its own.
    NoBase(Mix, usize),
    /// The same without the cache of directories: every open walks its whole path.
    WholePath(Mix, usize),
    /// Under an AppArmor profile with the same rules.
    AppArmor(Mix, usize),
}

/// The steps and the operations to measure in each.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) configurations: Vec<Configuration>,
    /// Operations to measure, all if empty.
    pub(super) operations: &'static [&'static str],
}

// === impl Configuration ===

impl Configuration {
    /// Its name in what the guest reports.
    pub(super) fn key(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Watched => "watched".to_owned(),
            Self::NoneAgain => "none-again".to_owned(),
            Self::NoneInCgroup => "none-in-cgroup".to_owned(),
            Self::Unlabelled => "unlabelled".to_owned(),
            Self::Palisade(mix, count) => policy_name(mix, count),
            Self::NoBase(mix, count) => format!("no-base-{}", policy_name(mix, count)),
            Self::WholePath(mix, count) => format!("whole-path-{}", policy_name(mix, count)),
            Self::AppArmor(mix, count) => format!("apparmor-{}", policy_name(mix, count)),
        }
    }

    /// Its name for people.
    pub(super) fn title(self) -> String {
        match self {
            Self::None => "no Palisade (absolute)".to_owned(),
            Self::Watched => "no Palisade, an inotify watch on the file system".to_owned(),
            Self::NoneAgain => "no Palisade, measured again".to_owned(),
            Self::NoneInCgroup => "no Palisade, in a cgroup".to_owned(),
            Self::Unlabelled => "attached, task of no workload".to_owned(),
            Self::Palisade(mix, count) => format!("{} rules, {}", grouped(count), mix_words(mix)),
            Self::NoBase(mix, count) => format!("{} rules, {}, no base set", grouped(count), mix_words(mix)),
            Self::WholePath(mix, count) => format!("{} rules, {}, whole paths", grouped(count), mix_words(mix)),
            Self::AppArmor(mix, count) => format!("AppArmor, {} rules, {}", grouped(count), mix_words(mix)),
        }
    }

    /// What it is compared with.
    pub(super) fn baseline(self) -> Self {
        match self {
            Self::Palisade(..) | Self::NoBase(..) | Self::WholePath(..) => Self::NoneInCgroup,
            Self::NoneAgain | Self::NoneInCgroup | Self::Unlabelled | Self::AppArmor(..) => Self::Watched,
            Self::None | Self::Watched => Self::None,
        }
    }

    fn steps(self) -> Vec<String> {
        let key = self.key();
        match self {
            Self::None => vec![format!("bare {key}")],
            Self::Watched => vec!["watch".to_owned(), format!("bare {key}")],
            Self::NoneInCgroup => vec![format!("in-cgroup {key}")],
            Self::NoneAgain => vec!["drop".to_owned(), format!("bare {key}")],
            Self::Unlabelled => vec![format!("hold {HOLD_POLICY}"), format!("bare {key}")],
            Self::Palisade(mix, count) => vec![format!("palisade {key} {}", policy_file(mix, count))],
            Self::NoBase(mix, count) => vec![format!("palisade {key} {} --no-base", policy_file(mix, count))],
            Self::WholePath(mix, count) => vec![format!("palisade {key} {} --no-fast-path", policy_file(mix, count))],
            Self::AppArmor(mix, count) => {
                vec![format!("apparmor {key} {} {PARSER_SECONDS}", profile_file(mix, count))]
            }
        }
    }
}

fn mix_words(mix: Mix) -> &'static str {
    match mix {
        Mix::Literal => "literal",
        Mix::Globs => "10 % globs",
        Mix::GlobsMeet => "10 % globs, one meets",
        Mix::Blocks => "none meets",
    }
}

pub(super) fn policy_name(mix: Mix, count: usize) -> String {
    let mix = match mix {
        Mix::Literal => "literal",
        Mix::Globs => "globs",
        Mix::GlobsMeet => "globs-meet",
        Mix::Blocks => "blocks",
    };
    format!("{mix}-{count}")
}

fn policy_file(mix: Mix, count: usize) -> String {
    format!("{}.yaml", policy_name(mix, count))
}

fn profile_file(mix: Mix, count: usize) -> String {
    format!("{}.profile", policy_name(mix, count))
}

/// `10,000`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

// === impl Plan ===

impl Plan {
    /// All of it. What is surest to be done in time comes first.
    pub(super) fn whole() -> Self {
        let mut configurations = vec![Configuration::None, Configuration::Watched, Configuration::NoneInCgroup];
        configurations.extend(APPARMOR_COUNTS.map(|count| Configuration::AppArmor(Mix::Literal, count)));
        configurations.push(Configuration::AppArmor(Mix::Globs, 100));
        configurations.push(Configuration::Unlabelled);
        configurations.extend(COUNTS.map(|count| Configuration::Palisade(Mix::Literal, count)));
        configurations.push(Configuration::NoBase(Mix::Literal, ONE_COUNT));
        configurations.extend(COUNTS.map(|count| Configuration::Palisade(Mix::Globs, count)));
        configurations.push(Configuration::Palisade(Mix::GlobsMeet, ONE_COUNT));
        configurations.extend(COUNTS.map(|count| Configuration::WholePath(Mix::Literal, count)));
        configurations.push(Configuration::WholePath(Mix::Blocks, ONE_COUNT));
        configurations.extend(COUNTS.map(|count| Configuration::WholePath(Mix::Globs, count)));
        configurations.push(Configuration::WholePath(Mix::GlobsMeet, ONE_COUNT));
        configurations.push(Configuration::NoneAgain);
        Self { configurations, operations: &[] }
    }

    /// Opens and renames alone, for use while working.
    pub(super) fn quick() -> Self {
        let mut configurations =
            vec![Configuration::None, Configuration::Watched, Configuration::NoneInCgroup, Configuration::Unlabelled];
        configurations.extend(QUICK_COUNTS.map(|count| Configuration::Palisade(Mix::Literal, count)));
        configurations.push(Configuration::Palisade(Mix::Globs, ONE_COUNT));
        configurations.push(Configuration::WholePath(Mix::Literal, ONE_COUNT));
        configurations.push(Configuration::WholePath(Mix::Globs, ONE_COUNT));
        Self { configurations, operations: QUICK_OPERATIONS }
    }

    /// Writes the plan and its policies and profiles into a directory; they are the payload.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(&self, into: &Path) -> Result<Vec<PayloadFile>> {
        let mut files = vec![(HOLD_POLICY.to_owned(), HOLD_RULES.to_owned())];
        for configuration in &self.configurations {
            match *configuration {
                Configuration::Palisade(mix, count)
                | Configuration::NoBase(mix, count)
                | Configuration::WholePath(mix, count) => {
                    files.push((policy_file(mix, count), Rules::new(count, mix).policy()));
                }
                Configuration::AppArmor(mix, count) => {
                    files.push((profile_file(mix, count), Rules::new(count, mix).profile()));
                }
                Configuration::None
                | Configuration::Watched
                | Configuration::NoneAgain
                | Configuration::NoneInCgroup
                | Configuration::Unlabelled => {}
            }
        }
        let steps: Vec<String> = self.configurations.iter().flat_map(|configuration| configuration.steps()).collect();
        files.push((PLAN_FILE.to_owned(), format!("{}\n", steps.join("\n"))));
        files.sort();
        files.dedup();
        let mut payload = Vec::new();
        for (name, text) in files {
            let path = into.join(&name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            payload.push(PayloadFile::new(path, name)?);
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_configurations_share_a_name() {
        let keys: Vec<String> = Plan::whole().configurations.iter().map(|configuration| configuration.key()).collect();
        let mut unique = keys.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), keys.len());
    }

    #[test]
    fn the_guest_knows_every_step() {
        let script = fs::read_to_string(crate::workspace_root().join("tests/bench/guest.sh")).unwrap();
        for plan in [Plan::whole(), Plan::quick()] {
            for step in plan.configurations.iter().flat_map(|configuration| configuration.steps()) {
                let verb = step.split(' ').next().unwrap();
                assert!(script.contains(&format!("\n    {verb}) ")) || script.contains(&format!("\n    {verb})\n")), "{verb}");
            }
        }
    }

    #[test]
    fn every_file_that_a_step_names_is_written() {
        let dir = tempfile::tempdir().unwrap();
        Plan::whole().write(dir.path()).unwrap();
        let steps = fs::read_to_string(dir.path().join(PLAN_FILE)).unwrap();
        for name in steps.split_whitespace().filter(|word| word.ends_with(".yaml") || word.ends_with(".profile")) {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
