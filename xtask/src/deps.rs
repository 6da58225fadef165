//! The Debian packages that building, testing and measuring need on the host.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// What a host package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To build the workspace.
    Build,
    /// To build and boot test virtual machines.
    Vm,
    /// By the tests and demonstrations that run on the host itself.
    Host,
}

/// One Debian package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name in Debian 12 and Ubuntu 24.04.
    pub name: &'static str,
    /// Who needs it.
    pub purpose: Purpose,
    /// What of it is used.
    pub why: &'static str,
}

/// Every package that the project needs; a new need is added here.
pub const PACKAGES: &[Package] = &[
    package("clang", Purpose::Build, "compiles the BPF programs"),
    package("clang-14", Purpose::Build, "the same compiler on every distribution"),
    package("gcc", Purpose::Build, "compiles the vendored libbpf"),
    package("make", Purpose::Build, "builds the vendored libbpf"),
    package("pkg-config", Purpose::Build, "finds libelf and zlib"),
    package("libelf-dev", Purpose::Build, "libbpf reads ELF objects"),
    package("zlib1g-dev", Purpose::Build, "libelf reads compressed sections"),
    package("libzstd-dev", Purpose::Build, "so does Ubuntu's, linked statically"),
    package("linux-libc-dev", Purpose::Build, "kernel headers for libbpf"),
    package("qemu-system-x86", Purpose::Vm, "the emulator"),
    package("mmdebstrap", Purpose::Vm, "builds the root file system"),
    package("debian-archive-keyring", Purpose::Vm, "checks what mmdebstrap and apt fetch"),
    package("e2fsprogs", Purpose::Vm, "mke2fs -d makes the root image"),
    package("cpio", Purpose::Vm, "packs the initramfs"),
    package("kmod", Purpose::Vm, "depmod lists what modules need"),
    package("busybox-static", Purpose::Vm, "is the initramfs"),
    package("xz-utils", Purpose::Vm, "unpacks kernel modules"),
    package("util-linux", Purpose::Vm, "setpriv and unshare end what a killed xtask started"),
    package("mount", Purpose::Host, "gives a test's processes directories of their own"),
    package("nginx-light", Purpose::Host, "a server to confine in tests"),
    package("runc", Purpose::Host, "starts containers in tests"),
];

const fn package(name: &'static str, purpose: Purpose, why: &'static str) -> Package {
    Package { name, purpose, why }
}

/// The packages for `purpose` that are not installed.
///
/// # Errors
/// `dpkg-query` cannot be run: this is no Debian or Ubuntu machine.
pub fn missing(purpose: Option<Purpose>) -> Result<Vec<Package>> {
    let listing = process::output(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\n"]))
        .context("list the installed packages (Debian 12 and Ubuntu 24.04 are supported)")?;
    Ok(missing_from(&listing, purpose))
}

/// Fails, with the line that installs them, if a package for `purpose` is missing.
///
/// # Errors
/// A package is missing, or the list of installed packages cannot be read.
pub fn require(purpose: Purpose) -> Result<()> {
    let missing = missing(Some(purpose))?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!("host packages are missing; install them (as root) with:\n  {}", install_line(&missing))
}

/// Installs the given packages with `apt-get`, whose output is shown.
///
/// # Errors
/// `apt-get update` or `apt-get install` fails, for instance for want of root.
pub fn install(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    apt_get(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages.iter().map(|package| package.name));
    apt_get(&arguments)
}

/// The command line that installs `packages`.
pub fn install_line(packages: &[Package]) -> String {
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    format!("apt-get update && apt-get install -y --no-install-recommends {}", names.join(" "))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let user = process::output(Command::new("id").arg("-u")).context("learn whose process this is")?;
    let mut command = if user.trim() == "0" { Command::new("env") } else { Command::new("sudo") };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
    let status = command.status().with_context(|| format!("start {command:?}; packages are installed as root, or by sudo"))?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// `listing` has a line `STATUS NAME` for each package; `ii` is installed.
fn missing_from(listing: &str, purpose: Option<Purpose>) -> Vec<Package> {
    let installed: Vec<&str> = listing
        .lines()
        .filter_map(|line| {
            let (status, name) = line.split_once(' ')?;
            status.starts_with("ii").then_some(name.trim())
        })
        .collect();
    PACKAGES
        .iter()
        .filter(|package| purpose.is_none_or(|purpose| package.purpose == purpose))
        .filter(|package| !installed.contains(&package.name))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let listing = "ii  cpio\nrc  kmod\nii  mmdebstrap\n";
        let missing = missing_from(listing, Some(Purpose::Vm));
        let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
        assert!(names.contains(&"kmod") && names.contains(&"qemu-system-x86"));
        assert!(!names.contains(&"cpio") && !names.contains(&"clang"));
    }

    #[test]
    fn the_install_line_names_every_missing_package() {
        let line = install_line(&missing_from("", Some(Purpose::Build)));
        assert!(line.starts_with("apt-get update && apt-get install"), "{line}");
        assert!(line.contains(" clang ") && line.contains(" libelf-dev "), "{line}");
    }
}
