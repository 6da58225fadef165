/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of the watching programs, and what path.h and scratch.h ask for: see maps.h for those that enforce.
 */
#ifndef PAL_WATCH_MAPS_H
#define PAL_WATCH_MAPS_H

#define __noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/* Nothing here closes anything: an object in a detached mount is none that can be named. */
#define closed(closer) true

/* Nothing is kept of directories: the room that scratch.h has for it is not used. */
#define CACHE_STATES 1

#define CGROUP_LEVELS 32

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} pal_watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_CALL_NUMBERS * PAL_CALL_FACES);
	__type(key, u32);
	__type(value, struct pal_call);
} pal_calls SEC(".maps");

/* 8 MiB unless user space sets another size before it loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} pal_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAL_TALLIES);
	__type(key, u32);
	__type(value, u64);
} pal_tallies SEC(".maps");

static __always_inline void count(u32 counter)
{
	u64 *value = bpf_map_lookup_elem(&pal_tallies, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/* No task has an entry: the mount namespace where its workload began is not noted. */
static __always_inline struct pal_task *task_own(void)
{
	return NULL;
}

/* Whether the current task is in the run's cgroup, or in one below it. */
static __always_inline bool is_watched(void)
{
	struct task_struct *current = bpf_get_current_task_btf();
	u32 zero = 0;
	u64 id, *run = bpf_map_lookup_elem(&pal_watched, &zero);

	if (!run || !*run || !current->mm)
		return false;
	if (bpf_get_current_cgroup_id() == *run)
		return true;
	for (int level = 1; level < CGROUP_LEVELS; level++) {
		id = bpf_get_current_ancestor_cgroup_id(level);
		if (!id || id == *run)
			return id;
	}
	return false;
}

#endif
