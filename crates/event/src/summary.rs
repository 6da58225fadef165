//! What a run amounted to: the distinct events, with how often each came.

use std::collections::HashMap;
use std::sync::Arc;

use crate::EncodeOptions;
use crate::event::{Event, Record, Repeats};
use crate::identity::ByMatter;
use crate::text;
use crate::verdict::Verdict;

/// The greatest number of distinct rows. 4096 rows are more than anybody reads; they keep an event each, at
/// about 1 KiB 4 MiB.
pub const ROWS: usize = 4096;

/// Counts what a stream says. Distinct are acting program, operation, object, decider and verdict; workloads, users and
/// generations are not told apart.
///
/// # Guarantees
///
/// * The counts of all rows and [`Totals::beyond`] add up to those of all events added (saturating at `u64::MAX`).
/// * At most [`ROWS`] rows; accesses of further kinds are counted in [`Totals::beyond`].
#[derive(Debug)]
pub struct Summary {
    rows: HashMap<ByMatter, Repeats>,
    limit: usize,
    totals: Totals,
}

/// Counts of accesses, and of lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Denied.
    pub block: u64,
    /// Passed, but for audited mode denied.
    pub would_block: u64,
    /// Passed and reported.
    pub audit: u64,
    /// Of all these, those that have no row because there were too many kinds.
    pub beyond: u64,
    /// Records that got lost on the way, so that they are in no count.
    pub lost: u64,
}

/// One distinct event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The first of its kind, with all its facts.
    pub example: Arc<Event>,
    /// How often it came, and when first and last.
    pub repeats: Repeats,
}

/// A row as text, escaped like the text form; nothing in it steers a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// `Block`, `would block`, `Audit`.
    pub verdict: &'static str,
    /// `exec`, `read`, ...
    pub operation: &'static str,
    /// The acting program.
    pub program: String,
    /// What it acted on. Without the arguments of an exec: they may differ from one to the next.
    pub object: String,
    /// Policy and rule.
    pub decided_by: String,
    /// `FILE:LINE` of the rule; empty where no rule decided.
    pub origin: String,
    /// How often.
    pub count: u64,
}

// === impl Summary ===

impl Default for Summary {
    fn default() -> Self {
        Self::with_rows(ROWS)
    }
}

impl Summary {
    /// With at most this many rows.
    #[must_use]
    pub fn with_rows(limit: usize) -> Self {
        Self { rows: HashMap::new(), limit, totals: Totals::default() }
    }

    /// Counts one record. It does not matter whether it went through an aggregator.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Event(event) => self.add_event(event),
            Record::Loss(loss) => self.totals.lost = self.totals.lost.saturating_add(loss.count),
            Record::Message(_) => {}
        }
    }

    fn add_event(&mut self, event: &Arc<Event>) {
        let count = event.repeats.count.get();
        let total = match event.verdict {
            Verdict::Block(_) => &mut self.totals.block,
            Verdict::WouldBlock => &mut self.totals.would_block,
            Verdict::Audit | Verdict::WouldAudit => &mut self.totals.audit,
        };
        *total = total.saturating_add(count);
        let key = ByMatter(Arc::clone(event));
        if let Some(repeats) = self.rows.get_mut(&key) {
            let fits = repeats.and(event.repeats);
            *repeats = fits.unwrap_or(Repeats { count: std::num::NonZeroU64::MAX, ..*repeats });
        } else if self.rows.len() < self.limit {
            self.rows.insert(key, event.repeats);
        } else {
            self.totals.beyond = self.totals.beyond.saturating_add(count);
        }
    }

    /// The counts over everything.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The rows: denials first, then what would have been denied, then audits; in each the most frequent first, then by
    /// program, operation, object and rule, so that the same events give the same table.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<_> =
            self.rows.iter().map(|(key, repeats)| Row { example: Arc::clone(&key.0), repeats: *repeats }).collect();
        rows.sort_by_cached_key(|row| {
            let event = &row.example;
            let group = match event.verdict {
                Verdict::Block(_) => 0_u8,
                Verdict::WouldBlock => 1,
                Verdict::Audit | Verdict::WouldAudit => 2,
            };
            let Cells { verdict: _, operation: _, program: _, object, decided_by, origin, count } = row.cells();
            let program = event.process.program.clone();
            (group, std::cmp::Reverse(count), program, event.operation, object, decided_by, origin, event.verdict)
        });
        rows
    }
}

// === impl Row ===

impl Row {
    /// As text for a table.
    #[must_use]
    pub fn cells(&self) -> Cells {
        let Self { example, repeats } = self;
        Cells {
            verdict: example.verdict.word(),
            operation: example.operation.word(),
            program: text::program(example).into_owned(),
            object: text::object(example, EncodeOptions { drop_command_lines: true }),
            decided_by: text::decided_by(&example.decider),
            origin: text::origin(&example.decider),
            count: repeats.count.get(),
        }
    }
}
