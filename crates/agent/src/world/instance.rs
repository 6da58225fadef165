//! One agent on a machine: a lock that ends with its process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// Held as long as the agent lives.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

/// Why this is not the agent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// Another one is.
    #[error("an agent runs already (process {pid}; {} is locked)", path.display())]
    Taken {
        /// The lock.
        path: PathBuf,
        /// Its process id, as it wrote it.
        pid: String,
    },
    /// The lock cannot be used.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

// === impl Instance ===

impl Instance {
    /// Where the agent of a machine locks.
    pub const LOCK: &str = "/run/palisade/agent.lock";

    /// Becomes the agent.
    ///
    /// # Errors
    /// [`InstanceError::Taken`] if another process is.
    pub fn begin(lock: &Path) -> Result<Self, InstanceError> {
        let failed = |source| InstanceError::Lock { path: lock.to_owned(), source };
        if let Some(directory) = lock.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock);
        let mut file = opened.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // For people alone; whoever has the lock may be about to write it.
                let _ = file.read_to_string(&mut pid);
                return Err(InstanceError::Taken { path: lock.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _lock: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("run/agent.lock");
        let first = Instance::begin(&lock).unwrap();
        let refused = Instance::begin(&lock).unwrap_err();
        assert!(refused.to_string().contains(&format!("(process {};", std::process::id())), "{refused}");
        drop(first);
        Instance::begin(&lock).unwrap();
    }
}
