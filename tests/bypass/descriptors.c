/* Descriptors: opened before the policy held, by somebody else, or by another means than open(2). */
#include "attack.h"
#include <linux/io_uring.h>
#include <sys/fanotify.h>

static int opath(const char *object)
{
	int fd = open(object, O_PATH | O_CLOEXEC);
	char path[64];

	if (fd < 0)
		return ODD;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return reach(path);
}

/* O_PATH opens nothing, so it is free; what another process makes of it is not. */
static int opath_passed(const char *object)
{
	int pair[2], fd = open(object, O_PATH | O_CLOEXEC);
	char space[CMSG_SPACE(sizeof(int))] = {0}, byte = 0, path[64];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return ODD;
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	if (sendmsg(pair[0], &message, 0) != 1 || recvmsg(pair[1], &message, 0) != 1)
		return ODD;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return reach(path);
}

/* === io_uring === */

int by_ring(const struct io_uring_sqe *order, unsigned int setup)
{
	struct io_uring_params p = {.flags = setup, .sq_thread_idle = 1000};
	int ring = syscall(SYS_io_uring_setup, 4, &p);
	unsigned int flags = IORING_ENTER_GETEVENTS | (setup & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0);
	unsigned char *sq, *cq;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;

	if (ring < 0)
		return errno;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, p.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || entries == MAP_FAILED)
		return ODD;
	*entries = *order;
	*(unsigned int *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, flags, NULL, 0) != 1)
		return ODD;
	done = (void *)(cq + p.cq_off.cqes);
	return done->res < 0 ? -done->res : 0;
}

static int open_by_ring(const char *object, unsigned int flags, unsigned int setup)
{
	struct io_uring_sqe open = {.opcode = IORING_OP_OPENAT, .flags = flags, .fd = AT_FDCWD, .addr = (unsigned long)object};

	return by_ring(&open, setup);
}

static int ring_inline(const char *object)
{
	return open_by_ring(object, 0, 0);
}

static int ring_async(const char *object)
{
	return open_by_ring(object, IOSQE_ASYNC, 0);
}

/* A thread of the kernel's takes the orders. */
static int ring_polled(const char *object)
{
	return open_by_ring(object, 0, IORING_SETUP_SQPOLL);
}

static int ring_unlink(const char *object)
{
	struct io_uring_sqe order = {
		.opcode = IORING_OP_UNLINKAT, .flags = IOSQE_ASYNC, .fd = AT_FDCWD, .addr = (unsigned long)object,
	};
	int result = by_ring(&order, 0);

	if (!result)
		write_text(object, "secret\n");
	return result;
}

/* === of others, and of before === */

static int opened_before(const char *object)
{
	char byte;

	(void)object;
	return pread(FD_OPENED, &byte, 1, 0) == 1 ? 0 : errno;
}

static int reopened(const char *object)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", strstr(object, "/free/") ? FD_OPENED_FREE : FD_OPENED);
	return reach(path);
}

static int fd_received(const char *object)
{
	char order[600], byte;
	int fd = -1, result;

	snprintf(order, sizeof(order), "open %s", object);
	result = ask(order, &fd);
	if (result || fd < 0)
		return result ?: ODD;
	return pread(fd, &byte, 1, 0) == 1 ? 0 : errno;
}

static int fd_received_reopened(const char *object)
{
	char order[600], path[64];
	int fd = -1, result;

	snprintf(order, sizeof(order), "open %s", object);
	result = ask(order, &fd);
	if (result || fd < 0)
		return ODD;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return reach(path);
}

/* Who watches a file gets a descriptor of it when another opens it. */
static int notified(const char *object)
{
	int watch = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC), fd = -1;
	struct fanotify_event_metadata event;
	char order[600];
	ssize_t n;

	if (watch < 0 || fanotify_mark(watch, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, object))
		return errno;
	snprintf(order, sizeof(order), "open %s", object);
	if (ask(order, &fd))
		return ODD;
	n = read(watch, &event, sizeof(event));
	if (n < 0)
		return errno;
	return n == sizeof(event) && event.fd >= 0 ? 0 : ODD;
}

static int truncate_old(const char *object)
{
	int fd = strstr(object, "/free/") ? FD_WRITABLE_FREE : FD_WRITABLE;
	int result = said(ftruncate(fd, 3));

	if (!result && pwrite(fd, "secret\n", 7, 0) != 7)
		return ODD;
	return result;
}

const struct attack descriptor_attacks[] = {
	{"opath", opath},
	{"opath-passed", opath_passed},
	{"opened-before", opened_before},
	{"reopened", reopened},
	{"fd-received", fd_received},
	{"fd-received-reopened", fd_received_reopened},
	{"notified", notified},
	{"truncate-old", truncate_old},
	{"ring-inline", ring_inline},
	{"ring-async", ring_async},
	{"ring-polled", ring_polled},
	{"ring-unlink", ring_unlink},
	{NULL, NULL},
};
