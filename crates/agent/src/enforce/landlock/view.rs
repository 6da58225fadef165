//! The file tree as planning sees it: real directories for the stub, a table for tests.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::PathBuf;

use palisade_ruleset::{Resolved, Tree};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// What planning asks of a file tree. Paths are absolute and free of links, but for [`Tree::resolve`].
pub trait View: Tree {
    /// The entries of a directory, sorted by name; `None` where it cannot be listed or holds more than `limit`.
    fn children(&self, directory: &[u8], limit: usize) -> Option<Vec<Child>>;
    /// What a path is; `None` where nothing is there.
    fn file(&self, path: &[u8]) -> Option<FileFacts>;
    /// What the kernel opens to run a program: its ELF interpreter, or the interpreter named by `#!`.
    fn interpreter(&self, path: &[u8]) -> Option<Interpreter>;
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
}

/// What a file is, as far as grants depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A symbolic link: has no grant of its own.
    Link,
    /// Anything else.
    File,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// What it is.
    pub kind: FileKind,
    /// Whether anybody may execute it.
    pub executable: bool,
    /// Which inode it is.
    pub identity: Identity,
    /// How many names it has.
    pub links: u64,
}

/// An inode by device and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The device.
    pub dev: u64,
    /// The number.
    pub ino: u64,
}

/// What the kernel opens beside the program itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// The dynamic loader; it needs no rule of its own.
    Loader(Vec<u8>),
    /// The interpreter of a script: a stage that the process rules judge.
    Script(Vec<u8>),
}

/// The tree that this process sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealView;

/// A tree from a table: for tests.
#[derive(Clone, Debug, Default)]
pub struct TableView {
    files: BTreeMap<Vec<u8>, FileKind>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    interpreters: BTreeMap<Vec<u8>, Interpreter>,
    aliases: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The longest ELF interpreter path or `#!` line that is read; the kernel's own limits are `PATH_MAX` and 256.
const INTERPRETER_MAX_BYTES: u64 = 4096;
/// The most program headers of an ELF file that are read.
const PROGRAM_HEADERS_MAX: u64 = 128;

// === impl RealView ===

impl Tree for RealView {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        if path.starts_with(b"/proc/") {
            return Some(Resolved { path: path.to_vec(), allow_may_follow: true });
        }
        let mut existing = PathBuf::from(OsStr::from_bytes(path));
        let mut tail: Vec<Vec<u8>> = Vec::new();
        loop {
            match fs::canonicalize(&existing) {
                Ok(found) => {
                    let mut out = found.into_os_string().into_vec();
                    for name in tail.iter().rev() {
                        if out != b"/" {
                            out.push(b'/');
                        }
                        out.extend_from_slice(name);
                    }
                    return Some(Resolved { path: out, allow_may_follow: true });
                }
                Err(_) => {
                    tail.push(existing.file_name()?.as_bytes().to_vec());
                    existing = existing.parent()?.to_owned();
                }
            }
        }
    }
}

impl View for RealView {
    fn children(&self, directory: &[u8], limit: usize) -> Option<Vec<Child>> {
        let mut out = Vec::new();
        for entry in fs::read_dir(OsStr::from_bytes(directory)).ok()? {
            let entry = entry.ok()?;
            if out.len() >= limit {
                return None;
            }
            // An entry that is gone already needs no grant.
            let Ok(kind) = entry.file_type() else { continue };
            out.push(Child { name: entry.file_name().into_vec(), kind: file_kind(kind) });
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Some(out)
    }

    fn file(&self, path: &[u8]) -> Option<FileFacts> {
        let meta = fs::symlink_metadata(OsStr::from_bytes(path)).ok()?;
        let identity = Identity { dev: meta.dev(), ino: meta.ino() };
        Some(FileFacts { kind: file_kind(meta.file_type()), executable: meta.mode() & 0o111 != 0, identity, links: meta.nlink() })
    }

    fn interpreter(&self, path: &[u8]) -> Option<Interpreter> {
        // Without blocking: what is named may be a pipe by now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty()).ok()?);
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut head = [0_u8; 64];
        let read = file.read_at(&mut head, 0).ok()?;
        if head.starts_with(b"#!") {
            let mut line = Vec::new();
            (&file).take(INTERPRETER_MAX_BYTES).read_to_end(&mut line).ok()?;
            return script_interpreter(&line).map(Interpreter::Script);
        }
        let headers = ElfHeaders::parse(head.get(..read)?)?;
        headers.loader(&file).map(Interpreter::Loader)
    }
}

fn file_kind(kind: fs::FileType) -> FileKind {
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Link
    } else if kind.is_block_device() {
        FileKind::BlockDevice
    } else {
        FileKind::File
    }
}

/// The program of a `#!` line.
fn script_interpreter(text: &[u8]) -> Option<Vec<u8>> {
    let line = text.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\t')).filter(|w| !w.is_empty());
    words.next().filter(|w| w.starts_with(b"/")).map(<[u8]>::to_vec)
}

/// Where the program headers of a little-endian ELF file lie.
struct ElfHeaders {
    is_64: bool,
    offset: u64,
    size: u64,
    count: u64,
}

impl ElfHeaders {
    fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"\x7fELF") || head.get(5) != Some(&1) {
            return None;
        }
        let is_64 = head.get(4) == Some(&2);
        let (offset, size, count) = if is_64 {
            (le(head, 32, 8)?, le(head, 54, 2)?, le(head, 56, 2)?)
        } else {
            (le(head, 28, 4)?, le(head, 42, 2)?, le(head, 44, 2)?)
        };
        Some(Self { is_64, offset, size, count: count.min(PROGRAM_HEADERS_MAX) })
    }

    /// The text of the `PT_INTERP` segment.
    fn loader(&self, file: &File) -> Option<Vec<u8>> {
        const PT_INTERP: u64 = 3;
        let Self { is_64, offset, size, count } = self;
        for i in 0..*count {
            let mut header = [0_u8; 56];
            let read = file.read_at(&mut header, offset.checked_add(i.checked_mul(*size)?)?).ok()?;
            let header = header.get(..read)?;
            if le(header, 0, 4)? == PT_INTERP {
                let (at, length) =
                    if *is_64 { (le(header, 8, 8)?, le(header, 32, 8)?) } else { (le(header, 4, 4)?, le(header, 16, 4)?) };
                let mut text = vec![0; usize::try_from(length.min(INTERPRETER_MAX_BYTES)).ok()?];
                file.read_exact_at(&mut text, at).ok()?;
                return text.split(|b| *b == 0).next().map(<[u8]>::to_vec).filter(|t| t.starts_with(b"/"));
            }
        }
        None
    }
}

/// A little-endian number of `length` bytes.
fn le(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

// === impl TableView ===

impl TableView {
    /// Files (and, by a trailing `/`, directories); what lies above each exists too.
    #[must_use]
    pub fn new(paths: &[&str]) -> Self {
        let mut view = Self::default();
        view.files.insert(b"/".to_vec(), FileKind::Directory);
        for path in paths {
            let (path, kind) = match path.strip_suffix('/') {
                Some(directory) => (directory, FileKind::Directory),
                None => (*path, FileKind::File),
            };
            view.add(path, kind);
        }
        view
    }

    /// One more file.
    pub fn add(&mut self, path: &str, kind: FileKind) {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            self.files.insert(path.as_bytes()[..at].to_vec(), FileKind::Directory);
        }
        self.files.insert(path.as_bytes().to_vec(), kind);
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, from: &str, to: &str) -> Self {
        self.add(from, FileKind::Link);
        self.links.insert(from.as_bytes().to_vec(), to.as_bytes().to_vec());
        self
    }

    /// A second name of a file.
    #[must_use]
    pub fn hard_link(mut self, file: &str, name: &str) -> Self {
        self.add(name, FileKind::File);
        self.aliases.insert(name.as_bytes().to_vec(), file.as_bytes().to_vec());
        self
    }

    /// What runs a program.
    #[must_use]
    pub fn with_interpreter(mut self, program: &str, interpreter: Interpreter) -> Self {
        self.interpreters.insert(program.as_bytes().to_vec(), interpreter);
        self
    }
}

impl Tree for TableView {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        let mut now = path.to_vec();
        for _ in 0..8 {
            let found = self.links.iter().find(|(from, _)| {
                now.strip_prefix(from.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            });
            let Some((from, to)) = found else { return Some(Resolved { path: now, allow_may_follow: true }) };
            now = [to, &now[from.len()..]].concat();
        }
        None
    }
}

impl View for TableView {
    fn children(&self, directory: &[u8], limit: usize) -> Option<Vec<Child>> {
        let prefix = if directory == b"/" { b"/".to_vec() } else { [directory, b"/"].concat() };
        let below = self.files.iter().filter_map(|(path, kind)| Some((path.strip_prefix(prefix.as_slice())?, *kind)));
        let children: Vec<Child> = below
            .filter(|(name, _)| !name.is_empty() && !name.contains(&b'/'))
            .map(|(name, kind)| Child { name: name.to_vec(), kind })
            .collect();
        (children.len() <= limit).then_some(children)
    }

    fn file(&self, path: &[u8]) -> Option<FileFacts> {
        let kind = *self.files.get(path)?;
        let file = self.aliases.get(path).map_or(path, Vec::as_slice);
        let ino = self.files.keys().position(|p| p == file).and_then(|i| u64::try_from(i).ok())?;
        let links = 1 + u64::try_from(self.aliases.values().filter(|f| *f == file).count()).ok()?;
        Some(FileFacts { kind, executable: true, identity: Identity { dev: 1, ino }, links })
    }

    fn interpreter(&self, path: &[u8]) -> Option<Interpreter> {
        self.interpreters.get(path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_read_from_real_programs() {
        let bash = RealView.resolve(b"/bin/bash").unwrap().path;
        let Some(Interpreter::Loader(loader)) = RealView.interpreter(&bash) else { panic!("no loader") };
        assert!(loader.starts_with(b"/lib"), "{}", String::from_utf8_lossy(&loader));
        assert_eq!(script_interpreter(b"#! /bin/sh -e\nx"), Some(b"/bin/sh".to_vec()));
        assert_eq!(script_interpreter(b"#!sh\n"), None);
        assert_eq!(ElfHeaders::parse(b"\x7fELF").map(|h| h.count), None);
    }

    #[test]
    fn a_missing_tail_is_kept() {
        assert_eq!(RealView.resolve(b"/bin/no-such/x").unwrap().path, {
            let mut path = RealView.resolve(b"/bin").unwrap().path;
            path.extend_from_slice(b"/no-such/x");
            path
        });
    }
}
