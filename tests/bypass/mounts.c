/* Changing what paths mean. */
#include "attack.h"
#include <linux/mount.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

static int own_mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ? -1 : 0;
}

/* The directory that the object lies in. */
static const char *dir_of(const char *object)
{
	static char dir[512];

	snprintf(dir, sizeof(dir), "%s", object);
	*strrchr(dir, '/') = 0;
	return dir;
}

static int bind_elsewhere(const char *object)
{
	const char *to = at("mnt/bind");
	char path[600];
	int result;

	if (mount(dir_of(object), to, NULL, MS_BIND, NULL))
		return errno;
	snprintf(path, sizeof(path), "%s/secret", to);
	result = reach(path);
	umount2(to, MNT_DETACH);
	return result;
}

static int bind_in_userns(const char *object)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) ? ODD : in_child(bind_elsewhere, object);
}

/* The file alone. */
static int bind_file(const char *object)
{
	const char *to = at("work/bound");
	int result;

	write_text(to, "");
	if (mount(object, to, NULL, MS_BIND, NULL))
		return errno;
	result = reach(to);
	umount2(to, MNT_DETACH);
	return result;
}

/* Over the object's directory another one, so that the rule guards that. */
static int bind_over(const char *object)
{
	int result = said(mount(at("free"), dir_of(object), NULL, MS_BIND, NULL));

	if (!result)
		umount2(dir_of(object), MNT_DETACH);
	return result;
}

static int new_over_parent(const char *object)
{
	int result = said(mount("tmpfs", dir_of(object), "tmpfs", 0, NULL));

	if (!result)
		umount2(dir_of(object), MNT_DETACH);
	return result;
}

static int move(const char *object)
{
	const char *from = at("mnt/from"), *to = at("mnt/to");
	int result;

	(void)object;
	if (mount("tmpfs", from, "tmpfs", 0, NULL))
		return ODD;
	result = said(mount(from, to, NULL, MS_MOVE, NULL));
	umount2(result ? from : to, MNT_DETACH);
	return result;
}

static int propagate(const char *object)
{
	(void)object;
	return unshare(CLONE_NEWNS) ? ODD : said(mount(NULL, "/", NULL, MS_PRIVATE, NULL));
}

static int set_attributes(const char *object)
{
	struct mount_attr attributes = {.propagation = MS_PRIVATE};

	(void)object;
	return unshare(CLONE_NEWNS) ? ODD : said(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof(attributes)));
}

static int overlay_of(const char *object)
{
	const char *to = at("mnt/overlay");
	char options[600], path[600];
	int result;

	/* Two lower directories, or an upper one is needed. */
	snprintf(options, sizeof(options), "lowerdir=%s:%s", dir_of(object), at("free"));
	if (mount("overlay", to, "overlay", MS_RDONLY, options))
		return errno;
	snprintf(path, sizeof(path), "%s/secret", to);
	result = reach(path);
	umount2(to, MNT_DETACH);
	return result;
}

/* The same by the calls that have no hook with the kind of the file system. */
static int overlay_by_fsopen(const char *object)
{
	int context = syscall(SYS_fsopen, "overlay", 0), mounted;
	char lower[600];

	snprintf(lower, sizeof(lower), "%s:%s", dir_of(object), at("free"));
	if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "lowerdir", lower, 0))
		return ODD;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return errno;
	mounted = syscall(SYS_fsmount, context, 0, 0);
	return mounted < 0 ? errno : 0;
}

/* The file system of a disk that is mounted already, once more. */
static int disk_again(const char *object)
{
	const char *to = at("mnt/disk");
	int result = said(mount(getenv("DISK"), to, "ext4", 0, NULL));

	(void)object;
	if (!result)
		umount2(to, MNT_DETACH);
	return result;
}

static int proc_again(const char *object)
{
	const char *to = at("mnt/proc");
	int result = said(mount("proc", to, "proc", 0, NULL));

	(void)object;
	if (!result)
		umount2(to, MNT_DETACH);
	return result;
}

static int new_elsewhere(const char *object)
{
	const char *to = at("mnt/new");

	(void)object;
	return mount("tmpfs", to, "tmpfs", 0, NULL) || umount2(to, 0) ? errno : 0;
}

static int detached(const char *object)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, dir_of(object), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? errno : reach_at(tree, "secret");
}

static int attach_clone(const char *object)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, dir_of(object), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	const char *to = at("mnt/clone");
	char path[600];
	int result;

	if (tree < 0)
		return errno;
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH))
		return errno;
	snprintf(path, sizeof(path), "%s/secret", to);
	result = reach(path);
	umount2(to, MNT_DETACH);
	return result;
}

/* A mount of somebody else's is taken away from what it covers. */
static int unmount_foreign(const char *object)
{
	(void)object;
	return own_mounts() < 0 && unshare(CLONE_NEWNS) ? ODD : said(umount2(at("given"), MNT_DETACH));
}

static int pivot(const char *object)
{
	const char *to = at("mnt/pivot");

	(void)object;
	if (unshare(CLONE_NEWNS))
		return ODD;
	/* A mount namespace whose root is shared cannot pivot, and its propagation is not ours to change. */
	if (mount("tmpfs", to, "tmpfs", 0, NULL) || chdir(to))
		return ODD;
	return said(syscall(SYS_pivot_root, ".", "."));
}

const struct attack mount_attacks[] = {
	{"bind-elsewhere", bind_elsewhere},
	{"bind-in-userns", bind_in_userns},
	{"bind-file", bind_file},
	{"bind-over", bind_over},
	{"new-over-parent", new_over_parent},
	{"move", move},
	{"propagate", propagate},
	{"set-attributes", set_attributes},
	{"overlay-of", overlay_of},
	{"overlay-by-fsopen", overlay_by_fsopen},
	{"disk-again", disk_again},
	{"proc-again", proc_again},
	{"new-elsewhere", new_elsewhere},
	{"detached", detached},
	{"attach-clone", attach_clone},
	{"unmount-foreign", unmount_foreign},
	{"pivot", pivot},
	{NULL, NULL},
};
