/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macro.h"
#include "remote/birth.h"

#define WINDOW_START 0x2c5e00000000ul
#define WINDOW_END   0x2c6200000000ul /* 16 GiB */

bool layout_is_ours(uint64_t start, uint64_t end)
{
	return start >= WINDOW_START && end <= WINDOW_END;
}

static bool is_libc(const char *name)
{
	return strstr(name, "/libc") || strstr(name, "/ld-");
}

static bool complete(const struct gadgets *g)
{
	return g->syscall_ret && g->restorer;
}

static void note(struct layout *l, const struct proc_map *m, size_t size)
{
	l->in_window |= layout_is_ours(m->start, m->end);
	if (m->start < l->free + size && m->end > l->free)
		l->free = ALIGN_UP(m->end, LAYOUT_STEP);
	if (!strcmp(m->name, "[stack]")) {
		l->stack_start = m->start;
		l->stack_end = m->end;
	}
	if (!strcmp(m->name, "[vdso]")) {
		l->vdso_start = m->start;
		l->vdso_end = m->end;
	}
}

static void search(struct layout *l, pid_t pid, const struct proc_map *m, bool libc, struct gadget_cache *cache)
{
	const struct exec_mapping mapping = {
		.start = m->start,
		.end = m->end,
		.offset = m->offset,
		.dev = (uint64_t)m->dev_major << 32 | m->dev_minor,
		.inode = m->inode,
	};

	if (m->inode && (m->prot & (PROT_READ | PROT_EXEC)) == (PROT_READ | PROT_EXEC) && !m->shared &&
		is_libc(m->name) == libc)
		gadgets_search(&l->gadgets, pid, &mapping, cache);
}

int layout_of(struct layout *l, pid_t pid, const struct proc_maps *maps, size_t size, struct gadget_cache *cache)
{
	*l = (struct layout){ .free = WINDOW_START };
	for (size_t i = 0; i < maps->n; i++)
		note(l, &maps->list[i], size);
	/* The C library's code before anything else, for it has what we seek. */
	for (int libc = 1; libc >= 0; libc--)
		for (size_t i = 0; i < maps->n && !complete(&l->gadgets); i++)
			search(l, pid, &maps->list[i], libc, cache);
	if (!l->gadgets.syscall)
		l->gadgets.syscall = find_syscall_insn(pid, l->vdso_start, l->vdso_end);
	return l->free + size <= WINDOW_END ? 0 : -ENOMEM;
}
