//! Kernels of test virtual machines: Debian's cloud kernels, by a short name.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

use super::apt::{Mirrors, PackageVersion, Suite};
use super::cache::Cache;
use super::initramfs;
use super::recipe::Recipe;
use crate::process::Step;

/// Raise it when the layout of a kernel directory changes.
const LAYOUT: &str = "2";
/// The package that depends on the newest cloud kernel of a suite.
const CLOUD: &str = "linux-image-cloud-amd64";

/// Which kernel is wanted, as a person says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSpec {
    name: String,
    suite: String,
    package: String,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    /// The compressed kernel.
    pub vmlinuz: PathBuf,
    /// The initial file system that finds the root disk.
    pub initramfs: PathBuf,
}

/// What a name stood for when the mirror was last asked.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Resolved {
    packages: Vec<PackageVersion>,
}

// === impl KernelSpec ===

impl KernelSpec {
    /// The kernel to test with when none is named.
    pub const DEFAULT: &str = "6.1";
    /// The short names, and the suite of each.
    const NAMED: &[(&str, &str)] =
        &[("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("newest", "trixie-backports"), ("sid", "sid")];

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for KernelSpec {
    fn default() -> Self {
        Self { name: Self::DEFAULT.to_owned(), suite: "bookworm".to_owned(), package: CLOUD.to_owned() }
    }
}

impl FromStr for KernelSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((name, suite)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self { name: (*name).to_owned(), suite: (*suite).to_owned(), package: CLOUD.to_owned() });
        }
        let wanted = text
            .split_once('/')
            .filter(|(suite, package)| is_debian_name(suite) && is_debian_name(package) && package.starts_with("linux-image-"));
        let Some((suite, package)) = wanted else {
            let names: Vec<&str> = Self::NAMED.iter().map(|(name, _)| *name).collect();
            bail!(
                "no kernel '{text}': use one of {} or SUITE/PACKAGE, for instance \
                 trixie/linux-image-cloud-amd64",
                names.join(", ")
            );
        };
        Ok(Self { name: text.to_owned(), suite: suite.to_owned(), package: package.to_owned() })
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

fn is_debian_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.~".contains(c))
}

// === impl Kernel ===

impl Kernel {
    /// Fetches the kernel that `spec` names and builds its initial file system,
    /// or finds both in the cache. Which version a name stands for is asked of
    /// the mirror when the cache has none, and when `refresh` says so.
    ///
    /// # Errors
    /// A download or a build fails, or the suite has no such kernel.
    pub fn prepare(cache: &Cache, spec: &KernelSpec, refresh: bool) -> Result<Self> {
        let record = cache.root().join("kernels").join(spec.name.replace('/', "_") + ".json");
        let known = read_record(&record).filter(|_| !refresh).and_then(|resolved| cache.find("kernel", &resolved.key()));
        let place = match known {
            Some(place) => place,
            None => fetch(cache, spec, &record)?,
        };
        let release = release(&place)?;
        let initramfs = initramfs::prepare(cache, &place, &release)?;
        Ok(Self { vmlinuz: place.join("vmlinuz"), initramfs, release })
    }

    /// The processor that QEMU shows this kernel.
    ///
    /// Under QEMU 7.2's TCG a 6.12 kernel that uses CMPXCHG16B dies now and then
    /// (double fault from corrupted flags); from Linux 7 on, BPF task storage
    /// needs that instruction.
    pub(super) fn processor(&self) -> &'static str {
        if self.release.starts_with("6.12.") { "max,-cx16" } else { "max" }
    }
}

// === impl Resolved ===

impl Resolved {
    fn key(&self) -> super::recipe::Key {
        let Self { packages } = self;
        let names: Vec<String> = packages.iter().map(|PackageVersion { name, version }| format!("{name}={version}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Recipe::new("kernel").with("layout", LAYOUT).with_list("packages", &names).key()
    }
}

/// `None` if there is no record, or none that this version of xtask can read.
fn read_record(path: &Path) -> Option<Resolved> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Asks the mirror what `spec` is now, fetches that, and records it.
fn fetch(cache: &Cache, spec: &KernelSpec, record: &Path) -> Result<PathBuf> {
    let KernelSpec { name: _, suite, package } = spec;
    let lists = format!("apt/{suite}");
    let _lock = cache.lock(&lists.replace('/', "-"))?;
    let suite = Suite::update(suite, cache.root().join(lists), &Mirrors::of_this_machine()?)?;
    let resolved = Resolved { packages: suite.kernel_packages(package)? };
    let place = cache.build("kernel", &resolved.key(), |result| unpack(&suite, &resolved.packages, result))?;
    let text = serde_json::to_string_pretty(&resolved).context("write a kernel record")?;
    let parent = record.parent().context("a record has a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let temporary = record.with_extension("new");
    fs::write(&temporary, text + "\n")
        .and_then(|()| fs::rename(&temporary, record))
        .with_context(|| format!("write {}", record.display()))?;
    Ok(place)
}

/// Leaves `vmlinuz`, `usr/lib/modules/RELEASE` and a link `lib` in `result`.
fn unpack(suite: &Suite, packages: &[PackageVersion], result: &Path) -> Result<()> {
    let downloads = result.join("downloads");
    fs::create_dir(&downloads).context("create a download directory")?;
    let files = suite.download(packages, &downloads)?;
    let step = Step::start("unpack the kernel");
    let content = result.join("content");
    for file in &files {
        step.run(Command::new("dpkg").arg("-x").arg(file).arg(&content))?;
    }
    let modules = result.join("usr/lib/modules");
    fs::create_dir_all(result.join("usr/lib")).context("create a module directory")?;
    // Before Linux 7 modules are in /lib; vmlinuz is in /boot.
    let unpacked = ["usr/lib/modules", "lib/modules"]
        .map(|path| content.join(path))
        .into_iter()
        .find(|path| path.is_dir())
        .ok_or_else(|| anyhow!("the kernel packages hold no modules"))?;
    fs::rename(unpacked, &modules).context("move the kernel's modules")?;
    std::os::unix::fs::symlink("usr/lib", result.join("lib")).context("link lib")?;
    let release = release(result)?;
    let vmlinuz = [content.join("boot").join(format!("vmlinuz-{release}")), modules.join(&release).join("vmlinuz")]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| anyhow!("the kernel packages hold no vmlinuz for {release}"))?;
    fs::copy(vmlinuz, result.join("vmlinuz")).context("copy vmlinuz")?;
    step.run(Command::new("depmod").arg("-b").arg(result).arg(&release))?;
    fs::remove_dir_all(&content).context("remove what is not needed")?;
    fs::remove_dir_all(&downloads).context("remove the downloads")?;
    step.done();
    Ok(())
}

/// The one directory in `usr/lib/modules` of a kernel directory.
fn release(place: &Path) -> Result<String> {
    let modules = place.join("usr/lib/modules");
    let mut names = Vec::new();
    for entry in fs::read_dir(&modules).with_context(|| format!("list {}", modules.display()))? {
        names.push(entry.context("list kernels")?.file_name());
    }
    match names.as_slice() {
        [name] => name.to_str().map(str::to_owned).ok_or_else(|| anyhow!("kernel release {name:?} is not UTF-8")),
        _ => bail!("{} holds {} kernels, not one", modules.display(), names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_and_a_package_of_a_suite_are_kernels() {
        let short: KernelSpec = "6.12".parse().unwrap();
        assert_eq!((short.suite.as_str(), short.package.as_str()), ("trixie", CLOUD));
        let long: KernelSpec = "sid/linux-image-amd64".parse().unwrap();
        assert_eq!((long.suite.as_str(), long.package.as_str()), ("sid", "linux-image-amd64"));
        assert_eq!(KernelSpec::default(), KernelSpec::DEFAULT.parse().unwrap());
    }

    #[test]
    fn a_wrong_name_says_which_are_right() {
        for wrong in ["6.2", "../x/linux-image-1", "sid/rm", "/linux-image-1", ""] {
            let error = wrong.parse::<KernelSpec>().unwrap_err().to_string();
            assert!(error.contains("6.1, 6.12, newest"), "{error}");
        }
    }

    #[test]
    fn only_6_12_is_shown_a_processor_without_cx16() {
        let kernel = |release: &str| Kernel { release: release.to_owned(), vmlinuz: PathBuf::new(), initramfs: PathBuf::new() };
        assert_eq!(kernel("6.12.117+deb13-cloud-amd64").processor(), "max,-cx16");
        assert_eq!(kernel("6.1.0-56-cloud-amd64").processor(), "max");
        assert_eq!(kernel("7.2.13+deb14-cloud-amd64").processor(), "max");
    }
}
