//! What was done, and to what.

use std::fmt;
use std::net::SocketAddr;

use palisade_policy::model::Class;

/// The operation, as precise as the hook that judged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A stage of an exec.
    Exec,
    /// Making a file's pages executable.
    MapExec,
    /// Open for reading; readdir.
    OpenRead,
    /// Open for writing.
    OpenWrite,
    /// Open for both.
    OpenReadWrite,
    /// Creating a regular file.
    Create,
    /// Removing a name that is no directory.
    Unlink,
    /// Creating a directory.
    Mkdir,
    /// Removing a directory.
    Rmdir,
    /// Creating a device, a pipe or a socket.
    Mknod,
    /// Creating a symbolic link.
    Symlink,
    /// Creating a hard link; either end.
    Link,
    /// Renaming or exchanging; either end.
    Rename,
    /// Changing a file's mode.
    Chmod,
    /// Changing a file's owner or group.
    Chown,
    /// Changing a file's length.
    Truncate,
    /// Changing an extended attribute.
    SetXattr,
    /// Changing a file's times.
    Utimes,
    /// connect to a pathname AF_UNIX socket.
    UnixConnect,
    /// sendto or sendmsg to a pathname AF_UNIX socket.
    UnixSend,
    /// bind to a pathname AF_UNIX address.
    UnixBind,
    /// Creating a socket.
    SocketCreate,
    /// connect.
    SocketConnect,
    /// sendto or sendmsg with an address.
    SocketSend,
    /// bind.
    SocketBind,
    /// listen.
    SocketListen,
    /// accept.
    SocketAccept,
    /// Using a capability.
    Capability,
    /// Mounting a new file system.
    Mount,
    /// A bind mount, a move or a change of propagation.
    MountRearrange,
    /// Unmounting.
    Unmount,
    /// pivot_root.
    PivotRoot,
    /// Entering a mount namespace.
    EnterMountNamespace,
    /// Opening through a mount that is attached nowhere.
    OpenDetached,
    /// Attaching to another task: ptrace, process_vm_writev, pidfd_getfd, /proc/PID/mem.
    Attach,
    /// Obtaining or changing what belongs to Palisade.
    TouchPalisade,
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A path from the root of the workload's mount namespace, as bytes; of [`Operation::Attach`] the other task's program.
    Path(Vec<u8>),
    /// A memfd, by its name without `memfd:`.
    Memfd(Vec<u8>),
    /// A file or a task that could not be told.
    Unresolvable,
    /// A socket.
    Socket(Socket),
    /// The address and port that an operation on a socket names: the other end's, of bind, listen and accept its own.
    Endpoint(Socket, SocketAddr),
    /// A capability, by its number; numbers above 40 are shown as numbers.
    Capability(u8),
}

/// A socket by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// AF_*.
    pub family: u32,
    /// SOCK_*, without SOCK_NONBLOCK and SOCK_CLOEXEC.
    pub kind: u32,
    /// IPPROTO_*, or the family's own number.
    pub protocol: u32,
}

/// What the encodings say of an operation.
struct Facts {
    word: &'static str,
    class: Class,
    /// The value of `lsm=` in KubeArmor's Data; where the original has no such hook, the kernel's name of it.
    hook: &'static str,
}

// === impl Operation ===

impl Operation {
    /// All operations, in the order of their declaration.
    pub const ALL: [Self; 36] = [
        Self::Exec,
        Self::MapExec,
        Self::OpenRead,
        Self::OpenWrite,
        Self::OpenReadWrite,
        Self::Create,
        Self::Unlink,
        Self::Mkdir,
        Self::Rmdir,
        Self::Mknod,
        Self::Symlink,
        Self::Link,
        Self::Rename,
        Self::Chmod,
        Self::Chown,
        Self::Truncate,
        Self::SetXattr,
        Self::Utimes,
        Self::UnixConnect,
        Self::UnixSend,
        Self::UnixBind,
        Self::SocketCreate,
        Self::SocketConnect,
        Self::SocketSend,
        Self::SocketBind,
        Self::SocketListen,
        Self::SocketAccept,
        Self::Capability,
        Self::Mount,
        Self::MountRearrange,
        Self::Unmount,
        Self::PivotRoot,
        Self::EnterMountNamespace,
        Self::OpenDetached,
        Self::Attach,
        Self::TouchPalisade,
    ];

    /// Its word in text and in `PalisadeOperation`; at most [`Self::WORD_WIDTH`] wide.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.facts().word
    }

    /// The width of the longest word.
    pub const WORD_WIDTH: usize = 14;

    /// The class it belongs to. The built-in rules' own operations are given to the class whose rules they protect: mounts
    /// and Palisade's own objects to the file class, attaching to the process class.
    #[must_use]
    pub fn class(self) -> Class {
        self.facts().class
    }

    /// Whether the address of an [`Object::Endpoint`] is the other end's.
    #[must_use]
    pub fn names_remote(self) -> bool {
        matches!(self, Self::SocketConnect | Self::SocketSend)
    }

    /// KubeArmor's `Operation`.
    #[must_use]
    pub fn kubearmor(self) -> &'static str {
        match self.class() {
            Class::Process => "Process",
            Class::File => "File",
            Class::Network => "Network",
            Class::Capability => "Capabilities",
        }
    }

    /// The value of `lsm=` in KubeArmor's `Data`.
    #[must_use]
    pub fn hook(self) -> &'static str {
        self.facts().hook
    }

    fn facts(self) -> Facts {
        let (word, class, hook) = match self {
            Self::Exec => ("exec", Class::Process, "SECURITY_BPRM_CHECK"),
            Self::MapExec => ("map-exec", Class::Process, "MMAP_FILE"),
            Self::OpenRead => ("read", Class::File, "FILE_OPEN"),
            Self::OpenWrite => ("write", Class::File, "FILE_OPEN"),
            Self::OpenReadWrite => ("read-write", Class::File, "FILE_OPEN"),
            Self::Create => ("create", Class::File, "FILE_MKNOD"),
            Self::Unlink => ("unlink", Class::File, "FILE_UNLINK"),
            Self::Mkdir => ("mkdir", Class::File, "FILE_MKDIR"),
            Self::Rmdir => ("rmdir", Class::File, "FILE_RMDIR"),
            Self::Mknod => ("mknod", Class::File, "FILE_MKNOD"),
            Self::Symlink => ("symlink", Class::File, "FILE_SYMLINK"),
            Self::Link => ("link", Class::File, "FILE_LINK"),
            Self::Rename => ("rename", Class::File, "FILE_RENAME"),
            Self::Chmod => ("chmod", Class::File, "FILE_CHMOD"),
            Self::Chown => ("chown", Class::File, "FILE_CHOWN"),
            Self::Truncate => ("truncate", Class::File, "FILE_TRUNCATE"),
            Self::SetXattr => ("setxattr", Class::File, "INODE_SETXATTR"),
            Self::Utimes => ("utimes", Class::File, "INODE_SETATTR"),
            Self::UnixConnect => ("unix-connect", Class::File, "UNIX_STREAM_CONNECT"),
            Self::UnixSend => ("unix-send", Class::File, "UNIX_MAY_SEND"),
            Self::UnixBind => ("unix-bind", Class::File, "SOCKET_BIND"),
            Self::SocketCreate => ("socket", Class::Network, "SOCKET_CREATE"),
            Self::SocketConnect => ("connect", Class::Network, "SOCKET_CONNECT"),
            Self::SocketSend => ("send", Class::Network, "SOCKET_SENDMSG"),
            Self::SocketBind => ("bind", Class::Network, "SOCKET_BIND"),
            Self::SocketListen => ("listen", Class::Network, "SOCKET_LISTEN"),
            Self::SocketAccept => ("accept", Class::Network, "SOCKET_ACCEPT"),
            Self::Capability => ("capability", Class::Capability, "CAPABLE"),
            Self::Mount => ("mount", Class::File, "SB_MOUNT"),
            Self::MountRearrange => ("move-mount", Class::File, "MOVE_MOUNT"),
            Self::Unmount => ("unmount", Class::File, "SB_UMOUNT"),
            Self::PivotRoot => ("pivot-root", Class::File, "SB_PIVOTROOT"),
            Self::EnterMountNamespace => ("enter-mounts", Class::File, "SETNS"),
            Self::OpenDetached => ("open-detached", Class::File, "FILE_OPEN"),
            Self::Attach => ("attach", Class::Process, "PTRACE_ACCESS_CHECK"),
            Self::TouchPalisade => ("touch-palisade", Class::File, "PALISADE_SELF"),
        };
        Facts { word, class, hook }
    }
}

// === impl Socket ===

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

impl Socket {
    /// The family's name, `AF_INET`; `AF_99` for a number without one.
    #[must_use]
    pub fn family_name(self) -> String {
        let name = match self.family {
            0 => "UNSPEC",
            1 => "UNIX",
            AF_INET => "INET",
            3 => "AX25",
            4 => "IPX",
            5 => "APPLETALK",
            8 => "ATMPVC",
            9 => "X25",
            AF_INET6 => "INET6",
            15 => "KEY",
            16 => "NETLINK",
            17 => "PACKET",
            20 => "ATMSVC",
            21 => "RDS",
            23 => "IRDA",
            24 => "PPPOX",
            26 => "LLC",
            27 => "IB",
            28 => "MPLS",
            29 => "CAN",
            30 => "TIPC",
            31 => "BLUETOOTH",
            33 => "RXRPC",
            35 => "PHONET",
            36 => "IEEE802154",
            38 => "ALG",
            39 => "NFC",
            40 => "VSOCK",
            41 => "KCM",
            42 => "QIPCRTR",
            43 => "SMC",
            44 => "XDP",
            45 => "MCTP",
            number => return format!("AF_{number}"),
        };
        format!("AF_{name}")
    }

    /// The type's name, `SOCK_STREAM`; `SOCK_99` for a number without one.
    #[must_use]
    pub fn kind_name(self) -> String {
        let name = match self.kind {
            1 => "STREAM",
            2 => "DGRAM",
            3 => "RAW",
            4 => "RDM",
            5 => "SEQPACKET",
            6 => "DCCP",
            10 => "PACKET",
            number => return format!("SOCK_{number}"),
        };
        format!("SOCK_{name}")
    }

    /// The protocol's name on AF_INET and AF_INET6, where it has one; protocol 0 is the type's usual one. `None` on other
    /// families, whose numbers mean something else.
    #[must_use]
    pub fn protocol_name(self) -> Option<&'static str> {
        if self.family != AF_INET && self.family != AF_INET6 {
            return None;
        }
        match (self.protocol, self.kind) {
            (6, _) | (0, 1) => Some("TCP"),
            (17, _) | (0, 2) => Some("UDP"),
            (132, _) | (0, 5) => Some("SCTP"),
            (1, _) => Some("ICMP"),
            (58, _) => Some("IPv6-ICMP"),
            (33, _) | (0, 6) => Some("DCCP"),
            (136, _) => Some("UDPLite"),
            (262, _) => Some("MPTCP"),
            _ => None,
        }
    }
}

/// `AF_INET SOCK_STREAM TCP`; a protocol without a name by its number.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.family_name(), self.kind_name())?;
        match self.protocol_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn words_are_distinct_and_fit_their_column() {
        let words: BTreeSet<_> = Operation::ALL.into_iter().map(Operation::word).collect();
        assert_eq!(words.len(), Operation::ALL.len());
        assert_eq!(words.iter().map(|w| w.len()).max(), Some(Operation::WORD_WIDTH));
    }

    #[test]
    fn all_holds_each_operation_once() {
        assert!(Operation::ALL.is_sorted_by(|a, b| a < b));
        assert_eq!(Operation::TouchPalisade as usize + 1, Operation::ALL.len());
    }

    #[test]
    fn a_protocol_of_another_family_has_no_name() {
        let socket = |family, kind, protocol| Socket { family, kind, protocol };
        assert_eq!(socket(AF_INET, 1, 0).protocol_name(), Some("TCP"));
        assert_eq!(socket(AF_INET6, 3, 58).protocol_name(), Some("IPv6-ICMP"));
        assert_eq!(socket(AF_INET, 3, 0).protocol_name(), None);
        assert_eq!(socket(16, 3, 6).protocol_name(), None);
        assert_eq!(socket(17, 3, 0x0300).kind_name(), "SOCK_RAW");
        assert_eq!(socket(99, 42, 0).family_name(), "AF_99");
    }
}
