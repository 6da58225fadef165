// SPDX-License-Identifier: Apache-2.0
/*
 * Opens files while their paths change, and compares each verdict with the truth.
 *
 *   opens BASE CGROUP OPENS [MOVERS]
 *
 * Openers (labelled: they enter CGROUP, whose policy denies what is below BASE/deny and the other places named in
 * crates/agent/examples/opens.rs) open files without end; movers, which belong to no workload, change the paths: only
 * those named by a letter in MOVERS, all without; one letter alone has the openers do nothing but its kind. Ends after OPENS judged opens, and writes a line for each kind,
 *
 *   KIND allowed N denied N wrongly-allowed N wrongly-refused N changes N
 *
 * and a last one that begins with `judged`. With OPENS_UNTIL_WRONG in the environment, it ends at the first open that
 * is wrongly allowed. Exit code 1 if any open was judged wrongly, or a kind was hardly tried.
 *
 * The truth: a mover makes the kind's count odd before a change and even after it, and its second bit says on which side
 * the object then is. An open that saw the same even count before and after lay between two changes: it must be decided
 * by that side. One that overlapped a change may be decided by either, and is not judged. Kinds without a count have one
 * truth at all times.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPENERS 4
#define REUSED 8
#define RENAME_EXCHANGE_FLAG 2

enum kind {
	DIRECTORY,	/* a directory is moved in and out of the denied tree; opened through a descriptor of it */
	ANCESTOR,	/* a directory three levels above */
	EXCHANGED,	/* two directories change places */
	EXCHANGED_TOO,
	NAME,		/* the file itself is renamed; opened again through /proc/self/fd */
	MIXTURE,	/* the file moves between two denied names, whose halves mixed would be allowed */
	MOUNT,		/* a mount is moved */
	BIND,		/* one directory is bound in an allowed place or in a denied one, by turns */
	BOTH,		/* it is bound in both, always */
	REUSE,		/* directories are removed and made: the next one gets the inode of the last */
	LINKS,		/* one file of two names */
	NAMESPACE,	/* through a descriptor from another mount namespace: cannot be told, denied */
	PROCESS,	/* /proc/PID is /proc/self for one of the openers alone */
	STANDING,	/* nothing changes, but the table */
	KINDS
};

static const char *const kind_names[KINDS] = { "directory", "ancestor", "exchanged", "exchanged-too", "name",
					       "mixture",   "mount",	"bind",	     "both",	      "reuse",
					       "links",	    "namespace", "process",  "standing" };

/* The movers' letters; t changes nothing, but the tables are swapped; 0: no mover is this kind's alone. */
static const char letters[KINDS] = { 'd', 'a', 'x', 'x', 'n', 'm', 'M', 'b', 0, 'r', 0, 0, 0, 't' };
static char only;

struct shared {
	_Atomic unsigned long count[KINDS];	/* odd: changing; else >> 1 & 1: denied */
	_Atomic unsigned long allowed[KINDS], denied[KINDS], wrongly_allowed[KINDS], wrongly_refused[KINDS];
	_Atomic unsigned long changes[KINDS];
	_Atomic unsigned long opens, overlapped, absent, judged;
	_Atomic int pids[OPENERS];
	_Atomic bool stop;
};

static struct shared *shared;
static const char *base;

static const char *in_base(const char *name)
{
	static char paths[8][256];
	static int next;
	char *path = paths[next = (next + 1) % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
	return path;
}

static void fail(const char *what)
{
	fprintf(stderr, "opens: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void make_directory(const char *name)
{
	if (mkdir(in_base(name), 0777) && errno != EEXIST)
		fail(name);
}

static void make_file(const char *name)
{
	int file = open(in_base(name), O_CREAT | O_WRONLY, 0666);

	if (file < 0 || close(file))
		fail(name);
}

/* 1 allowed, 0 denied, -1 not there just now. */
static int try_open(int directory, const char *name)
{
	int file = openat(directory, name, O_RDONLY);

	atomic_fetch_add(&shared->opens, 1);
	if (file >= 0) {
		close(file);
		return 1;
	}
	if (errno == EACCES)
		return 0;
	atomic_fetch_add(&shared->absent, 1);
	return -1;
}

static void judge(enum kind kind, int result, bool deny)
{
	if (result < 0)
		return;
	atomic_fetch_add(&shared->judged, 1);
	atomic_fetch_add(result ? &shared->allowed[kind] : &shared->denied[kind], 1);
	if (result && deny)
		atomic_fetch_add(&shared->wrongly_allowed[kind], 1);
	if (!result && !deny)
		atomic_fetch_add(&shared->wrongly_refused[kind], 1);
}

static void between_changes(enum kind kind, int directory, const char *name)
{
	unsigned long before = atomic_load(&shared->count[kind]);
	int result = try_open(directory, name);

	if ((before & 1) || atomic_load(&shared->count[kind]) != before)
		atomic_fetch_add(&shared->overlapped, 1);
	else
		judge(kind, result, before >> 1 & 1);
}

static void always(enum kind kind, int directory, const char *name, bool deny)
{
	judge(kind, try_open(directory, name), deny);
}

/* Descriptors that the openers inherit. */
static int in_directory, in_ancestor, in_exchanged, in_exchanged_too, the_file, the_mixture, in_mount, in_pub;

static void open_all(unsigned turn, int me)
{
	char name[64];
	int other = atomic_load(&shared->pids[(me + 1) % OPENERS]);

	switch ((enum kind)(turn % KINDS)) {
	case DIRECTORY:
		between_changes(DIRECTORY, in_directory, "f");
		break;
	case ANCESTOR:
		between_changes(ANCESTOR, in_ancestor, "f");
		break;
	case EXCHANGED:
		between_changes(EXCHANGED, in_exchanged, "f");
		break;
	case EXCHANGED_TOO:
		between_changes(EXCHANGED_TOO, in_exchanged_too, "f");
		break;
	case NAME:
		snprintf(name, sizeof(name), "/proc/self/fd/%d", the_file);
		between_changes(NAME, AT_FDCWD, name);
		break;
	case MIXTURE:
		snprintf(name, sizeof(name), "/proc/self/fd/%d", the_mixture);
		always(MIXTURE, AT_FDCWD, name, true);
		break;
	case MOUNT:
		between_changes(MOUNT, in_mount, "f");
		break;
	case BIND:
		always(BIND, AT_FDCWD, in_base("deny/bind/f"), true);
		always(BIND, AT_FDCWD, in_base("pub/bind/f"), false);
		break;
	case BOTH:
		always(BOTH, AT_FDCWD, in_base("deny/both/f"), true);
		always(BOTH, AT_FDCWD, in_base("pub/both/f"), false);
		break;
	case REUSE:
		for (int i = 0; i < REUSED; i++) {
			snprintf(name, sizeof(name), "deny/reuse%d/f", i);
			always(REUSE, AT_FDCWD, in_base(name), true);
			snprintf(name, sizeof(name), "pub/reuse%d/f", i);
			always(REUSE, AT_FDCWD, in_base(name), false);
		}
		break;
	case LINKS:
		always(LINKS, AT_FDCWD, in_base("deny/linked"), true);
		always(LINKS, AT_FDCWD, in_base("pub/linked"), false);
		break;
	case NAMESPACE:
		/* the last opener has left the namespace */
		always(NAMESPACE, in_pub, "f", me == OPENERS - 1);
		break;
	case PROCESS:
		always(PROCESS, AT_FDCWD, "/proc/self/limits", true);
		snprintf(name, sizeof(name), "/proc/%d/limits", other);
		if (other)
			always(PROCESS, AT_FDCWD, name, false);
		break;
	case STANDING:
		always(STANDING, AT_FDCWD, in_base("pub/a/b/c/d/e/f"), false);
		always(STANDING, AT_FDCWD, in_base("deny/a/b/f"), true);
		always(STANDING, AT_FDCWD, in_base("pub/a/b/a-name-of-more-than-forty-bytes-in-a-directory"), false);
		always(STANDING, AT_FDCWD, in_base("pub/a/b/another-name-of-more-than-forty-bytes-in-a-directory"), true);
		always(STANDING, AT_FDCWD, in_base("pub/a/b/f.key"), true);
		break;
	case KINDS:
		break;
	}
}

static bool is_left_out(enum kind kind)
{
	return only && letters[kind] != only;
}

static void opener(int me, const char *procs)
{
	unsigned turn = (unsigned)me * 7919;
	bool leaves = me == OPENERS - 1;
	int file = open(procs, O_WRONLY);

	if (file < 0 || dprintf(file, "%d", getpid()) < 0)
		fail(procs);
	close(file);
	/*
	 * It goes to another mount namespace without an exec, so its workload began in none that it could be told by. What it
	 * then opens by path lies in its own copies of the mounts, which do not change: it does nothing but its own kind.
	 */
	if (leaves && unshare(CLONE_NEWNS))
		fail("unshare");
	if (!leaves)
		atomic_store(&shared->pids[me], getpid());
	while (!atomic_load(&shared->stop)) {
		turn = turn * 1664525u + 1013904223u;
		if (is_left_out(leaves ? NAMESPACE : (turn >> 16) % KINDS)) {
			if (leaves)
				usleep(20000);
			continue;
		}
		open_all(leaves ? NAMESPACE : turn >> 16, me);
		if (leaves)
			usleep(500);
	}
	exit(0);
}

static void dwell(unsigned *random)
{
	*random = *random * 1103515245u + 12345u;
	if (*random >> 8 & 3)
		usleep((*random >> 16) % 500);
}

static void begin(enum kind kind)
{
	atomic_fetch_add(&shared->count[kind], 1);
}

/* A change that failed leaves the object where it was: three more is the same side. */
static void end(enum kind kind, bool failed)
{
	atomic_fetch_add(&shared->count[kind], failed ? 3 : 1);
	if (!failed)
		atomic_fetch_add(&shared->changes[kind], 1);
}

static void move(enum kind kind, const char *from, const char *to)
{
	int failed;

	begin(kind);
	failed = rename(in_base(from), in_base(to));
	end(kind, failed);
	if (failed && errno != EBUSY)
		fail(from);
}

static void there_and_back(enum kind kind, const char *from, const char *to, unsigned *random)
{
	while (!atomic_load(&shared->stop)) {
		move(kind, from, to);
		dwell(random);
		move(kind, to, from);
		dwell(random);
	}
}

static void exchange(unsigned *random)
{
	int failed;

	begin(EXCHANGED);
	begin(EXCHANGED_TOO);
	failed = syscall(SYS_renameat2, AT_FDCWD, in_base("pub/exchanged"), AT_FDCWD, in_base("deny/exchanged"),
			 RENAME_EXCHANGE_FLAG);
	end(EXCHANGED, failed);
	end(EXCHANGED_TOO, failed);
	dwell(random);
}

static void bind(int round, unsigned *random)
{
	const char *place = in_base(round & 1 ? "deny/bind" : "pub/bind");

	if (mount(in_base("pub/source"), place, NULL, MS_BIND, NULL))
		fail("bind");
	atomic_fetch_add(&shared->changes[BIND], 1);
	dwell(random);
	umount2(place, MNT_DETACH);
}

static void reuse(int round, unsigned *random)
{
	char directory[64], file[80];
	const char *side = round & 1 ? "deny" : "pub";

	for (int i = 0; i < REUSED; i++) {
		snprintf(directory, sizeof(directory), "%s/reuse%d", side, i);
		make_directory(directory);
		snprintf(file, sizeof(file), "%s/f", directory);
		make_file(file);
	}
	atomic_fetch_add(&shared->changes[REUSE], 1);
	/* long enough to be opened */
	usleep(10000);
	dwell(random);
	for (int i = REUSED - 1; i >= 0; i--) {
		snprintf(directory, sizeof(directory), "%s/reuse%d", side, i);
		snprintf(file, sizeof(file), "%s/f", directory);
		unlink(in_base(file));
		rmdir(in_base(directory));
	}
	/* and for the inodes to be given back */
	usleep(10000);
}

static void drop_caches(void)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (file < 0 || write(file, "2", 1) != 1)
		fail("drop_caches");
	close(file);
	usleep(30000);
}

static void mover(char letter)
{
	unsigned random = (unsigned)letter * 7919;

	for (int round = 0; !atomic_load(&shared->stop); round++) {
		switch (letter) {
		case 'd':
			there_and_back(DIRECTORY, "pub/moved", "deny/moved", &random);
			break;
		case 'a':
			there_and_back(ANCESTOR, "pub/above", "deny/above", &random);
			break;
		case 'x':
			exchange(&random);
			break;
		case 'n':
			there_and_back(NAME, "pub/names/f", "pub/names/f.key", &random);
			break;
		case 'm':
			there_and_back(MIXTURE, "mixed-a/x", "mixed-b/y", &random);
			break;
		case 'M':
			begin(MOUNT);
			end(MOUNT, mount(in_base(round & 1 ? "deny/mount" : "pub/mount"),
					 in_base(round & 1 ? "pub/mount" : "deny/mount"), NULL, MS_MOVE, NULL));
			dwell(&random);
			break;
		case 'b':
			bind(round, &random);
			break;
		case 'r':
			reuse(round, &random);
			break;
		case 'c':
			drop_caches();
			break;
		case 't':
			usleep(20000);
			break;
		}
	}
	exit(0);
}

static void build(void)
{
	static const char *const directories[] = {
		"", "pub", "deny", "pub/moved", "pub/above", "pub/above/1", "pub/above/1/2", "pub/exchanged",
		"deny/exchanged", "pub/names", "mixed-a", "mixed-b", "pub/mount", "deny/mount", "pub/source", "pub/bind",
		"deny/bind", "pub/both", "deny/both", "pub/a", "pub/a/b", "pub/a/b/c", "pub/a/b/c/d", "pub/a/b/c/d/e",
		"deny/a", "deny/a/b",
	};
	static const char *const files[] = {
		"pub/f", "pub/moved/f", "pub/above/1/2/f", "pub/exchanged/f", "deny/exchanged/f", "pub/names/f", "mixed-a/x",
		"pub/source/f", "pub/linked", "pub/a/b/c/d/e/f", "deny/a/b/f", "pub/a/b/f.key",
		"pub/a/b/a-name-of-more-than-forty-bytes-in-a-directory",
		"pub/a/b/another-name-of-more-than-forty-bytes-in-a-directory",
	};

	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
		make_directory(directories[i]);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		make_file(files[i]);
	if (link(in_base("pub/linked"), in_base("deny/linked")))
		fail("link");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("make mounts private");
	if (mount("stress", in_base("pub/mount"), "tmpfs", 0, NULL))
		fail("mount");
	make_file("pub/mount/f");
	if (mount(in_base("pub/source"), in_base("pub/both"), NULL, MS_BIND, NULL) ||
	    mount(in_base("pub/source"), in_base("deny/both"), NULL, MS_BIND, NULL))
		fail("bind both");
}

static int descriptor(const char *name)
{
	int file = open(in_base(name), O_PATH);

	if (file < 0)
		fail(name);
	return file;
}

static bool any_wrong(void)
{
	for (int k = 0; k < KINDS; k++)
		if (atomic_load(&shared->wrongly_allowed[k]))
			return true;
	return false;
}

static bool report(void)
{
	bool good = true;
	unsigned long allowed = 0, refused = 0;

	for (int k = 0; k < KINDS; k++) {
		printf("%s allowed %lu denied %lu wrongly-allowed %lu wrongly-refused %lu changes %lu\n", kind_names[k],
		       shared->allowed[k], shared->denied[k], shared->wrongly_allowed[k], shared->wrongly_refused[k],
		       shared->changes[k]);
		allowed += shared->wrongly_allowed[k];
		refused += shared->wrongly_refused[k];
		if (is_left_out(k))
			continue;
		if (!shared->allowed[k] && k != MIXTURE) {
			printf("%s was never seen allowed\n", kind_names[k]);
			good = false;
		}
		if (!shared->denied[k]) {
			printf("%s was never seen denied\n", kind_names[k]);
			good = false;
		}
	}
	printf("judged %lu opens %lu overlapped %lu absent %lu wrongly-allowed %lu wrongly-refused %lu\n", shared->judged,
	       shared->opens, shared->overlapped, shared->absent, allowed, refused);
	return good && !allowed && !refused;
}

int main(int count, char **words)
{
	const char *movers = count > 4 ? words[4] : "daxnmMbrc";
	bool until_wrong = getenv("OPENS_UNTIL_WRONG");
	unsigned long wanted;
	char procs[256];

	if (count < 4) {
		fprintf(stderr, "usage: opens BASE CGROUP OPENS [MOVERS]\n");
		return 2;
	}
	base = words[1];
	only = strlen(movers) == 1 ? *movers : 0;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", words[2]);
	wanted = strtoul(words[3], NULL, 10);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	build();
	atomic_store(&shared->count[EXCHANGED_TOO], 2);
	in_directory = descriptor("pub/moved");
	in_ancestor = descriptor("pub/above/1/2");
	in_exchanged = descriptor("pub/exchanged");
	in_exchanged_too = descriptor("deny/exchanged");
	the_file = descriptor("pub/names/f");
	the_mixture = descriptor("mixed-a/x");
	in_mount = descriptor("pub/mount");
	in_pub = descriptor("pub");
	for (int i = 0; i < OPENERS; i++)
		if (!fork())
			opener(i, procs);
	for (const char *letter = movers; *letter; letter++)
		if (!fork())
			mover(*letter);
	while (atomic_load(&shared->judged) < wanted && !(until_wrong && any_wrong())) {
		if (waitpid(-1, NULL, WNOHANG) > 0) {
			fprintf(stderr, "opens: a process ended too early\n");
			atomic_store(&shared->stop, true);
			return 2;
		}
		usleep(20000);
	}
	atomic_store(&shared->stop, true);
	while (wait(NULL) > 0)
		;
	return report() ? 0 : 1;
}
