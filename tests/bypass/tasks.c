/* Running what may not run, and acting as another program. */
#include "attack.h"
#include <elf.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char *const no_arguments[] = {"program", "ran", NULL};

/* === programs; the object is a copy of this binary === */

static int exec_direct(const char *object)
{
	return execute(object, no_arguments);
}

static int exec_by_link(const char *object)
{
	const char *link = at("work/program");

	unlink(link);
	return symlink(object, link) ? ODD : execute(link, no_arguments);
}

static int exec_by_descriptor(const char *object)
{
	int fd = open(object, O_PATH | O_CLOEXEC);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd < 0 ? ODD : execute(path, no_arguments);
}

static int exec_script(const char *object)
{
	const char *script = at("work/script");
	char text[600];

	/* One argument behind the interpreter: "ran"; the script's name follows it. */
	snprintf(text, sizeof(text), "#!%s ran\n", object);
	write_text(script, text);
	return execute(script, no_arguments);
}

static int exec_in_thread(void *object)
{
	execv(object, no_arguments);
	_exit(errno);
}

/* The exec of a thread that is not the leader: it takes over the leader's id. */
static int thread_exec_child(const char *object)
{
	static char stack[65536] __attribute__((aligned(16)));

	clone(exec_in_thread, stack + sizeof(stack),
	      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, (void *)object);
	pause();
	return ODD;
}

static int exec_by_thread(const char *object)
{
	int result = in_child(thread_exec_child, object);

	return result == 42 ? 0 : result;
}

/* The dynamic program beside the object, by the loader. */
static int exec_by_loader(const char *object)
{
	char path[600];
	char *arguments[] = {"ld.so", path, NULL};
	pid_t pid;
	int status;

	snprintf(path, sizeof(path), "%.*s/dynamic", (int)(strrchr(object, '/') - object), object);
	if (access("/lib64/ld-linux-x86-64.so.2", X_OK))
		return ENOSYS;
	pid = fork();
	if (pid == 0) {
		close(2);
		execv("/lib64/ld-linux-x86-64.so.2", arguments);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ODD;
	/* /bin/true, or what the loader says where it cannot map. */
	return WEXITSTATUS(status) == 127 ? EACCES : WEXITSTATUS(status);
}

/* The file is mapped to be read, then its pages are made executable. */
static int protect_later(const char *object)
{
	int fd = open(object, O_RDONLY | O_CLOEXEC);
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	return fd < 0 || page == MAP_FAILED ? ODD : said(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int copy_to(int to, const char *from)
{
	char bytes[65536];
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, n) != n)
			return -1;
	close(fd);
	return fd < 0 || n < 0 ? -1 : 0;
}

static int exec_copy(const char *object)
{
	const char *copy = at("work/copy");
	int fd;

	unlink(copy);
	fd = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (fd < 0 || copy_to(fd, object))
		return ODD;
	close(fd);
	return execute(copy, no_arguments);
}

static int exec_memfd(const char *object)
{
	int fd = memfd_create("program", 0);
	char path[64];

	if (fd < 0 || copy_to(fd, object))
		return ODD;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return execute(path, no_arguments);
}

/* The same by its descriptor alone. */
static int exec_memfd_at(const char *object)
{
	int fd = memfd_create("program", MFD_CLOEXEC), status;
	pid_t pid;

	if (fd < 0 || copy_to(fd, object))
		return ODD;
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", no_arguments, environ, AT_EMPTY_PATH);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ODD;
	return WEXITSTATUS(status) == 42 ? 0 : WEXITSTATUS(status);
}

static int exec_hard_link(const char *object)
{
	const char *name = at("work/hard-program");

	unlink(name);
	return link(object, name) ? errno : execute(name, no_arguments);
}

/* Runs a dynamic program with a library put into it, which reads the target: 0 where it did. */
static int preload(const char *program, const char *library, const char *target)
{
	char variable[600];
	pid_t pid;
	int status;

	if (access("/lib64/ld-linux-x86-64.so.2", X_OK))
		return ENOSYS;
	snprintf(variable, sizeof(variable), "%s", library);
	pid = fork();
	if (pid == 0) {
		close(2);
		setenv("LD_PRELOAD", variable, 1);
		setenv("TARGET", target, 1);
		execl(program, "program", NULL);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ODD;
	/* The program itself ends with 0: without the library, which the loader goes on without. */
	return WEXITSTATUS(status) == 42 ? 0 : WEXITSTATUS(status) ?: EACCES;
}

/* A library from a place that process rules name. */
static int preload_denied(const char *object)
{
	char library[600];

	snprintf(library, sizeof(library), "%.*s/preload.so", (int)(strrchr(object, '/') - object), object);
	return preload(at("bin/dynamic"), library, at("free/harmless"));
}

/* A library from anywhere, under an allow-list of programs, which names none. */
static int preload_listed(const char *object)
{
	return preload(at("bin/dynamic"), at("work/preload.so"), object);
}

/* Into the program that a sourced rule trusts. */
static int preload_source(const char *object)
{
	return preload(at("trusted/dynamic"), at("work/preload.so"), object);
}

/* === acting as the program that a sourced rule trusts: BASE/trusted/program may read BASE/sourced/secret === */

/* exe_file can be exchanged only where the old one is not mapped: each of its mappings becomes a copy in place. */
static int unmap_own_file(void)
{
	char own[512] = {0}, line[1024];
	FILE *maps = fopen("/proc/self/maps", "r");

	if (!maps || readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		char *copy, mode[5];

		if (!strstr(line, own) || sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3)
			continue;
		copy = mmap(NULL, to - from, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (copy == MAP_FAILED)
			return -1;
		memcpy(copy, (void *)from, to - from);
		if (mremap(copy, to - from, to - from, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)from) == MAP_FAILED)
			return -1;
	}
	fclose(maps);
	return 0;
}

static int exchange_exe(const char *object)
{
	int fd = open(at("trusted/program"), O_RDONLY | O_CLOEXEC);

	if (fd < 0 || unmap_own_file() || prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, fd, 0, 0))
		return ODD;
	return reach(object);
}

static pid_t start_trusted(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(at("trusted/program"), "program", "wait", NULL);
		_exit(1);
	}
	usleep(200000);
	return pid;
}

static int ended(pid_t pid, int result)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return result;
}

static int seize(pid_t pid)
{
	return said(ptrace(PTRACE_SEIZE, pid, 0, 0));
}

static int vm_write(pid_t pid)
{
	char byte = 0;
	struct iovec own = {&byte, 1}, other = {(void *)1, 1};
	ssize_t n = process_vm_writev(pid, &own, 1, &other, 1, 0);

	/* It may attach; there is nothing at address 1. */
	return n < 0 && errno == EFAULT ? 0 : said(n);
}

static int memory(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	return said(open(path, O_RDWR | O_CLOEXEC));
}

static int take_descriptor(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? ODD : said(syscall(SYS_pidfd_getfd, fd, 0, 0));
}

#define ON_TRUSTED(name, call)                                                                                        \
	static int name(const char *object)                                                                           \
	{                                                                                                             \
		pid_t pid = start_trusted();                                                                          \
                                                                                                                      \
		(void)object;                                                                                         \
		return ended(pid, call(pid));                                                                         \
	}

#define ON_OUTSIDE(name, call)                                                                                        \
	static int name(const char *object)                                                                           \
	{                                                                                                             \
		(void)object;                                                                                         \
		return call(pid_of("OUTSIDE"));                                                                       \
	}

ON_TRUSTED(seize_source, seize)
ON_TRUSTED(vm_write_source, vm_write)
ON_TRUSTED(memory_of_source, memory)
ON_TRUSTED(descriptor_of_source, take_descriptor)
ON_OUTSIDE(seize_outside, seize)
ON_OUTSIDE(vm_write_outside, vm_write)
ON_OUTSIDE(memory_of_outside, memory)
ON_OUTSIDE(descriptor_of_outside, take_descriptor)

/* The trusted program, traced from its birth. */
static int traced_source(const char *object)
{
	pid_t pid = fork();
	int status;

	(void)object;
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(errno);
		execl(at("trusted/program"), "program", "wait", NULL);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) != pid)
		return ODD;
	if (WIFSTOPPED(status))
		return ended(pid, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : ODD;
}

static int signal_outside(const char *object)
{
	(void)object;
	return said(kill(pid_of("OUTSIDE"), 0));
}

const struct attack task_attacks[] = {
	{"exec-direct", exec_direct},
	{"exec-by-link", exec_by_link},
	{"exec-by-fd", exec_by_descriptor},
	{"exec-script", exec_script},
	{"exec-by-thread", exec_by_thread},
	{"exec-by-loader", exec_by_loader},
	{"protect-later", protect_later},
	{"exec-copy", exec_copy},
	{"exec-memfd", exec_memfd},
	{"exec-copy-blocked", exec_copy},
	{"exec-memfd-blocked", exec_memfd},
	{"exec-memfd-at", exec_memfd_at},
	{"exec-hard-link", exec_hard_link},
	{"preload-denied", preload_denied},
	{"preload-listed", preload_listed},
	{"preload-source", preload_source},
	{"exchange-exe", exchange_exe},
	{"seize-source", seize_source},
	{"vm-write-source", vm_write_source},
	{"memory-of-source", memory_of_source},
	{"fd-of-source", descriptor_of_source},
	{"traced-source", traced_source},
	{"seize-outside", seize_outside},
	{"vm-write-outside", vm_write_outside},
	{"memory-of-outside", memory_of_outside},
	{"fd-of-outside", descriptor_of_outside},
	{"signal-outside", signal_outside},
	{NULL, NULL},
};
