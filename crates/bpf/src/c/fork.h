/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Labels through the life of tasks and cgroups: fork, exec by a thread, exit, new cgroups, tasks that run already.
 *
 * Thread ids are the keys, and one thing moves them: when a thread that is not the leader execs, it takes over the
 * leader's id. So the leader's entry stays until its whole thread group has ended, even where the leader itself has
 * exited, and the id that the thread gives up is cleaned when the exec is done.
 */
#ifndef PAL_FORK_H
#define PAL_FORK_H

/* Forks refused before the map is full: what may be under way on other CPUs, between here and pal_task_newtask. */
#define TASKS_SPARE 1024

/* The last point where a fork can still be refused. */
SEC("lsm/task_alloc")
int BPF_PROG(pal_task_alloc, struct task_struct *child, unsigned long clone_flags)
{
	struct pal_state *counts = state();
	struct pal_task *task;
	int found = task_current(&task);

	if (!found || !counts)
		return 0;
	if (found > 0) {
		if (READ_ONCE(counts->labelled) < PAL_TASKS - TASKS_SPARE)
			return 0;
		count(PAL_COUNT_TASK_FULL);
	}
	return answer(1, EAGAIN);
}

/* Gives a child what the current task has, which forks it. The child has its ids and does not run yet. */
static __always_inline void task_inherit(struct task_struct *child)
{
	u32 tid = child->pid;
	struct pal_task *task, copy;
	int found = task_current(&task);

	if (found <= 0) {
		/* An entry would be of an earlier thread with this id, whose end we missed. */
		task_forget(tid);
		if (found < 0)
			tid_mark(tid);
		return;
	}
	copy = *task;
	copy.script = PAL_SCRIPT_NONE;
	copy.self = (u64)child;
	copy.write_mount = 0;
	copy.entering = 0;
	copy.socket_mount = 0;
	copy.socket_dentry = 0;
	copy.created = 0;
	task_store(tid, &copy, true);
}

SEC("tp_btf/task_newtask")
int BPF_PROG(pal_task_newtask, struct task_struct *child, u64 clone_flags)
{
	task_inherit(child);
	return 0;
}

/*
 * The same a second time, still before the child runs: for one that pal_task_newtask left without an entry, because
 * storing it failed or because the kernel did not call the program (recursion_misses).
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(pal_task_forked, struct task_struct *parent, struct task_struct *child)
{
	struct pal_task *entry = task_find(child->pid);

	if (!entry || entry->self != (u64)child)
		task_inherit(child);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(pal_task_exit, struct task_struct *task)
{
	u32 tid = task->pid, tgid = task->tgid;

	if (tid != tgid)
		task_forget(tid);
	/* `live` no longer counts this thread */
	if (task->signal->live.counter <= 0)
		task_forget(tgid);
	return 0;
}

/*
 * The second chance of pal_task_exit, once nothing can run as the task any more: for an entry that is still there, and
 * still this task's. An LSM program, which the kernel (6.2 and later) leaves out for no reason.
 */
SEC("lsm/task_free")
int BPF_PROG(pal_task_free, struct task_struct *task)
{
	u32 tid = task->pid;
	struct pal_task *entry = task_find(tid);

	if (entry && entry->self == (u64)task)
		task_forget(tid);
	return 0;
}

/* An exec has succeeded; old_tid differs from the task's id if it was a thread's. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(pal_task_execed, struct task_struct *task, int old_tid)
{
	u32 old = old_tid;
	struct pal_task *entry;

	if (old == (u32)task->pid)
		return 0;
	entry = task_find(old);
	/* The id is free by now; if another thread has it already, the entry is that one's. */
	if (entry && entry->self == (u64)task)
		task_forget(old);
	return 0;
}

static __always_inline bool is_cgroup_v2(struct cgroup *cgroup)
{
	/* The v2 tree is hierarchy 0 ("0::" in /proc/PID/cgroup); ids of v1 trees are numbered apart and may equal its. */
	return !cgroup->root->hierarchy_id;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(pal_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	u64 above = cgroup->self.parent->cgroup->kn->id, id = cgroup->kn->id;
	u32 *label, copy;

	if (!is_cgroup_v2(cgroup) || !closed(CLOSER_CGROUP))
		return 0;
	label = cgroup_label(above);
	if (!label)
		return 0;
	copy = *label;
	for (int try = 0; try < 8; try++)
		if (!cgroup_set_label(id, copy))
			return 0;
	count(PAL_COUNT_CGROUP_FAILED);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(pal_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	u64 id = cgroup->kn->id;

	if (is_cgroup_v2(cgroup))
		bpf_map_delete_elem(&pal_cgroups, &id);
	return 0;
}

/* Levels of cgroups above a task that are looked at. */
#define CGROUP_LEVELS 32

/*
 * Labels the threads that already run in the cgroup pal_iter[0], or below it, with that cgroup's label.
 * Reads as one line per thread that could not be labelled, its id and the error; user space runs it after it has
 * labelled a cgroup, from the initial pid namespace, until it reads empty.
 */
SEC("iter/task")
int pal_label_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct pal_task entry = {};
	struct cgroup *cgroup;
	u32 zero = 0, *label;
	u64 wanted, *iter = bpf_map_lookup_elem(&pal_iter, &zero);
	int error;

	if (!task || !iter || task->flags & (PF_KTHREAD | PF_EXITING))
		return 0;
	wanted = *iter;
	cgroup = task->cgroups->dfl_cgrp;
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		struct cgroup_subsys_state *parent;

		if (cgroup->kn->id == wanted)
			goto found;
		parent = cgroup->self.parent;
		if (!parent)
			return 0;
		cgroup = parent->cgroup;
	}
	return 0;
found:
	label = cgroup_label(wanted);
	if (!label || !*label)
		return 0;
	task_fill(&entry, task, *label);
	task_set_home(&entry, task);
	namespace_note(entry.label, entry.home);
	error = task_store(task->pid, &entry, false);
	if (error) {
		/* User space undoes what it began if this stays so: nothing may say then that the thread is labelled. */
		tid_unmark(task->pid);
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\n", task->pid, error);
	}
	return 0;
}

#endif
