/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses the border between the watching programs (watch.bpf.c) and user space, beside the record itself
 * (struct pal_event in abi.h). Mirrored in src/watch/abi.rs. Nothing of it is pinned or outlives the process.
 */
#ifndef PAL_WATCH_ABI_H
#define PAL_WATCH_ABI_H

/* pal_event.code of what was seen: the watching programs decide nothing, so there is no rule. */
#define PAL_SEEN_NAMED 1u	/* `object` is the directory where the look-up began, `arguments` the name as it was given */
#define PAL_SEEN_NOFOLLOW 2u	/* a link at the end of the name is the object itself */
#define PAL_SEEN_CREATED 4u	/* of an open: the file is new */
#define PAL_SEEN_CALL 8u	/* of an exec: it is being called, by `program`, from the directory `object` */
#define PAL_SEEN_SCRIPT 16u	/* of an exec: `object` interprets the file that `arguments` names */

/* pal_call.what: what of a system call is told. */
#define PAL_CALL_NONE 0
#define PAL_CALL_OPEN 1		/* the file behind the descriptor that comes of it; what fails in a driver: by name */
#define PAL_CALL_NAME 2		/* a name, if it succeeds */
#define PAL_CALL_HELD 3		/* the file behind a descriptor, if it succeeds */
#define PAL_CALL_MAP 4		/* the same of mmap(2), if it asks for PROT_EXEC */
#define PAL_CALL_SOCKET 5	/* family, type, protocol */
#define PAL_CALL_END 6		/* a socket, and the address at `at` whose length is the next argument */
#define PAL_CALL_MESSAGE 7	/* a socket, and the address in a struct msghdr */
#define PAL_CALL_MESSAGES 8	/* the same for an array of struct mmsghdr */
#define PAL_CALL_OWN_END 9	/* a socket, and its own address */
#define PAL_CALL_EXEC 10	/* the caller, before; the name, if no loader knew its format */
#define PAL_CALL_ACT 11		/* that it was done */
#define PAL_CALL_UNSEEN 12	/* counted: what it goes on to do is not seen */

/* pal_call.rules */
#define PAL_CALL_NOFOLLOW 1	/* the name's last component is not followed */
#define PAL_CALL_FOLLOW_ASKED 2	/* it is followed with AT_SYMLINK_FOLLOW alone; else it is but with AT_SYMLINK_NOFOLLOW */
#define PAL_CALL_HOW 4		/* `flags` points to a struct open_how */
#define PAL_CALL_AT_ENTER 8	/* told when it begins */

/* Arguments are counted from 1; 0: there is none. */
struct pal_call {
	__u8 what;
	__u8 operation;		/* PAL_OP_* */
	__u8 fd;		/* a descriptor: the directory of a name, the file, the socket */
	__u8 at;		/* an address in the program's memory */
	__u8 flags;
	__u8 rules;
	__u8 pad[2];
};

#define PAL_CALL_NUMBERS 512	/* numbers of system calls that are looked at */
#define PAL_CALL_FACES 2	/* what one call can tell: pal_calls[number * PAL_CALL_FACES + face] */

/* pal_tallies: beside PAL_COUNT_EVENTS_LOST, PAL_COUNT_NO_SLOT (lost as well) and PAL_COUNT_UNSTABLE */
#define PAL_TALLY_UNREADABLE 13	/* a name or an address was not there any more: lost */
#define PAL_TALLY_COMPAT 14	/* system calls of 32 bits: not looked at */
#define PAL_TALLY_UNSEEN 15	/* PAL_CALL_UNSEEN */
#define PAL_TALLIES 16

/* pal_watched[0]: the cgroup (version 2) whose tasks, and those of the ones below it, are watched; 0: none */

#endif
