/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far a ring of io_uring has to be wound on, also where its counters have begun anew beyond 32 bits. */
#include "state/io_uring.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define ENTRIES 8
#define ROUND	0x100000000ull

static const struct {
	uint32_t taken, given, head; /* as the kernel counts, and the program */
	bool drain_disabled;
	uint64_t silent, plain, messages, head_at; /* what there is to do */
	int result;
} cases[] = {
	{ 0, 0, 0, false, 0, 0, 0, 0, 0 },
	{ 5, 5, 5, false, 0, 5, 0, 5, 0 },
	{ 5, 5, 2, false, 0, 5, 0, 2, 0 },
	{ 5, 9, 7, false, 0, 5, 4, 7, 0 },
	{ 9, 5, 5, true, 4, 5, 0, 5, 0 },
	{ 9, 9, 9, true, 1, 8, 1, 9, 0 },
	{ 9, 12, 10, true, 1, 8, 4, 10, 0 },
	/* completions have begun anew, submissions not yet */
	{ UINT32_MAX - 1, 3, 1, false, 0, ROUND - 2, 5, ROUND + 1, 0 },
	/* what was not taken lies on both sides */
	{ 3, 3, UINT32_MAX, false, 0, ROUND + 3, 0, ROUND - 1, 0 },
	{ UINT32_MAX, 2, UINT32_MAX - 1, false, 0, ROUND - 1, 3, ROUND - 2, 0 },
	/* submissions have begun anew, completions not yet */
	{ 2, UINT32_MAX - 2, UINT32_MAX - 2, true, 5, ROUND - 3, 0, ROUND - 3, 0 },
	/* more than there is room for, or than was given */
	{ 20, 20, 3, false, 0, 20, 0, 0, -EBADMSG },
	{ 5, 5, 6, false, 0, 5, 0, 0, -EBADMSG },
};

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t rings[4] = { [2] = cases[i].head };
		struct io_uring_state s = { .sq_head = cases[i].taken,
			.cq_tail = cases[i].given,
			.sq_entries = ENTRIES,
			.cq_entries = ENTRIES,
			.drain_disabled = cases[i].drain_disabled,
			.rings = { .data = (uint8_t *)rings, .size = sizeof(rings) } };
		struct ring_made g = { .s = &s, .p = { .cq_off.head = 2 * sizeof(uint32_t) } };
		struct winding w;

		CHECK(wind_begin(&w, &g) == cases[i].result);
		if (cases[i].result)
			continue;
		CHECK(w.silent == cases[i].silent);
		CHECK(w.plain == cases[i].plain);
		CHECK(w.messages == cases[i].messages);
		CHECK(w.head == cases[i].head_at);
		CHECK((uint32_t)(w.silent + w.plain) == cases[i].taken);
		CHECK((uint32_t)(w.plain + w.messages) == cases[i].given);
	}
	return 0;
}
