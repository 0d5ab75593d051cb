/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/hugetlb.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "state/components.h"
#include "state/memory.h"

uint64_t hugetlb_page_size(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}

unsigned int hugetlb_size_flags(uint64_t page_size)
{
	return page_size ? (unsigned int)__builtin_ctzll(page_size) << MAP_HUGE_SHIFT : 0;
}

/* Which of those that are all zero it had nothing tells. */
void hugetlb_allocate(int fd, uint64_t size, uint64_t page_size, uint64_t pages)
{
	struct stat st;

	for (uint64_t at = 0; at < size; at += page_size)
		if (fstat(fd, &st) < 0 || (uint64_t)st.st_blocks * 512 / page_size >= pages ||
			fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)page_size) < 0)
			return;
}

/* --- is there enough? --- */

static uint64_t pool_value(uint64_t page_size, const char *name)
{
	_cleanup_free_ char *text = NULL;
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_size / 1024, name);
	return procfs_read(AT_FDCWD, path, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}

static uint64_t pool_available(uint64_t page_size)
{
	uint64_t own = pool_value(page_size, "free_hugepages"), more = pool_value(page_size, "nr_overcommit_hugepages"),
		 reserved = pool_value(page_size, "resv_hugepages"),
		 surplus = pool_value(page_size, "surplus_hugepages");

	own += more > surplus ? more - surplus : 0;
	return own > reserved ? own - reserved : 0;
}

/* Bytes of it that one process has mapped and that are set aside for that. */
static uint64_t reserved_by(const struct memory_state *m, object_id backing, enum area_kind kind)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->n_areas; i++)
		if (m->areas[i].backing == backing && m->areas[i].kind == (uint64_t)kind &&
			!(m->areas[i].flags & AREA_NORESERVE))
			bytes += m->areas[i].end - m->areas[i].start;
	return bytes;
}

/* A private mapping is set aside for, for the first that has it and not for those forked from it; a shared one once. */
static uint64_t pages_needed(
	const struct restore *r, object_id backing, uint64_t page_size, uint64_t size, uint64_t has)
{
	uint64_t alone = 0, shared = 0;
	size_t n;
	const struct record *memories = image_records(r->image, &component_memory.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct memory_state *m = memories[i].state;

		alone = MAX(alone, reserved_by(m, backing, AREA_PRIVATE));
		shared = MAX(shared, reserved_by(m, backing, AREA_SHARED));
	}
	shared = MIN(shared, size) / page_size;
	return alone / page_size + MAX(shared, has);
}

/* *first: NULL, until one of them was met. */
static uint64_t needed_of_kind(
	const struct restore *r, const struct record_kind *kind, uint64_t page_size, const struct record **first)
{
	uint64_t needed = 0, size, has;
	size_t n;
	const struct record *records = image_records(r->image, kind, &n);

	for (size_t i = 0; i < n; i++) {
		if (memfd_huge_page(&records[i], &size, &has) != page_size)
			continue;
		*first = *first ? *first : &records[i];
		needed += pages_needed(r, records[i].id, page_size, size, has);
	}
	return needed;
}

int hugetlb_validate(struct restore *r, const struct record *rec, uint64_t page_size)
{
	const struct record *first = NULL;
	uint64_t needed, available;

	if (page_size < PAGE_SIZE || page_size & (page_size - 1))
		return failed(r->ps, BLAME(.object = "huge pages"), -EBADMSG, "the image has impossible huge pages");
	needed = needed_of_kind(r, &component_memfd.kind, page_size, &first);
	needed += needed_of_kind(r, &component_shmem.kind, page_size, &first);
	available = pool_available(page_size);
	if (needed <= available || rec != first)
		return 0;
	return refused(r->ps, BLAME(.object = "huge pages", .remedy = "set more aside (/proc/sys/vm/nr_hugepages)"),
		"it takes %" PRIu64 " of %" PRIu64 " KiB, and there are %" PRIu64, needed, page_size / 1024, available);
}
