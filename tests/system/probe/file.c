/* Operations on programs and files. Each function is one row of the table below, named as in the corpus. */
#include "sys.h"

#include <linux/fcntl.h>
#include <asm/mman.h>
#include <asm/stat.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define PAGE 4096
#define MODE_FILE 0666
#define MODE_DIR 0777

static const char *path(const struct args *a)
{
	return arg(a, "path");
}

static const char *to(const struct args *a)
{
	return arg(a, "to");
}

/* === programs === */

/* fork and exec; a failure comes back through a pipe that a successful exec closes. */
static long run_program(const struct args *a, int dirfd, const char *name, int flags)
{
	static char *argv[34];
	static char *envp[] = {"PROBE_MODE=exit", NULL};
	int ends[2], count = 1, error = 0;
	const char *argv0 = arg_nth(a, "as", 0);

	argv[0] = (char *)(argv0 ? argv0 : name);
	for (const char *w; count < 33 && (w = arg_nth(a, "arg", count - 1)); count++)
		argv[count] = (char *)w;
	argv[count] = NULL;
	long ret = SYS2(__NR_pipe2, ends, O_CLOEXEC);

	if (ret < 0)
		return ret;
	long pid = fork_process();

	if (pid == 0) {
		error = (int)-SYS5(__NR_execveat, dirfd, name, argv, envp, flags);
		SYS3(__NR_write, ends[1], &error, sizeof(error));
		leave(1);
	}
	SYS1(__NR_close, ends[1]);
	if (pid > 0) {
		long n = SYS3(__NR_read, ends[0], &error, sizeof(error));

		ret = wait_for(pid, 42);
		if (n == sizeof(error))
			ret = -error;
	}
	SYS1(__NR_close, ends[0]);
	return pid < 0 ? pid : ret;
}

static long op_exec(const struct args *a)
{
	return run_program(a, AT_FDCWD, path(a), 0);
}

static long op_memfd_exec(const struct args *a)
{
	long fd = probe_memfd(arg(a, "memfd"), MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	long ret = run_program(a, (int)fd, "", AT_EMPTY_PATH);

	SYS1(__NR_close, fd);
	return ret;
}

static long map_fd(long fd, int late)
{
	long at = SYS6(__NR_mmap, 0, PAGE, late ? PROT_READ : PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	long ret = 0;

	if (at < 0 && at > -PAGE)
		return at;
	if (late)
		ret = SYS3(__NR_mprotect, at, PAGE, PROT_READ | PROT_EXEC);
	SYS2(__NR_munmap, at, PAGE);
	return ret;
}

static long map_file(const struct args *a, int late)
{
	long fd = SYS4(__NR_openat, AT_FDCWD, path(a), O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long ret = map_fd(fd, late);

	SYS1(__NR_close, fd);
	return ret;
}

static long op_map_exec(const struct args *a)
{
	return map_file(a, 0);
}

static long op_mprotect_exec(const struct args *a)
{
	return map_file(a, 1);
}

static long op_memfd_map_exec(const struct args *a)
{
	long fd = probe_memfd(arg(a, "memfd"), MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	long ret = map_fd(fd, 0);

	SYS1(__NR_close, fd);
	return ret;
}

static long open_descriptor(long fd, int flags)
{
	char name[64];

	put_number(put(name, "/proc/self/fd/"), fd);
	return open_close(name, flags, 0);
}

static long op_memfd_use(const struct args *a)
{
	long fd = probe_memfd(arg(a, "memfd"), MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	long ret = open_descriptor(fd, O_RDWR);

	SYS1(__NR_close, fd);
	return ret;
}

/* === opens === */

#define OPEN_OP(name, flags) \
	static long op_##name(const struct args *a) \
	{ \
		return open_close(path(a), flags, MODE_FILE); \
	}

OPEN_OP(open_read, O_RDONLY | O_NONBLOCK)
OPEN_OP(open_write, O_WRONLY)
OPEN_OP(open_rdwr, O_RDWR)
OPEN_OP(open_append, O_WRONLY | O_APPEND)
OPEN_OP(open_trunc, O_WRONLY | O_TRUNC)
OPEN_OP(open_read_trunc, O_RDONLY | O_TRUNC)
OPEN_OP(create, O_WRONLY | O_CREAT | O_EXCL)
OPEN_OP(create_read, O_RDONLY | O_CREAT | O_EXCL)
OPEN_OP(o_tmpfile, O_WRONLY | __O_TMPFILE | O_DIRECTORY)

static long op_reopen_stdin(const struct args *a)
{
	(void)a;
	return open_descriptor(0, O_RDWR);
}

static long op_reopen_read(const struct args *a)
{
	(void)a;
	return open_descriptor(2, O_RDONLY);
}

static long op_reopen_write(const struct args *a)
{
	(void)a;
	return open_descriptor(2, O_WRONLY);
}

static long op_readdir(const struct args *a)
{
	static char entries[4096];
	long fd = SYS4(__NR_openat, AT_FDCWD, path(a), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long n = SYS3(__NR_getdents64, fd, entries, sizeof(entries));

	SYS1(__NR_close, fd);
	return n < 0 ? n : 0;
}

static long op_ftrace_switch(const struct args *a)
{
	(void)a;
	return open_close("/proc/sys/kernel/ftrace_enabled", O_WRONLY, 0);
}

static long op_open_proc_mem(const struct args *a)
{
	char name[64];

	put(put_number(put(name, "/proc/"), arg_number(a, "pid")), "/mem");
	return open_close(name, O_RDONLY, 0);
}

/* Down a chain of directories whose path is longer than any path may be; launch.c makes it. */
static long go_deep(const struct args *a)
{
	char name[201];
	long ret = SYS1(__NR_chdir, path(a));

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	if (ret < 0)
		return ret;
	while ((ret = SYS1(__NR_chdir, name)) == 0)
		;
	return ret == -2 /* ENOENT: the end */ ? 0 : ret;
}

static long op_deep_read(const struct args *a)
{
	long ret = go_deep(a);

	return ret < 0 ? ret : open_close("f", O_RDONLY, 0);
}

static long op_deep_write(const struct args *a)
{
	long ret = go_deep(a);

	return ret < 0 ? ret : open_close("f", O_WRONLY, 0);
}

static long op_deep_exec(const struct args *a)
{
	long ret = go_deep(a);

	return ret < 0 ? ret : run_program(a, AT_FDCWD, "f", 0);
}

/* === the tree === */

static long op_truncate(const struct args *a)
{
	return SYS2(__NR_truncate, path(a), 0);
}

static long op_mkdir(const struct args *a)
{
	return SYS3(__NR_mkdirat, AT_FDCWD, path(a), MODE_DIR);
}

static long op_rmdir(const struct args *a)
{
	return SYS3(__NR_unlinkat, AT_FDCWD, path(a), AT_REMOVEDIR);
}

static long op_mknod(const struct args *a)
{
	return SYS4(__NR_mknodat, AT_FDCWD, path(a), S_IFIFO | MODE_FILE, 0);
}

static long op_symlink(const struct args *a)
{
	return SYS3(__NR_symlinkat, "nowhere", AT_FDCWD, path(a));
}

static long op_unlink(const struct args *a)
{
	return SYS3(__NR_unlinkat, AT_FDCWD, path(a), 0);
}

static long op_rename(const struct args *a)
{
	return SYS5(__NR_renameat2, AT_FDCWD, path(a), AT_FDCWD, to(a), 0);
}

static long op_exchange(const struct args *a)
{
	return SYS5(__NR_renameat2, AT_FDCWD, path(a), AT_FDCWD, to(a), RENAME_EXCHANGE);
}

static long op_link(const struct args *a)
{
	return SYS5(__NR_linkat, AT_FDCWD, path(a), AT_FDCWD, to(a), 0);
}

static long op_chmod(const struct args *a)
{
	return SYS3(__NR_fchmodat, AT_FDCWD, path(a), MODE_DIR);
}

static long op_chown(const struct args *a)
{
	struct stat s;
	long ret = SYS4(__NR_newfstatat, AT_FDCWD, path(a), &s, 0);

	return ret < 0 ? ret : SYS5(__NR_fchownat, AT_FDCWD, path(a), s.st_uid, s.st_gid, 0);
}

static long op_setxattr(const struct args *a)
{
	/* Older tmpfs has no user attributes; trusted ones are root's. */
	const char *name = SYS0(__NR_getuid) ? "user.palisade" : "trusted.palisade";

	return SYS5(__NR_setxattr, path(a), name, "1", 1, 0);
}

static long op_utimes(const struct args *a)
{
	return SYS4(__NR_utimensat, AT_FDCWD, path(a), NULL, 0);
}

/* === what is not mediated === */

static long op_stat(const struct args *a)
{
	struct stat s;

	return SYS4(__NR_newfstatat, AT_FDCWD, path(a), &s, 0);
}

static long op_access(const struct args *a)
{
	return SYS3(__NR_faccessat, AT_FDCWD, path(a), 4);
}

static long op_readlink(const struct args *a)
{
	static char target[4096];
	long n = SYS4(__NR_readlinkat, AT_FDCWD, path(a), target, sizeof(target));

	return n < 0 ? n : 0;
}

static long op_chdir(const struct args *a)
{
	return SYS1(__NR_chdir, path(a));
}

static long op_chroot(const struct args *a)
{
	return SYS1(__NR_chroot, path(a));
}

const struct op file_ops[] = {
	{"exec", op_exec, 0},
	{"memfd_exec", op_memfd_exec, 0},
	{"map_exec", op_map_exec, 0},
	{"mprotect_exec", op_mprotect_exec, 0},
	{"memfd_map_exec", op_memfd_map_exec, 0},
	{"memfd_use", op_memfd_use, 0},
	{"open_read", op_open_read, 0},
	{"open_write", op_open_write, 0},
	{"open_rdwr", op_open_rdwr, 0},
	{"open_append", op_open_append, 0},
	{"open_trunc", op_open_trunc, 0},
	{"open_read_trunc", op_open_read_trunc, 0},
	{"create", op_create, 0},
	{"create_read", op_create_read, 0},
	{"o_tmpfile", op_o_tmpfile, 0},
	{"reopen_stdin", op_reopen_stdin, 0},
	{"reopen_read", op_reopen_read, 0},
	{"reopen_write", op_reopen_write, 0},
	{"readdir", op_readdir, 0},
	{"ftrace_switch", op_ftrace_switch, 0},
	{"open_proc_mem", op_open_proc_mem, 0},
	{"deep_read", op_deep_read, 1},
	{"deep_write", op_deep_write, 1},
	{"deep_exec", op_deep_exec, 1},
	{"truncate", op_truncate, 0},
	{"mkdir", op_mkdir, 0},
	{"rmdir", op_rmdir, 0},
	{"mknod", op_mknod, 0},
	{"symlink", op_symlink, 0},
	{"unlink", op_unlink, 0},
	{"rename", op_rename, 0},
	{"rename_dir", op_rename, 0},
	{"exchange", op_exchange, 0},
	{"exchange_dir", op_exchange, 0},
	{"link", op_link, 0},
	{"chmod", op_chmod, 0},
	{"chown", op_chown, 0},
	{"setxattr", op_setxattr, 0},
	{"utimes", op_utimes, 0},
	{"stat", op_stat, 0},
	{"access", op_access, 0},
	{"readlink", op_readlink, 0},
	{"chdir", op_chdir, 1},
	{"chroot", op_chroot, 1},
	{NULL, NULL, 0},
};
