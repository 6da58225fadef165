/*
 * The probe: a program that does one system call on command, and nothing else. It stands at every program path of a
 * case, so it is the acting program, the program executed, the interpreter and the library.
 *
 *	PROBE_MODE=exit in the environment, or argv[1] = "ok":	exits with 42 (somebody executed it)
 *	PROBE_MODE=serve:	takes commands from descriptor 0 and answers on descriptor 1
 *	argv[1] = "init", "act", "contain", "deepen":	the runner's helpers, see launch.c
 *
 * A command is one message: "INDEX OP key=value key=value ...", values escaped as %XX. The answer is "INDEX ok 0",
 * "INDEX err ERRNO" or "INDEX odd NUMBER". "landlock" takes a rule set by SCM_RIGHTS, see restrict_self().
 */
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/memfd.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/wait.h>

#define LINE (64 * 1024)
#define WORDS 64

struct args {
	int count;
	const char *words[WORDS];
};

static char line[LINE]; /* the words of the command lie in it */
static char image[16384];
static int received_fd = -1;

/* === strings === */

/* The compiler may call these by itself. */
void *memset(void *to, int byte, size_t n)
{
	char *t = to;

	while (n--)
		*t++ = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

long equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

long to_number(const char *s)
{
	long n = 0, sign = 1;

	if (*s == '-')
		sign = -1, s++;
	while (*s >= '0' && *s <= '9')
		n = n * 10 + (*s++ - '0');
	return sign * n;
}

char *put(char *at, const char *s)
{
	while (*s)
		*at++ = *s++;
	*at = 0;
	return at;
}

char *put_number(char *at, long n)
{
	char digits[24];
	int i = 0;

	if (n < 0)
		*at++ = '-', n = -n;
	do
		digits[i++] = (char)('0' + n % 10);
	while (n /= 10);
	while (i)
		*at++ = digits[--i];
	*at = 0;
	return at;
}

int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return (c | 32) - 'a' + 10;
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '%' && s[1] && s[2]) {
			*to++ = (char)(hex(s[1]) * 16 + hex(s[2]));
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

/* === the words of a command === */

const char *arg_nth(const struct args *a, const char *key, int n)
{
	size_t len = length(key);

	for (int i = 0; i < a->count; i++) {
		const char *w = a->words[i];
		size_t j = 0;

		while (j < len && w[j] == key[j])
			j++;
		if (j == len && w[j] == '=' && n-- == 0)
			return w + j + 1;
	}
	return NULL;
}

const char *arg(const struct args *a, const char *key)
{
	const char *value = arg_nth(a, key, 0);

	return value ? value : "";
}

long arg_number(const struct args *a, const char *key)
{
	return to_number(arg(a, key));
}

static void split(char *text, struct args *a)
{
	a->count = 0;
	while (*text && a->count < WORDS) {
		char *word = text;

		while (*text && *text != ' ' && *text != '\n')
			text++;
		if (*text)
			*text++ = 0;
		if (*word) {
			unescape(word);
			a->words[a->count++] = word;
		}
	}
}

/* === processes === */

long fork_process(void)
{
	return SYS5(__NR_clone, 17 /* SIGCHLD */, 0, 0, 0, 0);
}

void leave(int code)
{
	for (;;)
		SYS1(__NR_exit_group, code);
}

long wait_for(long pid, int want)
{
	int status = 0;
	long ret;

	do
		ret = SYS4(__NR_wait4, pid, &status, __WALL, 0);
	while (ret == -4 /* EINTR */);
	if (ret < 0)
		return ret;
	return status == want << 8 ? 0 : ODD;
}

long in_child(long (*run)(const struct args *), const struct args *a)
{
	int ends[2];
	long result = 0;
	long ret = SYS2(__NR_pipe2, ends, O_CLOEXEC);

	if (ret < 0)
		return ret;
	long pid = fork_process();

	if (pid == 0) {
		result = run(a);
		SYS3(__NR_write, ends[1], &result, sizeof(result));
		leave(0);
	}
	SYS1(__NR_close, ends[1]);
	if (pid > 0) {
		if (SYS3(__NR_read, ends[0], &result, sizeof(result)) != sizeof(result))
			result = ODD;
		wait_for(pid, 0);
	}
	SYS1(__NR_close, ends[0]);
	return pid < 0 ? pid : result;
}

long open_close(const char *path, int flags, int mode)
{
	long fd = SYS4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);

	if (fd < 0)
		return fd;
	SYS1(__NR_close, fd);
	return 0;
}

long probe_memfd(const char *name, unsigned int flags)
{
	long fd = SYS2(__NR_memfd_create, name, flags);
	long at = 0, n;

	if (fd < 0)
		return fd;
	while ((n = SYS4(__NR_pread64, FD_IMAGE, image, sizeof(image), at)) > 0) {
		SYS3(__NR_write, fd, image, n);
		at += n;
	}
	return n < 0 ? n : fd;
}

/*
 * Landlock and seccomp work on the process itself. "filter=" is the seccomp program, each instruction as 16 hex
 * digits; it is loaded first, where there is one.
 */
static long restrict_self(const struct args *a)
{
	static struct sock_filter filter[4096];
	const char *text = arg(a, "filter");
	struct sock_fprog program = {0, filter};
	long ret = SYS5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	for (; text[0] && program.len < 4096; program.len++) {
		unsigned char *to = (unsigned char *)&filter[program.len];

		for (unsigned int i = 0; i < sizeof(*filter); i++, text += 2)
			to[i] = (unsigned char)(hex(text[0]) * 16 + hex(text[1]));
	}
	if (ret == 0 && program.len)
		ret = SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	if (ret == 0 && received_fd >= 0)
		ret = SYS2(__NR_landlock_restrict_self, received_fd, 0);
	if (received_fd >= 0)
		SYS1(__NR_close, received_fd);
	received_fd = -1;
	return ret;
}

static const struct op *find_in(const struct op *ops, const char *name)
{
	for (; ops->name; ops++)
		if (equal(ops->name, name))
			return ops;
	return NULL;
}

static const struct op *wanted;

static long shed_terminal(const struct args *a)
{
	long ret = SYS0(__NR_setsid);

	return ret < 0 ? ODD : wanted->run(a);
}

static long perform(const struct args *a)
{
	const char *name = a->words[1];
	const struct op *op = find_in(file_ops, name);

	if (equal(name, "landlock"))
		return restrict_self(a);
	if (!op)
		op = find_in(task_ops, name);
	if (!op)
		op = find_in(socket_ops, name);
	if (!op)
		return ODD;
	wanted = op;
	if (arg_number(a, "setsid"))
		return in_child(shed_terminal, a);
	return op->child ? in_child(op->run, a) : op->run(a);
}

/* === the loop === */

struct cmsg_fds {
	size_t len;
	int level, type;
	int fds[2];
};

long receive(void *to, size_t n, int descriptors[2])
{
	struct cmsg_fds control = {0};
	struct iovec_ iov = {to, n};
	struct msghdr_ message = {0, 0, &iov, 1, &control, sizeof(control), 0};
	long got = SYS3(__NR_recvmsg, 0, &message, 0x40000000 /* MSG_CMSG_CLOEXEC */);
	size_t head = offsetof(struct cmsg_fds, fds);

	for (int i = 0; i < 2; i++)
		if (got > 0 && message.control_len >= head && control.len >= head + (i + 1) * sizeof(int))
			descriptors[i] = control.fds[i];
	return got;
}

static void serve(void)
{
	struct args a;
	char answer[64];

	for (int fd = FD_IMAGE; fd <= FD_PTY_MASTER; fd++)
		SYS3(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC);
	SYS3(__NR_write, 1, "ready", 5);
	for (;;) {
		int given[2] = {received_fd, -1};
		long n = receive(line, sizeof(line) - 1, given);

		if (n <= 0)
			leave(0);
		received_fd = given[0];
		line[n] = 0;
		split(line, &a);
		if (a.count < 2)
			continue;
		long result = perform(&a);
		char *end = put(answer, a.words[0]);

		end = put(end, result == 0 ? " ok " : result < 0 ? " err " : " odd ");
		end = put_number(end, result < 0 ? -result : result);
		SYS3(__NR_write, 1, answer, end - answer);
	}
}

__attribute__((used, noreturn)) void probe_main(long *stack)
{
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);

	for (char **env = argv + argc + 1; *env; env++) {
		if (equal(*env, "PROBE_MODE=exit"))
			leave(42);
		if (equal(*env, "PROBE_MODE=serve"))
			serve();
	}
	if (argc >= 2 && equal(argv[1], "ok"))
		leave(42);
	if (argc >= 4 && equal(argv[1], "init"))
		leave(launch_init(argc, argv));
	if (argc == 3 && equal(argv[1], "contain"))
		leave(launch_contain(argv));
	if (argc == 3 && equal(argv[1], "act"))
		leave(launch_act(argv));
	if (argc >= 3 && equal(argv[1], "deepen"))
		leave(launch_deepen(argc, argv));
	leave(2);
}

#ifdef __x86_64__
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall probe_main\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl probe_main\n");
#endif
