//! The guest's root file system: Debian's packages in an ext4 image, no init system.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Mirrors;
use super::cache::Cache;
use super::recipe::Recipe;
use crate::process::{self, Step};

/// Raise it when the way the image is made changes.
const LAYOUT: &str = "1";
const SUITE: &str = "bookworm";
/// What the tests use in the guest, beside Debian's essential packages.
const PACKAGES: &[&str] = &[
    "apparmor",
    "bash",
    "bpftool",
    "busybox-static",
    "coreutils",
    "crun",
    "dash",
    "iproute2",
    "kmod",
    "libcap2-bin",
    "libelf1",
    "libpython3-stdlib",
    "mount",
    "nginx-light",
    "perl-base",
    "procps",
    "python3-minimal",
    "runc",
    "strace",
    "util-linux",
    "zlib1g",
];
/// Not needed by programs.
const LEFT_OUT: &[&str] = &["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"];
/// Size of the file system: about 200 MiB are used, the rest is for tests. The
/// image file is sparse.
const SIZE: &str = "1G";
/// Fixed, so that directories of the same content are read in the same order.
const FILE_SYSTEM_ID: &str = "7061c15a-de00-4000-8000-000000000001";

/// An ext4 image, never written to: each run writes to a snapshot of its own.
#[derive(Clone, Debug)]
pub struct RootImage {
    /// The image file.
    pub path: PathBuf,
}

// === impl RootImage ===

impl RootImage {
    /// Builds the image, in one to three minutes, or finds it in the cache.
    ///
    /// # Errors
    /// Not root; or a download or a program fails.
    pub fn prepare(cache: &Cache) -> Result<Self> {
        let key = Recipe::new("root")
            .with("layout", LAYOUT)
            .with("suite", SUITE)
            .with_list("packages", PACKAGES)
            .with_list("left out", LEFT_OUT)
            .with("size", SIZE)
            .key();
        let place = cache.build("root", &key, build)?;
        Ok(Self { path: place.join("root.ext4") })
    }
}

fn build(result: &Path) -> Result<()> {
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("building the root file system needs root: file owners and device nodes");
    }
    let tree = result.join("tree");
    let step = Step::start(format!("root file system ({SUITE}, {} packages; takes minutes)", PACKAGES.len()));
    step.run(&mut mmdebstrap(&tree, &Mirrors::of_this_machine()?))?;
    adjust(&tree)?;
    step.run(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", "palisade-root"])
            .args(["-U", FILE_SYSTEM_ID])
            // No journal and no late work of the kernel: quiet for measurements.
            .args(["-O", "^has_journal"])
            .arg("-E")
            .arg(format!("lazy_itable_init=0,nodiscard,hash_seed={FILE_SYSTEM_ID}"))
            .arg("-d")
            .arg(&tree)
            .arg(result.join("root.ext4"))
            .arg(SIZE),
    )?;
    fs::remove_dir_all(&tree).context("remove the unpacked tree")?;
    step.done();
    Ok(())
}

/// Should this process be killed, all that mmdebstrap started is killed too (a
/// PID namespace of its own), and its mounts in the tree go with it (a mount
/// namespace of its own): whoever finds the tree can remove it.
fn mmdebstrap(tree: &Path, mirrors: &Mirrors) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(["--mount", "--propagation", "private", "--mount-proc"])
        .args(["--pid", "--fork", "--kill-child=KILL", "--", "mmdebstrap"])
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg(format!("--include={}", PACKAGES.join(",")));
    for path in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg(SUITE).arg(tree).args(mirrors.sources(SUITE));
    command
}

/// Takes out what mmdebstrap copied from this machine.
fn adjust(tree: &Path) -> Result<()> {
    let etc = tree.join("etc");
    fs::write(etc.join("hostname"), "palisade-vm\n").context("write the guest's hostname")?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost palisade-vm\n::1 localhost\n").context("write the guest's hosts")?;
    match fs::remove_file(etc.join("resolv.conf")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove the guest's resolv.conf"),
        _ => Ok(()),
    }
}
