/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Capabilities, in whatever user namespace. A probe that asks not to be audited is judged, not reported.
 */
#ifndef PAL_CAPABILITY_H
#define PAL_CAPABILITY_H

SEC("lsm/capable")
int BPF_PROG(pal_capable, const struct cred *cred, struct user_namespace *ns, int capability, unsigned int options)
{
	struct pal_task *task;
	struct access a;
	int refused;

	if ((u32)capability >= PAL_CAPABILITIES)
		return 0;
	refused = task_current(&task);
	if (refused <= 0)
		return answer(refused, EPERM);
	refused = mount_by_capability(task, capability);
	if (refused)
		return answer(refused, EPERM);
	refused = access_enter(&a, task, PAL_CLASS_CAPABILITY, PAL_OP_CAPABILITY, 1);
	if (refused != GO_ON)
		return answer(refused, EPERM);
	a.s->quiet = options & CAP_OPT_NOAUDIT;
	refused = access_row(&a, capability);
	access_end(&a);
	return answer(refused, EPERM);
}

#endif
