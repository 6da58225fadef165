/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The built-in rule `mount-integrity`: a workload with path rules does not change what paths mean.
 *
 * Denied are bind mounts, moves, changes of propagation, pivot_root; new mounts over what a rule meets or above it (by
 * the marks of the automata's states); unmounting what the workload did not mount itself; entering a mount namespace
 * that it did not make; opening through a detached mount (path.h tells that).
 *
 * A "new" mount that shows files which have names already is a bind mount by another call: one of a file system that is
 * mounted somewhere, or one that lies over others (overlayfs, ecryptfs).
 *
 * setns(2), mount_setattr(2) and open_tree_attr(2) have no hook. Each asks for a capability first, and by the number of
 * the system call the hook of that tells them apart.
 */
#ifndef PAL_MOUNT_H
#define PAL_MOUNT_H

/* File systems that a workload mounted itself: super block -> label. An entry ends with its super block. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAL_SUPERS);
	__type(key, u64);
	__type(value, u32);
} pal_supers SEC(".maps");

/* Mount namespaces of workloads: those that they began in or made. Where one is forgotten it counts as foreign. */
struct namespace_key {
	u64 number;
	u64 label;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PAL_NAMESPACES);
	__type(key, struct namespace_key);
	__type(value, u32);
} pal_namespaces SEC(".maps");

static __always_inline void namespace_note(u32 label, u64 namespace)
{
	struct namespace_key key = { .number = namespace_number(namespace), .label = label };
	u32 own = 1;

	if (key.number)
		bpf_map_update_elem(&pal_namespaces, &key, &own, BPF_ANY);
}

static __always_inline bool namespace_is_own(u32 label, u64 namespace)
{
	struct namespace_key key = { .number = namespace_number(namespace), .label = label };

	return key.number && bpf_map_lookup_elem(&pal_namespaces, &key);
}

/* A slot for a change of mounts by a labelled task, where its table judges them at all. */
static __always_inline int mount_begin(struct access *a, struct pal_task *task, u32 operation)
{
	u64 handle = table_of(task->label, PAL_CLASS_FILE);

	if (handle & TABLE_GONE)
		return REFUSE;
	if (handle & HANDLE_UNUSED || !(handle_header(handle) & PAL_TABLE_MOUNTS) ||
	    !closed(CLOSER_MOUNTS + operation - PAL_OP_MOUNT))
		return PASS;
	return access_take(a, task, handle, PAL_CLASS_FILE, operation);
}

/*
 * Carries out what holds for a change of mounts: by the place of a new mount, or as one that changes what paths mean.
 * A table that was exchanged under it refuses: whoever mounts can try again.
 */
static __always_inline int mount_judge(struct access *a, bool is_new)
{
	u64 decision = TABLE_GONE;

	if (is_new && a->s->status == PATH_OK)
		decision = table_over_place(a->s->handle, a->index);
	if (decision & TABLE_GONE)
		decision = table_source(a->s->handle, a->index, TABLE_MOUNTS_DECISION);
	if (decision & TABLE_GONE)
		decision = PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + BUILTIN_MOUNT_INTEGRITY);
	return judge_decided(a->index, decision);
}

static __always_inline int mount_change(const struct path *at, u32 operation, bool is_new)
{
	struct pal_task *task;
	struct access a;
	int refused = task_current(&task);

	if (refused <= 0)
		return answer(refused, EPERM);
	if (is_own(at->dentry))
		return answer(self_touched(task, (u64)at->dentry, (u64)at->mnt, PAL_CLASS_FILE, PAL_OP_TOUCH), EPERM);
	refused = mount_begin(&a, task, operation);
	if (refused != GO_ON)
		return answer(refused, EPERM);
	a.s->status = path_of(a.s, a.index, task, at->dentry, at->mnt);
	refused = mount_judge(&a, is_new);
	access_end(&a);
	return answer(refused, EPERM);
}

/* What is given no path. */
static __always_inline int mount_unnamed(struct pal_task *task, u32 operation)
{
	struct access a;
	int refused = mount_begin(&a, task, operation);

	if (refused != GO_ON)
		return answer(refused, EPERM);
	a.s->status = PATH_UNRESOLVABLE;
	refused = mount_judge(&a, false);
	access_end(&a);
	return answer(refused, EPERM);
}

/* mount(2). The order of the tests is that of the kernel's path_mount(). */
SEC("lsm/sb_mount")
int BPF_PROG(pal_sb_mount, const char *device, const struct path *path, const char *type, unsigned long flags)
{
	bool is_new = !(flags & (MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE));

	if (flags & MS_REMOUNT)
		return 0;
	return mount_change(path, is_new ? PAL_OP_MOUNT : PAL_OP_MOUNT_REARRANGE, is_new);
}

/* Whether a super block is mounted where somebody can see it: in any namespace, not only by the kernel for itself. */
__noinline int super_is_mounted(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	int found;

	if (!s)
		return 1;
	found = search_mounts(s, SEARCH_ANY);
	return found < 0 || s->candidates;
}

/* A file system is about to be mounted by mount(2), or made by fsconfig(2). */
SEC("lsm/sb_kern_mount")
int BPF_PROG(pal_sb_kern_mount, struct super_block *super)
{
	u64 magic = super->s_magic, key = (u64)super;
	struct pal_task *task;
	struct access a;
	int refused = task_current(&task);
	u32 label;

	if (refused <= 0)
		return answer(refused, EPERM);
	label = task->label;
	refused = mount_begin(&a, task, PAL_OP_MOUNT_REARRANGE);
	if (refused < 0)
		return answer(refused, EPERM);
	if (refused == GO_ON) {
		a.s->super = key;
		a.s->status = PATH_UNRESOLVABLE;
		refused = 0;
		if (magic == OVERLAYFS_SUPER_MAGIC || magic == ECRYPTFS_SUPER_MAGIC || super_is_mounted(a.index))
			refused = mount_judge(&a, false);
		access_end(&a);
	}
	/* Where nobody judges mounts it is noted as well: rules may come later. Not noted, it cannot be unmounted then. */
	if (!refused)
		bpf_map_update_elem(&pal_supers, &key, &label, BPF_NOEXIST);
	return answer(refused, EPERM);
}

SEC("lsm/sb_free_security")
int BPF_PROG(pal_sb_free, struct super_block *super)
{
	u64 key = (u64)super;

	bpf_map_delete_elem(&pal_supers, &key);
	return 0;
}

/* Attaching a mount: a new one from fsmount(2) is one whose file system the task's tree does not show yet. */
SEC("lsm/move_mount")
int BPF_PROG(pal_move_mount, const struct path *from, const struct path *to)
{
	struct pal_task *task;
	struct access a;
	struct mount *m;
	u64 namespace = 1;
	bool is_new;
	int refused = task_current(&task);

	if (refused <= 0)
		return answer(refused, EPERM);
	if (is_own(to->dentry))
		return answer(self_touched(task, (u64)to->dentry, (u64)to->mnt, PAL_CLASS_FILE, PAL_OP_TOUCH), EPERM);
	refused = mount_begin(&a, task, PAL_OP_MOUNT);
	if (refused != GO_ON)
		return answer(refused, EPERM);
	m = (void *)((u64)from->mnt - bpf_core_field_offset(struct mount, mnt));
	bpf_core_read(&namespace, sizeof(namespace), &m->mnt_ns);
	a.s->super = (u64)from->mnt->mnt_sb;
	is_new = is_detached(namespace) && search_mounts(a.s, SEARCH_OWN) >= 0 && !a.s->candidates;
	if (!is_new)
		a.s->event.operation = PAL_OP_MOUNT_REARRANGE;
	a.s->status = path_of(a.s, a.index, task, to->dentry, to->mnt);
	refused = mount_judge(&a, is_new);
	access_end(&a);
	return answer(refused, EPERM);
}

SEC("lsm/sb_umount")
int BPF_PROG(pal_sb_umount, struct vfsmount *mount)
{
	u64 super = (u64)mount->mnt_sb;
	struct pal_task *task;
	struct access a;
	u32 *owner;
	int refused = task_current(&task);

	if (refused <= 0)
		return answer(refused, EPERM);
	/* The file system of the pins, or a mount of a directory of Palisade's. */
	if (is_pins_super(mount->mnt_sb) || is_own(mount->mnt_root))
		return answer(self_touched(task, (u64)mount->mnt_root, (u64)mount, PAL_CLASS_FILE, PAL_OP_TOUCH), EPERM);
	owner = bpf_map_lookup_elem(&pal_supers, &super);
	if (owner && *owner == task->label)
		return 0;
	refused = mount_begin(&a, task, PAL_OP_UNMOUNT);
	if (refused != GO_ON)
		return answer(refused, EPERM);
	a.s->status = path_of(a.s, a.index, task, mount->mnt_root, mount);
	refused = mount_judge(&a, false);
	access_end(&a);
	return answer(refused, EPERM);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(pal_sb_pivotroot, const struct path *old, const struct path *new)
{
	return mount_change(new, PAL_OP_PIVOT_ROOT, false);
}

/* A mount namespace that a labelled task makes is its workload's own. */
SEC("fexit/copy_mnt_ns")
int BPF_PROG(pal_copy_mnt_ns, u64 flags, struct mnt_namespace *from, void *user, void *fs,
	     struct mnt_namespace *made)
{
	struct pal_task *task;

	/* An error is a pointer of the last page. */
	if (made == from || (u64)made >= (u64)-4095 || task_current(&task) <= 0)
		return 0;
	namespace_note(task->label, (u64)made);
	return 0;
}

/* Which namespace a setns(2) enters; judged when it asks for CAP_SYS_CHROOT, a few instructions later. */
SEC("fentry/mntns_install")
int BPF_PROG(pal_mntns_install, void *set, void *namespace)
{
	struct pal_task *task;

	if (task_current(&task) > 0)
		task->entering = (u64)namespace - bpf_core_field_offset(struct mnt_namespace___common, ns);
	return 0;
}

/* The number of the system call under way, in the table of the caller's personality. */
static __always_inline u32 system_call(struct task_struct *current)
{
	struct pt_regs *registers = (struct pt_regs *)bpf_task_pt_regs(current);

#ifdef __TARGET_ARCH_arm64
	return ((struct pt_regs___arm *)registers)->syscallno;
#else
	return registers->orig_ax;
#endif
}

#ifdef __TARGET_ARCH_arm64
#define NR_CHROOT 51
#define NR_CHROOT_32 61
#else
#define NR_CHROOT 161
#define NR_CHROOT_32 61		/* of i386; in the other table it is wait4, which asks for no capability */
#endif

/* A capability is asked for: the part of it that is about mounts. 0 passes. */
static __always_inline int mount_by_capability(struct pal_task *task, u32 capability)
{
	struct task_struct *current = bpf_get_current_task_btf();
	u32 call;

	if (capability == CAP_SYS_CHROOT) {
		u64 entering = task->entering;

		call = system_call(current);
		/* chroot and setns are all that ask for it. */
		if (call == NR_CHROOT || call == NR_CHROOT_32)
			return 0;
		task->entering = 0;
		/* Not noted (a tracing program is skipped while another is preempted inside it): foreign. */
		if (entering && (entering == (u64)current->nsproxy->mnt_ns || namespace_is_own(task->label, entering)))
			return 0;
		return mount_unnamed(task, PAL_OP_ENTER_NAMESPACE);
	}
	if (capability == CAP_SYS_ADMIN) {
		call = system_call(current);
		/* It may change propagation, or not: what it asks for is still in the caller's memory, so all of it is denied. */
		if (call == NR_MOUNT_SETATTR || call == NR_OPEN_TREE_ATTR)
			return mount_unnamed(task, PAL_OP_MOUNT_REARRANGE);
	}
	return 0;
}

#endif
