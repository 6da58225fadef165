//! Which system calls are watched, and what of them: `struct pal_call` of watch_abi.h. Numbers are those of the
//! architecture; calls that it lacks are not in the table.
//!
//! What is not here makes no file, name or end that rules could meet, or is told in docs/learn.md as not seen.

use crate::abi::Operation;

/// `struct pal_call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    what: What,
    operation: Operation,
    fd: u8,
    at: u8,
    flags: u8,
    rules: u8,
}

/// `PAL_CALL_*`: what of a call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Open = 1,
    Name = 2,
    Held = 3,
    Map = 4,
    Socket = 5,
    End = 6,
    Message = 7,
    Messages = 8,
    OwnEnd = 9,
    Exec = 10,
    Act = 11,
    Unseen = 12,
}

/// `PAL_CALL_NUMBERS`.
pub(super) const NUMBERS: usize = 512;
/// `PAL_CALL_FACES`.
pub(super) const FACES: usize = 2;
/// The rules of a call.
pub(super) const NOFOLLOW: u8 = 1;
pub(super) const FOLLOW_ASKED: u8 = 2;
pub(super) const HOW: u8 = 4;
pub(super) const AT_ENTER: u8 = 8;

// === impl Call ===

impl Call {
    /// `sizeof(struct pal_call)`.
    pub(super) const BYTES: usize = 8;

    /// As the kernel programs read it.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { what, operation, fd, at, flags, rules } = self;
        [what as u8, operation.number(), fd, at, flags, rules, 0, 0]
    }

    const fn new(what: What, operation: Operation) -> Self {
        Self { what, operation, fd: 0, at: 0, flags: 0, rules: 0 }
    }

    /// A descriptor in this argument.
    const fn fd(self, fd: u8) -> Self {
        Self { fd, ..self }
    }

    /// An address in this argument.
    const fn at(self, at: u8) -> Self {
        Self { at, ..self }
    }

    /// Flags in this argument.
    const fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    const fn rules(self, rules: u8) -> Self {
        Self { rules, ..self }
    }
}

/// The name itself is made, taken away or moved: what it leads to is not meant.
const fn entry(operation: Operation) -> Call {
    Call::new(What::Name, operation).rules(NOFOLLOW)
}

const fn name(operation: Operation) -> Call {
    Call::new(What::Name, operation)
}

const fn held(operation: Operation) -> Call {
    Call::new(What::Held, operation).fd(1)
}

const fn open() -> Call {
    Call::new(What::Open, Operation::Open)
}

const fn end(operation: Operation) -> Call {
    Call::new(What::End, operation).fd(1)
}

const fn act(operation: Operation) -> Call {
    Call::new(What::Act, operation)
}

/// `file_getattr` and `file_setattr` came after the crate that names the numbers; these do not differ.
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FCHMODAT2: i64 = 452;

/// Each face of each call, by number.
pub(super) fn calls() -> Vec<(i64, Call)> {
    use Operation as Op;
    let mut calls = vec![
        (libc::SYS_openat, open().fd(1).at(2).flags(3)),
        (libc::SYS_openat2, open().fd(1).at(2).flags(3).rules(HOW)),
        (libc::SYS_open_by_handle_at, open()),
        (libc::SYS_mkdirat, entry(Op::Mkdir).fd(1).at(2)),
        (libc::SYS_mknodat, entry(Op::Mknod).fd(1).at(2)),
        (libc::SYS_symlinkat, entry(Op::Symlink).fd(2).at(3)),
        // Both ends of a link: the old name gives away what the new one can do.
        (libc::SYS_linkat, name(Op::Link).fd(1).at(2).flags(5).rules(FOLLOW_ASKED)),
        (libc::SYS_linkat, entry(Op::Link).fd(3).at(4)),
        (libc::SYS_renameat2, entry(Op::Rename).fd(1).at(2)),
        (libc::SYS_renameat2, entry(Op::Rename).fd(3).at(4)),
        (libc::SYS_unlinkat, entry(Op::Unlink).fd(1).at(2)),
        (libc::SYS_fchmodat, name(Op::Chmod).fd(1).at(2)),
        (FCHMODAT2, name(Op::Chmod).fd(1).at(2).flags(4)),
        (libc::SYS_fchmod, held(Op::Chmod)),
        (libc::SYS_fchownat, name(Op::Chown).fd(1).at(2).flags(5)),
        (libc::SYS_fchown, held(Op::Chown)),
        (libc::SYS_truncate, name(Op::Truncate).at(1)),
        (libc::SYS_ftruncate, held(Op::Truncate)),
        (libc::SYS_utimensat, name(Op::Utimes).fd(1).at(2).flags(4)),
        (libc::SYS_setxattr, name(Op::Setxattr).at(1)),
        (libc::SYS_removexattr, name(Op::Setxattr).at(1)),
        (libc::SYS_lsetxattr, entry(Op::Setxattr).at(1)),
        (libc::SYS_lremovexattr, entry(Op::Setxattr).at(1)),
        (libc::SYS_fsetxattr, held(Op::Setxattr)),
        (libc::SYS_fremovexattr, held(Op::Setxattr)),
        (SETXATTRAT, name(Op::Setxattr).fd(1).at(2).flags(3)),
        (REMOVEXATTRAT, name(Op::Setxattr).fd(1).at(2).flags(3)),
        (libc::SYS_mmap, Call::new(What::Map, Op::MapExec).fd(5)),
        (libc::SYS_execve, Call::new(What::Exec, Op::Exec).at(1)),
        (libc::SYS_execveat, Call::new(What::Exec, Op::Exec).fd(1).at(2)),
        (libc::SYS_socket, Call::new(What::Socket, Op::Socket)),
        (libc::SYS_socketpair, Call::new(What::Socket, Op::Socket)),
        (libc::SYS_connect, end(Op::Connect).at(2)),
        (libc::SYS_bind, end(Op::Bind).at(2)),
        (libc::SYS_sendto, end(Op::Send).at(5).flags(4)),
        (libc::SYS_sendmsg, Call::new(What::Message, Op::Send).fd(1).at(2).flags(3)),
        (libc::SYS_sendmmsg, Call::new(What::Messages, Op::Send).fd(1).at(2).flags(4)),
        // Before: then a port that the kernel is about to choose is 0, as rules see it.
        (libc::SYS_listen, Call::new(What::OwnEnd, Op::Listen).fd(1).rules(AT_ENTER)),
        (libc::SYS_accept, Call::new(What::OwnEnd, Op::Accept).fd(1)),
        (libc::SYS_accept4, Call::new(What::OwnEnd, Op::Accept).fd(1)),
        (libc::SYS_mount, act(Op::Mount)),
        (libc::SYS_move_mount, act(Op::MountRearrange)),
        (libc::SYS_mount_setattr, act(Op::MountRearrange)),
        (libc::SYS_umount2, act(Op::Unmount)),
        (libc::SYS_pivot_root, act(Op::PivotRoot)),
        (libc::SYS_io_uring_setup, Call::new(What::Unseen, Op::Open)),
    ];
    calls.extend(calls_by_path());
    calls
}

/// Calls without a directory's descriptor, which newer architectures lack.
#[cfg(target_arch = "x86_64")]
fn calls_by_path() -> Vec<(i64, Call)> {
    use Operation as Op;
    vec![
        (libc::SYS_open, open().at(1).flags(2)),
        (libc::SYS_creat, open()),
        (libc::SYS_mkdir, entry(Op::Mkdir).at(1)),
        (libc::SYS_mknod, entry(Op::Mknod).at(1)),
        (libc::SYS_symlink, entry(Op::Symlink).at(2)),
        (libc::SYS_link, entry(Op::Link).at(1)),
        (libc::SYS_link, entry(Op::Link).at(2)),
        (libc::SYS_rename, entry(Op::Rename).at(1)),
        (libc::SYS_rename, entry(Op::Rename).at(2)),
        (libc::SYS_renameat, entry(Op::Rename).fd(1).at(2)),
        (libc::SYS_renameat, entry(Op::Rename).fd(3).at(4)),
        (libc::SYS_unlink, entry(Op::Unlink).at(1)),
        (libc::SYS_rmdir, entry(Op::Rmdir).at(1)),
        (libc::SYS_chmod, name(Op::Chmod).at(1)),
        (libc::SYS_chown, name(Op::Chown).at(1)),
        (libc::SYS_lchown, entry(Op::Chown).at(1)),
        (libc::SYS_utime, name(Op::Utimes).at(1)),
        (libc::SYS_utimes, name(Op::Utimes).at(1)),
        (libc::SYS_futimesat, name(Op::Utimes).fd(1).at(2)),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn calls_by_path() -> Vec<(i64, Call)> {
    vec![(libc::SYS_renameat, entry(Operation::Rename).fd(1).at(2)), (libc::SYS_renameat, entry(Operation::Rename).fd(3).at(4))]
}

/// The map's entries: where each call lies, and what is written there.
pub(super) fn entries() -> Vec<(usize, [u8; Call::BYTES])> {
    let mut faces = std::collections::BTreeMap::new();
    calls()
        .into_iter()
        .filter_map(|(number, call)| {
            let number = usize::try_from(number).ok().filter(|number| *number < NUMBERS)?;
            let face = faces.entry(number).or_insert(0_usize);
            let slot = number * FACES + *face;
            *face += 1;
            Some((slot, call.to_bytes()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const WATCH_ABI_H: &str = include_str!("../c/watch_abi.h");

    #[test]
    fn no_call_has_more_faces_than_there_is_room_for_and_none_is_beyond_the_table() {
        let mut faces: HashMap<i64, usize> = HashMap::new();
        for (number, _) in calls() {
            assert!(usize::try_from(number).unwrap() < NUMBERS, "{number}");
            *faces.entry(number).or_default() += 1;
        }
        assert!(faces.values().all(|count| *count <= FACES), "{faces:?}");
        let slots: std::collections::HashSet<_> = entries().into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots.len(), calls().len(), "two calls in one place");
    }

    #[test]
    fn the_numbers_are_those_of_the_header() {
        let defined = |name: &str| {
            let line = WATCH_ABI_H
                .lines()
                .find(|line| line.starts_with(&format!("#define {name}\t")) || line.starts_with(&format!("#define {name} ")));
            let value = line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_else(|| panic!("no {name}"));
            value.trim_end_matches('u').parse::<usize>().unwrap()
        };
        for (name, what) in [
            ("OPEN", What::Open),
            ("NAME", What::Name),
            ("HELD", What::Held),
            ("MAP", What::Map),
            ("SOCKET", What::Socket),
            ("END", What::End),
            ("MESSAGE", What::Message),
            ("MESSAGES", What::Messages),
            ("OWN_END", What::OwnEnd),
            ("EXEC", What::Exec),
            ("ACT", What::Act),
            ("UNSEEN", What::Unseen),
        ] {
            assert_eq!(defined(&format!("PAL_CALL_{name}")), what as usize, "{name}");
        }
        for (name, rule) in [("NOFOLLOW", NOFOLLOW), ("FOLLOW_ASKED", FOLLOW_ASKED), ("HOW", HOW), ("AT_ENTER", AT_ENTER)] {
            assert_eq!(defined(&format!("PAL_CALL_{name}")), usize::from(rule), "{name}");
        }
        assert_eq!((defined("PAL_CALL_NUMBERS"), defined("PAL_CALL_FACES")), (NUMBERS, FACES));
        for (name, bit) in [
            ("NAMED", super::super::NAMED),
            ("NOFOLLOW", super::super::NOFOLLOW_SEEN),
            ("CREATED", super::super::CREATED),
            ("CALL", super::super::CALL),
            ("SCRIPT", super::super::SCRIPT),
        ] {
            assert_eq!(u32::try_from(defined(&format!("PAL_SEEN_{name}"))).unwrap(), bit, "{name}");
        }
        for (name, at) in
            [("UNREADABLE", super::super::UNREADABLE), ("COMPAT", super::super::COMPAT), ("UNSEEN", super::super::UNSEEN)]
        {
            assert_eq!(u32::try_from(defined(&format!("PAL_TALLY_{name}"))).unwrap(), at, "{name}");
        }
    }

    #[test]
    fn a_call_lies_in_memory_as_the_programs_read_it() {
        let call = Call::new(What::Name, Operation::Chown).fd(1).at(2).flags(5).rules(FOLLOW_ASKED);
        assert_eq!(call.to_bytes(), [2, Operation::Chown.number(), 1, 2, 5, 2, 0, 0]);
    }
}
