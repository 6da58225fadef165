/*
 * Attempts to get around a policy, one function each.
 *
 * An attack is given an object and tries to reach it: 0 where it did, else the errno of the refusal. What is not there
 * on this kernel is ENOSYS. Each runs in a process of its own.
 */
#ifndef PALISADE_ATTACK_H
#define PALISADE_ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ODD 255			/* the attack itself went wrong */
#define FD_FOREIGN_NS 8		/* a mount namespace that the workload did not make */
#define FD_OPENED 9		/* the denied file, opened before the policy held, */
#define FD_OPENED_FREE 10	/* and a free one, */
#define FD_WRITABLE 11		/* and both to be written */
#define FD_WRITABLE_FREE 12

struct io_uring_sqe;

struct attack {
	const char *name;
	int (*run)(const char *object);
};

/* BASE/FORMAT..., where BASE is the directory of the suite. */
const char *at(const char *format, ...);

/* The errno of a call that failed, 0 of one that did not. */
static inline int said(long result)
{
	return result < 0 ? errno : 0;
}

/* Opens, reads a byte and closes: 0 where a byte came. */
int reach(const char *path);
int reach_at(int dir, const char *path);
/* What a child comes to that runs a function. */
int in_child(int (*run)(const char *), const char *object);
/* Executes a program and waits: 0 where it ran. */
int execute(const char *program, char *const arguments[]);
/* A process id that the environment names. */
pid_t pid_of(const char *variable);
void write_text(const char *path, const char *text);

/* What io_uring makes of an order, in a ring of its own that is set up with these flags. */
int by_ring(const struct io_uring_sqe *order, unsigned int setup);
/* Asks who is not of the workload: its answer, and the descriptor that came with it, or -1. */
int ask(const char *order, int *descriptor);
int listen_on(char **paths);
int help(const char *path, const char *base);

extern const struct attack path_attacks[], descriptor_attacks[], mount_attacks[], leave_attacks[], task_attacks[];
extern const struct attack own_attacks[], socket_attacks[], layer_attacks[];

#endif
