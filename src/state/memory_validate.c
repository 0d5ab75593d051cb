/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is a memory of the image one that can be made here? */
#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

#include "state/inode.h"
#include "state/memory.h"

#define TASK_END 0x7ffffffff000ull /* 47 bits: nothing of a program lies above unless it asked for it by address */

static void read_own_vdso(struct own_facts *f)
{
	struct vdso_pieces own;

	f->vdso_known = true;
	if (vdso_pieces_of(getpid(), &own) < 0 || !own.n)
		return;
	for (size_t i = 0; i < own.n; i++)
		f->vdso_pages += own.list[i].pages;
	f->vdso_hash = XXH3_64bits((const void *)own.list[own.n - 1].start, own.list[own.n - 1].pages * PAGE_SIZE);
}

static bool is_own_vdso(struct restore *r, uint64_t hash, uint64_t pages)
{
	if (!r->own.vdso_known)
		read_own_vdso(&r->own);
	return r->own.vdso_hash == hash && r->own.vdso_pages == pages;
}

int memory_validate(struct restore *r, const struct record *rec)
{
	const struct memory_state *m = rec->state;
	const struct new_process *p = restore_process(r, m->of);
	uint64_t wanted = 0, last = 0;

	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];

		if (a->start < last || a->end <= a->start || (a->start | a->end) % PAGE_SIZE || a->end > TASK_END ||
			a->kind > AREA_AIO_INHERITED)
			return failed(r->ps, BLAME(.pid = p->vpid, .object = "memory"), -EBADMSG,
				"the image has an impossible mapping %lx-%lx", a->start, a->end);
		last = a->end;
		if (a->kind == AREA_VDSO || a->kind == AREA_VVAR)
			wanted += (a->end - a->start) / PAGE_SIZE;
		else if (memory_segment(r, a))
			memory_validate_attached(r, a);
		else if (a->backing)
			backing_validate_mapping(r, a->backing);
	}
	last = 0;
	for (size_t i = 0; i < m->n_runs; last = m->runs[i].start + m->runs[i].pages * PAGE_SIZE, i++) {
		if (m->runs[i].start < last || m->runs[i].start % PAGE_SIZE ||
			m->runs[i].pages > TASK_END / PAGE_SIZE || m->runs[i].file >= r->image->n_page_files ||
			m->runs[i].pages > page_file_pages(r->image, (unsigned int)m->runs[i].file) ||
			m->runs[i].at > page_file_pages(r->image, (unsigned int)m->runs[i].file) - m->runs[i].pages)
			return failed(r->ps, BLAME(.pid = p->vpid, .object = "memory"), -EBADMSG,
				"the image has pages that no page file holds");
		image_need_pages(r->image, (unsigned int)m->runs[i].file, m->runs[i].at, m->runs[i].pages);
	}
	if (m->n_inherited && !m->forked_from)
		return failed(r->ps, BLAME(.pid = p->vpid, .object = "memory"), -EBADMSG,
			"the image has pages inherited from nobody");
	if (wanted && !is_own_vdso(r, m->vdso_hash, wanted))
		refused(r->ps,
			BLAME(.pid = p->vpid, .object = "vDSO",
				.remedy = "restore it on the kernel version on which it was saved"),
			"this kernel's vDSO is another than the one that the program knows");
	return 0;
}
