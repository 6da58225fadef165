/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that the programs look into, cut down to the fields they read.
 *
 * Every record is relocated by the kernel's own BTF when the object is loaded (CO-RE), so neither the order nor the
 * offsets here mean anything; a field that some supported kernel lacks is a flavour (name___what) and is asked for
 * with bpf_core_field_exists(). There is no generated vmlinux.h: what is not listed is not read.
 */
#ifndef PAL_KTYPES_H
#define PAL_KTYPES_H

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
/* Named by the declarations of the helpers, which the programs need not call. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;

#define true 1
#define false 0

#define NULL ((void *)0)

/* Numbers that are part of the kernel's interface to user space (include/uapi) and so cannot move. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_ANY = 0,
	BPF_NOEXIST = 1,

	EPERM = 1,
	EIO = 5,
	ENXIO = 6,
	ENOEXEC = 8,
	EAGAIN = 11,
	EACCES = 13,
	EBUSY = 16,
	EEXIST = 17,
	ENODEV = 19,
	EISDIR = 21,
	EINVAL = 22,
	ENOTEMPTY = 39,
	EINPROGRESS = 115,
	ENOMEDIUM = 123,

	S_IFMT = 0170000,
	S_IFSOCK = 0140000,
	S_IFBLK = 0060000,
	S_IFREG = 0100000,
	S_IFDIR = 0040000,

	O_ACCMODE = 3,
	O_TRUNC = 01000,
	O_APPEND = 02000,
	PROT_EXEC = 4,
	RENAME_EXCHANGE = 2,

	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
	AF_NETLINK = 16,
	AF_PACKET = 17,
	AF_SMC = 43,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	SOCK_RAW = 3,
	SOCK_RDM = 4,
	SOCK_SEQPACKET = 5,
	SOCK_DCCP = 6,
	SOCK_PACKET = 10,
	NETLINK_ROUTE = 0,
	MSG_FASTOPEN = 0x20000000,
	INADDR_LOOPBACK = 0x7f000001,

	PROC_SUPER_MAGIC = 0x9fa0,
	OVERLAYFS_SUPER_MAGIC = 0x794c7630,
	ECRYPTFS_SUPER_MAGIC = 0xf15f,

	MS_REMOUNT = 1 << 5,
	MS_BIND = 1 << 12,
	MS_MOVE = 1 << 13,
	MS_UNBINDABLE = 1 << 17,
	MS_PRIVATE = 1 << 18,
	MS_SLAVE = 1 << 19,
	MS_SHARED = 1 << 20,

	CAP_SYS_CHROOT = 18,
	CAP_SYS_ADMIN = 21,
	BPF_LINK_GET_FD_BY_ID = 30,
	NR_MOUNT_SETATTR = 442,		/* the same for every architecture and personality */
	NR_OPEN_TREE_ATTR = 467,
	EXT4_SUPER_MAGIC = 0xef53,
	TMPFS_MAGIC = 0x01021994,
};

#define RAMFS_MAGIC 0x858458f6ul

/* Numbers inside the kernel; each is the same from 6.1 to 7.2. */
enum {
	FMODE_READ = 1,
	FMODE_WRITE = 2,
	FMODE_EXEC = 0x20,		/* in f_flags; open(2) cannot set it */
	FMODE_BACKING = 0x3000000,	/* the head of a backing_file: bit 25 from 6.5, later bit 24; see opened_as() */
	FMODE_NOACCOUNT = 0x20000000,	/* believed only together with a second sign, see file.h */
	ATTR_SIZE = 1 << 3,
	ATTR_ATIME = 1 << 4,
	ATTR_MTIME = 1 << 5,
	VM_EXEC = 4,
	PF_EXITING = 0x4,
	PF_KTHREAD = 0x00200000,
	CAP_OPT_NOAUDIT = 2,
	PTRACE_MODE_ATTACH = 2,
	PTRACE_MODE_NOAUDIT = 4,
	PIDTYPE_TGID = 1,
	NAME_MAX = 255,
	FMODE_PATH = 0x4000,
	FMODE_CREATED = 0x100000,
	TS_COMPAT = 2,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	int counter;
} atomic_t;

struct qstr {
	u32 hash;
	u32 len;
	const unsigned char *name;
};

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
	struct unicode_map *s_encoding;
	struct dentry *s_root;
	struct user_namespace *s_user_ns;
};

struct inode {
	u16 i_mode;
	kuid_t i_uid;
	unsigned long i_ino;
	u32 i_generation;
	struct super_block *i_sb;
};

struct seqcount {
	u32 sequence;
};

struct seqcount_spinlock {
	struct seqcount seqcount;
};

struct dentry {
	struct seqcount_spinlock d_seq;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

/* Where a short name is kept: 32 bytes in 6.1, 40 in 6.12, and a union of that size in 7.2. */
struct dentry___iname {
	unsigned char d_iname[40];
};

union shortname_store {
	unsigned char string[40];
};

struct dentry___shortname {
	union shortname_store d_shortname;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

/* Which user namespace a mount maps owners through: 6.1, and 6.2 and later. */
struct vfsmount___userns {
	struct user_namespace *mnt_userns;
};

struct vfsmount___idmap {
	struct mnt_idmap *mnt_idmap;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct mnt_namespace {
	struct mount *root;
};

/* The number of a mount namespace, never given twice: until 6.17 its own (0: a detached tree), then every namespace's. */
struct mnt_namespace___seq {
	u64 seq;
};

struct mnt_namespace___anon {
	bool is_anon;
};

struct ns_common___id {
	u64 ns_id;
};

struct mnt_namespace___common {
	struct ns_common___id ns;
};

/* The mounts of a super block: a list_head in 6.1 and 6.12, a plain chain in 7.2. */
struct list_head {
	struct list_head *next;
};

struct super_block___list {
	struct list_head s_mounts;
};

struct mount___list {
	struct list_head mnt_instance;
};

struct super_block___chain {
	struct mount *s_mounts;
};

struct mount___chain {
	struct mount *mnt_next_for_sb;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	void *private_data;
};

/* From 6.7: what a layer's file was opened as. */
struct backing_file___user {
	struct path user_path;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

/* x86: whether the system call under way is one of 32 bits. */
struct thread_info___x86 {
	u32 status;
};

struct pid;

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct signal_struct {
	atomic_t live;
	struct pid *pids[4];
	struct tty_struct *tty;
};

struct mm_struct {
	struct file *exe_file;
	void *pgd;
};

struct cred {
	kuid_t uid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int flags;
	unsigned int ptrace;
	struct task_struct *parent;
	struct mm_struct *mm;
	unsigned in_execve : 1;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	struct nameidata *nameidata;
	struct fs_struct *fs;
	struct files_struct *files;
	char comm[16];
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
};

struct linux_binprm {
	struct mm_struct *mm;
	unsigned long p;
	struct file *file;
	int argc;
	const char *filename;
	const char *interp;
};

struct bpf_map {
	char name[16];
};

struct bpf_prog_aux {
	char name[16];
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

/* The registers with which a task entered the kernel: x86, arm64. */
struct pt_regs {
	unsigned long orig_ax;
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long r10;
	unsigned long r8;
	unsigned long r9;
};

struct pt_regs___arm {
	s32 syscallno;
	u64 orig_x0;
	u64 regs[31];
};

struct iattr {
	unsigned int ia_valid;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_rcv_saddr;
	__u16 skc_num;			/* the local port, in the host's order */
	unsigned short skc_family;
	unsigned char skc_ipv6only : 1;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	u8 sk_kern_sock : 1;
	u16 sk_protocol;
};

struct inet_sock {
	struct sock sk;
	__be32 inet_saddr;
};

struct socket {
	short type;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	unsigned int msg_flags;
};

struct sockaddr;

struct unix_sock {
	struct path path;
	struct sock *peer;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

/* Came with 6.9, in the series that gave inode_setattr a first argument. */
union security_list_options___post_mknod {
	void *path_post_mknod;
};

#pragma clang attribute pop

#endif
