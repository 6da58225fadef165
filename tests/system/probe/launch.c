/*
 * The runner's helpers: what only C without a library can do between fork and exec.
 *
 *	init ROOT FLAGS [AT FROM RO]...	makes the mount namespace whose root is ROOT and holds it until its
 *					descriptor 0 closes. FLAGS: "n" = a network namespace as well. Each triple is
 *					a mount: FROM "-" = a tmpfs, otherwise a bind; RO "1" = read-only.
 *	act PID				takes one command, "start", joins the namespaces of the init with that PID and
 *					becomes an acting probe there.
 *	contain FLAGS			the first process of a container, started by its runtime with our socket as
 *					descriptor 3: becomes, in a child each, what it is told to "start"; a command
 *					brings the child's socket and the runner's mount namespace by SCM_RIGHTS and is
 *					answered by the child's process number.
 *	deepen DIR [TEXT]		makes a chain of directories under DIR that is too long for a path, at its end
 *					an executable file "f" of this text, or a copy of this program.
 */
#include "sys.h"

#include <linux/fcntl.h>
#include <asm/ioctls.h>
#include <linux/if.h>
#include <linux/in.h>
#include <linux/memfd.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/sockios.h>

#define MNT_DETACH 2
#define DEEP 40 /* 40 * 201 bytes = 8040, a path may have 4096 */

static char text[16384];

static char *join(char *at, const char *a, const char *b)
{
	put(put(at, a), b);
	return at;
}

static int fail(const char *what, long error)
{
	char message[256];
	char *end = put(put(put(message, "failed "), what), " ");

	end = put_number(end, -error);
	SYS3(__NR_write, 1, message, end - message);
	return 1;
}

#define TRY(what, call) \
	do { \
		long error_ = (call); \
		if (error_ < 0) \
			return fail(what, error_); \
	} while (0)

static long mount(const char *from, const char *at, const char *type, long flags, const char *data)
{
	return SYS5(__NR_mount, from, at, type, flags, data);
}

static int write_file(const char *path, const char *what)
{
	long fd = SYS4(__NR_openat, AT_FDCWD, path, O_WRONLY, 0);

	TRY(path, fd);
	TRY(path, SYS3(__NR_write, fd, what, length(what)));
	SYS1(__NR_close, fd);
	return 0;
}

/* Gives the loopback device the addresses that cases use. */
static int addresses(void)
{
	struct ifreq request = {0};
	long fd = SYS3(__NR_socket, 2, 2, 0);

	TRY("socket", fd);
	put(request.ifr_name, "lo");
	request.ifr_flags = IFF_UP;
	TRY("lo up", SYS3(__NR_ioctl, fd, SIOCSIFFLAGS, &request));
	/* An address with its network on the loopback device: all of 10.0.0.0/8 is local. */
	memset(&request, 0, sizeof(request));
	put(request.ifr_name, "lo:1");
	struct sockaddr_in *own = (struct sockaddr_in *)&request.ifr_addr;

	own->sin_family = 2;
	own->sin_addr.s_addr = 0x0100000a;
	TRY("address", SYS3(__NR_ioctl, fd, SIOCSIFADDR, &request));
	SYS1(__NR_close, fd);
	/* Of IPv6 this one alone. */
	struct {
		unsigned char address[16];
		unsigned int prefix;
		int interface;
	} v6 = {{0xfd, [15] = 9}, 128, 1};

	fd = SYS3(__NR_socket, 10, 2, 0);
	TRY("socket6", fd);
	TRY("address6", SYS3(__NR_ioctl, fd, SIOCSIFADDR, &v6));
	/* The kernel takes it into use by a work item of its own, which a busy machine runs late: within 5 s here. */
	struct {
		unsigned short family, port;
		unsigned int flow;
		unsigned char address[16];
		unsigned int scope;
	} own6 = {10, 0, 0, {0xfd, [15] = 9}, 0};
	long bound = -1;

	for (int try = 0; try < 500 && bound < 0; try++) {
		long wait[2] = {0, 10000000};

		bound = SYS3(__NR_bind, fd, &own6, sizeof(own6));
		if (bound < 0)
			SYS2(__NR_nanosleep, wait, 0);
	}
	TRY("bind to address6", bound);
	SYS1(__NR_close, fd);
	return 0;
}

static int network(void)
{
	if (addresses())
		return 1;
	/* Datagram sockets of ICMP are for the groups in this range. */
	return write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

int launch_init(int argc, char **argv)
{
	char at[4096], from[4096];
	const char *root = argv[2];
	int net = argv[3][0] == 'n';

	TRY("unshare", SYS1(__NR_unshare, CLONE_NEWNS | CLONE_NEWUTS | (net ? CLONE_NEWNET : 0)));
	TRY("private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	TRY("bind root", mount(root, root, NULL, MS_BIND, NULL));
	TRY("proc", mount("proc", join(at, root, "/proc"), "proc", 0, NULL));
	TRY("devpts", mount("devpts", join(at, root, "/dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=0666"));
	for (int i = 4; i + 2 < argc; i += 3) {
		join(at, root, argv[i]);
		if (equal(argv[i + 1], "-"))
			TRY("tmpfs", mount("tmpfs", at, "tmpfs", 0, "mode=0777"));
		else
			TRY("bind", mount(join(from, root, argv[i + 1]), at, NULL, MS_BIND, NULL));
		if (argv[i + 2][0] == '1')
			TRY("read-only", mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	}
	if (net && network())
		return 1;
	TRY("chdir", SYS1(__NR_chdir, root));
	TRY("pivot_root", SYS2(__NR_pivot_root, ".", "."));
	TRY("umount", SYS2(__NR_umount2, ".", MNT_DETACH));
	TRY("chdir /", SYS1(__NR_chdir, "/"));
	SYS3(__NR_write, 1, "ready", 5);
	SYS3(__NR_read, 0, text, 1);
	return 0;
}

/* === act === */

static int keep(const char *path, int as)
{
	long fd = SYS4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

	TRY(path, fd);
	TRY("dup", SYS3(__NR_dup3, fd, as, 0));
	SYS1(__NR_close, fd);
	return 0;
}

static int enter(const char *pid, const char *kind)
{
	char path[128];

	put(put(put(put(path, "/proc/"), pid), "/ns/"), kind);
	long fd = SYS4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

	TRY(path, fd);
	TRY(kind, SYS2(__NR_setns, fd, 0));
	SYS1(__NR_close, fd);
	return 0;
}

static int terminal(void)
{
	char path[64];
	int unlock = 0, number = 0;
	long master = SYS4(__NR_openat, AT_FDCWD, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);

	TRY("ptmx", master);
	TRY("dup", SYS3(__NR_dup3, master, FD_PTY_MASTER, 0));
	TRY("unlock", SYS3(__NR_ioctl, FD_PTY_MASTER, TIOCSPTLCK, &unlock));
	TRY("number", SYS3(__NR_ioctl, FD_PTY_MASTER, TIOCGPTN, &number));
	put_number(put(path, "/dev/pts/"), number);
	long slave = SYS4(__NR_openat, AT_FDCWD, path, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);

	TRY("pts", slave);
	TRY("TIOCSCTTY", SYS3(__NR_ioctl, slave, TIOCSCTTY, 0));
	return 0;
}

/* The words of "start PROGRAM UID TTY NETWORK STDIO MODE", without spaces in them; "-" stands for none. */
#define START_WORDS 7

static int start_words(char *at, char **words)
{
	int count = 0;

	for (; *at && count <= START_WORDS; count++) {
		words[count] = at;
		while (*at && *at != ' ')
			at++;
		if (*at)
			*at++ = 0;
	}
	return count == START_WORDS && equal(words[0], "start");
}

/* Becomes the acting program; it returns only with an error. */
static int become(char **words)
{
	/* Never the terminal of whoever runs the tests. */
	TRY("setsid", SYS0(__NR_setsid));
	if (words[3][0] == '1' && terminal())
		return 1;
	if (!equal(words[5], "-")) {
		int mode = equal(words[6], "rw") ? O_RDWR : equal(words[6], "w") ? O_WRONLY : O_RDONLY;
		long fd = SYS4(__NR_openat, AT_FDCWD, words[5], mode | O_CLOEXEC, 0);

		TRY(words[5], fd);
		TRY("dup", SYS3(__NR_dup3, fd, 2, 0));
	}
	long uid = to_number(words[2]);
	const char *program = words[1];
	char *const arguments[] = {(char *)program, NULL};
	char *const environment[] = {"PROBE_MODE=serve", NULL};

	if (uid) {
		TRY("setgroups", SYS2(__NR_setgroups, 0, NULL));
		TRY("setresgid", SYS3(__NR_setresgid, uid, uid, uid));
		TRY("setresuid", SYS3(__NR_setresuid, uid, uid, uid));
	}
	if (program[0] != '/') {
		long fd = probe_memfd(program + length("memfd:"), MFD_CLOEXEC);

		TRY("memfd", fd);
		return fail("execveat", SYS5(__NR_execveat, fd, "", arguments, environment, AT_EMPTY_PATH));
	}
	return fail(program, SYS3(__NR_execve, program, arguments, environment));
}

int launch_act(char **argv)
{
	char *words[START_WORDS + 1];

	if (keep("/proc/self/exe", FD_IMAGE) || keep("/proc/self/ns/mnt", FD_HOST_MNTNS))
		return 1;
	long n = SYS3(__NR_read, 0, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = 0;
	if (!start_words(text, words))
		return fail("start", 0);
	if (words[4][0] == '1' && enter(argv[2], "net"))
		return 1;
	if (enter(argv[2], "uts") || enter(argv[2], "mnt"))
		return 1;
	return become(words);
}

int launch_contain(char **argv)
{
	char *words[START_WORDS + 1], answer[32];

	TRY("dup", SYS3(__NR_dup3, 3, 0, 0));
	TRY("dup", SYS3(__NR_dup3, 3, 1, 0));
	SYS1(__NR_close, 3);
	if (keep("/proc/self/exe", FD_IMAGE))
		return 1;
	if (argv[2][0] == 'n' && addresses())
		return 1;
	SYS3(__NR_write, 1, "ready", 5);
	for (;;) {
		int given[2] = {-1, -1};
		long n = receive(text, sizeof(text) - 1, given);

		if (n <= 0)
			return 0;
		text[n] = 0;
		if (given[1] < 0 || !start_words(text, words))
			return fail("start", 0);
		long pid = fork_process();

		if (pid == 0) {
			SYS3(__NR_dup3, given[0], 0, 0);
			SYS3(__NR_dup3, given[0], 1, 0);
			SYS3(__NR_dup3, given[1], FD_HOST_MNTNS, 0);
			leave(become(words));
		}
		TRY("fork", pid);
		SYS1(__NR_close, given[0]);
		SYS1(__NR_close, given[1]);
		SYS3(__NR_write, 1, answer, put_number(answer, pid) - answer);
	}
}

int launch_deepen(int argc, char **argv)
{
	char name[201];

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	if (keep("/proc/self/exe", FD_IMAGE))
		return 1;
	TRY("chdir", SYS1(__NR_chdir, argv[2]));
	for (int i = 0; i < DEEP; i++) {
		TRY("mkdir", SYS3(__NR_mkdirat, AT_FDCWD, name, 0777));
		TRY("chdir", SYS1(__NR_chdir, name));
	}
	long fd = SYS4(__NR_openat, AT_FDCWD, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0777);
	long n;

	TRY("f", fd);
	if (argc > 3)
		return SYS3(__NR_write, fd, argv[3], length(argv[3])) < 0;
	while ((n = SYS3(__NR_read, FD_IMAGE, text, sizeof(text))) > 0)
		SYS3(__NR_write, fd, text, n);
	return n < 0;
}
