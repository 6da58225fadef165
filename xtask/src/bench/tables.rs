//! What the policies become: sizes and times of `palisade policy compile` on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::plan::policy_name;
use super::rules::{Mix, Rules};
use crate::process::{self, Step};

/// Each policy is compiled so many times; the best counts.
const TIMES: usize = 5;
/// Rule counts of the literal and of the mixed policies.
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
const QUICK_COUNTS: [usize; 2] = [10, 1_000];

/// One policy's table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) mix: Mix,
    pub(super) rules: usize,
    /// Mean length of the rules' paths.
    pub(super) mean_bytes: usize,
    pub(super) milliseconds: f64,
    pub(super) bytes: usize,
    /// States of all automata.
    pub(super) states: usize,
    /// Glob groups that judge files.
    pub(super) file_globs: usize,
    /// Glob groups that judge programs.
    pub(super) process_globs: usize,
}

/// `palisade policy compile --stats --json`, of one table.
#[derive(Debug, Deserialize)]
struct Stats {
    milliseconds: f64,
    bytes: Option<usize>,
    automata: Vec<Automaton>,
}

#[derive(Debug, Deserialize)]
struct Automaton {
    class: String,
    automaton: String,
    states: usize,
}

/// Compiles the policies with `palisade`; `work` is a directory for them.
///
/// # Errors
/// A policy does not compile.
pub(super) fn compile(palisade: &Path, work: &Path, quick: bool) -> Result<Vec<Table>> {
    let step = Step::start("tables (palisade policy compile)");
    let counts: &[usize] = if quick { &QUICK_COUNTS } else { &COUNTS };
    let mut tables = Vec::new();
    for mix in [Mix::Literal, Mix::Globs] {
        for rules in counts {
            tables.push(compile_one(palisade, work, mix, *rules)?);
        }
    }
    step.done();
    Ok(tables)
}

fn compile_one(palisade: &Path, work: &Path, mix: Mix, rules: usize) -> Result<Table> {
    let grown = Rules::new(rules, mix);
    let file = work.join(format!("{}.yaml", policy_name(mix, rules)));
    fs::write(&file, grown.policy()).with_context(|| format!("write {}", file.display()))?;
    let mut best: Option<Stats> = None;
    for _ in 0..TIMES {
        let text = process::output(Command::new(palisade).args(["policy", "compile", "--stats", "--json"]).arg(&file))?;
        let stats = parse(&text)?;
        if best.as_ref().is_none_or(|best| stats.milliseconds < best.milliseconds) {
            best = Some(stats);
        }
    }
    let Stats { milliseconds, bytes, automata } = best.context("nothing was compiled")?;
    let globs = |class: &str| automata.iter().filter(|a| a.class == class && a.automaton.starts_with("globs")).count();
    Ok(Table {
        mix,
        rules,
        mean_bytes: grown.mean_bytes(),
        milliseconds,
        bytes: bytes.context("a table without a size")?,
        states: automata.iter().map(|automaton| automaton.states).sum(),
        file_globs: globs("file"),
        process_globs: globs("process"),
    })
}

fn parse(text: &str) -> Result<Stats> {
    let tables: Vec<Stats> = serde_json::from_str(text).context("read what palisade policy compile printed")?;
    tables.into_iter().next().context("palisade policy compile printed no table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_json_is_read() {
        let text = r#"[{"scope":"workload","rules":12,"milliseconds":1.5,"bytes":4096,"source_classes":1,
            "source_states":0,"sources_overflow":false,"error":null,"automata":[
            {"class":"file","automaton":"literals","patterns":9,"states":70,"bytes":600,"sets":3,"columns":2},
            {"class":"file","automaton":"globs 1","patterns":1,"states":30,"bytes":300,"sets":1,"columns":2}]}]"#;
        let stats = parse(text).unwrap();
        assert_eq!((stats.bytes, stats.automata.len()), (Some(4_096), 2));
        assert!(parse("[]").is_err());
    }
}
