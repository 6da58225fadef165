//! File trees that policies are looked at in: none, a table of links (tests), or a directory (`--root`).
//!
//! Nothing here needs the kernel's help, so an unpacked image will do. The running workload's tree is the agent's.

pub(crate) mod elf;
mod links;
mod root;

use palisade_ruleset::{NoLinks, Resolved, Tree};

pub(crate) use links::LinkTable;
pub(crate) use root::{FileKind, RootDir};

/// A file tree.
#[derive(Clone, Debug)]
pub(crate) enum World {
    /// Nothing is known: every path is itself.
    Unknown,
    /// Everything exists; these are the links.
    Links(LinkTable),
    /// A directory that stands for `/`.
    Root(RootDir),
}

/// The program that a script's first line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shebang {
    /// The interpreter, as written.
    pub(crate) interpreter: Vec<u8>,
    /// The one argument that may follow it.
    pub(crate) argument: Option<Vec<u8>>,
}

// === impl World ===

impl World {
    /// The file that a path leads to, and the same where nothing is known.
    pub(crate) fn file(&self, path: &[u8]) -> Vec<u8> {
        self.resolve(path).map_or_else(|| path.to_vec(), |resolved| resolved.path)
    }

    /// The owner of a file, or of its parent directory where it does not exist.
    pub(crate) fn owner(&self, path: &[u8]) -> Option<u32> {
        match self {
            Self::Unknown | Self::Links(_) => None,
            Self::Root(root) => root.owner(path),
        }
    }

    /// What a script's first line says.
    pub(crate) fn shebang(&self, path: &[u8]) -> Option<Shebang> {
        match self {
            Self::Unknown | Self::Links(_) => None,
            Self::Root(root) => root.shebang(path),
        }
    }

    /// Whether the path is a block device.
    pub(crate) fn is_block_device(&self, path: &[u8]) -> bool {
        match self {
            Self::Unknown | Self::Links(_) => false,
            Self::Root(root) => root.kind(path) == Some(FileKind::BlockDevice),
        }
    }
}

impl Tree for World {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        match self {
            Self::Unknown => NoLinks.resolve(path),
            Self::Links(table) => table.resolve(path),
            Self::Root(root) => root.resolve(path),
        }
    }
}
