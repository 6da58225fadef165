/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One access from beginning to end. Every hook does the same four things:
 *
 *   access_begin()   whose access is it, and does its table judge this class at all? Takes a slot.
 *   path_of()        or a row number: what is accessed
 *   judge()          the verdict, and its event
 *   access_end()     gives the slot back
 */
#ifndef PAL_JUDGE_H
#define PAL_JUDGE_H

#define FILE_READ 1u		/* bits of `operations`, class file */
#define FILE_WRITE 2u

struct access {
	struct pal_task *task;
	struct pal_scratch *s;
	u32 index;
};

/* What access_begin() says; the last two are what a hook answers, too. */
#define GO_ON 1
#define PASS 0
#define REFUSE (-1)

/*
 * The source class of the current task's program in the table of s->handle, found again from the executed file and
 * noted in the task. Only while exe_file is still the file that was executed: a process can exchange it (prctl
 * PR_SET_MM_EXE_FILE). Answers the class to judge by: in an exec that of the stage. Overwrites s->path.
 */
__noinline u32 source_refresh(u32 index)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_scratch *s = scratch_at(index);
	struct pal_task *task = task_own();
	struct file *exe = current->mm->exe_file;
	u64 source = TABLE_GONE;
	int status;

	if (!s || !task)
		return 0;
	if (!closed(CLOSER_EXE) || is_program_of(task, exe->f_inode)) {
		s->start_dentry = (u64)exe->f_path.dentry;
		s->start_mount = (u64)exe->f_path.mnt;
		status = path_again(index);
		if (status == PATH_INTERNAL)
			status = path_memfd(index);
		if (status == PATH_OK && (!closed(CLOSER_EXE) || is_program_of(task, exe->f_inode)))
			source = table_source(s->handle, index, SOURCE_OF_PATH);
	}
	if (source & TABLE_GONE)
		source = table_source(s->handle, index, SOURCE_UNKNOWN);
	/* A table that went away meanwhile: judge() will find that out, and come here again. */
	if (source & TABLE_GONE)
		return 0;
	task->source = source;
	task->stage = source;
	task->table_id = s->handle;
	task->flags |= PAL_TASK_SOURCE_SET;
	/* In an exec, past its first stage: what was folded belongs to the old table. */
	if (task->script != PAL_SCRIPT_NONE) {
		source = table_source(s->handle, index, SOURCE_UNKNOWN);
		task->stage = source;
		task->script = source;
	}
	return s->event.operation == PAL_OP_EXEC ? task->stage : task->source;
}

static __always_inline bool has_source(const struct pal_task *task, u64 handle)
{
	return closed(CLOSER_EXE) && task->flags & PAL_TASK_SOURCE_SET && task->table_id == (u32)handle;
}

/*
 * The handle of the task's table for a class. That of the file class is noted in the task, with the label's word it
 * came from: if the table has been exchanged in its slot since, the judging functions notice by its id (TABLE_GONE).
 * They are not asked where a class is not active, so only handles of active classes are noted.
 */
static __always_inline u64 access_handle(struct pal_task *task, u32 class)
{
	u32 label = task->label;
	u64 *word, read, handle;

	if (class != PAL_CLASS_FILE)
		return table_of(label, class);
	word = bpf_map_lookup_elem(&pal_labels, &label);
	if (!word)
		return TABLE_GONE;
	read = READ_ONCE(*word);
	if (task->handle && task->label_word == read)
		return task->handle;
	handle = table_of(label, class);
	task->handle = 0;
	if (!(handle & (TABLE_GONE | HANDLE_UNUSED)) && handle_class(handle) & PAL_CLASS_ACTIVE) {
		task->label_word = read;
		task->handle = handle;
	}
	return handle;
}

/* A slot for an access of the task, by the table of handle. */
static __always_inline int access_take(struct access *a, struct pal_task *task, u64 handle, u32 class, u32 operation)
{
	struct pal_scratch *s = scratch_take(&a->index);

	if (!s)
		return handle_audits(handle) ? PASS : REFUSE;
	a->task = task;
	a->s = s;
	s->label = task->label;
	s->handle = handle;
	s->class = class;
	s->operations = 0;
	s->owner = 0;
	s->quiet = 0;
	s->device = 0;
	s->told = 0;
	s->names = 0;
	s->end = PAL_KEY_NONE;
	s->split = 0;
	s->source = 0;
	s->terminal = 0;
	s->event.operation = operation;
	s->event.access = 0;
	return GO_ON;
}

/* The handle of the table that judges a class for the task. */
static __always_inline int access_table(struct pal_task *task, u64 *handle, u32 class)
{
	*handle = access_handle(task, class);
	if (*handle & TABLE_GONE)
		return REFUSE;
	if (*handle & HANDLE_UNUSED || !(handle_class(*handle) & PAL_CLASS_ACTIVE))
		return PASS;
	return GO_ON;
}

/* Whether the task, or an ancestor in its workload, had a controlling terminal. */
static __always_inline u32 task_terminal(struct pal_task *task)
{
	struct task_struct *current = bpf_get_current_task_btf();

	if (current->signal->tty)
		task->flags |= PAL_TASK_TERMINAL;
	return task->flags & PAL_TASK_TERMINAL;
}

/* The slot of an access, with all of its question that does not depend on the object. */
static __always_inline int access_slot(struct access *a, struct pal_task *task, u64 handle, u32 class, u32 operation,
				       u32 operations)
{
	u32 flags = handle_class(handle);
	int taken = access_take(a, task, handle, class, operation);
	struct pal_scratch *s;

	if (taken != GO_ON)
		return taken;
	s = a->s;
	s->operations = operations;
	s->event.access = operations;
	if (flags & PAL_CLASS_SOURCED) {
		if (!has_source(task, handle))
			source_refresh(a->index);
		s->source = task->source;
	}
	if (flags & PAL_CLASS_PTS)
		s->terminal = task_terminal(task);
	return GO_ON;
}

/* access_begin() for a task that has a label. */
static __always_inline int access_enter(struct access *a, struct pal_task *task, u32 class, u32 operation, u32 operations)
{
	u64 handle;
	int go = access_table(task, &handle, class);

	return go == GO_ON ? access_slot(a, task, handle, class, operation, operations) : go;
}

static __always_inline int access_begin(struct access *a, u32 class, u32 operation, u32 operations)
{
	struct pal_task *task;
	int found = task_current(&task);

	return found <= 0 ? found : access_enter(a, task, class, operation, operations);
}

static __always_inline void access_end(struct access *a)
{
	scratch_give_back(a->s);
}

/* nop_mnt_idmap, where there is one (6.2): the mapping of a mount that maps nothing. */
extern const void nop_mnt_idmap __ksym __weak;

/* Owners of an idmapped mount are not compared: nobody is the owner of a file there. */
static __always_inline bool is_idmapped(struct vfsmount *mount, struct super_block *super)
{
	u64 mapping = 0;

	if (bpf_core_field_exists(struct vfsmount___idmap, mnt_idmap)) {
		bpf_core_read(&mapping, sizeof(mapping), &((struct vfsmount___idmap *)mount)->mnt_idmap);
		return mapping != (u64)&nop_mnt_idmap;
	}
	bpf_core_read(&mapping, sizeof(mapping), &((struct vfsmount___userns *)mount)->mnt_userns);
	return mapping != (u64)super->s_user_ns;
}

/* Whether the task is the owner of inode. */
static __always_inline bool is_owner(struct inode *inode, struct vfsmount *mount)
{
	struct task_struct *current = bpf_get_current_task_btf();

	return inode->i_uid.val == current->cred->uid.val && !is_idmapped(mount, inode->i_sb);
}

/* Notes that, where a decision of this table depends on it. */
static __always_inline void access_owner(struct access *a, struct inode *inode, struct vfsmount *mount)
{
	if (handle_class(a->s->handle) & PAL_CLASS_OWNER && inode)
		a->s->owner = is_owner(inode, mount);
}

/* key_put() on a stack of its own. */
__noinline int key_again(u32 index)
{
	struct pal_scratch *s = scratch_at(index);

	if (s)
		key_put(s);
	return 0;
}

/* Makes the slot ready to be judged by the table that the label names now, whose handle it answers. */
__noinline u64 judge_prepare(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_task *task = task_own();
	u64 handle, dentry, mount;
	u32 status;

	if (!s)
		return TABLE_GONE;
	handle = table_of(s->label, s->class);
	dentry = s->start_dentry;
	mount = s->start_mount;
	status = s->status;
	if (handle & (TABLE_GONE | HANDLE_UNUSED))
		return handle;
	if (task)
		task->handle = 0;
	s->handle = handle;
	if (handle_class(handle) & PAL_CLASS_SOURCED)
		s->source = source_refresh(index);
	else
		s->source = 0;
	s->start_dentry = dentry;
	s->start_mount = mount;
	if (status == PATH_OK) {
		status = path_again(index);
		if (status == PATH_INTERNAL)
			status = path_memfd(index);
	}
	s->names = 0;
	if (s->event.operation == PAL_OP_EXEC && status == PATH_OK && handle_class(handle) & PAL_CLASS_INVOKED &&
	    argv_names(index))
		status = PATH_UNRESOLVABLE;
	if (status == PATH_KEY)
		key_again(index);
	s->status = status;
	/* The path may end in another name by now, and its states are another table's. */
	s->split = 0;
	return handle;
}

/*
 * Judges again after the table of s->handle went away, and once more. Apart from judge_decided() and from what it needs:
 * all functions of a call share 512 bytes of stack, and the longest ways lead through here to what judges.
 */
__noinline u64 judge_again(u32 index)
{
	u64 decision = TABLE_GONE;

	for (int try = 0; try < 2 && decision & TABLE_GONE; try++) {
		decision = judge_prepare(index);
		if (!(decision & (TABLE_GONE | HANDLE_UNUSED)))
			decision = table_judge(decision, index);
	}
	return decision;
}

/* What a denial answers: EPERM for capabilities, mounts, attaching and BPF objects. */
static __always_inline bool is_permission(u32 class, u32 operation)
{
	return class == PAL_CLASS_CAPABILITY || (operation >= PAL_OP_MOUNT && operation != PAL_OP_TOUCH);
}

/*
 * One open, one event. An open that creates its file is judged as it creates and as it opens, one that truncates as it
 * opens and as it truncates; each judgement denies for itself, and the second reports only what is stricter than what the
 * first has reported.
 *
 * The kernel keeps a nameidata while it walks a path and opens what it finds, not during mknod(2), truncate(2) or
 * ftruncate(2). A creation's note is used up by the thread's next open, whatever that opens, and counts for the same
 * object alone. So what it keeps silent stands directly behind an event of the same thread about the same object that says
 * as much; at most one for each.
 */
static __always_inline bool is_opening(void)
{
	struct task_struct *current = bpf_get_current_task_btf();

	return current->nameidata;
}

static __always_inline void note_created(const struct pal_scratch *s, u32 told)
{
	struct pal_task *task = task_own();

	if (!task)
		return;
	task->created = s->start_dentry;
	task->created_told = told;
}

/*
 * Carries out a decision about what stands in the slot, and reports it. 0: it passes; else it is refused, with that
 * errno. A function of its own for all that is not silently allowed; built-in rules come here directly.
 */
__noinline int judge_decided(u32 index, u64 decision)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_event *e;
	u32 verdict, refused, operation;

	if (!s)
		return EACCES;
	operation = s->event.operation;
	if (s->status == PATH_UNRESOLVABLE && operation < PAL_OP_MOUNT)
		count(PAL_COUNT_UNRESOLVABLE);
	if (decision & TABLE_GONE) {
		count(PAL_COUNT_NO_TABLE);
		return handle_audits(s->handle) ? 0 : EACCES;
	}
	if (decision & HANDLE_UNUSED)
		return 0;
	verdict = (u32)decision >> 30;
	if (!strictness(decision))
		return 0;

	e = &s->event;
	if (s->status == PATH_DETACHED && operation == PAL_OP_OPEN &&
	    (decision & PAL_CODE_MASK) == PAL_CODE_BUILTIN + BUILTIN_MOUNT_INTEGRITY)
		operation = PAL_OP_OPEN_DETACHED;
	e->operation = operation;
	e->code = decision & PAL_CODE_MASK;
	e->flags = decision & DECISION_SHADOW ? PAL_EVENT_SHADOW : 0;
	e->shadow = decision & DECISION_SHADOW ? decision >> 32 & ((u32)(DECISION_SHADOW >> 32) - 1) : 0;
	e->class = s->class;
	e->verdict = verdict;
	e->error = 0;
	if (verdict == PAL_BLOCK) {
		count(PAL_COUNT_BLOCK);
		/* The protection of Palisade itself knows no audited mode. */
		if (!handle_audits(s->handle) || e->code == PAL_CODE_BUILTIN + BUILTIN_SELF)
			e->error = is_permission(s->class, operation) ? EPERM : EACCES;
	} else {
		count(PAL_COUNT_AUDIT);
	}
	if (s->class == PAL_CLASS_NETWORK)
		e->object_kind = s->end == PAL_KEY_NONE ? PAL_OBJECT_SOCKET :
				 s->end == PAL_KEY_REMOTE4 || s->end == PAL_KEY_LOCAL4 ? PAL_OBJECT_ENDPOINT4 :
											 PAL_OBJECT_ENDPOINT6;
	else if (s->class == PAL_CLASS_CAPABILITY)
		e->object_kind = PAL_OBJECT_CAPABILITY;
	else if (s->status == PATH_UNRESOLVABLE || s->status == PATH_DETACHED)
		e->object_kind = PAL_OBJECT_UNRESOLVABLE;
	else
		e->object_kind = s->path[s->offset & (PAL_PATH_MAX - 1)] == '/' ? PAL_OBJECT_PATH : PAL_OBJECT_MEMFD;
	if (s->status != PATH_NONE && s->status != PATH_KEY) {
		e->family = 0;
		e->type = 0;
		e->protocol = 0;
	}
	if (s->end == PAL_KEY_NONE) {
		e->port = 0;
		__builtin_memset(e->address, 0, sizeof(e->address));
	}
	refused = e->error;
	if (!s->quiet && (refused || strictness(decision) > s->told)) {
		event_send(index);
		if (e->operation == PAL_OP_CREATE && is_opening())
			note_created(s, strictness(decision));
	}
	return refused;
}

/* By slot; atomic, because open.h counts without having a slot. */
static __always_inline void count_judged(u32 index)
{
	u64 *judged = bpf_map_lookup_elem(&pal_judged, &index);

	if (judged)
		__sync_fetch_and_add(judged, 1);
}

/* The table's decision about what stands in the slot. */
static __always_inline u64 judge_ask(struct access *a)
{
	count_judged(a->index);
	return table_judge(a->s->handle, a->index);
}

/* Carries it out, and overwrites the slot where it has to be reported. 0: it passes; else it is refused, with that errno. */
static __always_inline int judge_answer(struct access *a, u64 decision)
{
	/* PAL_ALLOW without a shadow, and neither TABLE_GONE nor HANDLE_UNUSED */
	if (!(decision >> 30))
		return 0;
	if (decision & TABLE_GONE)
		decision = judge_again(a->index);
	return judge_decided(a->index, decision);
}

static __always_inline int judge(struct access *a)
{
	return judge_answer(a, judge_ask(a));
}

/* Judges an object of the file tree; what is no file passes. */
static __always_inline int access_path(struct access *a, struct dentry *dentry, struct vfsmount *mount)
{
	a->s->status = path_of(a->s, a->index, a->task, dentry, mount);
	if (a->s->status == PATH_INTERNAL)
		return 0;
	return judge(a);
}

static __always_inline int access_row(struct access *a, u32 row)
{
	struct pal_event *e = &a->s->event;

	a->s->status = PATH_NONE;
	a->s->row = row;
	e->family = row;
	e->type = 0;
	e->protocol = 0;
	return judge(a);
}

/* Judges what stands in s->end and s->event: the socket and, where the operation names one, an end. */
static __always_inline int access_key(struct access *a)
{
	struct pal_event *e = &a->s->event;

	a->s->status = PATH_KEY;
	a->s->row = socket_row(e->family, e->type, e->protocol);
	key_put(a->s);
	return judge(a);
}

#endif
