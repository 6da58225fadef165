/* Leaving the workload: by namespaces, by cgroups, and by the end of a parent. */
#include "attack.h"
#include <linux/sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* === namespaces === */

static int unshared(const char *object, int flags)
{
	return unshare(flags) ? errno : in_child(reach, object);
}

static int unshare_mount(const char *object)
{
	return unshared(object, CLONE_NEWNS);
}

static int unshare_user(const char *object)
{
	return unshared(object, CLONE_NEWUSER | CLONE_NEWNS);
}

#define UNSHARED(name, flag)                                                                                          \
	static int name(const char *object)                                                                           \
	{                                                                                                             \
		return unshared(object, flag);                                                                        \
	}

UNSHARED(unshare_uts, CLONE_NEWUTS)
UNSHARED(unshare_ipc, CLONE_NEWIPC)
UNSHARED(unshare_net, CLONE_NEWNET)
UNSHARED(unshare_pid, CLONE_NEWPID)
UNSHARED(unshare_cgroup, CLONE_NEWCGROUP)
UNSHARED(unshare_time, CLONE_NEWTIME)

#define OTHERS (CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP)

static int unshare_others(const char *object)
{
	return unshared(object, OTHERS | CLONE_NEWTIME);
}

/* A child that begins in namespaces of its own. */
static int clone_apart(const char *object)
{
	struct clone_args arguments = {.flags = CLONE_NEWNS | OTHERS, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
	int status;

	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(reach(object));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : ODD;
}

static int enter_foreign(const char *object)
{
	(void)object;
	return said(setns(FD_FOREIGN_NS, CLONE_NEWNS));
}

static int enter_own(const char *object)
{
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	(void)object;
	return own < 0 || unshare(CLONE_NEWNS) ? ODD : said(setns(own, CLONE_NEWNS));
}

/* The same namespace by the process that is in it. */
static int enter_by_pidfd(const char *object)
{
	int fd = syscall(SYS_pidfd_open, pid_of("ELSEWHERE"), 0);

	(void)object;
	return fd < 0 ? errno : said(setns(fd, CLONE_NEWNS));
}

static int enter_others(const char *object)
{
	int fd = syscall(SYS_pidfd_open, pid_of("ELSEWHERE"), 0);

	return fd < 0 || setns(fd, OTHERS) ? errno : in_child(reach, object);
}

/* A user namespace of a child's, with all capabilities over it. */
static int enter_user(const char *object)
{
	pid_t pid = fork();
	char path[64];
	int fd, result;

	if (pid == 0) {
		unshare(CLONE_NEWUSER);
		pause();
	}
	usleep(100000);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	result = fd < 0 || setns(fd, CLONE_NEWUSER) ? errno : reach(object);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return result;
}

/* === cgroups === */

static int leave(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "0", 1) == 1 ? 0 : -1;
}

static int cgroup_move(const char *object)
{
	return leave("/sys/fs/cgroup/cgroup.procs") ? ODD : reach(object);
}

/* Makes a cgroup in the own one: its directory, or NULL. */
static const char *nested(void)
{
	static char dir[512];
	char line[256] = {0};
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 4)
		return NULL;
	line[strcspn(line, "\n")] = 0;
	snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s/nested-%d", line + 3, getpid());
	return mkdir(dir, 0755) ? NULL : dir;
}

static int cgroup_nested(const char *object)
{
	const char *dir = nested();
	char procs[600];
	int result;

	if (!dir)
		return ODD;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	result = leave(procs) ? ODD : in_child(reach, object);
	leave("/sys/fs/cgroup/cgroup.procs");
	rmdir(dir);
	return result;
}

static int cgroup_clone(const char *object)
{
	int root = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC), status;
	struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = root};
	long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));

	if (pid < 0)
		return ODD;
	if (pid == 0)
		_exit(reach(object));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : ODD;
}

static int orphan(const char *object)
{
	leave("/sys/fs/cgroup/cgroup.procs");
	setsid();
	return in_child(reach, object);
}

/* Who comes in from outside, as `kubectl exec` does: into the workload's cgroup, and into one that it made. */
static int joined(const char *object)
{
	char order[600];

	snprintf(order, sizeof(order), "enter . %s", object);
	return ask(order, NULL);
}

static int joined_nested(const char *object)
{
	const char *dir = nested();
	char order[600];
	int result;

	if (!dir)
		return ODD;
	snprintf(order, sizeof(order), "enter %s %s", strrchr(dir, '/') + 1, object);
	result = ask(order, NULL);
	rmdir(dir);
	return result;
}

const struct attack leave_attacks[] = {
	{"unshare-mount", unshare_mount},
	{"unshare-user", unshare_user},
	{"unshare-uts", unshare_uts},
	{"unshare-ipc", unshare_ipc},
	{"unshare-net", unshare_net},
	{"unshare-pid", unshare_pid},
	{"unshare-cgroup", unshare_cgroup},
	{"unshare-time", unshare_time},
	{"unshare-others", unshare_others},
	{"clone-apart", clone_apart},
	{"enter-foreign", enter_foreign},
	{"enter-by-pidfd", enter_by_pidfd},
	{"enter-others", enter_others},
	{"enter-user", enter_user},
	{"enter-own", enter_own},
	{"cgroup-move", cgroup_move},
	{"cgroup-nested", cgroup_nested},
	{"cgroup-clone", cgroup_clone},
	{"orphan", orphan},
	{"joined", joined},
	{"joined-nested", joined_nested},
	{NULL, NULL},
};
