//! An agent over the stub, its policies in a directory of its own, its services at a socket there.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_agent::cgroup::Cgroup;
use palisade_agent::enforce::enforcer::Label;
use palisade_agent::home::Home;
use palisade_agent::pipeline::Hub;
use palisade_agent::pipeline::hub::WhenFull;
use palisade_agent::serve::{ServeOptions, Serving};
use palisade_agent::workload::{Change, Found, Source, SourceError, Tell, WorkloadId};
use palisade_agent::world::{Agent, AgentOptions, Requests, StatusCell};
use palisade_event::Host;
use tonic::transport::{Channel, Endpoint};

use crate::stub::{Held, Kernel, Ring, Stub};

pub(crate) struct Scene {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) kernel: Kernel,
    pub(crate) ring: Ring,
    pub(crate) hub: Hub,
    pub(crate) status: StatusCell,
    requests: Requests,
    units: Sender<Change>,
    thread: JoinHandle<()>,
    serving: Serving,
}

/// How it differs from the usual.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) ring: usize,
    pub(crate) queue: usize,
    pub(crate) when_full: WhenFull,
    pub(crate) refuses: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self { ring: 1000, queue: 1000, when_full: WhenFull::DropOldest, refuses: usize::MAX }
    }
}

/// Tells what it is told.
struct Told(std::sync::mpsc::Receiver<Change>);

impl Source for Told {
    fn start(self: Box<Self>, mut tell: Tell) -> Result<(), SourceError> {
        thread::spawn(move || {
            while let Ok(change) = self.0.recv()
                && tell(change)
            {}
        });
        Ok(())
    }
}

pub(crate) fn mk_policy(name: &str, path: &str) -> String {
    format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         selector: {{matchLabels: {{kubearmor.io/container.name: web.service}}}}\n  action: Block\n  severity: 7\n  \
         file: {{matchPaths: [{{path: {path}}}]}}\n"
    )
}

impl Scene {
    /// With these policy files there before the agent is.
    pub(crate) fn new(setting: Setting, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("policies")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join("policies").join(name), text).unwrap();
        }
        Self::start(directory, Kernel::default(), setting, 0)
    }

    fn start(directory: tempfile::TempDir, kernel: Kernel, setting: Setting, next_table: u32) -> Self {
        let Setting { ring, queue, when_full, refuses } = setting;
        let ring = Ring::new(ring);
        let home = Home::at(&directory.path().join("home")).unwrap();
        let stub = Stub { kernel: kernel.clone(), ring: ring.clone(), home, next_table, refuses };
        let options = AgentOptions {
            policies: Some(directory.path().join("policies")),
            state: directory.path().join("state"),
            namespace: "container_namespace".to_owned(),
            host: Host { name: "node1".to_owned(), ..Host::default() },
            history: 100,
            log: Box::new(|_, _| {}),
        };
        let (units, told) = channel();
        let agent = Agent::start(options, Box::new(stub), vec![Box::new(Told(told))]).unwrap();
        let (hub, status, requests) = (agent.hub.clone(), agent.status.clone(), agent.requests.clone());
        let serve = ServeOptions { socket: directory.path().join("agent.sock"), queue, when_full, node: "node1".to_owned() };
        let serving = Serving::start(serve, hub.clone(), status.clone(), requests.clone()).unwrap();
        let thread = thread::spawn(move || agent.run());
        Self { directory, kernel, ring, hub, status, requests, units, thread, serving }
    }

    /// Ends the agent, as one that is killed ends, and starts the next one on what is left.
    pub(crate) fn restart(self) -> Self {
        let kernel = self.kernel.clone();
        let directory = self.stop();
        Self::start(directory, kernel, Setting::default(), 1000)
    }

    pub(crate) fn stop(self) -> tempfile::TempDir {
        let Self { directory, requests, thread, serving, .. } = self;
        requests.stop();
        thread.join().unwrap();
        serving.stop();
        directory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of policies as careful writers do.
    pub(crate) fn policy(&self, file: &str, text: &str) {
        let beside = self.path("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path("policies").join(file)).unwrap();
    }

    /// A unit of this name comes. Twice: the same one, found again.
    pub(crate) fn unit(&self, name: &str) -> Found {
        let directory = self.path("cgroups").join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup.procs"), "").unwrap();
        let cgroup = Cgroup::open(&directory).unwrap();
        let labels = [("app".to_owned(), name.to_owned())].into();
        let id = WorkloadId::new(name, &cgroup);
        let found = Found { id, cgroup, name: name.to_owned(), namespace: "container_namespace".to_owned(), labels };
        self.tell(Change::Appeared(found.clone()));
        found
    }

    pub(crate) fn tell(&self, change: Change) {
        self.units.send(change).unwrap();
    }

    /// Waits until a unit's newest table is of these policies.
    pub(crate) fn wait_for(&self, unit: &str, policies: &[&str]) -> (Label, Held) {
        let newest = || self.kernel.of(unit).filter(|(_, held)| held.tables.last().is_some_and(|(names, _)| names == policies));
        wait(&format!("{unit} to be under {policies:?}"), newest)
    }

    pub(crate) async fn connect(&self) -> Channel {
        let socket = self.path("agent.sock");
        wait("the socket", || UnixStream::connect(&socket).ok());
        Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
    }
}

/// Waits until there is something.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}
