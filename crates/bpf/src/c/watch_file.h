/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files: by the descriptor that a call returned or was given, where the path is the kernel's own; else by name, with the
 * directory where its look-up began.
 */
#ifndef PAL_WATCH_FILE_H
#define PAL_WATCH_FILE_H

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_SYMLINK_FOLLOW 0x400

/* The file behind a descriptor of the current task; 0 if there is none. */
static __always_inline struct file *file_at(u32 fd)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(current, files, fdt);
	struct file **files, *file = NULL;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return NULL;
	return file;
}

static __always_inline void walk_file(struct pal_scratch *s, u32 index, struct file *file)
{
	walk(s, index, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
}

/* Walks to where the look-up of a name begins: the task's root, its working directory or a descriptor. */
static __always_inline bool walk_start(struct pal_scratch *s, u32 index, bool absolute, u32 fd)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct fs_struct *fs = BPF_CORE_READ(current, fs);
	struct file *file;

	if (absolute) {
		walk(s, index, BPF_CORE_READ(fs, root.dentry), BPF_CORE_READ(fs, root.mnt));
		return true;
	}
	if (!fd || (s32)argument(s, fd) == AT_FDCWD) {
		walk(s, index, BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
		return true;
	}
	file = file_at(argument(s, fd));
	if (!file)
		return false;
	walk_file(s, index, file);
	return true;
}

#define OWN_FD "/proc/self/fd/"
#define OWN_FD_BYTES (sizeof(OWN_FD) - 1)
#define FD_DIGITS 9

/*
 * The file of a name `/proc/self/fd/N`, by which libraries reach what they hold a descriptor of; NULL for every other
 * name. User space could not follow it: the descriptor may be closed by then.
 */
static __always_inline struct file *file_by_own_fd(u64 at)
{
	char text[OWN_FD_BYTES + FD_DIGITS + 1] = {};
	u32 fd = 0;

	if (bpf_probe_read_user_str(text, sizeof(text), (void *)at) <= (long)OWN_FD_BYTES + 1 ||
	    bpf_strncmp(text, OWN_FD_BYTES, OWN_FD))
		return NULL;
	for (int i = OWN_FD_BYTES; i < sizeof(text) && text[i]; i++) {
		if (text[i] < '0' || text[i] > '9')
			return NULL;
		fd = fd * 10 + (text[i] - '0');
	}
	return file_at(fd);
}

/* A name, where a call was given one; else what its descriptor stands for. */
__noinline int seen_name(u32 index, u32 slot)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	struct file *held;
	char first = 0;
	bool nofollow;
	u64 at, flags;

	if (!s || !call)
		return 0;
	at = argument(s, call->at);
	if (at && bpf_probe_read_user(&first, 1, (void *)at)) {
		count(PAL_TALLY_UNREADABLE);
		return 0;
	}
	flags = call->flags && call->what == PAL_CALL_NAME ? argument(s, call->flags) : 0;
	nofollow = call->what == PAL_CALL_NAME &&
		   (call->rules & PAL_CALL_NOFOLLOW ||
		    (call->rules & PAL_CALL_FOLLOW_ASKED ? !(flags & AT_SYMLINK_FOLLOW) : flags & AT_SYMLINK_NOFOLLOW));
	held = first == '/' && !nofollow ? file_by_own_fd(at) : NULL;
	if (held) {
		walk_file(s, index, held);
		return SEEN;
	}
	if (!walk_start(s, index, first == '/', call->fd))
		return 0;
	if (first) {
		s->called = at;
		s->argv_count = NAME_OF_PROGRAM;
		s->event.code |= PAL_SEEN_NAMED;
		if (nofollow)
			s->event.code |= PAL_SEEN_NOFOLLOW;
	}
	return SEEN;
}

__noinline int seen_held(u32 index, u32 slot)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	struct file *file;

	if (!s || !call)
		return 0;
	file = file_at(argument(s, call->fd));
	if (!file)
		return 0;
	walk_file(s, index, file);
	return SEEN;
}

/* Read, write or both, as pal_file_open() has it. */
static __always_inline u32 access_of(bool reads, bool writes, u32 flags)
{
	u32 access = (reads ? 1 : 0) | (writes || flags & (O_TRUNC | O_APPEND) ? 2 : 0);

	return access ? access : 3;
}

/*
 * A file that was opened. One that could not be, for a reason that its driver gave, was opened as far as rules go: the
 * look-up and the permissions come first.
 */
__noinline int seen_open(u32 index, u32 slot, s64 ret)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);
	struct file *file;
	u32 mode, flags;

	if (!s || !call)
		return 0;
	if (ret < 0) {
		u64 asked = argument(s, call->flags);

		if (!call->at || (ret != -ENXIO && ret != -ENODEV && ret != -EBUSY && ret != -EIO && ret != -ENOMEDIUM))
			return 0;
		if (call->rules & PAL_CALL_HOW && bpf_probe_read_user(&asked, sizeof(asked), (void *)asked))
			return 0;
		mode = asked & O_ACCMODE;
		s->event.access = access_of(mode == 0 || mode == 2, mode == 1 || mode == 2, asked);
		return seen_name(index, slot);
	}
	file = file_at(ret);
	if (!file)
		return 0;
	mode = BPF_CORE_READ(file, f_mode);
	flags = BPF_CORE_READ(file, f_flags);
	if (mode & FMODE_PATH)
		return 0;
	s->event.access = access_of(mode & FMODE_READ, mode & FMODE_WRITE, flags);
	if (mode & FMODE_CREATED)
		s->event.code |= PAL_SEEN_CREATED;
	walk_file(s, index, file);
	return SEEN;
}

/* An exec begins: who calls it, and from which directory its name is looked up. */
__noinline int exec_called(u32 index, u32 slot)
{
	struct pal_scratch *s = scratch_at(index);
	struct pal_call *call = bpf_map_lookup_elem(&pal_calls, &slot);

	if (!s || !call)
		return 0;
	s->event.operation = PAL_OP_EXEC;
	s->event.code = PAL_SEEN_CALL;
	s->event.access = 0;
	s->event.object_kind = PAL_OBJECT_PATH;
	s->end = PAL_KEY_NONE;
	s->called = 0;
	if (!walk_start(s, index, false, call->fd))
		return 0;
	/* A memfd is no directory; the caller counts all the same. */
	if (s->status == PATH_INTERNAL)
		s->status = PATH_UNRESOLVABLE;
	return SEEN;
}

#endif
