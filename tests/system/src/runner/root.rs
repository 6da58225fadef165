//! The root of one pass of one case: a small directory, or an overlay of two, that becomes the root of a mount namespace.
//!
//! Everything a call needs is made here from outside: the acting programs never prepare anything, because under a
//! policy that would be judged too. [`Root::prepare`] restores what an earlier access changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::cgroup::RunCgroup;
use super::container::{Container, Image};
use super::home::{Home, Setting};
use super::kit::Kit;
use super::overlay::Overlay;
use super::process::Process;
use crate::corpus::{AccessCase, Case};
use crate::lower::CAPABILITY_FILE;
use crate::op::Op;
use crate::tree::{TreeTable, parent};

/// What files hold that no case gives a content.
const CONTENT: &str = "palisade\n";
/// An owner that no acting task is.
const OTHER_UID: u32 = 1000;

/// Character devices that every root has, by their numbers.
const DEVICES: [(&str, u32, u32); 6] =
    [("dev/null", 1, 3), ("dev/zero", 1, 5), ("dev/full", 1, 7), ("dev/random", 1, 8), ("dev/urandom", 1, 9), ("dev/tty", 5, 0)];

/// A root with its mount namespace.
pub(super) struct Root<'a> {
    kit: &'a Kit,
    case: &'a Case,
    tree: TreeTable,
    /// What is removed at the end.
    dir: PathBuf,
    /// The root as the workload sees it, mounts included; before it has a home, the directory that becomes it.
    inside: PathBuf,
    home: Option<Home>,
    overlay: Option<Overlay>,
    listeners: RefCell<BTreeMap<PathBuf, Listener>>,
    /// Who owns what the case gives no owner.
    owner: u32,
}

/// A socket that the runner keeps for the probes to talk to.
#[expect(dead_code, reason = "held for the descriptors' sake")]
enum Listener {
    Stream(UnixListener),
    Datagram(UnixDatagram),
}

/// What stands at a name before a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    File,
    Program,
    Directory,
    Stream,
    Datagram,
}

impl<'a> Root<'a> {
    /// Builds the directory, makes it the root of a mount namespace and fills it. An overlay is filled before, as an
    /// image is, so that the programs lie in its lower layer.
    pub(super) fn build(
        kit: &'a Kit,
        case: &'a Case,
        name: &str,
        setting: Setting,
        cgroup: Option<&RunCgroup>,
        owner: u32,
    ) -> Result<Self> {
        let dir = kit.dir.join(name);
        let overlay = match setting {
            Setting::Namespace => None,
            Setting::Overlay | Setting::Runc => Some(Overlay::new(&dir)?),
        };
        let ground = overlay.as_ref().map_or(dir.as_path(), Overlay::lower).to_owned();
        skeleton(&ground)?;
        let mut root = Self {
            kit,
            case,
            tree: TreeTable::new(case),
            dir,
            inside: ground,
            home: None,
            overlay,
            listeners: RefCell::default(),
            owner,
        };
        for sub in ["", "t", "tmp", "dev"] {
            root.own(&root.inside.join(sub))?;
        }
        // What is under a mount of the case cannot lie in a layer, and an overlay renames no directory of its lower one.
        let renames = case.access.iter().any(|a| matches!(a.op, Op::RenameDir | Op::ExchangeDir));
        let layered = root.overlay.is_some() && case.tree.mounts.is_empty() && !renames;
        if layered {
            root.fill()?;
            // A socket is bound where it is connected to: not in the layer.
            let unbound = |a: &&AccessCase| !matches!(a.op, Op::UnixConnect | Op::UnixSendto);
            root.prepare_all(case.access.iter().rev().filter(unbound))?;
        }
        root.enter(name, setting, cgroup)?;
        if !layered {
            root.fill()?;
        }
        root.prepare_all(case.access.iter().rev())?;
        Ok(root)
    }

    /// What holds the namespaces.
    pub(super) fn home(&self) -> Result<&Home> {
        self.home.as_ref().context("no namespaces")
    }

    /// The root through procfs.
    pub(super) fn inside(&self) -> &Path {
        &self.inside
    }

    fn prepare_all<'b>(&self, accesses: impl Iterator<Item = &'b AccessCase>) -> Result<()> {
        for access in accesses {
            self.prepare(access).with_context(|| format!("cannot prepare {:?} {}", access.op, access.object()))?;
        }
        Ok(())
    }

    fn enter(&mut self, name: &str, setting: Setting, cgroup: Option<&RunCgroup>) -> Result<()> {
        let case = self.case;
        let at = match &mut self.overlay {
            Some(overlay) => overlay.mount()?.to_owned(),
            None => self.dir.clone(),
        };
        for mount in &case.tree.mounts {
            for dir in std::iter::once(&mount.at).chain(&mount.from) {
                self.directory(&at.join(&dir[1..]))?;
            }
        }
        let home = if setting == Setting::Runc {
            let image = Image {
                dir: &self.dir,
                probe: &self.kit.probe,
                root: &at,
                mounts: &case.tree.mounts,
                network: needs_network(case),
            };
            Home::Container(Container::run(&image, cgroup.context("containers need a cgroup2 tree")?, name)?)
        } else {
            Home::Namespace(self.namespace(&at)?)
        };
        self.inside = PathBuf::from(format!("/proc/{}/root", home.pid()?));
        self.home = Some(home);
        Ok(())
    }

    fn namespace(&self, at: &Path) -> Result<Process> {
        let mut arguments = vec!["init".to_owned(), path_text(at)?];
        arguments.push(if needs_network(self.case) { "n" } else { "-" }.to_owned());
        for mount in &self.case.tree.mounts {
            arguments.extend([mount.at.clone(), mount.from.clone().unwrap_or_else(|| "-".to_owned())]);
            arguments.push(u8::from(mount.read_only).to_string());
        }
        let init = Process::spawn(&self.kit.probe, &arguments)?;
        init.expect_ready().context("cannot make the mount namespace")?;
        Ok(init)
    }

    /// What the case itself describes.
    fn fill(&self) -> Result<()> {
        let tree = &self.case.tree;
        for (link, target) in &tree.links {
            let at = self.at_name(link)?;
            self.directory_of(&at)?;
            symlink(target, &at).with_context(|| format!("cannot link {link}"))?;
            self.own(&at)?;
        }
        for dir in &tree.dirs {
            self.directory(&self.at(dir)?)?;
        }
        for (path, content) in &tree.files {
            self.file(&self.at(path)?, content.as_bytes(), 0o666)?;
        }
        for (path, text) in &tree.scripts {
            self.file(&self.at(path)?, text.as_bytes(), 0o777)?;
        }
        for path in &tree.programs {
            self.copy(&self.kit.probe, &self.at(path)?)?;
        }
        for path in &tree.dynamic {
            self.copy(&self.kit.dynamic, &self.at(path)?)?;
            self.copy(&self.kit.probe, &self.at("/lib/ld-probe.so.1")?)?;
        }
        for (path, existing) in &tree.hardlinks {
            let at = self.at_name(path)?;
            self.directory_of(&at)?;
            fs::hard_link(self.at(existing)?, at).with_context(|| format!("cannot link {path}"))?;
        }
        for path in &tree.block_devices {
            let at = self.at(path)?;
            self.directory_of(&at)?;
            node(&at, FileType::BlockDevice, 7, 0)?;
        }
        for access in &self.case.access {
            for program in [Some(&access.from), access.started_as.as_ref(), access.target.as_ref()].into_iter().flatten() {
                let runs = program.starts_with('/') && access.decide_only.is_none();
                if runs && !tree.scripts.contains_key(program) && !self.at(program)?.exists() {
                    self.copy(&self.kit.probe, &self.at(program)?)?;
                }
            }
        }
        for (path, owner) in &tree.owners {
            if let Ok(at) = self.at(path)
                && at.exists()
            {
                lchown(&at, Some(*owner), Some(0)).with_context(|| format!("cannot give {path} away"))?;
            }
        }
        if let Some(stdio) = &self.case.workload.stdio {
            self.file(&self.at(&stdio.path)?, CONTENT.as_bytes(), 0o666)?;
        }
        for (path, mode) in &tree.modes {
            let bits = u32::from_str_radix(mode, 8).with_context(|| format!("the mode {mode:?}"))?;
            fs::set_permissions(self.at(path)?, Permissions::from_mode(bits)).with_context(|| format!("chmod {path}"))?;
        }
        Ok(())
    }

    /// Makes the links that are younger than the workload.
    pub(super) fn late_links(&self) -> Result<()> {
        for (link, target) in &self.case.tree.late_links {
            let at = self.at_name(link)?;
            if at.is_dir() && !at.is_symlink() {
                fs::remove_dir_all(&at)?;
            } else if at.is_symlink() || at.exists() {
                fs::remove_file(&at)?;
            }
            self.directory_of(&at)?;
            symlink(target, &at).with_context(|| format!("cannot link {link}"))?;
            self.own(&at)?;
        }
        Ok(())
    }

    /// Puts in place what one call needs, and takes away what it makes.
    pub(super) fn prepare(&self, access: &AccessCase) -> Result<()> {
        let (path, to) = (access.object(), access.second());
        match access.op {
            Op::Exec | Op::MapExec | Op::MprotectExec => self.want(access, path, Kind::Program),
            Op::OpenRead
            | Op::OpenWrite
            | Op::OpenRdwr
            | Op::OpenAppend
            | Op::OpenTrunc
            | Op::OpenReadTrunc
            | Op::Truncate
            | Op::Unlink
            | Op::Chmod
            | Op::Chown
            | Op::Setxattr
            | Op::Utimes
            | Op::Stat
            | Op::Access
            | Op::Readlink
            | Op::UnshareMount => self.want(access, path, Kind::File),
            Op::Readdir
            | Op::Chdir
            | Op::OTmpfile
            | Op::Rmdir
            | Op::MountNew
            | Op::MountPropagation
            | Op::UmountOwn
            | Op::UmountForeign
            | Op::PivotRoot
            | Op::Chroot => self.want(access, path, Kind::Directory),
            Op::Create | Op::CreateRead | Op::Mkdir | Op::Mknod | Op::Symlink | Op::UnixBind => {
                self.want(access, path, Kind::Absent)
            }
            Op::Rename | Op::Link => {
                self.want(access, path, Kind::File)?;
                self.want(access, to, Kind::Absent)
            }
            Op::Exchange => {
                self.want(access, path, Kind::File)?;
                self.want(access, to, Kind::File)
            }
            Op::RenameDir => {
                self.want(access, path, Kind::Directory)?;
                self.want(access, to, Kind::Absent)
            }
            Op::ExchangeDir | Op::MountBind | Op::MountMove => {
                self.want(access, path, Kind::Directory)?;
                self.want(access, to, Kind::Directory)
            }
            Op::OpenDetached => {
                self.want(access, path, Kind::Directory)?;
                self.want(access, &format!("{path}{to}"), Kind::File)
            }
            Op::UnixConnect => self.want(access, path, Kind::Stream),
            Op::UnixSendto => self.want(access, path, Kind::Datagram),
            Op::DeepRead | Op::DeepWrite | Op::DeepExec => self.deepen(path),
            Op::Capability | Op::CapabilityUserns => match access.capability.as_deref() {
                Some("chown" | "fowner") => {
                    self.want(access, CAPABILITY_FILE, Kind::File)?;
                    lchown(self.at(CAPABILITY_FILE)?, Some(OTHER_UID), Some(0)).context("chown")
                }
                Some("mknod") => self.want(access, CAPABILITY_FILE, Kind::Absent),
                _ => Ok(()),
            },
            Op::CapabilityNoaudit
            | Op::UnixAbstract
            | Op::MemfdExec
            | Op::MemfdMapExec
            | Op::MemfdUse
            | Op::ReopenStdin
            | Op::ReopenRead
            | Op::ReopenWrite
            | Op::Socket
            | Op::Connect
            | Op::Sendto
            | Op::Bind
            | Op::Listen
            | Op::ConnectUnspec
            | Op::Sendmmsg
            | Op::Fastopen
            | Op::SendtoIgnored
            | Op::BindUnspec
            | Op::ListenUnbound
            | Op::UringConnect
            | Op::UringSendmsg
            | Op::UringAccept
            | Op::Accept
            | Op::EnterForeign
            | Op::UnshareUser
            | Op::PtraceSeize
            | Op::VmWrite
            | Op::PidfdGetfd
            | Op::OpenProcMem
            | Op::FtraceSwitch => Ok(()),
        }
    }

    fn want(&self, access: &AccessCase, path: &str, kind: Kind) -> Result<()> {
        let path = path.strip_prefix("/proc/self/root").unwrap_or(path);
        let given = ["/proc/", "/dev/pts/"].iter().any(|dir| path.starts_with(dir))
            || DEVICES.iter().any(|(name, ..)| path[1..] == **name)
            || ["/dev/ptmx", "/", "/proc"].contains(&path);
        if given {
            return Ok(());
        }
        let at = if access.op.on_the_name() { self.at_name(path)? } else { self.at(path)? };
        let found = fs::symlink_metadata(&at).ok();
        if kind == Kind::Absent {
            self.remove(&at)?;
            self.directory_of(&at)?;
        } else {
            let fits = found.as_ref().is_some_and(|m| match kind {
                Kind::File => !m.is_dir() || matches!(access.op, Op::Chmod | Op::Chown | Op::Setxattr | Op::Stat),
                // What stands there for another access may be no program.
                Kind::Program => m.is_file() && m.mode() & 0o111 != 0,
                Kind::Directory => m.is_dir(),
                Kind::Stream | Kind::Datagram => m.file_type().is_socket() && self.listeners.borrow().contains_key(&at),
                Kind::Absent => false,
            });
            if !fits {
                self.remove(&at)?;
                self.make(&at, kind)?;
            }
        }
        let owned = if kind == Kind::Absent { parent(path) } else { path };
        let owner = access.owner.filter(|_| path != access.second() || kind != Kind::Absent);
        let owner = owner.or_else(|| self.case.tree.owners.get(owned).copied());
        let owned = if kind == Kind::Absent { self.at(owned)? } else { at };
        let now = fs::symlink_metadata(&owned)?.uid();
        match owner {
            Some(owner) if owner != now => lchown(&owned, Some(owner), Some(0)).with_context(|| format!("chown {path}")),
            _ => Ok(()),
        }
    }

    fn make(&self, at: &Path, kind: Kind) -> Result<()> {
        match kind {
            Kind::Absent => Ok(()),
            Kind::File => self.file(at, CONTENT.as_bytes(), 0o666),
            Kind::Program => self.copy(&self.kit.probe, at),
            Kind::Directory => self.directory(at),
            Kind::Stream | Kind::Datagram => {
                self.directory_of(at)?;
                let listener = if kind == Kind::Stream {
                    Listener::Stream(UnixListener::bind(at).context("cannot listen")?)
                } else {
                    Listener::Datagram(UnixDatagram::bind(at).context("cannot bind")?)
                };
                fs::set_permissions(at, Permissions::from_mode(0o777))?;
                self.own(at)?;
                self.listeners.borrow_mut().insert(at.to_owned(), listener);
                Ok(())
            }
        }
    }

    fn remove(&self, at: &Path) -> Result<()> {
        match fs::symlink_metadata(at) {
            Ok(m) if m.is_dir() => fs::remove_dir_all(at).with_context(|| format!("cannot remove {}", at.display())),
            Ok(_) => fs::remove_file(at).with_context(|| format!("cannot remove {}", at.display())),
            Err(_) => Ok(()),
        }
    }

    fn deepen(&self, path: &str) -> Result<()> {
        let at = self.at(path)?;
        if at.exists() {
            return Ok(());
        }
        self.directory(&at)?;
        let status = Command::new(&self.kit.probe)
            .arg("deepen")
            .arg(&at)
            .args(self.case.tree.deep_scripts.get(path))
            .status()
            .context("cannot start the probe")?;
        ensure!(status.success(), "cannot make a deep directory");
        Ok(())
    }

    // Every file is writable to everybody: the tasks of a case have different users, and only policies may deny.

    fn file(&self, at: &Path, content: &[u8], mode: u32) -> Result<()> {
        self.directory_of(at)?;
        fs::write(at, content).with_context(|| format!("cannot write {}", at.display()))?;
        fs::set_permissions(at, Permissions::from_mode(mode)).context("chmod")?;
        self.own(at)
    }

    fn copy(&self, from: &Path, at: &Path) -> Result<()> {
        self.directory_of(at)?;
        fs::copy(from, at).with_context(|| format!("cannot copy to {}", at.display()))?;
        fs::set_permissions(at, Permissions::from_mode(0o777)).context("chmod")?;
        self.own(at)
    }

    /// What this process makes is root's.
    fn own(&self, at: &Path) -> Result<()> {
        match self.owner {
            0 => Ok(()),
            owner => lchown(at, Some(owner), Some(owner)).with_context(|| format!("cannot give {} away", at.display())),
        }
    }

    fn directory_of(&self, at: &Path) -> Result<()> {
        self.directory(at.parent().context("the root has no parent")?)
    }

    fn directory(&self, at: &Path) -> Result<()> {
        if at.is_dir() {
            return Ok(());
        }
        if let Some(above) = at.parent() {
            self.directory(above)?;
        }
        fs::create_dir(at).with_context(|| format!("cannot make {}", at.display()))?;
        fs::set_permissions(at, Permissions::from_mode(0o777)).context("chmod")?;
        self.own(at)
    }

    /// Where a path of the workload lies for the runner, every link followed: an absolute link would lead out of here.
    fn at(&self, path: &str) -> Result<PathBuf> {
        self.place(self.tree.follow(path), path)
    }

    /// The same for the name itself.
    fn at_name(&self, path: &str) -> Result<PathBuf> {
        self.place(self.tree.follow_parent(path), path)
    }

    fn place(&self, resolved: Option<String>, path: &str) -> Result<PathBuf> {
        let Some(resolved) = resolved else { bail!("{path} is a loop of links") };
        // What is bound read-only is still writable where it was bound from.
        let resolved = self.tree.source(&resolved).unwrap_or(resolved);
        Ok(self.inside.join(&resolved[1..]))
    }
}

impl Drop for Root<'_> {
    fn drop(&mut self) {
        self.listeners.borrow_mut().clear();
        self.home = None;
        self.overlay = None;
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// What every root has.
fn skeleton(dir: &Path) -> Result<()> {
    for sub in ["proc", "dev/pts", "sys", "t", "tmp"] {
        fs::create_dir_all(dir.join(sub)).context("cannot make the root")?;
    }
    for sub in ["", "t", "tmp", "dev"] {
        fs::set_permissions(dir.join(sub), Permissions::from_mode(0o777))?;
    }
    for (device, major, minor) in DEVICES {
        node(&dir.join(device), FileType::CharacterDevice, major, minor)?;
    }
    symlink("pts/ptmx", dir.join("dev/ptmx")).context("dev/ptmx")
}

/// Whether a case acts in a network namespace of its own.
pub(super) fn needs_network(case: &Case) -> bool {
    case.access.iter().any(|a| a.op.is_network() || a.capability.as_deref().is_some_and(|c| c.starts_with("net_")))
}

fn node(at: &Path, kind: FileType, major: u32, minor: u32) -> Result<()> {
    mknodat(CWD, at, kind, Mode::from_raw_mode(0o666), makedev(major, minor))
        .with_context(|| format!("cannot make the device {}", at.display()))?;
    fs::set_permissions(at, Permissions::from_mode(0o666)).context("chmod")
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not text", path.display()))
}
