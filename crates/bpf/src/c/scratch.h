/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Working memory of one access.
 *
 * LSM programs stay on their CPU but can be preempted there, and the next task's program would then overwrite plain
 * per-CPU memory: with it denied files were opened on preemptible kernels. So each CPU has a few slots, and a program
 * takes one by an atomic exchange. A task cannot be killed inside a program, so no slot is ever lost.
 *
 * A plain array, not a per-CPU one, whose look-up is a call on 6.1 and which each function below repeats: 20
 * instructions a time. The exchange makes it right for any number of CPUs; beyond SCRATCH_CPUS they share.
 */
#ifndef PAL_SCRATCH_H
#define PAL_SCRATCH_H

/* Makes the compiler forget what it knows of a number, so that it does not leave out a check that the verifier needs. */
#define FORGET(number) asm volatile("" : "+r"(number))

/* Programs at once on one CPU: each needs the one below it to be preempted inside its hook. */
#define SCRATCH_SLOTS 8
#define SCRATCH_CPUS 64		/* a power of two */

/*
 * A path ends at PATH_END and grows towards the front. Behind it is room for "//" and a name of NAME_MAX bytes, and
 * for the reading ahead of one walk_*() call.
 */
#define PATH_END (PAL_PATH_MAX - 1)
#define PATH_ROOM (PAL_PATH_MAX + 1024)

/*
 * Object and program have 4,095 bytes each at most: arguments begin before DATA_ARGUMENTS. Some may be read a page
 * further on, and a zero is put behind.
 */
#define DATA_ARGUMENTS (2 * PAL_PATH_MAX)
#define DATA_BYTES (2 * DATA_ARGUMENTS)

/* What became of the object's path. */
enum status {
	PATH_OK = 0,
	PATH_INTERNAL = 1,	/* no file: pipe, socket, anonymous inode, memfd */
	PATH_UNRESOLVABLE = 2,
	PATH_MORE = 3,		/* the walk goes on */
	PATH_NONE = 4,		/* the class has no automata; `row` says which row is asked for */
	PATH_DETACHED = 5,	/* in a mount that is attached nowhere */
	PATH_KEY = 6,		/* no path but the key of a network operation (key.h) */
};

/* One evaluation of the composition rule (abi.h): with, or without, the policies in audited mode. */
struct evaluation {
	u32 upper;	/* winners of the tiers: keys, 0 none */
	u32 lower;
	u32 audit;	/* best-ranked Audit */
	u32 missing;	/* not 0: a policy with an allow-list has no voice */
};

struct pal_scratch {
	u32 busy;

	/* The walk. Kernel addresses are kept as numbers: the verifier forgets what they point to when they pass memory. */
	u32 offset;		/* of the path's first byte in path[] */
	u64 start_dentry;
	u64 start_mount;
	u64 dentry;
	u64 mount;
	u64 root;		/* mnt_root of mount */
	u32 rename_seq;
	u32 mount_seq;
	u32 proc;		/* mount is a procfs */
	u32 crossings;		/* super blocks above the first mount's that the walk went on in */
	u64 crossed[2];		/* the first of them */
	u32 split;		/* of the name's first byte in path[], if the directory's states are to be noted; else 0 */
	u32 first;		/* that byte, while a walk stops before it */
	u32 states[CACHE_STATES];

	/* The question. */
	u32 label;
	u64 handle;		/* see table.h */
	u32 class;
	u32 operations;		/* bit per operation of the class */
	u32 source;
	u32 terminal;
	u32 owner;
	u32 status;		/* enum status */
	u32 row;
	u32 end;		/* PAL_KEY_*: whether event.address and event.port are part of the question */
	u32 quiet;		/* judged, not reported */
	u32 device;		/* an open of a block device */
	u32 told;		/* strictness of what was reported of this access by an earlier hook, 0: nothing */
	/* An exec (argv.h). */
	u64 called;		/* address of the name that was executed */
	u64 argv_tables;	/* page tables of the address space that is set up for the program */
	u64 argv_at;		/* argv[0] in it; the other strings follow */
	u32 argv_count;
	u32 argv_end;		/* of those that were gone through, and */
	u32 argv_found;		/* how many that are */
	u32 names;		/* name[] in use: those that the program is invoked by */
	char name[2][256];

	/* Mounts where an object without one may lie (attr.h). */
	u64 super;
	u32 candidates;
	u64 candidate[8];

	/* A composition (table_size.h), not on the stack, which all functions of a call share: 512 bytes. */
	struct evaluation plain;
	struct evaluation with;
	u32 from;		/* word of slot 0, from the start of a vector */

	u64 decision;		/* of one operation */
	u64 strictest;		/* of those so far */

	/* What the automata that accept something lead to. */
	u32 column;
	u32 cell;		/* of the last of them */
	u32 found;
	u32 vectors[PAL_AUTOMATA + 6];	/* room for an index of four bits */

	/* The record as it goes out: the event, then the object, the program, the arguments. */
	struct pal_event event;
	char data[DATA_BYTES];

	char path[PATH_ROOM];
};

_Static_assert(PAL_SCRATCH_SLOTS == SCRATCH_SLOTS * SCRATCH_CPUS, "abi.h tells user space how many there are");
_Static_assert(sizeof(struct pal_event) % 8 == 0, "data follows the event without a gap");
_Static_assert(__builtin_offsetof(struct pal_scratch, data) ==
		       __builtin_offsetof(struct pal_scratch, event) + sizeof(struct pal_event),
	       "one output call writes event and data");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_SCRATCH_SLOTS);
	__type(key, u32);
	__type(value, struct pal_scratch);
} pal_slots SEC(".maps");

/*
 * Number of slots - 1, a power of two - 1. User space may lower it before loading, together with the map's
 * max_entries, to 8 slots for each CPU there is (22 KiB a slot).
 */
const volatile u32 pal_slots_mask = SCRATCH_SLOTS * SCRATCH_CPUS - 1;

static __always_inline struct pal_scratch *scratch_at(u32 index)
{
	return bpf_map_lookup_elem(&pal_slots, &index);
}

/* The index of another slot, if the first of this CPU is taken; -1 if all are. */
__noinline int scratch_take_other(void)
{
	u32 first = bpf_get_smp_processor_id() * SCRATCH_SLOTS;

	for (u32 i = 1; i < SCRATCH_SLOTS; i++) {
		u32 index = (first + i) & pal_slots_mask;
		struct pal_scratch *s = scratch_at(index);

		if (s && !__sync_lock_test_and_set(&s->busy, 1))
			return index;
	}
	count(PAL_COUNT_NO_SLOT);
	return -1;
}

/*
 * A free slot, and its index; NULL if there is none. The index is a number that the verifier does not know: known
 * ones would have the rest of the program verified once for each.
 */
static __always_inline struct pal_scratch *scratch_take(u32 *index)
{
	u32 first = (bpf_get_smp_processor_id() * SCRATCH_SLOTS) & pal_slots_mask;
	struct pal_scratch *s = scratch_at(first);
	int other;

	*index = first;
	if (!closed(CLOSER_SLOTS))
		return s;
	if (s && !__sync_lock_test_and_set(&s->busy, 1))
		return s;
	other = scratch_take_other();
	if (other < 0)
		return NULL;
	*index = other;
	return scratch_at(other);
}

static __always_inline void scratch_give_back(struct pal_scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

#endif
