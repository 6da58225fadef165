//! What the numbers of a record stand for: operations, verdicts, kinds of objects.

use std::net::IpAddr;

use super::DecodeError;

/// `PAL_OP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the system call of its name, or stands in abi.h")]
pub enum Operation {
    Exec,
    MapExec,
    Open,
    Create,
    Unlink,
    Mkdir,
    Rmdir,
    Mknod,
    Symlink,
    Link,
    Rename,
    Chmod,
    Chown,
    Truncate,
    Setxattr,
    Utimes,
    UnixConnect,
    UnixSend,
    UnixBind,
    Socket,
    Capability,
    Connect,
    Send,
    Bind,
    Listen,
    Accept,
    Mount,
    MountRearrange,
    Unmount,
    PivotRoot,
    EnterNamespace,
    OpenDetached,
    Attach,
    Bpf,
    Touch,
}

/// What came of it: `PAL_ALLOW` and so on. What passes in silence makes an event only for its shadow's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Passed; an audited policy would have reported it.
    Allow,
    /// Passed, reported.
    Audit,
    /// Denied; or, with an error of 0, what an audited workload would have been denied.
    Block,
    /// Passed; an audited policy would have blocked.
    WouldBlock,
}

/// `PAL_OBJECT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A path from the root of the workload's mount namespace.
    Path,
    /// A memfd, by its name.
    Memfd,
    /// A path that could not be told.
    Unresolvable,
    /// A socket: family, type and protocol say which.
    Socket,
    /// A capability: `family` is its number.
    Capability,
    /// A socket, with an IPv4 address and port.
    Endpoint4,
    /// A socket, with an IPv6 address and port.
    Endpoint6,
}

// === impl Operation ===

impl Operation {
    /// All of them, by number less one.
    pub const ALL: [Self; 35] = [
        Self::Exec,
        Self::MapExec,
        Self::Open,
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
        Self::Setxattr,
        Self::Utimes,
        Self::UnixConnect,
        Self::UnixSend,
        Self::UnixBind,
        Self::Socket,
        Self::Capability,
        Self::Connect,
        Self::Send,
        Self::Bind,
        Self::Listen,
        Self::Accept,
        Self::Mount,
        Self::MountRearrange,
        Self::Unmount,
        Self::PivotRoot,
        Self::EnterNamespace,
        Self::OpenDetached,
        Self::Attach,
        Self::Bpf,
        Self::Touch,
    ];

    /// `PAL_OP_*` begins at 1.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(super) fn from_number(number: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.number() == number)
            .ok_or(DecodeError::Number { field: "operation", number: number.into() })
    }

    /// `PAL_CLASS_*` of the operation.
    pub(super) fn class(self) -> u8 {
        match self {
            Self::Exec | Self::MapExec | Self::Attach => 0,
            Self::Open
            | Self::Create
            | Self::Unlink
            | Self::Mkdir
            | Self::Rmdir
            | Self::Mknod
            | Self::Symlink
            | Self::Link
            | Self::Rename
            | Self::Chmod
            | Self::Chown
            | Self::Truncate
            | Self::Setxattr
            | Self::Utimes
            | Self::UnixConnect
            | Self::UnixSend
            | Self::UnixBind
            | Self::Mount
            | Self::MountRearrange
            | Self::Unmount
            | Self::PivotRoot
            | Self::EnterNamespace
            | Self::OpenDetached
            | Self::Bpf
            | Self::Touch => 1,
            Self::Socket | Self::Connect | Self::Send | Self::Bind | Self::Listen | Self::Accept => 2,
            Self::Capability => 3,
        }
    }

    /// Its word in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::MapExec => "map_exec",
            Self::Open => "open",
            Self::Create => "create",
            Self::Unlink => "unlink",
            Self::Mkdir => "mkdir",
            Self::Rmdir => "rmdir",
            Self::Mknod => "mknod",
            Self::Symlink => "symlink",
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Chmod => "chmod",
            Self::Chown => "chown",
            Self::Truncate => "truncate",
            Self::Setxattr => "setxattr",
            Self::Utimes => "utimes",
            Self::UnixConnect => "unix_connect",
            Self::UnixSend => "unix_send",
            Self::UnixBind => "unix_bind",
            Self::Socket => "socket",
            Self::Capability => "capability",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Mount => "mount",
            Self::MountRearrange => "mount_rearrange",
            Self::Unmount => "unmount",
            Self::PivotRoot => "pivot_root",
            Self::EnterNamespace => "enter_namespace",
            Self::OpenDetached => "open_detached",
            Self::Attach => "attach",
            Self::Bpf => "bpf",
            Self::Touch => "touch",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// All that events carry.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Audit, Self::Block, Self::WouldBlock];

    /// Its number in abi.h.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.number() == number)
            .ok_or(DecodeError::Number { field: "verdict", number: number.into() })
    }
}

// === impl ObjectKind ===

impl ObjectKind {
    /// All of them, by number.
    pub const ALL: [Self; 7] =
        [Self::Path, Self::Memfd, Self::Unresolvable, Self::Socket, Self::Capability, Self::Endpoint4, Self::Endpoint6];

    /// Its number in abi.h.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The address of an endpoint, from the 16 bytes of a record.
    pub(super) fn address(self, bytes: [u8; 16]) -> Option<IpAddr> {
        let [a, b, c, d, ..] = bytes;
        match self {
            Self::Endpoint4 => Some([a, b, c, d].into()),
            Self::Endpoint6 => Some(bytes.into()),
            Self::Path | Self::Memfd | Self::Unresolvable | Self::Socket | Self::Capability => None,
        }
    }

    pub(super) fn from_number(number: u8) -> Result<Self, DecodeError> {
        Self::ALL.get(usize::from(number)).copied().ok_or(DecodeError::Number { field: "object_kind", number: number.into() })
    }
}
