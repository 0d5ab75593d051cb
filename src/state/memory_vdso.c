/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pages of the kernel's own that every program has, vvar and vDSO: found in the seed, and moved to where the saved program knew them. */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/memory_build.h"

static void move_piece(struct build *b, uint64_t from, uint64_t to, uint64_t size)
{
	uint32_t op = batch_call(
		b->batch, "mremap of the vDSO", SYS_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	batch_expect(b->batch, op, (int64_t)to);
}

void move_vdso(struct build *b, const struct vdso_pieces *from, uint64_t to)
{
	uint64_t start = from->list[0].start,
		 last = from->list[from->n - 1].start + from->list[from->n - 1].pages * PAGE_SIZE;
	uint64_t scratch = b->restore->area.base.v + b->restore->area.size;
	bool overlap = to < last && start < to + (last - start);

	if (to == start)
		return;
	for (int pass = overlap ? 0 : 1; pass < 2; pass++)
		for (size_t i = 0; i < from->n; i++) {
			uint64_t offset = from->list[i].start - start;

			move_piece(b, pass == 1 && overlap ? scratch + offset : start + offset,
				(pass == 0 ? scratch : to) + offset, from->list[i].pages * PAGE_SIZE);
		}
}

uint64_t vdso_start(const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (is_vdso(&m->areas[i]))
			return m->areas[i].start;
	return 0;
}

int vdso_pieces_of(pid_t pid, struct vdso_pieces *out)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	struct proc_maps maps = { 0 };
	int r = dir < 0 ? dir : proc_maps_read(dir, &maps);

	out->n = 0;
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.list[i];

		if ((!strncmp(m->name, "[vvar", 5) || !strcmp(m->name, "[vdso]")) && out->n < ARRAY_SIZE(out->list))
			out->list[out->n++] = (struct page_range){ m->start, (m->end - m->start) / PAGE_SIZE };
	}
	proc_maps_free(&maps);
	return r;
}
