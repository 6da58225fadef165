//! Pins: what keeps programs and maps alive between starts, under `/sys/fs/bpf/palisade-v<ABI>/`.
//!
//! ```text
//! palisade-v6/maps/<map>                adopted by the next start of the same ABI
//! palisade-v6/links-<chance>/<program>  while it is there, the program stays attached
//! ```
//! They are made in `palisade-v6-new` and renamed, and renamed to `palisade-v6-going` before they are removed, so a
//! directory of the final name is complete. (bpffs allows no dots in names.) Another ABI version has pins of its own
//! beside these.
//!
//! No hook of the kernel sees that a link's pin is opened. So the directory of the links has a name that cannot be
//! guessed, below one that no workload may list (built-in rule `self`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libbpf_rs::{Link, MapHandle};
use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use thiserror::Error;

use crate::abi::ABI_VERSION;
use crate::iter;
use crate::load::Loaded;
use crate::maps::{MapError, Maps, Tasks};

/// Where bpffs is mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// What the name of each version's directory begins with.
const NAME: &str = "palisade-v";
/// `BPF_FS_MAGIC`.
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// How the name of the directory of the links begins.
const LINKS: &str = "links-";

/// How often the iterator runs at most. It prints what it could not label: where memory is short, or the map full.
const LABEL_TRIES: usize = 16;

/// The pins of one ABI.
#[derive(Clone, Debug)]
pub struct Pins {
    version: u32,
    root: PathBuf,
}

/// Why pins could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// bpffs is not there and could not be mounted.
    #[error("cannot mount bpffs at {BPFFS}: {0}")]
    Mount(#[source] io::Error),
    /// A file operation failed.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An object could not be pinned or opened.
    #[error("cannot {act} {}: {source}", path.display())]
    Object {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The pinned maps are not as `abi.h` says.
    #[error(transparent)]
    Map(#[from] MapError),
}

// === impl PinError ===

impl PinError {
    /// Whether the kernel said EPERM or EACCES: the caller is itself a workload, or not root.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Mount(source) | Self::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Object { source, .. } | Self::Map(MapError::Access { source, .. }) => {
                source.kind() == libbpf_rs::ErrorKind::PermissionDenied
            }
            Self::Map(_) => false,
        }
    }
}

// === impl Pins ===

impl Pins {
    /// The pins of this build's ABI at their usual place.
    #[must_use]
    pub fn system() -> Self {
        Self::of_version(ABI_VERSION)
    }

    /// The pins of an ABI version at their usual place, whether there are any or not.
    #[must_use]
    pub fn of_version(version: u32) -> Self {
        Self { version, root: Path::new(BPFFS).join(format!("{NAME}{version}")) }
    }

    /// The ABI version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The pins of other ABI versions that are there.
    ///
    /// # Errors
    /// If bpffs is there and cannot be listed.
    pub fn others(&self) -> Result<Vec<Self>, PinError> {
        let listed = if Path::new(BPFFS).exists() { entries(Path::new(BPFFS))? } else { Vec::new() };
        let version = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(NAME)?.parse().ok();
        let mut versions: Vec<u32> = listed.iter().filter_map(version).filter(|other| *other != self.version).collect();
        versions.sort_unstable();
        Ok(versions.into_iter().map(Self::of_version).collect())
    }

    /// What was left half made, or half removed, by a palisade that was killed meanwhile.
    #[must_use]
    pub fn half_made(&self) -> Vec<PathBuf> {
        [self.fresh(), self.going()].into_iter().filter(|path| path.exists()).collect()
    }

    /// Removes what [`Self::half_made`] names.
    ///
    /// # Assumptions
    /// The caller holds the lock that keeps other starts out.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn clean(&self) -> Result<(), PinError> {
        remove_tree(&self.fresh())?;
        remove_tree(&self.going())
    }

    /// The threads that carry a label of this ABI version, whichever it is.
    ///
    /// # Errors
    /// If its map cannot be opened or read.
    pub fn labelled_threads(&self) -> Result<Vec<u32>, PinError> {
        let path = self.root.join("maps").join(Tasks::NAME);
        let map = MapHandle::from_pinned_path(&path).map_err(|source| PinError::Object { act: "open", path, source })?;
        Ok(Tasks::of_any_version(map)?.all()?)
    }

    /// Where they are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Mounts bpffs where it is not, as systemd does.
    fn ensure_bpffs() -> Result<(), PinError> {
        let found = statfs(BPFFS).map_err(|e| PinError::Mount(e.into()))?;
        if u64::try_from(found.f_type).is_ok_and(|magic| magic == BPFFS_MAGIC) {
            return Ok(());
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", BPFFS, "bpf", flags, Some(c"mode=700")).map_err(|e| PinError::Mount(e.into()))
    }

    /// Opens the pinned maps; `None` if there are none.
    ///
    /// # Errors
    /// If they are there but cannot be opened, or have another shape than this build expects.
    pub fn adopt(&self) -> Result<Option<Maps>, PinError> {
        let maps = self.root.join("maps");
        match fs::metadata(&maps) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PinError::File { act: "look at", path: maps, source }),
        }
        let opened = Maps::from_fn(|name| MapHandle::from_pinned_path(maps.join(name)).map(Some))?;
        Ok(Some(opened))
    }

    /// Pins maps and links, all or nothing. From then on they outlive this process. bpffs is mounted if it is not.
    ///
    /// # Assumptions
    /// The caller holds the lock that keeps other starts out.
    ///
    /// # Errors
    /// If something cannot be pinned; then nothing is.
    pub fn install(&self, loaded: Loaded) -> Result<Maps, PinError> {
        let Loaded { maps, programs, missing: _, object } = loaded;
        Self::ensure_bpffs()?;
        let fresh = self.fresh();
        remove_tree(&fresh)?;
        let links = fresh.join(links_by_chance()?);
        for directory in [fresh.clone(), fresh.join("maps"), links.clone()] {
            fs::create_dir(&directory).map_err(|source| PinError::File { act: "make", path: directory.clone(), source })?;
        }
        for name in Maps::NAMES {
            let map = maps.handle(name).ok_or_else(|| MapError::NotThere(name.to_owned()))?;
            let path = fresh.join("maps").join(name);
            let failed = |source| PinError::Object { act: "pin", path: path.clone(), source };
            let mut handle = MapHandle::try_from(map).map_err(failed)?;
            handle.pin(&path).map_err(failed)?;
        }
        for mut program in programs {
            let path = links.join(&program.name);
            let info = program.link.info().map_err(|source| PinError::Object { act: "look at", path: path.clone(), source })?;
            maps.own.note_link(info.id)?;
            program.link.pin(&path).map_err(|source| PinError::Object { act: "pin", path: path.clone(), source })?;
        }
        drop(object);
        fs::rename(&fresh, &self.root).map_err(|source| PinError::File { act: "rename", path: fresh, source })?;
        Ok(maps)
    }

    /// Detaches the programs and lets go of the maps: enforcement ends when the last open descriptor is closed.
    ///
    /// They are renamed first, so that a directory of the final name is complete at any time.
    ///
    /// # Errors
    /// If a pin cannot be removed; the next start removes it.
    pub fn remove(&self) -> Result<(), PinError> {
        self.clean()?;
        match fs::rename(&self.root, self.going()) {
            Ok(()) => remove_tree(&self.going()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(PinError::File { act: "rename", path: self.root.clone(), source }),
        }
    }

    /// Gives their label to the tasks that already run in a labelled cgroup.
    ///
    /// # Assumptions
    /// The caller holds the lock that keeps other palisades out: the cgroup is told through one place for all.
    ///
    /// # Errors
    /// If the iterator cannot be run, or some threads cannot be labelled.
    pub fn label_running_tasks(&self, maps: &Maps, cgroup: u64) -> Result<(), PinError> {
        maps.iterated.set(cgroup)?;
        let links = self.links()?.ok_or_else(|| self.no_links())?;
        let path = links.join(iter::PROGRAM);
        let failed = |source| PinError::File { act: "run", path: path.clone(), source };
        let mut left = Vec::new();
        for _ in 0..LABEL_TRIES {
            left = iter::run(&path).map_err(failed)?;
            if left.is_empty() {
                return Ok(());
            }
        }
        let left = String::from_utf8_lossy(&left).trim_end().replace('\n', ", ");
        Err(failed(io::Error::other(format!("some threads could not be labelled (thread and error: {left})"))))
    }

    /// The ids of the attached programs, by name.
    ///
    /// # Errors
    /// If the pins cannot be read.
    pub fn programs(&self) -> Result<Vec<(String, u32)>, PinError> {
        let links = self.links()?.ok_or_else(|| self.no_links())?;
        let mut programs = Vec::new();
        for path in entries(&links)? {
            if path.file_name().is_some_and(|name| name == iter::PROGRAM) {
                continue; // opening the pin of an iterator is not opening a link
            }
            let failed = |source| PinError::Object { act: "open", path: path.clone(), source };
            let info = Link::open(&path).and_then(|link| link.info()).map_err(failed)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            programs.push((name, info.prog_id));
        }
        Ok(programs)
    }

    /// The directory of the links; `None` if there are no pins.
    fn links(&self) -> Result<Option<PathBuf>, PinError> {
        let found = match entries(&self.root) {
            Err(PinError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(LINKS.as_bytes()));
        Ok(found.into_iter().find(is_it))
    }

    fn no_links(&self) -> PinError {
        PinError::File { act: "find the links in", path: self.root.clone(), source: io::ErrorKind::NotFound.into() }
    }

    /// Where pins are made before they are all there.
    fn fresh(&self) -> PathBuf {
        self.beside("-new")
    }

    /// Where pins are removed.
    fn going(&self) -> PathBuf {
        self.beside("-going")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.root.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// A name for the directory of the links: 128 bits of chance.
fn links_by_chance() -> Result<String, PinError> {
    const SOURCE: &str = "/dev/urandom";
    let mut chance = [0; 16];
    let read = fs::File::open(SOURCE).and_then(|mut file| io::Read::read_exact(&mut file, &mut chance));
    read.map_err(|source| PinError::File { act: "read", path: SOURCE.into(), source })?;
    Ok(format!("{LINKS}{:032x}", u128::from_ne_bytes(chance)))
}

/// Removes a directory of pins, if it is there. One level of directories is all there ever is.
fn remove_tree(root: &Path) -> Result<(), PinError> {
    match fs::remove_dir_all(root) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(PinError::File { act: "remove", path: root.to_owned(), source }),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, PinError> {
    let failed = |source| PinError::File { act: "list", path: directory.to_owned(), source };
    fs::read_dir(directory).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}
