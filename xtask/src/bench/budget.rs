//! The budgets, and whether figures keep to them.

use super::figures::Figures;
use super::plan::Configuration;
use super::rules::Mix;
use super::tables::Table;

/// Instructions added to open and close of the 60-byte path, for a task of no workload.
const UNLABELLED: i64 = 350;
/// The same, for a task under literal rules, where every open is to walk its whole path.
const LITERAL: i64 = 3_300;
/// The same by what is kept of the directory: whatever the path's length and depth, and whatever the rules.
const HIT: i64 = 1_000;
/// The open alone, where nothing is kept of the directory.
const MISS: i64 = 4_400;
/// One rename of a file, by a task of no workload.
const RENAME: i64 = 450;
/// Added to that by each glob group that is walked.
const GLOB_GROUP: i64 = 1_600;
/// Of 100: what an exec may cost more.
const EXEC_PERCENT: f64 = 4.0;
/// Of 100: by how much the cost of open and close may vary with the number of literal rules.
const SPREAD_PERCENT: f64 = 1.0;
/// `+0` as far as it can be measured: two measurements of the same thing differ by less.
const NOISE: i64 = 20;
/// What has no program on its way.
const FREE: [&str; 3] = ["stat", "read", "write"];
const HITS: [&str; 3] = ["open-20", "open-196", "open-deep"];
const EXECS: [&str; 2] = ["fork-exec", "vfork-exec"];

const MEBIBYTE: f64 = 1_048_576.0;
const MIXED_1000_MILLISECONDS: f64 = 150.0;
const MIXED_1000_MEBIBYTES: f64 = 3.0;
const MIXED_10000_MILLISECONDS: f64 = 5_000.0;
const MIXED_1000_GROUPS: usize = 1;
const MIXED_10000_GROUPS: usize = 4;

/// One budget and what was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// What is limited.
    pub(super) what: String,
    pub(super) limit: String,
    pub(super) reached: String,
    /// `None`: it was not measured.
    pub(super) met: Option<bool>,
}

// === impl Check ===

impl Check {
    pub(super) fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "OVER",
            None => "not measured",
        }
    }

    fn at_most(what: String, limit: i64, reached: Option<i64>) -> Self {
        Self {
            what,
            limit: format!("{limit:+}"),
            reached: reached.map_or_else(|| "-".to_owned(), |reached| format!("{reached:+}")),
            met: reached.map(|reached| reached <= limit),
        }
    }

    fn percent(what: String, limit: f64, reached: Option<f64>) -> Self {
        Self {
            what,
            limit: format!("{limit:.1} %"),
            reached: reached.map_or_else(|| "-".to_owned(), |reached| format!("{reached:.2} %")),
            met: reached.map(|reached| reached <= limit),
        }
    }
}

/// The budgets of one configuration: those that are judged by its figures alone.
pub(super) fn of_configuration(
    configuration: Configuration,
    figures: &Figures,
    tables: &[Table],
    wanted: Wanted<'_>,
) -> Vec<Check> {
    let Some(open) = open_budget(configuration, tables) else { return Vec::new() };
    let title = configuration.title();
    let mut checks =
        vec![Check::at_most(format!("open+close, 60 bytes: {title}"), open, figures.added(configuration, "open-60"))];
    checks.extend(fast_path(configuration, figures, wanted));
    for operation in EXECS.into_iter().filter(|operation| wanted.has(operation)) {
        let share = percent_added(figures, configuration, operation);
        checks.push(Check::percent(format!("{operation}: {title}"), EXEC_PERCENT, share));
    }
    for operation in FREE.into_iter().filter(|operation| wanted.has(operation)) {
        let mut check = Check::at_most(format!("{operation}: {title}"), NOISE, figures.added(configuration, operation));
        check.limit = format!("+0 (±{NOISE})");
        checks.push(check);
    }
    checks
}

/// The budgets of opens by what is kept of directories, and of keeping it.
fn fast_path(configuration: Configuration, figures: &Figures, wanted: Wanted<'_>) -> Vec<Check> {
    let title = configuration.title();
    let mut checks = Vec::new();
    if configuration == Configuration::Unlabelled && wanted.has("rename") {
        let rename = figures.added(configuration, "rename").map(|two| two / 2);
        checks.push(Check::at_most(format!("rename of a file: {title}"), RENAME, rename));
    }
    if !matches!(configuration, Configuration::Palisade(..) | Configuration::NoBase(..)) {
        return checks;
    }
    for operation in HITS.into_iter().filter(|operation| wanted.has(operation)) {
        checks.push(Check::at_most(format!("{operation}, hit: {title}"), HIT, figures.added(configuration, operation)));
    }
    if matches!(configuration, Configuration::Palisade(Mix::Literal, _)) && wanted.has("rename-open") {
        let added = |operation| figures.added(configuration, operation);
        let miss = added("rename-open").zip(added("rename-dir")).map(|(both, renames)| both - renames);
        checks.push(Check::at_most(format!("open-60, miss: {title}"), MISS, miss));
    }
    checks
}

/// What `open-60` may cost more in this configuration; `None`: it has no budget.
pub(super) fn open_budget(configuration: Configuration, tables: &[Table]) -> Option<i64> {
    match configuration {
        Configuration::Unlabelled => Some(UNLABELLED),
        Configuration::Palisade(..) | Configuration::NoBase(..) => Some(HIT),
        Configuration::WholePath(mix, count) => match mix {
            // The base set's own globs are not allowed for: it is on unless a run turns it off.
            Mix::Literal | Mix::Blocks => Some(LITERAL),
            Mix::Globs | Mix::GlobsMeet => {
                let groups = i64::try_from(groups(tables, count)?).ok()?;
                Some(LITERAL + GLOB_GROUP * groups)
            }
        },
        Configuration::None
        | Configuration::Watched
        | Configuration::NoneAgain
        | Configuration::NoneInCgroup
        | Configuration::AppArmor(..) => None,
    }
}

/// Which operations were asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a>(pub(super) &'a [&'a str]);

// === impl Wanted ===

impl Wanted<'_> {
    pub(super) fn has(self, operation: &str) -> bool {
        let Self(operations) = self;
        operations.is_empty() || operations.contains(&operation)
    }
}

/// By how much an operation takes longer, in percent.
pub(super) fn percent_added(figures: &Figures, configuration: Configuration, operation: &str) -> Option<f64> {
    let before = figures.number(&configuration.baseline().key(), operation)?;
    Some(100.0 * float(figures.added(configuration, operation)?) / float(before))
}

/// Instruction counts are far below 2^52; where one is not, the result is absurd, not wrong by a little.
fn float(count: i64) -> f64 {
    i32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The cost of open and close does not grow with the number of literal rules.
pub(super) fn of_spread(configurations: &[Configuration], figures: &Figures) -> Check {
    let literal = configurations.iter().filter(|c| matches!(c, Configuration::WholePath(Mix::Literal, _)));
    let costs: Option<Vec<i64>> = literal.map(|c| figures.number(&c.key(), "open-60")).collect();
    let what = "open+close, 60 bytes, whole paths, from the fewest literal rules to the most: highest cost over lowest";
    let spread = costs.and_then(|costs| {
        let (least, most) = (*costs.iter().min()?, *costs.iter().max()?);
        Some(100.0 * float(most - least) / float(least))
    });
    Check::percent(what.to_owned(), SPREAD_PERCENT, spread)
}

/// The budgets of tables.
pub(super) fn of_tables(tables: &[Table]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (count, milliseconds, mebibytes, most) in [
        (1_000, MIXED_1000_MILLISECONDS, Some(MIXED_1000_MEBIBYTES), MIXED_1000_GROUPS),
        (10_000, MIXED_10000_MILLISECONDS, None, MIXED_10000_GROUPS),
    ] {
        let Some(table) = tables.iter().find(|table| table.mix == Mix::Globs && table.rules == count) else { continue };
        let name = format!("{} mixed rules", super::plan::grouped(count));
        checks.push(Check {
            what: format!("{name}: compile time"),
            limit: format!("{milliseconds:.0} ms"),
            reached: format!("{:.1} ms", table.milliseconds),
            met: Some(table.milliseconds <= milliseconds),
        });
        if let Some(mebibytes) = mebibytes {
            let reached = mebibytes_of(table.bytes);
            checks.push(Check {
                what: format!("{name}: table"),
                limit: format!("{mebibytes:.0} MiB"),
                reached: format!("{reached:.2} MiB"),
                met: Some(reached <= mebibytes),
            });
        }
        checks.push(Check {
            what: format!("{name}: glob groups of the file class"),
            limit: most.to_string(),
            reached: table.file_globs.to_string(),
            met: Some(table.file_globs <= most),
        });
    }
    checks
}

pub(super) fn mebibytes_of(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::INFINITY, f64::from) / MEBIBYTE
}

fn groups(tables: &[Table], count: usize) -> Option<usize> {
    tables.iter().find(|table| table.mix == Mix::Globs && table.rules == count).map(|table| table.file_globs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: usize, milliseconds: f64, bytes: usize, file_globs: usize) -> Table {
        Table { mix: Mix::Globs, rules, mean_bytes: 60, milliseconds, bytes, states: 1, file_globs, process_globs: 1 }
    }

    fn figures(unlabelled: i64, read: i64) -> Figures {
        Figures::read(&format!(
            "bench: watched open-60 10000\nbench: watched read 1000\nbench: watched stat 1\nbench: watched write 1\n\
             bench: watched fork-exec 1000\nbench: watched vfork-exec 1000\nbench: unlabelled open-60 {unlabelled}\n\
             bench: unlabelled read {read}\nbench: unlabelled fork-exec 1041\n"
        ))
    }

    #[test]
    fn a_budget_is_met_up_to_its_limit() {
        let wanted = Wanted(&[]);
        let verdicts = |figures: &Figures| -> Vec<&'static str> {
            of_configuration(Configuration::Unlabelled, figures, &[], wanted).iter().map(Check::verdict).collect()
        };
        let measured = "not measured";
        assert_eq!(verdicts(&figures(10_350, 1_020)), ["met", measured, "OVER", measured, measured, "met", measured]);
        assert_eq!(verdicts(&figures(10_351, 1_021)), ["OVER", measured, "OVER", measured, measured, "OVER", measured]);
    }

    #[test]
    fn what_was_not_asked_for_is_not_judged() {
        let wanted = Wanted(&["open-60"]);
        assert_eq!(of_configuration(Configuration::Unlabelled, &figures(1, 1), &[], wanted).len(), 1);
        assert!(of_configuration(Configuration::None, &figures(1, 1), &[], wanted).is_empty());
    }

    #[test]
    fn each_glob_group_adds_its_share() {
        let mixed = Configuration::WholePath(Mix::Globs, 10_000);
        assert_eq!(open_budget(mixed, &[table(10_000, 1.0, 1, 3)]), Some(3_300 + 3 * 1_600));
        assert_eq!(open_budget(mixed, &[]), None);
    }

    #[test]
    fn tables_are_judged_by_time_size_and_groups() {
        let checks = of_tables(&[table(1_000, 150.1, 3 << 20, 2), table(10_000, 4_000.0, 1, 4)]);
        let verdicts: Vec<&str> = checks.iter().map(Check::verdict).collect();
        assert_eq!(verdicts, ["OVER", "met", "OVER", "met", "met"]);
    }

    #[test]
    fn the_number_of_rules_may_not_show() {
        let plan = [Configuration::WholePath(Mix::Literal, 10), Configuration::WholePath(Mix::Literal, 100)];
        let check = |a, b| {
            of_spread(
                &plan,
                &Figures::read(&format!("bench: whole-path-literal-10 open-60 {a}\nbench: whole-path-literal-100 open-60 {b}\n")),
            )
        };
        assert_eq!(check(14_000, 14_100).verdict(), "met");
        assert_eq!(check(14_000, 14_200).verdict(), "OVER");
        assert_eq!(of_spread(&plan, &Figures::default()).verdict(), "not measured");
    }
}
