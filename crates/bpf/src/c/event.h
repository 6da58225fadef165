/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Telling user space what was decided. Only for what is not silently allowed, so nothing here is hurried.
 */
#ifndef PAL_EVENT_H
#define PAL_EVENT_H

/*
 * The path of the acting program, behind the object in s->data: 0 bytes if it cannot be told, or if the task has
 * exchanged its exe_file without an exec (prctl PR_SET_MM_EXE_FILE). Overwrites s->path;
 * path_again() brings the object back.
 */
static __always_inline u32 event_program(struct pal_scratch *s, u32 index, u32 at)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct file *exe = current->mm->exe_file;
	u64 dentry = s->start_dentry, mount = s->start_mount;
	struct pal_task *task = task_own();
	int status;
	u32 len;

	if (!task || !is_program_of(task, exe->f_inode))
		return 0;
	s->start_dentry = (u64)exe->f_path.dentry;
	s->start_mount = (u64)exe->f_path.mnt;
	status = path_again(index);
	if (status == PATH_INTERNAL)
		status = path_memfd(index);
	s->start_dentry = dentry;
	s->start_mount = mount;
	if (status != PATH_OK)
		return 0;
	len = (PATH_END - s->offset) & (PAL_PATH_MAX - 1);
	/* at <= 4,095 and len <= 4,095: the end is below sizeof(data) = 8,192 */
	if (bpf_probe_read_kernel(&s->data[at & (PAL_PATH_MAX - 1)], len, &s->path[s->offset & (PAL_PATH_MAX - 1)]))
		return 0;
	return len;
}

/* Fills in the rest of s->event and sends it. The caller has set class, operation, access, verdict, code, error. */
__noinline int event_send(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	struct task_struct *current = bpf_get_current_task_btf();
	u32 counter, object = 0, program, arguments = 0, size;
	struct pal_event *e;
	u64 *number;

	if (!s)
		return 0;
	e = &s->event;
	e->abi = PAL_ABI_VERSION;
	e->table_id = s->handle;
	e->generation = table_source(s->handle, index, TABLE_GENERATION);
	e->time_ns = bpf_ktime_get_boot_ns();
	e->cgroup = bpf_get_current_cgroup_id();
	e->cpu = bpf_get_smp_processor_id();
	e->label = s->label;
	e->tgid = current->tgid;
	e->tid = current->pid;
	e->ppid = current->real_parent->tgid;
	e->uid = current->cred->uid.val;
	e->terminal = s->terminal;
	bpf_get_current_comm(e->comm, sizeof(e->comm));

	if (s->status == PATH_OK) {
		object = (PATH_END - s->offset) & (PAL_PATH_MAX - 1);
		if (bpf_probe_read_kernel(s->data, object, &s->path[s->offset & (PAL_PATH_MAX - 1)]))
			object = 0;
	}
	program = event_program(s, index, object);
	e->object_len = object;
	e->program_len = program;
	size = (object & (PAL_PATH_MAX - 1)) + (program & (PAL_PATH_MAX - 1));
	if (e->operation == PAL_OP_EXEC) {
		arguments = argv_arguments(index, size);
		FORGET(arguments);
		if (arguments & ARGUMENTS_CUT)
			e->flags |= PAL_EVENT_ARGUMENTS_CUT;
		arguments &= ARGUMENTS_CUT - 1;
	}
	e->arguments_len = arguments;

	/* Counted before the ring is tried, so that a lost record leaves a gap in the numbers. */
	counter = PAL_COUNT_NUMBERS;
	number = bpf_map_lookup_elem(&pal_counters, &counter);
	if (number)
		e->number = __sync_fetch_and_add(number, 1) + 1;
	if (arguments <= PAL_ARGUMENTS_MAX)
		size += arguments;
	if (bpf_ringbuf_output(&pal_events, e, sizeof(*e) + size, 0))
		count(PAL_COUNT_EVENTS_LOST);
	else
		count(PAL_COUNT_EVENTS);
	return 0;
}

#endif
