/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets: creating one, by protocol and type; and pathname AF_UNIX sockets, which are files.
 */
#ifndef PAL_NET_H
#define PAL_NET_H

enum {
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_SCTP = 132,
	IPPROTO_UDPLITE = 136,
	IPPROTO_MPTCP = 262,
};

/* What the rules call a protocol, of an inet socket. A raw socket is met by icmp and icmpv6 alone. */
static __always_inline u32 protocol_word(u32 type, u32 protocol)
{
	switch (type) {
	case SOCK_STREAM:
		if (!protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
			return PAL_PROTO_TCP;
		break;
	case SOCK_DGRAM:
		if (!protocol || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
			return PAL_PROTO_UDP;
		break;
	case SOCK_SEQPACKET:
		if (!protocol)
			return PAL_PROTO_SCTP;
		break;
	}
	if (type == SOCK_DGRAM || type == SOCK_RAW) {
		if (protocol == IPPROTO_ICMP)
			return PAL_PROTO_ICMP;
		if (protocol == IPPROTO_ICMPV6)
			return PAL_PROTO_ICMPV6;
	}
	return protocol == IPPROTO_SCTP && type != SOCK_RAW ? PAL_PROTO_SCTP : PAL_PROTO_OTHER;
}

/* The row of the network class (abi.h), or PAL_SOCK_EXEMPT. */
static __always_inline u32 socket_row(u32 family, u32 type, u32 protocol)
{
	u32 column = type <= SOCK_DCCP ? type : type == SOCK_PACKET ? 7 : 0;

	switch (family) {
	case AF_UNIX:
		return PAL_SOCK_EXEMPT;
	case AF_NETLINK:
		return protocol == NETLINK_ROUTE ? PAL_SOCK_EXEMPT : PAL_SOCK_OTHER;
	case AF_PACKET:
		return PAL_SOCK_PACKET;
	case AF_INET:
	case AF_INET6:
		return column * 8 + protocol_word(type, protocol);
	case AF_SMC:
		return type == SOCK_RAW ? PAL_SOCK_OTHER : PAL_SOCK_SMC;
	}
	return PAL_SOCK_OTHER;
}

SEC("lsm/socket_create")
int BPF_PROG(pal_socket_create, int family, int type, int protocol, int kern)
{
	struct access a;
	int refused;
	u32 row;

	if (kern)
		return 0;
	row = socket_row(family, type, protocol);
	if (row == PAL_SOCK_EXEMPT)
		return 0;
	refused = access_begin(&a, PAL_CLASS_NETWORK, PAL_OP_SOCKET, 1);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	refused = access_row(&a, row, family, type, protocol);
	access_end(&a);
	return answer(refused, EACCES);
}

/*
 * A pathname socket is looked up by kern_path(), in the caller's own tree, and the hooks that follow are only given
 * the other socket, which knows its path in the tree of the process that bound it: a container that connects to a
 * socket on a volume has another path for it. So the result of the look-up is noted, and believed if it is the file
 * that the other socket is bound to.
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
	u64 dentry = 0, bound = 0, looked_up = 0, noted;
	struct access a;
	int refused;

	/* Not bound to a path: abstract, unnamed, or a socketpair. */
	if (bpf_core_read(&dentry, sizeof(dentry), &other->path.dentry) || !dentry)
		return 0;
	refused = access_begin(&a, PAL_CLASS_FILE, operation, FILE_WRITE);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	bpf_core_read(&bound, sizeof(bound), &((struct dentry *)dentry)->d_inode);
	/* A variable of its own: a macro of bpf_core_read() relocates every access in its argument, ours too. */
	noted = a.task->socket_dentry;
	if (noted)
		bpf_core_read(&looked_up, sizeof(looked_up), &((struct dentry *)noted)->d_inode);
	a.s->start_dentry = noted;
	a.s->start_mount = a.task->socket_mount;
	a.s->status = bound && bound == looked_up ? path_again(a.index) : PATH_UNRESOLVABLE;
	refused = a.s->status == PATH_INTERNAL ? 0 : judge(a.index, 0);
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
	struct unix_sock *from = (struct unix_sock *)sock->sk;
	u64 to = (u64)other->sk, peer = 0;

	/* Every message to a connected peer comes through here; the connection itself was judged. */
	bpf_core_read(&peer, sizeof(peer), &from->peer);
	if (peer == to)
		return 0;
	return unix_reach((struct unix_sock *)to, PAL_OP_UNIX_SEND);
}

#endif
