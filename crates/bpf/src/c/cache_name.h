/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names in a directory of the cache (cache.h): read from a dentry, compared, and the answers that are kept of them. The
 * walk over a name is pass_size.h.
 */
#ifndef PAL_CACHE_NAME_H
#define PAL_CACHE_NAME_H

#include "cache_key.h"

static __always_inline u32 name_index(u32 entry, u32 hash)
{
	if (!KEPT(KEY_OF))
		entry = 0;
	if (!KEPT(KEY_TEXT))
		hash = 0;
	return (entry * HASH_MOUNT + hash) * HASH_INODE >> (32 - CACHE_BITS);
}

/* Where a short name is kept in its dentry. */
static __always_inline const u64 *short_name(struct dentry *dentry)
{
	if (bpf_core_field_exists(struct dentry___shortname, d_shortname))
		return (const u64 *)((struct dentry___shortname *)dentry)->d_shortname.string;
	return (const u64 *)((struct dentry___iname *)dentry)->d_iname;
}

/* Whether it has room for a fifth word. */
static __always_inline bool has_fifth_word(void)
{
	u32 bytes;

	/* The barriers keep clang from asking for both sizes, one of which the kernel has not. */
	if (bpf_core_field_exists(struct dentry___shortname, d_shortname)) {
		bytes = bpf_core_field_size(struct dentry___shortname, d_shortname);
		asm volatile("" : "+r"(bytes));
	} else {
		bytes = bpf_core_field_size(struct dentry___iname, d_iname);
		asm volatile("" : "+r"(bytes));
	}
	return bytes >= 40;
}

/* Of a word of a name, the bytes before its end at len. */
static __always_inline u64 before_end(u64 word, u32 len)
{
	return word & ((1ull << (len & 7) * 8) - 1);
}

/*
 * Puts the dentry's name into the question; false if it is too long. A short one by plain loads: a probe read costs 90
 * instructions more. All of q->name is written, as the verifier asks of what is handed to a function.
 */
static __always_inline bool open_name(struct cache_question *q, struct dentry *dentry, bool is_short)
{
	const u64 *from = short_name(dentry);
	u32 len = dentry->d_name.len;

	if (!is_short && len > NAME_CACHED)
		return false;
	__builtin_memset(q->name, 0, sizeof(q->name));
	if (!is_short)
		return !bpf_probe_read_kernel(q->name, len & 127, dentry->d_name.name);
#pragma clang loop unroll(full)
	for (u32 i = 0; i < 5; i++) {
		if (i == 4 && !has_fifth_word())
			break;
		if (len < 8 * (i + 1)) {
			q->name[i] = before_end(from[i], len);
			break;
		}
		q->name[i] = from[i];
	}
	return true;
}

/*
 * Whether a name that is kept is the dentry's short one. No name has a 0 in it, so two are the same if all words are, to
 * the first that has a 0.
 */
static __always_inline bool is_short_name(const struct cache_name *n, struct dentry *dentry)
{
	const u64 *from = short_name(dentry);
	u32 len = dentry->d_name.len;

	if (!KEPT(KEY_TEXT))
		return true;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < 5; i++) {
		if (i == 4 && !has_fifth_word())
			break;
		if (len < 8 * (i + 1))
			return READ_ONCE(n->name[i]) == before_end(from[i], len);
		if (READ_ONCE(n->name[i]) != from[i])
			return false;
	}
	return false;
}

static __always_inline bool is_name(const struct cache_name *n, const struct cache_question *q)
{
	if (!KEPT(KEY_TEXT))
		return true;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < NAME_WORDS; i++)
		if (READ_ONCE(n->name[i]) != q->name[i])
			return false;
	return true;
}

/* What is kept of the question's name, with an entry of one version: PASSES, ASK; ASK_AND_STORE if nothing is. */
static __always_inline u64 name_answer(const struct cache_question *q, struct dentry *dentry, bool is_short, u64 of)
{
	const struct cache_name *n = &pal_names[name_index(q->entry, q->hash) & (CACHE_ENTRIES - 1)];
	u64 version;
	u32 answers;

	KEEP(n);
	version = READ_ONCE(n->version);
	if (KEPT(KEY_OF) && READ_ONCE(n->of) != of)
		return ASK_AND_STORE;
	if (READ_ONCE(n->who) != name_who(q->source, q->terminal))
		return ASK_AND_STORE;
	if (!(is_short ? is_short_name(n, dentry) : is_name(n, q)))
		return ASK_AND_STORE;
	answers = READ_ONCE(n->answers);
	if (version & 1 || READ_ONCE(n->version) != version)
		return ASK_AND_STORE;
	answers &= name_bit(q->asked) | name_bit(q->asked) << NAME_ASKS;
	return !answers ? ASK_AND_STORE : answers >> NAME_ASKS ? ASK : PASSES;
}

/* Keeps an answer to the question, PASSES or ASK, beside those that are kept of the same name. */
static __noinline void name_store(const struct cache_question *q, u64 of, u64 answer)
{
	struct cache_name *n = &pal_names[name_index(q->entry, q->hash) & (CACHE_ENTRIES - 1)];
	u32 who = name_who(q->source, q->terminal), bit = name_bit(q->asked) << (answer == PASSES ? 0 : NAME_ASKS);
	u64 version;

	KEEP(n);
	version = READ_ONCE(n->version);
	/* somebody writes it, perhaps a task that this one preempted: nobody waits */
	if (version & 1 || __sync_val_compare_and_swap(&n->version, version, version + 1) != version)
		return;
	if (n->of != of || n->who != who || !is_name(n, q)) {
		n->of = of;
		n->who = who;
		n->answers = 0;
		for (u32 i = 0; i < NAME_WORDS; i++)
			n->name[i] = q->name[i];
	}
	n->answers |= bit;
	/* an exchange, which is a full barrier: what stands above is written before */
	__sync_lock_test_and_set(&n->version, version + 2);
}

#endif
