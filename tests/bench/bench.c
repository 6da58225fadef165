// SPDX-License-Identifier: Apache-2.0
/*
 * What system calls cost, in instructions: the guest's clock counts one nanosecond for each instruction that it
 * executes (QEMU -icount shift=0), so the time of a loop is its number of instructions.
 *
 *   bench [OPERATION ...]
 *
 * Measures each operation (all without arguments) and writes a line `OPERATION INSTRUCTIONS` for each, then
 * `measured`. Nothing is written in between: the console's interrupts would be counted. Then it waits for a byte on
 * standard input, makes PROOF more pairs of open and close for those who count how often a program runs, writes
 * `proved N` and ends. An operation that fails is written with the name of its error in place of a number.
 *
 * Best of ROUNDS rounds of LOOPS times, EXEC_LOOPS where a process is made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define LOOPS 400
#define EXEC_LOOPS 40
#define PROOF 1000
#define CALIBRATION 10000

/* 20, 60 and 196 bytes; 3, 7 and 12 components. The same names are in xtask/src/bench/rules.rs. */
#define PATH_20 "/b/aaaaaaaa/bbbbbbbb"
#define PATH_60 "/usr/lib/python3/dist-packages/bench/module_bbb/file_cccc.so"
#define PATH_196                                                                                                       \
	"/var/lib/containers/overlay/aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/"                       \
	"cccccccccccccccccccccccccc/dddddddddddddddddddddd/eeeeeeeeeeeeeeeeeeeeeeeeee/ffffffffffffffff/ggggggggggg/"   \
	"h.so"
/* 60 bytes, 7 components, decided at the second: below a recursive directory, or outside of every rule. */
#define PATH_EARLY "/srv/early/python3/dist-packages/bench/module_b/file_earl.so"
/* 20 components, ending in the same name as the 60-byte one. */
#define PATH_DEEP "/var/lib/deep/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/file_cccc.so"
/* Renamed to and fro; below the recursive directory, so that rules allow it. */
#define RENAMED "/srv/early/renamed"
#define RENAMED_DIR "/srv/early/moved"
/* What no rule allows. */
#define PATH_DENIED "/srv/denied/file"
#define PATH_DATA "/tmp/bench-data"
#define PATH_CHILD "/b/child"

_Static_assert(sizeof(PATH_20) == 21 && sizeof(PATH_60) == 61 && sizeof(PATH_196) == 197 && sizeof(PATH_EARLY) == 61,
	       "lengths as their names say");

static int data = -1;

static int open_close(const char *path)
{
	int file = open(path, O_RDONLY);

	return file < 0 ? -1 : close(file);
}

static int open_20(void)
{
	return open_close(PATH_20);
}

static int open_60(void)
{
	return open_close(PATH_60);
}

static int open_196(void)
{
	return open_close(PATH_196);
}

static int open_early(void)
{
	return open_close(PATH_EARLY);
}

static int open_deep(void)
{
	return open_close(PATH_DEEP);
}

static int rename_file(void)
{
	return rename(RENAMED, RENAMED ".new") || rename(RENAMED ".new", RENAMED) ? -1 : 0;
}

static int rename_dir(void)
{
	return rename(RENAMED_DIR, RENAMED_DIR ".new") || rename(RENAMED_DIR ".new", RENAMED_DIR) ? -1 : 0;
}

/* A directory of the same file system moves, so that the open after it finds nothing kept of its own. */
static int rename_open(void)
{
	return rename_dir() || open_60() ? -1 : 0;
}

/* Succeeds if it is denied. */
static int open_denied(void)
{
	if (open_close(PATH_DENIED) < 0)
		return errno == EACCES ? 0 : -1;
	errno = 0;
	return -1;
}

static int stat_60(void)
{
	struct stat found;

	return stat(PATH_60, &found);
}

static int read_1(void)
{
	char byte;

	return pread(data, &byte, 1, 0) == 1 ? 0 : -1;
}

static int write_1(void)
{
	return pwrite(data, "x", 1, 0) == 1 ? 0 : -1;
}

static int wait_for(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	if (status) {
		errno = EACCES;
		return -1;
	}
	return 0;
}

static char *const child_arguments[] = { (char *)"child", NULL };
static char *const child_environment[] = { NULL };

static int fork_exec(void)
{
	pid_t child = fork();

	if (!child) {
		execve(PATH_CHILD, child_arguments, child_environment);
		_exit(1);
	}
	return wait_for(child);
}

static int vfork_exec(void)
{
	pid_t child = vfork();

	if (!child) {
		execve(PATH_CHILD, child_arguments, child_environment);
		_exit(1);
	}
	return wait_for(child);
}

/* 2 * CALIBRATION instructions: whether a nanosecond is an instruction. */
static int calibrate(void)
{
	unsigned long left = CALIBRATION;

	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(left) : : "cc");
	return 0;
}

static const struct operation {
	const char *name;
	int loops;
	int (*once)(void);
} operations[] = {
	{ "calibrate", LOOPS, calibrate },    { "open-20", LOOPS, open_20 },
	{ "open-60", LOOPS, open_60 },	      { "open-196", LOOPS, open_196 },
	{ "open-deep", LOOPS, open_deep },    { "rename", LOOPS, rename_file },
	{ "rename-dir", LOOPS, rename_dir },  { "rename-open", LOOPS, rename_open },
	{ "open-early", LOOPS, open_early },  { "stat", LOOPS, stat_60 },
	{ "read", LOOPS, read_1 },	      { "write", LOOPS, write_1 },
	{ "fork-exec", EXEC_LOOPS, fork_exec }, { "vfork-exec", EXEC_LOOPS, vfork_exec },
	{ "denied", 1, open_denied },
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ll + time.tv_nsec;
}

/* Instructions for one time, or -1: errno says why. */
static long long measure(const struct operation *operation)
{
	long long best = -1;

	for (int round = 0; round < ROUNDS; round++) {
		long long begun = now(), taken;

		for (int i = 0; i < operation->loops; i++)
			if (operation->once())
				return -1;
		taken = (now() - begun) / operation->loops;
		if (best < 0 || taken < best)
			best = taken;
	}
	return best;
}

static bool is_wanted(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return true;
	return !count;
}

int main(int count, char **words)
{
	long long results[OPERATIONS];
	int errors[OPERATIONS], proved = 0;
	char byte;

	data = open(PATH_DATA, O_RDWR);
	for (size_t i = 0; i < OPERATIONS; i++) {
		if (!is_wanted(operations[i].name, count - 1, words + 1))
			continue;
		errno = 0;
		results[i] = measure(&operations[i]);
		errors[i] = errno;
	}
	for (size_t i = 0; i < OPERATIONS; i++) {
		if (!is_wanted(operations[i].name, count - 1, words + 1))
			continue;
		if (results[i] < 0)
			printf("%s %s\n", operations[i].name, errors[i] ? strerrorname_np(errors[i]) : "allowed");
		else
			printf("%s %lld\n", operations[i].name, results[i]);
	}
	printf("measured\n");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1)
		return 1;
	for (int i = 0; i < PROOF; i++)
		proved += !open_60();
	printf("proved %d\n", proved);
	return 0;
}
