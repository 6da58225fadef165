/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of table.h that exists once per table size: included four times, before pass_size.h, with PAL_SIZE (the
 * suffix of every name) and PAL_BITS (words of the table, as a power of two) set. The layout and the rules are those of
 * abi.h.
 */

struct SIZED(table) {
	struct pal_header header;
	u64 t[1u << PAL_BITS];
};

/* Sizes instead of types: a map whose key alone has a type is refused with it, and made again without. */
struct SIZED(inner) {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct SIZED(table)));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PAL_TABLE_SLOTS);
	__uint(key_size, sizeof(u32));
	__array(values, struct SIZED(inner));
} SIZED(pal_tables) SEC(".maps");

static __always_inline const struct SIZED(table) *SIZED(table_at)(u32 slot)
{
	void *inner = bpf_map_lookup_elem(&SIZED(pal_tables), &slot);
	u32 zero = 0;

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

/* Word i. The mask proves the bound; a table that is well formed never needs it. */
static __always_inline u64 SIZED(word)(const struct SIZED(table) *table, u32 i)
{
	return table->t[i & ((1u << PAL_BITS) - 1)];
}

/*
 * The same for a walk, which spends most of its time here: the address is made in the register of the index. clang
 * copies the pointer first, and with the addition of state and byte (table.h) that is one instruction in eight.
 */
static __always_inline u64 SIZED(entry)(const struct SIZED(table) *table, u32 i)
{
#ifdef __bpf__
	u64 at = (u64)(i & ((1u << PAL_BITS) - 1)) << 3;

	asm volatile("%0 += %1" : "+r"(at) : "r"(table));
	return *(const u64 *)(at + __builtin_offsetof(struct SIZED(table), t));
#else
	return SIZED(word)(table, i);
#endif
}

/* The state after a byte; with PAL_SINK none that follows matters. */
static __always_inline u32 SIZED(step)(const struct SIZED(table) *table, u32 state, u32 byte)
{
	u64 entry = SIZED(entry)(table, plus(byte, state));

	if ((u32)entry != state)
		entry = SIZED(entry)(table, state);
	return entry >> 32;
}

/* The part of a handle that stands in the table itself. */
__noinline u64 SIZED(open)(u32 slot, u32 class)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);

	if (!table || table->header.abi != PAL_ABI_VERSION || class >= PAL_CLASSES)
		return TABLE_GONE;
	return table->header.table_id | (u64)(table->header.class[class].flags & 127) << HANDLE_CLASS |
	       (u64)(table->header.flags & 63) << HANDLE_HEADER;
}

/*
 * Runs an automaton over the path from `offset`, for WALK_BYTES at most. TABLE_DONE, the final state and the low word of
 * its record (accept set, live bit), END_SINK if that stays whatever follows; or the state to go on from.
 */
__noinline u64 SIZED(walk)(u32 slot, u32 id, u32 index, u32 offset, u32 state)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	const char *p;

	/* offset + WALK_BYTES <= PATH_ROOM: every byte read below lies in s->path */
	if (!table || table->header.table_id != id || !s || offset > PATH_ROOM - WALK_BYTES)
		return TABLE_GONE;
	p = &s->path[offset];
	/* Several at a time, at constant distances from p: counting and indexing were a quarter of the cost. */
	for (int i = 0; i < WALK_BYTES / WALK_UNROLLED; i++) {
#pragma clang loop unroll(full)
		for (int k = 0; k < WALK_UNROLLED; k++) {
			u32 byte = (u8)p[k];

			if (!byte)
				goto end;
			state = SIZED(step)(table, state, byte);
			if (state & PAL_SINK)
				goto sink;
		}
		p += WALK_UNROLLED;
		/* else clang keeps p and adds a counter to it for each byte */
		asm volatile("" : "+r"(p));
	}
	return state;
sink:
	state &= ~PAL_SINK;
	return TABLE_DONE | END_SINK | (u64)state << END_STATE | (u32)SIZED(word)(table, state);
end:
	return TABLE_DONE | (u64)state << END_STATE | (u32)SIZED(word)(table, state);
}

/* The rest of a path longer than that. */
__noinline u64 SIZED(walk_on)(u32 slot, u32 id, u32 index, u32 offset, u32 state)
{
	u64 reached = state;

	for (int i = 1; i < WALKS; i++) {
		reached = SIZED(walk)(slot, id, index, offset, reached);
		if (reached & (TABLE_DONE | TABLE_GONE))
			return reached;
		offset += WALK_BYTES;
	}
	return TABLE_GONE;
}

static __always_inline u64 SIZED(walk_all)(u32 slot, u32 id, u32 index, u32 offset, u32 state)
{
	u64 reached = SIZED(walk)(slot, id, index, offset, state);

	if (reached & (TABLE_DONE | TABLE_GONE))
		return reached;
	return SIZED(walk_on)(slot, id, index, offset + WALK_BYTES, reached);
}

/*
 * walk_all() of automaton k over s->path in two halves: to the directory's '/', where its state is noted for the cache,
 * and from s->split, which is set, over the name. The same as the whole walk: a state is all that an automaton knows of
 * what it has read (walk.rs, `a_walk_in_two_halves_is_the_whole_walk`).
 */
__noinline u64 SIZED(walk_split)(u32 slot, u32 id, u32 index, u32 k, u32 state)
{
	struct pal_scratch *s = scratch_at(index);
	u32 place = cache_place(k);
	u64 end;

	if (!s || place >= CACHE_STATES)
		return TABLE_GONE;
	/* kept in the slot, not on the stack: of that the longest chain of calls leaves nothing */
	s->first = s->path[s->split & (PAL_PATH_MAX - 1)];
	s->path[s->split & (PAL_PATH_MAX - 1)] = 0;
	end = SIZED(walk_all)(slot, id, index, s->offset, state);
	s->path[READ_ONCE(s->split) & (PAL_PATH_MAX - 1)] = READ_ONCE(s->first);
	if (end & TABLE_GONE)
		return end;
	state = end >> END_STATE & END_STATE_MASK;
	if (end & END_SINK) {
		s->states[place] = state | PAL_SINK;
		return end;
	}
	s->states[place] = state;
	return SIZED(walk_all)(slot, id, index, READ_ONCE(s->split), state);
}

/* The walk of a judgement, in halves where the cache is to know the directory's states. */
static __always_inline u64 SIZED(walk_path)(u32 slot, u32 id, u32 index, const struct pal_scratch *s, u32 k, u32 state)
{
	if (s->split)
		return SIZED(walk_split)(slot, id, index, k, state);
	return SIZED(walk_all)(slot, id, index, s->offset, state);
}

struct SIZED(composition) {
	const struct SIZED(table) *table;
	struct pal_scratch *s;
};

static long SIZED(compose_slot)(u32 i, struct SIZED(composition) *x)
{
	const struct pal_class *c = &x->table->header.class[x->s->class & (PAL_CLASSES - 1)];
	u32 best = 0, look = 0;

	if (i >= c->slots)
		return 1;
	for (u32 k = 0; k < PAL_AUTOMATA; k++) {
		u64 keys;

		if (k >= x->s->found)
			break;
		keys = SIZED(word)(x->table, x->s->vectors[k] + x->s->from + i);
		best = greater(best, keys);
		look = greater(look, keys >> 32);
	}
	evaluate(&x->s->plain, c, i, c->audited, best, look);
	evaluate(&x->s->with, c, i, 0, best, look);
	return 0;
}

/* Whether a winner is an Allow that opens block devices. */
static __always_inline bool SIZED(opens_device)(const struct SIZED(table) *table, const struct pal_class *c,
						const struct evaluation *e)
{
	u32 upper = e->upper & mask_of(1 << PAL_SAYS_ALLOW, e->upper & 3);
	u32 lower = e->lower & mask_of(1 << PAL_SAYS_ALLOW, e->lower & 3);

	/* The word of rank 0 is no rule's: its high half is 0. */
	return (SIZED(word)(table, c->ranks + (upper >> 2)) | SIZED(word)(table, c->ranks + (lower >> 2))) >> 32;
}

/* The decision on an open of a block device, from that on any other file (built-in rule device). */
static __always_inline u64 SIZED(device)(const struct SIZED(table) *table, const struct pal_class *c, u64 decision)
{
	u32 block = PAL_BLOCK << 30 | (PAL_CODE_BUILTIN + BUILTIN_DEVICE), real = decision, with;

	if (table->header.flags & PAL_TABLE_HOST)
		return decision;
	with = with_audited(decision);
	if (c->flags & PAL_CLASS_ENFORCED && real >> 30 != PAL_BLOCK && !(real & PAL_OPENS_DEVICE))
		real = block;
	if (with >> 30 != PAL_BLOCK && !(decision & PAL_OPENS_DEVICE_AUDITED))
		with = block;
	return shadow_join(real, with);
}

/* The decision that an evaluation comes to. */
static __always_inline u32 SIZED(outcome)(const struct SIZED(table) *table, const struct pal_class *c,
					  const struct evaluation *e, u32 posture)
{
	/* Keys of winners that block, 0 if they do not. */
	u32 blocks = greater(e->upper & mask_of(1 << PAL_SAYS_BLOCK, e->upper & 3),
			     e->lower & mask_of(1 << PAL_SAYS_BLOCK, e->lower & 3));
	bool by_posture = !(e->upper | e->lower) && e->missing;

	if (blocks)
		return PAL_BLOCK << 30 | ((u32)SIZED(word)(table, c->ranks + (blocks >> 2)) & PAL_CODE_MASK);
	if (by_posture && posture >> 30 == PAL_BLOCK)
		return posture;
	if (e->audit)
		return PAL_AUDIT << 30 | ((u32)SIZED(word)(table, c->ranks + (e->audit >> 2)) & PAL_CODE_MASK);
	if (by_posture)
		return posture;
	return PAL_ALLOW << 30 |
	       ((u32)SIZED(word)(table, c->ranks + (greater(e->upper, e->lower) >> 2)) & PAL_CODE_MASK);
}

/*
 * Composes the vectors of s->found automata for one operation: the rule is in abi.h, "Vector" and "Then per slot".
 * With COMPOSE_BASE in the operation, for what the base set lets pass: no posture.
 */
#define COMPOSE_BASE 2u

__noinline u64 SIZED(compose)(u32 slot, u32 id, u32 index, u32 operation)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	struct SIZED(composition) x = { .table = table, .s = s };
	const struct pal_class *c;
	u32 posture, device = 0;

	if (!table || table->header.table_id != id || !s)
		return TABLE_GONE;
	c = &table->header.class[s->class & (PAL_CLASSES - 1)];
	s->plain = (struct evaluation){};
	s->with = (struct evaluation){};
	s->from = ((operation & 1) * 2 + s->owner) * c->slots;
	bpf_loop(PAL_SLOTS_MAX, SIZED(compose_slot), &x, 0);

	posture = operation & COMPOSE_BASE ? PAL_ALLOW << 30 | PAL_CODE_BASE : operation ? c->posture_1 : c->posture;
	if (SIZED(opens_device)(table, c, &s->plain))
		device |= PAL_OPENS_DEVICE;
	if (SIZED(opens_device)(table, c, &s->with))
		device |= PAL_OPENS_DEVICE_AUDITED;
	return shadow_join(SIZED(outcome)(table, c, &s->plain, posture) | device,
			   SIZED(outcome)(table, c, &s->with, posture));
}

/* A decision as a cell has it. */
static __always_inline u64 SIZED(decision)(const struct SIZED(table) *table, u32 word)
{
	u64 pair;

	if (!(word & PAL_SHADOWED))
		return word;
	pair = SIZED(word)(table, word & PAL_CODE_MASK);
	return shadow_join(pair, pair >> 32);
}

/* What the base set lets pass of s->path: bit per operation, or TABLE_GONE. */
__noinline u64 SIZED(base_set)(u32 slot, u32 id, u32 index)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	const struct pal_automaton *a;
	u64 end;

	if (!table || table->header.table_id != id || !s)
		return TABLE_GONE;
	a = &table->header.class[s->class & (PAL_CLASSES - 1)].a[PAL_BASE_SET];
	if (!a->start || s->status == PATH_NONE)
		return 0;
	end = SIZED(walk_path)(slot, id, index, s, PAL_BASE_SET, a->start);
	if (end & TABLE_GONE)
		return TABLE_GONE;
	return (u32)SIZED(word)(table, a->cells + (end & PAL_ACCEPT_MASK));
}

/* The decision of a cell for one operation, where no composition is needed. */
static __always_inline u32 SIZED(cell)(const struct SIZED(table) *table, u32 cell, u32 operation, u32 owner)
{
	u32 decision = SIZED(word)(table, cell) >> operation * 32;

	if (decision & PAL_OWNER_DEPENDS)
		decision = SIZED(word)(table, decision & PAL_CODE_MASK) >> owner * 32;
	return decision;
}

struct SIZED(judgement) {
	const struct SIZED(table) *table;
	struct pal_scratch *s;
	u32 slot;
	u32 id;
	u32 index;
	u32 first;
	bool gone;
};

/*
 * Walks automaton k (<= PAL_MULTI_CALL) of the class, that for multi-call programs over invocation name `name`, and notes
 * what it accepts. Whether the table is still there.
 */
static __always_inline bool SIZED(meet)(const struct SIZED(table) *table, const struct pal_class *c, struct pal_scratch *s,
					u32 slot, u32 id, u32 index, u32 k, u32 name)
{
	u32 state = c->a[k].start, accept;
	u64 end;

	if (!state)
		return true;
	/* The name stands behind the path's end: let the automaton run on. */
	if (k == PAL_MULTI_CALL)
		place_name(index, name);
	end = SIZED(walk_path)(slot, id, index, s, k, state);
	if (k == PAL_MULTI_CALL)
		s->path[PATH_END] = 0;
	if (end & TABLE_GONE)
		return false;
	accept = end & PAL_ACCEPT_MASK;
	if (!accept)
		return true;
	s->cell = c->a[k].cells + accept * c->ncols;
	s->vectors[s->found & 15] = SIZED(word)(table, c->a[k].vectors + accept * c->ncols + s->column);
	s->found++;
	return true;
}

/* The automata from x->first: the globs, then the one for multi-call programs, once for each name (2 at most). */
static long SIZED(meet_step)(u32 i, struct SIZED(judgement) *x)
{
	const struct pal_class *c = &x->table->header.class[x->s->class & (PAL_CLASSES - 1)];
	u32 number = x->first + i, k = number > c->globs ? PAL_MULTI_CALL : number;

	FORGET(k);
	x->gone = k > PAL_MULTI_CALL ||
		  !SIZED(meet)(x->table, c, x->s, x->slot, x->id, x->index, k, number - c->globs - 1);
	return x->gone;
}

/* The decision for what stands in s: the strictest of its operations. */
__noinline u64 SIZED(judge)(u32 slot, u32 id, u32 index)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	const struct pal_class *c;
	u32 column, cell, first, rest;
	u64 strictest;

	if (!table || table->header.table_id != id || !s)
		return TABLE_GONE;
	c = &table->header.class[s->class & (PAL_CLASSES - 1)];
	if (s->status == PATH_UNRESOLVABLE || s->status == PATH_DETACHED) {
		u64 unresolvable = SIZED(decision)(table, c->unresolvable);

		if (s->status == PATH_DETACHED && strictness(table->header.mounts) >= strictness(unresolvable))
			return table->header.mounts;
		return s->device ? SIZED(device)(table, c, unresolvable) : unresolvable;
	}
	column = SIZED(word)(table, c->colmap + s->source * 2 + s->terminal);
	s->column = column;
	s->cell = c->a[0].cells;
	s->found = 0;
	/* More than two are rare, and with bpf_loop(): a loop here would have what follows verified once for each of them. */
	if (s->status == PATH_NONE) {
		s->cell += s->row * c->ncols;
	} else {
		first = 1;
		if (!SIZED(meet)(table, c, s, slot, id, index, 0, 0))
			return TABLE_GONE;
		if (c->globs) {
			if (!SIZED(meet)(table, c, s, slot, id, index, 1, 0))
				return TABLE_GONE;
			first = 2;
		}
		rest = c->globs + 1 + s->names - first;
		if (rest) {
			struct SIZED(judgement) x = {
				.table = table, .s = s, .slot = slot, .id = id, .index = index, .first = first,
			};

			bpf_loop(rest < PAL_AUTOMATA ? rest : PAL_AUTOMATA, SIZED(meet_step), &x, 0);
			if (x.gone)
				return TABLE_GONE;
		}
	}
	cell = s->cell + column;
	s->strictest = 0;
	/*
	 * What has been come to is kept in s, which the verifier knows nothing of: else it would verify what follows for each
	 * way to it.
	 */
	for (u32 operation = 0; operation < 2; operation++) {
		u64 decision;

		if (!(s->operations & 1 << operation))
			continue;
		if (s->found > 1)
			s->decision = SIZED(compose)(slot, id, index, operation);
		else
			s->decision = SIZED(decision)(table, SIZED(cell)(table, cell, operation, s->owner));
		decision = READ_ONCE(s->decision);
		if (names_posture(decision)) {
			u64 passes = SIZED(base_set)(slot, id, index);

			if (passes & TABLE_GONE)
				return TABLE_GONE;
			if (passes >> operation & 1)
				decision = c->base;
			if ((u32)decision == PAL_COMPOSE)
				decision = SIZED(compose)(slot, id, index, operation | COMPOSE_BASE);
			s->decision = decision;
		}
		decision = READ_ONCE(s->decision);
		if (decision & TABLE_GONE)
			return TABLE_GONE;
		if (s->device)
			decision = SIZED(device)(table, c, decision);
		/* Of two as strict, one without a shadow: audited policies would not change the whole then. */
		strictest = READ_ONCE(s->strictest);
		if (strictness(decision) > strictness(strictest) || !strictest ||
		    (strictness(decision) == strictness(strictest) && !(decision & DECISION_SHADOW)))
			s->strictest = decision;
	}
	return READ_ONCE(s->strictest);
}

/*
 * All marks of the state that the path s->path leads to in the automata of a class (bits 0-7 of what), or the same
 * with a slash behind it (bit 8), but for the root, which ends in one.
 */
__noinline u64 SIZED(marks)(u32 slot, u32 id, u32 index, u32 what)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	const struct pal_class *c;
	u64 marks = 0;

	if (!table || table->header.table_id != id || !s)
		return TABLE_GONE;
	c = &table->header.class[what & (PAL_CLASSES - 1)];
	if (what >> 8 && s->offset != PATH_END - 1) {
		s->path[PATH_END] = '/';
		s->path[PATH_END + 1] = 0;
	}
	for (u32 k = 0; k <= PAL_MULTI_CALL; k++) {
		u32 state = c->a[k].start;
		u64 end;

		if (!state || (k > c->globs && k != PAL_MULTI_CALL))
			continue;
		end = SIZED(walk_all)(slot, id, index, s->offset, state);
		if (end & TABLE_GONE)
			return TABLE_GONE;
		marks |= end & (PAL_RECORD - 1 - PAL_ACCEPT_MASK);
	}
	s->path[PATH_END] = 0;
	return marks;
}

__noinline u64 SIZED(source)(u32 slot, u32 id, u32 index, u32 question)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	struct pal_scratch *s = scratch_at(index);
	const struct pal_header *h;
	u64 end;

	if (!table || table->header.table_id != id || !s)
		return TABLE_GONE;
	h = &table->header;
	if (question == TABLE_GENERATION)
		return h->generation;
	if (question == TABLE_MOUNTS_DECISION)
		return h->mounts;
	if (question == TABLE_ATTACH_DECISION)
		return h->attach;
	if (question == SOURCE_UNKNOWN)
		return h->source_unknown;
	if (question == SOURCE_FOLD)
		return (u32)SIZED(word)(table, h->fold + s->source * h->source_plain + s->row);
	end = SIZED(walk_all)(slot, id, index, s->offset, h->source_start);
	return end & TABLE_GONE ? TABLE_GONE : end & PAL_ACCEPT_MASK;
}
