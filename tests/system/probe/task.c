/* Operations on capabilities, mounts and other tasks. */
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/in.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>

#define S_IFCHR_ 0020000
#define CAPABILITY_FILE "/t/capability"
#define CAPABILITY_NODE "/t/capability"
#define OTHER_UID 1000
#define MNT_DETACH 2
#define MEMLOCK 8 /* RLIMIT_MEMLOCK; linux/resource.h does not agree with linux/if.h */

/* === capabilities: for each one call that the kernel lets pass only to its holder === */

static long use_chown(void)
{
	return SYS5(__NR_fchownat, AT_FDCWD, CAPABILITY_FILE, OTHER_UID + 1, -1, 0);
}

static long use_fowner(void)
{
	return SYS3(__NR_fchmodat, AT_FDCWD, CAPABILITY_FILE, 0660);
}

static long use_mknod(void)
{
	return SYS4(__NR_mknodat, AT_FDCWD, CAPABILITY_NODE, S_IFCHR_ | 0666, 0x103 /* null */);
}

static long use_setuid(void)
{
	return SYS3(__NR_setresuid, OTHER_UID, OTHER_UID, OTHER_UID);
}

static long use_setgid(void)
{
	return SYS3(__NR_setresgid, OTHER_UID, OTHER_UID, OTHER_UID);
}

static long use_setpcap(void)
{
	return SYS5(__NR_prctl, PR_CAPBSET_DROP, 25 /* CAP_SYS_TIME */, 0, 0, 0);
}

static long use_net_bind_service(void)
{
	struct sockaddr_in at = {.sin_family = 2, .sin_port = 0x5000 /* 80 */, .sin_addr.s_addr = 0x0100007f};
	long fd = SYS3(__NR_socket, 2, 1, 0);

	return fd < 0 ? fd : SYS3(__NR_bind, fd, &at, sizeof(at));
}

static long use_net_admin(void)
{
	struct ifreq request = {0};
	long fd = SYS3(__NR_socket, 2, 2, 0);

	put(request.ifr_name, "lo");
	request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
	return fd < 0 ? fd : SYS3(__NR_ioctl, fd, SIOCSIFFLAGS, &request);
}

static long use_net_raw(void)
{
	long fd = SYS3(__NR_socket, 2, 3, 1);

	return fd < 0 ? fd : 0;
}

static long use_ipc_lock(void)
{
	static char page[8192];
	unsigned long none[2] = {0, 0};
	long ret = SYS4(__NR_prlimit64, 0, MEMLOCK, none, NULL);

	return ret < 0 ? ODD : SYS2(__NR_mlock, page, 4096);
}

static long use_sys_chroot(void)
{
	return SYS1(__NR_chroot, "/");
}

static long use_sys_admin(void)
{
	return SYS2(__NR_sethostname, "palisade", 8);
}

static long use_sys_nice(void)
{
	return SYS3(__NR_setpriority, 0, 0, -5);
}

static long use_sys_tty_config(void)
{
	/* The child of the probe has no terminal: nothing hangs up. */
	SYS0(__NR_setsid);
	return SYS0(__NR_vhangup);
}

static long use_syslog(void)
{
	long n = SYS3(__NR_syslog, 9 /* SYSLOG_ACTION_SIZE_UNREAD */, NULL, 0);

	return n < 0 ? n : 0;
}

static long use_wake_alarm(void)
{
	long fd = SYS2(__NR_timerfd_create, 9 /* CLOCK_BOOTTIME_ALARM */, 0);

	return fd < 0 ? fd : 0;
}

/* A signal to a process of somebody else. */
static long use_kill(void)
{
	int ends[2];
	char byte;
	long ret = SYS2(__NR_pipe2, ends, O_CLOEXEC);
	long child = ret < 0 ? ret : fork_process();

	if (child == 0) {
		if (SYS3(__NR_setresuid, OTHER_UID, OTHER_UID, OTHER_UID) < 0)
			leave(1);
		SYS1(__NR_close, ends[0]);
		SYS3(__NR_write, ends[1], "r", 1);
		/* Until the other end is closed, which polls as an error. */
		struct {
			int fd;
			short events, seen;
		} wait = {ends[1], 0, 0};

		SYS5(__NR_ppoll, &wait, 1, NULL, NULL, 8);
		leave(0);
	}
	if (child < 0)
		return child;
	SYS1(__NR_close, ends[1]);
	ret = SYS3(__NR_read, ends[0], &byte, 1) == 1 ? SYS2(__NR_kill, child, 0) : ODD;
	SYS1(__NR_close, ends[0]);
	return ret;
}

/* Calls that ask for the capability first and, given it, fail by their other arguments. */
static long asked(long ret)
{
	return ret == -1 /* EPERM */ ? ret : ret < 0 ? 0 : ODD;
}

static long use_sys_module(void)
{
	return asked(SYS3(__NR_init_module, NULL, 0, NULL));
}

static long use_sys_pacct(void)
{
	return asked(SYS1(__NR_acct, 1 /* no address */));
}

static long use_sys_boot(void)
{
	return asked(SYS4(__NR_reboot, 0 /* no magic */, 0, 0, NULL));
}

/* The maximal error of the clock, set to what it is. */
static long use_sys_time(void)
{
	/* struct timex of a 64-bit kernel, whose header agrees with no other; its first word says what is to be set. */
	long now[26] = {0};
	long ret = SYS1(__NR_adjtimex, now);

	*(unsigned int *)now = 4 /* ADJ_MAXERROR */;
	ret = ret < 0 ? ret : SYS1(__NR_adjtimex, now);
	return ret < 0 ? ret : 0;
}

static long use_sys_resource(void)
{
	unsigned long less[2] = {0, 0}, more[2] = {0, 1};
	long ret = SYS4(__NR_prlimit64, 0, 4 /* RLIMIT_CORE */, less, NULL);

	return ret < 0 ? ODD : SYS4(__NR_prlimit64, 0, 4, more, NULL);
}

static const struct {
	const char *name;
	long (*use)(void);
} capabilities[] = {
	{"kill", use_kill},
	{"sys_module", use_sys_module},
	{"sys_pacct", use_sys_pacct},
	{"sys_boot", use_sys_boot},
	{"sys_time", use_sys_time},
	{"sys_resource", use_sys_resource},
	{"chown", use_chown},
	{"fowner", use_fowner},
	{"mknod", use_mknod},
	{"setuid", use_setuid},
	{"setgid", use_setgid},
	{"setpcap", use_setpcap},
	{"net_bind_service", use_net_bind_service},
	{"net_admin", use_net_admin},
	{"net_raw", use_net_raw},
	{"ipc_lock", use_ipc_lock},
	{"sys_chroot", use_sys_chroot},
	{"sys_admin", use_sys_admin},
	{"sys_nice", use_sys_nice},
	{"sys_tty_config", use_sys_tty_config},
	{"syslog", use_syslog},
	{"wake_alarm", use_wake_alarm},
};

static long op_capability(const struct args *a)
{
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(*capabilities); i++)
		if (equal(capabilities[i].name, arg(a, "capability")))
			return capabilities[i].use();
	return ODD;
}

/*
 * A question that asks not to be audited: a seccomp filter without no_new_privs is for those who have sys_admin, and who
 * has not is answered EACCES.
 */
static long op_capability_noaudit(const struct args *a)
{
	struct sock_filter pass = {0x06 /* return */, 0, 0, 0x7fff0000 /* SECCOMP_RET_ALLOW */};
	struct sock_fprog program = {1, &pass};

	(void)a;
	return SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static long op_capability_userns(const struct args *a)
{
	/* All capabilities, over what is made in the new user namespace; making it is a use of sys_admin there. */
	const char *name = arg(a, "capability");
	long owned = name[0] == 'n' ? CLONE_NEWNET : equal(name, "sys_admin") ? CLONE_NEWUTS : 0;
	long ret = SYS1(__NR_unshare, CLONE_NEWUSER);

	if (ret < 0)
		return ODD;
	if (owned)
		ret = SYS1(__NR_unshare, owned);
	return ret < 0 ? ret : op_capability(a);
}

/* === mounts; what passes is undone, or done in a copy of the namespace that ends with the child === */

static const char *path(const struct args *a)
{
	return arg(a, "path");
}

static long mount_tmpfs(const char *at)
{
	return SYS5(__NR_mount, "tmpfs", at, "tmpfs", 0, NULL);
}

static long op_mount_new(const struct args *a)
{
	long ret = mount_tmpfs(path(a));

	if (ret == 0)
		SYS2(__NR_umount2, path(a), MNT_DETACH);
	return ret;
}

static long op_mount_bind(const struct args *a)
{
	long ret = SYS5(__NR_mount, path(a), arg(a, "to"), NULL, MS_BIND, NULL);

	if (ret == 0)
		SYS2(__NR_umount2, arg(a, "to"), MNT_DETACH);
	return ret;
}

static long op_mount_move(const struct args *a)
{
	long ret = mount_tmpfs(path(a));

	if (ret < 0)
		return ret;
	ret = SYS5(__NR_mount, path(a), arg(a, "to"), NULL, MS_MOVE, NULL);
	SYS2(__NR_umount2, ret == 0 ? arg(a, "to") : path(a), MNT_DETACH);
	return ret;
}

static long op_mount_propagation(const struct args *a)
{
	return SYS5(__NR_mount, NULL, path(a), NULL, MS_PRIVATE, NULL);
}

static long op_umount_own(const struct args *a)
{
	long ret = mount_tmpfs(path(a));

	return ret < 0 ? ret : SYS2(__NR_umount2, path(a), 0);
}

/* In a child with its own copy of the mount namespace. */
static long own_mounts(void)
{
	return SYS1(__NR_unshare, CLONE_NEWNS);
}

static long op_umount_foreign(const struct args *a)
{
	return own_mounts() < 0 ? ODD : SYS2(__NR_umount2, path(a), MNT_DETACH);
}

static long op_pivot_root(const struct args *a)
{
	if (own_mounts() < 0)
		return ODD;
	long ret = mount_tmpfs(path(a));

	if (ret == 0)
		ret = SYS1(__NR_chdir, path(a));
	return ret < 0 ? ret : SYS2(__NR_pivot_root, ".", ".");
}

static long op_enter_foreign(const struct args *a)
{
	(void)a;
	return SYS2(__NR_setns, FD_HOST_MNTNS, CLONE_NEWNS);
}

static long op_open_detached(const struct args *a)
{
	long tree = SYS3(__NR_open_tree, AT_FDCWD, path(a), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return tree;
	long fd = SYS4(__NR_openat, tree, arg(a, "to") + 1 /* without the slash */, O_RDONLY | O_CLOEXEC, 0);

	return fd < 0 ? fd : 0;
}

static long op_unshare_mount(const struct args *a)
{
	return own_mounts() < 0 ? ODD : open_close(path(a), O_RDONLY, 0);
}

static long op_unshare_user(const struct args *a)
{
	(void)a;
	return SYS1(__NR_unshare, CLONE_NEWUSER);
}

/* === other tasks; all probes are the same program at the same addresses === */

static char scratch[16];

static long op_ptrace_seize(const struct args *a)
{
	/* The child's end lets the other task go. */
	return SYS4(__NR_ptrace, PTRACE_SEIZE, arg_number(a, "pid"), 0, 0);
}

static long op_vm_write(const struct args *a)
{
	struct {
		void *base;
		size_t len;
	} part = {scratch, 1};
	long n = SYS6(__NR_process_vm_writev, arg_number(a, "pid"), &part, 1, &part, 1, 0);

	return n < 0 ? n : 0;
}

static long op_pidfd_getfd(const struct args *a)
{
	long pidfd = SYS2(__NR_pidfd_open, arg_number(a, "pid"), 0);

	if (pidfd < 0)
		return pidfd;
	long fd = SYS3(__NR_pidfd_getfd, pidfd, 0, 0);

	return fd < 0 ? fd : 0;
}

const struct op task_ops[] = {
	{"capability", op_capability, 1},
	{"capability_userns", op_capability_userns, 1},
	{"capability_noaudit", op_capability_noaudit, 1},
	{"mount_new", op_mount_new, 1},
	{"mount_bind", op_mount_bind, 1},
	{"mount_move", op_mount_move, 1},
	{"mount_propagation", op_mount_propagation, 1},
	{"umount_own", op_umount_own, 1},
	{"umount_foreign", op_umount_foreign, 1},
	{"pivot_root", op_pivot_root, 1},
	{"enter_foreign", op_enter_foreign, 1},
	{"open_detached", op_open_detached, 1},
	{"unshare_mount", op_unshare_mount, 1},
	{"unshare_user", op_unshare_user, 1},
	{"ptrace_seize", op_ptrace_seize, 1},
	{"vm_write", op_vm_write, 1},
	{"pidfd_getfd", op_pidfd_getfd, 1},
	{NULL, NULL, 0},
};
