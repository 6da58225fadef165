/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Extended attributes, ACLs and times.
 *
 * Their hooks are given a dentry and no mount, and a dentry alone has no path. But every system call that changes
 * one first takes write access to the object's mount, with mnt_want_write() or mnt_want_write_file(): that mount is
 * noted in the task, and the hook, which follows in the same call, uses it.
 *
 * The note is checked, not trusted: a tracing program is skipped while another task is preempted inside it, and a task
 * that came into its workload from outside may have no entry yet. A note of the dentry's own super block will do even if it
 * is older: it leads to a path by which the task can change the object anyway. Any other is either such a skip, or a stacked
 * file system changing its own layer (overlayfs), whose user's access was judged one level up. So the mounts of the super
 * block are searched: if one of the task's own tree shows the object it is judged there, and if none does the task cannot
 * name it.
 */
#ifndef PAL_ATTR_H
#define PAL_ATTR_H

/* Of a thread that has its entry, whatever its cgroup: every rename, creation and removal of the host comes by here. */
static __always_inline int note_write(struct vfsmount *mount)
{
	struct pal_task *task = task_find(bpf_get_current_pid_tgid());

	if (task)
		task->write_mount = (u64)mount;
	return 0;
}

SEC("fentry/mnt_want_write")
int BPF_PROG(pal_want_write, struct vfsmount *mount)
{
	return note_write(mount);
}

SEC("fentry/mnt_want_write_file")
int BPF_PROG(pal_want_write_file, struct file *file)
{
	return note_write(file->f_path.mnt);
}

/* Mounts of one super block that are looked through; beyond that the object counts as unresolvable. */
#define SEARCH_MOUNTS 4096
#define CANDIDATES 8

/* Mounts in the task's own trees, or in any. */
#define SEARCH_OWN 0
#define SEARCH_ANY 1

struct search {
	struct pal_scratch *s;
	u32 which;
	u64 next;	/* address of the mount to look at */
	u64 end;	/* of the list, where it has a head */
	u64 namespace;
	u64 home;
	u32 failed;
};

static __always_inline bool has_chain(void)
{
	return bpf_core_field_exists(struct mount___chain, mnt_next_for_sb);
}

static long search_step(u32 i, struct search *search)
{
	u64 at = search->next, namespace = 0, next = 0;
	struct mount *m;

	if (at == search->end || !at)
		return 1;
	if (has_chain()) {
		m = (void *)at;
		if (bpf_core_read(&next, sizeof(next), &((struct mount___chain *)m)->mnt_next_for_sb))
			search->failed = 1;
	} else {
		m = (void *)(at - bpf_core_field_offset(struct mount___list, mnt_instance));
		if (bpf_core_read(&next, sizeof(next), &((struct list_head *)at)->next))
			search->failed = 1;
	}
	search->next = next;
	if (bpf_core_read(&namespace, sizeof(namespace), &m->mnt_ns))
		search->failed = 1;
	if (search->which == SEARCH_ANY ? namespace && namespace != MNT_NS_INTERNAL :
					  namespace == search->namespace || (namespace && namespace == search->home)) {
		u32 found = search->s->candidates++;

		if (found >= CANDIDATES)
			search->failed = 1;
		else
			search->s->candidate[found] = (u64)m + bpf_core_field_offset(struct mount, mnt);
	}
	return search->failed;
}

/* Notes the mounts of the super block s->super that are asked for. 0, or -1: too many, or they changed under it. */
static __always_inline int search_mounts(struct pal_scratch *s, u32 which)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task *task = task_own();
	struct search search = { .s = s, .which = which };
	u32 seq = sequence_of(&mount_lock);
	u64 head;

	s->candidates = 0;
	search.namespace = (u64)current->nsproxy->mnt_ns;
	search.home = task ? task->home : 0;
	if (has_chain())
		head = s->super + bpf_core_field_offset(struct super_block___chain, s_mounts);
	else
		head = s->super + bpf_core_field_offset(struct super_block___list, s_mounts);
	/* A chain ends with 0, a list at its head. */
	if (!has_chain())
		search.end = head;
	if (bpf_core_read(&search.next, sizeof(search.next), (u64 *)head))
		return -1;
	bpf_loop(SEARCH_MOUNTS, search_step, &search, 0);
	barrier();
	if (search.failed || search.next != search.end || seq & 1 || sequence_of(&mount_lock) != seq)
		return -1;
	return 0;
}

/* The path of s->start_dentry in whichever mount of the task's own tree shows it. PATH_INTERNAL: in none. */
__noinline int attr_search(u32 index)
{
	struct pal_scratch *s = scratch_at(index);

	if (!s || search_mounts(s, SEARCH_OWN))
		return PATH_UNRESOLVABLE;
	for (u32 i = 0; i < CANDIDATES; i++) {
		if (i >= s->candidates)
			break;
		s->start_mount = s->candidate[i];
		if (path_again(index) == PATH_OK)
			return PATH_OK;
	}
	return PATH_INTERNAL;
}

/* Judges dentry in the noted mount, or where it is found. By probe reads, as the note is but an address. */
static __always_inline int access_noted(struct access *a, struct dentry *dentry, u64 mount)
{
	struct pal_scratch *s = a->s;
	u64 super = 0, expected = (u64)dentry->d_sb;

	s->start_dentry = (u64)dentry;
	s->start_mount = mount;
	if (mount && !bpf_core_read(&super, sizeof(super), &((struct vfsmount *)mount)->mnt_sb) && super == expected) {
		s->status = path_again(a->index);
	} else {
		s->super = expected;
		s->status = attr_search(a->index);
	}
	if (s->status == PATH_INTERNAL)
		return 0;
	access_owner(a, dentry->d_inode, (struct vfsmount *)s->start_mount);
	return judge(a);
}

static __always_inline int change_attribute(struct dentry *dentry, u32 operation)
{
	struct access a;
	int refused = access_begin_at(&a, operation, FILE_WRITE, dentry, NULL);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (closed(CLOSER_CHANGE))
		refused = access_noted(&a, dentry, a.task->write_mount);
	else
		refused = 0;
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(pal_inode_setxattr, void *mapping, struct dentry *dentry)
{
	return change_attribute(dentry, PAL_OP_SETXATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(pal_inode_removexattr, void *mapping, struct dentry *dentry)
{
	return change_attribute(dentry, PAL_OP_SETXATTR);
}

/* POSIX ACLs have hooks of their own from 6.2 on; before, they are extended attributes like others. */
SEC("?lsm/inode_set_acl")
int BPF_PROG(pal_inode_set_acl, void *mapping, struct dentry *dentry)
{
	return change_attribute(dentry, PAL_OP_SETXATTR);
}

SEC("?lsm/inode_remove_acl")
int BPF_PROG(pal_inode_remove_acl, void *mapping, struct dentry *dentry)
{
	return change_attribute(dentry, PAL_OP_SETXATTR);
}

/* Times alone: a change of size sets them too, and modes and owners have hooks with a path. */
static __always_inline int change_times(struct dentry *dentry, struct iattr *attr)
{
	u32 valid = attr->ia_valid;

	if (!(valid & (ATTR_ATIME | ATTR_MTIME)) || valid & ATTR_SIZE)
		return 0;
	return change_attribute(dentry, PAL_OP_UTIMES);
}

/* (dentry, attr) before 6.9, (mapping, dentry, attr) since: whichever the kernel has not is dead code to it. */
SEC("lsm/inode_setattr")
int pal_inode_setattr(u64 *ctx)
{
	if (bpf_core_field_exists(union security_list_options___post_mknod, path_post_mknod))
		return change_times((struct dentry *)ctx[1], (struct iattr *)ctx[2]);
	return change_times((struct dentry *)ctx[0], (struct iattr *)ctx[1]);
}

#endif
