/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attachments of System V segments. shmat(2), mremap(2); ipc/shm.c. A program may since have unmapped or protected parts of one, and the kernel has to know
 * the parts as one attachment, for shmdt(2): so it is attached whole, somewhere else, and its parts are moved to their places.
 */
#include "state/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/sysv_shm.h"

#define TASK_END   0x7ffffffff000ull
#define FREE_FIRST 0x100000ull

const struct sysv_shm_state *memory_segment(const struct restore *r, const struct memory_area *a)
{
	return a->backing ? restore_state(r, a->backing, component_sysv_shm.kind.name) : NULL;
}

int memory_validate_attached(struct restore *r, const struct memory_area *a)
{
	uint64_t size = ALIGN_UP(memory_segment(r, a)->size, PAGE_SIZE), length = a->end - a->start;

	if (a->kind == AREA_SHARED && a->offset % PAGE_SIZE == 0 && length <= size && a->offset <= size - length)
		return 0;
	return failed(r->ps, BLAME(.object = "memory"), -EBADMSG,
		"the image has an impossible attachment of a System V segment, %lx-%lx", a->start, a->end);
}

/* Nothing of the process's memory, as it is or is to be, lies there. Areas are sorted by address. 0: there is no such place. */
static uint64_t find_free(const struct build *b, const struct memory_state *m, uint64_t size)
{
	uint64_t ours = b->restore->area.base.v, ours_end = ours + b->restore->area.size, at = FREE_FIRST;

	for (size_t i = 0; i <= m->n_areas; i++) {
		uint64_t end = i < m->n_areas ? m->areas[i].start : TASK_END;

		if (at < ours_end && end > ours) { /* ours is in this gap: before it, or behind it */
			if (ours > at && ours - at >= size)
				return at;
			at = MAX(at, ours_end);
		}
		if (end > at && end - at >= size)
			return at;
		if (i < m->n_areas)
			at = MAX(at, m->areas[i].end);
	}
	return 0;
}

static bool is_to_attach(const struct build *b, const struct memory_state *parent, const struct memory_area *a)
{
	return memory_segment(b->restore, a) && !(parent && memory_covering(parent, a));
}

/* Parts of one attachment: as far from where it begins as they are into the segment. */
static bool belong_together(const struct memory_area *a, const struct memory_area *b)
{
	return a->backing == b->backing && a->start - a->offset == b->start - b->offset &&
	       !((a->flags ^ b->flags) & AREA_MAYWRITE);
}

static void move_part(struct build *b, const struct memory_area *a, uint64_t from)
{
	uint64_t length = a->end - a->start;
	const uint64_t usual = PROT_READ | (a->flags & AREA_MAYWRITE ? PROT_WRITE : 0);
	uint32_t op = batch_call(b->batch, "mremap of a System V segment", SYS_mremap, from + a->offset, length, length,
		MREMAP_MAYMOVE | MREMAP_FIXED, a->start);

	batch_expect(b->batch, op, (int64_t)a->start);
	if (a->prot != usual)
		batch_call(b->batch, "mprotect of a System V segment", SYS_mprotect, a->start, length, a->prot);
}

static int attach(struct build *b, const struct memory_state *m, const struct memory_state *parent, size_t first)
{
	const struct memory_area *a = &m->areas[first];
	const struct sysv_shm_state *s = memory_segment(b->restore, a);
	uint64_t size = ALIGN_UP(s->size, PAGE_SIZE), at = find_free(b, m, size);
	uint32_t op;

	if (!at)
		return -ENOMEM;
	op = batch_call(
		b->batch, "shmat", SYS_shmat, s->o.id, at, (uint64_t)(a->flags & AREA_MAYWRITE ? 0 : SHM_RDONLY));
	batch_expect(b->batch, op, (int64_t)at);
	for (size_t i = first; i < m->n_areas; i++)
		if (is_to_attach(b, parent, &m->areas[i]) && belong_together(a, &m->areas[i]))
			move_part(b, &m->areas[i], at);
	batch_call(b->batch, "munmap of a System V segment", SYS_munmap, at, size);
	return 0;
}

/* Was an earlier area a part of the same attachment? */
static bool is_attached(
	const struct build *b, const struct memory_state *m, const struct memory_state *parent, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (is_to_attach(b, parent, &m->areas[k]) && belong_together(&m->areas[k], &m->areas[i]))
			return true;
	return false;
}

int memory_attach(struct build *b, const struct memory_state *m, const struct memory_state *parent)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_areas; i++)
		if (is_to_attach(b, parent, &m->areas[i]) && !is_attached(b, m, parent, i))
			r = attach(b, m, parent, i);
	return r;
}
