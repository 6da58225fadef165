/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map but the tables (table.h), and the counters.
 */
#ifndef PAL_MAPS_H
#define PAL_MAPS_H

#define __noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/* cgroup v2 id -> label. Also holds the cgroups below a labelled one: see pal_cgroup_mkdir. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAL_CGROUPS);
	__type(key, u64);
	__type(value, u32);
} pal_cgroups SEC(".maps");

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
 * A bit may be 1 without an entry, never 0 with one: it is set before the entry is made and cleared after it is gone.
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

/* Programs are preemptible: two on one CPU may count at once, hence the atomic add. */
static __always_inline void count(u32 counter)
{
	u64 *value = bpf_map_lookup_elem(&pal_counters, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
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
