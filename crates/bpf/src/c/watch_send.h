/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What was seen, as a record. The caller has set operation, code, access, object_kind and, where it has one, the path.
 */
#ifndef PAL_WATCH_SEND_H
#define PAL_WATCH_SEND_H

/* s->argv_count: where the name at s->called lies. */
#define NAME_OF_PROGRAM 0u
#define NAME_OF_KERNEL 1u
#define NAME_OF_LENGTH 2u	/* in the program's memory, s->argv_end bytes at most, perhaps without a zero */

#define SUN_PATH 108u

/* An argument of the call, counted from 1. */
static __always_inline u64 argument(const struct pal_scratch *s, u32 number)
{
	/* number <= 6 */
	return s->candidate[number & 7];
}

static __always_inline void walk(struct pal_scratch *s, u32 index, const void *dentry, const void *mount)
{
	s->start_dentry = (u64)dentry;
	s->start_mount = (u64)mount;
	s->status = path_again(index);
}

static __always_inline void walk_memfd(struct pal_scratch *s, u32 index)
{
	s->status = path_memfd(index);
	if (s->status == PATH_OK)
		s->event.object_kind = PAL_OBJECT_MEMFD;
}

/* The walked path, to s->data[at]; its bytes. */
static __always_inline u32 put_path(struct pal_scratch *s, u32 at)
{
	u32 length = (PATH_END - s->offset) & (PAL_PATH_MAX - 1);

	/* at <= 4,095 and length <= 4,095 */
	if (bpf_probe_read_kernel(&s->data[at & (PAL_PATH_MAX - 1)], length, &s->path[s->offset & (PAL_PATH_MAX - 1)]))
		return 0;
	return length;
}

/* The path of the current program, to s->data[at]; 0 bytes if it cannot be told. Overwrites s->path. */
__noinline int put_program(u32 index, u32 at)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_scratch *s = scratch_at(index);
	struct file *exe = BPF_CORE_READ(current, mm, exe_file);
	u32 status;

	if (!s || !exe)
		return 0;
	s->start_dentry = (u64)BPF_CORE_READ(exe, f_path.dentry);
	s->start_mount = (u64)BPF_CORE_READ(exe, f_path.mnt);
	status = path_again(index);
	if (status == PATH_INTERNAL)
		status = path_memfd(index);
	return status == PATH_OK ? put_path(s, at) : 0;
}

/* The name at s->called, to s->data[at]; its bytes without a zero, or -1 if it cannot be read. */
__noinline int put_name(u32 index, u32 at)
{
	struct pal_scratch *s = scratch_at(index);
	void *from;
	long length;
	char *to;

	if (!s)
		return -1;
	from = (void *)s->called;
	to = &s->data[at & (2 * PAL_PATH_MAX - 1)];
	if (s->argv_count == NAME_OF_KERNEL) {
		length = bpf_probe_read_kernel_str(to, PAL_PATH_MAX, from);
	} else if (s->argv_count == NAME_OF_LENGTH) {
		u32 most = s->argv_end;

		if (most > SUN_PATH)
			most = SUN_PATH;
		FORGET(most);
		if (most > SUN_PATH || bpf_probe_read_user(to, most, from))
			return -1;
		to[most] = 0;
		/* The string ends where the first zero stands. */
		return bpf_probe_read_kernel_str(s->path, SUN_PATH + 1, to) - 1;
	} else {
		length = bpf_probe_read_user_str(to, PAL_PATH_MAX, from);
	}
	return length > 0 ? length - 1 : -1;
}

static __always_inline u32 class_of(u32 operation)
{
	switch (operation) {
	case PAL_OP_EXEC:
	case PAL_OP_MAP_EXEC:
		return PAL_CLASS_PROCESS;
	case PAL_OP_SOCKET:
	case PAL_OP_CONNECT:
	case PAL_OP_SEND:
	case PAL_OP_BIND:
	case PAL_OP_LISTEN:
	case PAL_OP_ACCEPT:
		return PAL_CLASS_NETWORK;
	case PAL_OP_CAPABILITY:
		return PAL_CLASS_CAPABILITY;
	}
	return PAL_CLASS_FILE;
}

/* Sends the record, as of the thread `tid`. */
__noinline int send_as(u32 index, u32 tid)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_scratch *s = scratch_at(index);
	u32 object = 0, program, size;
	struct pal_event *e;
	int name = 0;

	if (!s)
		return 0;
	e = &s->event;
	if (s->status == PATH_INTERNAL)
		return 0;
	if (s->status == PATH_OK)
		object = put_path(s, 0);
	else if (s->status != PATH_NONE)
		e->object_kind = PAL_OBJECT_UNRESOLVABLE;
	FORGET(object);
	object &= PAL_PATH_MAX - 1;
	program = put_program(index, object);
	FORGET(program);
	program &= PAL_PATH_MAX - 1;
	size = object + program;
	if (s->called) {
		name = put_name(index, size);
		if (name < 0) {
			count(PAL_TALLY_UNREADABLE);
			return 0;
		}
	}
	e->abi = PAL_ABI_VERSION;
	e->table_id = 0;
	e->generation = 0;
	e->time_ns = bpf_ktime_get_boot_ns();
	e->number = 0;
	e->cgroup = bpf_get_current_cgroup_id();
	e->cpu = bpf_get_smp_processor_id();
	e->label = 0;
	e->tgid = current->tgid;
	e->tid = tid;
	e->ppid = current->real_parent->tgid;
	e->uid = current->cred->uid.val;
	e->error = 0;
	e->class = class_of(e->operation);
	e->verdict = PAL_AUDIT;
	e->terminal = 0;
	e->flags = 0;
	e->shadow = 0;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	if (s->end != PAL_KEY_NONE)
		e->object_kind = s->end & 1 ? PAL_OBJECT_ENDPOINT4 : PAL_OBJECT_ENDPOINT6;
	e->object_len = object;
	e->program_len = program;
	FORGET(name);
	name &= PAL_PATH_MAX - 1;
	e->arguments_len = name;
	if (bpf_ringbuf_output(&pal_events, e, sizeof(*e) + size + name, 0))
		count(PAL_COUNT_EVENTS_LOST);
	else
		count(PAL_COUNT_EVENTS);
	return 0;
}

/* What a function that looks at a call answers: the caller sends, as the kernel's stack of frames has eight. */
#define SEEN_NOTHING 0
#define SEEN 1
#define SEEN_TWICE 2	/* bound to `::`, and to 0.0.0.0 as well */

#endif
