/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cache of directories: the states that a table's automata are in at the end of a directory's path and its '/'.
 * An open in a directory that is there (open.h) costs the file's own name, whatever the path's length or depth.
 *
 * One array for the whole host, as nobody can be kept from evicting by a hash that is known: a lost entry costs one
 * walk, and an entry of another table, mount, namespace or directory is never taken for one's own. What it is right by:
 *
 *   which directory     the address of its inode. Inodes are counted as they die (deaths), so as long as that count
 *                       stands still, the inode at this address is the same. A directory has one connected dentry.
 *   its names           __d_move() is the only function of the kernel that changes the name or the parent of a connected
 *                       directory's dentry, always with rename_lock written; a program on its entry counts per super
 *                       block (moves), before anything is changed.
 *   its mounts          mount_lock's sequence: mounts are put into a tree, moved and taken out with mount_lock written,
 *                       and so a vfsmount's address is not reused without a change of it.
 *   the root            the namespace whose root the path begins at; an address for which the same holds.
 *   the table           its id, which no other table has on this boot.
 *   what comes without  file systems that change under their dentries (network, FUSE, procfs) or that find one directory
 *   a move              by several spellings: entries are made for objects of cache_knows() alone.
 *
 * Left over: 2^32 deaths of directories in one bucket, or 2^31 changes of mounts, to the number, between two uses of one
 * entry.
 */
#ifndef PAL_CACHE_H
#define PAL_CACHE_H

#define CACHE_BITS 13
#define CACHE_ENTRIES (1 << CACHE_BITS)
#define CACHE_DEATH_BITS 12
#define CACHE_SUPERS 256	/* counters of moves; number 0 is nobody's and stays 0 */

/* One state for each automaton that an open may walk: literal, base set, glob groups; see cache_place(). */
#define CACHE_STATES 10

/* Of a name in the cache: 72 bytes, of which the last is 0. */
#define NAME_WORDS 9
#define NAME_CACHED 71

/* Without globs a hit reads the first cache line alone. */
struct cache_entry {
	u64 version;	/* odd while it is written */
	u64 inode;	/* of the directory */
	u64 mount;	/* that the file is opened through */
	u64 namespace;	/* whose root the path begins at */
	u64 moves;	/* sum over `supers` */
	u32 mount_seq;
	u32 deaths;
	u32 table_id;
	u32 supers;	/* numbers of three super blocks, a byte each, 0: none */
	u32 states[CACHE_STATES];
	u32 pad[8];
};

_Static_assert(sizeof(struct cache_entry) == 128, "two cache lines");
_Static_assert(__builtin_offsetof(struct cache_entry, states[2]) == 64, "the first line ends behind the base set");
_Static_assert(PAL_MULTI_CALL + 1 == CACHE_STATES, "1..8 and two others");

/*
 * The answers that pass_*(), or the walk over the whole path, came to for one name in one directory: what they are made
 * from, the states of an entry and the bytes of the name, is the key, so they hold as long as the entry does. An entry
 * that is written gets another version, and all names that were kept with it count no more.
 *
 * A name that is kept costs its comparison, eight bytes at a time, instead of a walk for each automaton; and what several
 * automata meet, which takes the whole path to compose, is composed once. Names of 40 bytes lie in one cache line.
 */
struct cache_name {
	u64 version;	/* odd while it is written */
	u64 of;		/* cache_of() */
	u32 who;	/* source << 1 | terminal */
	u32 answers;	/* a bit for each question, see name_bit(): it passes; and NAME_ASKS higher: it is asked again */
	u64 name[NAME_WORDS];	/* 0 behind its end */
	u64 pad[4];
};

_Static_assert(sizeof(struct cache_name) == 128, "two cache lines");
_Static_assert(__builtin_offsetof(struct cache_name, name[5]) == 64, "the first line holds 40 bytes of the name");

#define NAME_ASKS 8

struct cache_entry pal_cache[CACHE_ENTRIES] __attribute__((aligned(64)));
struct cache_name pal_names[CACHE_ENTRIES] __attribute__((aligned(64)));
u64 pal_moves[CACHE_SUPERS];
u32 pal_deaths[1 << CACHE_DEATH_BITS];

/* Where the state of automaton k stands. */
static __always_inline u32 cache_place(u32 k)
{
	return k == PAL_BASE_SET ? 1 : k + (k > 0);
}

/* One entry in one state of its: versions that can be used are even, which makes room for the index. */
static __always_inline u64 cache_of(u64 version, u32 entry)
{
	return version << (CACHE_BITS - 1) | (entry & (CACHE_ENTRIES - 1));
}

/* Keeps a pointer in its register: clang makes the address of what lies in an array of its own again for each use. */
#define KEEP(pointer) asm volatile("" : "+r"(pointer))

/* What is asked of a directory's entry, and of a name in it. */
struct cache_question {
	u64 name[NAME_WORDS];	/* of the file, 0 behind its end */
	u32 entry;
	u32 asked;	/* operations, and bit 2 if the task owns the file */
	u32 source;
	u32 terminal;
	u32 hash;	/* that the kernel made of the name and its directory */
	u32 pad;
};

static __always_inline u32 name_bit(u32 asked)
{
	return 1u << (asked & 7);
}

static __always_inline u32 name_who(u32 source, u32 terminal)
{
	return source << 1 | (terminal & 1);
}

#define PASSES 1ull	/* allowed, and nothing to be reported */
#define ASK 0ull	/* to be decided, or reported, by the whole path */
#define ASK_AND_STORE 2ull	/* the same, and what comes of it is to be kept */

#endif
