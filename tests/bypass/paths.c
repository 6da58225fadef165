/* Reaching an object by another name, or its name by another object. */
#include "attack.h"
#include <linux/openat2.h>

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

static int by_directory(const char *object)
{
	char dir[512];
	int fd;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(object, '/') - object), object);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? ODD : reach_at(fd, "secret");
}

/* The directory is made the root of the look-up. */
static int in_root(const char *object)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	char dir[512];
	int fd;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(object, '/') - object), object);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? ODD : said(syscall(SYS_openat2, fd, "/../secret", &how, sizeof(how)));
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

/* The parent, which is the first process of a container (/proc/1/root). */
static int proc_other_root(const char *object)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/%d/root%s", getppid(), object);
	return reach(path);
}

/* By the root of a process in another mount namespace, where the object has another path. */
static int proc_foreign_root(const char *object)
{
	char path[700];

	snprintf(path, sizeof(path), "/proc/%d/root%s%s", pid_of("ELSEWHERE"), getenv("ROOT") ?: "", object);
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

static int by_chroot(const char *object)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	return chroot(dir) || chdir("/") ? ODD : reach("/secret");
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

static int by_unlink(const char *object)
{
	int result = said(unlink(object));

	if (!result)
		write_text(object, "secret\n");
	return result;
}

/* Another file takes its name. */
static int replace(const char *object)
{
	const char *other = at("work/replacement");

	write_text(other, "secret\n");
	return said(rename(other, object));
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

/* The directory above everything. */
static int rename_base(const char *object)
{
	const char *base = at("."), *secret = at("above-deny/dir/secret");
	char from[512], to[520], path[600];
	int result;

	(void)object;
	snprintf(from, sizeof(from), "%.*s", (int)(strlen(base) - 2), base);
	snprintf(to, sizeof(to), "%s-moved", from);
	if (rename(from, to))
		return errno;
	snprintf(path, sizeof(path), "%s%s", to, secret + strlen(from));
	result = reach(path);
	return rename(to, from) ? ODD : result;
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

/* Seconds within which rules are resolved again, on a machine that is emulated and busy. */
#define SOON 8

/*
 * The name that a rule leads through appears after the start: a link to the directory above the object's, beside that. Until the rule
 * is resolved again the object can be opened.
 */
static int late_link(const char *object)
{
	char dir[512], name[520];
	const char *target;
	int result = 0;

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	*strrchr(dir, '/') = 0;
	target = strrchr(dir, '/') + 1;
	snprintf(name, sizeof(name), "%.*scurrent", (int)(target - dir), dir);
	if (symlink(target, name))
		return ODD;
	for (int i = 0; i < SOON * 50 && !result; i++) {
		result = reach(object);
		usleep(20000);
	}
	return unlink(name) ? ODD : result;
}

/* The directory that an Allow names becomes a link to the object's. */
static int turned_directory(const char *object)
{
	const char *place = at("turn/place"), *old = at("turn/old");
	char dir[512];
	int result;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(object, '/') - object), object);
	if (rename(place, old) || symlink(dir, place))
		return ODD;
	/* Longer than it takes to resolve rules again. */
	usleep(500000);
	result = reach(at("turn/place/secret"));
	return unlink(place) || rename(old, place) ? ODD : result;
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
	{"by-directory", by_directory},
	{"in-root", in_root},
	{"dotdot", dotdot},
	{"link-to", link_to},
	{"proc-self-root", proc_self_root},
	{"proc-other-root", proc_other_root},
	{"proc-foreign-root", proc_foreign_root},
	{"handle", handle},
	{"chroot", by_chroot},
	{"truncate", by_truncate},
	{"open-trunc", by_open_trunc},
	{"hard-link", hard_link},
	{"rename-away", rename_away},
	{"unlink", by_unlink},
	{"replace", replace},
	{"rename-base", rename_base},
	{"rename-parent", rename_parent},
	{"rename-grandparent", rename_grandparent},
	{"exchange-parent", exchange_parent},
	{"link-swap", link_swap},
	{"late-link", late_link},
	{"turned-directory", turned_directory},
	{"chmod", by_chmod},
	{"setxattr", by_setxattr},
	{"utimes", by_utimes},
	{"unix-socket", unix_socket},
	{NULL, NULL},
};
