//! What is judged: one access of one class by one task.
//!
//! A system call that is several operations (O_RDWR, rename) is several accesses; the strictest verdict holds.

use std::net::IpAddr;

/// One access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who acts.
    pub actor: Actor,
    /// What it does.
    pub operation: Operation,
}

/// The acting task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Its program as of its exec. For an exec: the program that calls exec.
    pub program: Program,
    /// Its real uid in the initial user namespace.
    pub uid: u32,
    /// Whether it has a controlling terminal, or an ancestor in the workload had one.
    pub terminal: bool,
}

/// A program's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// The file it was started from, by its path then.
    Path(Vec<u8>),
    /// A memfd of this name.
    Memfd(Vec<u8>),
    /// It could not be told: meets every sourced Block and Audit and no sourced Allow.
    Unknown,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One stage of an exec: a script, an interpreter named by `#!`, or the program.
    Exec {
        /// The file of this stage.
        object: Object,
        /// The file's owner as mapped by its mount.
        owner: Option<u32>,
        /// The scripts of the earlier stages, first to last; empty for the first stage.
        scripts: Vec<Program>,
        /// The names it is invoked by: the last component of the exec's name, and that of `argv[0]`.
        invoked_as: Vec<Vec<u8>>,
        /// The arguments, `argv[0]` first; `None` where unknown (then no `allowedArgs` list passes).
        arguments: Option<Vec<Vec<u8>>>,
    },
    /// Making a file's pages executable.
    MapExec {
        /// The file.
        object: Object,
        /// The file's owner as mapped by its mount.
        owner: Option<u32>,
    },
    /// One file operation.
    File {
        /// Read or write (`meaning` section 2 says what counts as which).
        mode: FileMode,
        /// The object. The acting process's own entry of procfs is named `/proc/self/...`.
        object: Object,
        /// The object's owner, or that of its parent directory where it does not exist yet.
        owner: Option<u32>,
        /// Whether it is an open of a block device.
        block_device: bool,
    },
    /// Renaming or exchanging a directory: judged as a write by `File` as well, this is `tree-integrity` alone.
    MoveDirectory {
        /// Its old path.
        object: Object,
    },
    /// Socket creation, or an operation on such a socket.
    Socket {
        /// Address family, type (without flags) and protocol, as the kernel's numbers.
        socket: Socket,
        /// The address and port that it names; `None` where it names none: a socket is made, or an association dissolved
        /// (connect to AF_UNSPEC), or the family has neither.
        end: Option<End>,
    },
    /// Use of a capability, by its number.
    Capability {
        /// 0 to 40.
        number: u8,
    },
    /// A change of the mount table.
    Mount(MountChange),
    /// Attaching to another task (PTRACE_MODE_ATTACH).
    Attach {
        /// The other task's program.
        target: Program,
    },
    /// Obtaining or changing what belongs to Palisade, or `kernel.ftrace_enabled`.
    TouchPalisade,
}

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileMode {
    /// Nothing is changed.
    Read,
    /// Something is changed.
    Write,
}

/// What a file or process operation is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// An absolute path from the root of the workload's mount namespace, without `.`, `..`, `//` or a trailing `/`
    /// (but `/` itself).
    Path(Vec<u8>),
    /// A memfd, by its name (without `memfd:`).
    Memfd(Vec<u8>),
    /// Too long, too deep, outside the workload's trees, or torn.
    Unresolvable,
}

/// A socket by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// AF_*.
    pub family: i32,
    /// SOCK_*, without SOCK_NONBLOCK and SOCK_CLOEXEC.
    pub kind: i32,
    /// IPPROTO_* or the family's own number.
    pub protocol: i32,
}

/// An end of a connection, as an operation on a socket of IP names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct End {
    /// Whose end it is.
    pub side: Side,
    /// Its address; an IPv4-mapped IPv6 address is its IPv4 address.
    pub address: IpAddr,
    /// Its port; 0 where the kernel is to choose one.
    pub port: u16,
}

/// Whose end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The other one's: connect, and sending to an address.
    Remote,
    /// One's own: bind, listen, accept.
    Local,
}

/// Changes of the mount table that `mount-integrity` tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountChange {
    /// A new file system at this place.
    New {
        /// The mount point.
        at: Vec<u8>,
    },
    /// A bind mount, a move or a change of propagation.
    Rearrange,
    /// Unmounting what the workload mounted itself.
    UnmountOwn,
    /// Unmounting anything else.
    UnmountForeign,
    /// pivot_root.
    PivotRoot,
    /// Entering a mount namespace that is not a copy of its own.
    EnterForeign,
    /// Opening through a mount that is attached nowhere.
    OpenDetached,
}
