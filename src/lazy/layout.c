/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lazy/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

/* --- extents --- */

static int add(struct extents *e, uint64_t start, uint64_t end)
{
	if (start >= end)
		return 0;
	if (e->n == e->room) {
		size_t room = e->room ? 2 * e->room : 16;
		struct extent *grown = reallocarray(e->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		e->list = grown;
		e->room = room;
	}
	e->list[e->n++] = (struct extent){ start, end };
	return 0;
}

static bool meets(const struct extents *e, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].start < end && e->list[i].end > start)
			return true;
	return false;
}

/* What lies outside of [start, end) stays. */
static int take_away(struct extents *e, uint64_t start, uint64_t end)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->n;) {
		struct extent old = e->list[i];

		if (old.start >= end || old.end <= start) {
			i++;
			continue;
		}
		e->list[i] = e->list[--e->n];
		r = add(e, old.start, MIN(old.end, start));
		if (r == 0)
			r = add(e, MAX(old.start, end), old.end);
	}
	return r;
}

/* --- events --- */

int layout_add(struct layout *l, uint64_t start, uint64_t end)
{
	return add(&l->registered, start, end);
}

int layout_copy(struct layout *to, const struct layout *from)
{
	int r;

	*to = *from;
	to->registered = (struct extents){ 0 };
	r = pieces_copy(&to->pieces, &from->pieces);
	for (size_t i = 0; r == 0 && i < from->registered.n; i++)
		r = add(&to->registered, from->registered.list[i].start, from->registered.list[i].end);
	return r;
}

void layout_free(struct layout *l)
{
	pieces_free(&l->pieces);
	free(l->registered.list);
	*l = (struct layout){ 0 };
}

static void note_left(struct layout *l, const struct relocation *m)
{
	for (size_t i = 0; i < l->n_left; i++)
		if (l->left[i].where.start < m->to + m->size && l->left[i].where.end > m->to)
			l->left[i].taken = true;
	if (l->n_left == LAYOUT_MOVES)
		memmove(&l->left[0], &l->left[1], --l->n_left * sizeof(l->left[0]));
	l->left[l->n_left++] = (struct left){ .where = { m->from, m->from + m->size } };
}

static int move(struct layout *l, const struct relocation *m)
{
	int r = pieces_move(&l->pieces, m->from, m->to, m->size);

	if (r == 0)
		r = take_away(&l->registered, m->from, m->from + m->size);
	if (r == 0)
		r = add(&l->registered, m->to, m->to + m->size);
	note_left(l, m);
	return r;
}

/* Those whose place has become free. */
static int move_waiting(struct layout *l)
{
	for (size_t i = 0; i < l->n_waiting; i++) {
		struct relocation m = l->waiting[i];

		if (meets(&l->registered, m.to, m.to + m.size))
			continue;
		memmove(&l->waiting[i], &l->waiting[i + 1], (--l->n_waiting - i) * sizeof(m));
		if (move(l, &m) < 0)
			return -ENOMEM;
		i = (size_t)-1; /* which may have freed that of another */
	}
	return 0;
}

int layout_moved(struct layout *l, uint64_t from, uint64_t to, uint64_t size)
{
	struct relocation m = { from, to, size };

	if (!meets(&l->registered, to, to + size))
		return move(l, &m) < 0 ? -ENOMEM : move_waiting(l);
	if (l->n_waiting == LAYOUT_MOVES)
		return -E2BIG;
	l->waiting[l->n_waiting++] = m;
	return 0;
}

/* Whether this is the last word of a move whose source another one has taken since. After it, nothing more is expected of what lay there. */
static bool is_late(struct layout *l, uint64_t start, uint64_t end)
{
	bool late = false;

	for (size_t i = 0; i < l->n_left;) {
		struct left left = l->left[i];

		if (left.where.start >= end || left.where.end <= start) {
			i++;
			continue;
		}
		late |= left.taken && left.where.start == start && left.where.end == end;
		memmove(&l->left[i], &l->left[i + 1], (--l->n_left - i) * sizeof(left));
	}
	return late;
}

int layout_unmapped(struct layout *l, uint64_t start, uint64_t end)
{
	if (is_late(l, start, end))
		return 0;
	pieces_drop(&l->pieces, start, end);
	return take_away(&l->registered, start, end) < 0 ? -ENOMEM : move_waiting(l);
}
