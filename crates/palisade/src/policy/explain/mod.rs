//! `palisade policy explain`: one access, its verdict, and every rule that had a say.

mod arguments;
mod render;

use std::path::PathBuf;

use palisade_policy::model::Policy;
use palisade_ruleset::{Postures, RuleSet, Scope, Workload};

use super::access::Question;
use super::input::Input;
use crate::out::{self, Outcome};
use crate::tree::{RootDir, World};
use arguments::{Subject, Task};

const EXAMPLES: &str = "\
Examples:
  palisade policy explain nginx.yaml --exec /bin/sh --from /usr/sbin/nginx
  palisade policy explain policies/ --write /etc/passwd --label app=web --namespace production
  palisade policy explain nginx.yaml --socket udp --json
  palisade policy explain backend.yaml --connect 10.0.0.5:5432 --from /app/server
  palisade policy explain shells.yaml --exec /bin/sh --root ./image
  palisade policy explain --base

The verdict is Allow (passes), Audit (passes, reported) or Block (denied, reported). Exit code 0 whatever it is.";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "palisade policy explain FILE... (--exec PATH | --read PATH | --write PATH | --map-exec PATH |\n       --socket SOCKET | --connect IP:PORT | --bind IP:PORT | --capability NAME) [OPTIONS]\n       palisade policy explain --base [--json]"
)]
pub(crate) struct Args {
    /// Files of policies; `-` is stdin; of a directory its *.yaml and *.yml
    #[arg(value_name = "FILE", required_unless_present = "base")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    task: Task,
    #[command(flatten)]
    target: Target,
    /// Resolve links, owners and #! lines in this directory, as if it were /
    #[arg(long, value_name = "DIR", help_heading = "The workload")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long, help_heading = "Options")]
    json: bool,
}

/// For whom the policies are applied.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The workload")]
pub(crate) struct Target {
    /// A label of the workload; without any, selectors are ignored and every policy applies
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = arguments::label)]
    labels: Vec<(String, String)>,
    /// Its namespace [default: default]
    #[arg(long, value_name = "NAME", requires = "labels")]
    namespace: Option<String>,
    /// A task of the host instead: only host policies apply
    #[arg(long)]
    host: bool,
}

/// Explains one access.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { files, subject, task, target, root, json } = args;
    let Some(what) = subject.what() else {
        render::base(*json)?;
        return Ok(Outcome::Passed);
    };
    let Some(policies) = Input::read(files)?.policies()? else { return Ok(Outcome::Unusable) };
    let world = match root {
        Some(directory) => World::Root(RootDir::open(directory)?),
        None => World::Unknown,
    };
    let workload = target.workload();
    let rules = RuleSet::new(&policies, &workload, &world);
    let question: Question = task.question(what);
    let answer = question.ask(&rules, &world);
    if *json {
        out::print_json(&render::json(&answer, &rules))?;
    } else {
        let left_out = left_out(&policies, &rules);
        out::print(&render::people(&answer, &rules, &left_out))?;
    }
    Ok(Outcome::Passed)
}

/// The policies that do not concern the workload, by name.
fn left_out(policies: &[Policy], rules: &RuleSet) -> Vec<String> {
    let concerns = |policy: &&Policy| rules.rules().iter().any(|rule| *rule.policy == policy.key);
    policies.iter().filter(|policy| !concerns(policy)).map(|policy| policy.key.to_string()).collect()
}

// === impl Target ===

impl Target {
    fn workload(&self) -> Workload {
        let Self { labels, namespace, host } = self;
        let (scope, postures) = if *host { (Scope::Host, Postures::HOST) } else { (Scope::Workload, Postures::WORKLOAD) };
        Workload {
            scope,
            postures,
            namespace: namespace.clone().unwrap_or_else(|| "default".to_owned()),
            ignore_selectors: labels.is_empty(),
            labels: labels.iter().cloned().collect(),
            ..Workload::run()
        }
    }
}
