//! The configuration file of the agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use palisade_agent::workload::units::{NAMESPACE, UnitSpec};
use serde::Deserialize;

use super::Full;
use crate::client::SOCKET;

/// All of it. A key that is none is an error, with its line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Config {
    /// The directory of policy files.
    pub(super) policies: Option<PathBuf>,
    /// What is a workload.
    pub(super) units: Vec<Unit>,
    /// The namespace of units and policies that name none.
    pub(super) namespace: String,
    /// Where policies are kept.
    pub(super) state: PathBuf,
    /// Where to listen.
    pub(super) socket: PathBuf,
    /// Records that wait for a reader at most.
    pub(super) queue: usize,
    /// What happens to those beyond.
    pub(super) when_full: Full,
    /// Records kept for readers that come later.
    pub(super) history: usize,
    /// The cluster's name.
    pub(super) cluster: String,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unit {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

// === impl Config ===

impl Config {
    /// Reads a file; without one everything is as by default.
    pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: None,
            units: Vec::new(),
            namespace: NAMESPACE.to_owned(),
            state: "/var/lib/palisade".into(),
            socket: SOCKET.into(),
            queue: 4096,
            when_full: Full::DropOldest,
            history: 1024,
            cluster: "default".to_owned(),
        }
    }
}

// === impl Unit ===

impl Unit {
    /// By its name alone.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), namespace: None, labels: BTreeMap::new() }
    }

    /// As a source of workloads takes it.
    pub(super) fn spec(self, namespace: &str) -> UnitSpec {
        let Self { name, namespace: own, labels } = self;
        UnitSpec { name, namespace: own.unwrap_or_else(|| namespace.to_owned()), labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        assert_eq!(Config::parse("# nothing\n\n").unwrap(), Config::default());
        let config = Config::parse("policies: /p\nwhenFull: block\nunits:\n- name: a.service\n  labels: {app: a}\n").unwrap();
        assert_eq!(config.policies.as_deref(), Some(Path::new("/p")));
        assert_eq!(config.when_full, Full::Block);
        assert_eq!((config.queue, config.history), (4096, 1024));
        let unit = config.units[0].clone().spec("ns");
        assert_eq!((unit.name.as_str(), unit.namespace.as_str(), unit.labels["app"].as_str()), ("a.service", "ns", "a"));
    }

    #[test]
    fn a_wrong_key_is_an_error_with_its_line() {
        for (text, word) in [("policies: /p\nunit: a\n", "unit"), ("units:\n- nam: a\n", "nam"), ("\nqueue: many\n", "many")] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains("line 2") || error.contains("2:"), "{error}");
            assert!(error.contains(word) || word == "many", "{error}");
        }
    }
}
