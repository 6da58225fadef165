/*
 * An overlay whose layers the workload can see (a volume of the daemon's): OBJECT is its directory, with lower, upper and
 * merged below. Whoever writes to the upper layer makes what is below it vanish, or appear by another name.
 */
#include "attack.h"
#include <sys/sysmacros.h>

static const char *in_layers(const char *object, const char *path)
{
	static char texts[4][600];
	static int next;
	char *text = texts[next++ % 4];

	snprintf(text, sizeof(texts[0]), "%s/%s", object, path);
	return text;
}

/* 0 where the file has gone from the merged directory. */
static int gone(const char *object, const char *path)
{
	return access(in_layers(object, path), F_OK) && errno == ENOENT ? 0 : ODD;
}

/* A whiteout: the character device 0/0. */
static int whiteout(const char *object)
{
	const char *name = in_layers(object, "upper/dir/whited");
	int result;

	if (mknod(name, S_IFCHR | 0600, makedev(0, 0)))
		return errno;
	result = gone(object, "merged/dir/whited");
	return unlink(name) ? ODD : result;
}

static int whiteout_by_rename(const char *object)
{
	const char *from = in_layers(object, "upper/dir/moved"), *to = in_layers(object, "upper/dir/to");

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, 4 /* RENAME_WHITEOUT */))
		return errno;
	return rename(to, from) ? ODD : 0;
}

/* An opaque directory hides what the lower layer has in it. */
static int opaque(const char *object)
{
	const char *veil = in_layers(object, "upper/veil");
	int result;

	if (setxattr(veil, "trusted.overlay.opaque", "y", 1, 0))
		return errno;
	result = gone(object, "merged/veil/secret");
	return removexattr(veil, "trusted.overlay.opaque") ? ODD : result;
}

/* A directory that is said to be renamed shows another one of the lower layer (one that nobody has looked at yet). */
static int redirect(const char *object)
{
	const char *alias = in_layers(object, "upper/alias");
	int result;

	if (setxattr(alias, "trusted.overlay.redirect", "/hidden", 7, 0))
		return errno;
	result = access(in_layers(object, "merged/alias/redirected"), F_OK) ? ODD : 0;
	return removexattr(alias, "trusted.overlay.redirect") ? ODD : result;
}

/* A file of the upper layer takes the place of the lower one's. */
static int replaced(const char *object)
{
	const char *name = in_layers(object, "upper/dir/replaced");
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return errno;
	close(fd);
	return unlink(name) ? ODD : 0;
}

static int read_lower(const char *object)
{
	return reach(in_layers(object, "lower/dir/secret"));
}

/* In the merged directory the kernel itself makes whiteouts. */
static int unlink_merged(const char *object)
{
	const char *name = in_layers(object, "merged/dir/unlinked");

	if (unlink(name))
		return errno;
	write_text(name, "secret\n");
	return 0;
}

static int read_merged(const char *object)
{
	return reach(in_layers(object, "merged/dir/secret"));
}

const struct attack layer_attacks[] = {
	{"layer-whiteout", whiteout},
	{"layer-rename", whiteout_by_rename},
	{"layer-opaque", opaque},
	{"layer-redirect", redirect},
	{"layer-replace", replaced},
	{"layer-read", read_lower},
	{"merged-unlink", unlink_merged},
	{"merged-read", read_merged},
	{NULL, NULL},
};
