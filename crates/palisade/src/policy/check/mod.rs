//! `palisade policy check`: everything to be told about policies at once.
//!
//! ```text
//! parse            problems (errors), notes on single values
//! policy::hints    what the text of one policy shows
//! never            rules that never decide           } by asking `ruleset::explain`: nothing here knows
//! contest          Allows that defeat other Blocks   } how rules rank
//! network          allow-lists without name resolution, Blocks by address that do not hold for all
//! names            --root: links, multi-call binaries, names that are not there
//! needs            --root: programs without their libraries, interpreter, data, temporary directory
//! ```

mod coexist;
mod contest;
mod names;
mod needs;
mod network;
mod never;
mod sample;

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use palisade_policy::model::{Kind, Policy, PolicyMode};
use palisade_policy::{Parsed, Problem, Severity};
use palisade_ruleset::{Postures, RuleSet, Scope, Tree, Workload};

use super::input::Input;
use super::report;
use crate::out::{self, Outcome};
use crate::text;
use crate::tree::RootDir;

const EXAMPLES: &str = "\
Examples:
  palisade policy check nginx.yaml
  palisade policy check policies/ --json
  # also: links, libraries, data, as in this tree
  palisade policy check nginx.yaml --root ./image
  kubectl get ksp -A -o yaml | palisade policy check -

Errors keep a policy from being used; notes do not. Exit code 1 if there are errors.";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of policies; `-` is stdin; of a directory its *.yaml and *.yml (*.test.yaml left out)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Look names up in this directory, as if it were / (an unpacked image, or / itself)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON: an array of {file, line, column, severity, field, message, help}
    #[arg(long)]
    json: bool,
}

/// Checks policies.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { files, root, json } = args;
    let root = root.as_deref().map(RootDir::open).transpose()?;
    let input = Input::read(files)?;
    let Parsed { policies, problems, notes } = input.parse();
    let mut found = problems;
    found.extend(notes);
    found.extend(notes_on(&policies, root.as_ref()));
    sort(&mut found, &input);

    if *json {
        out::print_json(&report::entries(&found))?;
    } else {
        print(&found, &input)?;
        summary(&found, &input, policies.len())?;
    }
    let failed = found.iter().any(|problem| problem.severity == Severity::Error);
    Ok(if failed { Outcome::Failed } else { Outcome::Passed })
}

/// All that is worth knowing about valid policies.
fn notes_on(policies: &[Policy], root: Option<&RootDir>) -> Vec<Problem> {
    let mut notes = palisade_policy::hints(policies);
    for policy in policies {
        notes.extend(policy.gaps.iter().map(|gap| report::note(&gap.origin, gap.field.clone(), gap.text.clone(), "")));
    }
    let enabled: Vec<&Policy> = policies.iter().filter(|policy| policy.mode == PolicyMode::Enabled).collect();
    for policy in &enabled {
        notes.extend(never::notes(policy));
        notes.extend(network::notes(policy));
        if let Some(root) = root {
            notes.extend(names::notes(policy, root));
            notes.extend(needs::notes(policy, root));
        }
    }
    notes.extend(contest::notes(&enabled));
    notes
}

/// By file as given, then line and column; errors before notes.
fn sort(found: &mut Vec<Problem>, input: &Input) {
    let place: HashMap<&str, usize> = input.names().enumerate().map(|(index, name)| (name, index)).collect();
    let key = |p: &Problem| (place.get(&*p.origin.file).copied(), p.origin.line, p.origin.column, p.severity);
    found.sort_by_key(key);
    found.dedup();
}

fn print(found: &[Problem], input: &Input) -> anyhow::Result<()> {
    let text = if std::io::stdout().is_terminal() {
        let coloured = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        report::fancy(found, &input.texts(), coloured)?
    } else {
        report::plain(found)
    };
    Ok(out::print(&text)?)
}

/// On stderr, so that what is piped is findings only.
fn summary(found: &[Problem], input: &Input, policies: usize) -> std::io::Result<()> {
    let errors = found.iter().filter(|p| p.severity == Severity::Error).count();
    let notes = found.len() - errors;
    let line = format!(
        "{}, {}: {}, {}\n",
        text::count(input.len(), "file", "files"),
        text::count(policies, "valid policy", "valid policies"),
        text::count(errors, "error", "errors"),
        text::count(notes, "note", "notes"),
    );
    out::print_error(&if errors > 0 { text::red(&line) } else { text::green(&line) })
}

/// A rule set of these policies alone, for a workload (or host) that all of them select.
fn rules_of(policies: &[&Policy], tree: &dyn Tree) -> RuleSet {
    let is_host = policies.iter().any(|policy| policy.key.kind == Kind::Host);
    let (scope, postures) = if is_host { (Scope::Host, Postures::HOST) } else { (Scope::Workload, Postures::WORKLOAD) };
    let policies: Vec<Policy> = policies.iter().map(|policy| (*policy).clone()).collect();
    RuleSet::new(&policies, &Workload { scope, postures, ..Workload::run() }, tree)
}
