//! `palisade policy compile`: whether policies fit the tables that the kernel walks, and how large these are.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use palisade_policy::model::{Kind, Policy};
use palisade_ruleset::{
    AutomatonStats, ClassStats, CompileError, Compiled, NoLinks, Postures, RuleId, RuleSet, Scope, Stamp, Stats, Workload,
    compile,
};
use serde::Serialize;

use super::input::Input;
use crate::out::{self, Outcome};
use crate::text;

const EXAMPLES: &str = "\
Examples:
  palisade policy compile nginx.yaml
  palisade policy compile policies/ --stats
  palisade policy compile policies/ --stats --json

All policies of the files are compiled together, as for a workload that all of them select; host \
policies as for a host. Exit code 1 if a limit is exceeded: the rules to blame are listed.";

/// Arguments of `compile`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of policies; `-` is stdin; of a directory its *.yaml and *.yml
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print every automaton: patterns, states, bytes
    #[arg(long)]
    stats: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of one table.
#[derive(Debug)]
struct Built {
    scope: Scope,
    rules: RuleSet,
    result: Result<Compiled, CompileError>,
    time: Duration,
}

/// Compiles policies.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { files, stats, json } = args;
    let Some(policies) = Input::read(files)?.policies()? else { return Ok(Outcome::Unusable) };
    let host = |policy: &&Policy| policy.key.kind == Kind::Host;
    let mut built = Vec::new();
    if policies.iter().any(|policy| !host(&policy)) || policies.is_empty() {
        built.push(build(&policies, Scope::Workload));
    }
    if policies.iter().any(|policy| host(&policy)) {
        built.push(build(&policies, Scope::Host));
    }
    if *json {
        out::print_json(&built.iter().map(Built::json).collect::<Vec<_>>())?;
    } else {
        out::print(&built.iter().map(|built| built.people(*stats)).collect::<String>())?;
    }
    Ok(if built.iter().all(|built| built.result.is_ok()) { Outcome::Passed } else { Outcome::Failed })
}

fn build(policies: &[Policy], scope: Scope) -> Built {
    let postures = match scope {
        Scope::Workload => Postures::WORKLOAD,
        Scope::Host => Postures::HOST,
    };
    let start = Instant::now();
    let rules = RuleSet::new(policies, &Workload { scope, postures, ..Workload::run() }, &NoLinks);
    let result = compile(&rules, Stamp { table_id: 1, generation: 1 });
    Built { scope, rules, result, time: start.elapsed() }
}

// === impl Built ===

/// One table as JSON.
#[derive(Debug, Serialize)]
struct TableJson {
    scope: &'static str,
    rules: usize,
    milliseconds: f64,
    bytes: Option<usize>,
    source_classes: Option<usize>,
    source_states: Option<usize>,
    sources_overflow: Option<bool>,
    automata: Vec<AutomatonJson>,
    error: Option<ErrorJson>,
}

#[derive(Debug, Serialize)]
struct AutomatonJson {
    class: &'static str,
    automaton: String,
    patterns: usize,
    states: usize,
    bytes: usize,
    sets: usize,
    columns: usize,
}

#[derive(Debug, Serialize)]
struct ErrorJson {
    message: String,
    rules: Vec<BlamedJson>,
}

#[derive(Debug, Serialize)]
struct BlamedJson {
    policy: String,
    rule: String,
    file: String,
    line: u32,
}

impl Built {
    fn json(&self) -> TableJson {
        let Self { scope: _, rules, result, time } = self;
        let stats = result.as_ref().ok().map(Compiled::stats);
        let error = result.as_ref().err().map(|error| ErrorJson { message: error.to_string(), rules: self.blamed(error) });
        TableJson {
            scope: self.scope_word(),
            rules: rules.rules().len(),
            milliseconds: milliseconds(*time),
            bytes: stats.map(|s| s.bytes),
            source_classes: stats.map(|s| s.source_classes),
            source_states: stats.map(|s| s.source_states),
            sources_overflow: stats.map(|s| s.sources_overflow),
            automata: stats.map(automata).unwrap_or_default(),
            error,
        }
    }

    fn people(&self, with_stats: bool) -> String {
        let Self { scope: _, rules, result, time } = self;
        let head = format!("{}, {}", self.scope_word(), text::count(rules.rules().len(), "rule", "rules"));
        match result {
            Ok(compiled) => {
                let Stats { process: _, file: _, network: _, source_classes, source_states, bytes, sources_overflow } =
                    compiled.stats();
                let mut out = format!("{}: {head}: {bytes} bytes in {:.1} ms\n", text::green("compiled"), milliseconds(*time));
                if *sources_overflow {
                    let note = text::yellow("note");
                    out.push_str(&format!(
                        "{note}: scripts meet more kinds of sources than are told apart; the rest count as unknown\n"
                    ));
                }
                if with_stats {
                    out.push_str(&format!("sources: {source_classes} classes, {source_states} states\n"));
                    out.push_str(&stats_table(&automata(compiled.stats())));
                }
                out
            }
            Err(error) => {
                let mut out = format!("{}: {head}: {}\n", text::red("too large"), text::lines(&error.to_string()));
                for BlamedJson { policy, rule, file, line } in self.blamed(error) {
                    out.push_str(&text::lines(&format!("  {file}:{line}: {rule} of {policy}\n")));
                }
                out
            }
        }
    }

    fn scope_word(&self) -> &'static str {
        match self.scope {
            Scope::Workload => "workload",
            Scope::Host => "host",
        }
    }

    fn blamed(&self, error: &CompileError) -> Vec<BlamedJson> {
        let ids: &[RuleId] = match error {
            CompileError::GlobsExplode { rules, .. }
            | CompileError::LiteralsExplode { rules }
            | CompileError::EndpointsExplode { rules }
            | CompileError::SourcesExplode { rules } => rules,
            CompileError::BaseSetExplodes { .. }
            | CompileError::TooManySources { .. }
            | CompileError::TooManyPolicies { .. }
            | CompileError::TooLarge { .. }
            | CompileError::IndexSpace { .. }
            // These, and any new one until it is known here, are about all rules together.
            | _ => &[],
        };
        let blamed = |id: &RuleId| {
            let rule = self.rules.rule(*id)?;
            Some(BlamedJson {
                policy: rule.policy.to_string(),
                rule: rule.position().to_string(),
                file: rule.origin().file.to_string(),
                line: rule.origin().line,
            })
        };
        ids.iter().filter_map(blamed).collect()
    }
}

fn automata(stats: &Stats) -> Vec<AutomatonJson> {
    let Stats { process, file, network, source_classes: _, source_states: _, bytes: _, sources_overflow: _ } = stats;
    let mut found = Vec::new();
    for (class, ClassStats { columns, automata }) in [("process", process), ("file", file), ("network", network)] {
        for AutomatonStats { place, patterns, states, words, sets } in automata {
            const WORD_BYTES: usize = 8;
            found.push(AutomatonJson {
                class,
                automaton: automaton_name(*place),
                patterns: *patterns,
                states: *states,
                bytes: words * WORD_BYTES,
                sets: *sets,
                columns: *columns,
            });
        }
    }
    found
}

fn automaton_name(place: usize) -> String {
    match place {
        0 => "literals".to_owned(),
        1..=8 => format!("globs {place}"),
        9 => "invocations".to_owned(),
        _ => "base set".to_owned(),
    }
}

fn stats_table(automata: &[AutomatonJson]) -> String {
    if automata.is_empty() {
        return String::new();
    }
    let mut table = text::table(&["Class", "Automaton", "Patterns", "States", "Bytes", "Accept sets", "Columns"]);
    for AutomatonJson { class, automaton, patterns, states, bytes, sets, columns } in automata {
        let numbers = [patterns, states, bytes, sets, columns].map(ToString::to_string);
        table.add_row([(*class).to_owned(), automaton.clone()].into_iter().chain(numbers));
    }
    text::table_text(&table)
}

fn milliseconds(time: Duration) -> f64 {
    const THOUSANDTHS: f64 = 1_000.0;
    (time.as_secs_f64() * THOUSANDTHS * THOUSANDTHS).round() / THOUSANDTHS
}
