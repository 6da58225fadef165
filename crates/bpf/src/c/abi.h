/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one contract between the kernel programs and user space: the layout of tables, labels, tasks and events.
 *
 * Little-endian, 64-bit. Every struct here is mirrored once in Rust (crates/ruleset for tables, crates/bpf for the
 * rest); sizes are asserted on both sides. A change of any of it is a new PAL_ABI_VERSION and so a new pin path.
 */
#ifndef PAL_ABI_H
#define PAL_ABI_H

#define PAL_ABI_VERSION 6

/* ------------------------------------------------------------------ tables
 *
 * A table is one map value: a header, then 64-bit words t[]. All indices are indices of words in t[].
 *
 * Automaton (double array with default transitions). A state is the index s of its record, s > 0:
 *   t[s]     = { lo: 0x80000000 | marks | accept set, hi: default next state }
 *   t[s + c] = { lo: owner s, hi: next state }            for byte c = 1..255
 *   step:  e = t[s + c]; if (lo(e) != s) e = t[s]; s = hi(e)
 * A next state with PAL_SINK set will keep its accept set whatever follows: the walk may stop there (index = value
 * without the bit). Unused words have lo = 0, which is never a state. Accept set 0 is the empty set.
 *
 * Cells: t[cells + accept * ncols + column] = { lo: decision of operation 0, hi: decision of operation 1 }.
 *   process: operation 0 = exec, 1 = map_exec; file: 0 = read, 1 = write; network and capability: 0 only.
 *   The capability class has no automaton: its rows are the numbers of the capabilities.
 * A cell holds the final decision as if no other automaton had matched anything. So: if at most one automaton of the
 * class ends in a non-empty accept set, its cell is the answer (all empty: row 0 of automaton 0). If several do, the
 * answer is composed from their vectors.
 *
 * Vector: t[vectors + accept * ncols + column].lo = index v; then, with slots = class.slots,
 *   t[v + (operation * 2 + owner) * slots + slot] = { lo: key of the best-ranked rule, hi: key of the best-ranked rule
 *   that does not look on }; 0 = none; key = rank << 2 | says. Composing = the greater key per slot and half.
 * Then per slot: voice = (says(best) is ALLOW or BLOCK) ? best : (nonlook is an ALLOW) ? nonlook : none.
 *   Winner of a tier: the greatest voice of its slots. Any tier's winner BLOCK: Block, named by the greatest BLOCK
 *   winner. Else any winner ALLOW: passes. No winner: if some slot of allow_list has best == 0, then class.posture; else
 *   passes. What passes is Audit if some slot's best is AUDIT, named by the greatest such key, else Allow named by the
 *   greatest ALLOW winner. (Posture Audit is named by the rule that audits, if one does.)
 *   Slots of `audited` are left out; where they are not empty, a second evaluation with them that gives another verdict
 *   is the shadow of the result. A shadow that blocks what passes in silence makes the result WOULD_BLOCK,
 *   named by the shadow.
 * Rule of a key: t[class.ranks + (key >> 2)].lo = rule code; .hi is not 0 where an Allow of that rank opens block devices.
 *
 * The base set is an automaton of its own (PAL_BASE_SET), walked only where a decision so far has the code of the
 * posture. Its cells are one word a row: t[cells + accept].lo = bit per operation that passes. Then the decision is
 * class.base; if that is PAL_COMPOSE, the composition (of whatever number of vectors) with the posture left out.
 *
 * Keys. An operation of the network class is a text as well, walked by automaton 0 of its class:
 *   '/'  0x80|row of the socket  0x80|PAL_KEY_*  port  address
 * Port and address are not there with PAL_KEY_NONE. A number of n bits is ceil(n / 7) bytes of 0x80 and seven bits each,
 * the most significant first (the first byte has what is left over): a port is 3 bytes, an IPv4 address 5, IPv6 19.
 */

#define PAL_SINK 0x80000000u
#define PAL_RECORD 0x80000000u
#define PAL_ACCEPT_MASK 0x01ffffffu
/* Marks of a state, for built-in rules; each _AUDITED counts the rules of policies in audited mode as well. */
#define PAL_LIVE 0x40000000u	/* the text can go on to something that tree-integrity counts */
#define PAL_LIVE_AUDITED 0x20000000u
#define PAL_PLACE 0x10000000u	/* it can go on to something that mount-integrity counts as a place */
#define PAL_PLACE_AUDITED 0x08000000u
#define PAL_PLACE_HERE 0x04000000u	/* it is such a thing */
#define PAL_PLACE_HERE_AUDITED 0x02000000u

/* A decision word: verdict << 30 | flags | code. */
#define PAL_ALLOW 0u
#define PAL_AUDIT 1u
#define PAL_BLOCK 2u
#define PAL_WOULD_BLOCK 3u	/* passes in silence; an audited policy would have blocked */
#define PAL_OWNER_DEPENDS 0x20000000u	/* code is the index of a word { lo: decision for others, hi: for the owner } */
#define PAL_SHADOWED 0x10000000u	/* code is the index of a word { lo: decision, hi: the same with audited policies } */
#define PAL_CODE_MASK 0x00ffffffu
/* Flags of a decision: a block device may be opened by the Allow that won; the same with audited policies. */
#define PAL_OPENS_DEVICE 0x01000000u
#define PAL_OPENS_DEVICE_AUDITED 0x02000000u
#define PAL_COMPOSE 0xffffffffu	/* no decision: see "The base set" */

/* Codes: rule ids below, the rest above. */
#define PAL_CODE_BUILTIN 0x00ffff00u	/* + 0 unresolvable, 1 self, 2 mount-integrity, 3 tree-integrity, 4 source, 5 device */
#define PAL_CODE_POSTURE 0x00fffff0u
#define PAL_CODE_BASE 0x00fffff1u
#define PAL_CODE_NOTHING 0x00fffff2u

/* What a rule says, in a key. */
#define PAL_SAYS_SILENT 0u
#define PAL_SAYS_AUDIT 1u
#define PAL_SAYS_ALLOW 2u
#define PAL_SAYS_BLOCK 3u

#define PAL_CLASS_PROCESS 0
#define PAL_CLASS_FILE 1
#define PAL_CLASS_NETWORK 2
#define PAL_CLASS_CAPABILITY 3
#define PAL_CLASSES 4

#define PAL_AUTOMATA 11
/* 0 literal rules; 1..8 glob groups; */
#define PAL_MULTI_CALL 9	/* walked over path "//" invocation name */
#define PAL_BASE_SET 10
#define PAL_SLOTS_MAX 16

struct pal_automaton {
	__u32 start;		/* 0: not there */
	__u32 cells;
	__u32 vectors;		/* 0: this class composes nothing */
	__u32 rows;		/* number of accept sets */
};

/* pal_class.flags */
#define PAL_CLASS_ACTIVE 1u	/* some rule of the class concerns this workload; otherwise nothing is judged */
#define PAL_CLASS_PTS 2u	/* the terminal is part of some match */
#define PAL_CLASS_SOURCED 4u	/* the source is part of some match */
#define PAL_CLASS_OWNER 8u	/* some decision depends on the owner */
#define PAL_CLASS_ENFORCED 64u	/* some rule of the class is not of a policy in audited mode */
#define PAL_CLASS_LIVE_DIRS 16u	/* tree-integrity: some literal rule that can deny stands below a directory */
#define PAL_CLASS_INVOKED 32u	/* some rule is met by the name of an invocation: PAL_MULTI_CALL is there */

struct pal_class {
	__u32 flags;
	__u32 ncols;
	__u32 colmap;		/* t[colmap + source * 2 + terminal].lo = column */
	__u32 globs;		/* automata 1..globs are in use */
	__u32 slots;
	__u32 upper;		/* bit per slot: the cluster tier */
	__u32 lower;		/* bit per slot: the namespaced (or host) tier */
	__u32 audited;		/* bit per slot: policies in audited mode */
	__u32 allow_list;	/* bit per slot */
	__u32 base;		/* decision word of what the base set lets pass, or PAL_COMPOSE */
	__u32 posture;		/* decision word where the posture applies, operation 0 */
	__u32 unresolvable;	/* decision word for an object that cannot be told */
	__u32 ranks;
	__u32 posture_1;	/* the same for operation 1: a posture never reaches map_exec, so there it allows */
	struct pal_automaton a[PAL_AUTOMATA];
};

/* pal_header.flags */
#define PAL_TABLE_SOURCES 1u	/* the source automaton is needed at exec */
#define PAL_TABLE_FOLD 2u	/* interpreter stages fold scripts into the source */
#define PAL_TABLE_PTS 4u
#define PAL_TABLE_MOUNTS 8u	/* `mounts` is not to allow */
#define PAL_TABLE_ATTACH 16u	/* `attach` is not to allow */
#define PAL_TABLE_HOST 32u	/* of a host: no built-in rule but self and unresolvable */

struct pal_header {
	__u32 abi;		/* PAL_ABI_VERSION */
	__u32 flags;
	__u32 table_id;		/* never used again for another content on this boot */
	__u32 words;		/* words in use */
	__u64 generation;
	__u32 source_start;	/* start state of the source automaton; its accept set is the plain source class */
	__u32 source_plain;	/* number of plain classes: 0..plain-1, the unknown one being the last */
	__u32 source_all;	/* number of classes with folded ones */
	__u32 source_unknown;	/* the class of an unknown source (< source_all) */
	__u32 fold;		/* t[fold + source * plain + script].lo = source */
	__u32 mounts;		/* decision word of what changes the meaning of paths (mount-integrity) */
	__u32 attach;		/* decision word of attaching to another program (source) */
	__u32 pad;
	struct pal_class class[PAL_CLASSES];
};

#define PAL_HEADER_BYTES (56 + PAL_CLASSES * (56 + PAL_AUTOMATA * 16))

/* Words of t[] by size class; a table is put in the smallest that holds it. Map value = header + 8 << bits. */
#define PAL_SIZES 4
#define PAL_BITS_S 13		/* 64 KiB */
#define PAL_BITS_M 16		/* 512 KiB */
#define PAL_BITS_L 19		/* 4 MiB */
#define PAL_BITS_X 22		/* 32 MiB */
#define PAL_TABLE_SLOTS 1024	/* tables of one size class alive at once */

/* Which end of a connection an operation names: in keys, and in the names of PAL_OBJECT_*. */
#define PAL_KEY_NONE 0		/* none: a socket is made, an association dissolved, another family */
#define PAL_KEY_REMOTE4 1	/* connect, sending */
#define PAL_KEY_REMOTE6 2
#define PAL_KEY_LOCAL4 3	/* bind, listen, accept */
#define PAL_KEY_LOCAL6 4
#define PAL_KEY_BITS 7

/* Socket rows of the network class: inet types 0..7 (index = type * 8 + protocol word), then the others. */
#define PAL_SOCK_TYPES 8	/* 0 other, 1 stream, 2 dgram, 3 raw, 4 rdm, 5 seqpacket, 6 dccp, 7 packet */
#define PAL_PROTO_OTHER 0
#define PAL_PROTO_TCP 1
#define PAL_PROTO_UDP 2
#define PAL_PROTO_SCTP 3
#define PAL_PROTO_ICMP 4
#define PAL_PROTO_ICMPV6 5
#define PAL_SOCK_PACKET 64	/* AF_PACKET, whatever its type */
#define PAL_SOCK_OTHER 65	/* every other family but the exempt */
#define PAL_SOCK_SMC 66		/* AF_SMC: tcp, but no type meets it */
#define PAL_SOCK_ROWS 67
#define PAL_SOCK_EXEMPT 255	/* AF_UNIX, NETLINK_ROUTE: judged by nothing */
#define PAL_CAPABILITIES 41

/* ------------------------------------------------------------------ labels and tasks */

#define PAL_LABELS 4096		/* label 0 is "none" */

/* pal_labels[label]: one 64-bit word, so that a table and its size class change in one store. */
#define PAL_LABEL_AUDIT 1u	/* flags: nothing is denied */
#define PAL_LABEL_LIVE 2u	/* flags: in use */
#define PAL_LABEL_CACHE 4u	/* flags: opens may use the cache of directories */
struct pal_label {
	__u16 size;		/* 0 S, 1 M, 2 L, 3 X */
	__u16 slot;		/* in that size's array of maps */
	__u32 flags;
};

/* pal_task.flags */
#define PAL_TASK_TERMINAL 1u	/* it or an ancestor in the workload had a controlling terminal */
#define PAL_TASK_LOADER 2u	/* its program is a dynamic loader */
#define PAL_TASK_SOURCE_SET 4u	/* source is of the table `table_id` */

#define PAL_SCRIPT_NONE 0xffffffffu

/* pal_tasks: thread id in the initial pid namespace -> this. Written by the kernel programs alone. */
struct pal_task {
	__u32 label;
	__u32 source;		/* source class of its program */
	__u32 stage;		/* source class folded so far in the exec that is going on */
	__u32 script;		/* source class of the last script of that exec, or PAL_SCRIPT_NONE */
	__u32 flags;
	__u32 table_id;		/* of the table that `source` belongs to */
	__u64 exe_inode;	/* identity of the executed file: inode number, */
	__u32 exe_dev;		/* device, */
	__u32 exe_birth;	/* and inode generation */
	/* Notes from one hook to a later one; addresses, never followed without a check. Nothing for user space. */
	__u64 self;
	__u64 write_mount;
	__u64 socket_mount;
	__u64 socket_dentry;
	__u64 root_mount;
	__u64 root_of;
	__u64 home;
	__u64 home_root;
	__u64 handle;
	__u64 label_word;
	__u64 entering;		/* mount namespace that the setns under way enters */
	__u64 created;
	__u32 created_told;
	__u32 root_seq;
};

#define PAL_TASKS 32768		/* labelled threads alive at once */
#define PAL_CGROUPS 8192
#define PAL_CGROUP_HINTS (1 << 16)	/* pal_cgroup_hints[cgroup id modulo this]: 0 = no such id is labelled */
#define PAL_SCRATCH_SLOTS 512		/* accesses under judgement at once */
#define PAL_TIDS (1 << 22)	/* PID_MAX_LIMIT of 64-bit kernels */

/* pal_state[0] */
struct pal_state {
	__u64 labelled;		/* entries of pal_tasks; the programs add to it, so user space must not write it */
	__u64 pad;
};

/*
 * pal_own[0].at[PAL_OWN_*]: directories that are Palisade's, with all that is below. Never on one file system: pins lie
 * on a bpffs, which has room for nothing else. Inode 0: not known.
 */
#define PAL_OWN_PINS 0
#define PAL_OWN_HOME 1
#define PAL_OWN 2
struct pal_own {
	__u64 inode;
	__u32 dev;		/* major << 20 | minor */
	__u32 pad;
};

struct pal_owns {
	struct pal_own at[PAL_OWN];
};

#define PAL_LINKS 256		/* pal_links: ids of Palisade's links */
#define PAL_NAMESPACES 16384	/* mount namespaces that workloads made, remembered */
#define PAL_SUPERS 8192		/* file systems that workloads mounted, remembered */

/* pal_iter[0]: one __u64, the cgroup id for the iterator pal_label_tasks, set by user space before each run */

/* ------------------------------------------------------------------ events */

/* pal_event.operation */
#define PAL_OP_EXEC 1		/* access: PAL_EXEC_INTERPRETER if it is the interpreter of the stage before */
#define PAL_OP_MAP_EXEC 2
#define PAL_OP_OPEN 3		/* access: 1 read, 2 write, 3 both */
#define PAL_OP_CREATE 4
#define PAL_OP_UNLINK 5
#define PAL_OP_MKDIR 6
#define PAL_OP_RMDIR 7
#define PAL_OP_MKNOD 8
#define PAL_OP_SYMLINK 9
#define PAL_OP_LINK 10
#define PAL_OP_RENAME 11
#define PAL_OP_CHMOD 12
#define PAL_OP_CHOWN 13
#define PAL_OP_TRUNCATE 14
#define PAL_OP_SETXATTR 15
#define PAL_OP_UTIMES 16
#define PAL_OP_UNIX_CONNECT 17
#define PAL_OP_UNIX_SEND 18
#define PAL_OP_UNIX_BIND 19
#define PAL_OP_SOCKET 20
#define PAL_OP_CAPABILITY 21
#define PAL_OP_CONNECT 22
#define PAL_OP_SEND 23
#define PAL_OP_BIND 24
#define PAL_OP_LISTEN 25
#define PAL_OP_ACCEPT 26
/* Of the built-in rules; of class file, an attach of class process. */
#define PAL_OP_MOUNT 27
#define PAL_OP_MOUNT_REARRANGE 28
#define PAL_OP_UNMOUNT 29
#define PAL_OP_PIVOT_ROOT 30
#define PAL_OP_ENTER_NAMESPACE 31
#define PAL_OP_OPEN_DETACHED 32
#define PAL_OP_ATTACH 33
#define PAL_OP_BPF 34		/* obtaining a BPF object of Palisade's */
#define PAL_OP_TOUCH 35		/* a file of Palisade's, or kernel.ftrace_enabled */

#define PAL_EXEC_INTERPRETER 2	/* pal_event.access of an exec */

#define PAL_OBJECT_PATH 0
#define PAL_OBJECT_MEMFD 1
#define PAL_OBJECT_UNRESOLVABLE 2
#define PAL_OBJECT_SOCKET 3
#define PAL_OBJECT_CAPABILITY 4
#define PAL_OBJECT_ENDPOINT4 5	/* a socket, with address and port */
#define PAL_OBJECT_ENDPOINT6 6

#define PAL_PATH_MAX 4096
#define PAL_COMM 16
#define PAL_ARGUMENTS_MAX 4096

/* pal_event.flags */
#define PAL_EVENT_ARGUMENTS_CUT 1u	/* there are more arguments, or more of the last, than the record has */
#define PAL_EVENT_SHADOW 2u	/* `shadow` says what policies in audited mode would have made of it */

/*
 * A record of the ring buffer: this, then object_len bytes of object, program_len bytes of the acting program, and of an
 * exec arguments_len bytes of arguments, each with a zero behind it but one that is cut.
 */
struct pal_event {
	__u32 abi;
	__u32 code;		/* rule code: who decided */
	__u64 generation;
	__u64 time_ns;		/* CLOCK_BOOTTIME */
	__u64 number;		/* per CPU, from 1, counted also where the ring was full: a gap is a loss */
	__u64 cgroup;
	__u32 cpu;
	__u32 label;
	__u32 tgid;		/* in the initial pid namespace */
	__u32 tid;
	__u32 ppid;		/* tgid of the real parent */
	__u32 uid;		/* real */
	__u32 table_id;
	__s32 error;		/* errno given to the task, 0 if it passed */
	__u8 class;
	__u8 operation;
	__u8 verdict;		/* PAL_AUDIT, PAL_BLOCK, PAL_WOULD_BLOCK; PAL_ALLOW with a shadow alone */
	__u8 access;
	__u8 object_kind;
	__u8 terminal;
	__u16 object_len;
	__u16 program_len;
	__u16 arguments_len;
	__u32 family;		/* socket: AF_*, SOCK_*, protocol; capability: its number in family */
	__u32 type;
	__u32 protocol;
	char comm[PAL_COMM];
	__u32 flags;		/* PAL_EVENT_* */
	__u16 port;		/* endpoints */
	__u16 pad;
	__u8 address[16];	/* endpoints: as on the wire; of IPv4 the first four bytes */
	__u32 shadow;		/* verdict << 24 | code */
	__u32 pad2;
};

/* pal_counters: per CPU, only ever growing. */
#define PAL_COUNT_EVENTS 0	/* events written */
#define PAL_COUNT_EVENTS_LOST 1	/* ring full */
#define PAL_COUNT_NO_SLOT 2	/* no scratch slot: refused */
#define PAL_COUNT_UNRESOLVABLE 3
#define PAL_COUNT_UNSTABLE 4	/* walks repeated because the tree changed under them */
#define PAL_COUNT_TASK_FULL 5	/* forks refused: no room for another labelled task */
#define PAL_COUNT_TASK_FAILED 6	/* label of a task could not be stored: a child is found by its cgroup, else refused */
#define PAL_COUNT_NO_TABLE 7	/* a live label without a table, or one that changed under every try: refused */
#define PAL_COUNT_BLOCK 8
#define PAL_COUNT_AUDIT 9
#define PAL_COUNT_JUDGED 10	/* not here: the sum of pal_judged, by slot */
#define PAL_COUNT_CGROUP_FAILED 11	/* label of a new cgroup could not be stored; its tasks have theirs by inheritance */
#define PAL_COUNT_NUMBERS 12	/* last pal_event.number of this CPU */
#define PAL_COUNT_LABEL_LOST 13	/* a thread whose label could not be stored, and that has left its cgroup: refused */
#define PAL_COUNTERS 16

#endif
