/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pathname AF_UNIX sockets: to connect, or to send, to one is to write to its file (binding is its creation, file.h).
 * Abstract and unnamed ones are no files, and no rule reaches them.
 */
#ifndef PAL_UNIX_H
#define PAL_UNIX_H

/*
 * A pathname socket is looked up by kern_path(), in the caller's own tree, and the hooks that follow are only given
 * the other socket, which knows its path in the tree of the process that bound it: a container that connects to a
 * socket on a volume has another path for it. So the result of the look-up is noted, and believed if it is the file
 * that the other socket is bound to. Else (a tracing program is skipped while another task is preempted inside it) the
 * binder's path is taken, if that lies in the caller's tree.
 */
SEC("fexit/kern_path")
int BPF_PROG(pal_kern_path, const char *name, unsigned int flags, struct path *path, int error)
{
	struct pal_task *task;

	if (error || task_current(&task) <= 0)
		return 0;
	task->socket_dentry = (u64)path->dentry;
	task->socket_mount = (u64)path->mnt;
	return 0;
}

static __always_inline int unix_reach(struct unix_sock *other, u32 operation)
{
	u64 dentry = 0, mount = 0, bound = 0, looked_up = 0, noted;
	struct pal_task *task;
	struct access a;
	int refused;

	/* Not bound to a path: abstract, unnamed, or a socketpair. */
	if (bpf_core_read(&dentry, sizeof(dentry), &other->path.dentry) || !dentry)
		return 0;
	refused = task_current(&task);
	if (refused <= 0)
		return answer(refused, EACCES);
	bpf_core_read(&mount, sizeof(mount), &other->path.mnt);
	if (is_own_by_reads(dentry))
		return answer(self_touched(task, dentry, mount, PAL_CLASS_FILE, PAL_OP_TOUCH), EACCES);
	if (!closed(CLOSER_UNIX))
		return 0;
	refused = access_enter(&a, task, PAL_CLASS_FILE, operation, FILE_WRITE);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	bpf_core_read(&bound, sizeof(bound), &((struct dentry *)dentry)->d_inode);
	/* A variable of its own: a macro of bpf_core_read() relocates every access in its argument, ours too. */
	noted = a.task->socket_dentry;
	if (noted)
		bpf_core_read(&looked_up, sizeof(looked_up), &((struct dentry *)noted)->d_inode);
	if (bound && bound == looked_up) {
		a.s->start_dentry = noted;
		a.s->start_mount = a.task->socket_mount;
	} else {
		a.s->start_dentry = dentry;
		a.s->start_mount = mount;
	}
	a.s->status = path_again(a.index);
	refused = a.s->status == PATH_INTERNAL ? 0 : judge(&a);
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(pal_unix_connect, struct sock *sock, struct sock *other)
{
	return unix_reach((struct unix_sock *)other, PAL_OP_UNIX_CONNECT);
}

SEC("lsm/unix_may_send")
int BPF_PROG(pal_unix_send, struct socket *sock, struct socket *other)
{
	struct sock *from = sock->sk, *to = other->sk;
	u64 peer = 0;

	/* Never so here; from 6.8 on the verifier wants to see it. */
	if (!from || !to)
		return 0;
	/* Every message to a connected peer comes through here; the connection itself was judged. */
	bpf_core_read(&peer, sizeof(peer), &((struct unix_sock *)from)->peer);
	if (peer == (u64)to)
		return 0;
	return unix_reach((struct unix_sock *)to, PAL_OP_UNIX_SEND);
}

#endif
