/* Operations on sockets. An "early" socket is made on the command "early", before there is a policy. */
#include "sys.h"

#include <linux/fcntl.h>
#include <asm/socket.h>
#include <linux/in.h>
#include <linux/in6.h>
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

static long op_early(const struct args *a)
{
	union address at;
	int size = loopback(&at, arg_number(a, "family"), 0);
	const char *later = arg(a, "later");
	/* Nobody ever comes; the other calls are answered at once on the loopback device. */
	long fd = new_socket(a, CLOEXEC | (equal(later, "accept") ? NONBLOCK : 0));

	if (fd < 0)
		return fd;
	*slot(a) = (int)fd;
	if (equal(later, "listen") || equal(later, "accept"))
		SYS3(__NR_bind, fd, &at, size);
	if (equal(later, "accept"))
		SYS2(__NR_listen, fd, 1);
	return 0;
}

static long op_connect(const struct args *a)
{
	union address at;
	int size = loopback(&at, arg_number(a, "family"), PORT_NOBODY);

	return SYS3(__NR_connect, *slot(a), &at, size);
}

static long op_sendto(const struct args *a)
{
	union address at;
	int size = loopback(&at, arg_number(a, "family"), PORT_NOBODY);
	long n = SYS6(__NR_sendto, *slot(a), "x", 1, NOSIGNAL, &at, size);

	return n < 0 ? n : 0;
}

static long op_bind(const struct args *a)
{
	union address at;
	int size = loopback(&at, arg_number(a, "family"), 0);

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

const struct op socket_ops[] = {
	{"socket", op_socket, 0},
	{"early", op_early, 0},
	{"connect", op_connect, 0},
	{"sendto", op_sendto, 0},
	{"bind", op_bind, 0},
	{"listen", op_listen, 0},
	{"accept", op_accept, 0},
	{"unix_connect", op_unix_connect, 0},
	{"unix_bind", op_unix_bind, 0},
	{"unix_sendto", op_unix_sendto, 0},
	{NULL, NULL, 0},
};
