/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Extended attributes, ACLs and times.
 *
 * Their hooks are given a dentry and no mount, and a dentry alone has no path. But every system call that changes
 * one first takes write access to the object's mount, with mnt_want_write() or mnt_want_write_file(): that mount is
 * noted in the task, and the hook, which follows in the same call, uses it. It is checked, not trusted: a dentry of
 * another super block comes from a stacked file system (overlayfs changing its own layer), whose user's own access
 * was judged one level up.
 */
#ifndef PAL_ATTR_H
#define PAL_ATTR_H

static __always_inline int note_write(struct vfsmount *mount)
{
	struct pal_task *task;

	if (task_current(&task) > 0)
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

/*
 * The path of dentry in the mount at `mount`, a noted address. By probe reads, as the address is not typed.
 */
static __always_inline int access_noted(struct access *a, struct dentry *dentry, u64 mount)
{
	struct pal_scratch *s = a->s;
	struct super_block *super = NULL;
	u64 expected = (u64)dentry->d_sb;

	if (!mount) {
		s->status = PATH_UNRESOLVABLE;
		return judge(a);
	}
	bpf_core_read(&super, sizeof(super), &((struct vfsmount *)mount)->mnt_sb);
	if ((u64)super != expected)
		return 0;
	s->start_dentry = (u64)dentry;
	s->start_mount = mount;
	s->status = path_again(a->index);
	if (s->status == PATH_INTERNAL)
		return 0;
	access_owner(a, dentry->d_inode, (struct vfsmount *)mount);
	return judge(a);
}

static __always_inline int change_attribute(struct dentry *dentry, u32 operation)
{
	struct access a;
	int refused = access_begin(&a, PAL_CLASS_FILE, operation, FILE_WRITE);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	refused = access_noted(&a, dentry, a.task->write_mount);
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
