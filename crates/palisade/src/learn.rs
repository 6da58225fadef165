//! `palisade run --learn`: what a run was seen to do, as a policy on disk.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use palisade_agent::learn::{Observer, RealDirectories, Watcher, chosen_ports, launcher};
use palisade_agent::run::{Refused, Started};
use palisade_agent::tree::RootTree;
use palisade_discovery::{Context, Measures, suggest};
use palisade_event::Record;
use palisade_ruleset::Workload;

use crate::out::print_error;
use crate::policy::input::TEST_ENDING;
use crate::text;

/// How often progress is told where standard error is no terminal.
const PROGRESS: Duration = Duration::from_secs(10);

/// A run that is being learned from.
pub(crate) struct Learning {
    pub(crate) observer: Observer,
    policy: PathBuf,
    tests: Option<PathBuf>,
    begun: Instant,
    told: Instant,
}

/// Whose policy it will be.
pub(crate) struct Whose {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) command: String,
    pub(crate) watcher: Watcher,
    /// Whether rules of programs name who executes them.
    pub(crate) sources: bool,
}

// === impl Learning ===

impl Learning {
    /// Checks, before anything runs, that what comes of it can be kept.
    ///
    /// # Errors
    /// A file that is there already, without `force`; one that cannot be written.
    pub(crate) fn begin(policy: &Path, tests: bool, force: bool) -> anyhow::Result<Self> {
        let tests = tests.then(|| test_path(policy));
        for path in std::iter::once(policy).chain(tests.as_deref()) {
            if !force && path.symlink_metadata().is_ok() {
                bail!("{} is there already; --force overwrites it", path.display());
            }
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !directory.is_dir() {
                bail!("cannot write {}: {} is no directory", path.display(), directory.display());
            }
        }
        let now = Instant::now();
        Ok(Self { observer: Observer::default(), policy: policy.to_owned(), tests, begun: now, told: now })
    }

    /// Notes what was lost, and tells it.
    pub(crate) fn record(&self, record: &Record) -> io::Result<()> {
        match record {
            Record::Loss(loss) => {
                self.observer.collector().lost(loss.count);
                print_error(&format!("palisade: {}\n", text::red(&loss.text())))
            }
            Record::Message(message) => print_error(&format!("palisade: {}\n", text::lines(&message.text))),
            Record::Event(_) => Ok(()), // this run's go to the observer
        }
    }

    /// Says how far it is, now and then.
    pub(crate) fn tick(&mut self) -> io::Result<()> {
        if self.told.elapsed() < PROGRESS {
            return Ok(());
        }
        self.told = Instant::now();
        let (total, distinct, missing) = {
            let collector = self.observer.collector();
            (collector.total(), collector.distinct(), collector.missing() + collector.beyond())
        };
        let lost = if missing > 0 { format!(", {missing} lost") } else { String::new() };
        print_error(&format!("palisade: learning: {total} accesses, {distinct} different{lost}\n"))
    }

    /// Writes the policy, and its tests where they were asked for.
    ///
    /// # Errors
    /// What cannot be written.
    pub(crate) fn finish(self, whose: Whose, mut workload: Workload, quiet: bool) -> anyhow::Result<()> {
        let Self { observer, policy, tests, begun, told: _ } = self;
        let Whose { name, namespace, labels, command, watcher, sources } = whose;
        workload.mode = palisade_ruleset::Mode::Enforce;
        let tree = RootTree::open("/".as_ref(), std::time::SystemTime::now()).context("open /")?;
        let context = Context {
            name: resource_name(&name),
            namespace,
            labels,
            command,
            watched_by: watcher.name().to_owned(),
            unseen: watcher.unseen().iter().map(|what| (*what).to_owned()).collect(),
            sources,
            capabilities_seen: watcher.sees_capabilities(),
            watched_for: begun.elapsed(),
            launcher: launcher(),
            workload: &workload,
            tree: &tree,
            directories: &RealDirectories,
            chosen_ports: chosen_ports(),
        };
        let suggestion = suggest(&observer.collector(), &context);
        write(&policy, &suggestion.policy)?;
        if let Some(path) = &tests {
            let beside = policy.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            write(path, &suggestion.test_file(&beside))?;
        }
        if !quiet {
            print_error(&summary(&suggestion.measures, &policy, tests.as_deref()))?;
            if watcher != Watcher::Lsm && suggestion.policy.contains("fromSource:") {
                print_error(
                    "palisade: Landlock allows nothing by a rule with fromSource; --no-sources writes a policy for it\n",
                )?;
            }
        }
        Ok(())
    }
}

/// How the run is watched: told before it begins.
pub(crate) fn started_text(started: &Started) -> String {
    let Some(watcher) = started.watcher else { return String::new() };
    let because: String = started.refused.iter().map(|Refused { backend, reason }| format!("; {backend}: {reason}")).collect();
    let mut out = format!("palisade: learning with {}, nothing is denied{}\n", text::bold(watcher.name()), text::lines(&because));
    for what in watcher.unseen() {
        out.push_str(&format!("palisade: {} {what}\n", text::yellow("not seen:")));
    }
    out
}

fn summary(measures: &Measures, policy: &Path, tests: Option<&Path>) -> String {
    let Measures { accesses, distinct, base_set: _, lost, beyond, unresolvable, newness, built_in, uncovered, rules } = measures;
    let mut out = format!(
        "palisade: {accesses} accesses, {distinct} of them different, became {rules} rules in {}\n",
        text::bold(&policy.display().to_string())
    );
    if let Some((new, third)) = newness {
        out.push_str(&format!("palisade: of the last third of them ({third}), {new} were new to rules made from the rest\n"));
    }
    if lost + beyond > 0 {
        out.push_str(&format!(
            "palisade: {}: {} accesses were lost and are not in it; watch again, with less going on at once, or in parts\n",
            text::red("incomplete"),
            lost + beyond
        ));
    }
    if *unresolvable > 0 {
        out.push_str(&format!("palisade: {unresolvable} accesses were of objects without a path; no rule can allow them\n"));
    }
    for (name, count) in built_in {
        out.push_str(&format!("palisade: the built-in rule {name} will deny what was done {count} times\n"));
    }
    for access in uncovered {
        out.push_str(&format!("palisade: {}: {}\n", text::yellow("not in it"), text::lines(access)));
    }
    let policy = policy.display();
    match tests {
        Some(tests) => out.push_str(&format!("palisade: read it, then: palisade policy test {}\n", tests.display())),
        None => out.push_str(&format!("palisade: read it, then: palisade run --policy {policy} -- ...\n")),
    }
    out
}

/// `nginx.yaml` has its tests in `nginx.test.yaml`.
fn test_path(policy: &Path) -> PathBuf {
    let stem = policy.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    policy.with_file_name(format!("{stem}{TEST_ENDING}"))
}

/// Anew, so that a link in a directory that others can write is not followed.
fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot replace {}", path.display())),
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// A name as Kubernetes takes it: small letters, digits and `-`.
fn resource_name(name: &str) -> String {
    let mapped: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let trimmed = mapped.trim_matches('-');
    if trimmed.is_empty() { "learned".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_become_names_of_resources() {
        for (name, resource) in [("nginx", "nginx"), ("Python3.11", "python3-11"), ("[", "learned"), ("a_b.sh", "a-b-sh")] {
            assert_eq!(resource_name(name), resource);
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten_unless_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("p.yaml");
        assert!(Learning::begin(&policy, true, false).is_ok());
        std::fs::write(directory.path().join("p.test.yaml"), "").unwrap();
        assert!(Learning::begin(&policy, false, false).is_ok());
        let error = Learning::begin(&policy, true, false).err().unwrap().to_string();
        assert!(error.contains("p.test.yaml is there already"), "{error}");
        assert!(Learning::begin(&policy, true, true).is_ok());
        assert!(Learning::begin(&directory.path().join("no/p.yaml"), false, false).is_err());
    }
}
