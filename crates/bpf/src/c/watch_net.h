/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets and the ends of connections, as net.h and unix.h judge them.
 */
#ifndef PAL_WATCH_NET_H
#define PAL_WATCH_NET_H

#define SOCK_TYPE_MASK 0xf
#define MESSAGES 8
#define MMSGHDR_BYTES 64

/* The head of struct msghdr in user space. */
struct user_message {
	u64 name;
	u32 length;
	u32 pad;
};

__noinline int seen_socket(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	u32 family, type, protocol;

	if (!s)
		return 0;
	family = argument(s, 1);
	type = argument(s, 2) & SOCK_TYPE_MASK;
	protocol = argument(s, 3);
	if (socket_row(family, type, protocol) == PAL_SOCK_EXEMPT)
		return 0;
	s->event.family = family;
	s->event.type = type;
	s->event.protocol = protocol;
	s->event.object_kind = PAL_OBJECT_SOCKET;
	return SEEN;
}

/* Fills in what socket a descriptor is; its struct sock, NULL if it is none. */
static __always_inline struct sock *socket_at(struct pal_scratch *s, u32 fd)
{
	struct file *file = file_at(fd);
	struct socket *socket;
	struct sock *sk;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	s->event.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	s->event.type = (u16)BPF_CORE_READ(socket, type);
	s->event.protocol = BPF_CORE_READ(sk, sk_protocol);
	s->event.object_kind = PAL_OBJECT_SOCKET;
	return sk;
}

/* A local end; bound to `::`, a socket that is not of IPv6 alone is bound to 0.0.0.0 as well. */
static __always_inline int seen_local(struct pal_scratch *s, struct sock *sk)
{
	u32 *address = (u32 *)s->event.address;

	if (s->end != PAL_KEY_LOCAL6 || address[0] || address[1] || address[2] || address[3] ||
	    BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only))
		return SEEN;
	return SEEN_TWICE;
}

__noinline int seen_own_end(u32 index, u32 slot)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	struct sock *sk;
	__be32 address[4];
	__be16 port;

	if (!s || !call)
		return 0;
	sk = socket_at(s, argument(s, call->fd));
	if (!sk || socket_row(s->event.family, s->event.type, s->event.protocol) == PAL_SOCK_EXEMPT)
		return 0;
	port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_num));
	if (s->event.family == AF_INET6) {
		BPF_CORE_READ_INTO(&address, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
		end_set6(s, PAL_KEY_LOCAL4, port, address);
	} else if (s->event.family == AF_INET) {
		end_set4(s, PAL_KEY_LOCAL4, port, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	}
	return seen_local(s, sk);
}

/* To whom the unspecified address leads: end_of_nowhere() of net.h. */
static __always_inline void nowhere(struct pal_scratch *s, struct sock *sk)
{
	u32 *address = (u32 *)s->event.address;
	__be32 own = 0;

	if (s->end == PAL_KEY_REMOTE4 && !address[0]) {
		if (s->event.family != AF_SMC)
			own = BPF_CORE_READ((struct inet_sock *)sk, inet_saddr);
		address[0] = own ? own : __builtin_bswap32(INADDR_LOOPBACK);
	}
	if (s->end != PAL_KEY_REMOTE6 || address[0] || address[1] || address[2] || address[3])
		return;
	if (BPF_CORE_READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]) == __builtin_bswap32(0xffff)) {
		address[0] = __builtin_bswap32(INADDR_LOOPBACK);
		s->end = PAL_KEY_REMOTE4;
	} else {
		address[3] = __builtin_bswap32(1);
	}
}

/* A pathname socket: its file is bound, connected to or sent to. Abstract and unnamed ones are no files. */
static __always_inline int seen_unix(struct pal_scratch *s, u32 index, u64 at, u32 length, s64 ret)
{
	u32 operation = s->event.operation;
	char first = 0;

	if (length <= 2 || bpf_probe_read_user(&first, 1, (void *)(at + 2)) || !first)
		return 0;
	if (ret < 0 && ret != -EAGAIN && ret != -EINPROGRESS)
		return 0;
	s->event.operation = operation == PAL_OP_BIND	 ? PAL_OP_UNIX_BIND :
			     operation == PAL_OP_CONNECT ? PAL_OP_UNIX_CONNECT :
							   PAL_OP_UNIX_SEND;
	s->event.object_kind = PAL_OBJECT_PATH;
	s->event.code = PAL_SEEN_NAMED;
	if (!walk_start(s, index, first == '/', 0))
		return 0;
	s->called = at + 2;
	s->argv_count = NAME_OF_LENGTH;
	s->argv_end = length - 2;
	return SEEN;
}

/* The operation of `call` on its socket, with the address at `at`. Whether it succeeds or not: both were judged. */
static __always_inline int seen_address(struct pal_scratch *s, u32 index, u32 slot, u64 at, u32 length, s64 ret)
{
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	u32 family, type, protocol, operation, flags;
	bool local;
	struct sock *sk;

	if (!call)
		return 0;
	sk = socket_at(s, argument(s, call->fd));
	if (!sk)
		return 0;
	operation = call->operation;
	s->event.operation = operation;
	family = s->event.family;
	type = s->event.type;
	protocol = s->event.protocol;
	if (family == AF_UNIX)
		return seen_unix(s, index, at, length, ret);
	if (socket_row(family, type, protocol) == PAL_SOCK_EXEMPT)
		return 0;
	flags = call->flags ? argument(s, call->flags) : 0;
	if (operation == PAL_OP_SEND && type == SOCK_STREAM && !(flags & MSG_FASTOPEN) &&
	    (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || family == AF_SMC))
		return 0;
	local = operation == PAL_OP_BIND;
	s->end = PAL_KEY_NONE;
	if (has_ends(family)) {
		u32 read = length < SOCKADDR_IN6 ? SOCKADDR_IN : SOCKADDR_IN6;

		if (length >= SOCKADDR_IN && bpf_probe_read_user(s->data, read, (void *)at)) {
			count(PAL_TALLY_UNREADABLE);
			return 0;
		}
		end_of_address(s, local ? PAL_KEY_LOCAL4 : PAL_KEY_REMOTE4, (u64)s->data, length,
			       local ? AF_INET : operation == PAL_OP_SEND ? family : 0);
	}
	if (local)
		return seen_local(s, sk);
	nowhere(s, sk);
	return SEEN;
}

__noinline int seen_end(u32 index, u32 slot, s64 ret)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	u64 at;

	if (!s || !call)
		return 0;
	at = argument(s, call->at);
	return at ? seen_address(s, index, slot, at, argument(s, call->at + 1), ret) : 0;
}

/* The message number s->row that a call sends. */
__noinline int seen_message(u32 index, u32 slot, s64 ret)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	struct user_message message;

	if (!s || !call)
		return 0;
	if (bpf_probe_read_user(&message, sizeof(message), (void *)(argument(s, call->at) + s->row * MMSGHDR_BYTES))) {
		count(PAL_TALLY_UNREADABLE);
		return 0;
	}
	return message.name ? seen_address(s, index, slot, message.name, message.length, ret) : 0;
}

#endif
