//! A directory that stands for the root of a workload: an unpacked image, or `/` itself.
//!
//! Every path is followed component by component inside the directory and opened only after that, so a link cannot lead
//! out of it. Assumption: nobody changes the tree meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use palisade_ruleset::{Resolved, Tree};

use super::Shebang;
use super::links::{Node, follow};

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct RootDir {
    directory: PathBuf,
}

/// What is at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file that somebody may execute.
    Program,
    /// Any other regular file.
    File,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// Anything else.
    Other,
}

// === impl RootDir ===

impl RootDir {
    /// The directory as a root.
    ///
    /// # Errors
    /// It is no directory.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot open {}", directory.display());
        let directory = directory.canonicalize().with_context(context)?;
        if !directory.is_dir() {
            bail!("{} is no directory", directory.display());
        }
        Ok(Self { directory })
    }

    /// What is there.
    pub(crate) fn kind(&self, path: &[u8]) -> Option<FileKind> {
        let metadata = fs::symlink_metadata(self.place(&self.resolve(path)?.path)).ok()?;
        let kind = metadata.file_type();
        Some(if kind.is_dir() {
            FileKind::Directory
        } else if kind.is_file() && metadata.mode() & 0o111 != 0 {
            FileKind::Program
        } else if kind.is_file() {
            FileKind::File
        } else if kind.is_block_device() {
            FileKind::BlockDevice
        } else {
            FileKind::Other
        })
    }

    /// The owner of a file, or of its parent directory where it does not exist.
    pub(crate) fn owner(&self, path: &[u8]) -> Option<u32> {
        let resolved = self.resolve(path)?.path;
        let own = fs::symlink_metadata(self.place(&resolved));
        let metadata = own.or_else(|_| {
            let parent = resolved.iter().rposition(|b| *b == b'/').unwrap_or(0);
            fs::symlink_metadata(self.place(&resolved[..parent]))
        });
        metadata.ok().map(|m| m.uid())
    }

    /// A regular file, opened.
    pub(crate) fn file(&self, path: &[u8]) -> Option<File> {
        match self.kind(path)? {
            FileKind::Program | FileKind::File => File::open(self.place(&self.resolve(path)?.path)).ok(),
            FileKind::Directory | FileKind::BlockDevice | FileKind::Other => None,
        }
    }

    /// The names in a directory, in order, and at most so many.
    pub(crate) fn names_in(&self, path: &[u8], at_most: usize) -> Vec<Vec<u8>> {
        let Some(resolved) = self.resolve(path) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(self.place(&resolved.path)) else { return Vec::new() };
        let mut names: Vec<Vec<u8>> = entries.filter_map(|e| Some(e.ok()?.file_name().into_vec())).take(at_most).collect();
        names.sort();
        names
    }

    /// The first line of a script, as the kernel reads it: `#!`, a path, one argument with all the blanks in it.
    pub(crate) fn shebang(&self, path: &[u8]) -> Option<Shebang> {
        /// What the kernel looks at (BINPRM_BUF_SIZE).
        const LINE_MAX_BYTES: u64 = 256;
        let mut head = Vec::new();
        self.file(path)?.take(LINE_MAX_BYTES).read_to_end(&mut head).ok()?;
        Shebang::parse(&head)
    }

    fn place(&self, resolved: &[u8]) -> PathBuf {
        self.directory.join(OsStr::from_bytes(resolved.strip_prefix(b"/").unwrap_or(resolved)))
    }

    fn node(&self, path: &[u8]) -> Node {
        let place = self.place(path);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_symlink() => {
                fs::read_link(&place).map_or(Node::Unknown, |target| Node::Link(target.into_os_string().into_vec()))
            }
            Ok(_) => Node::There,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Node::Missing,
            Err(_) => Node::Unknown,
        }
    }
}

impl Tree for RootDir {
    /// An image's links are all older than the workload that will be started from it, so an Allow follows them.
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        follow(path, |at| self.node(at)).map(|path| Resolved { path, allow_may_follow: true })
    }
}

// === impl Shebang ===

impl Shebang {
    fn parse(head: &[u8]) -> Option<Self> {
        let line = head.strip_prefix(b"#!")?.split(|b| matches!(b, b'\n' | 0)).next()?.trim_ascii();
        let cut = line.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(line.len());
        let (interpreter, argument) = line.split_at(cut);
        let argument = argument.trim_ascii();
        (!interpreter.is_empty())
            .then(|| Self { interpreter: interpreter.to_vec(), argument: (!argument.is_empty()).then(|| argument.to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_does_not_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), "inside").unwrap();
        symlink("../../../../../../etc/passwd", dir.path().join("up")).unwrap();
        symlink("/etc", dir.path().join("abs")).unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        for path in ["/up", "/abs/passwd"] {
            let mut text = String::new();
            root.file(path.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{path}");
        }
        assert_eq!(root.kind(b"/etc"), Some(FileKind::Directory));
        assert_eq!(root.kind(b"/etc/nothing"), None);
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("s");
        fs::write(&script, "#! /usr/bin/env  node -x \nrest").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        let found = root.shebang(b"/s").unwrap();
        assert_eq!(found.interpreter, b"/usr/bin/env");
        assert_eq!(found.argument.as_deref(), Some(b"node -x".as_slice()));
        assert_eq!(root.kind(b"/s"), Some(FileKind::Program));
    }
}
