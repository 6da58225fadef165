//! Landlock's access rights over files, by the kernel's own bits, and what each ABI knows of them.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use serde::{Deserialize, Serialize};

/// A set of `LANDLOCK_ACCESS_FS_*` rights. The number is the kernel's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(u32);

/// The version of Landlock's interface. Zero: the kernel has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Abi(u32);

/// What the law tells apart, each a group of rights that are granted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// Executing files.
    Exec,
    /// Reading files.
    Read,
    /// Listing directories.
    List,
    /// Changing what files hold, and connecting to pathname sockets.
    Write,
    /// Making, removing, moving and linking entries of a directory.
    Names,
}

/// Each right with its kernel name and the first ABI that has it.
const NAMES: [(Rights, &str, u32); 17] = [
    (Rights::EXECUTE, "execute", 1),
    (Rights::WRITE_FILE, "write_file", 1),
    (Rights::READ_FILE, "read_file", 1),
    (Rights::READ_DIR, "read_dir", 1),
    (Rights::REMOVE_DIR, "remove_dir", 1),
    (Rights::REMOVE_FILE, "remove_file", 1),
    (Rights::MAKE_CHAR, "make_char", 1),
    (Rights::MAKE_DIR, "make_dir", 1),
    (Rights::MAKE_REG, "make_reg", 1),
    (Rights::MAKE_SOCK, "make_sock", 1),
    (Rights::MAKE_FIFO, "make_fifo", 1),
    (Rights::MAKE_BLOCK, "make_block", 1),
    (Rights::MAKE_SYM, "make_sym", 1),
    (Rights::REFER, "refer", 2),
    (Rights::TRUNCATE, "truncate", 3),
    (Rights::IOCTL_DEV, "ioctl_dev", 5),
    (Rights::RESOLVE_UNIX, "resolve_unix", 9),
];

// === impl Rights ===

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Execute a file.
    pub const EXECUTE: Self = Self(1);
    /// Open a file for writing.
    pub const WRITE_FILE: Self = Self(1 << 1);
    /// Open a file for reading.
    pub const READ_FILE: Self = Self(1 << 2);
    /// List a directory.
    pub const READ_DIR: Self = Self(1 << 3);
    /// Remove a directory.
    pub const REMOVE_DIR: Self = Self(1 << 4);
    /// Remove a file.
    pub const REMOVE_FILE: Self = Self(1 << 5);
    /// Make a character device.
    pub const MAKE_CHAR: Self = Self(1 << 6);
    /// Make a directory.
    pub const MAKE_DIR: Self = Self(1 << 7);
    /// Make a regular file.
    pub const MAKE_REG: Self = Self(1 << 8);
    /// Bind a pathname socket.
    pub const MAKE_SOCK: Self = Self(1 << 9);
    /// Make a named pipe.
    pub const MAKE_FIFO: Self = Self(1 << 10);
    /// Make a block device.
    pub const MAKE_BLOCK: Self = Self(1 << 11);
    /// Make a symbolic link.
    pub const MAKE_SYM: Self = Self(1 << 12);
    /// Move or link between directories (ABI 2).
    pub const REFER: Self = Self(1 << 13);
    /// Truncate (ABI 3).
    pub const TRUNCATE: Self = Self(1 << 14);
    /// ioctl on devices (ABI 5); never handled: the law does not judge ioctl.
    pub const IOCTL_DEV: Self = Self(1 << 15);
    /// Connect to a pathname socket (ABI 9).
    pub const RESOLVE_UNIX: Self = Self(1 << 16);
    /// The rights that a file other than a directory can have.
    pub const OF_FILES: Self = Self(1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15 | 1 << 16);

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all rights of `other` are in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Each right alone.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(right, ..)| right).filter(move |right| self.contains(*right))
    }

    /// The kernel's bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Rights {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Rights {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = NAMES.iter().filter(|(r, ..)| self.contains(*r)).map(|(_, name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

// === impl Grant ===

impl Grant {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Exec, Self::Read, Self::List, Self::Write, Self::Names];

    /// The rights that a grant gives. `MAKE_BLOCK` is in none: it is handled and never granted.
    #[must_use]
    pub fn rights(self) -> Rights {
        match self {
            Self::Exec => Rights::EXECUTE,
            Self::Read => Rights::READ_FILE,
            Self::List => Rights::READ_DIR,
            Self::Write => Rights::WRITE_FILE | Rights::TRUNCATE | Rights::RESOLVE_UNIX,
            Self::Names => Self::names_without_directories() | Rights::MAKE_DIR,
        }
    }

    /// The rights over names that make no new directory.
    pub(super) fn names_without_directories() -> Rights {
        Rights::REMOVE_DIR
            | Rights::REMOVE_FILE
            | Rights::MAKE_CHAR
            | Rights::MAKE_REG
            | Rights::MAKE_SOCK
            | Rights::MAKE_FIFO
            | Rights::MAKE_SYM
            | Rights::REFER
    }
}

// === impl Abi ===

impl Abi {
    /// The newest version whose rights this program knows.
    pub const KNOWN: Self = Self(10);

    /// By number; what is newer than [`Self::KNOWN`] is taken as that.
    #[must_use]
    pub fn new(version: u32) -> Self {
        Self(version.min(Self::KNOWN.0))
    }

    /// Its number.
    #[must_use]
    pub fn version(self) -> u32 {
        self.0
    }

    /// Whether the kernel has Landlock at all.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.0 > 0
    }

    /// The rights that it knows.
    #[must_use]
    pub fn rights(self) -> Rights {
        NAMES.iter().filter(|(.., since)| *since <= self.0).fold(Rights::NONE, |all, (right, ..)| all | *right)
    }

    /// Whether denials can be written to the audit log (ABI 7, Linux 6.15).
    #[must_use]
    pub fn logs(self) -> bool {
        self.0 >= 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_adds_rights() {
        let count = |v| Abi::new(v).rights().iter().count();
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 9, 99].map(count), [0, 13, 14, 15, 15, 16, 16, 17, 17]);
    }

    #[test]
    fn rights_are_those_of_the_landlock_crate() {
        use landlock::{ABI, Access, AccessFs};
        assert_eq!(u64::from(Abi::new(7).rights().bits()), AccessFs::from_all(ABI::V7).bits());
        assert_eq!(u64::from(Abi::new(10).rights().bits()), AccessFs::from_all(ABI::V10).bits());
        assert_eq!(u64::from((Rights::OF_FILES & Abi::new(10).rights()).bits()), AccessFs::from_file(ABI::V10).bits());
    }
}
