//! What a program's ELF headers say that it needs: its interpreter and its libraries, and where those are.
//!
//! Limits: libraries opened at run time (dlopen) are not named there; a file without section headers names none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{FileKind, ReadCache, ReadRef, elf};

use super::RootDir;

/// What one file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// PT_INTERP.
    pub(crate) interpreter: Option<Vec<u8>>,
    /// DT_NEEDED, in order.
    pub(crate) libraries: Vec<Vec<u8>>,
    /// DT_RUNPATH, or DT_RPATH where there is none, as written.
    search: Vec<Vec<u8>>,
}

/// The libraries of a program, found in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// The path by which the loader opens each, by its name.
    pub(crate) found: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Libraries looked at per program, at most.
const LIBRARIES_MAX: usize = 500;

// === impl Needs ===

impl Needs {
    /// Reads the headers. `None` for what is no ELF file.
    pub(crate) fn read(file: File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let kind = FileKind::parse(&cache).ok()?;
        if kind == FileKind::Elf32 {
            Self::of::<elf::FileHeader32<object::Endianness>, _>(&cache)
        } else if kind == FileKind::Elf64 {
            Self::of::<elf::FileHeader64<object::Endianness>, _>(&cache)
        } else {
            None
        }
    }

    fn of<'data, Elf: FileHeader, R: ReadRef<'data>>(data: R) -> Option<Self> {
        let header = Elf::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut needs = Self::default();
        for segment in header.program_headers(endian, data).ok()? {
            if let Ok(Some(interpreter)) = segment.interpreter(endian, data) {
                needs.interpreter = Some(interpreter.to_vec());
            }
        }
        let Ok(table) = header.sections(endian, data).and_then(|sections| sections.dynamic_table(endian, data)) else {
            return Some(needs);
        };
        let (mut runpath, mut rpath) = (Vec::new(), Vec::new());
        for entry in table.dynamics() {
            let tag = entry.tag(endian);
            let list = match tag {
                elf::DT_NEEDED => &mut needs.libraries,
                elf::DT_RUNPATH => &mut runpath,
                elf::DT_RPATH => &mut rpath,
                elf::DT_NULL => break,
                _ => continue,
            };
            if let Ok(text) = entry.string(endian, *table.strings()) {
                if tag == elf::DT_NEEDED {
                    list.push(text.to_vec());
                } else {
                    list.extend(text.split(|b| *b == b':').filter(|d| !d.is_empty()).map(<[u8]>::to_vec));
                }
            }
        }
        needs.search = if runpath.is_empty() { rpath } else { runpath };
        Some(needs)
    }
}

// === impl Closure ===

impl Closure {
    /// All libraries of a program, those of its libraries included.
    pub(crate) fn of(program: &[u8], needs: &Needs, root: &RootDir) -> Self {
        let common = loader_directories(root);
        let mut closure = Self::default();
        let mut open = vec![(program.to_vec(), needs.clone())];
        while let Some((file, Needs { interpreter: _, libraries, search })) = open.pop() {
            let origin = file.iter().rposition(|b| *b == b'/').map_or(&b""[..], |slash| &file[..slash]);
            let own: Vec<Vec<u8>> = search.iter().map(|d| with_origin(d, origin)).collect();
            for name in libraries {
                if closure.found.contains_key(&name) || closure.found.len() >= LIBRARIES_MAX {
                    continue;
                }
                let places = own.iter().chain(&common).map(|d| [d.as_slice(), b"/", &name].concat());
                let mut places = if name.contains(&b'/') { vec![name.clone()] } else { places.collect() };
                places.retain(|place| root.file(place).is_some());
                // What is nowhere is not the policy's matter.
                let Some(place) = places.into_iter().next() else { continue };
                if let Some(needs) = root.file(&place).and_then(Needs::read) {
                    open.push((place.clone(), needs));
                }
                closure.found.insert(name, place);
            }
        }
        closure
    }
}

fn with_origin(directory: &[u8], origin: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(directory);
    let origin = String::from_utf8_lossy(origin);
    text.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).into_bytes()
}

/// Where the loader looks without being told: what ld.so.conf names, then the built-in places of glibc and musl.
fn loader_directories(root: &RootDir) -> Vec<Vec<u8>> {
    const CONFIGURATIONS_MAX: usize = 100;
    const BUILT_IN: [&str; 6] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib", "/lib/x86_64-linux-gnu"];
    let mut directories = Vec::new();
    let names = root.names_in(b"/etc/ld.so.conf.d", CONFIGURATIONS_MAX).into_iter();
    let files = names.filter(|n| n.ends_with(b".conf")).map(|n| [b"/etc/ld.so.conf.d/".as_slice(), &n].concat());
    for file in std::iter::once(b"/etc/ld.so.conf".to_vec()).chain(files) {
        let mut text = Vec::new();
        const CONFIGURATION_MAX_BYTES: u64 = 64 << 10;
        let Some(file) = root.file(&file) else { continue };
        if file.take(CONFIGURATION_MAX_BYTES).read_to_end(&mut text).is_err() {
            continue;
        }
        let lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        directories.extend(lines.filter(|line| line.starts_with(b"/")).map(<[u8]>::to_vec));
    }
    directories.extend(BUILT_IN.map(|d| d.as_bytes().to_vec()));
    directories
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_program_of_this_machine_needs_its_libraries() {
        let test_program = std::env::current_exe().unwrap();
        let needs = Needs::read(File::open(&test_program).unwrap()).unwrap();
        assert!(needs.interpreter.is_some());
        assert!(needs.libraries.iter().any(|l| l.starts_with(b"libc.so")), "{needs:?}");
        let closure = Closure::of(b"/x", &needs, &RootDir::open(Path::new("/")).unwrap());
        assert!(needs.libraries.iter().all(|l| closure.found.contains_key(l)), "{closure:?}");
    }

    #[test]
    fn what_is_no_elf_file_needs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for bytes in [b"".as_slice(), b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01"] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Needs::read(File::open(&path).unwrap()), None);
        }
    }
}
