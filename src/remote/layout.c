/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macro.h"
#include "remote/birth.h"

/* Several, for a program may have reserved terabytes (Chromium's allocators and virtual machines do, at random places). */
static const uint64_t windows[] = { 0x2c5e00000000, 0x1c5e00000000, 0x3c5e00000000, 0x0c5e00000000, 0x4c5e00000000,
	0x5c5e00000000, 0x6c5e00000000 };
#define WINDOW_SIZE 0x400000000ul /* 16 GiB */

bool layout_is_ours(uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < ARRAY_SIZE(windows); i++)
		if (start >= windows[i] && end <= windows[i] + WINDOW_SIZE)
			return true;
	return false;
}

/* 0: none. The mappings are in order. */
static uint64_t free_in(uint64_t window, const struct proc_maps *maps, size_t size)
{
	uint64_t at = window;

	for (size_t i = 0; i < maps->n; i++)
		if (maps->list[i].start < at + size && maps->list[i].end > at)
			at = ALIGN_UP(maps->list[i].end, LAYOUT_STEP);
	return at + size <= window + WINDOW_SIZE ? at : 0;
}

static uint64_t find_free(const struct proc_maps *maps, size_t size)
{
	uint64_t at = 0;

	for (size_t i = 0; !at && i < ARRAY_SIZE(windows); i++)
		at = free_in(windows[i], maps, size);
	return at;
}

static bool is_libc(const char *name)
{
	return strstr(name, "/libc") || strstr(name, "/ld-");
}

static bool complete(const struct gadgets *g)
{
	return g->syscall_ret && g->restorer;
}

static void note(struct layout *l, const struct proc_map *m)
{
	l->in_window |= layout_is_ours(m->start, m->end);
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
	*l = (struct layout){ .free = find_free(maps, size) };
	for (size_t i = 0; i < maps->n; i++)
		note(l, &maps->list[i]);
	/* The C library's code before anything else, for it has what we seek. */
	for (int libc = 1; libc >= 0; libc--)
		for (size_t i = 0; i < maps->n && !complete(&l->gadgets); i++)
			search(l, pid, &maps->list[i], libc, cache);
	if (!l->gadgets.syscall)
		l->gadgets.syscall = find_syscall_insn(pid, l->vdso_start, l->vdso_end);
	return l->free ? 0 : -ENOMEM;
}
