/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map but the tables (table.h), and the counters.
 */
#ifndef PAL_MAPS_H
#define PAL_MAPS_H

#define __noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

#include "controls.h"

/* cgroup v2 id -> label. Also holds the cgroups below a labelled one: see pal_cgroup_mkdir. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAL_CGROUPS);
	__type(key, u64);
	__type(value, u32);
} pal_cgroups SEC(".maps");

/*
 * Not 0 if pal_cgroups may hold an id with these low bits: spares a task of no workload the hash look-up, which costs
 * as much as all the rest that is done for it. Set before the id is put in and never taken back, so that nobody has to
 * know who else shares an entry; ids are handed out in sequence, so it takes as many labelled cgroups as there are
 * entries until it spares nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_CGROUP_HINTS);
	__type(key, u32);
	__type(value, u32);
} pal_cgroup_hints SEC(".maps");

/*
 * Labelled threads. A preallocated hash, because its look-ups take no lock and cannot fail: a look-up in task storage
 * returns nothing under contention on a preemptible 6.1, and denied files were opened that way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAL_TASKS);
	__type(key, u32);
	__type(value, struct pal_task);
} pal_tasks SEC(".maps");

/*
 * One bit per thread id: 0 means that pal_tasks has no entry. Spares every other task of the host the hash look-up.
 * A bit may be 1 without an entry, never 0 with one: it is set before the entry is made and cleared after it is gone. A
 * thread that finds its own bit set and no entry is one whose label could not be stored (task_current).
 */
struct pal_tids {
	u64 bits[PAL_TIDS / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pal_tids);
} pal_tids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pal_state);
} pal_state SEC(".maps");

/* The cgroup whose running tasks pal_label_tasks labels. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} pal_iter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_LABELS);
	__type(key, u32);
	__type(value, struct pal_label);
} pal_labels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pal_owns);
} pal_own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAL_LINKS);
	__type(key, u32);
	__type(value, u32);
} pal_links SEC(".maps");

/* 8 MiB unless user space sets another size before it loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} pal_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PAL_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} pal_counters SEC(".maps");

/* PAL_COUNT_JUDGED, by slot: hardly ever shared, and the look-up is no call, unlike that of a per-CPU array. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_SCRATCH_SLOTS);
	__type(key, u32);
	__type(value, u64);
} pal_judged SEC(".maps");

/* Programs are preemptible: two on one CPU may count at once, hence the atomic add. */
static __always_inline void count(u32 counter)
{
	u64 *value = bpf_map_lookup_elem(&pal_counters, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/* The label of a cgroup, NULL if it has none. */
static __always_inline u32 *cgroup_label(u64 id)
{
	u32 bucket = id & (PAL_CGROUP_HINTS - 1), *hint = bpf_map_lookup_elem(&pal_cgroup_hints, &bucket);

	if (!hint || !READ_ONCE(*hint))
		return NULL;
	return bpf_map_lookup_elem(&pal_cgroups, &id);
}

/* Stores it. 0, or an error. */
static __always_inline long cgroup_set_label(u64 id, u32 label)
{
	u32 bucket = id & (PAL_CGROUP_HINTS - 1), *hint = bpf_map_lookup_elem(&pal_cgroup_hints, &bucket);

	if (!hint)
		return -1;
	*(volatile u32 *)hint = 1;
	return bpf_map_update_elem(&pal_cgroups, &id, &label, BPF_ANY);
}

/* The entry of a task that must have one already: in functions that cannot be handed it. */
static __always_inline struct pal_task *task_own(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&pal_tasks, &tid);
}

/*
 * What a hook returns. From 6.12 on the verifier wants to see a value of [-4095, 0]; clang turns a plain
 * `refused ? -EACCES : 0` into a negation, whose range it cannot see: the barrier keeps the two constants.
 */
static __always_inline int answer(int refused, int error)
{
	asm volatile("" : "+r"(refused));
	if (!refused)
		return 0;
	return error == EPERM ? -EPERM : error == EAGAIN ? -EAGAIN : -EACCES;
}

#endif
