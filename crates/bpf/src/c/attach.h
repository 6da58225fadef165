/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaching to other tasks: ptrace, process_vm_writev, /proc/PID/mem, pidfd_getfd.
 *
 *   a task of no workload   denied, by `self`: in such a task the caller would act without its label, and reach what is
 *                           Palisade's
 *   another workload        denied, by `source`
 *   another program         denied, by `source`, in a workload with a sourced Allow; also by executing it under a tracer
 */
#ifndef PAL_ATTACH_H
#define PAL_ATTACH_H

/* Whose a task is that need not have an entry yet; 0: nobody's. */
static __always_inline u32 label_of(struct task_struct *task)
{
	struct pal_task *entry = task_find(task->pid);
	u32 *label;

	if (entry)
		return entry->label;
	label = cgroup_label(task->cgroups->dfl_cgrp->kn->id);
	return label ? *label : 0;
}

/* Whether both run one program, by file and place. What cannot be told is another, and so is every memfd. */
static __always_inline bool is_same_program(struct task_struct *a, struct task_struct *b)
{
	struct pal_task *first = task_find(a->pid), *second = task_find(b->pid);
	struct file *exe, *other;
	struct mount *m;
	u64 namespace = 0;

	if (a->mm == b->mm)
		return true;
	if (!first || !second)
		return false;
	exe = a->mm->exe_file;
	other = b->mm->exe_file;
	if (!is_program_of(first, exe->f_inode) || !is_program_of(second, other->f_inode) || exe->f_inode != other->f_inode)
		return false;
	m = (void *)((u64)exe->f_path.mnt - bpf_core_field_offset(struct mount, mnt));
	if (bpf_core_read(&namespace, sizeof(namespace), &m->mnt_ns) || namespace == MNT_NS_INTERNAL)
		return false;
	return exe->f_path.dentry == other->f_path.dentry && exe->f_path.mnt == other->f_path.mnt;
}

/* Carries out what holds for an attach by the workload of task's to exe's program: by another program, or label. */
static __always_inline int attach_judge(struct pal_task *task, u32 quiet, bool is_foreign, struct file *exe)
{
	u64 handle = table_of(task->label, PAL_CLASS_PROCESS), decision;
	struct access a;
	int refused;

	if (handle & TABLE_GONE)
		return REFUSE;
	if (!is_foreign && (handle & HANDLE_UNUSED || !(handle_header(handle) & PAL_TABLE_ATTACH)))
		return PASS;
	refused = access_take(&a, task, handle, PAL_CLASS_PROCESS, PAL_OP_ATTACH);
	if (refused != GO_ON)
		return refused;
	a.s->quiet = quiet;
	decision = is_foreign ? TABLE_GONE : table_source(handle, a.index, TABLE_ATTACH_DECISION);
	/* Also where the table was exchanged meanwhile: who wants to attach can try again. */
	if (decision & TABLE_GONE)
		decision = PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + BUILTIN_SOURCE);
	a.s->start_dentry = (u64)exe->f_path.dentry;
	a.s->start_mount = (u64)exe->f_path.mnt;
	a.s->status = path_again(a.index);
	if (a.s->status == PATH_INTERNAL)
		a.s->status = path_memfd(a.index);
	if (a.s->status != PATH_OK)
		a.s->status = PATH_UNRESOLVABLE;
	refused = judge_decided(a.index, decision);
	access_end(&a);
	return refused;
}

/* `tracer`, a task of the workload of task's, attaches to `target`. */
static __always_inline int attach(struct pal_task *task, struct task_struct *tracer, struct task_struct *target, u32 quiet)
{
	struct file *exe = target->mm->exe_file;
	u32 label = label_of(target);

	if (!label)
		return self_touched(task, (u64)exe->f_path.dentry, (u64)exe->f_path.mnt, PAL_CLASS_PROCESS, PAL_OP_ATTACH);
	if (label == task->label && is_same_program(tracer, target))
		return 0;
	return attach_judge(task, quiet, label != task->label, exe);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(pal_ptrace_access, struct task_struct *child, unsigned int mode)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task *task;
	int found;

	if (!(mode & PTRACE_MODE_ATTACH) || !closed(CLOSER_ATTACH))
		return 0;
	found = task_current(&task);
	if (found <= 0)
		return answer(found, EPERM);
	return answer(attach(task, current, child, mode & PTRACE_MODE_NOAUDIT), EPERM);
}

/* The caller asks its parent to trace it. A parent of no workload may. */
SEC("lsm/ptrace_traceme")
int BPF_PROG(pal_ptrace_traceme, struct task_struct *parent)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct pal_task *task;
	int found = task_current(&task);

	if (found <= 0)
		return answer(found, EPERM);
	if (!label_of(parent) || !closed(CLOSER_ATTACH))
		return 0;
	if (label_of(parent) == task->label && is_same_program(parent, current))
		return 0;
	return answer(attach_judge(task, 0, label_of(parent) != task->label, current->mm->exe_file), EPERM);
}

/* An exec under a tracer is an attach of the tracer to the new program. 0 passes. */
static __always_inline int attach_by_exec(struct pal_task *task, struct file *file)
{
	struct task_struct *current = bpf_get_current_task_btf(), *tracer = current->parent;
	struct file *exe = tracer->mm->exe_file;

	if (!current->ptrace || !closed(CLOSER_TRACED) || label_of(tracer) != task->label)
		return 0;
	if (exe->f_path.dentry == file->f_path.dentry && exe->f_path.mnt == file->f_path.mnt)
		return 0;
	return attach_judge(task, 0, false, file);
}

#endif
