//! One lock file per thing that only one process may build at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

/// Holds an advisory lock (`flock`) on a file until it is dropped or its process ends.
#[derive(Debug)]
pub struct FileLock {
    /// Closing it releases the lock.
    _file: File,
}

// === impl FileLock ===

impl FileLock {
    /// Waits for the lock on `path`, which is created if need be, and says on
    /// standard error that it waits for `purpose`.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub fn acquire(path: &Path, purpose: &str) -> Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        eprintln!("xtask: {purpose}: another xtask, or another of its guests, is at it; waiting");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(Self { _file: file })
    }

    /// Takes the lock on the existing file `path` if nobody has it; `None` if somebody does.
    ///
    /// # Errors
    /// The file does not exist or cannot be locked.
    pub fn try_acquire_existing(path: &Path) -> Result<Option<Self>> {
        let file = File::options().write(true).open(path).with_context(|| format!("open lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("open lock file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_refused_and_free_again_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/lock");
        let held = FileLock::acquire(&path, "test").unwrap();
        assert!(FileLock::try_acquire_existing(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_acquire_existing(&path).unwrap().is_some());
    }
}
