/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs: exec, and making pages executable.
 *
 *   bprm_creds_for_exec    once per exec: the stage starts as the caller's source class
 *   bprm_check_security    per stage (script, interpreter, ...): judged; a script is folded into the next stage
 *   bprm_committed_creds   the exec has succeeded: the task acts as the new program from here
 *
 * What the kernel opens and maps for the exec itself is not judged again (file.h, is_exec_mapping).
 */
#ifndef PAL_EXEC_H
#define PAL_EXEC_H

#define PROCESS_EXEC 1u		/* bits of `operations` */
#define PROCESS_MAP 2u

SEC("lsm/bprm_creds_for_exec")
int BPF_PROG(pal_exec_begin, struct linux_binprm *bprm)
{
	struct pal_task *task;
	int found = task_current(&task);

	if (found <= 0)
		return answer(found, EACCES);
	task->stage = task->source;
	task->script = PAL_SCRIPT_NONE;
	return 0;
}

/* A path in s, or a memfd's name; for exec both are programs. */
static __always_inline enum status exec_path(struct access *a, struct file *file)
{
	enum status status = path_of(a->s, a->index, a->task, file->f_path.dentry, file->f_path.mnt);

	return status == PATH_INTERNAL ? path_memfd(a->index) : status;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(pal_exec_stage, struct linux_binprm *bprm)
{
	struct pal_task *task;
	struct access a;
	u32 table_id;
	u64 class;
	int refused;

	refused = task_current(&task);
	if (refused <= 0)
		return answer(refused, EACCES);
	refused = attach_by_exec(task, bprm->file);
	if (refused)
		return answer(refused, EPERM);
	if (!closed(CLOSER_EXEC))
		return 0;
	refused = access_enter(&a, task, PAL_CLASS_PROCESS, PAL_OP_EXEC, PROCESS_EXEC);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (handle_class(a.s->handle) & PAL_CLASS_SOURCED) {
		/* A script came before this stage: from here on it stands beside the caller. */
		if (task->script != PAL_SCRIPT_NONE) {
			a.s->source = task->stage;
			a.s->row = task->script;
			class = table_source(a.s->handle, a.index, SOURCE_FOLD);
			/* Gone with its table: judge() starts again with the next one's. */
			if (!(class & TABLE_GONE))
				task->stage = class;
		}
		a.s->source = task->stage;
	}
	/* The kernel keeps the name of the exec, and exchanges that of the interpreter for each `#!` line. */
	if (bprm->interp != bprm->filename)
		a.s->event.access |= PAL_EXEC_INTERPRETER;
	access_owner(&a, bprm->file->f_inode, bprm->file->f_path.mnt);
	a.s->called = (u64)bprm->interp;
	a.s->argv_tables = (u64)bprm->mm->pgd;
	a.s->argv_at = bprm->p;
	a.s->argv_count = bprm->argc;
	a.s->status = exec_path(&a, bprm->file);
	if (a.s->status == PATH_INTERNAL) {
		access_end(&a);
		return 0;
	}
	/* What it is to the next stage, if it turns out to be a script. */
	class = PAL_SCRIPT_NONE;
	if (handle_header(a.s->handle) & PAL_TABLE_FOLD)
		class = table_source(a.s->handle, a.index, a.s->status == PATH_OK ? SOURCE_OF_PATH : SOURCE_UNKNOWN);
	table_id = a.s->handle;
	if (handle_class(a.s->handle) & PAL_CLASS_INVOKED && a.s->status == PATH_OK && argv_names(a.index))
		a.s->status = PATH_UNRESOLVABLE;
	refused = judge(&a);
	/* A class of a table that went away meanwhile is none of the next one's. */
	if (class & TABLE_GONE || table_id != (u32)a.s->handle)
		class = table_source(a.s->handle, a.index, SOURCE_UNKNOWN);
	task->script = class;
	access_end(&a);
	return answer(refused, refused);
}

/* The source class of a program that has just been executed. */
static __always_inline void exec_set_source(struct pal_task *task, struct file *file)
{
	u64 handle = table_of(task->label, PAL_CLASS_PROCESS), source = TABLE_GONE;
	struct access a = { .task = task };

	if (handle & (TABLE_GONE | HANDLE_UNUSED) || !(handle_header(handle) & PAL_TABLE_SOURCES))
		return;
	/* Without a slot the class stays unset, and the next access finds it again. */
	a.s = scratch_take(&a.index);
	if (!a.s)
		return;
	a.s->handle = handle;
	if (exec_path(&a, file) == PATH_OK)
		source = table_source(handle, a.index, SOURCE_OF_PATH);
	if (source & TABLE_GONE)
		source = table_source(handle, a.index, SOURCE_UNKNOWN);
	if (!(source & TABLE_GONE)) {
		task->source = source;
		task->table_id = handle;
		task->flags |= PAL_TASK_SOURCE_SET;
	}
	access_end(&a);
}

SEC("lsm/bprm_committed_creds")
int BPF_PROG(pal_exec_commit, struct linux_binprm *bprm)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task *task;

	/* A thread that has become the leader finds the leader's entry here. */
	if (task_current(&task) <= 0)
		return 0;
	/* And the entry is its own from here on, not that of the leader, whose end is near. */
	task->self = (u64)current;
	if (current->signal->tty)
		task->flags |= PAL_TASK_TERMINAL;
	if (!task->home) {
		task_set_home(task, current);
		namespace_note(task->label, task->home);
	}
	task_set_program(task, bprm->file);
	exec_set_source(task, bprm->file);
	return 0;
}

/*
 * The path under which a layer's file was opened through its overlay, as addresses for path_again(). From 6.7 an
 * overlay's mappings have the layer's file, whose own path lies outside the workload's mounts; before, that file has
 * the overlay's path. False: the file's own path is the one.
 */
static __always_inline bool opened_as(struct file *file, struct pal_scratch *s)
{
	struct backing_file___user *backing = (void *)file;

	if (!bpf_core_field_exists(backing->user_path))
		return false;
	/* The bit has moved once, and its old place got another meaning; a backing file is never counted either. */
	if (!(file->f_mode & FMODE_BACKING) || !(file->f_mode & FMODE_NOACCOUNT))
		return false;
	s->start_dentry = 0;
	s->start_mount = 0;
	bpf_core_read(&s->start_dentry, sizeof(s->start_dentry), &backing->user_path.dentry);
	bpf_core_read(&s->start_mount, sizeof(s->start_mount), &backing->user_path.mnt);
	return true;
}

/* is_program_of() for the inode of a dentry that is an address only. */
static __always_inline bool is_program_at(const struct pal_task *task, u64 dentry)
{
	struct inode *inode = BPF_CORE_READ((struct dentry *)dentry, d_inode);

	return task->exe_inode == BPF_CORE_READ(inode, i_ino) && task->exe_birth == BPF_CORE_READ(inode, i_generation) &&
	       task->exe_dev == BPF_CORE_READ(inode, i_sb, s_dev);
}

/*
 * Mapping a file executable. Denied only by rules that name the file itself (operation 1); all process rules count
 * (operation 0) while the program is a dynamic loader, which would else run any file for its caller.
 */
static __always_inline int map_exec(struct file *file)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task *task;
	struct inode *inode;
	struct access a;
	bool behind, own;
	int refused;

	/* The kernel maps the program and its ELF interpreter: decided by the exec. */
	if (BPF_CORE_READ_BITFIELD(current, in_execve) || !closed(CLOSER_MAP))
		return 0;
	refused = access_begin(&a, PAL_CLASS_PROCESS, PAL_OP_MAP_EXEC, PROCESS_MAP);
	if (refused != GO_ON)
		return refused;
	task = a.task;
	refused = 0;
	/* An overlay maps the file of its layer under the overlay's own path: the program is the inode behind either. */
	inode = file->f_path.dentry->d_inode;
	behind = opened_as(file, a.s);
	own = is_program_of(task, file->f_inode) || (inode && is_program_of(task, inode)) ||
	      (behind && is_program_at(task, a.s->start_dentry));
	if (!own) {
		bool loader = task->flags & PAL_TASK_LOADER;

		a.s->operations = loader ? PROCESS_EXEC : PROCESS_MAP;
		access_owner(&a, file->f_inode, file->f_path.mnt);
		a.s->status = behind ? path_again(a.index) :
				       path_of(a.s, a.index, task, file->f_path.dentry, file->f_path.mnt);
		if (a.s->status == PATH_INTERNAL && loader)
			a.s->status = path_memfd(a.index);
		if (a.s->status != PATH_INTERNAL)
			refused = judge(&a);
	}
	access_end(&a);
	return refused;
}

SEC("lsm/mmap_file")
int BPF_PROG(pal_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot)
{
	if (!file || !(prot & PROT_EXEC))
		return 0;
	return answer(map_exec(file), EACCES);
}

SEC("lsm/file_mprotect")
int BPF_PROG(pal_file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	struct file *file;

	if (!(prot & PROT_EXEC) || vma->vm_flags & VM_EXEC)
		return 0;
	file = vma->vm_file;
	return file ? answer(map_exec(file), EACCES) : 0;
}

#endif
