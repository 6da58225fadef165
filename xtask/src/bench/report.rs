//! Figures as tables, in Markdown: on the screen and in `docs/benchmarks.md`.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::budget::{self, Check, Wanted};
use super::figures::Figures;
use super::plan::{Configuration, Plan, grouped};
use super::tables::Table;

/// Around the part of the document that the command writes.
const BEGIN: &str = "<!-- figures: begin (written by `cargo xtask bench --write`) -->\n";
const END: &str = "<!-- figures: end -->\n";

/// Operation and heading.
const COLUMNS: [(&str, &str); 13] = [
    ("open-20", "open 20 B"),
    ("open-60", "open 60 B"),
    ("open-196", "open 196 B"),
    ("open-deep", "open 58 B, 20 deep"),
    ("rename", "2 renames of a file"),
    ("rename-dir", "2 of a directory"),
    ("rename-open", "2 of a directory, open 60 B"),
    ("open-early", "open 60 B, decided early"),
    ("stat", "stat"),
    ("read", "read 1 B"),
    ("write", "write 1 B"),
    ("fork-exec", "fork+exec"),
    ("vfork-exec", "vfork+exec"),
];

/// All that a benchmark found.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) plan: Plan,
    pub(super) figures: Figures,
    pub(super) tables: Vec<Table>,
    /// `uname -r` of the guest.
    pub(super) release: String,
    /// How the guest ended, if not as planned.
    pub(super) trouble: Option<String>,
}

// === impl Findings ===

impl Findings {
    /// Every budget.
    pub(super) fn checks(&self) -> Vec<Check> {
        let Self { plan, figures, tables, .. } = self;
        let of = |c: &Configuration| budget::of_configuration(*c, figures, tables, Wanted(plan.operations));
        let mut checks: Vec<Check> = plan.configurations.iter().flat_map(of).collect();
        checks.push(budget::of_spread(&plan.configurations, figures));
        checks.extend(budget::of_tables(tables));
        checks
    }

    /// What makes the figures worthless: the clock counted no instructions, the programs were not called, a rule did
    /// not hold.
    pub(super) fn doubts(&self) -> Vec<String> {
        let Self { plan, figures, trouble, .. } = self;
        let mut doubts: Vec<String> = trouble.iter().cloned().collect();
        doubts.extend(figures.calibration().err());
        for configuration in &plan.configurations {
            let key = configuration.key();
            if let Some(why) = figures.text(&key, "failed") {
                doubts.push(format!("{key}: {why}"));
                continue;
            }
            if figures.number(&key, "open-60").is_none() {
                doubts.push(format!("{key}: no figures"));
                continue;
            }
            let (proof, denied) = (figures.proof(&key), figures.number(&key, "denied").is_some());
            let (called, holds) = match configuration {
                Configuration::None | Configuration::Watched | Configuration::NoneAgain | Configuration::NoneInCgroup => {
                    (!proof.holds(), !denied)
                }
                Configuration::Unlabelled => (proof.holds(), !denied),
                Configuration::Palisade(..) | Configuration::NoBase(..) | Configuration::WholePath(..) => (proof.holds(), denied),
                Configuration::AppArmor(..) => (!proof.holds(), denied),
            };
            if !called {
                doubts.push(format!("{key}: {}", proof.words()));
            }
            if !holds {
                let found = if denied { "denied" } else { "not denied" };
                doubts.push(format!("{key}: the file that only workloads may not open was {found}"));
            }
        }
        doubts
    }

    /// All of it.
    pub(super) fn markdown(&self) -> String {
        let Self { figures, tables, release, .. } = self;
        let mut out = format!("Kernel {release}; ");
        match figures.calibration() {
            Ok(found) => line(&mut out, format_args!("a loop of 20,000 instructions took {found} ns of the guest's clock.\n")),
            Err(why) => line(&mut out, format_args!("**the clock did not count instructions: {why}.**\n")),
        }
        out.push_str(&self.costs());
        out.push_str(
            "\nBudgets that are not met, and those that no row above has:\n\n| what | budget | reached | |\n|---|---|---|---|\n",
        );
        let of_no_row = budget::of_tables(tables).len() + 1;
        let checks = self.checks();
        let of_rows = checks.len() - of_no_row;
        for (i, check) in checks.iter().enumerate() {
            let Check { what, limit, reached, met } = check;
            if i >= of_rows || *met != Some(true) {
                let verdict = if *met == Some(true) { "met".to_owned() } else { format!("**{}**", check.verdict()) };
                line(&mut out, format_args!("| {what} | {limit} | {reached} | {verdict} |"));
            }
        }
        out.push_str(&policies(tables));
        out.push_str(&self.proofs());
        out
    }

    /// Added instructions, a row for each configuration.
    fn costs(&self) -> String {
        let Self { plan, figures, tables, .. } = self;
        let wanted = Wanted(plan.operations);
        let columns: Vec<(&str, &str)> = COLUMNS.into_iter().filter(|(operation, _)| wanted.has(operation)).collect();
        let mut out = "| instructions added |".to_owned();
        for (_, heading) in &columns {
            let _ = write!(out, " {heading} |");
        }
        line(&mut out, format_args!(" budget, 60 B | all budgets |"));
        line(&mut out, format_args!("|---|{}---|---|", "---|".repeat(columns.len())));
        for configuration in &plan.configurations {
            let key = configuration.key();
            let _ = write!(out, "| {} |", configuration.title());
            for (operation, _) in &columns {
                let _ = write!(out, " {} |", cell(*configuration, figures, operation));
            }
            let limit = budget::open_budget(*configuration, tables).map_or_else(String::new, |l| format!("{l:+}"));
            let checks = budget::of_configuration(*configuration, figures, tables, wanted);
            let all = match checks.iter().map(|check| check.met).reduce(worse) {
                None => "",
                Some(Some(true)) => "met",
                Some(Some(false)) => "**OVER**",
                Some(None) => "**not measured**",
            };
            let failed = figures.text(&key, "failed").map_or_else(String::new, |why| format!(" ({why})"));
            line(&mut out, format_args!(" {limit} | {all}{failed} |"));
        }
        out
    }

    /// That the programs were called, and that the rules held.
    fn proofs(&self) -> String {
        let Self { plan, figures, .. } = self;
        let mut out =
            "\nProof:\n\n| configuration | program on `file_open` | file that is not to be opened |\n|---|---|---|\n".to_owned();
        for configuration in &plan.configurations {
            let key = configuration.key();
            let program = match configuration {
                Configuration::AppArmor(..) => match (figures.text(&key, "label"), figures.text(&key, "parser")) {
                    (Some(label), Some(seconds)) => {
                        format!("profile `{label}`; its parser took {seconds} thousand million instructions")
                    }
                    _ => "-".to_owned(),
                },
                Configuration::None
                | Configuration::Watched
                | Configuration::NoneAgain
                | Configuration::NoneInCgroup
                | Configuration::Unlabelled
                | Configuration::Palisade(..)
                | Configuration::NoBase(..)
                | Configuration::WholePath(..) => figures.proof(&key).words(),
            };
            let denied = match figures.text(&key, "denied") {
                None => "-",
                Some(text) if text.parse::<i64>().is_ok() => "EACCES",
                Some(_) => "opened",
            };
            line(&mut out, format_args!("| {} | {program} | {denied} |", configuration.title()));
        }
        out
    }
}

/// Not met is worse than not measured, which is worse than met.
fn worse(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (None, _) | (_, None) => None,
        _ => Some(true),
    }
}

fn cell(configuration: Configuration, figures: &Figures, operation: &str) -> String {
    let key = configuration.key();
    let Some(number) = figures.number(&key, operation) else {
        return figures.text(&key, operation).unwrap_or("-").to_owned();
    };
    if configuration == Configuration::None {
        return usize::try_from(number).map_or_else(|_| number.to_string(), grouped);
    }
    match (figures.added(configuration, operation), budget::percent_added(figures, configuration, operation)) {
        (Some(added), Some(percent)) if operation.ends_with("exec") => format!("{added:+} ({percent:+.1} %)"),
        (Some(added), _) => format!("{added:+}"),
        (None, _) => number.to_string(),
    }
}

fn policies(tables: &[Table]) -> String {
    let mut out = "\nPolicies, compiled on the host by the release build (time: best of 5, without reading the YAML):\n\n\
                   | policy | mean path | states | table | compile time | glob groups, file / process |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for table in tables {
        let Table { mix, rules, mean_bytes, milliseconds, bytes, states, file_globs, process_globs } = table;
        let title = Configuration::Palisade(*mix, *rules).title();
        let (states, mebibytes) = (grouped(*states), budget::mebibytes_of(*bytes));
        line(
            &mut out,
            format_args!(
                "| {title} | {mean_bytes} B | {states} | {mebibytes:.2} MiB | {milliseconds:.1} ms | {file_globs} / {process_globs} |"
            ),
        );
    }
    out
}

/// The document with its figures replaced.
///
/// # Errors
/// It has no place for them.
pub(super) fn replace(document: &str, markdown: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("the document has no line where figures begin")?;
    let (_, after) = rest.split_once(END).context("the document has no line where figures end")?;
    Ok(format!("{before}{BEGIN}\n{markdown}\n{END}{after}"))
}

/// Writing to a string cannot fail.
fn line(out: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(console: &str) -> Findings {
        Findings {
            plan: Plan { operations: &["calibrate", "open-60", "denied"], ..Plan::quick() },
            figures: Figures::read(console),
            tables: Vec::new(),
            release: "6.1.0".to_owned(),
            trouble: None,
        }
    }

    const GOOD: &str = "\
bench: none calibrate 20010
bench: none open-60 10000
bench: none denied allowed
bench: none runs absent
bench: watched open-60 10000
bench: watched denied allowed
bench: watched runs absent
bench: none-in-cgroup open-60 10100
bench: none-in-cgroup denied allowed
bench: none-in-cgroup runs absent
bench: unlabelled open-60 10400
bench: unlabelled denied allowed
bench: unlabelled runs 1030
bench: literal-10 open-60 11000
bench: literal-10 denied 900
bench: literal-10 runs 1030
bench: literal-1000 open-60 11200
bench: literal-1000 denied 900
bench: literal-1000 runs 1030
bench: globs-1000 open-60 11000
bench: globs-1000 denied 900
bench: globs-1000 runs 1030
bench: whole-path-literal-1000 open-60 13010
bench: whole-path-literal-1000 denied 900
bench: whole-path-literal-1000 runs 1030
bench: whole-path-globs-1000 open-60 14000
bench: whole-path-globs-1000 denied 900
bench: whole-path-globs-1000 runs 1030
";

    #[test]
    fn rows_over_budget_are_shown_as_such() {
        let findings = findings(GOOD);
        assert!(findings.doubts().is_empty(), "{:?}", findings.doubts());
        let text = findings.markdown();
        assert!(text.contains("| attached, task of no workload | +400 | +350 | **OVER** |"), "{text}");
        assert!(text.contains("| 1,000 rules, literal, whole paths | +2910 | +3300 | met |"), "{text}");
        assert!(text.contains("| 1,000 rules, literal | +1100 | +1000 | **OVER** |"), "{text}");
        assert!(text.contains("| no Palisade (absolute) | 10,000 |  |  |"), "{text}");
    }

    #[test]
    fn figures_of_programs_that_were_not_called_are_doubted() {
        let findings = findings(&GOOD.replace("literal-10 runs 1030", "literal-10 runs 3"));
        assert_eq!(findings.doubts(), ["literal-10: 3 runs in 1000 opens"]);
        let silent = findings_without("literal-10 ");
        assert_eq!(silent.doubts(), ["literal-10: no figures"]);
    }

    fn findings_without(word: &str) -> Findings {
        let kept: Vec<&str> = GOOD.lines().filter(|line| !line.contains(word)).collect();
        findings(&kept.join("\n"))
    }

    #[test]
    fn a_rule_that_does_not_hold_is_doubted() {
        let findings = findings(&GOOD.replace("literal-10 denied 900", "literal-10 denied allowed"));
        assert_eq!(findings.doubts(), ["literal-10: the file that only workloads may not open was not denied"]);
    }

    #[test]
    fn figures_are_put_into_the_document() {
        let document = format!("head\n{BEGIN}old\n{END}tail\n");
        let replaced = replace(&document, "new\n").unwrap();
        assert_eq!(replaced, format!("head\n{BEGIN}\nnew\n\n{END}tail\n"));
        assert!(replace("nothing", "new").is_err());
    }
}
