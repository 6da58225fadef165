//! `palisade policy add`, `delete` and `list`: policies of the running agent.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use palisade_api::palisade::agent_client::AgentClient;
use palisade_api::palisade::{ListPoliciesRequest, ListPoliciesResponse, Policy};
use palisade_api::policy::policy_service_client::PolicyServiceClient;
use palisade_api::policy::{Policy as Sent, PolicyStatus, Response};
use serde_json::{Value, json};

use super::input::Input;
use crate::client::{self, AgentSocket, Client};
use crate::out::{self, Outcome};
use crate::text;

/// Arguments of `add` and `delete`.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// A policy file, or a directory of them
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    agent: AgentSocket,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentSocket,
}

/// What is to become of the policies of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Delete,
}

/// Sends the policies of a file, one after the other. [`Outcome::Failed`] where one was not taken.
///
/// # Errors
/// A file that cannot be read, no agent, an agent that refuses.
pub(super) fn change(args: &ChangeArgs, change: Change) -> anyhow::Result<Outcome> {
    let ChangeArgs { file, agent } = args;
    let input = Input::read(std::slice::from_ref(file))?;
    // Checked here first: then problems come with the lines of the file.
    if input.policies()?.is_none() {
        return Ok(Outcome::Unusable);
    }
    let mut objects = Vec::new();
    for (name, content) in input.texts() {
        for document in serde_saphyr::from_multiple::<Value>(content).with_context(|| format!("cannot read {name}"))? {
            objects.extend(policies_of(document));
        }
    }
    if objects.is_empty() {
        bail!("no policy in {}", file.display());
    }
    let client = Client::connect(&agent.socket)?;
    let mut outcome = Outcome::Passed;
    for object in objects {
        let name = format!("{} {}", word(&object["kind"]), word(&object["metadata"]["name"]));
        let Response { status, palisade_problems } = send(&client, change, &object)?;
        let status = PolicyStatus::try_from(status).unwrap_or(PolicyStatus::Failure);
        out::print(&format!("{}: {}\n", text::name(name.as_bytes()), status.as_str_name()))?;
        if !palisade_problems.is_empty() {
            out::print_error(&palisade_problems.iter().map(|problem| format!("{}\n", text::lines(problem))).collect::<String>())?;
        }
        if !matches!(status, PolicyStatus::Applied | PolicyStatus::Modified | PolicyStatus::Deleted) {
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

fn send(client: &Client, change: Change, object: &Value) -> anyhow::Result<Response> {
    let r#type = match change {
        Change::Add => "ADDED",
        Change::Delete => "DELETED",
    };
    let sent = Sent { policy: json!({ "type": r#type, "object": object }).to_string().into_bytes().into() };
    let mut service = PolicyServiceClient::new(client.channel.clone());
    let answer = match object["kind"].as_str() {
        Some("KubeArmorHostPolicy") => client.wait(service.host_policy(sent)),
        _ => client.wait(service.container_policy(sent)),
    };
    client::answer(answer)
}

/// The policies of a document: itself, or the items of a list.
fn policies_of(document: Value) -> Vec<Value> {
    if document.is_null() {
        return Vec::new();
    }
    match document.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![document],
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Shows the policies in force, and what keeps others from it: then [`Outcome::Failed`].
///
/// # Errors
/// No agent.
pub(super) fn list(args: &ListArgs) -> anyhow::Result<Outcome> {
    let ListArgs { json, agent } = args;
    let client = Client::connect(&agent.socket)?;
    let listed = client.wait(AgentClient::new(client.channel.clone()).list_policies(ListPoliciesRequest {}));
    let listed = client::answer(listed)?;
    if *json {
        out::print_json(&listed)?;
    } else {
        out::print(&shown(&listed))?;
    }
    Ok(if listed.problems.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

fn shown(listed: &ListPoliciesResponse) -> String {
    let ListPoliciesResponse { policies, problems, generation } = listed;
    let mut out = String::new();
    if policies.is_empty() {
        out.push_str("no policy\n");
    } else {
        let mut table = text::table(&["policy", "from", "mode", "selects"]);
        for Policy { kind, namespace, name, origin, mode, workloads } in policies {
            let key = if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") };
            let selects = if workloads.is_empty() { "nothing".to_owned() } else { workloads.join("\n") };
            table.add_row([key.as_str(), origin, mode, &selects].map(text::cell).to_vec());
        }
        out.push_str(&text::table_text(&table));
        out.push_str(&format!("generation {generation}\n"));
    }
    for problem in problems {
        out.push_str(&format!("{} {}\n", text::red("not used:"), text::lines(problem)));
    }
    out
}
