/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The built-in rule `self`: no labelled task obtains or changes what is Palisade's, whatever its policies and mode.
 *
 * Files are told by the directory that they lie in, itself told by its inode (pal_own), however it is mounted. BPF maps
 * and programs are told by their names, which are given at creation and never change; who names his own so is denied
 * them, which is his loss alone. Links have no name and no hook: they are told by their ids, and their pins lie under a
 * name that nobody who may not list the directory above can guess.
 */
#ifndef PAL_SELF_H
#define PAL_SELF_H

/* Levels of a directory tree of Palisade's that can be deep: PINS/links/NAME, HOME/v1/legends/FILE. */
#define OWN_LEVELS 4

static __always_inline struct pal_owns *owns(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&pal_own, &zero);
}

/* Whether a directory of Palisade's is the object, or one of those above it. */
static __always_inline bool lies_in(struct dentry *dentry, u64 wanted)
{
#pragma clang loop unroll(full)
	for (int level = 0; level < OWN_LEVELS; level++) {
		struct inode *inode = dentry->d_inode;

		if (inode && inode->i_ino == wanted)
			return true;
		dentry = dentry->d_parent;
	}
	return false;
}

/* Whether an object is one of Palisade's directories, or lies in one. Nearly always the file system tells. */
static __always_inline bool is_own(struct dentry *dentry)
{
	struct pal_owns *own = owns();
	u32 dev;

	if (!closed(CLOSER_SELF) || !own)
		return false;
	dev = dentry->d_sb->s_dev;
	if (dev == own->at[PAL_OWN_HOME].dev && own->at[PAL_OWN_HOME].inode)
		return lies_in(dentry, own->at[PAL_OWN_HOME].inode);
	if (dev == own->at[PAL_OWN_PINS].dev && own->at[PAL_OWN_PINS].inode)
		return lies_in(dentry, own->at[PAL_OWN_PINS].inode);
	return false;
}

/* Whether something of Palisade's lies on a file system. */
static __always_inline bool is_own_super(struct super_block *super)
{
	struct pal_owns *own = owns();
	u32 dev = super->s_dev;

	return !own || dev == own->at[PAL_OWN_HOME].dev || dev == own->at[PAL_OWN_PINS].dev;
}

/* The same for an address. */
static __always_inline bool is_own_by_reads(u64 dentry)
{
	struct pal_owns *all = owns();
	struct pal_own *own = all ? &all->at[PAL_OWN_HOME] : NULL;
	struct super_block *super;
	u32 dev = 0;

	if (!own || !own->inode || bpf_core_read(&super, sizeof(super), &((struct dentry *)dentry)->d_sb) ||
	    bpf_core_read(&dev, sizeof(dev), &super->s_dev) || dev != own->dev)
		return false;
	for (int level = 0; level < OWN_LEVELS; level++) {
		struct inode *inode;
		unsigned long number = 0;

		if (bpf_core_read(&inode, sizeof(inode), &((struct dentry *)dentry)->d_inode) ||
		    bpf_core_read(&number, sizeof(number), &inode->i_ino) ||
		    bpf_core_read(&dentry, sizeof(dentry), &((struct dentry *)dentry)->d_parent))
			return false;
		if (number == own->inode)
			return true;
	}
	return false;
}

/* Whether it is the file system that the pins lie in. */
static __always_inline bool is_pins_super(struct super_block *super)
{
	struct pal_owns *own = owns();

	return closed(CLOSER_SELF) && own && own->at[PAL_OWN_PINS].inode && own->at[PAL_OWN_PINS].dev == super->s_dev;
}

static __always_inline bool is_called(struct dentry *dentry, const char *name, u32 size)
{
	char text[16] = {};

	bpf_probe_read_kernel_str(text, sizeof(text), dentry->d_name.name);
	return !bpf_strncmp(text, size, name);
}

/* kernel.ftrace_enabled, which silently switches off every program that hangs on a function; by whatever mount. */
static __always_inline bool is_ftrace_switch(struct dentry *dentry)
{
	return closed(CLOSER_SELF) && dentry->d_sb->s_magic == PROC_SUPER_MAGIC && dentry->d_name.len == 14 &&
	       is_called(dentry, "ftrace_enabled", 14) && is_called(dentry->d_parent, "kernel", 7);
}

/* Refuses what stands in the slot and says so. */
__noinline int self_refuse(u32 index)
{
	struct pal_scratch *s = scratch_at(index);

	if (!s)
		return EACCES;
	s->handle = table_of(s->label, s->class);
	s->status = s->start_mount ? path_again(index) : PATH_UNRESOLVABLE;
	if (s->status == PATH_INTERNAL)
		s->status = PATH_UNRESOLVABLE;
	return judge_decided(index, PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + BUILTIN_SELF));
}

/* The same for a task and an object; without a mount the object stays unnamed. */
static __always_inline int self_touched(struct pal_task *task, u64 dentry, u64 mount, u32 class, u32 operation)
{
	struct access a;
	int refused;

	/* Without a slot it is refused as well, counted and not told. */
	if (access_take(&a, task, 0, class, operation) != GO_ON)
		return REFUSE;
	a.s->start_dentry = dentry;
	a.s->start_mount = mount;
	refused = self_refuse(a.index);
	access_end(&a);
	return refused;
}

/* access_begin() for an object of the file tree, or two in one file system: refused where one is Palisade's. */
static __always_inline int access_begin_both(struct access *a, u32 operation, u32 operations, struct dentry *dentry,
					     struct dentry *other, struct vfsmount *mount)
{
	struct dentry *own = NULL;
	struct pal_task *task;
	int found = task_current(&task);

	if (found <= 0)
		return found;
	if (is_own(dentry))
		own = dentry;
	else if (other && is_own(other))
		own = other;
	if (own)
		return self_touched(task, (u64)own, (u64)mount, PAL_CLASS_FILE, PAL_OP_TOUCH) ? REFUSE : PASS;
	return access_enter(a, task, PAL_CLASS_FILE, operation, operations);
}

static __always_inline int access_begin_at(struct access *a, u32 operation, u32 operations, struct dentry *dentry,
					   struct vfsmount *mount)
{
	return access_begin_both(a, operation, operations, dentry, NULL, mount);
}

static __always_inline int self_bpf(void)
{
	struct pal_task *task;
	int found = task_current(&task);

	if (found <= 0 || !closed(CLOSER_SELF))
		return found < 0 ? found : 0;
	return self_touched(task, 0, 0, PAL_CLASS_FILE, PAL_OP_BPF);
}

static __always_inline bool is_own_name(const char *name)
{
	char text[9] = {};

	bpf_probe_read_kernel(text, 8, name);
	return !bpf_strncmp(text, 4, "pal_") || !bpf_strncmp(text, 8, "palisade");
}

SEC("lsm/bpf_map")
int BPF_PROG(pal_bpf_map, struct bpf_map *map)
{
	return is_own_name(map->name) ? answer(self_bpf(), EPERM) : 0;
}

SEC("lsm/bpf_prog")
int BPF_PROG(pal_bpf_prog, struct bpf_prog *prog)
{
	return is_own_name(prog->aux->name) ? answer(self_bpf(), EPERM) : 0;
}

SEC("lsm/bpf")
int BPF_PROG(pal_bpf, int command, void *attributes)
{
	u32 id = 0;

	if (command != BPF_LINK_GET_FD_BY_ID)
		return 0;
	/* The kernel's own copy: link_id comes first in it. */
	bpf_probe_read_kernel(&id, sizeof(id), attributes);
	return bpf_map_lookup_elem(&pal_links, &id) ? answer(self_bpf(), EPERM) : 0;
}

#endif
