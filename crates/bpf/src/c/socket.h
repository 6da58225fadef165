/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which row of the network class a socket is. Numbers alone, so that it also runs in tests/c.
 */
#ifndef PAL_SOCKET_H
#define PAL_SOCKET_H

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

#endif
