//! A root of two layers, as container images have it: what the case describes lies in the lower one, what is changed goes
//! to the upper one.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The layers below one directory, and the mount of both; unmounted when it is dropped.
#[derive(Debug)]
pub(super) struct Overlay {
    lower: PathBuf,
    merged: PathBuf,
    options: String,
    mounted: bool,
}

impl Overlay {
    /// Makes the layers, empty and not mounted yet.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| dir.join(name));
        for layer in [&lower, &upper, &work, &merged] {
            fs::create_dir_all(layer).with_context(|| format!("cannot make {}", layer.display()))?;
        }
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        Ok(Self { lower, merged, options, mounted: false })
    }

    /// The lower layer, which is not to be written once they are mounted.
    pub(super) fn lower(&self) -> &Path {
        &self.lower
    }

    /// Mounts both; the directory where they are seen as one.
    pub(super) fn mount(&mut self) -> Result<&Path> {
        let options = CString::new(self.options.as_str()).context("a NUL in the directory's name")?;
        mount("overlay", &self.merged, "overlay", MountFlags::empty(), options.as_c_str()).context("cannot mount an overlay")?;
        self.mounted = true;
        Ok(&self.merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = unmount(&self.merged, UnmountFlags::DETACH)
        {
            eprintln!("cannot unmount {}: {error}", self.merged.display());
        }
    }
}
