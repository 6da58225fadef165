//! A cgroup of the run's own, with one child per case.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Where a cgroup2 tree may be mounted: a unified host, a hybrid one.
const PLACES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The run's cgroup; removed at the end.
#[derive(Debug)]
pub(super) struct RunCgroup {
    dir: PathBuf,
}

/// The cgroup of one pass of one case; removed at its end.
#[derive(Debug)]
pub(super) struct CaseCgroup {
    dir: PathBuf,
}

impl RunCgroup {
    /// Makes it, by this name, where a cgroup2 tree is mounted; `None` where none is.
    pub(super) fn new(name: &str) -> Result<Option<Self>> {
        let Some(tree) = PLACES.iter().map(Path::new).find(|p| p.join("cgroup.controllers").exists()) else {
            return Ok(None);
        };
        let dir = tree.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Some(Self { dir }))
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where a child of this name lies.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A child of this name as a container's configuration writes it.
    pub(super) fn oci_path(&self, name: &str) -> Result<String> {
        let below = self.dir.strip_prefix(PLACES[0]).context("containers need a unified cgroup tree")?;
        Ok(format!("/{}/{name}", below.display()))
    }

    /// A child for one pass.
    pub(super) fn case(&self, name: &str) -> Result<CaseCgroup> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(CaseCgroup { dir })
    }
}

impl CaseCgroup {
    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for CaseCgroup {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

impl Drop for RunCgroup {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// A cgroup is busy for a moment after its last task has ended.
fn remove(dir: &Path) {
    for _ in 0..100 {
        if fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    eprintln!("cannot remove the cgroup {}", dir.display());
}
