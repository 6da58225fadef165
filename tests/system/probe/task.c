/* Operations on capabilities, mounts and other tasks. */
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/if.h>
#include <linux/in.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
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

static const struct {
	const char *name;
	long (*use)(void);
} capabilities[] = {
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
