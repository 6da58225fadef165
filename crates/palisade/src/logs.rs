//! `palisade logs`: what policies denied and reported, from the agent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use palisade_api::feeder::log_service_client::LogServiceClient;
use palisade_api::feeder::{Alert, RequestMessage};
use palisade_api::filter::{Field, Filter, Wanted};
use palisade_event::json;

use crate::client::{self, AgentSocket, Client};
use crate::out::{self, Outcome};
use crate::text;

/// Show what policies denied and reported, as the agent tells it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on with what happens from now on; with --since also what the agent keeps of before
    #[arg(short, long)]
    follow: bool,
    /// How to write them
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// End after so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Only what happened in the last so many seconds, minutes, hours or days: 30s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only of namespaces that this regular expression matches, whatever the case
    #[arg(short, long, value_name = "PATTERN")]
    namespace: Option<String>,
    /// The same for pods
    #[arg(long, value_name = "PATTERN")]
    pod: Option<String>,
    /// The same for containers and units
    #[arg(long, value_name = "PATTERN")]
    container: Option<String>,
    /// The same for operations: Process, File, Network, Capabilities
    #[arg(long, value_name = "PATTERN")]
    operation: Option<String>,
    /// The same for the names of policies
    #[arg(long, value_name = "PATTERN")]
    policy: Option<String>,
    /// The same for actions: Block, Audit
    #[arg(long, value_name = "PATTERN")]
    action: Option<String>,
    /// The same for types: MatchedPolicy
    #[arg(long, value_name = "PATTERN", alias = "logType")]
    log_type: Option<String>,
    /// Only of sources that this regular expression matches
    #[arg(long, value_name = "PATTERN")]
    source: Option<String>,
    /// Only of resources that this regular expression matches
    #[arg(long, value_name = "PATTERN")]
    resource: Option<String>,
    /// Only of workloads with this label; may be given several times
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// What is shown: what policies speak of, what the system does without one, both
    #[arg(long, value_enum, default_value_t = LogFilter::Policy, alias = "logFilter")]
    log_filter: LogFilter,
    #[command(flatten)]
    agent: AgentSocket,
}

const EXAMPLES: &str = "\
Examples:
  # what the agent keeps, the oldest first
  palisade logs
  # from now on, one JSON object a line
  palisade logs --follow -o json
  palisade logs --since 10m --operation file --action block
  # wait for one
  palisade logs --follow --limit 1 --container nginx

What a reader missed because it did not keep up is shown where it is missing, whatever is filtered by.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `Key: value` lines, as karmor writes them
    Text,
    /// One JSON object a line
    Json,
    /// JSON objects, indented
    PrettyJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFilter {
    /// What policies deny and report
    Policy,
    /// Everything else: not there yet
    System,
    /// Both: not there yet
    All,
}

/// Shows them.
///
/// # Errors
/// Patterns that are none, no agent, a pipe that closes.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    if args.log_filter != LogFilter::Policy {
        bail!("only --log-filter policy is there yet: the agent sees nothing that no policy speaks of");
    }
    let filter = args.filter()?;
    let client = Client::connect(&args.agent.socket)?;
    let backlog = if args.follow && args.since.is_none() { 0 } else { u32::MAX };
    let request = RequestMessage {
        filter: Wanted::Policy.word().to_owned(),
        palisade_backlog: backlog,
        palisade_backlog_only: !args.follow,
    };
    client.wait(async {
        let mut service = LogServiceClient::new(client.channel.clone());
        let mut alerts = client::answer(service.watch_alerts(request).await)?;
        let mut left = args.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let alert = alerts.message().await;
            let Some(alert) = alert.map_err(|status| anyhow::anyhow!("the agent broke off: {}", status.message()))? else {
                // Whoever follows wanted to go on.
                return Ok(if args.follow { Outcome::Failed } else { Outcome::Passed });
            };
            if filter.wants(&alert) {
                out::print(&shown(&alert, args.output)?)?;
                left -= 1;
            }
        }
        Ok(Outcome::Passed)
    })
}

// === impl Args ===

impl Args {
    fn filter(&self) -> anyhow::Result<Filter> {
        let fields = [
            (Field::Namespace, &self.namespace),
            (Field::Pod, &self.pod),
            (Field::Container, &self.container),
            (Field::Operation, &self.operation),
            (Field::Policy, &self.policy),
            (Field::Action, &self.action),
            (Field::Type, &self.log_type),
            (Field::Source, &self.source),
            (Field::Resource, &self.resource),
        ];
        let mut filter = Filter::default();
        for (field, pattern) in fields {
            if let Some(pattern) = pattern {
                filter = filter.field(field, pattern)?;
            }
        }
        for pair in &self.labels {
            filter = filter.label(pair);
        }
        if let Some(since) = self.since {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            filter = filter.since(i64::try_from(now.saturating_sub(since).as_secs()).unwrap_or(i64::MAX));
        }
        Ok(filter)
    }
}

/// `30s`, `10m`, `2h`, `1d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    const WHAT: &str = "a time is a number and s, m, h or d";
    let unit = text.chars().last().ok_or(WHAT)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(WHAT.to_owned()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| WHAT.to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long ago".to_owned())
}

fn shown(alert: &Alert, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => as_text(alert)?,
        Format::Json => json::line(alert).context("cannot write an alert as JSON")?,
        Format::PrettyJson => out::pretty_json(alert)?,
    })
}

/// The fields that karmor writes first, in its order; the rest follows by name.
const FIRST: [&str; 20] = [
    "ClusterName",
    "HostName",
    "NamespaceName",
    "PodName",
    "Labels",
    "ContainerName",
    "ContainerID",
    "ContainerImage",
    "Type",
    "PolicyName",
    "Severity",
    "Message",
    "Source",
    "Resource",
    "Operation",
    "Action",
    "Data",
    "EventData",
    "Enforcer",
    "Result",
];
/// They are in the head line.
const TIMES: [&str; 2] = ["Timestamp", "UpdatedTime"];

fn as_text(alert: &Alert) -> anyhow::Result<String> {
    let value = serde_json::to_value(alert).context("cannot write an alert as text")?;
    let time = alert.updated_time.replace('T', " ");
    let mut out = format!("== Alert / {} ==\n", text::name(time.trim_end_matches('Z').as_bytes()));
    let empty = serde_json::Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let rest = fields.keys().map(String::as_str).filter(|key| !FIRST.contains(key) && !TIMES.contains(key));
    for key in FIRST.into_iter().chain(rest) {
        let Some(value) = fields.get(key) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push_str(&format!("{key}: {}\n", text::name(value.as_bytes())));
    }
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(parse_duration("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(parse_duration("0s").unwrap(), Duration::ZERO);
        for text in ["", "10", "m", "1w", "-1s", "1h30m", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_as_karmor_writes_it_and_cannot_be_faked() {
        let alert = Alert {
            timestamp: 1_790_000_000,
            updated_time: "2026-09-21T14:13:20.123456Z".to_owned(),
            host_name: "node1".to_owned(),
            operation: "File".to_owned(),
            resource: "/x\nAction: Allow".to_owned(),
            pid: 7,
            ..Alert::default()
        };
        let expected = "== Alert / 2026-09-21 14:13:20.123456 ==\nHostName: node1\nResource: /x\\x0aAction: Allow\n\
                        Operation: File\nPID: 7\n\n";
        assert_eq!(as_text(&alert).unwrap(), expected);
    }
}
