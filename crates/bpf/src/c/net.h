/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets: making one, and every operation that names an end of a connection, judged by protocol and type, address and
 * port. Operations on connected sockets name none: the connection was judged. Sockets of the kernel's own are nobody's
 * act. AF_UNIX is in unix.h.
 */
#ifndef PAL_NET_H
#define PAL_NET_H

SEC("lsm/socket_create")
int BPF_PROG(pal_socket_create, int family, int type, int protocol, int kern)
{
	struct access a;
	int refused;

	if (kern || socket_row(family, type, protocol) == PAL_SOCK_EXEMPT)
		return 0;
	refused = access_begin(&a, PAL_CLASS_NETWORK, PAL_OP_SOCKET, 1);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	a.s->event.family = family;
	a.s->event.type = type;
	a.s->event.protocol = protocol;
	refused = access_key(&a);
	access_end(&a);
	return answer(refused, EACCES);
}

/* === ends of sockets (of addresses: end.h) === */

/* Where the kernel goes that is sent to the unspecified address: the address that the socket is bound to, or loopback. */
static __always_inline void end_of_nowhere(struct pal_scratch *s, struct sock *sk)
{
	u32 *address = (u32 *)s->event.address;

	if (s->end == PAL_KEY_REMOTE4 && !address[0]) {
		__be32 own = 0;

		if (s->event.family != AF_SMC)
			bpf_core_read(&own, sizeof(own), &((struct inet_sock *)sk)->inet_saddr);
		address[0] = own ? own : __builtin_bswap32(INADDR_LOOPBACK);
	}
	if (s->end != PAL_KEY_REMOTE6 || address[0] || address[1] || address[2] || address[3])
		return;
	if (sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2] == __builtin_bswap32(0xffff)) {
		address[0] = __builtin_bswap32(INADDR_LOOPBACK);
		s->end = PAL_KEY_REMOTE4;
	} else {
		address[3] = __builtin_bswap32(1);
	}
}

/* The local end of a socket: unspecified address and port 0 where it has none yet. */
static __always_inline void end_of_socket(struct pal_scratch *s, struct sock *sk)
{
	__be16 port = __builtin_bswap16(sk->__sk_common.skc_num);
	u32 family = sk->__sk_common.skc_family;
	__be32 address[4];

	if (family == AF_INET6) {
		address[0] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		address[1] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		address[2] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		address[3] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		end_set6(s, PAL_KEY_LOCAL4, port, address);
	} else if (family == AF_INET) {
		end_set4(s, PAL_KEY_LOCAL4, port, sk->__sk_common.skc_rcv_saddr);
	}
}

/* Whether the operation stands on a socket that rules can reach, and of a task that has any: access_begin()'s answer. */
static __always_inline int socket_begin(struct access *a, struct socket *socket, struct sock *sk, u32 operation)
{
	u32 family, type, protocol;
	int go_on;

	/* Never so here; from 6.8 on the verifier wants to see it. */
	if (!sk)
		return PASS;
	family = sk->__sk_common.skc_family;
	if (family == AF_UNIX)
		return PASS;
	type = (u16)socket->type;
	protocol = sk->sk_protocol;
	if (socket_row(family, type, protocol) == PAL_SOCK_EXEMPT || BPF_CORE_READ_BITFIELD(sk, sk_kern_sock))
		return PASS;
	go_on = access_begin(a, PAL_CLASS_NETWORK, operation, 1);
	if (go_on != GO_ON)
		return go_on;
	a->s->event.family = family;
	a->s->event.type = type;
	a->s->event.protocol = protocol;
	return GO_ON;
}

/*
 * Judges a local end. Bound to `::`, a socket that is not of IPv6 alone is bound to 0.0.0.0 as well: the stricter of both.
 */
static __always_inline int access_local(struct access *a, struct sock *sk)
{
	u32 *address = (u32 *)a->s->event.address;
	int refused = access_key(a);

	if (refused || a->s->end != PAL_KEY_LOCAL6 || address[0] || address[1] || address[2] || address[3] ||
	    BPF_CORE_READ_BITFIELD(sk, __sk_common.skc_ipv6only))
		return refused;
	a->s->end = PAL_KEY_LOCAL4;
	return access_key(a);
}

/* === operations === */

SEC("lsm/socket_connect")
int BPF_PROG(pal_socket_connect, struct socket *socket, struct sockaddr *address, int length)
{
	struct sock *sk = socket->sk;
	struct access a;
	int refused = socket_begin(&a, socket, sk, PAL_OP_CONNECT);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	/* AF_UNSPEC dissolves an association: no end is named. */
	if (has_ends(a.s->event.family))
		end_of_address(a.s, PAL_KEY_REMOTE4, (u64)address, length, 0);
	end_of_nowhere(a.s, sk);
	refused = access_key(&a);
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(pal_socket_sendmsg, struct socket *socket, struct msghdr *message, int size)
{
	void *name = message->msg_name;
	struct sock *sk = socket->sk;
	u32 family, protocol;
	struct access a;
	int refused;

	if (!name || !sk)
		return 0;
	family = sk->__sk_common.skc_family;
	protocol = sk->sk_protocol;
	/* TCP, also below MPTCP and SMC, does not look at the address but to open a connection by it. */
	if (socket->type == SOCK_STREAM && !(message->msg_flags & MSG_FASTOPEN) &&
	    (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || family == AF_SMC))
		return 0;
	refused = socket_begin(&a, socket, sk, PAL_OP_SEND);
	if (refused != GO_ON)
		return answer(refused, EACCES);
	if (has_ends(family))
		end_of_address(a.s, PAL_KEY_REMOTE4, (u64)name, message->msg_namelen, family);
	end_of_nowhere(a.s, sk);
	refused = access_key(&a);
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/socket_bind")
int BPF_PROG(pal_socket_bind, struct socket *socket, struct sockaddr *address, int length)
{
	struct sock *sk = socket->sk;
	struct access a;
	int refused = socket_begin(&a, socket, sk, PAL_OP_BIND);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	/* inet_bind() takes AF_UNSPEC for AF_INET. */
	if (has_ends(a.s->event.family))
		end_of_address(a.s, PAL_KEY_LOCAL4, (u64)address, length, AF_INET);
	refused = access_local(&a, sk);
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/socket_listen")
int BPF_PROG(pal_socket_listen, struct socket *socket, int backlog)
{
	struct sock *sk = socket->sk;
	struct access a;
	int refused = socket_begin(&a, socket, sk, PAL_OP_LISTEN);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	/* Not bound yet: the kernel will choose a port, on every address. */
	end_of_socket(a.s, sk);
	refused = access_local(&a, sk);
	access_end(&a);
	return answer(refused, EACCES);
}

SEC("lsm/socket_accept")
int BPF_PROG(pal_socket_accept, struct socket *socket, struct socket *fresh)
{
	struct sock *sk = socket->sk;
	struct access a;
	int refused = socket_begin(&a, socket, sk, PAL_OP_ACCEPT);

	if (refused != GO_ON)
		return answer(refused, EACCES);
	/* The peer is not known yet, and there is no later hook that could refuse it. */
	end_of_socket(a.s, sk);
	refused = access_local(&a, sk);
	access_end(&a);
	return answer(refused, EACCES);
}

#endif
