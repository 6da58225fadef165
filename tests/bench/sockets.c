// SPDX-License-Identifier: Apache-2.0
/*
 * What calls on sockets cost, in instructions: as bench.c, in a guest whose clock counts them. One line for each
 * operation: its name and the best of ROUNDS rounds of LOOPS times. sockets.sh runs it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define LOOPS 400

static int udp, udp6, connected;
static struct sockaddr_in v4;
static struct sockaddr_in6 v6;

static int make(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	return fd < 0 ? -1 : close(fd);
}

static int connect_v4(void)
{
	return connect(udp, (struct sockaddr *)&v4, sizeof(v4));
}

static int connect_v6(void)
{
	return connect(udp6, (struct sockaddr *)&v6, sizeof(v6));
}

static int sendto_v4(void)
{
	return sendto(udp, "x", 1, 0, (struct sockaddr *)&v4, sizeof(v4)) == 1 ? 0 : -1;
}

static int send_connected(void)
{
	return send(connected, "x", 1, 0) == 1 ? 0 : -1;
}

static const struct {
	const char *name;
	int (*run)(void);
} operations[] = {
	{"socket", make}, {"connect", connect_v4}, {"connect6", connect_v6}, {"sendto", sendto_v4}, {"send", send_connected},
};

static long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000L + at.tv_nsec;
}

int main(void)
{
	long best[sizeof(operations) / sizeof(*operations)];

	v4.sin_family = AF_INET;
	v4.sin_port = htons(4000);
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v6.sin6_family = AF_INET6;
	v6.sin6_port = htons(4000);
	v6.sin6_addr = in6addr_loopback;
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	udp6 = socket(AF_INET6, SOCK_DGRAM, 0);
	connected = socket(AF_INET, SOCK_DGRAM, 0);
	/* Somebody has to be there, who never reads: what does not fit in his buffer is dropped in silence. */
	if (bind(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&v4, sizeof(v4)) ||
	    bind(socket(AF_INET6, SOCK_DGRAM, 0), (struct sockaddr *)&v6, sizeof(v6)) ||
	    connect(connected, (struct sockaddr *)&v4, sizeof(v4))) {
		perror("sockets");
		return 1;
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		best[i] = -1;
		for (int round = 0; round < ROUNDS; round++) {
			long begun = now();

			for (int loop = 0; loop < LOOPS; loop++)
				if (operations[i].run()) {
					fprintf(stderr, "%s: %s\n", operations[i].name, strerror(errno));
					return 1;
				}
			begun = (now() - begun) / LOOPS;
			if (best[i] < 0 || begun < best[i])
				best[i] = begun;
		}
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		printf("%s %ld\n", operations[i].name, best[i]);
	return 0;
}
