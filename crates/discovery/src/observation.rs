//! What is fed in: one access that was seen.

use palisade_ruleset::{End, Object, Program, Socket};

/// One access by one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The process, by a number that is its own while it lives.
    pub process: u32,
    /// Its program as of its exec; of an exec the program that calls exec.
    pub program: Program,
    /// What it did.
    pub what: What,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A stage of an exec.
    Exec {
        /// The file of this stage.
        object: Object,
        /// Whether it is the interpreter of the stage before it, which the same process did last.
        interpreter: bool,
    },
    /// A dynamic loader that acts as a program maps a file executable.
    Load(Object),
    /// A file operation; both for O_RDWR.
    File {
        /// The file. The process's own entry of procfs is `/proc/self`.
        object: Object,
        /// It is read.
        read: bool,
        /// It, or its name, is changed.
        write: bool,
        /// A name is made: created, or the new end of a rename or link.
        creates: bool,
        /// A name is taken away.
        removes: bool,
    },
    /// A socket is made, or an operation on one names an end.
    Socket {
        /// The socket.
        socket: Socket,
        /// The end; `None` where none is named.
        end: Option<End>,
        /// It is a bind: the port is the program's choice, not the kernel's, unless it is 0.
        binds: bool,
    },
    /// A capability is used, by its number.
    Capability(u8),
    /// A built-in rule would have denied it, and no policy can allow it: the rule's name.
    BuiltIn(&'static str),
}
