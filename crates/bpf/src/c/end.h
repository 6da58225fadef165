/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ends of connections that addresses name, in the record of an access.
 */
#ifndef PAL_END_H
#define PAL_END_H

/* The parts of struct sockaddr_in and sockaddr_in6 that name an end. */
struct sockaddr_any {
	u16 family;
	__be16 port;
	__be32 v4;
	__be32 v6[4];
};

#define SOCKADDR_IN 16
#define SOCKADDR_IN6 24		/* without the scope, as the kernel takes it too */

_Static_assert(sizeof(struct sockaddr_any) == SOCKADDR_IN6, "the address of IPv6 ends it");

static __always_inline void end_set(struct pal_scratch *s, u32 kind, __be16 port)
{
	s->end = kind;
	s->event.port = __builtin_bswap16(port);
}

static __always_inline void end_set4(struct pal_scratch *s, u32 kind, __be16 port, __be32 address)
{
	u32 *to = (u32 *)s->event.address;

	to[0] = address;
	to[1] = to[2] = to[3] = 0;
	end_set(s, kind, port);
}

/* An IPv4-mapped address is its IPv4 address. `kind` is that of IPv4; that of IPv6 is the next. */
static __always_inline void end_set6(struct pal_scratch *s, u32 kind, __be16 port, const __be32 *address)
{
	u32 *to = (u32 *)s->event.address;

	if (!address[0] && !address[1] && address[2] == __builtin_bswap32(0xffff)) {
		end_set4(s, kind, port, address[3]);
		return;
	}
	to[0] = address[0];
	to[1] = address[1];
	to[2] = address[2];
	to[3] = address[3];
	end_set(s, kind + 1, port);
}

/*
 * The end that an address names. One that is too short, or of another family, names none: the kernel will refuse it.
 * `unspecified` is the family that AF_UNSPEC stands for.
 */
static __always_inline void end_of_address(struct pal_scratch *s, u32 kind, u64 address, u32 length, u32 unspecified)
{
	struct sockaddr_any any = {};
	u32 family;

	if (length < SOCKADDR_IN || bpf_probe_read_kernel(&any, SOCKADDR_IN, (void *)address))
		return;
	family = any.family ? any.family : unspecified;
	if (family == AF_INET) {
		end_set4(s, kind, any.port, any.v4);
	} else if (family == AF_INET6 && length >= SOCKADDR_IN6) {
		if (!bpf_probe_read_kernel(&any, SOCKADDR_IN6, (void *)address))
			end_set6(s, kind, any.port, any.v6);
	}
}

/* Whether operations on sockets of the family name ends. */
static __always_inline bool has_ends(u32 family)
{
	return family == AF_INET || family == AF_INET6 || family == AF_SMC;
}

#endif
