/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tables: finding the one of a label, and asking it.
 *
 * Tables come in four sizes, each with its own array of maps and its own copy of the functions in table_size.h, so
 * that an index is kept in bounds by a constant mask. Those functions are global: the verifier checks each once per
 * program and lets only numbers pass, so every call finds the table again, by its slot, and compares its id with the
 * one the access began with. If user space exchanged it meanwhile the call answers TABLE_GONE and the access starts
 * again with the new one; the parts of two tables are never mixed.
 */
#ifndef PAL_TABLE_H
#define PAL_TABLE_H

/*
 * A handle: all that an access needs to know of its table, in one number that passes between global functions.
 * Bits 0-31 table id, 32-41 slot, 42-43 size, 44-45 flags of the label, 46-52 flags of the class, 53-58 flags of the
 * header, 59 PAL_LABEL_CACHE. Bits 62 and 63: there is no table, see below.
 */
#define HANDLE_SLOT 32
#define HANDLE_SIZE 42
#define HANDLE_LABEL 44
#define HANDLE_CLASS 46
#define HANDLE_HEADER 53
#define HANDLE_UNUSED (1ull << 62)	/* the label is not in use: nothing is judged */
#define TABLE_GONE (1ull << 63)		/* also an answer of the functions of table_size.h */
#define HANDLE_CACHE 59			/* the label's table may use the cache of directories */
#define TABLE_DONE (1ull << 62)		/* an answer of walk_*(): the automaton ended */
#define END_SINK (1ull << 61)		/* with it: in a state that it will not leave */
#define END_STATE 32			/* with it: the state */
#define END_STATE_MASK 0x1fffffffu

_Static_assert(PAL_TABLE_SLOTS == 1 << (HANDLE_SIZE - HANDLE_SLOT), "a slot has ten bits");
_Static_assert(PAL_SIZES == 1 << (HANDLE_LABEL - HANDLE_SIZE), "a size has two bits");
_Static_assert(1u << PAL_BITS_X <= END_STATE_MASK, "a state fits below END_SINK");
_Static_assert(PAL_HEADER_BYTES == sizeof(struct pal_header), "header as user space writes it");

static __always_inline bool handle_audits(u64 handle)
{
	return handle >> HANDLE_LABEL & PAL_LABEL_AUDIT;
}

static __always_inline u32 handle_class(u64 handle)
{
	return handle >> HANDLE_CLASS & 127;
}

static __always_inline u32 handle_header(u64 handle)
{
	return handle >> HANDLE_HEADER & 63;
}

/*
 * Bytes of a path in one walk_*() call, and calls for the longest path with an invocation name behind it. A bounded
 * loop of 128 takes 25 instructions a byte and 8,000 steps of the verifier; bpf_loop() would take 40 a byte.
 */
#define WALK_BYTES 128
#define WALK_UNROLLED 8	/* of them without counting; divides WALK_BYTES */
#define WALKS ((PAL_PATH_MAX + 2 + NAME_MAX) / WALK_BYTES + 1)

/* Built-in rules: code - PAL_CODE_BUILTIN. */
enum {
	BUILTIN_UNRESOLVABLE,
	BUILTIN_SELF,
	BUILTIN_MOUNT_INTEGRITY,
	BUILTIN_TREE_INTEGRITY,
	BUILTIN_SOURCE,
	BUILTIN_DEVICE,
};

/* What source_*() is asked for. */
enum source_question {
	SOURCE_OF_PATH,		/* the plain class of the program at s->path */
	SOURCE_FOLD,		/* of s->source followed by the script s->row */
	SOURCE_UNKNOWN,
	TABLE_GENERATION,
	TABLE_MOUNTS_DECISION,
	TABLE_ATTACH_DECISION,
};

/* The greater of two, without a branch: a branch per comparison multiplies the states that the verifier follows. */
static __always_inline u32 greater(u32 a, u32 b)
{
	s64 difference = (s64)(u64)a - (s64)(u64)b;

	return a - (u32)(difference & (difference >> 63));
}

/* All bits where bit `slot` of `bits` is set, else none. */
static __always_inline u32 mask_of(u32 bits, u32 slot)
{
	return -(bits >> slot & 1);
}

static __always_inline u32 mask_if_zero(u32 x)
{
	return (u32)(((s64)(u64)x - 1) >> 63);
}

/* a + b in the register of a: clang adds up in that of b, which it has to copy because b is needed again. */
static __always_inline u32 plus(u32 a, u32 b)
{
#ifdef __bpf__
	asm volatile("%0 += %1" : "+w"(a) : "w"(b));
	return a;
#else
	return a + b;
#endif
}

/*
 * A decision on its way through the programs: the word of abi.h, and above it, where policies in audited mode would have
 * decided otherwise (DECISION_SHADOW), what they would: verdict << 24 | code. Bits 62 and 63 stay free for answers that are
 * no decision.
 */
#define DECISION_SHADOW (1ull << 58)

/* A decision of its two halves: as it is, and as it would be with policies in audited mode. */
static __always_inline u64 shadow_join(u32 real, u32 with)
{
	u32 code = with & PAL_CODE_MASK;

	if (real >> 30 == with >> 30)
		return real;
	if (real >> 30 == PAL_ALLOW && with >> 30 == PAL_BLOCK)
		return PAL_WOULD_BLOCK << 30 | (real & (PAL_OPENS_DEVICE | PAL_OPENS_DEVICE_AUDITED)) | code;
	return real | DECISION_SHADOW | (u64)((with >> 30) << 24 | code) << 32;
}

/* What a decision would be with policies in audited mode. */
static __always_inline u32 with_audited(u64 decision)
{
	u32 real = decision;

	if (decision & DECISION_SHADOW)
		return (u32)(decision >> 56 & 3) << 30 | ((u32)(decision >> 32) & PAL_CODE_MASK);
	return real >> 30 == PAL_WOULD_BLOCK ? PAL_BLOCK << 30 | (real & PAL_CODE_MASK) : real;
}

/* Whether the posture speaks in a decision or in its shadow. */
static __always_inline bool names_posture(u64 decision)
{
	return (decision & PAL_CODE_MASK) == PAL_CODE_POSTURE || (decision >> 32 & PAL_CODE_MASK) == PAL_CODE_POSTURE;
}

#define STRICTEST 4

/* Block, would block, audit, would do more than pass, allow: how a decision stands against another of the same access. */
static __always_inline u32 strictness(u64 decision)
{
	u32 verdict = (u32)decision >> 30;

	if (verdict == PAL_ALLOW)
		return decision & DECISION_SHADOW ? 1 : 0;
	if (verdict == PAL_BLOCK)
		return STRICTEST;
	return with_audited(decision) >> 30 == PAL_BLOCK ? 3 : 2;
}

static __always_inline void evaluate(struct evaluation *e, const struct pal_class *c, u32 slot, u32 left_out, u32 best,
				     u32 look)
{
	u32 in = ~mask_of(left_out, slot);
	u32 speaks = mask_of(1 << PAL_SAYS_ALLOW | 1 << PAL_SAYS_BLOCK, best & 3);
	u32 allows = mask_of(1 << PAL_SAYS_ALLOW, look & 3);
	u32 voice = (best & speaks) | (look & allows & ~speaks);

	e->upper = greater(e->upper, voice & in & mask_of(c->upper, slot));
	e->lower = greater(e->lower, voice & in & mask_of(c->lower, slot));
	e->audit = greater(e->audit, best & in & mask_of(1 << PAL_SAYS_AUDIT, best & 3));
	e->missing |= mask_if_zero(best) & in & mask_of(c->allow_list, slot);
}

/* Puts a name behind the path: "//" and the name, where the automaton of multi-call programs looks for it. */
__noinline int place_name(u32 index, u32 which)
{
	struct pal_scratch *s = scratch_at(index);

	if (!s)
		return 0;
	s->path[PATH_END] = '/';
	s->path[PATH_END + 1] = '/';
	return bpf_probe_read_kernel(&s->path[PATH_END + 2], NAME_MAX + 1, s->name[which & 1]);
}

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define SIZED(name) CAT(name, PAL_SIZE)

#define PAL_SIZE s
#define PAL_BITS PAL_BITS_S
#include "table_size.h"
#include "pass_size.h"
#define PAL_SIZE m
#define PAL_BITS PAL_BITS_M
#include "table_size.h"
#include "pass_size.h"
#define PAL_SIZE l
#define PAL_BITS PAL_BITS_L
#include "table_size.h"
#include "pass_size.h"
#define PAL_SIZE x
#define PAL_BITS PAL_BITS_X
#include "table_size.h"
#include "pass_size.h"

/* Calls the function of the size. Every argument is a plain variable. */
#define DISPATCH(name, size, ...)                                                                                     \
	({                                                                                                            \
		u64 _answer;                                                                                          \
		switch (size) {                                                                                       \
		case 0:                                                                                               \
			_answer = name##_s(__VA_ARGS__);                                                              \
			break;                                                                                        \
		case 1:                                                                                               \
			_answer = name##_m(__VA_ARGS__);                                                              \
			break;                                                                                        \
		case 2:                                                                                               \
			_answer = name##_l(__VA_ARGS__);                                                              \
			break;                                                                                        \
		default:                                                                                              \
			_answer = name##_x(__VA_ARGS__);                                                              \
		}                                                                                                     \
		_answer;                                                                                              \
	})

/* The handle of the label's table for one class. */
__noinline u64 table_of(u32 label, u32 class)
{
	for (int try = 0; try < 3; try++) {
		u64 *word = bpf_map_lookup_elem(&pal_labels, &label);
		u64 read, handle;
		u32 size, slot, flags;

		if (!word)
			break;
		/* struct pal_label in one load: size, slot, flags */
		read = READ_ONCE(*word);
		size = read & (PAL_SIZES - 1);
		slot = read >> 16 & (PAL_TABLE_SLOTS - 1);
		flags = read >> 32 & (PAL_LABEL_AUDIT | PAL_LABEL_LIVE);
		if (!(flags & PAL_LABEL_LIVE))
			return HANDLE_UNUSED;
		handle = DISPATCH(open, size, slot, class);
		if (handle != TABLE_GONE)
			return handle | (u64)slot << HANDLE_SLOT | (u64)size << HANDLE_SIZE |
			       (u64)flags << HANDLE_LABEL | (read >> 32 & PAL_LABEL_CACHE ? 1ull << HANDLE_CACHE : 0);
		/* Only if the slot was emptied after the label was read; the label then names another by now. */
	}
	count(PAL_COUNT_NO_TABLE);
	return TABLE_GONE;
}

/* The decision about s->path, or s->row. */
static __always_inline u64 table_judge(u64 handle, u32 index)
{
	u32 slot = handle >> HANDLE_SLOT & (PAL_TABLE_SLOTS - 1);
	u32 size = handle >> HANDLE_SIZE & (PAL_SIZES - 1);
	u32 id = handle;

	return DISPATCH(judge, size, slot, id, index);
}

/* The marks that the path s->path has in a class, or with a slash behind it. */
__noinline u64 table_marks(u64 handle, u32 index, u32 class, u32 below)
{
	u32 slot = handle >> HANDLE_SLOT & (PAL_TABLE_SLOTS - 1);
	u32 size = handle >> HANDLE_SIZE & (PAL_SIZES - 1);
	u32 id = handle, what = class | below << 8;

	return DISPATCH(marks, size, slot, id, index, what);
}

/* The decision of a built-in rule that denies where a mark is set; the second counts audited policies too. */
static __always_inline u64 decide_by_marks(u64 marks, u32 denies, u32 denies_audited, u32 builtin)
{
	if (marks & denies)
		return PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + builtin);
	if (marks & denies_audited)
		return PAL_WOULD_BLOCK << 30 | (PAL_CODE_BUILTIN + builtin);
	return PAL_ALLOW << 30;
}

/* The decision on a new mount at s->path: whether a rule meets it, or may meet something below. */
__noinline u64 table_over_place(u64 handle, u32 index)
{
	u64 here = table_marks(handle, index, PAL_CLASS_PROCESS, 0) | table_marks(handle, index, PAL_CLASS_FILE, 0);
	u64 below = table_marks(handle, index, PAL_CLASS_PROCESS, 1) | table_marks(handle, index, PAL_CLASS_FILE, 1);

	if ((here | below) & TABLE_GONE)
		return TABLE_GONE;
	here &= PAL_PLACE_HERE | PAL_PLACE_HERE_AUDITED;
	below &= PAL_PLACE | PAL_PLACE_AUDITED;
	return decide_by_marks(here | below, PAL_PLACE_HERE | PAL_PLACE, PAL_PLACE_HERE_AUDITED | PAL_PLACE_AUDITED,
			       BUILTIN_MOUNT_INTEGRITY);
}

/* The decision on a directory s->path that moves: whether a rule that can deny may meet something below. */
static __always_inline u64 table_moved(u64 handle, u32 index)
{
	u64 below = table_marks(handle, index, PAL_CLASS_FILE, 1);

	if (below & TABLE_GONE)
		return TABLE_GONE;
	return decide_by_marks(below, PAL_LIVE, PAL_LIVE_AUDITED, BUILTIN_TREE_INTEGRITY);
}

__noinline u64 table_source(u64 handle, u32 index, u32 question)
{
	u32 slot = handle >> HANDLE_SLOT & (PAL_TABLE_SLOTS - 1);
	u32 size = handle >> HANDLE_SIZE & (PAL_SIZES - 1);
	u32 id = handle;

	return DISPATCH(source, size, slot, id, index, question);
}

#endif
