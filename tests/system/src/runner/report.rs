//! What came of a run: a table, the failures in full, and JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The counts of one file of the corpus, or of all.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub struct Counts {
    /// Cases.
    pub cases: usize,
    /// Accesses.
    pub accesses: usize,
    /// As the case says.
    pub right: usize,
    /// As an exclusion declares.
    pub excluded: usize,
    /// Only root can make it, as declared; where an ordinary user tries.
    pub needs_root: usize,
    /// Not to be had on this kernel or file system.
    pub unavailable: usize,
    /// For `decide()` alone.
    pub decide_only: usize,
    /// Otherwise.
    pub wrong: usize,
}

/// The result of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The back end.
    pub backend: String,
    /// The user that made the accesses in place of root.
    pub user: Option<u32>,
    /// Accesses that only root can make, by the reason declared.
    pub needs_root: BTreeMap<&'static str, usize>,
    /// Why no cgroup was used, where none was.
    pub without_cgroup: Option<String>,
    /// Counts by file.
    pub files: BTreeMap<String, Counts>,
    /// Counts by the uid that acts; cases are not counted here, for many have several.
    pub uids: BTreeMap<u32, Counts>,
    /// What went wrong.
    pub failures: Vec<Note>,
    /// What this kernel could not do.
    pub unavailable: Vec<Note>,
    /// Milliseconds of the whole run.
    pub milliseconds: u128,
}

/// One access and what is to be said of it.
#[derive(Debug, Clone, Serialize)]
pub struct Note {
    /// File and case.
    pub case: String,
    /// The access, from 0; absent where the whole case is meant.
    pub access: Option<usize>,
    /// The call in short.
    pub call: String,
    /// What happened.
    pub message: String,
}

// === impl Report ===

impl Report {
    /// The sum over all files.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.files.values().fold(Counts::default(), |a, b| {
            let Counts { cases, accesses, right, excluded, needs_root, unavailable, decide_only, wrong } = *b;
            Counts {
                cases: a.cases + cases,
                accesses: a.accesses + accesses,
                right: a.right + right,
                excluded: a.excluded + excluded,
                needs_root: a.needs_root + needs_root,
                unavailable: a.unavailable + unavailable,
                decide_only: a.decide_only + decide_only,
                wrong: a.wrong + wrong,
            }
        })
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:>5} {:>8} {:>6} {:>8} {:>10} {:>11} {:>11} {:>5}",
            self.backend, "cases", "accesses", "right", "excluded", "needs root", "unavailable", "decide only", "wrong"
        )?;
        let total = ("total".to_owned(), self.total());
        for (name, c) in self.files.iter().map(|(n, c)| (n.clone(), *c)).chain([total]) {
            writeln!(
                f,
                "{name:<14} {:>5} {:>8} {:>6} {:>8} {:>10} {:>11} {:>11} {:>5}",
                c.cases, c.accesses, c.right, c.excluded, c.needs_root, c.unavailable, c.decide_only, c.wrong
            )?;
        }
        for (uid, c) in &self.uids {
            let name = format!("uid {uid}");
            writeln!(
                f,
                "{name:<14} {:>5} {:>8} {:>6} {:>8} {:>10} {:>11} {:>11} {:>5}",
                "", c.accesses, c.right, c.excluded, c.needs_root, c.unavailable, c.decide_only, c.wrong
            )?;
        }
        if let Some(user) = self.user {
            writeln!(f, "made by user {user} without capabilities")?;
        }
        for (reason, count) in &self.needs_root {
            writeln!(f, "needs root: {count}: {reason}")?;
        }
        if let Some(why) = &self.without_cgroup {
            writeln!(f, "no cgroup was used: {why}")?;
        }
        for note in &self.unavailable {
            writeln!(f, "unavailable: {note}")?;
        }
        for note in &self.failures {
            writeln!(f, "WRONG: {note}")?;
        }
        write!(f, "{} ms", self.milliseconds)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.case)?;
        if let Some(access) = self.access {
            write!(f, " [{access}] {}", self.call)?;
        }
        write!(f, ": {}", self.message)
    }
}
