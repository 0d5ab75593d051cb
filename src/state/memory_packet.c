/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappings of packet rings (state/packet_ring.h). The kernel maps the whole of a ring and no part of it, so that what was divided since (mprotect) is mapped as
 * one, and divided again.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "state/components.h"
#include "state/memory_build.h"

bool memory_is_packet(const struct restore *r, const struct memory_area *a)
{
	return a->backing && restore_state(r, a->backing, component_packet.kind.name);
}

/* How many areas from that one on are one ring. */
static size_t parts_of(const struct memory_state *m, const struct memory_area *first)
{
	const size_t rest = m->n_areas - (size_t)(first - m->areas);
	size_t n = 1;

	while (n < rest && first[n].backing == first->backing && first[n].start == first[n - 1].end &&
		first[n].offset == first[n].start - first->start)
		n++;
	return n;
}

/* Neighbours that are protected alike stay two: the kernel never joins these. */
static void protect_part(struct build *b, const struct memory_area *a)
{
	const uint64_t size = a->end - a->start;

	if (a->prot != PROT_NONE)
		batch_call(b->batch, "mprotect of a packet ring", SYS_mprotect, a->start, size, PROT_NONE);
	batch_call(b->batch, "mprotect of a packet ring", SYS_mprotect, a->start, size, a->prot);
}

int memory_map_packet(struct build *b, struct fetched *f, const struct memory_state *m, const struct memory_area *first)
{
	const size_t n = parts_of(m, first);
	const uint64_t flags = MAP_SHARED | MAP_FIXED | (first->flags & AREA_NORESERVE ? MAP_NORESERVE : 0);
	int fd;

	if (first->offset)
		return 0; /* with the first */
	fd = fetch_backing(b, f, first->backing, true);
	if (fd < 0)
		return fd;
	batch_expect(b->batch,
		batch_call(b->batch, memory_label(b->batch, "mmap of a packet ring at %lx", first->start), SYS_mmap,
			first->start, first[n - 1].end - first->start, first->prot, flags, (uint64_t)fd, 0),
		(int64_t)first->start);
	for (size_t i = 0; i < n && n > 1; i++)
		protect_part(b, &first[i]);
	return 0;
}
