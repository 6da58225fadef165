/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The judging half of the kernel programs (table.h, table_size.h, socket.h), compiled for user space: the very text
 * that the kernel runs, over tables and questions from a file, without a kernel.
 *
 *   cc -O2 -I ../../src/c -o decide decide.c && ./decide FILE
 *
 * questions.rs writes the file and reads the answer; the tests `tables` of tests/system and tests/oracle call it.
 *
 * FILE, little-endian, is a row of records. 1: u32 length, a table. 2: a question about the last table:
 *   u8 class, u8 operation, u8 terminal, u8 owner, u8 kind (0 path, 1 unresolvable, 2 socket, 3 capability, 4 mount at
 *   the object, 5 the object is a directory that moves, 6 another change of mounts, 7 an attach; with 128: of a block device),
 *   u32 a, b, c (socket: family, type, protocol; capability: a), text object, u8 number of names,
 *   that many texts,
 *   (socket: the object is empty, or a byte PAL_KEY_*, the port in two and the address as on the wire)
 *   program, u8 number of scripts, that many programs, u32 verdict expected, u32 code expected (0xffffffff: any),
 *   u32 verdict of the shadow expected (0xffffffff: none), u32 its code (0xffffffff: any)
 * text: u16 length, bytes. program: u8 known, text.
 */
#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

enum {
	NAME_MAX = 255, AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, AF_PACKET = 17, AF_SMC = 43,
	SOCK_STREAM = 1, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET = 10, NETLINK_ROUTE = 0,
};

/* What the headers want of libbpf's: maps are their own addresses here. */
#define SEC(name)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) value *name
#define __array(name, value) value *name[]
enum { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS };
enum { BPF_MAP_TYPE_RINGBUF = 5, BPF_F_MMAPABLE = 6, BPF_ANY = 0 };

static void *bpf_map_lookup_elem(void *map, const void *key);
/* Judging writes no map. */
static long bpf_map_update_elem(void *map, const void *key, const void *value, u64 flags) { abort(); }
static u64 bpf_get_current_pid_tgid(void) { return 0; }
static u32 bpf_get_smp_processor_id(void) { return 0; }

static long bpf_probe_read_kernel(void *to, u32 n, const void *from)
{
	memcpy(to, from, n);
	return 0;
}

static long bpf_loop(u32 rounds, void *body, void *context, u64 flags)
{
	long (*step)(u32, void *) = body;

	for (u32 i = 0; i < rounds; i++)
		if (step(i, context))
			break;
	return 0;
}

#include "abi.h"
#include "maps.h"
#include "cache.h"
#include "scratch.h"
#include "table.h"
#include "socket.h"
#include "key.h"

static struct pal_scratch slot;
static struct pal_label label;
static char *table;

static char inner;

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	if (map == &pal_slots)
		return &slot;
	if (map == &pal_labels)
		return &label;
	if (map == &inner)
		return table;
	if ((map == &pal_tables_s && label.size == 0) || (map == &pal_tables_m && label.size == 1) ||
	    (map == &pal_tables_l && label.size == 2) || (map == &pal_tables_x && label.size == 3))
		return &inner;
	return NULL;
}

static FILE *file;

static void get(void *to, size_t n)
{
	if (fread(to, 1, n, file) != n) {
		fprintf(stderr, "the file ends inside a record\n");
		exit(2);
	}
}

static u32 get_u32(void) { u32 x; get(&x, 4); return x; }
static u8 get_u8(void) { u8 x; get(&x, 1); return x; }

static u16 get_text(char *text)
{
	u16 n;

	get(&n, 2);
	get(text, n);
	text[n] = 0;
	return n;
}

static void put_path(const char *text, u16 n)
{
	slot.offset = PATH_END - n;
	memcpy(&slot.path[slot.offset], text, n);
	slot.path[PATH_END] = 0;
}

static u32 program_class(u64 handle)
{
	static char text[1 << 16];
	u8 known = get_u8();
	u16 n = get_text(text);

	put_path(text, n);
	return table_source(handle, 0, known ? SOURCE_OF_PATH : SOURCE_UNKNOWN);
}

static void read_table(void)
{
	static const u32 bits[] = { PAL_BITS_S, PAL_BITS_M, PAL_BITS_L, PAL_BITS_X };
	u32 n = get_u32();

	for (label.size = 0; PAL_HEADER_BYTES + (8ul << bits[label.size]) < n; label.size++)
		;
	free(table);
	table = calloc(1, PAL_HEADER_BYTES + (8ul << bits[label.size]));
	get(table, n);
	label.slot = 0;
	label.flags = PAL_LABEL_LIVE;
}

/*
 * The same open by what is kept of its directory: the states that the walk in two halves noted. 0 unless it passes where the
 * whole path does not, or does not where one automaton at most meets the path and the base set is not asked.
 */
static int ask_cached(u64 handle, u64 decision, unsigned long *hits)
{
	static const struct pal_label *of = &label;
	struct cache_question question = { .asked = slot.operations | slot.owner << 2, .source = slot.source,
					   .terminal = slot.terminal };
	u32 length = PATH_END - slot.split, id = handle;
	bool is_silent = !(decision >> 30);
	u64 answer;

	if (length > NAME_CACHED)
		return 0;
	memcpy(question.name, &slot.path[slot.split], length);
	memcpy(pal_cache[0].states, slot.states, sizeof(slot.states));
	answer = DISPATCH(pass, of->size, of->slot, id, &question);
	*hits += answer == PASSES;
	if (answer != PASSES && answer != ASK_AND_STORE)
		return 1;
	return answer == PASSES ? !is_silent : is_silent && slot.found < 2 && !slot.states[1];
}

/* 0 if the answer is the expected one. */
static int ask(unsigned long number, unsigned long *hits)
{
	static char object[1 << 16], name[1 << 16];
	u32 class = get_u8(), operation = get_u8(), terminal = get_u8(), owner = get_u8(), kind = get_u8();
	u32 a = get_u32(), b = get_u32(), c = get_u32(), verdict, code, source, scripts;
	u32 shadow_verdict, shadow_code, shadow;
	u16 length = get_text(object);
	u8 names = get_u8();
	u64 handle = table_of(1, class), decision = 0;
	u32 device = kind >> 7, by_cache = 0;

	kind &= 127;
	if (names > 2)
		abort();
	for (u32 i = 0; i < names; i++) {
		u16 n = get_text(name);

		/* A longer one is nobody's name. */
		memcpy(slot.name[i], name, n <= NAME_MAX ? n + 1 : 0);
		slot.name[i][n <= NAME_MAX ? n : 0] = 0;
	}

	source = program_class(handle);
	scripts = get_u8();
	for (u32 i = 0; i < scripts; i++) {
		u32 script = program_class(handle);

		if (!(handle_header(handle) & PAL_TABLE_FOLD))
			continue;
		slot.source = source;
		slot.row = script;
		source = table_source(handle, 0, SOURCE_FOLD);
	}
	verdict = get_u32();
	code = get_u32();
	shadow_verdict = get_u32();
	shadow_code = get_u32();
	slot.class = class;
	slot.operations = 1u << operation;
	slot.source = source;
	slot.terminal = terminal;
	slot.owner = owner;
	slot.names = names;
	slot.status = kind == 0 || kind == 4 || kind == 5 ? PATH_OK : kind == 1 ? PATH_UNRESOLVABLE : kind == 2 ? PATH_KEY : PATH_NONE;
	put_path(object, length);
	slot.row = kind == 2 ? socket_row(a, b, c) : a;
	slot.device = device;
	if (kind == 2) {
		slot.end = length ? object[0] : PAL_KEY_NONE;
		slot.event.port = length ? (u8)object[1] | (u8)object[2] << 8 : 0;
		memset(slot.event.address, 0, sizeof(slot.event.address));
		if (length > 3)
			memcpy(slot.event.address, object + 3, length - 3);
		key_put(&slot);
	}
	if (kind == 4)
		decision = table_over_place(handle, 0);
	else if (kind == 5)
		decision = table_moved(handle, 0);
	else if (kind == 6)
		decision = table_source(handle, 0, TABLE_MOUNTS_DECISION);
	else if (kind == 7)
		decision = table_source(handle, 0, TABLE_ATTACH_DECISION);
	else if (handle_class(handle) & PAL_CLASS_ACTIVE && slot.row != PAL_SOCK_EXEMPT) {
		bool is_open = kind == 0 && class == PAL_CLASS_FILE && !device && object[0] == '/' && length > 1;

		memset(slot.states, 0, sizeof(slot.states));
		slot.split = is_open ? PATH_END - length + (strrchr(object, '/') + 1 - object) : 0;
		decision = table_judge(handle, 0);
		by_cache = is_open && slot.split < PATH_END && ask_cached(handle, decision, hits);
		slot.split = 0;
	}
	shadow = decision >> 32;
	if (by_cache || decision & (TABLE_GONE | HANDLE_UNUSED) || (u32)decision >> 30 != verdict ||
	    (verdict && code != 0xffffffff && (decision & PAL_CODE_MASK) != code) ||
	    (shadow ? shadow >> 24 & 3 : 0xffffffff) != shadow_verdict ||
	    (shadow && shadow_code != 0xffffffff && (shadow & PAL_CODE_MASK) != shadow_code)) {
		printf("question %lu: class %u operation %u kind %u object %s source %u: %llx, expected %u/%x\n", number,
		       class, operation, kind, object, source, decision, verdict, code);
		return 1;
	}
	return 0;
}

int main(int count, char **arguments)
{
	unsigned long questions = 0, wrong = 0, composed = 0, hits = 0;
	int record;

	file = count == 2 ? fopen(arguments[1], "rb") : NULL;
	if (!file) {
		fprintf(stderr, "usage: decide FILE\n");
		return 2;
	}
	while ((record = getc(file)) != EOF) {
		if (record == 1) {
			read_table();
			continue;
		}
		slot.found = 0;
		wrong += ask(++questions, &hits);
		composed += slot.found > 1;
	}
	printf("%lu questions, %lu composed, %lu by the directory alone, %lu wrong\n", questions, composed, hits, wrong);
	return wrong != 0;
}
