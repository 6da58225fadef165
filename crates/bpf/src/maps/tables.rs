//! `pal_tables_*`: a table is one value of an array of its own, swapped whole.

#![expect(unsafe_code, reason = "the value of a map is filled through a mapping")]

use std::io;
use std::ptr;

use libbpf_rs::libbpf_sys::{BPF_F_MMAPABLE, bpf_map_create_opts};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use rustix::mm::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

use super::{MapError, failed, fd, gone_is_fine};
use crate::abi::{HEADER_BYTES, SIZES, SizeClass, TABLE_SLOTS, value_bytes};

/// The arrays of tables, one for each size class.
#[derive(Debug)]
pub struct Tables {
    outer: Vec<MapHandle>,
}

/// A compiled table, as it will lie in its map: `struct pal_header` followed by the words, little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableImage {
    size_class: SizeClass,
    bytes: Vec<u8>,
}

/// A table in its slot.
#[derive(Debug)]
pub struct Installed {
    size_class: SizeClass,
    slot: u16,
    inner: MapHandle,
}

// === impl TableImage ===

impl TableImage {
    /// A table of a size class.
    ///
    /// # Errors
    /// [`MapError::TooLarge`] if it does not fit the class or is shorter than its header.
    pub fn new(size_class: SizeClass, bytes: Vec<u8>) -> Result<Self, MapError> {
        let limit = value_bytes(size_class);
        if bytes.len() > limit || bytes.len() < HEADER_BYTES {
            return Err(MapError::TooLarge { bytes: bytes.len(), limit });
        }
        Ok(Self { size_class, bytes })
    }

    /// Its size class.
    #[must_use]
    pub fn size_class(&self) -> SizeClass {
        self.size_class
    }
}

// === impl Tables ===

impl Tables {
    pub(super) const NAMES: [&'static str; SIZES] = ["pal_tables_s", "pal_tables_m", "pal_tables_l", "pal_tables_x"];

    pub(super) fn new(outer: Vec<MapHandle>) -> Self {
        Self { outer }
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = &MapHandle> {
        self.outer.iter()
    }

    /// Puts a table into a free slot of its size class: created, filled, frozen, then set in by one step.
    ///
    /// # Guarantees
    /// On error the slot holds what it held.
    ///
    /// # Errors
    /// If the kernel refuses (ENOMEM for large tables), or there is no such slot.
    ///
    /// Minimum kernel: 6.1 for the largest class (values above 4 MiB); 5.10 else.
    pub fn install(&self, slot: u16, image: &TableImage) -> Result<Installed, MapError> {
        let outer = self.outer(image.size_class, slot)?;
        let inner = create(image.size_class)?;
        fill(&inner, &image.bytes)?;
        inner.freeze().map_err(|source| failed(&inner, "freeze a table", source))?;
        set(outer, slot, &inner)?;
        Ok(Installed { size_class: image.size_class, slot, inner })
    }

    /// Waits until no task is being judged any more by what was in force when this was called.
    ///
    /// The kernel waits so after every change of an array of maps (`synchronize_rcu`), so this sets the table in once
    /// more where it is.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn settle(&self, installed: &Installed) -> Result<(), MapError> {
        let Installed { size_class, slot, inner } = installed;
        set(self.outer(*size_class, *slot)?, *slot, inner)
    }

    /// Empties a slot; an empty one stays empty.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&self, size_class: SizeClass, slot: u16) -> Result<(), MapError> {
        let outer = self.outer(size_class, slot)?;
        let result = gone_is_fine(outer.delete(&u32::from(slot).to_ne_bytes()));
        result.map_err(|source| failed(outer, "remove a table", source))
    }

    fn outer(&self, size_class: SizeClass, slot: u16) -> Result<&MapHandle, MapError> {
        let name = Self::NAMES[size_class.index()];
        let outer = self.outer.get(size_class.index()).ok_or_else(|| MapError::NotThere(name.to_owned()))?;
        if u32::from(slot) >= TABLE_SLOTS {
            return Err(MapError::NotThere(format!("{name}[{slot}]")));
        }
        Ok(outer)
    }
}

fn set(outer: &MapHandle, slot: u16, inner: &MapHandle) -> Result<(), MapError> {
    let result = outer.update(&u32::from(slot).to_ne_bytes(), &fd_number(inner), MapFlags::ANY);
    result.map_err(|source| failed(outer, "set in a table", source))
}

/// An array of one value, of the shape that the outer arrays were made for.
fn create(size_class: SizeClass) -> Result<MapHandle, MapError> {
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as libbpf_rs::libbpf_sys::size_t,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    let bytes = u32::try_from(value_bytes(size_class))
        .map_err(|_| MapError::TooLarge { bytes: value_bytes(size_class), limit: u32::MAX as usize })?;
    MapHandle::create(MapType::Array, Some("pal_table"), 4, bytes, 1, &options).map_err(|source| MapError::Access {
        map: "pal_table".to_owned(),
        act: "create a table",
        source,
    })
}

/// Writes the value through a mapping: the update system call would copy all of it through kernel memory once more.
fn fill(inner: &MapHandle, bytes: &[u8]) -> Result<(), MapError> {
    // SAFETY: a new mapping at an address of the kernel's choice; nothing else can refer to it yet. The length is not
    // zero (a table has a header) and not larger than the value (TableImage::new).
    let mapping =
        unsafe { mmap(ptr::null_mut(), bytes.len(), ProtFlags::READ | ProtFlags::WRITE, MmapFlags::SHARED, fd(inner), 0) };
    let mapping = mapping.map_err(|e| MapError::Mmap(io::Error::from(e)))?;
    // SAFETY: the mapping is at least `bytes.len()` long and writable, lives until the munmap below, and is new, so
    // it does not overlap `bytes`. The map is in no slot yet, so no program reads it.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), mapping.cast::<u8>(), bytes.len()) };
    // SAFETY: address and length are those of the mapping above, and no reference into it exists.
    unsafe { munmap(mapping, bytes.len()) }.map_err(|e| MapError::Mmap(io::Error::from(e)))
}

/// The value of an array of maps, as user space writes it: the descriptor of the inner map.
fn fd_number(inner: &MapHandle) -> [u8; 4] {
    std::os::fd::AsRawFd::as_raw_fd(&fd(inner)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_does_not_fit_its_class_is_refused() {
        assert!(TableImage::new(SizeClass::ALL[0], vec![0; HEADER_BYTES]).is_ok());
        assert!(TableImage::new(SizeClass::ALL[0], vec![0; HEADER_BYTES - 1]).is_err());
        assert!(TableImage::new(SizeClass::ALL[0], vec![0; value_bytes(SizeClass::ALL[0]) + 1]).is_err());
    }

    /// Map creation and mapping need no LSM programs, so they run natively, as root.
    #[test]
    fn a_table_is_created_filled_and_frozen() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("needs root");
            return;
        }
        for class in SizeClass::ALL {
            let inner = create(class).unwrap();
            let mut bytes = vec![7; value_bytes(class)];
            bytes[0] = 1;
            fill(&inner, &bytes).unwrap();
            inner.freeze().unwrap();
            let read = inner.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            assert_eq!(read, bytes);
            assert!(inner.update(&0_u32.to_ne_bytes(), &bytes, MapFlags::ANY).is_err(), "frozen");
        }
    }
}
