//! Debian packages from the mirror that this machine uses, of any suite, without
//! touching the machine's own package lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, Step};

/// Signs everything that is fetched; from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a machine without Debian in its apt configuration (Ubuntu) uses.
const FALLBACK_MAIN: &str = "http://deb.debian.org/debian";
const FALLBACK_SECURITY: &str = "http://deb.debian.org/debian-security";
/// Until Linux 6 all is in `linux-image`; from Linux 7 on vmlinuz is in
/// `linux-binary`, modules are in `linux-modules`, `modules.builtin` in `linux-base`.
const KERNEL_PREFIXES: &[&str] = &["linux-base-", "linux-binary-", "linux-image-", "linux-modules-"];

/// Where Debian's archives are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// The archive of releases and backports.
    pub(super) main: String,
    /// The archive of security updates.
    pub(super) security: String,
}

/// A package at one version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct PackageVersion {
    pub(super) name: String,
    pub(super) version: String,
}

/// Package lists of one suite in a directory of their own. Proxies and the like
/// still come from the machine's apt configuration.
#[derive(Debug)]
pub(super) struct Suite {
    name: String,
    dir: PathBuf,
}

// === impl Mirrors ===

impl Mirrors {
    /// The mirrors in the machine's apt configuration, in whatever form it has.
    ///
    /// # Errors
    /// `apt-get` cannot be run.
    pub(super) fn of_this_machine() -> Result<Self> {
        let targets = process::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(CREATED_BY)|$(COMPONENT)|$(LABEL)|$(REPO_URI)",
        ]))
        .context("read the machine's apt configuration")?;
        Ok(Self::from_targets(&targets))
    }

    /// The label is known once the machine ran `apt-get update`; before that
    /// the usual path of an archive has to do.
    fn from_targets(targets: &str) -> Self {
        let mut main = None;
        let mut security = None;
        for line in targets.lines() {
            let mut fields = line.split('|');
            let (Some("Packages"), Some("main"), Some(label), Some(uri)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let uri = uri.trim_end_matches('/');
            if label == "Debian" || (label.is_empty() && uri.ends_with("/debian")) {
                main.get_or_insert_with(|| uri.to_owned());
            } else if label == "Debian-Security" || (label.is_empty() && uri.ends_with("/debian-security")) {
                security.get_or_insert_with(|| uri.to_owned());
            }
        }
        Self {
            main: main.unwrap_or_else(|| FALLBACK_MAIN.to_owned()),
            security: security.unwrap_or_else(|| FALLBACK_SECURITY.to_owned()),
        }
    }

    /// The `sources.list` lines for a suite: a stable one with its security updates.
    pub(super) fn sources(&self, suite: &str) -> Vec<String> {
        let Self { main, security } = self;
        // Only package lists; the machine may ask for more (icons, contents).
        let options = format!("[arch=amd64 signed-by={KEYRING} target=Packages]");
        let mut lines = vec![format!("deb {options} {main} {suite} main")];
        let rolling = ["sid", "unstable", "testing", "experimental"].contains(&suite);
        if !rolling && !suite.contains('-') {
            lines.push(format!("deb {options} {security} {suite}-security main"));
        }
        lines
    }
}

// === impl Suite ===

impl Suite {
    /// Fetches the package lists of the suite `name` into `dir`.
    ///
    /// # Assumptions
    /// The caller holds a lock on `dir`.
    ///
    /// # Errors
    /// The mirror does not answer or does not have the suite.
    pub(super) fn update(name: &str, dir: PathBuf, mirrors: &Mirrors) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let list = dir.join("sources.list");
        fs::write(&list, mirrors.sources(name).join("\n") + "\n").with_context(|| format!("write {}", list.display()))?;
        let suite = Self { name: name.to_owned(), dir };
        let step = Step::start(format!("package lists of {name}"));
        step.run(suite.apt("apt-get").arg("--error-on=any").arg("update"))?;
        step.done();
        Ok(suite)
    }

    /// The packages that hold the kernel that `package` is or stands for, at
    /// their newest versions: one package, or from Linux 7 on several.
    ///
    /// # Errors
    /// The suite has no such package, or it leads to no kernel.
    pub(super) fn kernel_packages(&self, package: &str) -> Result<Vec<PackageVersion>> {
        let closure = process::output(self.apt("apt-cache").args(["depends", "--recurse", "--important", package]))
            .with_context(|| format!("look for {package} in {}", self.name))?;
        let names = kernel_names(&closure);
        if names.is_empty() {
            bail!("{package} of {} leads to no kernel package", self.name);
        }
        names
            .into_iter()
            .map(|name| {
                let version = self.version(name)?;
                Ok(PackageVersion { name: name.to_owned(), version })
            })
            .collect()
    }

    /// Downloads `packages` into `into`, and returns the files.
    ///
    /// # Errors
    /// A download fails.
    pub(super) fn download(&self, packages: &[PackageVersion], into: &Path) -> Result<Vec<PathBuf>> {
        let wanted: Vec<String> = packages.iter().map(|PackageVersion { name, version }| format!("{name}={version}")).collect();
        let step = Step::start(format!("download {}", wanted.join(" ")));
        step.run(self.apt("apt-get").arg("download").args(&wanted).current_dir(into))?;
        step.done();
        let mut files = Vec::new();
        for entry in fs::read_dir(into).with_context(|| format!("list {}", into.display()))? {
            let path = entry.context("list downloads")?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// The newest version of a package.
    fn version(&self, package: &str) -> Result<String> {
        let record = process::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        record
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .map(str::to_owned)
            .with_context(|| format!("{package} of {} has no version", self.name))
    }

    /// An apt program that sees this suite and nothing else.
    fn apt(&self, program: &str) -> Command {
        let Self { name: _, dir } = self;
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", dir.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::lists", dir.join("lists")),
            ("Dir::State::status", "/dev/null".into()),
            ("Dir::Cache", dir.join("cache")),
            ("Acquire::Languages", "none".into()),
            // The cache may be where the user _apt cannot write.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command.arg("-q");
        command
    }
}

/// The names in the output of `apt-cache depends --recurse` that belong to one
/// kernel: one of the prefixes and a version.
fn kernel_names(closure: &str) -> Vec<&str> {
    let mut names: Vec<&str> = closure
        .lines()
        .filter(|name| {
            KERNEL_PREFIXES
                .iter()
                .filter_map(|prefix| name.strip_prefix(prefix))
                .any(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_from_the_configuration() {
        let mirrors = Mirrors::from_targets(
            "Packages|main|Some Vendor|https://vendor.example/repo/\n\
             Translations|main|Debian|http://other.example/debian/\n\
             Packages|main|Debian Backports|http://backports.example/debian/\n\
             Packages|main|Debian|http://mirror.example/debian/\n\
             Packages|main||http://mirror.example/debian-security/\n",
        );
        assert_eq!(mirrors.main, "http://mirror.example/debian");
        assert_eq!(mirrors.security, "http://mirror.example/debian-security");
    }

    #[test]
    fn a_machine_without_debian_falls_back() {
        let mirrors = Mirrors::from_targets("Packages|main|Ubuntu|http://mirror.example/ubuntu/\n");
        assert_eq!(mirrors.main, FALLBACK_MAIN);
        assert_eq!(mirrors.security, FALLBACK_SECURITY);
    }

    #[test]
    fn only_stable_suites_have_security_updates() {
        let mirrors = Mirrors::from_targets("");
        assert_eq!(mirrors.sources("bookworm").len(), 2);
        assert_eq!(mirrors.sources("trixie-backports").len(), 1);
        assert_eq!(mirrors.sources("sid").len(), 1);
    }

    #[test]
    fn kernels_of_one_and_of_several_packages_are_found() {
        assert_eq!(
            kernel_names(
                "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n\
                 linux-image-6.1.0-56-cloud-amd64\n  Depends: kmod\nlinux-base\nkmod\n"
            ),
            ["linux-image-6.1.0-56-cloud-amd64"]
        );
        assert_eq!(
            kernel_names(
                "linux-base-7.2.13+deb14-cloud-amd64\nlinux-image-7.2.13+deb14-cloud-amd64\n\
                 linux-modules-7.2.13+deb14-cloud-amd64\nlinux-binary-7.2.13+deb14-cloud-amd64\n"
            )
            .len(),
            4
        );
    }
}
