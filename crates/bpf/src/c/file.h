/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files: changing names, modes and sizes by path. Opening: open.h; extended attributes and times: attr.h.
 */
#ifndef PAL_FILE_H
#define PAL_FILE_H

/* A change of an object, or of its name; `owned` is the inode whose owner counts. */
static __always_inline int change_told(struct dentry *dentry, struct vfsmount *mount, struct inode *owned, u32 operation,
				       u32 told)
{
	struct access a;
	int refused = access_begin_at(&a, operation, FILE_WRITE, dentry, mount);

	if (refused == GO_ON && !closed(CLOSER_CHANGE)) {
		access_end(&a);
		return 0;
	}
	if (refused != GO_ON)
		return answer(refused, EACCES);
	a.s->told = told;
	access_owner(&a, owned, mount);
	refused = access_path(&a, dentry, mount);
	access_end(&a);
	return answer(refused, EACCES);
}

static __always_inline int change(struct dentry *dentry, struct vfsmount *mount, struct inode *owned, u32 operation)
{
	return change_told(dentry, mount, owned, operation, 0);
}

/* What does not exist yet belongs to the owner of its directory. */
static __always_inline int create(const struct path *dir, struct dentry *dentry, u32 operation)
{
	return change(dentry, dir->mnt, dir->dentry->d_inode, operation);
}

static __always_inline int change_path(const struct path *path, u32 operation)
{
	return change(path->dentry, path->mnt, path->dentry->d_inode, operation);
}

SEC("lsm/path_mknod")
int BPF_PROG(pal_path_mknod, const struct path *dir, struct dentry *dentry, unsigned int mode)
{
	u32 type = mode & S_IFMT;

	return create(dir, dentry,
		      !type || type == S_IFREG ? PAL_OP_CREATE :
		      type == S_IFSOCK	       ? PAL_OP_UNIX_BIND :
						 PAL_OP_MKNOD);
}

SEC("lsm/path_mkdir")
int BPF_PROG(pal_path_mkdir, const struct path *dir, struct dentry *dentry)
{
	return create(dir, dentry, PAL_OP_MKDIR);
}

SEC("lsm/path_symlink")
int BPF_PROG(pal_path_symlink, const struct path *dir, struct dentry *dentry)
{
	return create(dir, dentry, PAL_OP_SYMLINK);
}

SEC("lsm/path_rmdir")
int BPF_PROG(pal_path_rmdir, const struct path *dir, struct dentry *dentry)
{
	return change(dentry, dir->mnt, dentry->d_inode, PAL_OP_RMDIR);
}

SEC("lsm/path_unlink")
int BPF_PROG(pal_path_unlink, const struct path *dir, struct dentry *dentry)
{
	return change(dentry, dir->mnt, dentry->d_inode, PAL_OP_UNLINK);
}

SEC("lsm/path_chmod")
int BPF_PROG(pal_path_chmod, const struct path *path)
{
	return change_path(path, PAL_OP_CHMOD);
}

SEC("lsm/path_chown")
int BPF_PROG(pal_path_chown, const struct path *path)
{
	return change_path(path, PAL_OP_CHOWN);
}

/* An open that truncates has been judged, and reported, as a write of the same object a moment ago. */
static __always_inline int truncate(struct dentry *dentry, struct vfsmount *mount, struct inode *inode)
{
	return change_told(dentry, mount, inode, PAL_OP_TRUNCATE, is_opening() ? STRICTEST : 0);
}

/* truncate(2), and before 6.2 ftruncate(2) and open(O_TRUNC) too. */
SEC("lsm/path_truncate")
int BPF_PROG(pal_path_truncate, const struct path *path)
{
	return truncate(path->dentry, path->mnt, path->dentry->d_inode);
}

/* ftruncate(2) and open(O_TRUNC), from 6.2 on. */
SEC("?lsm/file_truncate")
int BPF_PROG(pal_file_truncate, struct file *file)
{
	return truncate(file->f_path.dentry, file->f_path.mnt, file->f_inode);
}

/* A new name for a file: what can be read and written by it is what the old name gives away. */
SEC("lsm/path_link")
int BPF_PROG(pal_path_link, struct dentry *old, const struct path *dir, struct dentry *dentry)
{
	struct vfsmount *mount = dir->mnt;
	struct access a;
	int refused = access_begin_both(&a, PAL_OP_LINK, FILE_READ | FILE_WRITE, old, dentry, mount);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (!closed(CLOSER_LINK)) {
		access_end(&a);
		return 0;
	}
	access_owner(&a, old->d_inode, mount);
	/* Both ends lie in one mount: link(2) does not cross mounts. */
	refused = access_path(&a, old, mount);
	if (!refused) {
		a.s->operations = FILE_WRITE;
		a.s->event.access = FILE_WRITE;
		access_owner(&a, dir->dentry->d_inode, mount);
		refused = access_path(&a, dentry, mount);
	}
	access_end(&a);
	return answer(refused, EACCES);
}

/*
 * One end of a rename. A directory that moves takes what is below it out of the reach of rules by path: refused where
 * a rule that can deny may meet something below its old name (built-in rule tree-integrity).
 */
static __always_inline int rename_end(struct access *a, struct dentry *dentry, struct vfsmount *mount,
				      struct inode *owned, bool moves)
{
	struct inode *inode = dentry->d_inode;
	u64 decision;

	access_owner(a, owned, mount);
	if (access_path(a, dentry, mount))
		return 1;
	if (!moves || !closed(CLOSER_LIVE) || !inode || (inode->i_mode & S_IFMT) != S_IFDIR || !(handle_class(a->s->handle) & PAL_CLASS_LIVE_DIRS))
		return 0;
	/* An event of the first judgement has overwritten s->path. */
	a->s->status = path_again(a->index);
	if (a->s->status != PATH_OK)
		return a->s->status == PATH_UNRESOLVABLE ? judge(a) : 0;
	decision = table_moved(a->s->handle, a->index);
	/* Another table is in force by now, whose marks are asked for by the next rename. */
	if (decision & TABLE_GONE)
		decision = PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + BUILTIN_TREE_INTEGRITY);
	return judge_decided(a->index, decision);
}

SEC("lsm/path_rename")
int BPF_PROG(pal_path_rename, const struct path *old_dir, struct dentry *old, const struct path *new_dir,
	     struct dentry *new, unsigned int flags)
{
	struct inode *replaced = new->d_inode;
	struct access a;
	int refused = access_begin_both(&a, PAL_OP_RENAME, FILE_WRITE, old, new, old_dir->mnt);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (!closed(CLOSER_CHANGE)) {
		access_end(&a);
		return 0;
	}
	refused = rename_end(&a, old, old_dir->mnt, old->d_inode, true);
	if (!refused && !replaced)
		refused = rename_end(&a, new, new_dir->mnt, new_dir->dentry->d_inode, false);
	else if (!refused)
		refused = rename_end(&a, new, new_dir->mnt, replaced, flags & RENAME_EXCHANGE);
	access_end(&a);
	return answer(refused, EACCES);
}

#endif
