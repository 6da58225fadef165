/* Reaching for Palisade itself, and for what lies under the file system. */
#include "attack.h"
#include <linux/bpf.h>

static int bpf_call(int command, union bpf_attr *attributes)
{
	return said(syscall(SYS_bpf, command, attributes, sizeof(*attributes)));
}

static int by_id(int command, const char *variable)
{
	union bpf_attr attributes = {.map_id = pid_of(variable)};

	return bpf_call(command, &attributes);
}

static int map_by_id(const char *object)
{
	(void)object;
	return by_id(BPF_MAP_GET_FD_BY_ID, "MAP_ID");
}

static int program_by_id(const char *object)
{
	(void)object;
	return by_id(BPF_PROG_GET_FD_BY_ID, "PROGRAM_ID");
}

static int link_by_id(const char *object)
{
	(void)object;
	return by_id(BPF_LINK_GET_FD_BY_ID, "LINK_ID");
}

static int map_by_pin(const char *object)
{
	union bpf_attr attributes = {.pathname = (unsigned long)getenv("MAP_PIN")};

	(void)object;
	return bpf_call(BPF_OBJ_GET, &attributes);
}

static int list_pins(const char *object)
{
	(void)object;
	return reach(getenv("PINS"));
}

static int unpin(const char *object)
{
	(void)object;
	return said(unlink(getenv("SPARE_PIN")));
}

static int move_pins(const char *object)
{
	char moved[512];
	int result;

	(void)object;
	snprintf(moved, sizeof(moved), "%s-moved", getenv("PINS"));
	result = said(rename(getenv("PINS"), moved));
	if (!result)
		rename(moved, getenv("PINS"));
	return result;
}

static int unmount_pins(const char *object)
{
	(void)object;
	return unshare(CLONE_NEWNS) ? ODD : said(umount2("/sys/fs/bpf", MNT_DETACH));
}

static int read_state(const char *object)
{
	char path[256];

	(void)object;
	/* PINS ends with the version, as the directory of the state does. */
	snprintf(path, sizeof(path), "/run/palisade/%s/state.json", strrchr(getenv("PINS"), '-') + 1);
	return reach(path);
}

static int ftrace_switch(const char *object)
{
	(void)object;
	return said(open("/proc/sys/kernel/ftrace_enabled", O_WRONLY | O_CLOEXEC));
}

/* The same file in another mount of procfs. */
static int ftrace_elsewhere(const char *object)
{
	const char *to = at("mnt/proc");
	int result;

	(void)object;
	if (unshare(CLONE_NEWPID))
		return ODD;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char path[600];

		if (mount("proc", to, "proc", 0, NULL))
			_exit(ODD);
		snprintf(path, sizeof(path), "%s/sys/kernel/ftrace_enabled", to);
		result = said(open(path, O_WRONLY | O_CLOEXEC));
		umount2(to, MNT_DETACH);
		_exit(result);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : ODD;
}

/* === devices === */

static int disk(const char *object)
{
	(void)object;
	return reach(getenv("DISK"));
}

static int disk_by_own_node(const char *object)
{
	const char *node = at("work/disk");
	struct stat of;

	(void)object;
	unlink(node);
	if (stat(getenv("DISK"), &of) || mknod(node, S_IFBLK | 0600, of.st_rdev))
		return ODD;
	return reach(node);
}

const struct attack own_attacks[] = {
	{"map-by-id", map_by_id},
	{"program-by-id", program_by_id},
	{"link-by-id", link_by_id},
	{"map-by-pin", map_by_pin},
	{"list-pins", list_pins},
	{"unpin", unpin},
	{"move-pins", move_pins},
	{"unmount-pins", unmount_pins},
	{"read-state", read_state},
	{"ftrace-switch", ftrace_switch},
	{"ftrace-elsewhere", ftrace_elsewhere},
	{"disk", disk},
	{"disk-by-own-node", disk_by_own_node},
	{NULL, NULL},
};
