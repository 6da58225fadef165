//! What came of tests, for people and for programs.

use palisade_ruleset::{Mode, RuleSet};
use serde::Serialize;

use super::cases::Expected;
use crate::policy::access::{Answer, Decider};
use crate::text;

/// One file of tests, done.
#[derive(Debug)]
pub(super) struct Report {
    /// The test file.
    pub(super) file: String,
    /// Whether the workload is in audited mode.
    pub(super) mode: Mode,
    /// The rules that were asked.
    pub(super) rules: RuleSet,
    /// All accesses.
    pub(super) checked: Vec<Checked>,
}

/// One access, done.
#[derive(Debug)]
pub(super) struct Checked {
    /// What was done.
    pub(super) title: String,
    /// What came out.
    pub(super) answer: Answer,
    /// The test's name.
    pub(super) name: Option<String>,
    /// Where it stands.
    pub(super) line: u64,
    /// Likewise.
    pub(super) column: u64,
    /// What should have come out.
    pub(super) expected: Expected,
}

/// One file as JSON.
#[derive(Debug, Serialize)]
pub(super) struct ReportJson<'a> {
    file: &'a str,
    passed: usize,
    failed: usize,
    tests: Vec<CheckedJson<'a>>,
}

#[derive(Debug, Serialize)]
struct CheckedJson<'a> {
    access: &'a str,
    name: Option<&'a str>,
    line: u64,
    column: u64,
    passed: bool,
    expected: &'static str,
    expected_rule: Option<&'a str>,
    verdict: &'static str,
    rule: String,
    reason: &'a str,
}

// === impl Report, Checked ===

impl Report {
    /// Whether all is as expected.
    pub(super) fn passed(&self) -> bool {
        self.checked.iter().all(|checked| checked.passed(&self.rules))
    }

    /// As JSON.
    pub(super) fn json(&self) -> ReportJson<'_> {
        let Self { file, mode: _, rules, checked } = self;
        let passed = checked.iter().filter(|c| c.passed(rules)).count();
        let tests = checked.iter().map(|c| c.json(rules)).collect();
        ReportJson { file, passed, failed: checked.len() - passed, tests }
    }
}

impl Checked {
    fn decider(&self, rules: &RuleSet) -> String {
        Decider::of(self.answer.decision().by, rules).to_string()
    }

    fn passed(&self, rules: &RuleSet) -> bool {
        let Expected { verdict, rule } = &self.expected;
        self.answer.decision().verdict == *verdict && rule.as_ref().is_none_or(|rule| *rule == self.decider(rules))
    }

    fn json(&self, rules: &RuleSet) -> CheckedJson<'_> {
        let Self { title, answer, name, line, column, expected } = self;
        CheckedJson {
            access: title,
            name: name.as_deref(),
            line: *line,
            column: *column,
            passed: self.passed(rules),
            expected: expected.verdict.name(),
            expected_rule: expected.rule.as_deref(),
            verdict: answer.decision().verdict.name(),
            rule: self.decider(rules),
            reason: &answer.decisive().explanation.reason,
        }
    }
}

// === for people ===

/// What is not as expected, as a diff; with `all` every access in a table as well.
pub(super) fn people(reports: &[Report], all: bool) -> String {
    let mut out = String::new();
    for report in reports {
        let Report { file, mode, rules, checked } = report;
        let failures: Vec<&Checked> = checked.iter().filter(|c| !c.passed(rules)).collect();
        let passed = checked.len() - failures.len();
        let word = if failures.is_empty() { text::green("ok") } else { text::red("FAILED") };
        let audited = match mode {
            Mode::Enforce => "",
            Mode::Audit => " (audited mode: nothing would be denied)",
        };
        let file = text::name(file.as_bytes());
        out.push_str(&format!("{word}  {file}: {passed} of {} as expected{audited}\n", checked.len()));
        if all {
            out.push_str(&table(checked, rules));
        }
        for checked in failures {
            out.push_str(&difference(&file, checked, rules));
        }
    }
    out
}

fn table(checked: &[Checked], rules: &RuleSet) -> String {
    let mut table = text::table(&["Line", "Access", "Expected", "Verdict", "Decided by"]);
    for one in checked {
        table.add_row([
            text::cell(&one.line.to_string()),
            text::cell(&one.title),
            text::says_cell(one.expected.verdict.name()),
            text::says_cell(one.answer.decision().verdict.name()),
            text::cell(&one.decider(rules)),
        ]);
    }
    text::table_text(&table)
}

fn difference(file: &str, checked: &Checked, rules: &RuleSet) -> String {
    let Checked { title, answer, name, line, column, expected } = checked;
    let name = name.as_ref().map_or_else(String::new, |name| format!("  ({})", text::name(name.as_bytes())));
    let wanted = expected.rule.as_ref().map_or_else(String::new, |rule| format!("  {}", text::name(rule.as_bytes())));
    let found = answer.decision().verdict.name();
    let decider = text::name(checked.decider(rules).as_bytes()).into_owned();
    let reason = text::lines(&answer.decisive().explanation.reason).into_owned();
    let minus = text::red(&format!("  - {}{wanted}", expected.verdict.name()));
    let plus = text::green(&format!("  + {found}  {decider}"));
    format!("  {file}:{line}:{column}: {}{name}\n{minus}\n{plus}\n    {reason}\n", text::bold(title))
}
