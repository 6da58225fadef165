//! gRPC on a Unix socket: KubeArmor's services, Palisade's own, health and reflection.
//!
//! ```text
//! feeder.LogService     log      Hub -> a subscription for each stream
//! policy.PolicyService  policy   Requests -> the world's loop -> what became of it
//! policy.ProbeService   policy   StatusCell
//! palisade.v1.Agent     agent    StatusCell
//! grpc.health.v1, grpc.reflection.v1
//! ```
//! The one place with an async runtime: one thread. Whoever may open the socket may do everything: it is root's, and that
//! of the group `palisade` where there is one.
//!
//! *Not* here yet: TCP, TLS, `state_agent.StateAgent` (it answers "unimplemented").

mod agent;
mod log;
mod policy;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use palisade_api::feeder::log_service_server::LogServiceServer;
use palisade_api::palisade::agent_server::AgentServer;
use palisade_api::policy::policy_service_server::PolicyServiceServer;
use palisade_api::policy::probe_service_server::ProbeServiceServer;
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::pipeline::Hub;
use crate::pipeline::hub::WhenFull;
use crate::world::{Requests, StatusCell};

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The socket.
    pub socket: PathBuf,
    /// Records that wait for a client at most.
    pub queue: usize,
    /// What happens to those beyond.
    pub when_full: WhenFull,
    /// The node's name, in probe data.
    pub node: String,
}

/// The running services.
#[derive(Debug)]
pub struct Serving {
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Why nothing is served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Reflection cannot be set up.
    #[error("cannot set reflection up: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The runtime or its thread cannot be started.
    #[error("cannot start the thread that serves: {0}")]
    Start(#[source] io::Error),
}

/// The group that may use the socket beside root.
const GROUP: &str = "palisade";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// How long the end waits for what clients have not read.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often it is looked whether the agent is ready.
const LOOK: Duration = Duration::from_millis(100);
const SERVICES: [&str; 4] = ["feeder.LogService", "policy.PolicyService", "policy.ProbeService", "palisade.v1.Agent"];

// === impl Serving ===

impl Serving {
    /// Starts to serve.
    ///
    /// # Assumptions
    /// No other agent lives ([`crate::world::Instance`]): what is at the socket's path is left from one that was killed.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn start(options: ServeOptions, hub: Hub, status: StatusCell, requests: Requests) -> Result<Self, ServeError> {
        let socket = options.socket.clone();
        let listener = listen_at(&socket).map_err(|source| ServeError::Listen { path: socket.clone(), source })?;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(palisade_api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServeError::Reflection)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(ServeError::Start)?;
        let (stop, stopped) = oneshot::channel();
        let (reporter, health) = tonic_health::server::health_reporter();
        let ServeOptions { socket: _, queue, when_full, node } = options;
        let server = Server::builder()
            .add_service(health)
            .add_service(reflection)
            .add_service(LogServiceServer::new(log::Log { hub, queue, when_full }))
            .add_service(PolicyServiceServer::new(policy::Policies { requests }))
            .add_service(ProbeServiceServer::new(policy::Probe { status: status.clone(), node }))
            .add_service(AgentServer::new(agent::Agent { status: status.clone() }));
        let work = move || {
            let served = async move {
                let Ok(listener) = UnixListener::from_std(listener) else { return };
                tokio::spawn(report(reporter, status));
                let serving = server.serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    _ = serving => {}
                    _ = stopped => {}
                }
            };
            end(runtime, served);
        };
        let thread = thread::Builder::new().name("grpc".to_owned()).spawn(work).map_err(ServeError::Start)?;
        Ok(Self { socket, stop, thread })
    }

    /// Ends it. Streams whose hub is closed get what waits for them, for half a second at most.
    pub fn stop(self) {
        let Self { socket, stop, thread } = self;
        // Where the thread has ended already, nobody is there to be told.
        let _ = stop.send(());
        drop(thread.join());
        drop(fs::remove_file(socket)); // left behind, it would be replaced by the next agent
    }
}

/// Runs until it is to end, then lets what is on its way arrive.
fn end(runtime: Runtime, served: impl Future<Output = ()>) {
    runtime.block_on(async {
        served.await;
        tokio::time::sleep(FAREWELL).await;
    });
    runtime.shutdown_background();
}

/// Every service is healthy once the agent has put into force what it found at its start.
async fn report(reporter: tonic_health::server::HealthReporter, status: StatusCell) {
    while !status.get().ready {
        tokio::time::sleep(LOOK).await;
    }
    for service in SERVICES.into_iter().chain([""]) {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
}

/// Listens with mode 0660. Nobody can connect before that is so: until then the mode is narrower, and nothing listens.
fn listen_at(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let group = group(GROUP);
    if let Some(directory) = path.parent()
        && !directory.exists()
    {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o750))?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(0o600))?; // what `bind` makes it by
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Lets the group through to its socket in a directory that is root's alone.
///
/// # Errors
/// If the directory cannot be changed.
pub fn open_to_group(directory: &Path) -> io::Result<()> {
    let Some(group) = group(GROUP) else { return Ok(()) };
    chown(directory, None, Some(group))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o710))
}

/// The id of a group of this machine's `/etc/group`.
fn group(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut fields =
        groups.lines().map(|line| line.split(':')).find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}
