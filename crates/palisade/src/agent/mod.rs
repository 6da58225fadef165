//! `palisade agent`: this machine's units under the policies of a directory, until it is told to end. What it protects
//! stays protected.

mod config;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_agent::enforce::bpf::detach_all;
use palisade_agent::enforce::enforcer::BpfFleet;
use palisade_agent::pipeline::hub::WhenFull;
use palisade_agent::serve::{ServeOptions, Serving, open_to_group};
use palisade_agent::workload::units::{UnitSpec, Units};
use palisade_agent::world::{Agent, AgentOptions, Instance};
use palisade_event::Level;

use self::config::Config;
use crate::host::host;
use crate::out::{self, Outcome};
use crate::text;

/// Run the agent of this machine: units under policies, events for whoever asks.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration (YAML); what a flag says as well, the flag says
    #[arg(long, value_name = "FILE", env = "PALISADE_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of policy files, followed as they change
    #[arg(long, value_name = "DIR", env = "PALISADE_POLICIES")]
    policies: Option<PathBuf>,
    /// A systemd unit that is a workload, by its name; `*` stands for any text; may be given several times
    #[arg(long = "unit", value_name = "NAME", env = "PALISADE_UNITS", value_delimiter = ' ')]
    units: Vec<String>,
    /// The namespace of units, and of policies, that name none [default: container_namespace]
    #[arg(long, value_name = "NAME", env = "PALISADE_NAMESPACE")]
    namespace: Option<String>,
    /// Where policies that came over the socket, and the last good texts of files, are kept [default: /var/lib/palisade]
    #[arg(long, value_name = "DIR", env = "PALISADE_STATE")]
    state: Option<PathBuf>,
    /// Where to listen for `palisade logs`, `workloads` and `policy` [default: /run/palisade/agent.sock]
    #[arg(long, value_name = "PATH", env = "PALISADE_SOCKET")]
    socket: Option<PathBuf>,
    /// Records that wait for a reader of events at most [default: 4096]
    #[arg(long, value_name = "RECORDS", env = "PALISADE_QUEUE")]
    queue: Option<usize>,
    /// What happens where a reader does not keep up [default: drop-oldest]
    #[arg(long, value_enum, env = "PALISADE_WHEN_FULL")]
    when_full: Option<Full>,
    /// Records kept for readers that come later [default: 1024]
    #[arg(long, value_name = "RECORDS", env = "PALISADE_HISTORY")]
    history: Option<usize>,
    /// The name of the cluster in events
    #[arg(long, value_name = "NAME", env = "PALISADE_CLUSTER")]
    cluster: Option<String>,
    /// Take all enforcement off this machine and end; no agent and no `palisade run` may be running
    #[arg(long, exclusive = true)]
    detach: bool,
}

const EXAMPLES: &str = "\
Examples:
  palisade agent --policies /etc/palisade/policies --unit nginx.service
  palisade agent --config /etc/palisade/agent.yaml
  # everything off; ending the agent alone leaves everything in force
  palisade agent --detach

What the configuration says, how policies select units and what is not there yet: docs/agent.md.";

/// What happens where a reader does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Full {
    /// Its oldest records are dropped and counted in its stream
    DropOldest,
    /// Events wait in the kernel, whose buffer drops and counts the newest
    Block,
}

/// Runs the agent.
///
/// # Errors
/// A configuration that cannot be used, another agent, a kernel that cannot enforce.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    if args.detach {
        let _instance = Instance::begin(Path::new(Instance::LOCK))?;
        detach_all()?;
        out::print_error("palisade: nothing is enforced by BPF-LSM on this machine any more\n")?;
        return Ok(Outcome::Passed);
    }
    let config = args.over(Config::read(args.config.as_deref())?);
    let Config { policies, units, namespace, state, socket, queue, when_full, history, cluster } = config;
    if units.is_empty() {
        bail!("no unit is named (--unit, or `units` in the configuration): the agent would protect nothing");
    }
    let mut host = host();
    host.cluster = cluster;
    let instance = Instance::begin(Path::new(Instance::LOCK))?;
    let units: Vec<UnitSpec> = units.into_iter().map(|unit| unit.spec(&namespace)).collect();
    let source = Units::new(units, host.name.clone())?;
    let fleet = BpfFleet::open().context("the agent enforces by BPF-LSM, which does not work here")?;
    let node = host.name.clone();
    let options = AgentOptions { policies, state, namespace, host, history, log: Box::new(log) };
    let agent = Agent::start(options, Box::new(fleet), vec![Box::new(source)])?;
    agent.requests.stop_on_signals().context("cannot handle signals")?;
    if socket.parent() == Some(Path::new(HOME)) {
        open_to_group(Path::new(HOME)).with_context(|| format!("cannot let the group palisade into {HOME}"))?;
    }
    let when_full = match when_full {
        Full::DropOldest => WhenFull::DropOldest,
        Full::Block => WhenFull::Block,
    };
    let serve = ServeOptions { socket: socket.clone(), queue, when_full, node };
    let serving = Serving::start(serve, agent.hub.clone(), agent.status.clone(), agent.requests.clone())?;
    log(Level::Info, &format!("agent {} by BPF-LSM, listening at {}", env!("CARGO_PKG_VERSION"), socket.display()));
    agent.run();
    serving.stop();
    log(Level::Info, "the agent ends; everything stays in force");
    drop(instance);
    Ok(Outcome::Passed)
}

/// What all palisades of the machine share.
const HOME: &str = "/run/palisade";

// === impl Args ===

impl Args {
    /// The configuration, with what flags say in its place.
    fn over(&self, config: Config) -> Config {
        let Self { config: _, policies, units, namespace, state, socket, queue, when_full, history, cluster, detach: _ } = self;
        let mut all = config.units;
        all.extend(units.iter().filter(|name| !name.is_empty()).map(|name| config::Unit::named(name)));
        Config {
            policies: policies.clone().or(config.policies),
            units: all,
            namespace: namespace.clone().unwrap_or(config.namespace),
            state: state.clone().unwrap_or(config.state),
            socket: socket.clone().unwrap_or(config.socket),
            queue: queue.unwrap_or(config.queue),
            when_full: when_full.unwrap_or(config.when_full),
            history: history.unwrap_or(config.history),
            cluster: cluster.clone().unwrap_or(config.cluster),
        }
    }
}

/// A line on stderr.
fn log(level: Level, text: &str) {
    let word = match level {
        Level::Debug | Level::Info => "",
        Level::Warning => "warning: ",
        Level::Error => "error: ",
    };
    // What cannot be told there is told to whoever reads messages over the socket.
    let _ = out::print_error(&format!("palisade: {word}{}\n", text::name(text.as_bytes())));
}
