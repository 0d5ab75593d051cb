/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* include/linux/io_uring_types.h, include/linux/xarray.h */
#include "state/io_uring_view.h"

#include <string.h>

#include "state/files.h"

uint64_t ring_member(struct ring *g, uint64_t at, const char *type, const char *member)
{
	uint64_t value = 0;
	int r = g->error ? 0 : kernel_peek_member(g->k, at, type, member, &value);

	if (r < 0)
		g->error = r;
	return value;
}

uint64_t ring_address(struct ring *g, uint64_t base, const char *type, const char *member)
{
	uint64_t at = 0;
	int r = g->error ? 0 : kernel_peek_address(g->k, base, type, member, &at);

	if (r < 0)
		g->error = r;
	return at;
}

uint64_t ring_word_at(struct ring *g, uint64_t at)
{
	uint64_t value = 0;
	int r = g->error ? 0 : kernel_peek_bytes(g->k, at, &value, sizeof(value));

	if (r < 0)
		g->error = r;
	return value;
}

bool ring_list_is_empty(struct ring *g, uint64_t list)
{
	uint64_t first = OF(g, list, "list_head", "next");

	return g->error || first == list;
}

/* --- xarrays --- */

#define XA_CHUNK    64
#define XA_INTERNAL 2ull
#define XA_NODES    4096 /* internal entries below are no nodes */

static bool is_node(uint64_t entry)
{
	return (entry & 3) == XA_INTERNAL && entry > XA_NODES;
}

bool ring_has_any(struct ring *g, const char *xarray)
{
	return OF(g, WITHIN(g, xarray), "xarray", "xa_head") != 0;
}

uint64_t ring_entry(struct ring *g, uint64_t xarray, uint64_t index)
{
	uint64_t entry = OF(g, xarray, "xarray", "xa_head"), node, shift;

	if (!is_node(entry))
		return index || (entry & 3) ? 0 : entry;
	while (!g->error && is_node(entry)) {
		node = entry - XA_INTERNAL;
		shift = OF(g, node, "xa_node", "shift");
		if (index >> shift >= XA_CHUNK)
			return 0;
		entry = ring_word_at(g, ring_address(g, node, "xa_node", "slots") + (index >> shift) * sizeof(entry));
		index &= (1ull << shift) - 1;
	}
	return g->error || (entry & 3) ? 0 : entry;
}

uint64_t ring_entries_end(struct ring *g, uint64_t xarray)
{
	uint64_t entry = OF(g, xarray, "xarray", "xa_head");

	return is_node(entry) ? (uint64_t)XA_CHUNK << OF(g, entry - XA_INTERNAL, "xa_node", "shift") : entry != 0;
}

/* --- finding it --- */

const char *ring_remedy(const struct ring *g)
{
	return kernel_peek_ready(g->k) < 0 ? KERNEL_VIEW_REMEDY
					   : "use a kernel that lays it out as Linux 6.16 to 6.18 do";
}

int ring_refuse(struct ring *g, const char *remedy, const char *what)
{
	return refused(g->c->ps, BLAME_FILE(g->f, .remedy = remedy), "an io_uring %s", what);
}

int ring_of(struct capture *c, const struct file_look *f, struct ring *g)
{
	*g = (struct ring){ .c = c, .k = c->kernel, .f = f };
	g->error = kernel_object(c, f, &g->at);
	return g->error;
}

bool ring_matches(const struct file_look *f)
{
	return !strcmp(f->link, RING_LINK);
}

const struct description *ring_description(const struct capture *c, uint64_t ino)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (d->look->ino == ino && ring_matches(d->look))
			return d;
	return NULL;
}
