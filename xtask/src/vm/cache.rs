//! Where built things are kept: one directory per recipe key, made whole or not at all.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::recipe::Key;
use crate::lock::FileLock;

/// The environment variable that moves the cache.
const CACHE_VARIABLE: &str = "PALISADE_VM_CACHE";

/// The directory of built kernels, images and initial file systems.
///
/// ```text
/// ROOT/<kind>-<key>/   a finished build, never changed afterwards
/// ROOT/kernels/        which kernel a name stood for when it was last asked
/// ROOT/apt/<suite>/    package lists
/// ROOT/locks/          one lock file per build
/// ROOT/work/           builds and runs in progress
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A directory for one build or run. Removed when dropped, or, should its
/// process be killed, by the next one that makes such a directory.
#[derive(Debug)]
pub(super) struct WorkDir {
    dir: TempDir,
    _lock: FileLock,
}

// === impl Cache ===

impl Cache {
    /// The cache that `PALISADE_VM_CACHE` names, else `target/vm` of the workspace.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open() -> Result<Self> {
        match env::var_os(CACHE_VARIABLE) {
            Some(path) if !path.is_empty() => Self::at(PathBuf::from(path)),
            _ => Self::at(crate::workspace_root().join("target/vm")),
        }
    }

    /// A cache at a place of one's own.
    ///
    /// # Errors
    /// The directory cannot be created, or has a comma in its path.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("create cache {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("resolve cache {}", root.display()))?;
        if root.to_string_lossy().contains(',') {
            bail!("cache {}: QEMU takes a comma for an end", root.display());
        }
        Ok(Self { root })
    }

    /// The directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The finished build of `kind` for `key`, if there is one.
    pub(super) fn find(&self, kind: &str, key: &Key) -> Option<PathBuf> {
        Some(self.root.join(format!("{kind}-{key}"))).filter(|place| place.is_dir())
    }

    /// The finished build of `kind` for `key`; if there is none, `build` makes
    /// it in the empty directory that it is given.
    ///
    /// # Guarantees
    /// A directory that this returns was built to the end. Processes that want
    /// the same build wait for the one that makes it.
    ///
    /// # Errors
    /// `build` fails, and leaves nothing behind; or the file system does.
    pub(super) fn build(&self, kind: &str, key: &Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let name = format!("{kind}-{key}");
        let place = self.root.join(&name);
        if place.is_dir() {
            return Ok(place);
        }
        let _lock = self.lock(&name)?;
        if place.is_dir() {
            return Ok(place);
        }
        let work = self.work_dir()?;
        let result = work.path().join("result");
        fs::create_dir(&result).with_context(|| format!("create {}", result.display()))?;
        build(&result)?;
        fs::rename(&result, &place).with_context(|| format!("move the finished build to {}", place.display()))?;
        Ok(place)
    }

    /// Waits for the lock of that name.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub(super) fn lock(&self, name: &str) -> Result<FileLock> {
        FileLock::acquire(&self.root.join("locks").join(name), name)
    }

    /// A new work directory; those of killed processes are removed first.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn work_dir(&self) -> Result<WorkDir> {
        let parent = self.root.join("work");
        fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
        // Held while a directory exists without its lock.
        let _guard = self.lock("work")?;
        remove_abandoned(&parent)?;
        let dir = tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&parent)
            .with_context(|| format!("create a directory in {}", parent.display()))?;
        let lock = FileLock::acquire(&dir.path().join("lock"), "work directory")?;
        Ok(WorkDir { dir, _lock: lock })
    }
}

// === impl WorkDir ===

impl WorkDir {
    /// The directory; the name `lock` in it is taken.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes each directory of `parent` whose lock nobody holds. One without a
/// lock file is being removed already, or was half removed by a killed process.
fn remove_abandoned(parent: &Path) -> Result<()> {
    let entries = fs::read_dir(parent).with_context(|| format!("list {}", parent.display()))?;
    for entry in entries {
        let path = entry.context("list work directories")?.path();
        let lock_file = path.join("lock");
        let lock = if lock_file.exists() { FileLock::try_acquire_existing(&lock_file).unwrap_or(None) } else { None };
        if lock.is_none() && lock_file.exists() {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("xtask: cannot remove abandoned {}: {error}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::recipe::Recipe;
    use super::*;

    fn cache() -> (TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        (dir, cache)
    }

    #[test]
    fn a_build_happens_once() {
        let (_dir, cache) = cache();
        let key = Recipe::new("test").key();
        let mut builds = 0;
        for _ in 0..2 {
            let place = cache
                .build("thing", &key, |result| {
                    builds += 1;
                    Ok(fs::write(result.join("file"), "x")?)
                })
                .unwrap();
            assert!(place.join("file").is_file());
        }
        assert_eq!(builds, 1);
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let (_dir, cache) = cache();
        let key = Recipe::new("test").key();
        let failed = cache.build("thing", &key, |_| anyhow::bail!("no"));
        assert!(failed.is_err());
        assert!(!cache.root().join(format!("thing-{key}")).exists());
        assert_eq!(fs::read_dir(cache.root().join("work")).unwrap().count(), 0);
    }

    #[test]
    fn the_directory_of_a_killed_process_is_removed_and_a_living_one_kept() {
        let (_dir, cache) = cache();
        let living = cache.work_dir().unwrap();
        let killed = cache.root().join("work/killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("lock"), "").unwrap();
        let _next = cache.work_dir().unwrap();
        assert!(!killed.exists());
        assert!(living.path().exists());
    }
}
