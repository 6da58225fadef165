//! The system calls that a case may name. The probe (`probe/probe.c`) knows each by the same name.

use serde::{Deserialize, Serialize};

/// One call, or a short fixed sequence of calls that is one thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// fork, execve of `path`; the program exits 42.
    Exec,
    /// open for reading, mmap with PROT_EXEC.
    MapExec,
    /// open for reading, mmap without PROT_EXEC, mprotect with it.
    MprotectExec,
    /// memfd_create, write a program into it, execveat.
    MemfdExec,
    /// memfd_create, mmap with PROT_EXEC.
    MemfdMapExec,
    /// memfd_create, write, read, re-open through /proc/self/fd.
    MemfdUse,
    /// open O_RDONLY.
    OpenRead,
    /// open O_WRONLY.
    OpenWrite,
    /// open O_RDWR.
    OpenRdwr,
    /// open O_WRONLY|O_APPEND.
    OpenAppend,
    /// open O_WRONLY|O_TRUNC.
    OpenTrunc,
    /// open O_RDONLY|O_TRUNC.
    OpenReadTrunc,
    /// open a directory and list it.
    Readdir,
    /// open O_WRONLY|O_CREAT|O_EXCL.
    Create,
    /// open O_RDONLY|O_CREAT|O_EXCL.
    CreateRead,
    /// open O_TMPFILE|O_WRONLY in the directory `path`.
    OTmpfile,
    /// truncate.
    Truncate,
    /// mkdir.
    Mkdir,
    /// rmdir.
    Rmdir,
    /// mknod of a FIFO.
    Mknod,
    /// symlink named `path`.
    Symlink,
    /// unlink.
    Unlink,
    /// rename a file.
    Rename,
    /// rename a directory.
    RenameDir,
    /// renameat2 RENAME_EXCHANGE of two files.
    Exchange,
    /// renameat2 RENAME_EXCHANGE of two directories.
    ExchangeDir,
    /// link `path` as `to`.
    Link,
    /// chmod.
    Chmod,
    /// chown to the owner it has.
    Chown,
    /// setxattr.
    Setxattr,
    /// utimensat.
    Utimes,
    /// connect a stream socket to a pathname AF_UNIX socket.
    UnixConnect,
    /// bind a stream socket to a pathname.
    UnixBind,
    /// sendto on a datagram socket, to a pathname.
    UnixSendto,
    /// abstract and unnamed AF_UNIX sockets: bind, listen, connect, sendto and a socketpair.
    UnixAbstract,
    /// re-open descriptor 0 (a socket) through /proc/self/fd, which fails for a reason of its own.
    ReopenStdin,
    /// re-open descriptor 2, which the runner passed as `path`, through /proc/self/fd for reading.
    ReopenRead,
    /// the same, for writing.
    ReopenWrite,
    /// open for reading at the end of a chain of directories under `path` that is too long for a path.
    DeepRead,
    /// the same, for writing.
    DeepWrite,
    /// the same, executing.
    DeepExec,
    /// stat.
    Stat,
    /// access.
    Access,
    /// readlink.
    Readlink,
    /// chdir.
    Chdir,
    /// socket.
    Socket,
    /// connect of a socket made before there was a policy.
    Connect,
    /// sendto on such a socket.
    Sendto,
    /// bind of such a socket.
    Bind,
    /// listen on such a socket.
    Listen,
    /// accept on such a socket.
    Accept,
    /// connect of such a socket to AF_UNSPEC, which dissolves its association.
    ConnectUnspec,
    /// sendmmsg of two messages on such a socket, each with the address.
    Sendmmsg,
    /// sendto with MSG_FASTOPEN on such a stream socket.
    Fastopen,
    /// sendto on such a stream socket with an address that TCP does not look at, so that none is named.
    SendtoIgnored,
    /// bind of such an AF_INET socket, the family of the address being AF_UNSPEC.
    BindUnspec,
    /// listen on such a socket that was not bound.
    ListenUnbound,
    /// connect of such a socket by io_uring.
    UringConnect,
    /// sendmsg with an address on such a socket by io_uring.
    UringSendmsg,
    /// accept on such a socket by io_uring.
    UringAccept,
    /// a call that uses a capability.
    Capability,
    /// the same in a user namespace of the probe's own.
    CapabilityUserns,
    /// seccomp without no_new_privs, which asks for sys_admin without auditing, and answers EACCES.
    CapabilityNoaudit,
    /// mount a new tmpfs at `path`.
    MountNew,
    /// bind `path` at `to`.
    MountBind,
    /// mount a tmpfs at `path`, move it to `to`.
    MountMove,
    /// change the propagation of `path`.
    MountPropagation,
    /// mount a tmpfs at `path`, unmount it.
    UmountOwn,
    /// unmount what the runner mounted at `path`.
    UmountForeign,
    /// pivot_root into the directory `path`.
    PivotRoot,
    /// setns into the runner's own mount namespace, by a descriptor from before the policy.
    EnterForeign,
    /// open_tree OPEN_TREE_CLONE of the directory `path`, open `to` in it.
    OpenDetached,
    /// chroot into `path`.
    Chroot,
    /// unshare the mount namespace, then open `path` for reading there.
    UnshareMount,
    /// unshare the user namespace.
    UnshareUser,
    /// ptrace PTRACE_SEIZE of `target`.
    PtraceSeize,
    /// process_vm_writev into `target`.
    VmWrite,
    /// pidfd_getfd from `target`.
    PidfdGetfd,
    /// open /proc/PID/mem of `target` for reading.
    OpenProcMem,
    /// open kernel.ftrace_enabled for writing (nothing is written).
    FtraceSwitch,
}

/// An errno that a denial answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    /// 1
    EPERM,
    /// 13
    EACCES,
}

/// Which fields an operation takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) path: bool,
    pub(crate) to: bool,
    pub(crate) socket: bool,
    pub(crate) capability: bool,
    pub(crate) memfd: bool,
    pub(crate) target: bool,
}

// === impl Op ===

impl Op {
    /// Its name in the corpus and in the probe's protocol.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What a Block answers: EPERM for capabilities, mounts and attaching, EACCES for the rest.
    #[must_use]
    pub fn blocked_errno(self) -> Errno {
        if self.is_capability() || self.is_mount() || self.is_attach() { Errno::EPERM } else { Errno::EACCES }
    }

    /// Whether it uses a socket of the network class.
    #[must_use]
    pub fn is_network(self) -> bool {
        self == Self::Socket || self.is_on_early_socket()
    }

    /// Whether it acts on a socket that was made before the policy.
    #[must_use]
    pub fn is_on_early_socket(self) -> bool {
        self.names_end() || matches!(self, Self::ConnectUnspec | Self::ListenUnbound)
    }

    /// Whether it names an end of a connection, or acts on a socket that has one.
    #[must_use]
    pub fn names_end(self) -> bool {
        self.names_remote() || self.names_local()
    }

    /// Whether it names the other end.
    #[must_use]
    pub fn names_remote(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Sendto
                | Self::Sendmmsg
                | Self::Fastopen
                | Self::SendtoIgnored
                | Self::UringConnect
                | Self::UringSendmsg
        )
    }

    /// Whether it names its own end, or acts on a socket that was bound.
    #[must_use]
    pub fn names_local(self) -> bool {
        matches!(self, Self::Bind | Self::BindUnspec) || self.is_on_bound_socket()
    }

    /// Whether it acts on a socket that was bound before the policy.
    #[must_use]
    pub fn is_on_bound_socket(self) -> bool {
        matches!(self, Self::Listen | Self::Accept | Self::UringAccept)
    }

    /// Whether it is the use of a capability.
    #[must_use]
    pub fn is_capability(self) -> bool {
        matches!(self, Self::Capability | Self::CapabilityUserns | Self::CapabilityNoaudit)
    }

    /// Whether it changes, or goes around, the mount table.
    #[must_use]
    pub fn is_mount(self) -> bool {
        matches!(
            self,
            Self::MountNew
                | Self::MountBind
                | Self::MountMove
                | Self::MountPropagation
                | Self::UmountOwn
                | Self::UmountForeign
                | Self::PivotRoot
                | Self::EnterForeign
                | Self::OpenDetached
        )
    }

    /// Whether it attaches to another task.
    #[must_use]
    pub fn is_attach(self) -> bool {
        matches!(self, Self::PtraceSeize | Self::VmWrite | Self::PidfdGetfd | Self::OpenProcMem)
    }

    /// Whether nothing mediates it.
    #[must_use]
    pub fn is_unmediated(self) -> bool {
        matches!(
            self,
            Self::Stat
                | Self::Access
                | Self::Readlink
                | Self::Chdir
                | Self::Chroot
                | Self::UnshareUser
                | Self::MemfdUse
                | Self::ReopenStdin
                | Self::SendtoIgnored
        )
    }

    /// Whether the call itself makes `path`, so that it must not exist before.
    #[must_use]
    pub fn creates(self) -> bool {
        matches!(self, Self::Create | Self::CreateRead | Self::Mkdir | Self::Mknod | Self::Symlink | Self::UnixBind)
    }

    /// Whether the call works on the name itself, so that a link as last component is not followed.
    #[must_use]
    pub fn on_the_name(self) -> bool {
        self.creates()
            || matches!(
                self,
                Self::Rmdir
                    | Self::Unlink
                    | Self::Rename
                    | Self::RenameDir
                    | Self::Exchange
                    | Self::ExchangeDir
                    | Self::Link
                    | Self::Readlink
            )
    }

    pub(crate) fn needs(self) -> Needs {
        let none = Needs::default();
        match self {
            Self::MemfdExec | Self::MemfdMapExec | Self::MemfdUse => Needs { memfd: true, ..none },
            Self::Socket
            | Self::Connect
            | Self::Sendto
            | Self::Bind
            | Self::Listen
            | Self::Accept
            | Self::ConnectUnspec
            | Self::Sendmmsg
            | Self::Fastopen
            | Self::SendtoIgnored
            | Self::BindUnspec
            | Self::ListenUnbound
            | Self::UringConnect
            | Self::UringSendmsg
            | Self::UringAccept => Needs { socket: true, ..none },
            Self::Capability | Self::CapabilityUserns | Self::CapabilityNoaudit => Needs { capability: true, ..none },
            Self::PtraceSeize | Self::VmWrite | Self::PidfdGetfd | Self::OpenProcMem => Needs { target: true, ..none },
            Self::EnterForeign | Self::UnshareUser | Self::ReopenStdin | Self::FtraceSwitch | Self::UnixAbstract => none,
            Self::Rename
            | Self::RenameDir
            | Self::Exchange
            | Self::ExchangeDir
            | Self::Link
            | Self::MountBind
            | Self::MountMove
            | Self::OpenDetached => Needs { path: true, to: true, ..none },
            Self::Exec
            | Self::MapExec
            | Self::MprotectExec
            | Self::OpenRead
            | Self::OpenWrite
            | Self::OpenRdwr
            | Self::OpenAppend
            | Self::OpenTrunc
            | Self::OpenReadTrunc
            | Self::Readdir
            | Self::Create
            | Self::CreateRead
            | Self::OTmpfile
            | Self::Truncate
            | Self::Mkdir
            | Self::Rmdir
            | Self::Mknod
            | Self::Symlink
            | Self::Unlink
            | Self::Chmod
            | Self::Chown
            | Self::Setxattr
            | Self::Utimes
            | Self::UnixConnect
            | Self::UnixBind
            | Self::UnixSendto
            | Self::ReopenRead
            | Self::ReopenWrite
            | Self::DeepRead
            | Self::DeepWrite
            | Self::DeepExec
            | Self::Stat
            | Self::Access
            | Self::Readlink
            | Self::Chdir
            | Self::MountNew
            | Self::MountPropagation
            | Self::UmountOwn
            | Self::UmountForeign
            | Self::PivotRoot
            | Self::Chroot
            | Self::UnshareMount => Needs { path: true, ..none },
        }
    }
}

impl Errno {
    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::EPERM => 1,
            Self::EACCES => 13,
        }
    }
}
