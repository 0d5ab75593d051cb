/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last of an address space: advice, names, guard pages, seals and locks, once no more processes are to be forked from it. */
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernel/uapi.h"
#include "state/memory_build.h"

static const struct {
	unsigned int flag;
	int advice;
} advice[] = {
	{ AREA_SEQUENTIAL, MADV_SEQUENTIAL },
	{ AREA_RANDOM, MADV_RANDOM },
	{ AREA_DONTFORK, MADV_DONTFORK },
	{ AREA_DONTDUMP, MADV_DONTDUMP },
	{ AREA_HUGEPAGE, MADV_HUGEPAGE },
	{ AREA_NOHUGEPAGE, MADV_NOHUGEPAGE },
	{ AREA_MERGEABLE, MADV_MERGEABLE },
	{ AREA_WIPEONFORK, MADV_WIPEONFORK },
};

static void finish_area(struct build *b, const struct memory_area *a)
{
	uint64_t size = a->end - a->start;

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++)
		if (a->flags & advice[i].flag)
			batch_call(b->batch, memory_label(b->batch, "madvise %d of %lx", advice[i].advice, a->start),
				SYS_madvise, a->start, size, (uint64_t)advice[i].advice);
	if (a->name)
		batch_call(b->batch, "naming of a mapping", SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, a->start, size,
			batch_string(b->batch, a->name).v);
	if (a->flags & AREA_LOCKED) /* an area without access is locked all the same, but answers ENOMEM */
		batch_may_fail(b->batch, batch_call(b->batch, "mlock", SYS_mlock2, a->start, size,
						 a->flags & AREA_ONFAULT ? MLOCK_ONFAULT : 0));
}

int memory_finish(struct build *b, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (!is_vdso(&m->areas[i]))
			finish_area(b, &m->areas[i]);
	for (size_t i = 0; i < m->n_guards; i++)
		batch_call(b->batch, "guard pages", SYS_madvise, m->guards[i].start, m->guards[i].pages * PAGE_SIZE,
			SPORE_MADV_GUARD_INSTALL);
	for (size_t i = 0; i < m->n_areas; i++)
		if (m->areas[i].flags & AREA_SEALED)
			batch_call(b->batch, "mseal", SPORE_SYS_mseal, m->areas[i].start,
				m->areas[i].end - m->areas[i].start, 0);
	if (m->lock_future)
		batch_call(b->batch, "mlockall(MCL_FUTURE)", SYS_mlockall,
			MCL_FUTURE | (m->lock_onfault ? MCL_ONFAULT : 0));
	return 0;
}
