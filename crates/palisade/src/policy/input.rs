//! Files of policies, read whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use palisade_policy::model::Policy;
use palisade_policy::{FILE_MAX_BYTES, Parsed, SourceFile};

use super::report;
use crate::out;

/// Texts of policies, by the name that problems give them.
#[derive(Debug, Default)]
pub(crate) struct Input {
    files: Vec<(Arc<str>, String)>,
}

/// The name of what is read from stdin.
const STDIN: &str = "<stdin>";
/// The ending of test files, which are no policies.
pub(crate) const TEST_ENDING: &str = ".test.yaml";

// === impl Input ===

impl Input {
    /// Reads files, `-` (stdin), and the `*.yaml` and `*.yml` of directories, tests left out.
    ///
    /// # Errors
    /// A file that cannot be read, is no UTF-8 or is longer than [`FILE_MAX_BYTES`]; a directory without policies.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut input = Self::default();
        for path in paths {
            if path.as_os_str() == "-" {
                let text = read_text(std::io::stdin().lock()).context("cannot read stdin")?;
                input.files.push((Arc::from(STDIN), text));
            } else if path.is_dir() {
                let files = files_in(path, |name| !name.ends_with(TEST_ENDING))?;
                if files.is_empty() {
                    bail!("{}: no *.yaml and no *.yml in this directory", path.display());
                }
                for path in files {
                    input.push(&path)?;
                }
            } else {
                input.push(path)?;
            }
        }
        Ok(input)
    }

    fn push(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let text = read_text(file).with_context(|| format!("cannot read {}", path.display()))?;
        self.files.push((Arc::from(path.to_string_lossy()), text));
        Ok(())
    }

    /// Parses all of it together.
    pub(crate) fn parse(&self) -> Parsed {
        let files: Vec<SourceFile<'_>> =
            self.files.iter().map(|(name, text)| SourceFile { name: Arc::clone(name), text }).collect();
        palisade_policy::parse(&files)
    }

    /// The policies; where some are invalid, tells on stderr what is wrong and gives `None`.
    pub(crate) fn policies(&self) -> anyhow::Result<Option<Vec<Policy>>> {
        let Parsed { policies, problems, notes: _ } = self.parse();
        if problems.is_empty() {
            return Ok(Some(policies));
        }
        out::print_error(&report::plain(&problems))?;
        Ok(None)
    }

    /// The number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The names, in the order given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| &**name)
    }

    /// The texts, by name.
    pub(crate) fn texts(&self) -> BTreeMap<&str, &str> {
        self.files.iter().map(|(name, text)| (&**name, text.as_str())).collect()
    }
}

/// The YAML files of a directory whose names fit, in the order of their names.
pub(crate) fn files_in(directory: &Path, fits: impl Fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("cannot list {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && fits(&name) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads at most [`FILE_MAX_BYTES`] of UTF-8.
pub(crate) fn read_text(source: impl std::io::Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_MAX_BYTES).unwrap_or(u64::MAX);
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_MAX_BYTES {
        bail!("longer than {FILE_MAX_BYTES} bytes");
    }
    String::from_utf8(bytes).map_err(|error| anyhow::anyhow!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}
