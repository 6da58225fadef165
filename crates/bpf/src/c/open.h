/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opening a file: by the cache of directories where it can be (cache.h), else by its whole path.
 *
 *   open_cached()   a hit: reads the entry, then asks pass_*() for the file's own name
 *   open_store()    after a whole walk: makes the entry
 *   pal_dentry_moved, pal_inode_freed: what makes entries stale
 */
#ifndef PAL_OPEN_H
#define PAL_OPEN_H

#include "cache_key.h"
#include "cache_name.h"

/* Whether the table that a handle names is still the one in its slot. */
static __always_inline bool handle_is_there(u64 handle)
{
	u32 slot = handle >> HANDLE_SLOT & (PAL_TABLE_SLOTS - 1);
	u32 size = handle >> HANDLE_SIZE & (PAL_SIZES - 1);
	u32 id = handle;

	return DISPATCH(is_there, size, slot, id);
}

/*
 * Whether the open passes in silence, by its directory's entry: PASSES. Else ASK, or ASK_AND_STORE where there is no
 * entry that is right, or no answer for the name. `asked`: the operations, and bit 2 if the task owns the file.
 *
 * The open is judged by the path that the file has at one moment of this function, the reading of `moves`:
 *   - its name and its directory's dentry are those of that moment, because d_seq, which is written with both, has not
 *     changed from before to after. The file is held by its opener, its dentry holds the directory's, which has children
 *     and so keeps its inode: none of the addresses below was reused meanwhile;
 *   - the directory's path up to the root is the one that the states were computed from, because nothing that it depends
 *     on has changed from open_store() to that moment (cache.h);
 *   - the states, or the answer that was made from them, are of that entry, because its version is even and has not
 *     changed from before to after.
 * The barriers and volatile reads keep clang from changing the order of reads, and x86 keeps it; on other machines the
 * label does not carry PAL_LABEL_CACHE.
 */
static __noinline u64 open_cached(struct dentry *dentry, struct vfsmount *mount, struct pal_task *task, u64 handle,
				  u32 asked)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *parent;
	u32 slot = handle >> HANDLE_SLOT & (PAL_TABLE_SLOTS - 1);
	u32 size = handle >> HANDLE_SIZE & (PAL_SIZES - 1);
	u32 id = handle, seq = READ_ONCE(dentry->d_seq.seqcount.sequence);
	struct cache_question question, *q = &question;
	const struct cache_entry *e;
	struct inode *inode;
	u64 version, answer, of;
	bool is_short, is_new = false;

	barrier();
	parent = dentry->d_parent;
	inode = parent->d_inode;
	q->entry = cache_index(low_half(inode), low_half(mount), id);
	e = &pal_cache[q->entry & (CACHE_ENTRIES - 1)];
	KEEP(e);
	version = READ_ONCE(e->version);
	/* which directory: two directories of one bucket */
	if (KEPT(KEY_INODE) && READ_ONCE(e->inode) != (u64)inode)
		return ASK_AND_STORE;
	/* through which mount: a directory that is bound in two places has two paths */
	if (KEPT(KEY_MOUNT) && READ_ONCE(e->mount) != (u64)mount)
		return ASK_AND_STORE;
	/* states mean nothing to another table; the id is compared again with the table's own below */
	if (KEPT(KEY_TABLE) && READ_ONCE(e->table_id) != id)
		return ASK_AND_STORE;
	/* to a task of another mount namespace the same file has no path, or only that of its workload's first root */
	if (KEPT(KEY_NAMESPACE) && READ_ONCE(e->namespace) != (u64)current->nsproxy->mnt_ns)
		return ASK_AND_STORE;
	/* the inode at this address has not died since: inode_free_security comes before its memory is given back */
	if (KEPT(KEY_DEATHS) && READ_ONCE(e->deaths) != *cache_deaths(low_half(inode)))
		return ASK_AND_STORE;
	/* no move of a directory in any of the path's file systems has begun since */
	if (KEPT(KEY_MOVES) && READ_ONCE(e->moves) != cache_moves(READ_ONCE(e->supers)))
		return ASK_AND_STORE;
	/* no mount was put, moved or taken away since; odd while one is: an entry's is even */
	if (KEPT(KEY_MOUNTS) && READ_ONCE(e->mount_seq) != mount_sequence())
		return ASK_AND_STORE;
	q->asked = asked;
	q->source = handle_class(handle) & PAL_CLASS_SOURCED ? task->source : 0;
	q->terminal = handle_class(handle) & PAL_CLASS_PTS ? task_terminal(task) : 0;
	q->hash = dentry->d_name.hash;
	q->pad = 0;
	is_short = (u64)dentry->d_name.name == (u64)short_name(dentry);
	if (!is_short && !open_name(q, dentry, false))
		return ASK;
	of = cache_of(version, q->entry);
	/* The control of the table is one of its states: tables that say the same have the same answers. */
	answer = KEPT(KEY_TABLE) ? name_answer(q, dentry, is_short, of) : ASK_AND_STORE;
	if (answer == ASK)
		return ASK;
	if (answer == PASSES) {
		if (!handle_is_there(handle))
			return ASK_AND_STORE;
	} else {
		if (is_short)
			open_name(q, dentry, true);
		answer = DISPATCH(pass, size, slot, id, q);
		is_new = answer == PASSES;
	}
	barrier();
	/* a writer came between: the states may be another entry's */
	if (version & 1 || READ_ONCE(e->version) != version)
		return ASK_AND_STORE;
	/* the file itself was renamed, or is the root of its file system, which has no directory */
	if (KEPT(KEY_NAME) && (seq & 1 || READ_ONCE(dentry->d_seq.seqcount.sequence) != seq))
		return ASK_AND_STORE;
	if (parent == dentry)
		return ASK;
	if (is_new)
		name_store(q, of, PASSES);
	return answer;
}

/* Whether the path's super blocks above the first are ones that entries may be made of; their numbers into *supers. */
static __always_inline bool cache_crossed(const struct pal_scratch *s, u32 *supers)
{
	for (u32 i = 0; i < 2; i++) {
		u64 encoding = 0;
		unsigned long magic;
		struct super_block *super;
		u32 dev;

		if (i >= s->crossings)
			break;
		super = (void *)s->crossed[i];
		if (bpf_core_read(&magic, sizeof(magic), &super->s_magic) ||
		    bpf_core_read(&dev, sizeof(dev), &super->s_dev))
			return false;
		if (bpf_core_field_exists(super->s_encoding) &&
		    bpf_core_read(&encoding, sizeof(encoding), &super->s_encoding))
			return false;
		if (!cache_knows(magic, encoding))
			return false;
		*supers = *supers << 8 | cache_super(dev);
	}
	return true;
}

/*
 * Makes the entry of the file's directory, from the states that the walk over the whole path noted (s->states).
 *
 * They are those of the directory's path at every moment between the reading of s->rename_seq and that of rename_lock
 * below, since it was not written in between: no __d_move() overlaps that time. In it are read
 *   - the directory, as the file's parent: it cannot have changed, and its inode is held by its dentry, that by the file's;
 *   - `deaths`, while that inode lives;
 *   - `moves`: a move that was over before is in it, as is the path's change by it; one that comes later is not.
 * s->mount_seq was read before the walk and was still the same after it. Any change since makes the entry stale at once.
 */
static __noinline void open_store(struct access *a, struct file *file, u64 decision)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *dentry = file->f_path.dentry, *parent;
	struct vfsmount *mount = file->f_path.mnt;
	struct super_block *super = mount->mnt_sb;
	u64 namespace, version, next, moves, encoding = 0;
	struct cache_question question, *q = &question;
	struct pal_scratch *s = a->s;
	u32 index, deaths, supers, length;
	bool is_same;
	struct cache_entry *e;
	struct inode *inode;

	if (s->crossings > 2)
		return;
	if (bpf_core_field_exists(super->s_encoding))
		encoding = (u64)super->s_encoding;
	if (!cache_knows(super->s_magic, encoding))
		return;
	/* A hit does not ask what is Palisade's: nothing on a file system of its is kept, whatever the directory. */
	if (is_own_super(super))
		return;
	supers = cache_super(super->s_dev);
	if (!cache_crossed(s, &supers))
		return;
	/*
	 * The path begins at the root of the task's own namespace: path_top() lets it begin at the root of another, the one
	 * that the workload began in, which is then task->home. A hit asks for the namespace alone.
	 */
	namespace = (u64)current->nsproxy->mnt_ns;
	if (a->task->home && a->task->home != namespace)
		return;
	parent = dentry->d_parent;
	inode = parent->d_inode;
	deaths = *cache_deaths(low_half(inode));
	moves = cache_moves(supers);
	barrier();
	if (sequence_of(&rename_lock) != s->rename_seq)
		return;
	index = cache_index(low_half(inode), low_half(mount), (u32)s->handle);
	e = &pal_cache[index & (CACHE_ENTRIES - 1)];
	version = READ_ONCE(e->version);
	/* somebody writes it, perhaps a task that this one preempted: nobody waits */
	if (version & 1 || __sync_val_compare_and_swap(&e->version, version, version + 1) != version)
		return;
	is_same = e->inode == (u64)inode && e->mount == (u64)mount && e->namespace == namespace && e->moves == moves &&
		  e->mount_seq == s->mount_seq && e->deaths == deaths && e->table_id == (u32)s->handle && e->supers == supers;
	next = is_same ? version : version + 2;
	e->inode = (u64)inode;
	e->mount = (u64)mount;
	e->namespace = namespace;
	e->moves = moves;
	e->mount_seq = s->mount_seq;
	e->deaths = deaths;
	e->table_id = s->handle;
	e->supers = supers;
	/*
	 * The states of one directory and table are the same whoever finds them, but not everybody needs all: an automaton that
	 * this walk left out keeps its state, and where none is new all that is kept of names goes on to count.
	 */
	for (u32 i = 0; i < CACHE_STATES; i++) {
		u32 state = s->states[i];

		if (is_same && (!state || e->states[i] == state))
			continue;
		e->states[i] = state;
		next = version + 2;
	}
	/* an exchange, which is a full barrier: what stands above is written before */
	__sync_lock_test_and_set(&e->version, next);

	length = PATH_END - s->split;
	if (length > NAME_CACHED)
		return;
	__builtin_memset(q->name, 0, sizeof(q->name));
	/* of the path that was judged: the file may have been renamed since. Its hash only says where the answer is kept. */
	if (bpf_probe_read_kernel(q->name, length & 127, &s->path[s->split & (PAL_PATH_MAX - 1)]))
		return;
	q->entry = index;
	q->asked = s->operations | s->owner << 2;
	q->source = s->source;
	q->terminal = s->terminal;
	q->hash = dentry->d_name.hash;
	q->pad = 0;
	name_store(q, cache_of(next, index), decision >> 30 ? ASK : PASSES);
}

/* Whether an open is one that the kernel makes for an exec or for a stacked file system. */
static __always_inline bool is_inner_open(struct file *file, u32 mode, u32 flags)
{
	if (flags & FMODE_EXEC)
		return true;
	/*
	 * Before 6.5 overlayfs opens the real file under the path of its own, already judged, file: two signs, because
	 * bits of f_mode move between kernels. Later it opens it by a mount of its own, which is no part of any tree.
	 */
	return mode & FMODE_NOACCOUNT && file->f_inode != file->f_path.dentry->d_inode;
}

static __always_inline u32 open_operations(u32 mode, u32 flags)
{
	u32 operations = 0;

	if (mode & FMODE_READ)
		operations |= FILE_READ;
	if (mode & FMODE_WRITE || flags & (O_TRUNC | O_APPEND))
		operations |= FILE_WRITE;
	/* open(path, 3): neither mode, for ioctl alone; the kernel asks for both permissions. */
	return operations ? operations : FILE_READ | FILE_WRITE;
}

/* An open that no file rule judges: through a detached mount it is mount-integrity's. */
static __always_inline int open_detached(struct pal_task *task, struct file *file)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct mount *m = (void *)((u64)file->f_path.mnt - bpf_core_field_offset(struct mount, mnt));
	u64 namespace;

	if (bpf_core_read(&namespace, sizeof(namespace), &m->mnt_ns) || namespace == (u64)current->nsproxy->mnt_ns ||
	    namespace == MNT_NS_INTERNAL || is_inner_open(file, file->f_mode, file->f_flags) || !is_detached(namespace))
		return 0;
	return mount_unnamed(task, PAL_OP_OPEN_DETACHED);
}

/* The open by its whole path; with `store`, the directory's entry is made on the way. */
static __always_inline int open_whole(struct access *a, struct file *file, bool store)
{
	struct dentry *dentry = file->f_path.dentry;
	struct vfsmount *mount = file->f_path.mnt;
	u64 decision;

	a->s->status = path_of(a->s, a->index, a->task, dentry, mount);
	if (a->s->status == PATH_INTERNAL)
		return 0;
	/* The root of a mount has its name from elsewhere: a file that is mounted itself is never found by its directory. */
	if (store && a->s->status == PATH_OK && !a->s->device && dentry != mount->mnt_root) {
		__builtin_memset(a->s->states, 0, sizeof(a->s->states));
		a->s->split = PATH_END - (dentry->d_name.len & NAME_MAX);
	}
	decision = judge_ask(a);
	/* before it is carried out: an event's second path would leave its own sequences in the slot */
	if (a->s->split && !(decision & TABLE_GONE))
		open_store(a, file, decision);
	return judge_answer(a, decision);
}

SEC("lsm/file_open")
int BPF_PROG(pal_file_open, struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct pal_task *task;
	struct access a;
	int refused = task_current(&task);
	u64 handle, cached = ASK;
	u32 mode, flags, operations, owner = 0;
	bool inner, device = false;

	if (refused <= 0)
		return answer(refused, EACCES);
	mode = file->f_mode;
	flags = file->f_flags;
	operations = open_operations(mode, flags);
	inner = is_inner_open(file, mode, flags);
	refused = access_table(task, &handle, PAL_CLASS_FILE);
	if (refused == GO_ON && !inner) {
		if (handle_class(handle) & PAL_CLASS_OWNER && file->f_inode)
			owner = is_owner(file->f_inode, file->f_path.mnt);
		/* A block device wants a rule that names it, which the cache does not ask for. */
		device = closed(CLOSER_DEVICE) && (file->f_inode->i_mode & S_IFMT) == S_IFBLK;
		if (handle >> HANDLE_CACHE & 1 && !device &&
		    (!(handle_class(handle) & PAL_CLASS_SOURCED) || has_source(task, handle)))
			cached = open_cached(dentry, file->f_path.mnt, task, handle, operations | owner << 2);
		if (cached == PASSES) {
			task->created = 0;
			/* spread by the task's entry: asking for the processor is a call */
			count_judged(low_half(task) / 64 & pal_slots_mask);
			return 0;
		}
	}
	/* Not asked on a hit: nothing of Palisade's, and no procfs, is in the cache. */
	if (is_own(dentry) || (operations & FILE_WRITE && is_ftrace_switch(dentry)))
		return answer(self_touched(task, (u64)dentry, (u64)file->f_path.mnt, PAL_CLASS_FILE, PAL_OP_TOUCH), EACCES);
	if (!closed(CLOSER_OPEN))
		return 0;
	if (refused == PASS)
		return open_detached(task, file);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (inner)
		return 0;
	refused = access_slot(&a, task, handle, PAL_CLASS_FILE, PAL_OP_OPEN, operations);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (task->created) {
		if (task->created == (u64)dentry)
			a.s->told = task->created_told;
		task->created = 0;
	}
	a.s->owner = owner;
	a.s->device = device;
	refused = open_whole(&a, file, cached == ASK_AND_STORE);
	access_end(&a);
	return answer(refused, refused);
}

static __always_inline bool is_directory(struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	return (inode->i_mode & S_IFMT) == S_IFDIR;
}

/*
 * Entered with rename_lock written and before anything of the move is done, so never twice at once: the kernel leaves a
 * tracing program out where it is entered again on the same processor. What is no directory has nothing below it.
 */
SEC("?fentry/__d_move")
int BPF_PROG(pal_dentry_moved, struct dentry *dentry, struct dentry *target, bool exchange)
{
	if (is_directory(dentry) || (exchange && is_directory(target)))
		__sync_fetch_and_add(&pal_moves[cache_super(dentry->d_sb->s_dev) & (CACHE_SUPERS - 1)], 1);
	return 0;
}

/* The inode of a directory goes; its memory is free only later. */
SEC("?lsm/inode_free_security")
int BPF_PROG(pal_inode_freed, struct inode *inode)
{
	if ((inode->i_mode & S_IFMT) == S_IFDIR)
		__sync_fetch_and_add((u32 *)cache_deaths(low_half(inode)), 1);
	return 0;
}

#endif
