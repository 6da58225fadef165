/*
 * bypass BASE NAME OBJECT         runs one attack; its exit code is its errno
 * bypass serve BASE               runs those that it is told, each as a process of its own, and answers each
 * bypass listen SOCKET...         listens on pathname sockets until it is killed
 * bypass outside SOCKET BASE      helps a workload from outside (outside.c)
 */
#include "attack.h"
#include <stdarg.h>

static const char *base = "";

const char *at(const char *format, ...)
{
	static char texts[8][512];
	static int next;
	char *text = texts[next++ % 8];
	va_list arguments;
	int n = snprintf(text, sizeof(texts[0]), "%s/", base);

	va_start(arguments, format);
	vsnprintf(text + n, sizeof(texts[0]) - n, format, arguments);
	va_end(arguments);
	return text;
}

int reach_at(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	char byte;
	int result;

	if (fd < 0)
		return errno;
	/* A directory is reached where it can be opened. */
	result = read(fd, &byte, 1) == 1 || errno == EISDIR ? 0 : ODD;
	close(fd);
	return result;
}

int reach(const char *path)
{
	return reach_at(AT_FDCWD, path);
}

int in_child(int (*run)(const char *), const char *object)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(run(object));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ODD;
	return WEXITSTATUS(status);
}

/* What execute() starts tells by its exit code that it ran. */
#define RAN 42

int execute(const char *program, char *const arguments[])
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return errno;
	if (pid == 0) {
		execv(program, arguments);
		_exit(errno);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ODD;
	return WEXITSTATUS(status) == RAN ? 0 : WEXITSTATUS(status) ?: ODD;
}

pid_t pid_of(const char *variable)
{
	const char *text = getenv(variable);

	return text ? atoi(text) : -1;
}

void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

/* Seconds that one attack may take in an emulated machine. */
#define PATIENCE 30

/* Orders come in here, answers go out there. */
#define ORDERS 3
#define ANSWERS 4

/* What the workload has opened before a policy held, under the numbers that attacks know. */
static int open_before(void)
{
	static const struct { int number; const char *path; int mode; } before[] = {
		{FD_OPENED, "deny/dir/secret", O_RDONLY},
		{FD_OPENED_FREE, "free/dir/secret", O_RDONLY},
		{FD_WRITABLE, "deny/dir/secret", O_RDWR},
		{FD_WRITABLE_FREE, "free/dir/secret", O_RDWR},
	};

	for (size_t i = 0; i < sizeof(before) / sizeof(*before); i++) {
		int fd = open(at(before[i].path), before[i].mode);

		if (fd < 0 || (fd != before[i].number && (dup2(fd, before[i].number) < 0 || close(fd))))
			return -1;
	}
	return 0;
}

/* "set NAME VALUE" changes the environment; NAME OBJECT is an attack, answered with its exit code. */
static int serve(void)
{
	FILE *orders = fdopen(ORDERS, "r");
	char name[64], object[400], value[400];

	if (open_before() || !orders || fcntl(ORDERS, F_SETFD, FD_CLOEXEC) || fcntl(ANSWERS, F_SETFD, FD_CLOEXEC))
		return ODD;
	dprintf(ANSWERS, "serving\n");
	while (fscanf(orders, "%63s %399s", name, object) == 2) {
		int status = 0;
		pid_t pid, ended;

		if (!strcmp(name, "set")) {
			if (fscanf(orders, "%399s", value) != 1 || setenv(object, value, 1))
				return ODD;
			continue;
		}
		pid = fork();
		if (pid == 0) {
			alarm(PATIENCE);
			execl(at("bin/bypass"), name, base, name, object, NULL);
			_exit(ODD);
		}
		/* The first process of a container gets the orphans as well. */
		do
			ended = waitpid(-1, &status, 0);
		while (ended > 0 && ended != pid);
		dprintf(ANSWERS, "%d\n", ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : ODD);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct attack *const tables[] = {
		path_attacks, descriptor_attacks, mount_attacks, leave_attacks, task_attacks, own_attacks, socket_attacks, layer_attacks,
	};

	/* Started as a program that an attack executes. */
	if (argc > 1 && !strcmp(argv[1], "ran"))
		return RAN;
	/* A task to be attached to: waits until it is killed. */
	if (argc > 1 && !strcmp(argv[1], "wait")) {
		for (;;)
			pause();
	}
	if (argc > 2 && !strcmp(argv[1], "listen"))
		return listen_on(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "outside"))
		return help(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "serve")) {
		base = argv[2];
		return serve();
	}
	if (argc != 4)
		return ODD;
	base = argv[1];
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++)
		for (const struct attack *a = tables[t]; a->name; a++)
			if (!strcmp(a->name, argv[2]))
				return a->run(argv[3]);
	return ODD;
}
