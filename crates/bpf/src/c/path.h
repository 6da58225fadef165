/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The path of an object: from its dentry upwards, through the mounts, to the root of the acting task's mount namespace.
 *
 * Not bpf_d_path(), which stops at the task's own root: a chroot(2) would then rename every file of the workload.
 *
 *   path_of()     typed loads inside the first mount (20 instructions a field less than a probe read), then
 *   path_climb()  probe reads from wherever that stopped,
 *   path_again()  the whole path by probe reads, when the tree changed under the first attempt.
 *
 * The path is right if neither rename_lock nor mount_lock was written while it was read: every change of a name, a
 * parent or a mount happens inside one of the two.
 */
#ifndef PAL_PATH_H
#define PAL_PATH_H

/* Components by typed loads. 64 cover every ordinary path; what is deeper goes on in path_climb(). */
#define STEPS_DIRECT 64
/* Steps of path_climb(): a path of 4,095 bytes can have 2,047 components; the rest is for mounts. */
#define STEPS_CLIMB 2304
/*
 * Walks that may meet a change before the path counts as unresolvable, which refuses the access. On a virtual machine that
 * gets half of its processors a walk is as often interrupted as not while others rename and mount all the time: of 50,110
 * opens one was wrongly refused after 8.
 */
#define TRIES 64
/*
 * Polls for a change in progress to end, some 10 ms: its CPU may itself be descheduled by a hypervisor inside the locked
 * part. The kernel's own readers of these locks wait without a limit.
 */
#define POLLS (1 << 18)

/*
 * Kernel variables without a BTF entry: an address to read from. Kernels that list functions alone
 * (CONFIG_KALLSYMS_ALL=n) do not tell it: then nothing that denies is loaded, and what watches goes without.
 */
#ifdef PATH_LOCKS_MAY_LACK
extern const void rename_lock __ksym __weak;
extern const void mount_lock __ksym __weak;
#else
extern const void rename_lock __ksym;
extern const void mount_lock __ksym;
#endif

#define MNT_NS_INTERNAL ((u64)(s64)-EINVAL)

/* The sequence number of a seqlock_t, which begins with it. Odd: being written, or not readable. */
static __always_inline u32 sequence_of(const void *seqlock)
{
	u32 sequence;

#ifdef PATH_LOCKS_MAY_LACK
	if (!seqlock)
		return 0;
#endif
	if (bpf_probe_read_kernel(&sequence, sizeof(sequence), seqlock))
		return 1;
	return sequence;
}

/* The field at `from`, or leaves the function: nothing is told of an object that cannot be read. */
#define FETCH(to, from)                                                                                               \
	do {                                                                                                          \
		if (bpf_core_read(&(to), sizeof(to), &(from)))                                                        \
			return PATH_UNRESOLVABLE;                                                                     \
	} while (0)

/* The number of a mount namespace, 0 if it cannot be read. */
static __always_inline u64 namespace_number(u64 namespace)
{
	u64 number = 0;

	if (bpf_core_field_exists(struct mnt_namespace___seq, seq))
		bpf_core_read(&number, sizeof(number), &((struct mnt_namespace___seq *)namespace)->seq);
	else
		bpf_core_read(&number, sizeof(number), &((struct mnt_namespace___common *)namespace)->ns.ns_id);
	return number;
}

/* Whether a mount of this namespace is attached nowhere: unmounted, or in the namespace of a detached tree alone. */
static __always_inline bool is_detached(u64 namespace)
{
	bool anonymous = false;

	if (!namespace)
		return true;
	if (bpf_core_field_exists(struct mnt_namespace___anon, is_anon)) {
		bpf_core_read(&anonymous, sizeof(anonymous), &((struct mnt_namespace___anon *)namespace)->is_anon);
		return anonymous;
	}
	return !namespace_number(namespace);
}

/*
 * The end of a walk: the root of a mount without a parent, or a dentry without one that is no mount's root. PATH_OK if
 * it is the root of the task's mount namespace, or of the one that the task's workload began in (a workload may
 * unshare(2) and still hold descriptors, and its own program, from before). PATH_INTERNAL in a mount that the kernel
 * keeps for itself. Else it is a foreign or detached tree.
 */
static __always_inline enum status path_top(u64 mount, bool is_root)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct mount *m = (void *)(mount - bpf_core_field_offset(struct mount, mnt));
	struct pal_task *task;
	u64 namespace;

	if (is_root && (u64)m == (u64)current->nsproxy->mnt_ns->root)
		return PATH_OK;
	FETCH(namespace, m->mnt_ns);
	if (namespace == MNT_NS_INTERNAL)
		return PATH_INTERNAL;
	if (!is_root)
		return PATH_UNRESOLVABLE;
	task = task_own();
	if (task && task->home_root == (u64)m && task->home == namespace)
		return PATH_OK;
	if (!is_detached(namespace))
		return PATH_UNRESOLVABLE;
	return closed(CLOSER_DETACHED) ? PATH_DETACHED : PATH_INTERNAL;
}

/* Whether this directory of a procfs root is the acting process's (or thread's) own. */
static __always_inline bool is_own_proc(u64 dentry)
{
	struct task_struct *current = bpf_get_current_task_btf();
	u64 inode = 0, pid = 0;
	struct proc_inode *proc;

	if (bpf_core_read(&inode, sizeof(inode), &((struct dentry *)dentry)->d_inode))
		return false;
	proc = (void *)(inode - bpf_core_field_offset(struct proc_inode, vfs_inode));
	if (bpf_core_read(&pid, sizeof(pid), &proc->pid))
		return false;
	return pid && (pid == (u64)current->signal->pids[PIDTYPE_TGID] || pid == (u64)current->thread_pid);
}

/* From the root of a mount to the place it is mounted on. */
static __always_inline enum status step_across(struct pal_scratch *s)
{
	struct mount *m = (void *)(s->mount - bpf_core_field_offset(struct mount, mnt));
	struct super_block *super;
	struct vfsmount *v;
	unsigned long magic;
	u64 parent;

	FETCH(parent, m->mnt_parent);
	if (parent == (u64)m)
		return path_top(s->mount, true);
	FETCH(s->dentry, m->mnt_mountpoint);
	s->mount = parent + bpf_core_field_offset(struct mount, mnt);
	v = (void *)s->mount;
	FETCH(s->root, v->mnt_root);
	FETCH(super, v->mnt_sb);
	FETCH(magic, super->s_magic);
	s->proc = magic == PROC_SUPER_MAGIC;
	if (s->crossings == 0)
		s->crossed[0] = (u64)super;
	else
		s->crossed[1] = (u64)super;
	s->crossings++;
	return PATH_MORE;
}

/* Puts the name of a dentry in front of the path, and goes to its parent. */
static __always_inline enum status step_up(struct pal_scratch *s)
{
	struct dentry *d = (void *)s->dentry;
	u32 offset = s->offset;
	struct qstr name;
	u64 parent;

	FETCH(parent, d->d_parent);
	if (parent == (u64)d)
		return path_top(s->mount, false);
	FETCH(name.len, d->d_name.len);
	FETCH(name.name, d->d_name.name);
	if (s->proc) {
		u64 above;

		FETCH(above, ((struct dentry *)parent)->d_parent);
		if (above == parent && is_own_proc((u64)d)) {
			name.len = 4;
			name.name = NULL;
		}
	}
	/*
	 * len <= 255 and offset <= PATH_END, so a name and its '/' fit if offset > len, and what is written lies in
	 * [offset - len - 1, offset) within [0, PATH_END). The masks only repeat that to the verifier.
	 */
	if (name.len > NAME_MAX || offset > PATH_END || offset <= name.len)
		return PATH_UNRESOLVABLE;
	offset -= name.len + 1;
	offset &= PAL_PATH_MAX - 1;
	s->path[offset] = '/';
	if (!name.name) {
		s->path[offset + 1] = 's';
		s->path[offset + 2] = 'e';
		s->path[offset + 3] = 'l';
		s->path[offset + 4] = 'f';
	} else if (bpf_probe_read_kernel(&s->path[offset + 1], name.len & NAME_MAX, name.name)) {
		return PATH_UNRESOLVABLE;
	}
	s->offset = offset;
	s->dentry = parent;
	return PATH_MORE;
}

struct climb {
	struct pal_scratch *s;
	u32 status;
};

static long climb_step(u32 i, struct climb *climb)
{
	struct pal_scratch *s = climb->s;

	climb->status = s->dentry == s->root ? step_across(s) : step_up(s);
	return climb->status != PATH_MORE;
}

/*
 * Goes on from s->dentry, s->mount, s->root, s->offset. With bpf_loop(), whose body is verified once: a bounded loop
 * of this length would take most of what the verifier allows, and beside the probe reads the calls cost little.
 */
__noinline int path_climb(u32 index)
{
	struct climb climb = { .s = scratch_at(index), .status = PATH_MORE };

	if (!climb.s)
		return PATH_UNRESOLVABLE;
	bpf_loop(STEPS_CLIMB, climb_step, &climb, 0);
	return climb.status == PATH_MORE ? PATH_UNRESOLVABLE : climb.status;
}

static __always_inline bool is_stable(const struct pal_scratch *s)
{
	barrier();
	return !((s->rename_seq | s->mount_seq) & 1) && sequence_of(&rename_lock) == s->rename_seq &&
	       sequence_of(&mount_lock) == s->mount_seq;
}

/* The root of the namespace itself has no component: it is "/". */
static __always_inline void path_finish(struct pal_scratch *s)
{
	if (s->offset == PATH_END) {
		s->offset = PATH_END - 1;
		s->path[PATH_END - 1] = '/';
	}
}

static long poll_quiet(u32 i, void *unused)
{
	return !((sequence_of(&rename_lock) | sequence_of(&mount_lock)) & 1);
}

struct path_search {
	u32 index;
	int status;
};

#define PATH_UNSTABLE -1	/* something changed meanwhile */

static __always_inline int path_once(struct pal_scratch *s, u32 index)
{
	struct super_block *super;
	struct vfsmount *v;
	unsigned long magic;
	int status;

	s->rename_seq = sequence_of(&rename_lock);
	s->mount_seq = sequence_of(&mount_lock);
	barrier();
	v = (void *)s->start_mount;
	s->dentry = s->start_dentry;
	s->mount = s->start_mount;
	s->crossings = 0;
	s->offset = PATH_END;
	s->path[PATH_END] = 0;
	FETCH(s->root, v->mnt_root);
	FETCH(super, v->mnt_sb);
	FETCH(magic, super->s_magic);
	s->proc = magic == PROC_SUPER_MAGIC;
	status = path_climb(index);
	if (!is_stable(s))
		return PATH_UNSTABLE;
	path_finish(s);
	return status;
}

/* With bpf_loop(), so that a walk is verified once and not for each try. */
static long path_try(u32 try, struct path_search *search)
{
	struct pal_scratch *s = scratch_at(search->index);
	int status;

	if (!s)
		return 1;
	status = path_once(s, search->index);
	if (status != PATH_UNSTABLE) {
		search->status = status;
		return 1;
	}
	count(PAL_COUNT_UNSTABLE);
	bpf_loop(POLLS, poll_quiet, NULL, 0);
	return 0;
}

/* The path of s->start_dentry in s->start_mount. */
__noinline int path_again(u32 index)
{
	struct path_search search = { .index = index, .status = PATH_UNRESOLVABLE };

	bpf_loop(TRIES, path_try, &search, 0);
	return search.status;
}

/*
 * The path of dentry in mount, into s->path. Typed pointers, so inlined into every hook.
 *
 * A workload's root file system is one mount below its namespace's root (pivot_root leaves it so), and to find that
 * out takes four probe reads. What was found is noted in the task, with mount_lock's sequence: while that stands still
 * the mount lies where it lay. It also spares one reading of the sequence, as the noted one stands for `before`.
 */
static __always_inline enum status path_of(struct pal_scratch *s, u32 index, struct pal_task *task,
					   struct dentry *dentry, struct vfsmount *mount)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *root = mount->mnt_root;
	u32 offset = PATH_END;
	enum status status;
	u64 namespace, noted = task->root_mount;

	s->start_dentry = (u64)dentry;
	s->start_mount = (u64)mount;
	if ((u64)mount != noted && mount->mnt_sb->s_magic == PROC_SUPER_MAGIC)
		return path_again(index);
	s->rename_seq = sequence_of(&rename_lock);
	barrier();
	namespace = (u64)current->nsproxy->mnt_ns;
	s->proc = 0;
	s->crossings = 0;
	s->path[PATH_END] = 0;
	for (int i = 0; i < STEPS_DIRECT; i++) {
		struct dentry *parent;
		u32 len;

		if (dentry == root)
			break;
		parent = dentry->d_parent;
		len = dentry->d_name.len;
		/* The same bounds as in step_up(), which tells what is wrong where this loop stops. */
		if (parent == dentry || len > NAME_MAX || offset <= len)
			break;
		offset -= len + 1;
		offset &= PAL_PATH_MAX - 1;
		s->path[offset] = '/';
		if (bpf_probe_read_kernel(&s->path[offset + 1], len & NAME_MAX, dentry->d_name.name)) {
			offset = 0;
			break;
		}
		dentry = parent;
	}
	s->offset = offset;
	if (dentry == root && (u64)mount == noted && namespace == task->root_of) {
		s->mount_seq = task->root_seq;
		if (is_stable(s)) {
			path_finish(s);
			return PATH_OK;
		}
	}
	/* Not the noted mount after all: its address may have become a procfs's. */
	if (mount->mnt_sb->s_magic == PROC_SUPER_MAGIC)
		return path_again(index);
	/* Names and parents are guarded by rename_lock, read above; the mounts come only now. */
	s->mount_seq = sequence_of(&mount_lock);
	barrier();
	s->dentry = (u64)dentry;
	s->mount = s->start_mount;
	s->root = (u64)root;
	status = path_climb(index);
	if (!is_stable(s)) {
		count(PAL_COUNT_UNSTABLE);
		return path_again(index);
	}
	if (status == PATH_OK && dentry == root && s->offset == offset) {
		task->root_mount = s->start_mount;
		task->root_of = namespace;
		task->root_seq = s->mount_seq;
	}
	path_finish(s);
	return status;
}

/*
 * A memfd, as a program, is called memfd:NAME, which is the name of its dentry in the kernel's own tmpfs (or
 * hugetlbfs); nobody else names files there. Other objects outside the tree stay what they are.
 */
__noinline int path_memfd(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	struct dentry *d;
	struct qstr name;

	if (!s)
		return PATH_UNRESOLVABLE;
	d = (void *)s->start_dentry;
	FETCH(name.len, d->d_name.len);
	FETCH(name.name, d->d_name.name);
	if (name.len < 6 || name.len > NAME_MAX)
		return PATH_INTERNAL;
	s->offset = PATH_END - name.len;
	s->path[PATH_END] = 0;
	if (bpf_probe_read_kernel(&s->path[PATH_END - (name.len & NAME_MAX)], name.len & NAME_MAX, name.name))
		return PATH_UNRESOLVABLE;
	return bpf_strncmp(&s->path[PATH_END - (name.len & NAME_MAX)], 6, "memfd:") ? PATH_INTERNAL : PATH_OK;
}

#endif
