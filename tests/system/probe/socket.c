/* Operations on sockets. An "early" socket is made on the command "early", before there is a policy. */
#include "sys.h"

#include <linux/fcntl.h>
#include <asm/socket.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/io_uring.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/un.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM_ 1
#define SOCK_DGRAM_ 2
#define CLOEXEC O_CLOEXEC
#define NONBLOCK O_NONBLOCK
#define NOSIGNAL 0x4000
#define FASTOPEN 0x20000000
#define PROT_RW 3
#define MAP_SHARED_ 1
#define EARLY 64

/* Port 9 (discard), in network order: nobody listens in a fresh network namespace. */
#define PORT_NOBODY 0x0900

static int early[EARLY];

union address {
	unsigned short family;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_nl netlink;
	char room[128];
};

static int loopback(union address *at, long family, unsigned short port)
{
	memset(at, 0, sizeof(*at));
	at->family = (unsigned short)family;
	switch (family) {
	case AF_INET:
		at->v4.sin_port = port;
		at->v4.sin_addr.s_addr = 0x0100007f;
		return sizeof(at->v4);
	case AF_INET6:
		at->v6.sin6_port = port;
		at->v6.sin6_addr.s6_addr[15] = 1;
		return sizeof(at->v6);
	case AF_NETLINK:
		return sizeof(at->netlink);
	default:
		return sizeof(at->v4);
	}
}

static long new_socket(const struct args *a, long flags)
{
	return SYS3(__NR_socket, arg_number(a, "family"), arg_number(a, "type") | flags, arg_number(a, "protocol"));
}

static long op_socket(const struct args *a)
{
	long fd = new_socket(a, CLOEXEC);

	if (fd < 0)
		return fd;
	SYS1(__NR_close, fd);
	return 0;
}

static int *slot(const struct args *a)
{
	return &early[arg_number(a, "slot") % EARLY];
}

/* The address of the command, "at=" in hexadecimal digits; loopback where it gives none. */
static int address(union address *to, const struct args *a, unsigned short port)
{
	const char *digits = arg(a, "at");
	int size = 0;

	if (!digits[0])
		return loopback(to, arg_number(a, "family"), port);
	memset(to, 0, sizeof(*to));
	for (; digits[0] && digits[1] && size < (int)sizeof(*to); digits += 2)
		to->room[size++] = (char)(hex(digits[0]) * 16 + hex(digits[1]));
	return size;
}

static long op_early(const struct args *a)
{
	union address at;
	int size = address(&at, a, 0);
	const char *later = arg(a, "later");
	int accepts = equal(later, "accept") || equal(later, "uring_accept");
	/* As a rule nobody comes; the other calls are answered at once on the loopback device. */
	long fd = new_socket(a, CLOEXEC | (accepts ? NONBLOCK : 0));

	/* A family that the kernel lacks: no descriptor, so that the access itself answers EBADF. */
	*slot(a) = (int)fd;
	if (fd < 0)
		return fd;
	if (equal(later, "listen") || accepts)
		SYS3(__NR_bind, fd, &at, size);
	if (accepts)
		SYS2(__NR_listen, fd, 1);
	/* A ring waits where there is nobody: there somebody comes, and stays. */
	if (equal(later, "uring_accept")) {
		long other = new_socket(a, CLOEXEC);

		SYS3(__NR_getsockname, fd, &at, &size);
		SYS3(__NR_connect, other, &at, size);
	}
	return 0;
}

static long op_connect(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);

	return SYS3(__NR_connect, *slot(a), &at, size);
}

static long op_sendto(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);
	long n = SYS6(__NR_sendto, *slot(a), "x", 1, NOSIGNAL, &at, size);

	return n < 0 ? n : 0;
}

static long op_fastopen(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);
	long n = SYS6(__NR_sendto, *slot(a), "x", 1, NOSIGNAL | FASTOPEN, &at, size);

	return n < 0 ? n : 0;
}

static long op_sendmmsg(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);
	struct iovec_ iov = {"x", 1};
	struct msghdr_ one = {&at, size, &iov, 1, 0, 0, 0};
	struct {
		struct msghdr_ message;
		unsigned int sent, pad;
	} both[2] = {{one, 0, 0}, {one, 0, 0}};
	long n = SYS4(__NR_sendmmsg, *slot(a), both, 2, NOSIGNAL);

	return n < 0 ? n : n == 2 ? 0 : ODD;
}

static long op_connect_unspec(const struct args *a)
{
	union address at;

	memset(&at, 0, sizeof(at));
	return SYS3(__NR_connect, *slot(a), &at, sizeof(at.v4));
}

/* inet_bind() takes AF_UNSPEC for AF_INET where the address is the unspecified one. */
static long op_bind_unspec(const struct args *a)
{
	union address at;
	int size = address(&at, a, 0);

	at.family = 0;
	return SYS3(__NR_bind, *slot(a), &at, size);
}

static long op_bind(const struct args *a)
{
	union address at;
	int size = address(&at, a, 0);

	return SYS3(__NR_bind, *slot(a), &at, size);
}

static long op_listen(const struct args *a)
{
	return SYS2(__NR_listen, *slot(a), 1);
}

static long op_accept(const struct args *a)
{
	long fd = SYS4(__NR_accept4, *slot(a), NULL, NULL, CLOEXEC);

	if (fd < 0)
		return fd;
	SYS1(__NR_close, fd);
	return 0;
}

/* === the same by io_uring === */

/* One submission without the queue's mappings being kept: a ring for each call. Its answer is that of the call. */
static long by_ring(const struct io_uring_sqe *wanted)
{
	struct io_uring_params params;

	memset(&params, 0, sizeof(params));
	long ring = SYS2(__NR_io_uring_setup, 1, &params);

	if (ring < 0)
		return ring;
	long queue = SYS6(__NR_mmap, 0, 4096, PROT_RW, MAP_SHARED_, ring, IORING_OFF_SQ_RING);
	long done = SYS6(__NR_mmap, 0, 4096, PROT_RW, MAP_SHARED_, ring, IORING_OFF_CQ_RING);
	long entries = SYS6(__NR_mmap, 0, 4096, PROT_RW, MAP_SHARED_, ring, IORING_OFF_SQES);
	long result = ODD;

	if (queue > 0 && done > 0 && entries > 0) {
		unsigned int *tail = (unsigned int *)(queue + params.sq_off.tail);

		*(struct io_uring_sqe *)entries = *wanted;
		*(unsigned int *)(queue + params.sq_off.array) = 0;
		__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
		result = SYS6(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
		if (result == 1)
			result = ((struct io_uring_cqe *)(done + params.cq_off.cqes))->res;
	}
	SYS2(__NR_munmap, queue, 4096);
	SYS2(__NR_munmap, done, 4096);
	SYS2(__NR_munmap, entries, 4096);
	SYS1(__NR_close, ring);
	return result;
}

static long op_uring_connect(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);
	struct io_uring_sqe call = {.opcode = IORING_OP_CONNECT, .fd = *slot(a), .addr = (unsigned long)&at};

	call.off = (unsigned long)size;
	return by_ring(&call);
}

static long op_uring_sendmsg(const struct args *a)
{
	union address at;
	int size = address(&at, a, PORT_NOBODY);
	struct iovec_ iov = {"x", 1};
	struct msghdr_ message = {&at, size, &iov, 1, 0, 0, 0};
	struct io_uring_sqe call = {.opcode = IORING_OP_SENDMSG, .fd = *slot(a), .addr = (unsigned long)&message, .len = 1};

	call.msg_flags = NOSIGNAL;
	long n = by_ring(&call);

	return n == 1 ? 0 : n;
}

static long op_uring_accept(const struct args *a)
{
	struct io_uring_sqe call = {.opcode = IORING_OP_ACCEPT, .fd = *slot(a)};

	call.accept_flags = CLOEXEC;
	long fd = by_ring(&call);

	if (fd < 0)
		return fd;
	SYS1(__NR_close, fd);
	return 0;
}

/* === pathname sockets === */

static int name(struct sockaddr_un *at, const struct args *a)
{
	const char *path = arg(a, "path");

	memset(at, 0, sizeof(*at));
	at->sun_family = AF_UNIX;
	for (size_t i = 0; path[i] && i < sizeof(at->sun_path) - 1; i++)
		at->sun_path[i] = path[i];
	return sizeof(*at);
}

static long op_unix_connect(const struct args *a)
{
	struct sockaddr_un at;
	int size = name(&at, a);
	long fd = SYS3(__NR_socket, AF_UNIX, SOCK_STREAM_ | CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long ret = SYS3(__NR_connect, fd, &at, size);

	SYS1(__NR_close, fd);
	return ret;
}

static long op_unix_bind(const struct args *a)
{
	struct sockaddr_un at;
	int size = name(&at, a);
	long fd = SYS3(__NR_socket, AF_UNIX, SOCK_STREAM_ | CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long ret = SYS3(__NR_bind, fd, &at, size);

	SYS1(__NR_close, fd);
	return ret;
}

static long op_unix_sendto(const struct args *a)
{
	struct sockaddr_un at;
	int size = name(&at, a);
	long fd = SYS3(__NR_socket, AF_UNIX, SOCK_DGRAM_ | CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long n = SYS6(__NR_sendto, fd, "x", 1, NOSIGNAL, &at, size);

	SYS1(__NR_close, fd);
	return n < 0 ? n : 0;
}

/* Sockets without a file: abstract names, and none. */
static long op_unix_abstract(const struct args *a)
{
	/* The first byte of an abstract name is 0. */
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0palisade-probe"};
	int pair[2];
	long stream = SYS3(__NR_socket, AF_UNIX, SOCK_STREAM_ | CLOEXEC, 0);
	long client = SYS3(__NR_socket, AF_UNIX, SOCK_STREAM_ | CLOEXEC, 0);
	long datagram = SYS3(__NR_socket, AF_UNIX, SOCK_DGRAM_ | CLOEXEC, 0);
	long ret = SYS3(__NR_bind, stream, &at, sizeof(at));

	(void)a;
	if (ret == 0)
		ret = SYS2(__NR_listen, stream, 1);
	if (ret == 0)
		ret = SYS3(__NR_connect, client, &at, sizeof(at));
	at.sun_path[1] = 'd';
	if (ret == 0)
		ret = SYS3(__NR_bind, datagram, &at, sizeof(at));
	if (ret == 0)
		ret = SYS6(__NR_sendto, datagram, "x", 1, NOSIGNAL, &at, sizeof(at));
	if (ret == 1)
		ret = SYS4(__NR_socketpair, AF_UNIX, SOCK_DGRAM_ | CLOEXEC, 0, pair);
	if (ret == 0)
		ret = SYS6(__NR_sendto, pair[0], "x", 1, NOSIGNAL, NULL, 0) == 1 ? 0 : ODD;
	SYS1(__NR_close, stream);
	SYS1(__NR_close, client);
	SYS1(__NR_close, datagram);
	return ret;
}

const struct op socket_ops[] = {
	{"unix_abstract", op_unix_abstract, 1},
	{"socket", op_socket, 0},
	{"early", op_early, 0},
	{"connect", op_connect, 0},
	{"sendto", op_sendto, 0},
	{"bind", op_bind, 0},
	{"listen", op_listen, 0},
	{"accept", op_accept, 0},
	{"connect_unspec", op_connect_unspec, 0},
	{"sendmmsg", op_sendmmsg, 0},
	{"fastopen", op_fastopen, 0},
	{"sendto_ignored", op_sendto, 0},
	{"bind_unspec", op_bind_unspec, 0},
	{"listen_unbound", op_listen, 0},
	{"uring_connect", op_uring_connect, 0},
	{"uring_sendmsg", op_uring_sendmsg, 0},
	{"uring_accept", op_uring_accept, 0},
	{"unix_connect", op_unix_connect, 0},
	{"unix_bind", op_unix_bind, 0},
	{"unix_sendto", op_unix_sendto, 0},
	{NULL, NULL, 0},
};
