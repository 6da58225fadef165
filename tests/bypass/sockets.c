/* A daemon's socket (docker.sock) that is bound into the workload: it is denied by the name that it has there. */
#include "attack.h"
#include <linux/io_uring.h>

static int connect_as(const char *path, int type)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), result;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	result = said(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
	return result;
}

static int by_connect(const char *object)
{
	return connect_as(object, SOCK_STREAM);
}

static int by_self_root(const char *object)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/self/root%s", object);
	return by_connect(path);
}

static int by_link(const char *object)
{
	const char *link = at("work/socket-link");

	unlink(link);
	return symlink(object, link) ? ODD : by_connect(link);
}

static int by_descriptor(const char *object)
{
	int fd = open(object, O_PATH | O_CLOEXEC);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd < 0 ? ODD : by_connect(path);
}

static int by_chroot(const char *object)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(object, '/') - object), object);
	return chroot(dir) || chdir("/") ? ODD : by_connect(strrchr(object, '/'));
}

static int by_hard_link(const char *object)
{
	const char *name = at("work/hard-socket");

	unlink(name);
	return link(object, name) ? errno : by_connect(name);
}

/* Once more, by an own bind mount of its file. */
static int by_bind(const char *object)
{
	const char *to = at("work/bound-socket");
	int result;

	write_text(to, "");
	if (mount(object, to, NULL, MS_BIND, NULL))
		return errno;
	result = by_connect(to);
	umount2(to, MNT_DETACH);
	return result;
}

static int by_ring_connect(const char *object)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct io_uring_sqe want = {.opcode = IORING_OP_CONNECT, .flags = IOSQE_ASYNC, .addr = (unsigned long)&to, .off = sizeof(to)};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", object);
	want.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return by_ring(&want, 0);
}

/* Beside a socket of streams lies one of datagrams. */
static const char *datagram(const char *object)
{
	static char path[600];

	snprintf(path, sizeof(path), "%.*s/docker.datagram", (int)(strrchr(object, '/') - object), object);
	return path;
}

static int by_datagram(const char *object)
{
	return connect_as(datagram(object), SOCK_DGRAM);
}

static int by_sendmsg(const char *object)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct iovec part = {"x", 1};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &part, .msg_iovlen = 1};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", datagram(object));
	return said(sendmsg(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), &message, MSG_DONTWAIT));
}

static int by_sendmmsg(const char *object)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct iovec part = {"x", 1};
	struct mmsghdr messages[] = {
		{.msg_hdr = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &part, .msg_iovlen = 1}},
	};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", datagram(object));
	return said(sendmmsg(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), messages, 1, MSG_DONTWAIT));
}

const struct attack socket_attacks[] = {
	{"docker-connect", by_connect},
	{"docker-self-root", by_self_root},
	{"docker-link", by_link},
	{"docker-opath", by_descriptor},
	{"docker-chroot", by_chroot},
	{"docker-bind", by_bind},
	{"docker-ring", by_ring_connect},
	{"docker-datagram", by_datagram},
	{"docker-sendmsg", by_sendmsg},
	{"docker-sendmmsg", by_sendmmsg},
	{"socket-hard-link", by_hard_link},
	{NULL, NULL},
};
