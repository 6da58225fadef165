/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of the cache of directories that exists once per table size: what an entry's states say of a file's name.
 * Included four times, behind table_size.h, whose names and sizes it uses and ends.
 */

/* Whether the table in the slot is still the one that has this id. */
static __always_inline bool SIZED(is_there)(u32 slot, u32 id)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);

	return table && READ_ONCE(table->header.table_id) == id;
}

/* The accept set that an automaton ends in, from a state of the cache and over a file's name. */
static __always_inline u32 SIZED(walk_name)(const struct SIZED(table) *table, u32 state, const char *p)
{
	if (!(state & PAL_SINK)) {
		/* Ends by the 0 behind the name, which is the last byte at the latest. */
		for (u32 i = 0; i < (NAME_CACHED + 1) / WALK_UNROLLED; i++) {
#pragma clang loop unroll(full)
			for (int k = 0; k < WALK_UNROLLED; k++) {
				u32 byte = (u8)p[k];

				if (!byte)
					goto end;
				state = SIZED(step)(table, state, byte);
				if (state & PAL_SINK)
					goto end;
			}
			p += WALK_UNROLLED;
			asm volatile("" : "+r"(p));
		}
	}
end:
	return (u32)SIZED(word)(table, state & ~PAL_SINK) & PAL_ACCEPT_MASK;
}

/*
 * judge() for an open whose directory is in the cache: PASSES, or ASK_AND_STORE. What it does not decide itself it leaves:
 * whatever is not allowed in silence, and what several automata meet.
 */
__noinline u64 SIZED(pass)(u32 slot, u32 id, const struct cache_question *q)
{
	const struct SIZED(table) *table = SIZED(table_at)(slot);
	const struct pal_automaton *base;
	const struct cache_entry *e;
	const struct pal_class *c;
	u32 column, cell, found = 0;

	if (!table || table->header.table_id != id || !q)
		return ASK_AND_STORE;
	e = &pal_cache[q->entry & (CACHE_ENTRIES - 1)];
	c = &table->header.class[PAL_CLASS_FILE];
	base = &c->a[PAL_BASE_SET];
	column = SIZED(word)(table, c->colmap + q->source * 2 + q->terminal);
	cell = c->a[0].cells;
	for (u32 k = 0; k < PAL_MULTI_CALL; k++) {
		u32 state, accept;

		if (k > c->globs)
			break;
		state = READ_ONCE(e->states[cache_place(k)]);
		if (!state)
			continue;
		accept = SIZED(walk_name)(table, state, (const char *)q->name);
		if (!accept)
			continue;
		if (found++)
			return ASK_AND_STORE;
		cell = c->a[k].cells + accept * c->ncols;
	}
	for (u32 operation = 0; operation < 2; operation++) {
		u32 decision;

		if (!(q->asked & 1 << operation))
			continue;
		decision = SIZED(cell)(table, cell + column, operation, q->asked >> 2 & 1);
		/* not silent, whatever it is */
		if (decision & PAL_SHADOWED)
			return ASK_AND_STORE;
		if ((decision & PAL_CODE_MASK) == PAL_CODE_POSTURE && base->start) {
			u32 state = READ_ONCE(e->states[cache_place(PAL_BASE_SET)]);

			if (!state)
				return ASK_AND_STORE;
			if (SIZED(word)(table, base->cells + SIZED(walk_name)(table, state, (const char *)q->name)) >> operation & 1)
				decision = c->base;
		}
		/* PAL_COMPOSE is none that passes, either */
		if (decision >> 30 != PAL_ALLOW)
			return ASK_AND_STORE;
	}
	return PASSES;
}

#undef PAL_SIZE
#undef PAL_BITS
