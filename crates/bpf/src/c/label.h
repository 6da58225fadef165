/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which workload a task belongs to.
 *
 * A thread has a label if pal_tasks says so; else the label of its own cgroup, which it then keeps whatever cgroup it
 * moves to. Children inherit it (fork.h). So a label, once given, is never shed.
 */
#ifndef PAL_LABEL_H
#define PAL_LABEL_H

static __always_inline struct pal_state *state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&pal_state, &zero);
}

/* The word of pal_tids that holds the thread's bit. */
static __always_inline u64 *tid_word(u32 tid)
{
	u32 zero = 0;
	struct pal_tids *tids = bpf_map_lookup_elem(&pal_tids, &zero);

	/* tid < PAL_TIDS = 2^22 in every kernel, so the mask changes nothing */
	return tids ? &tids->bits[tid >> 6 & (PAL_TIDS / 64 - 1)] : NULL;
}

static __always_inline bool tid_may_be_labelled(u32 tid)
{
	u64 *word = tid_word(tid);

	return word && READ_ONCE(*word) >> (tid & 63) & 1;
}

static __always_inline void tid_mark(u32 tid)
{
	u64 *word = tid_word(tid);

	if (word)
		__sync_fetch_and_or(word, 1ull << (tid & 63));
}

static __always_inline void tid_unmark(u32 tid)
{
	u64 *word = tid_word(tid);

	if (word)
		__sync_fetch_and_and(word, ~(1ull << (tid & 63)));
}

/* The thread's own entry, NULL if it has none. */
static __always_inline struct pal_task *task_find(u32 tid)
{
	return tid_may_be_labelled(tid) ? bpf_map_lookup_elem(&pal_tasks, &tid) : NULL;
}

/*
 * Stores an entry; `replace` if one may be there that counts no more. Tried again because an update of a hash fails
 * with EBUSY when it interrupts another one in the same bucket on this CPU. 0, or the error: counted.
 */
static __always_inline int task_store(u32 tid, const struct pal_task *task, bool replace)
{
	struct pal_state *counts = state();
	int error = -1;	/* not long, as the helper is declared: before 6.4 only the lower half is the error */

	if (!counts)
		return -1;
	tid_mark(tid);
	for (int try = 0; try < 8; try++) {
		error = bpf_map_update_elem(&pal_tasks, &tid, task, BPF_NOEXIST);
		if (!error) {
			__sync_fetch_and_add(&counts->labelled, 1);
			return 0;
		}
		if (error == -EEXIST && (!replace || !bpf_map_update_elem(&pal_tasks, &tid, task, BPF_ANY)))
			return 0;
	}
	count(PAL_COUNT_TASK_FAILED);
	return error;
}

/* Removes an entry, where one is. The bit goes last: to others than its thread a bit without an entry is harmless. */
static __always_inline void task_forget(u32 tid)
{
	struct pal_state *counts = state();

	if (!counts || !tid_may_be_labelled(tid))
		return;
	for (int try = 0; try < 8; try++) {
		if (!bpf_map_lookup_elem(&pal_tasks, &tid))
			break;
		if (!bpf_map_delete_elem(&pal_tasks, &tid)) {
			__sync_fetch_and_add(&counts->labelled, -1ull);
			break;
		}
	}
	tid_unmark(tid);
}

struct loader_name {
	char name[64];
	bool is_loader;
};

/* Whether ".so" stands at i + 3. With bpf_loop(): every program has this in it, and a loop was a tenth of its verification. */
static long loader_step(u32 i, struct loader_name *l)
{
	u32 at = (i + 3) & 63;

	if (at > 60)
		return 1;
	l->is_loader = l->name[at] == '.' && l->name[at + 1] == 's' && l->name[at + 2] == 'o';
	return l->is_loader;
}

/* Whether a program of this name is a dynamic loader: ld-*.so*, ld.so*, ld-musl-*. */
static __always_inline bool is_loader(struct dentry *dentry)
{
	struct loader_name l = {};
	const char *name = l.name;

	if (bpf_probe_read_kernel_str(l.name, sizeof(l.name), dentry->d_name.name) < 0)
		return true;
	if (name[0] != 'l' || name[1] != 'd')
		return false;
	if (name[2] == '.')
		return name[3] == 's' && name[4] == 'o';
	if (name[2] != '-')
		return false;
	if (name[3] == 'm' && name[4] == 'u' && name[5] == 's' && name[6] == 'l' && name[7] == '-')
		return true;
	/* A name that begins like a loader's and does not end in 63 bytes is taken for one. */
	if (name[62])
		return true;
	bpf_loop(57, loader_step, &l, 0);
	return l.is_loader;
}

/* The program of a task as the kernel knows it now: identity and loader flag. Its source class is found when needed. */
static __always_inline void task_set_program(struct pal_task *task, struct file *exe)
{
	struct inode *inode = exe->f_inode;

	task->exe_inode = inode->i_ino;
	task->exe_dev = inode->i_sb->s_dev;
	task->exe_birth = inode->i_generation;
	task->flags &= ~(PAL_TASK_LOADER | PAL_TASK_SOURCE_SET);
	if (is_loader(exe->f_path.dentry))
		task->flags |= PAL_TASK_LOADER;
}

static __always_inline bool is_program_of(const struct pal_task *task, struct inode *inode)
{
	return task->exe_inode == inode->i_ino && task->exe_birth == inode->i_generation &&
	       task->exe_dev == inode->i_sb->s_dev;
}

/*
 * The mount namespace that the task's workload began in: its own at its first exec with a label, inherited from then
 * on. Not at labelling, when a container runtime may still stand in the host's.
 */
static __always_inline void task_set_home(struct pal_task *task, struct task_struct *from)
{
	if (task->home)
		return;
	task->home = (u64)from->nsproxy->mnt_ns;
	task->home_root = (u64)from->nsproxy->mnt_ns->root;
}

static __always_inline void task_fill(struct pal_task *task, struct task_struct *from, u32 label)
{
	task->label = label;
	task->handle = 0;
	task->script = PAL_SCRIPT_NONE;
	task->self = (u64)from;
	if (from->signal->tty)
		task->flags |= PAL_TASK_TERMINAL;
	task_set_program(task, from->mm->exe_file);
}

/*
 * Labels the current task, found by its cgroup. Its thread group's leader too: a thread that execs takes over the
 * leader's id (see fork.h). 0, or -1: counted.
 */
__noinline int task_enter(u32 label)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task task = {};
	u32 tid = current->pid, tgid = current->tgid;
	int failed;

	task_fill(&task, current, label);
	failed = task_store(tid, &task, false);
	if (tid != tgid) {
		task.self = (u64)current->group_leader;
		failed |= task_store(tgid, &task, false);
	}
	return failed;
}

/*
 * The entry of the current task. 1: *task is it; 0: it belongs to no workload; -1: it does, but the label could not be
 * stored, and the access is refused. A thread whose bit says that it has an entry, and that has none, is one whose
 * label was lost on the way: it is not free for having left its cgroup.
 */
static __always_inline int task_current(struct pal_task **task)
{
	u32 tid = bpf_get_current_pid_tgid(), *label;

	/* The branch of the bit holds all that a task of no workload need not be asked. */
	if (tid_may_be_labelled(tid)) {
		*task = bpf_map_lookup_elem(&pal_tasks, &tid);
		if (*task && closed(CLOSER_LABEL))
			return 1;
		label = cgroup_label(bpf_get_current_cgroup_id());
		if (*task)
			return label ? 1 : 0;
		if (!label || !*label) {
			count(PAL_COUNT_LABEL_LOST);
			return -1;
		}
	} else {
		label = cgroup_label(bpf_get_current_cgroup_id());
		if (!label || !*label)
			return 0;
	}
	if (task_enter(*label))
		return -1;
	*task = bpf_map_lookup_elem(&pal_tasks, &tid);
	return *task ? 1 : -1;
}

#endif
