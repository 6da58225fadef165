/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The key of a network operation: a text that an automaton is walked over (abi.h, "Keys"). Numbers alone, so that it
 * also runs in tests/c.
 */
#ifndef PAL_KEY_H
#define PAL_KEY_H

#define KEY_MARK (1u << PAL_KEY_BITS)
#define KEY_HEAD 3	/* '/', row, PAL_KEY_* */
#define KEY_PORT 3
#define KEY_V4 5
#define KEY_V6 19

_Static_assert(KEY_PORT * PAL_KEY_BITS >= 16 && KEY_V4 * PAL_KEY_BITS >= 32 && KEY_V6 * PAL_KEY_BITS >= 128,
	       "a number fits in its bytes");
_Static_assert(PAL_SOCK_ROWS <= KEY_MARK, "a row fits in a byte");

static __always_inline u32 key_word(const u8 *at)
{
	return (u32)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* The text of s->row, s->end and the address and port of s->event, where paths have theirs: it ends at PATH_END. */
static __always_inline void key_put(struct pal_scratch *s)
{
	const u8 *address = s->event.address;
	u32 port = s->event.port;
	u32 length = KEY_HEAD;
	u8 *to;

	if (s->end == PAL_KEY_REMOTE6 || s->end == PAL_KEY_LOCAL6) {
		u64 high = (u64)key_word(address) << 32 | key_word(address + 4);
		u64 low = (u64)key_word(address + 8) << 32 | key_word(address + 12);

		to = (u8 *)&s->path[PATH_END - KEY_V6];
#pragma clang loop unroll(full)
		for (int i = 0; i < KEY_V6; i++) {
			/* 126, 119, ... 0: one group, of bits 63 to 69, has bits of both halves */
			u32 shift = (KEY_V6 - 1 - i) * PAL_KEY_BITS;
			u64 bits = shift >= 64 ? high >> (shift & 63) : low >> (shift & 63);

			if (shift == 63)
				bits |= high << 1;
			to[i] = KEY_MARK | (bits & (KEY_MARK - 1));
		}
		length = KEY_HEAD + KEY_PORT + KEY_V6;
	} else if (s->end != PAL_KEY_NONE) {
		u32 bits = key_word(address);

		to = (u8 *)&s->path[PATH_END - KEY_V4];
#pragma clang loop unroll(full)
		for (int i = 0; i < KEY_V4; i++)
			to[i] = KEY_MARK | (bits >> (KEY_V4 - 1 - i) * PAL_KEY_BITS & (KEY_MARK - 1));
		length = KEY_HEAD + KEY_PORT + KEY_V4;
	}
	/* length is 3, 11 or 25: the mask changes nothing */
	s->offset = PATH_END - (length & 31);
	to = (u8 *)&s->path[s->offset & (PAL_PATH_MAX - 1)];
	to[0] = '/';
	to[1] = KEY_MARK | s->row;
	to[2] = KEY_MARK | s->end;
	if (s->end != PAL_KEY_NONE) {
		to[3] = KEY_MARK | port >> 2 * PAL_KEY_BITS;
		to[4] = KEY_MARK | (port >> PAL_KEY_BITS & (KEY_MARK - 1));
		to[5] = KEY_MARK | (port & (KEY_MARK - 1));
	}
	s->path[PATH_END] = 0;
}

#endif
