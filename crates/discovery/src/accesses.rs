//! What was seen, arranged as rules need it.

use std::collections::{BTreeMap, BTreeSet};

use palisade_policy::model::Capability;
use palisade_ruleset::End;

use crate::collect::{Access, Marks, Name, Seen};

/// How often something was done, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) count: u64,
    pub(crate) programs: BTreeSet<Name>,
}

/// What was done to one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSeen {
    pub(crate) of: Use,
    pub(crate) written: bool,
    /// The run made it.
    pub(crate) creates: bool,
    /// The run took it away.
    pub(crate) removes: bool,
}

/// How one program came to be executed, or loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecSeen {
    pub(crate) of: Use,
    /// From these; none of them counts if `anywhere`.
    pub(crate) sources: BTreeSet<Name>,
    /// The run began with it, or its source cannot be told: a rule with a source would not be met.
    pub(crate) anywhere: bool,
}

/// A kind of socket (family, type, protocol), and an end.
pub(crate) type SocketAndEnd = ([i32; 3], Option<End>);

/// How one end was named.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndSeen {
    pub(crate) of: Use,
    /// The program bound to it; without that, the kernel chose the port of an own end.
    pub(crate) binds: bool,
}

/// Everything, by class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accesses {
    pub(crate) programs: BTreeMap<Name, ExecSeen>,
    pub(crate) files: BTreeMap<Vec<u8>, FileSeen>,
    pub(crate) sockets: BTreeMap<SocketAndEnd, EndSeen>,
    pub(crate) capabilities: BTreeMap<Capability, Use>,
}

// === impl Use, Accesses ===

impl Use {
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.programs.extend(other.programs.iter().cloned());
    }
}

impl Accesses {
    /// `launcher` is the program that starts the run: what it executes is the run's beginning.
    pub(crate) fn arrange<'a>(seen: impl Iterator<Item = (&'a Access, &'a Seen)>, launcher: Option<&Name>) -> Self {
        let mut out = Self::default();
        for (access, seen) in seen {
            out.add(access, seen, launcher);
        }
        out
    }

    fn add(&mut self, access: &Access, seen: &Seen, launcher: Option<&Name>) {
        let Seen { count, first: _, programs, marks: Marks { creates, removes, binds } } = seen;
        let of = Use { count: *count, programs: programs.clone() };
        match access {
            Access::Exec { object, caller, scripts } => {
                let entry = self.programs.entry(object.clone()).or_default();
                entry.of.add(&of);
                // An Allow is met by the last script alone, where there is one (meaning 3.7).
                match scripts.last().unwrap_or(caller) {
                    source @ Name::Path(_) if Some(source) != launcher => {
                        entry.sources.insert(source.clone());
                    }
                    // The launcher, a memfd (whose name is no identity), or nobody knows who.
                    Name::Path(_) | Name::Memfd(_) | Name::Unknown => entry.anywhere = true,
                }
            }
            Access::Load { object, loader } => {
                let entry = self.programs.entry(object.clone()).or_default();
                entry.of.add(&of);
                match loader {
                    Name::Path(_) => {
                        entry.sources.insert(loader.clone());
                    }
                    Name::Memfd(_) | Name::Unknown => entry.anywhere = true,
                }
            }
            Access::File { path, write } => {
                let file = self.files.entry(path.clone()).or_default();
                file.of.add(&of);
                file.written |= write;
                file.creates |= creates;
                file.removes |= removes;
            }
            Access::Socket { socket, end } => {
                let entry = self.sockets.entry((*socket, *end)).or_default();
                entry.of.add(&of);
                entry.binds |= binds;
            }
            Access::Capability(number) => {
                if let Some(capability) = Capability::from_number(*number) {
                    self.capabilities.entry(capability).or_default().add(&of);
                }
            }
        }
    }
}
