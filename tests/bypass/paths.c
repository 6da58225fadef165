/* Reaching an object by another name, or its name by another object. */
#include "attack.h"
#include <linux/io_uring.h>

static int direct(const char *object)
{
	return reach(object);
}

static int relative(const char *object)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	return chdir(dir) ? ODD : reach("secret");
}

static int dotdot(const char *object)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/../usr/..%s", object);
	return reach(path);
}

static int link_to(const char *object)
{
	const char *link = at("work/link");

	unlink(link);
	return symlink(object, link) ? ODD : reach(link);
}

static int proc_self_root(const char *object)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/self/root%s", object);
	return reach(path);
}

static int proc_other_root(const char *object)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/%d/root%s", getppid(), object);
	return reach(path);
}

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

static int handle(const char *object)
{
	char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *h = (void *)space;
	int mount_id, root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	char dir[512];

	h->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, object, h, &mount_id, 0))
		return errno == EOPNOTSUPP ? ENOSYS : ODD;
	snprintf(dir, sizeof(dir), "%s", at("work"));
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open_by_handle_at(root, h, O_RDONLY | O_CLOEXEC);
	return said(fd);
}

static int by_ring(const char *object, unsigned int flags)
{
	struct io_uring_params p = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &p);
	unsigned char *sq, *cq;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;

	if (ring < 0)
		return ENOSYS;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, p.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || entries == MAP_FAILED)
		return ODD;
	memset(entries, 0, sizeof(*entries));
	entries->opcode = IORING_OP_OPENAT;
	entries->flags = flags;
	entries->fd = AT_FDCWD;
	entries->addr = (unsigned long)object;
	entries->open_flags = O_RDONLY;
	*(unsigned int *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return ODD;
	done = (void *)(cq + p.cq_off.cqes);
	return done->res < 0 ? -done->res : 0;
}

static int ring_inline(const char *object)
{
	return by_ring(object, 0);
}

static int ring_async(const char *object)
{
	return by_ring(object, IOSQE_ASYNC);
}

static int by_chroot(const char *object)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	return chroot(dir) || chdir("/") ? ODD : reach("/secret");
}

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

static int by_truncate(const char *object)
{
	return said(truncate(object, 7));
}

static int by_open_trunc(const char *object)
{
	int result = said(open(object, O_RDONLY | O_TRUNC | O_CLOEXEC));

	if (!result)
		write_text(object, "secret\n");
	return result;
}

static int hard_link(const char *object)
{
	const char *name = at("work/hard");

	unlink(name);
	return link(object, name) ? errno : reach(name);
}

static int rename_away(const char *object)
{
	const char *name = at("work/away");
	int result = said(rename(object, name));

	if (!result)
		rename(name, object);
	return result;
}

/* Moves an ancestor of the object away, reads it there, and puts it back. */
static int by_moving(const char *object, int levels)
{
	char dir[512], path[1200];
	const char *moved = at("work/moved"), *rest;
	int result;

	snprintf(dir, sizeof(dir), "%s", object);
	for (int i = 0; i < levels; i++)
		*strrchr(dir, '/') = 0;
	rest = object + strlen(dir);
	if (rename(dir, moved))
		return errno;
	snprintf(path, sizeof(path), "%s%s", moved, rest);
	result = reach(path);
	return rename(moved, dir) ? ODD : result;
}

static int rename_parent(const char *object)
{
	return by_moving(object, 1);
}

static int rename_grandparent(const char *object)
{
	return by_moving(object, 2);
}

static int exchange_parent(const char *object)
{
	char dir[512], path[600];
	const char *other = at("work/other");
	int result;

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	mkdir(other, 0755);
	if (renameat2(AT_FDCWD, dir, AT_FDCWD, other, RENAME_EXCHANGE))
		return errno == EINVAL ? ENOSYS : errno;
	snprintf(path, sizeof(path), "%s/secret", other);
	result = reach(path);
	return renameat2(AT_FDCWD, dir, AT_FDCWD, other, RENAME_EXCHANGE) ? ODD : result;
}

/* A link is turned between a free and the object, fast: whichever it leads to when it is opened is what is judged. */
static int link_swap(const char *object)
{
	const char *link = at("work/swapped"), *fresh = at("work/fresh"), *harmless = at("free/harmless");
	pid_t turner = fork();
	int result = EACCES;

	if (turner == 0) {
		for (;;) {
			unlink(fresh);
			if (symlink(object, fresh) || rename(fresh, link) || symlink(harmless, fresh) || rename(fresh, link))
				_exit(ODD);
		}
	}
	while (access(link, F_OK))
		sched_yield();
	for (int i = 0; i < 2000 && result; i++) {
		int fd = open(link, O_RDONLY | O_CLOEXEC);
		char text[16] = {0};

		/* The harmless file begins with an h, the object with an s. */
		if (fd >= 0 && read(fd, text, 15) > 0 && text[0] == 's')
			result = 0;
		if (fd >= 0)
			close(fd);
		sched_yield();
	}
	kill(turner, SIGKILL);
	waitpid(turner, NULL, 0);
	return result;
}

static int by_chmod(const char *object)
{
	return said(chmod(object, 0644));
}

static int by_setxattr(const char *object)
{
	int result = said(setxattr(object, "user.palisade", "x", 1, 0));

	return result == EOPNOTSUPP ? ENOSYS : result;
}

static int by_utimes(const char *object)
{
	return said(utimensat(AT_FDCWD, object, NULL, 0));
}

static int unix_socket(const char *object)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* Beside the secret a socket listens, bound by who is not of the workload. */
	snprintf(to.sun_path, sizeof(to.sun_path), "%.*s/socket", (int)(strrchr(object, '/') - object), object);
	return said(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

const struct attack path_attacks[] = {
	{"direct", direct},
	{"relative", relative},
	{"dotdot", dotdot},
	{"link-to", link_to},
	{"proc-self-root", proc_self_root},
	{"proc-other-root", proc_other_root},
	{"opath", opath},
	{"opath-passed", opath_passed},
	{"handle", handle},
	{"ring-inline", ring_inline},
	{"ring-async", ring_async},
	{"chroot", by_chroot},
	{"opened-before", opened_before},
	{"reopened", reopened},
	{"truncate", by_truncate},
	{"open-trunc", by_open_trunc},
	{"hard-link", hard_link},
	{"rename-away", rename_away},
	{"rename-parent", rename_parent},
	{"rename-grandparent", rename_grandparent},
	{"exchange-parent", exchange_parent},
	{"link-swap", link_swap},
	{"chmod", by_chmod},
	{"setxattr", by_setxattr},
	{"utimes", by_utimes},
	{"unix-socket", unix_socket},
	{NULL, NULL},
};
