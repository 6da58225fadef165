//! The numbered differences between what a policy means and what holds under Landlock with seccomp.
//!
//! The same numbers stand in `docs/landlock.md` (a test compares the two) and in every gap of a plan.

use std::fmt;

use palisade_policy::model::Class;
use serde::{Deserialize, Serialize};

/// A difference by its number: `Difference(1)` is displayed as `L1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference(u8);

/// In which direction what holds departs from the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Something passes that the law denies.
    Wider,
    /// Something is denied that the law lets pass.
    Narrower,
    /// The verdict is that of the law, but nobody is told.
    Unreported,
}

/// How much a gap weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It comes with the back end, whatever the policy says.
    Inherent,
    /// Something that a policy says is not met as written: coverage is partial, and `--strict` refuses.
    Unmet,
}

/// One departure of a plan from the law.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// Which difference.
    pub difference: Difference,
    /// In which direction.
    pub effect: Effect,
    /// How much it weighs.
    pub weight: Weight,
    /// The class that it concerns (`process`, `file`, `network`, `capability`); empty: all.
    pub class: String,
    /// The rules that it concerns, by id; empty where it is not about a written rule.
    pub rules: Vec<u32>,
    /// What is not met and what holds instead.
    pub text: String,
}

/// What `--strict` makes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strict {
    /// It refuses to start.
    Refuses,
    /// It comes with the back end: stated by `--gaps`, not refused.
    States,
    /// Refused in the cases in which something that a policy says is not met; stated otherwise.
    Both,
}

/// A line of the table: number, title as it stands in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DifferenceLine {
    /// Which.
    pub difference: Difference,
    /// Its title.
    pub title: &'static str,
    /// What `--strict` makes of it.
    pub strict: Strict,
}

/// The whole table, in the order of the numbers.
pub static DIFFERENCES: [DifferenceLine; 26] = [
    line(Difference::LOADER, "the loader runs what can be read", Strict::States),
    line(Difference::EXEC_READS, "what may be executed may be read", Strict::States),
    line(Difference::UNREADABLE_EXEC, "a program that nothing makes readable does not start", Strict::States),
    line(Difference::NON_RECURSIVE, "directories without `recursive`", Strict::Refuses),
    line(Difference::LISTING, "listing reaches everything below", Strict::Refuses),
    line(Difference::INODE, "a name means the file that it named at start", Strict::Both),
    line(Difference::LATER, "what appears later in an enumerated directory", Strict::States),
    line(Difference::GLOBS, "globs and base names mean what existed at start", Strict::Refuses),
    line(Difference::BOUND, "the bound on enumeration", Strict::Refuses),
    line(Difference::SOURCE, "no `fromSource`", Strict::Refuses),
    line(Difference::CONDITIONS, "no `ownerOnly`, no `allowedArgs`", Strict::Refuses),
    line(Difference::TERMINAL, "no `pts`", Strict::Refuses),
    line(Difference::AUDIT, "no audit", Strict::Refuses),
    line(Difference::METADATA, "operations that Landlock does not see", Strict::Both),
    line(Difference::MOVES, "moving and linking between directories", Strict::States),
    line(Difference::MOUNTS, "every mount change is denied", Strict::States),
    line(Difference::PROCFS, "the process's own entries of procfs", Strict::States),
    line(Difference::MAPPING, "executable mappings are not judged", Strict::States),
    line(Difference::MEMFD, "programs without a file", Strict::States),
    line(Difference::SOCKETS, "sockets are judged when they are created, by seccomp", Strict::Both),
    line(Difference::CAPABILITIES, "capabilities are dropped, not judged", Strict::Refuses),
    line(Difference::REPORTS, "what is reported", Strict::States),
    line(Difference::PRIVILEGE, "no new privileges", Strict::States),
    line(Difference::OTHER_TASKS, "other tasks, and Palisade itself", Strict::States),
    line(Difference::BLOCK_DEVICES, "block devices are not made", Strict::States),
    line(Difference::MULTI_CALL, "multi-call binaries", Strict::Refuses),
];

const fn line(difference: Difference, title: &'static str, strict: Strict) -> DifferenceLine {
    DifferenceLine { difference, title, strict }
}

// === impl Difference ===

impl Difference {
    /// `ld.so PROG` runs any file that can be read.
    pub const LOADER: Self = Self(1);
    /// An exec opens the file for reading, so what may be executed is made readable.
    pub const EXEC_READS: Self = Self(2);
    /// A program outside the usual program directories that no file rule makes readable is not executed.
    pub const UNREADABLE_EXEC: Self = Self(3);
    /// A grant on a directory is recursive.
    pub const NON_RECURSIVE: Self = Self(4);
    /// The right to list a directory is recursive.
    pub const LISTING: Self = Self(5);
    /// Grants bind to inodes.
    pub const INODE: Self = Self(6);
    /// New entries of an enumerated directory have no grant.
    pub const LATER: Self = Self(7);
    /// Globs and base names are resolved once.
    pub const GLOBS: Self = Self(8);
    /// Enumeration is bounded.
    pub const BOUND: Self = Self(9);
    /// No acting program.
    pub const SOURCE: Self = Self(10);
    /// No owner, no arguments.
    pub const CONDITIONS: Self = Self(11);
    /// No terminal.
    pub const TERMINAL: Self = Self(12);
    /// No verdict that passes and reports.
    pub const AUDIT: Self = Self(13);
    /// chmod, chown, extended attributes, times; what older ABIs lack.
    pub const METADATA: Self = Self(14);
    /// rename and link across directories.
    pub const MOVES: Self = Self(15);
    /// Mounts.
    pub const MOUNTS: Self = Self(16);
    /// `/proc/self`.
    pub const PROCFS: Self = Self(17);
    /// mmap and mprotect with PROT_EXEC.
    pub const MAPPING: Self = Self(18);
    /// memfd.
    pub const MEMFD: Self = Self(19);
    /// seccomp in place of LSM socket hooks.
    pub const SOCKETS: Self = Self(20);
    /// The capability class.
    pub const CAPABILITIES: Self = Self(21);
    /// Landlock's audit records.
    pub const REPORTS: Self = Self(22);
    /// no_new_privs.
    pub const PRIVILEGE: Self = Self(23);
    /// ptrace, and the built-in rule `self`.
    pub const OTHER_TASKS: Self = Self(24);
    /// mknod of block devices.
    pub const BLOCK_DEVICES: Self = Self(25);
    /// busybox and its like.
    pub const MULTI_CALL: Self = Self(26);

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its title, as in the documentation.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.line().map_or("", |l| l.title)
    }

    fn line(self) -> Option<&'static DifferenceLine> {
        DIFFERENCES.iter().find(|l| l.difference == self)
    }
}

impl Strict {
    /// As the documentation has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Refuses => "refused",
            Self::States => "stated",
            Self::Both => "both",
        }
    }

    /// Whether a gap of this weight is as declared.
    fn allows(self, weight: Weight) -> bool {
        match self {
            Self::Refuses => weight == Weight::Unmet,
            Self::States => weight == Weight::Inherent,
            Self::Both => true,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

// === impl Gap ===

impl Gap {
    /// A gap that comes with the back end.
    pub(super) fn inherent(difference: Difference, effect: Effect, class: Option<Class>, text: impl Into<String>) -> Self {
        let (weight, rules) = (Weight::Inherent, Vec::new());
        debug_assert!(difference.line().is_some_and(|l| l.strict.allows(weight)), "{difference} is refused");
        Self { difference, effect, weight, class: class_word(class).to_owned(), rules, text: text.into() }
    }

    /// A gap over something that a policy says.
    pub(super) fn unmet(
        difference: Difference,
        effect: Effect,
        class: Option<Class>,
        rules: Vec<u32>,
        text: impl Into<String>,
    ) -> Self {
        let weight = Weight::Unmet;
        debug_assert!(difference.line().is_some_and(|l| l.strict.allows(weight)), "{difference} is not refused");
        Self { difference, effect, weight, class: class_word(class).to_owned(), rules, text: text.into() }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { difference, effect: _, weight: _, class, rules: _, text } = self;
        if class.is_empty() { write!(f, "{difference}: {text}") } else { write!(f, "{difference} ({class}): {text}") }
    }
}

fn class_word(class: Option<Class>) -> &'static str {
    match class {
        None => "",
        Some(Class::Process) => "process",
        Some(Class::File) => "file",
        Some(Class::Network) => "network",
        Some(Class::Capability) => "capability",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_same_numbers_and_titles() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/landlock.md");
        let text = std::fs::read_to_string(path).unwrap();
        let written: Vec<(String, String)> = text
            .lines()
            .filter_map(|l| l.strip_prefix("### L"))
            .filter_map(|l| l.split_once(": "))
            .map(|(number, title)| (format!("L{number}"), title.to_owned()))
            .collect();
        let expected: Vec<(String, String)> =
            DIFFERENCES.iter().map(|l| (l.difference.to_string(), l.title.to_owned())).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn the_documentation_says_what_strict_refuses() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/landlock.md");
        let text = std::fs::read_to_string(path).unwrap();
        let written: Vec<(String, String)> = text
            .lines()
            .filter_map(|l| l.strip_prefix("| L"))
            .filter_map(|l| l.split_once(" | "))
            .map(|(number, rest)| (format!("L{number}"), rest.split(" | ").next().unwrap_or_default().to_owned()))
            .collect();
        let expected: Vec<(String, String)> =
            DIFFERENCES.iter().map(|l| (l.difference.to_string(), l.strict.word().to_owned())).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn numbers_run_from_one_without_holes() {
        let numbers: Vec<usize> = DIFFERENCES.iter().map(|l| usize::from(l.difference.number())).collect();
        assert_eq!(numbers, (1..=DIFFERENCES.len()).collect::<Vec<_>>());
    }
}
