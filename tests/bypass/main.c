/*
 * bypass BASE NAME OBJECT   runs one attack; its exit code is its errno
 * bypass BASE FILE          runs those of FILE, one line each: a name and its object, each as the program BASE/bin/NAME;
 *                           prints the name, the object and the exit code
 * bypass listen SOCKET...   listens on pathname sockets until it is killed
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

static int listen_on(char **paths)
{
	for (; *paths; paths++) {
		struct sockaddr_un name = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		snprintf(name.sun_path, sizeof(name.sun_path), "%s", *paths);
		if (bind(fd, (struct sockaddr *)&name, sizeof(name)) || listen(fd, 64))
			return errno;
	}
	for (;;)
		pause();
}

/* Seconds that one attack may take in an emulated machine. */
#define PATIENCE 30

static int run_all(const char *list)
{
	FILE *lines = fopen(list, "re");
	char name[64], object[400];

	if (!lines)
		return ODD;
	while (fscanf(lines, "%63s %399s", name, object) == 2) {
		pid_t pid = fork();
		int status = 0;

		if (pid == 0) {
			alarm(PATIENCE);
			execl(at("bin/%s", name), name, base, name, object, NULL);
			_exit(ODD);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return ODD;
		printf("%s %s %d\n", name, object, WIFEXITED(status) ? WEXITSTATUS(status) : ODD);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct attack *const tables[] = {path_attacks, mount_attacks, task_attacks};

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
	if (argc < 3)
		return ODD;
	base = argv[1];
	if (argc == 3)
		return run_all(argv[2]);
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++)
		for (const struct attack *a = tables[t]; a->name; a++)
			if (!strcmp(a->name, argv[2]))
				return a->run(argv[3]);
	return ODD;
}
