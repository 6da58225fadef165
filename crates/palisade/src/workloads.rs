//! `palisade workloads`: who is protected, by what, and how far.

use palisade_api::palisade::agent_client::AgentClient;
use palisade_api::palisade::{ListWorkloadsRequest, Workload};

use crate::client::{self, AgentSocket, Client};
use crate::out::{self, Outcome};
use crate::text;

/// Show who runs: which policies select it, what carries them out, and how far.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON, with labels, cgroups and postures
    #[arg(long)]
    json: bool,
    /// List what is not carried out of each workload's policies
    #[arg(long)]
    gaps: bool,
    #[command(flatten)]
    agent: AgentSocket,
}

/// Shows them. [`Outcome::Failed`] where one is not protected as its policies say.
///
/// # Errors
/// No agent.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { json, gaps, agent } = args;
    let client = Client::connect(&agent.socket)?;
    let listed = client.wait(AgentClient::new(client.channel.clone()).list_workloads(ListWorkloadsRequest {}));
    let workloads = client::answer(listed)?.workloads;
    if *json {
        out::print_json(&workloads)?;
    } else {
        out::print(&shown(&workloads, *gaps))?;
    }
    let failed = workloads.iter().any(|workload| !workload.problem.is_empty());
    Ok(if failed { Outcome::Failed } else { Outcome::Passed })
}

fn shown(workloads: &[Workload], gaps: bool) -> String {
    let mut table = text::table(&["workload", "namespace", "enforcer", "coverage", "generation", "policies"]);
    let mut below = String::new();
    for Workload { name, namespace, enforcer, coverage, gaps: of, problem, generation, policies, .. } in workloads {
        let enforcer = if enforcer.is_empty() { "none" } else { enforcer };
        let coverage =
            if of.is_empty() { coverage.clone() } else { format!("{coverage}, {}", text::count(of.len(), "gap", "gaps")) };
        let policies = if policies.is_empty() { "none".to_owned() } else { policies.join("\n") };
        let cells = [name.as_str(), namespace, enforcer, &coverage, &generation.to_string(), &policies];
        table.add_row(cells.map(text::cell).to_vec());
        if !problem.is_empty() {
            below.push_str(&format!("{} {}: {}\n", text::red("error:"), text::name(name.as_bytes()), text::lines(problem)));
        }
        for gap in of.iter().filter(|_| gaps) {
            below.push_str(&format!("{}: {}: {}\n", text::name(name.as_bytes()), gap.name, text::lines(&gap.text)));
        }
    }
    if workloads.is_empty() {
        return "no unit that the agent's configuration names is running\n".to_owned();
    }
    text::table_text(&table) + &below
}
