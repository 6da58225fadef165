//! The initial file system: a static busybox, a few modules, and the guest's scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::cache::Cache;
use super::recipe::Recipe;
use crate::process::Step;

/// Raise it when the way the archive is made changes.
const LAYOUT: &str = "1";
/// Without these the guest cannot start.
const NEEDED: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "overlay"];
/// What tests of containers and mounts use; a kernel may lack one.
const WANTED: &[&str] = &["loop", "veth", "bridge", "dummy"];
/// From the package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
/// The guest's first program.
const FIRST: &str = include_str!("../../../tests/vm/initramfs.sh");
/// The guest's PID 1, once the root disk is mounted.
const INIT: &str = include_str!("../../../tests/vm/init.sh");

/// Which files of a kernel's module directory to load, in what order.
#[derive(Debug, PartialEq, Eq)]
struct LoadOrder {
    /// Relative to the module directory.
    files: Vec<String>,
    /// Wanted modules that this kernel does not have.
    absent: Vec<String>,
}

/// The initial file system for the kernel in `kernel`, as a cpio archive.
///
/// # Errors
/// The kernel lacks a module that the guest needs, or a program fails.
pub(super) fn prepare(cache: &Cache, kernel: &Path, release: &str) -> Result<PathBuf> {
    let kernel_name =
        kernel.file_name().and_then(OsStr::to_str).ok_or_else(|| anyhow!("kernel directory {} has no name", kernel.display()))?;
    let key = Recipe::new("initramfs")
        .with("layout", LAYOUT)
        .with("kernel", kernel_name)
        .with_list("needed", NEEDED)
        .with_list("wanted", WANTED)
        .with("first", FIRST)
        .with("init", INIT)
        .key();
    let place = cache.build("initramfs", &key, |result| {
        let step = Step::start(format!("initial file system for {release}"));
        build(&step, &kernel.join("usr/lib/modules").join(release), result)?;
        step.done();
        Ok(())
    })?;
    Ok(place.join("initramfs.cpio"))
}

fn build(step: &Step, modules: &Path, result: &Path) -> Result<()> {
    let tree = result.join("tree");
    for dir in ["bin", "dev", "proc", "sys", "modules", "palisade", "newroot"] {
        let path = tree.join(dir);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    }
    fs::copy(BUSYBOX, tree.join("bin/busybox")).with_context(|| format!("copy {BUSYBOX}"))?;
    // The kernel starts /init through this interpreter.
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).context("link a shell")?;
    write_script(&tree.join("init"), FIRST)?;
    write_script(&tree.join("palisade/init.sh"), INIT)?;

    let dependencies = read(&modules.join("modules.dep"))?;
    let builtin = read(&modules.join("modules.builtin"))?;
    let LoadOrder { files, absent } = load_order(&dependencies, &builtin)?;
    if !absent.is_empty() {
        eprintln!("xtask: this kernel has no {}", absent.join(", "));
    }
    for (index, file) in files.iter().enumerate() {
        let name = module_name(file);
        let target = tree.join(format!("modules/{index:02}-{name}.ko"));
        copy_module(step, &modules.join(file), &target)?;
    }
    pack(&tree, &result.join("initramfs.cpio"))?;
    fs::remove_dir_all(&tree).context("remove the unpacked tree")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", path.display()))
}

/// Copies a module, unpacked: busybox loads no compressed ones.
fn copy_module(step: &Step, from: &Path, to: &Path) -> Result<()> {
    match from.extension().and_then(OsStr::to_str) {
        Some("ko") => {
            fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
            Ok(())
        }
        Some("xz") => {
            let packed = to.with_extension("ko.xz");
            fs::copy(from, &packed).with_context(|| format!("copy {}", from.display()))?;
            step.run(Command::new("xz").arg("--decompress").arg(&packed))
        }
        other => bail!("module {} has an unknown ending {other:?}", from.display()),
    }
}

/// Packs the directory `tree` as the kernel reads it. Not compressed: the
/// emulated processor would take longer to unpack it than QEMU to load it.
fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let script = "find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --create --format=newc \
                  --owner=0:0 --reproducible";
    let file = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(tree)
        .stdin(Stdio::null())
        .stdout(file)
        .output()
        .context("start cpio")?;
    if !output.status.success() {
        bail!("cpio failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Works out the load order from `modules.dep` (`FILE: WHAT IT NEEDS ...`,
/// farthest last) and `modules.builtin`.
fn load_order(dependencies: &str, builtin: &str) -> Result<LoadOrder> {
    let builtin: BTreeSet<String> = builtin.lines().map(module_name).collect();
    let modules: BTreeMap<String, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs.split_whitespace().collect())))
        .collect();
    let mut files: Vec<String> = Vec::new();
    let mut absent = Vec::new();
    for name in NEEDED.iter().chain(WANTED) {
        match modules.get(*name) {
            Some((file, needs)) => {
                for file in needs.iter().rev().chain([file]) {
                    if !files.iter().any(|known| known == file) {
                        files.push((*file).to_owned());
                    }
                }
            }
            None if builtin.contains(*name) => {}
            None if NEEDED.contains(name) => bail!("this kernel has no module {name}"),
            None => absent.push((*name).to_owned()),
        }
    }
    Ok(LoadOrder { files, absent })
}

/// `kernel/drivers/block/virtio-blk.ko.xz` is the module `virtio_blk`.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem = base.split(".ko").next().unwrap_or(base);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/net/llc/llc.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/overlayfs/overlay.ko:
kernel/drivers/net/veth.ko.xz:
";

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        let order = load_order(DEPENDENCIES, "kernel/fs/ext4/ext4.ko\n").unwrap();
        let names: Vec<String> = order.files.iter().map(|file| module_name(file)).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci", "virtio_blk", "overlay", "veth", "llc", "stp", "bridge"]);
        assert_eq!(order.absent, ["loop", "dummy"]);
    }

    #[test]
    fn a_kernel_without_a_needed_module_is_refused() {
        let error = load_order(DEPENDENCIES, "").unwrap_err().to_string();
        assert!(error.contains("ext4"), "{error}");
    }
}
