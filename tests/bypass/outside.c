/* What is not of the workload: it listens on sockets, hands descriptors over, and enters as an operator does. */
#include "attack.h"

static int bound(const char *path, int type)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	return fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) ? -1 : fd;
}

int listen_on(char **paths)
{
	for (; *paths; paths++) {
		const char *end = strrchr(*paths, '.');
		int is_stream = !end || strcmp(end, ".datagram");
		int fd = bound(*paths, is_stream ? SOCK_STREAM : SOCK_DGRAM);

		if (fd < 0 || (is_stream && listen(fd, 64)))
			return errno;
	}
	for (;;)
		pause();
}

/* Into the mounts of a process of the workload. */
static int enter_mounts(pid_t workload)
{
	char path[64];
	int space;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", workload);
	space = open(path, O_RDONLY | O_CLOEXEC);
	return space < 0 ? -1 : setns(space, CLONE_NEWNS);
}

/* As `kubectl exec` does: into a cgroup of the workload, its mounts, and then a program of its. */
static int enter(pid_t workload, const char *below, const char *base, const char *object)
{
	char path[800], line[256] = {0};
	int file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", workload);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || read(file, line, sizeof(line) - 1) < 4)
		return ODD;
	line[strcspn(line, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s/cgroup.procs", line + 3, below);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, "0", 1) != 1 || enter_mounts(workload))
		return ODD;
	snprintf(path, sizeof(path), "%s/bin/bypass", base);
	execl(path, "direct", base, "direct", object, NULL);
	return ODD;
}

static void answer(int connection, int result, int descriptor)
{
	char space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&result, sizeof(result)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (descriptor >= 0) {
		struct cmsghdr *head;

		message.msg_control = space;
		message.msg_controllen = sizeof(space);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &descriptor, sizeof(int));
	}
	sendmsg(connection, &message, MSG_NOSIGNAL);
}

/* Orders: "open OBJECT" is answered with a descriptor, "enter CGROUP-BELOW OBJECT" with what the attack there came to. */
static int carry_out(int connection, pid_t workload, const char *base)
{
	char order[900] = {0}, verb[16], first[400] = "", second[400] = "";
	int fd, status;
	pid_t pid;

	if (read(connection, order, sizeof(order) - 1) <= 0 || sscanf(order, "%15s %399s %399s", verb, first, second) < 2)
		return ODD;
	if (!strcmp(verb, "open")) {
		fd = enter_mounts(workload) ? -1 : open(first, O_RDONLY | O_CLOEXEC);
		answer(connection, said(fd), fd);
		return 0;
	}
	pid = fork();
	if (pid == 0)
		_exit(enter(workload, first, base, second));
	answer(connection, waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : ODD, -1);
	return 0;
}

int help(const char *path, const char *base)
{
	int socket = bound(path, SOCK_STREAM);

	if (socket < 0 || listen(socket, 8))
		return errno;
	for (;;) {
		int connection = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
		struct ucred peer;
		socklen_t size = sizeof(peer);
		pid_t pid;

		if (connection < 0 || getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size))
			return errno;
		/* Who has entered other mounts is of no further use. */
		pid = fork();
		if (pid == 0)
			_exit(carry_out(connection, peer.pid, base));
		close(connection);
		waitpid(pid, NULL, 0);
	}
}

int ask(const char *order, int *descriptor)
{
	char space[CMSG_SPACE(sizeof(int))] = {0};
	int result = ODD, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct iovec part = {&result, sizeof(result)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", at("io/outside"));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) || write(fd, order, strlen(order)) < 0)
		return ODD;
	if (recvmsg(fd, &message, 0) != sizeof(result))
		return ODD;
	if (descriptor) {
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);

		*descriptor = -1;
		if (head)
			memcpy(descriptor, CMSG_DATA(head), sizeof(int));
	}
	close(fd);
	return result;
}
