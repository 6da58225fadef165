/*
 * Raw system calls and the few string functions that the probe needs.
 *
 * There is no C library here on purpose: nothing may happen in the probe but the call that a case asks for (a library
 * opens locale files, maps libraries, re-tries and emulates), and a probe of 30 KiB can be copied to every program
 * path of a case.
 */
#ifndef PALISADE_PROBE_SYS_H
#define PALISADE_PROBE_SYS_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "the probe knows x86-64 and aarch64"
#endif

#define SYS_PICK(_1, _2, _3, _4, _5, _6, NAME, ...) NAME
#define L(x) ((long)(x))
#define SYS0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS1(n, a) sys6(n, L(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) sys6(n, L(a), L(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) sys6(n, L(a), L(b), L(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) sys6(n, L(a), L(b), L(c), L(d), 0, 0)
#define SYS5(n, a, b, c, d, e) sys6(n, L(a), L(b), L(c), L(d), L(e), 0)
#define SYS6(n, a, b, c, d, e, f) sys6(n, L(a), L(b), L(c), L(d), L(e), L(f))

/* Descriptors that the launcher leaves to the acting probe. */
#define FD_IMAGE 20 /* the probe's own bytes, to copy into memfds */
#define FD_HOST_MNTNS 21 /* the runner's mount namespace */
#define FD_PTY_MASTER 22 /* keeps the controlling terminal alive */

/* What an operation returns: 0, a negative errno, or a positive number for what should not be. */
#define ODD 255

struct args; /* the words of one command, see probe.c */

const char *arg(const struct args *a, const char *key); /* the value, or "" */
long arg_number(const struct args *a, const char *key);
const char *arg_nth(const struct args *a, const char *key, int n); /* the n-th of that key, or NULL */

void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);
long equal(const char *a, const char *b);
size_t length(const char *s);
long to_number(const char *s);
char *put_number(char *at, long n); /* decimal, returns the new end */
char *put(char *at, const char *s);
int hex(char c); /* the value of a hexadecimal digit */

long fork_process(void);
__attribute__((noreturn)) void leave(int code);
/* A message from descriptor 0, and up to two descriptors that came with it: bytes, 0 at the end, or -errno. */
long receive(void *to, size_t n, int descriptors[2]);
/* Waits for a child: 0 where it exited with `want`, otherwise ODD. */
long wait_for(long pid, int want);
/* Runs a function in a child and returns what it returned there. */
long in_child(long (*run)(const struct args *), const struct args *a);
/* Opens without any flag of the caller's but O_CLOEXEC, and closes again: 0 or -errno. */
long open_close(const char *path, int flags, int mode);
/* A memfd with the probe's own program in it. */
long probe_memfd(const char *name, unsigned int flags);

struct iovec_ {
	void *base;
	size_t len;
};

struct msghdr_ {
	void *name;
	int name_len;
	struct iovec_ *iov;
	size_t iov_len;
	void *control;
	size_t control_len;
	unsigned int flags;
};

struct op {
	const char *name;
	long (*run)(const struct args *a);
	int child; /* it changes the process, so a child does it */
};

extern const struct op file_ops[], task_ops[], socket_ops[];

int launch_init(int argc, char **argv);
int launch_act(char **argv);
int launch_contain(char **argv);
int launch_deepen(int argc, char **argv);

#endif
