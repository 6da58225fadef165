/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Switches that open single closers, for the control build of the bypass suite and of the races (-DPAL_TEST_CONTROLS) and
 * for nothing else: what is denied must get through once its closer is open, or its test would pass whatever we did.
 * In the product closed() is the constant true, and the map does not exist.
 */
#ifndef PAL_CONTROLS_H
#define PAL_CONTROLS_H

/* Bits of pal_test_off[0]. */
enum closer {
	CLOSER_OPEN = 0,	/* file_open judges */
	CLOSER_CHANGE = 1,	/* path_* and attribute hooks judge */
	CLOSER_LINK = 2,
	CLOSER_LIVE = 3,	/* tree-integrity */
	CLOSER_DETACHED = 4,
	CLOSER_LABEL = 5,	/* a label is kept outside of its cgroup */
	CLOSER_CGROUP = 6,	/* a new cgroup inherits */
	CLOSER_EXEC = 7,
	CLOSER_MAP = 8,
	CLOSER_ATTACH = 9,
	CLOSER_TRACED = 10,	/* an exec under a tracer */
	CLOSER_SELF = 11,
	CLOSER_DEVICE = 12,
	CLOSER_EXE = 13,	/* the program is that of the exec */
	CLOSER_UNIX = 14,
	CLOSER_SLOTS = 15,	/* working memory is nobody else's meanwhile, and not the CPU's */
	CLOSER_MOUNTS = 16,	/* and following: by operation, from PAL_OP_MOUNT on */
};

#ifdef PAL_TEST_CONTROLS
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} pal_test_off SEC(".maps");

static __always_inline bool closed(u32 closer)
{
	u32 zero = 0;
	u64 *off = bpf_map_lookup_elem(&pal_test_off, &zero);

	return !off || !(*off >> (closer & 63) & 1);
}
#else
#define closed(closer) true
#endif

#endif
