//! The agent, asked over its socket.

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

/// Where the agent listens.
pub(crate) const SOCKET: &str = "/run/palisade/agent.sock";

/// The flag that says otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentSocket {
    /// The socket of the agent
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

/// A connection to the agent, and what runs it.
pub(crate) struct Client {
    runtime: Runtime,
    /// What services are made of.
    pub(crate) channel: Channel,
}

// === impl Client ===

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where no agent listens, or this user may not open its socket.
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().context("cannot start a runtime")?;
        let path = std::path::absolute(socket).with_context(|| format!("cannot use {}", socket.display()))?;
        let path = path.to_str().ok_or_else(|| anyhow!("{}: not UTF-8", socket.display()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}")).with_context(|| format!("cannot use {path}"))?;
        let connected = runtime.block_on(endpoint.connect());
        let channel = connected.map_err(|error| {
            let error = root(&error);
            anyhow!("no agent answers at {path} ({error}): is `palisade agent` running, and may you open its socket?")
        })?;
        Ok(Self { runtime, channel })
    }

    /// Waits for what is asked of it.
    pub(crate) fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }
}

/// What a call came to: the agent's own words where it refused.
pub(crate) fn answer<T>(result: Result<tonic::Response<T>, tonic::Status>) -> anyhow::Result<T> {
    result.map(tonic::Response::into_inner).map_err(|status| anyhow!("{}", status.message()))
}

/// What an error came from in the end.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
