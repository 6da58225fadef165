//! `palisade policy test`: accesses with the verdicts that are expected of policies.
//!
//! ```text
//! FILE.test.yaml -> format (YAML as written) -> cases (questions with expectations) -> ask -> render
//! ```

mod cases;
mod format;
mod render;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_ruleset::RuleSet;

use super::input::{Input, TEST_ENDING, files_in, read_text};
use crate::out::{self, Outcome};
use crate::tree::{RootDir, World};
use cases::{Case, Suite};
use render::{Checked, Report};

const EXAMPLES: &str = r#"A test file:
  policies: [nginx.yaml]              # relative to the test file
  workload:                           # all of it optional
    labels: {app: web}                # given: selectors are honoured; else every policy applies
    namespace: production
    container: nginx
    host: false                       # true: a task of the host, with host policies
    hostname: node-1                  # the node's name
    mode: enforce                     # audit: verdicts are the same, nothing would be denied
    baseSet: true
    postures: {file: block, network: block, capabilities: audit}
    links: {/bin: usr/bin, /usr/bin/sh: dash}    # symbolic links of its tree
    root: ./image                     # or a whole tree, relative to the test file
  defaults: {from: /usr/sbin/nginx, uid: 33}     # of every test below
  tests:
  - allow: {exec: /usr/sbin/nginx, read: [/etc/nginx/nginx.conf, /etc/passwd], socket: tcp}
  - block: {exec: [/bin/sh, /usr/bin/curl], write: /etc/nginx/x, socket: [udp, raw]}
  - audit: {read: /etc/shadow}
  - name: a shell, and why it is denied
    exec: /bin/sh
    as: rsh                           # argv[0]; arguments: args: [-c, id]
    tty: true
    expect: Block
    rule: "nginx:process.matchDirectories[0]"    # who decides: POLICY:POSITION, or DefaultPosture,
                                                 # BaseSet, none, or a built-in rule

What is done: exec, read, write, mapExec, socket, capability; one or a list of each.
Who does it: from (`unknown` if it cannot be told), uid, owner, tty.

Examples:
  palisade policy test nginx.test.yaml
  palisade policy test policies/ --all"#;

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Test files; of a directory its *.test.yaml
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print all accesses with their verdicts, not only the unexpected ones
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs tests.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { files, all, json } = args;
    let mut reports = Vec::new();
    for path in test_files(files)? {
        match run_file(&path)? {
            Some(report) => reports.push(report),
            None => return Ok(Outcome::Unusable),
        }
    }
    if *json {
        out::print_json(&reports.iter().map(Report::json).collect::<Vec<_>>())?;
    } else {
        out::print(&render::people(&reports, *all))?;
    }
    let passed = reports.iter().all(Report::passed);
    Ok(if passed { Outcome::Passed } else { Outcome::Failed })
}

fn test_files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            let found = files_in(path, |name| name.ends_with(TEST_ENDING))?;
            if found.is_empty() {
                bail!("{}: no *{TEST_ENDING} in this directory", path.display());
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Runs one file. `None` where its policies are invalid, which has been told.
fn run_file(path: &Path) -> anyhow::Result<Option<Report>> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let text = read_text(file).with_context(|| format!("cannot read {name}"))?;
    let suite = Suite::read(&name, &text)?;
    let Suite { policies, workload, links, root, cases } = suite;

    let directory = path.parent().unwrap_or(Path::new(""));
    let files: Vec<PathBuf> = policies.iter().map(|policy| directory.join(policy)).collect();
    let Some(policies) = Input::read(&files).with_context(|| name.clone())?.policies()? else { return Ok(None) };
    let world = match (root, links) {
        (Some(root), _) => World::Root(RootDir::open(&directory.join(root))?),
        (None, Some(links)) => World::Links(links),
        (None, None) => World::Unknown,
    };
    let rules = RuleSet::new(&policies, &workload, &world);
    let check = |Case { name, line, column, question, expected }: Case| Checked {
        title: question.title(&world),
        answer: question.ask(&rules, &world),
        name,
        line,
        column,
        expected,
    };
    let checked = cases.into_iter().map(check).collect();
    Ok(Some(Report { file: name, mode: workload.mode, rules, checked }))
}
