/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The strings that a program is being started with, read from where it will find them.
 *
 * When bprm_check_security runs, argv has been copied onto the stack of an address space that no task has yet: what
 * stands there is what the program gets, and nobody else can write it any more. (The caller's own copy, which a
 * sleepable program could read, is another thread's to change.) No helper reads an address space that is no task's, so
 * its page tables are walked here and the bytes read by the kernel's mapping of all memory.
 *
 * A page may be migrated or swapped out meanwhile: its table entry is read again behind the bytes, and if it is not the
 * same the string is unreadable. x86-64; elsewhere every string is unreadable.
 */
#ifndef PAL_ARGV_H
#define PAL_ARGV_H

#define PAGE_BYTES 4096
#define ENTRY_PRESENT 1u
#define ENTRY_HUGE 0x80u	/* never on a stack that is being set up */
#define STRING_PAGES 33		/* MAX_ARG_STRLEN is 32 pages, from any byte of the first */

/* Kernel variables without a BTF entry. */
extern const void page_offset_base __ksym __weak;	/* where all memory is mapped; fixed without KASLR of memory */
extern const void pgdir_shift __ksym __weak;		/* 48 with five levels of tables, else 39 */
extern const void physical_mask __ksym __weak;		/* what of an entry is an address: not the bits of encryption */

#define PAGE_OFFSET_FIXED 0xffff888000000000ull
#define PHYSICAL_MASK_FIXED ((1ull << 52) - 1)

/* Where the kernel sees the table or page that an entry points to. */
static __always_inline u64 entry_target(u64 entry)
{
	u64 offset = PAGE_OFFSET_FIXED, mask = PHYSICAL_MASK_FIXED;

	if (&page_offset_base)
		bpf_probe_read_kernel(&offset, sizeof(offset), &page_offset_base);
	if (&physical_mask)
		bpf_probe_read_kernel(&mask, sizeof(mask), &physical_mask);
	return offset + (entry & mask & ~(u64)(PAGE_BYTES - 1));
}

/* Where the last table has the entry of an address; 0 if it cannot be told. */
__noinline u64 argv_entry(u64 tables, u64 address)
{
	u32 top = 39;
	u64 entry;

#ifndef __TARGET_ARCH_x86
	return 0;
#endif
	if (!tables)
		return 0;
	if (&pgdir_shift && bpf_probe_read_kernel(&top, sizeof(top), &pgdir_shift))
		return 0;
	for (u32 shift = 48; shift > 12; shift -= 9) {
		if (shift > top)
			continue;
		if (bpf_probe_read_kernel(&entry, sizeof(entry), (void *)(tables + (address >> shift & 511) * 8)))
			return 0;
		if (!(entry & ENTRY_PRESENT) || entry & ENTRY_HUGE)
			return 0;
		tables = entry_target(entry);
	}
	return tables + (address >> 12 & 511) * 8;
}

/* Copies up to the end of the address's page, `most` bytes (<= PAGE_BYTES) at most, to s->data[at]. Bytes; -1: unreadable. */
__noinline int argv_copy(u32 index, u64 address, u32 at, u32 most)
{
	struct pal_scratch *s = scratch_at(index);
	u32 bytes = PAGE_BYTES - (address & (PAGE_BYTES - 1));
	u64 where, before, after, from;

	if (!s)
		return -1;
	where = argv_entry(s->argv_tables, address);
	if (!where || bpf_probe_read_kernel(&before, sizeof(before), (void *)where) || !(before & ENTRY_PRESENT))
		return -1;
	if (bytes > most)
		bytes = most;
	/* at + bytes <= DATA_ARGUMENTS + PAGE_BYTES < sizeof(data); the mask tells the verifier that at has 32 bits */
	at &= DATA_BYTES - 1;
	from = entry_target(before) + (address & (PAGE_BYTES - 1));
	/* Both at once, so that nothing comes between the checks and the call that would put the numbers in memory. */
	asm volatile("" : "+r"(bytes), "+r"(from));
	if (at > DATA_ARGUMENTS || bytes > PAGE_BYTES)
		return -1;
	if (bpf_probe_read_kernel(&s->data[at], bytes, (void *)from))
		return -1;
	barrier();
	if (bpf_probe_read_kernel(&after, sizeof(after), (void *)where) || after != before)
		return -1;
	return bytes;
}

struct argv_length {
	u32 index;
	u64 address;
	u32 length;
	u32 ended;
};

/* A page of a string, until its zero is found. */
static long argv_length_step(u32 i, struct argv_length *l)
{
	struct pal_scratch *s = scratch_at(l->index);
	u32 bytes = argv_copy(l->index, l->address, 0, PAGE_BYTES);
	long found;

	FORGET(bytes);
	/* An error is a large number. In two steps, as one check of a range from 1 tells the verifiers of 6.1 and 6.12 nothing. */
	if (!s || bytes > PAGE_BYTES)
		return 1;
	FORGET(bytes);
	if (!bytes)
		return 1;
	s->data[bytes] = 0;
	found = bpf_probe_read_kernel_str(&s->data[DATA_ARGUMENTS], PAGE_BYTES + 1, s->data);
	if (found <= 0)
		return 1;
	/* found counts a zero: the string's if it lies within the bytes, else the one that was put behind them */
	l->length += found - 1;
	l->address += bytes;
	l->ended = found <= bytes;
	return l->ended;
}

/*
 * Puts the end of the string at an address into s->data, NAME_MAX + 1 bytes of it at most. Their number, -1 if it cannot
 * be read.
 */
__noinline int argv_tail(u32 index, u64 address)
{
	struct argv_length l = { .index = index, .address = address };
	u32 tail, first;
	int bytes;

	bpf_loop(STRING_PAGES, argv_length_step, &l, 0);
	if (!l.ended)
		return -1;
	tail = l.length < NAME_MAX + 1 ? l.length : NAME_MAX + 1;
	if (!tail)
		return 0;
	address += l.length - tail;
	bytes = argv_copy(index, address, 0, tail);
	FORGET(bytes);
	if (bytes < 0)
		return -1;
	/* The rest of a tail that goes over into the next page. */
	first = bytes;
	if (first < tail && argv_copy(index, address + first, first, tail - first) != (int)(tail - first))
		return -1;
	return tail;
}

struct argv_component {
	struct pal_scratch *s;
	u32 end;
	u32 length;
};

/* Whether a byte more belongs to the last component of what ends at `end`. */
static long argv_component_step(u32 i, struct argv_component *c)
{
	if (i >= c->end || c->s->data[(c->end - i - 1) & (PAL_PATH_MAX - 1)] == '/')
		return 1;
	c->length = i + 1;
	return 0;
}

/*
 * Notes the last component of the string that ends at s->data[end] as a name that the program is invoked by. Global, so
 * that what follows is not verified once for each length.
 */
__noinline int argv_note_name(u32 index, u32 end)
{
	struct pal_scratch *s = scratch_at(index);
	struct argv_component component = { .s = s, .end = end };
	u32 len, which;

	if (!s)
		return -1;
	which = s->names & 1;
	bpf_loop(NAME_MAX + 1, argv_component_step, &component, 0);
	len = component.length;
	/* A longer one is nobody's name. */
	if (len > NAME_MAX)
		len = 0;
	if (bpf_probe_read_kernel(s->name[which], len & NAME_MAX, &s->data[(end - len) & (PAL_PATH_MAX - 1)]))
		return -1;
	s->name[which][len & NAME_MAX] = 0;
	s->names++;
	return 0;
}

/*
 * The names that the program of an exec is invoked by: the last component of the string at s->called, and that of
 * argv[0]. 0, or -1: they cannot be told.
 */
__noinline int argv_names(u32 index)
{
	struct pal_scratch *s = scratch_at(index);
	long size;
	int tail;

	if (!s)
		return -1;
	s->names = 0;
	size = bpf_probe_read_kernel_str(s->data, PAL_PATH_MAX, (void *)s->called);
	if (size < 1 || size > PAL_PATH_MAX || argv_note_name(index, size - 1))
		return -1;
	if (!s->argv_count)
		return 0;
	tail = argv_tail(index, s->argv_at);
	FORGET(tail);
	if (tail < 0 || tail > NAME_MAX + 1)
		return -1;
	return argv_note_name(index, tail);
}

/* Arguments in s->data. How far they have been gone through stands in s, of which the verifier keeps no account. */
struct argv_range {
	struct pal_scratch *s;
	u32 at;
	u32 bytes;	/* there are, with a zero behind them that is not theirs */
};

/* The next argument: its end. */
static long argv_end_step(u32 i, struct argv_range *range)
{
	struct pal_scratch *s = range->s;
	u32 end = s->argv_end, from = (range->at + end) & (DATA_BYTES - 1);
	long size;

	if (s->argv_found >= s->argv_count || end >= range->bytes)
		return 1;
	size = bpf_probe_read_kernel_str(s->path, PAGE_BYTES + 1, &s->data[from]);
	if (size <= 0)
		return 1;
	/* The last one is cut. */
	if (end + size > range->bytes) {
		s->argv_end = range->bytes;
		return 1;
	}
	s->argv_end = end + size;
	s->argv_found++;
	return 0;
}

/*
 * Puts the arguments of an exec into s->data[at], PAL_ARGUMENTS_MAX bytes at most: each with its zero, the last one
 * without it where they are cut. Their length, with ARGUMENTS_CUT if there are more or they cannot all be read. Overwrites
 * s->path.
 */
#define ARGUMENTS_CUT 0x10000u

__noinline u32 argv_arguments(u32 index, u32 at)
{
	struct pal_scratch *s = scratch_at(index);
	struct argv_range range = { .s = s };
	int bytes, more;

	at &= DATA_BYTES - 1;
	if (!s || at > DATA_ARGUMENTS)
		return ARGUMENTS_CUT;
	bytes = argv_copy(index, s->argv_at, at, PAL_ARGUMENTS_MAX);
	FORGET(bytes);
	if (bytes <= 0 || bytes > PAL_ARGUMENTS_MAX)
		return ARGUMENTS_CUT;
	if (bytes < PAL_ARGUMENTS_MAX && at + bytes <= DATA_ARGUMENTS) {
		more = argv_copy(index, s->argv_at + bytes, at + bytes, PAL_ARGUMENTS_MAX - bytes);
		if (more > 0)
			bytes += more;
	}
	FORGET(bytes);
	if (bytes < 0 || bytes > PAL_ARGUMENTS_MAX)
		return ARGUMENTS_CUT;
	s->data[at + bytes] = 0;
	range.at = at;
	range.bytes = bytes;
	s->argv_end = 0;
	s->argv_found = 0;
	bpf_loop(PAL_ARGUMENTS_MAX, argv_end_step, &range, 0);
	return (s->argv_end & (ARGUMENTS_CUT - 1)) | (s->argv_found < s->argv_count ? ARGUMENTS_CUT : 0);
}

#endif
