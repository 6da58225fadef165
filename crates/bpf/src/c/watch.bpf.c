// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Watching a run by tracepoints, where LSM programs do not load: an object of its own, which denies nothing.
 *
 *   watch_abi.h   the contract with user space; records are those of abi.h
 *   watch_send.h  what was seen -> record -> ring
 *   watch_file.h  opens, names, descriptors; watch_net.h: sockets and their ends
 *   path.h scratch.h socket.h end.h   as in palisade.bpf.c
 *
 * Which system calls are looked at, and what of them, is data (pal_calls): numbers differ between architectures.
 * A call is told when it is over, as only then it is known what came of it: a descriptor is the task's own, and its
 * file's path is walked. Names are read again at that time, from memory that the program could have changed meanwhile.
 */
#include "ktypes.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"
#include "watch_abi.h"

#define PATH_LOCKS_MAY_LACK
#include "watch_maps.h"
#include "scratch.h"
#include "path.h"
#include "socket.h"
#include "end.h"
#include "watch_send.h"
#include "watch_file.h"
#include "watch_net.h"

/* Whether a system call of 32 bits is under way, whose numbers are others. */
static __always_inline bool is_compat(void)
{
	struct task_struct___x86 *current = (void *)bpf_get_current_task_btf();
	u32 status = 0;

	if (bpf_core_field_exists(current->thread_info.status))
		bpf_core_read(&status, sizeof(status), &current->thread_info.status);
	return status & TS_COMPAT;
}

static __always_inline u32 number_of(struct pt_regs *regs)
{
#ifdef __TARGET_ARCH_x86
	return regs->orig_ax;
#else
	s32 number = -1;

	bpf_core_read(&number, sizeof(number), &((struct pt_regs___arm *)regs)->syscallno);
	return number;
#endif
}

static __always_inline void arguments_of(struct pal_scratch *s, struct pt_regs *regs)
{
#ifdef __TARGET_ARCH_x86
	s->candidate[1] = regs->di;
	s->candidate[2] = regs->si;
	s->candidate[3] = regs->dx;
	s->candidate[4] = regs->r10;
	s->candidate[5] = regs->r8;
	s->candidate[6] = regs->r9;
#else
	/* The first register holds the result by now. */
	bpf_core_read(&s->candidate[1], 8, &((struct pt_regs___arm *)regs)->orig_x0);
	bpf_core_read(&s->candidate[2], 40, &((struct pt_regs___arm *)regs)->regs[1]);
#endif
}

/* One face of a call. `ret` is what it returns; when it begins: 0. */
__noinline int face_seen(u32 index, u32 slot, s64 ret)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);

	if (!s || !call)
		return 0;
	s->event.operation = call->operation;
	s->event.code = 0;
	s->event.access = 0;
	s->event.object_kind = PAL_OBJECT_PATH;
	s->end = PAL_KEY_NONE;
	s->called = 0;
	s->status = PATH_NONE;
	switch (call->what) {
	case PAL_CALL_OPEN:
		return seen_open(index, slot, ret);
	case PAL_CALL_NAME:
		if (!ret || ret == -ENOTEMPTY || ret == -EBUSY || ret == -EISDIR)
			return seen_name(index, slot);
		return 0;
	case PAL_CALL_MAP:
		if (!(argument(s, 3) & PROT_EXEC))
			return 0;
		return (u64)ret < (u64)-4095 ? seen_held(index, slot) : 0;
	case PAL_CALL_HELD:
		return ret ? 0 : seen_held(index, slot);
	case PAL_CALL_EXEC:
		/* Whatever other format: the kernel asked about the file, and found no loader. */
		return ret == -ENOEXEC ? seen_name(index, slot) : 0;
	case PAL_CALL_SOCKET:
		return seen_socket(index);
	case PAL_CALL_END:
		return seen_end(index, slot, ret);
	case PAL_CALL_MESSAGE:
	case PAL_CALL_MESSAGES:
		return seen_message(index, slot, ret);
	case PAL_CALL_OWN_END:
		return seen_own_end(index, slot);
	case PAL_CALL_ACT:
		return ret < 0 ? SEEN_NOTHING : SEEN;
	case PAL_CALL_UNSEEN:
		if (ret >= 0)
			count(PAL_TALLY_UNSEEN);
		return 0;
	}
	return 0;
}

/* Sends what a call showed. */
static __always_inline void face(struct pal_scratch *s, u32 index, u32 slot, s64 ret)
{
	u32 tid = bpf_get_current_pid_tgid();
	int seen;

	s->row = 0;
	seen = face_seen(index, slot, ret);
	if (seen)
		send_as(index, tid);
	if (seen == SEEN_TWICE) {
		s->end = PAL_KEY_LOCAL4;
		send_as(index, tid);
	}
}

/* The messages of one call behind the first. */
static __always_inline void more_messages(struct pal_scratch *s, u32 index, u32 slot, s64 ret)
{
	u32 tid = bpf_get_current_pid_tgid();

	for (s64 i = 1; i < MESSAGES && i < ret; i++) {
		s->row = i;
		if (face_seen(index, slot, ret))
			send_as(index, tid);
	}
	/* Of a longer array the rest is not looked at. */
	if (ret > MESSAGES)
		count(PAL_TALLY_UNREADABLE);
}

/* The faces of a number that are told now. */
static __always_inline bool concerns(u32 slot, bool enter)
{
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);

	if (!call || !call->what)
		return false;
	if (call->what == PAL_CALL_EXEC)
		return true;
	return !(call->rules & PAL_CALL_AT_ENTER) == !enter;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(pal_watch_exit, struct pt_regs *regs, long ret)
{
	u32 slot = number_of(regs) * PAL_CALL_FACES, index;
	struct pal_scratch *s;
	struct pal_call *call;

	if (slot >= PAL_CALL_NUMBERS * PAL_CALL_FACES || !concerns(slot, false) || !is_watched())
		return 0;
	if (is_compat())
		return 0;
	s = scratch_take(&index);
	if (!s)
		return 0;
	arguments_of(s, regs);
	face(s, index, slot, ret);
	call = bpf_map_lookup_elem(&pal_calls, &slot);
	if (call && call->what == PAL_CALL_MESSAGES)
		more_messages(s, index, slot, ret);
	slot++;
	if (concerns(slot, false))
		face(s, index, slot, ret);
	scratch_give_back(s);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(pal_watch_enter, struct pt_regs *regs, long number)
{
	u32 slot = (u32)number * PAL_CALL_FACES, index;
	struct pal_call *call;
	struct pal_scratch *s;

	if (is_compat()) {
		if (is_watched())
			count(PAL_TALLY_COMPAT);
		return 0;
	}
	if (slot >= PAL_CALL_NUMBERS * PAL_CALL_FACES || !concerns(slot, true) || !is_watched())
		return 0;
	call = bpf_map_lookup_elem(&pal_calls, &slot);
	s = scratch_take(&index);
	if (!s)
		return 0;
	arguments_of(s, regs);
	if (!call || call->what != PAL_CALL_EXEC)
		face(s, index, slot, 0);
	else if (exec_called(index, slot))
		send_as(index, bpf_get_current_pid_tgid());
	scratch_give_back(s);
	return 0;
}

/* An exec has succeeded. `old_tid` is the id that the caller had: it may have been a thread that became the leader. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(pal_watch_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	struct file *file = bprm->file;
	struct pal_scratch *s;
	u32 index;

	if (!is_watched())
		return 0;
	s = scratch_take(&index);
	if (!s)
		return 0;
	s->event.operation = PAL_OP_EXEC;
	s->event.code = bprm->interp != bprm->filename ? PAL_SEEN_SCRIPT : 0;
	s->event.access = 0;
	s->event.object_kind = PAL_OBJECT_PATH;
	s->end = PAL_KEY_NONE;
	s->called = (u64)bprm->filename;
	s->argv_count = NAME_OF_KERNEL;
	walk(s, index, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	if (s->status == PATH_INTERNAL)
		walk_memfd(s, index);
	send_as(index, old_tid);
	scratch_give_back(s);
	return 0;
}

/*
 * The tracepoint does not tell what merely probes, and each mapping of memory probes for CAP_SYS_ADMIN: that one is
 * never told. From 6.14.
 */
SEC("?tp_btf/cap_capable")
int BPF_PROG(pal_watch_capable, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable,
	     int capability, int refused)
{
	struct pal_scratch *s;
	u32 index;

	if (refused || capability == CAP_SYS_ADMIN || !is_watched())
		return 0;
	s = scratch_take(&index);
	if (!s)
		return 0;
	s->event.operation = PAL_OP_CAPABILITY;
	s->event.code = 0;
	s->event.access = 0;
	s->event.object_kind = PAL_OBJECT_CAPABILITY;
	s->event.family = capability;
	s->end = PAL_KEY_NONE;
	s->called = 0;
	s->status = PATH_NONE;
	send_as(index, bpf_get_current_pid_tgid());
	scratch_give_back(s);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
