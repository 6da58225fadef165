/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an entry of the cache (cache.h) is compared by, and chosen by: inodes, mounts, moves, deaths, and which file systems
 * are known well enough. Who compares, and when, is open.h.
 */
#ifndef PAL_CACHE_KEY_H
#define PAL_CACHE_KEY_H

/*
 * For the negative controls of the stress test alone (feature `test-controls` of the crate): bits of what is left out of the
 * comparison with an entry. A release has no such map.
 */
#ifdef PAL_TEST_CONTROLS
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} pal_without SEC(".maps");

static __always_inline bool is_kept(u32 bit)
{
	u32 zero = 0, *without = bpf_map_lookup_elem(&pal_without, &zero);

	return !without || !(READ_ONCE(*without) & bit);
}
#define KEPT(bit) is_kept(bit)
#else
#define KEPT(bit) true
#endif
#define KEY_INODE 1
#define KEY_MOUNT 2
#define KEY_NAMESPACE 4
#define KEY_TABLE 8
#define KEY_MOVES 16
#define KEY_MOUNTS 32
#define KEY_DEATHS 64
#define KEY_NAME 128	/* the dentry's sequence */
#define KEY_KNOWN 256	/* cache_knows() */
#define KEY_OF 512	/* of a name's: the directory's entry, */
#define KEY_TEXT 1024	/* and the name */

/*
 * The low half of an address, as a number to compute with: the verifier allows no arithmetic on a pointer, but a move of
 * one half makes a number of it. clang alone would do without the move.
 */
static __always_inline u32 low_half(const void *address)
{
	u32 low;

	asm volatile("%0 = %1" : "=w"(low) : "w"((u32)(u64)address));
	return low;
}

/* Multiplicative hashing: 2^32 divided by the golden ratio, and two other odd numbers. */
#define HASH_INODE 0x9e3779b1u
#define HASH_MOUNT 0x85ebca6bu
#define HASH_TABLE 0xc2b2ae35u

static __always_inline u32 cache_index(u32 inode, u32 mount, u32 table_id)
{
	/* what a control leaves out of the key does not choose the entry either */
	if (!KEPT(KEY_INODE))
		inode = 0;
	if (!KEPT(KEY_MOUNT))
		mount = 0;
	if (!KEPT(KEY_TABLE))
		table_id = 0;
	return (inode * HASH_INODE + mount * HASH_MOUNT + table_id * HASH_TABLE) >> (32 - CACHE_BITS);
}

static __always_inline volatile u32 *cache_deaths(u32 inode)
{
	return &pal_deaths[inode * HASH_INODE >> (32 - CACHE_DEATH_BITS)];
}

/* From 6.2 on: a typed pointer of any address, so that a plain load will do. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* sequence_of(&mount_lock), by 75 instructions less where that is possible. */
static __always_inline u32 mount_sequence(void)
{
	if (bpf_rdonly_cast) {
		struct seqcount *sequence =
			bpf_rdonly_cast(&mount_lock, bpf_core_type_id_kernel(struct seqcount));

		return READ_ONCE(sequence->sequence);
	}
	return sequence_of(&mount_lock);
}

/* The number of a super block's counter: never 0. */
static __always_inline u32 cache_super(u32 dev)
{
	u32 number = dev * HASH_INODE >> 24;

	return number ? number : 1;
}

static __always_inline u64 cache_moves_of(u32 number)
{
	/* clang leaves the mask out where it knows a bound that the verifier of 6.1 does not */
	asm volatile("" : "+r"(number));
	return ((const volatile u64 *)pal_moves)[number & (CACHE_SUPERS - 1)];
}

/* Counters only grow, so their sum stands still only if each of them does. Hardly a path lies in three file systems. */
static __always_inline u64 cache_moves(u32 supers)
{
	u64 moves = cache_moves_of(supers) + cache_moves_of(supers >> 8);

	return supers >> 16 ? moves + cache_moves_of(supers >> 16) : moves;
}

/*
 * Whether a directory of this file system cannot get another path without __d_move() or the death of its inode.
 *
 * ext4, tmpfs, ramfs: they alone change what is on the disk, and only through rename(2), which moves the dentry.
 * overlayfs: its dentries are its own and move so too; a layer that is changed under it shows in new dentries, and it
 * keeps no inode without a dentry. Not with s_encoding: directories that fold case have as many names as spellings, and a
 * dentry keeps the one that it was looked up by.
 */
static __always_inline bool cache_knows(u64 magic, u64 encoding)
{
	if (!KEPT(KEY_KNOWN))
		return true;
	return !encoding && (magic == EXT4_SUPER_MAGIC || magic == TMPFS_MAGIC || magic == RAMFS_MAGIC ||
			     magic == OVERLAYFS_SUPER_MAGIC);
}

#endif
