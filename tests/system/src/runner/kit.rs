//! What a run needs in the file system of its roots: a place, and the programs to copy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));
const DYNAMIC: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dynamic"));

/// A directory of the run's own, removed at its end.
#[derive(Debug)]
pub(super) struct Kit {
    /// The directory of the roots.
    pub(super) dir: PathBuf,
    /// The probe.
    pub(super) probe: PathBuf,
    /// A program with an ELF interpreter.
    pub(super) dynamic: PathBuf,
    _owner: TempDir,
}

impl Kit {
    /// A name that no other run on this machine has.
    pub(super) fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Unpacks the programs into a fresh directory below `root_fs`.
    pub(super) fn unpack(root_fs: &Path) -> Result<Self> {
        // Short: the runner's sockets and the roots of tmpfs cases have few bytes for a path.
        let owner =
            tempfile::Builder::new().prefix("palisade-").tempdir_in(root_fs).context("cannot make a directory for the roots")?;
        let dir = owner.path().canonicalize()?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = dir.join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            Ok(path)
        };
        let (probe, dynamic) = (write("probe", PROBE)?, write("dynamic", DYNAMIC)?);
        Ok(Self { dir, probe, dynamic, _owner: owner })
    }
}
