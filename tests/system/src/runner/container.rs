//! A container that runc makes: its own mount, pid, ipc, uts and cgroup namespaces, its own cgroup, all capabilities (only
//! policies may deny). Its first process starts the acting programs, so each of them is the container's.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use palisade_policy::model::Capability;
use serde_json::{Value, json};

use super::cgroup::RunCgroup;
use super::process::{Process, Start, Stdio2, sockets};
use crate::corpus::MountCase;

/// Where the container sees the program of its first process. It is no part of the root: a mount of its own.
const LAUNCHER: &str = "/.launcher";
/// The namespaces that it always has of its own.
const NAMESPACES: [&str; 5] = ["mount", "pid", "ipc", "uts", "cgroup"];
/// The type of an overlay, as statfs says it.
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
/// runc takes the container down when the first process has ended.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked whether it has.
const PAUSE: Duration = Duration::from_millis(5);

/// A running container; it is taken down when it is dropped.
#[derive(Debug)]
pub(super) struct Container {
    /// The first process.
    launcher: Option<Process>,
    runc: Child,
    cgroup: PathBuf,
}

/// What a container is made of.
pub(super) struct Image<'a> {
    /// The directory of the bundle and of what runc says.
    pub(super) dir: &'a Path,
    /// The probe.
    pub(super) probe: &'a Path,
    /// The root.
    pub(super) root: &'a Path,
    /// The mounts that the case wants.
    pub(super) mounts: &'a [MountCase],
    /// Whether it has a network namespace of its own.
    pub(super) network: bool,
}

impl Container {
    /// Has runc start it by this name, in a cgroup of this name.
    pub(super) fn run(image: &Image<'_>, cgroup: &RunCgroup, name: &str) -> Result<Self> {
        let bundle = image.dir.join("bundle");
        fs::create_dir_all(&bundle).context("cannot make the bundle")?;
        let config = image.config(&cgroup.oci_path(name)?);
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?).context("cannot write config.json")?;
        let (ours, theirs) = sockets()?;
        let said = image.dir.join("runc.err");
        // The shell gives our socket the number that runc passes on; standard output and input stay runc's own.
        let runc = Command::new("sh")
            .args(["-c", "exec runc --root \"$1\" run --preserve-fds 1 --bundle \"$2\" \"$3\" 3<&0 </dev/null", "sh"])
            .arg(image.dir.join("state"))
            .arg(&bundle)
            .arg(format!("{}-{name}", cgroup.name()))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(File::create(&said).context("cannot make runc.err")?)
            .spawn()
            .context("cannot start runc")?;
        let mut container = Self { launcher: None, runc, cgroup: cgroup.path_of(name) };
        let launcher = Process::of_container(ours, 1);
        if let Err(error) = launcher.expect_ready() {
            drop(launcher);
            drop(container);
            bail!("cannot start a container: {error:#}: {}", fs::read_to_string(said).unwrap_or_default().trim());
        }
        let pid = container.pid_of(1)?;
        container.launcher = Some(launcher.with_pid(pid));
        is_contained(pid)?;
        Ok(container)
    }

    /// Its first process.
    pub(super) fn first(&self) -> Result<&Process> {
        self.launcher.as_ref().context("the container has no process")
    }

    /// Its cgroup.
    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Starts an acting program in it.
    pub(super) fn start(&self, start: &Start, network: bool, stdio: Stdio2<'_>) -> Result<Process> {
        let (ours, theirs) = sockets()?;
        let namespace = File::open("/proc/self/ns/mnt").context("our mount namespace")?;
        let launcher = self.first()?;
        launcher.send(&start.command(network, stdio)?, &[theirs.as_fd(), namespace.as_fd()])?;
        let answer = launcher.receive()?.context("the first process has ended")?;
        let inside = answer.parse().with_context(|| format!("the first process says {answer:?}"))?;
        drop(theirs);
        let process = Process::of_container(ours, inside);
        process.expect_ready().with_context(|| format!("cannot start the acting program {}", start.started_as))?;
        Ok(process.with_pid(self.pid_of(inside)?))
    }

    /// Our number of a process by the container's, among those of its cgroup.
    fn pid_of(&self, inside: u32) -> Result<u32> {
        let procs = fs::read_to_string(self.cgroup.join("cgroup.procs")).context("the container's cgroup")?;
        for pid in procs.lines().filter_map(|line| line.parse::<u32>().ok()) {
            // One that has ended meanwhile is not the one.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            if numbers.split_whitespace().last().and_then(|n| n.parse().ok()) == Some(inside) {
                return Ok(pid);
            }
        }
        bail!("no process {inside} in {}", self.cgroup.display())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.launcher = None;
        let until = Instant::now() + PATIENCE;
        while let Ok(None) = self.runc.try_wait() {
            if Instant::now() > until {
                eprintln!("runc does not end: it is killed");
                drop(self.runc.kill());
                drop(self.runc.wait());
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

// === impl Image ===

impl Image<'_> {
    fn config(&self, cgroup: &str) -> Value {
        let Self { dir: _, probe, root, mounts, network } = self;
        let capabilities: Vec<String> =
            (0..=u8::MAX).map_while(Capability::from_number).map(|c| format!("CAP_{}", c.name().to_uppercase())).collect();
        let mut namespaces = NAMESPACES.to_vec();
        let mut sysctl = json!({});
        if *network {
            namespaces.push("network");
            // Datagram sockets of ICMP are for the groups in this range.
            sysctl = json!({"net.ipv4.ping_group_range": "0 2147483647"});
        }
        let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
        let mut all = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666", "mode=0666"]}),
            json!({"destination": LAUNCHER, "type": "bind", "source": probe, "options": ["bind", "ro"]}),
        ];
        for MountCase { at, from, read_only } in *mounts {
            let mode = if *read_only { "ro" } else { "rw" };
            all.push(match from {
                None => json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["mode=0777", mode]}),
                Some(from) => json!({"destination": at, "type": "bind", "source": root.join(&from[1..]),
                    "options": ["bind", mode]}),
            });
        }
        json!({
            "ociVersion": "1.0.2",
            "hostname": "palisade-corpus",
            "root": {"path": root, "readonly": false},
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "env": ["PATH=/bin"],
                "args": [LAUNCHER, "contain", if *network { "n" } else { "-" }],
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            },
            "mounts": all,
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": cgroup,
                "sysctl": sysctl,
                // Policies alone may deny: a case opens block devices.
                "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            },
        })
    }
}

/// That the process is where the run says that it is: on an overlay, in namespaces of its own.
fn is_contained(pid: u32) -> Result<()> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let magic = rustix::fs::statfs(&root).context("statfs of the container's root")?.f_type;
    ensure!(magic == OVERLAYFS_SUPER_MAGIC, "the container's root is on a file system of type {magic:#x}");
    for kind in NAMESPACES {
        // Kinds are called as their files are, but for one.
        let file = if kind == "mount" { "mnt" } else { kind };
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).context("a namespace");
        ensure!(namespace(&pid.to_string())? != namespace("self")?, "the container has no {kind} namespace of its own");
    }
    Ok(())
}

/// Whether runc is here.
pub(super) fn ensure_runc() -> Result<()> {
    let status = Command::new("runc").arg("--version").stdout(Stdio::null()).status().context("cannot start runc")?;
    ensure!(status.success(), "runc --version: {status}");
    Ok(())
}
