/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/page_holders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/x86_64/memory_map.h"
#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/peek.h"
#include "state/memory.h"

/* Offsets within struct page, and of a large folio's struct folio. */
struct page_holders {
	struct kernel_peek *kernel;
	uint64_t vmemmap;
	uint32_t head;	/* of a page that is a part of a larger one: that one's address, and 1 */
	uint32_t count; /* 8 bytes: mappings, less one; references */
	bool large;	/* those can be told */
	uint32_t mappings, pins, references;
};

/* --- what the kernel's structures are like --- */

static int place_of(struct page_holders *h, const char *type, const char *member, uint32_t size, uint32_t *offset)
{
	struct member_place place;
	int r = kernel_peek_place(h->kernel, type, member, &place);

	if (r == 0 && place.size != size)
		r = -ENODATA;
	if (r == 0)
		*offset = place.offset;
	return r;
}

static int find_places(struct page_holders *h)
{
	uint32_t references = 0;
	int r = place_of(h, "page", "compound_head", 8, &h->head);

	if (r == 0)
		r = place_of(h, "page", "_mapcount", 4, &h->count);
	if (r == 0)
		r = place_of(h, "page", "_refcount", 4, &references);
	if (r == 0 &&
		(references != h->count + 4 || h->count % 8)) /* both in one look, or a change in between is not seen */
		r = -ENOTSUP;
	if (r < 0)
		return r;
	h->references = references;
	h->large = place_of(h, "folio", "_large_mapcount", 4, &h->mappings) == 0 &&
		   place_of(h, "folio", "_pincount", 4, &h->pins) == 0;
	return 0;
}

/* --- pages --- */

/* The addresses of their struct page; 0: there is none, or it is not of anonymous memory. */
static int find_frames(
	struct page_holders *h, int pagemap_fd, const uint64_t *addresses, size_t n, uint64_t *pages, bool *exclusive)
{
	for (size_t i = 0, run; i < n; i += run) {
		for (run = 1; i + run < n && addresses[i + run] == addresses[i] + run * PAGE_SIZE;)
			run++;
		if (pread(pagemap_fd, pages + i, run * sizeof(*pages),
			    (off_t)(addresses[i] / PAGE_SIZE * sizeof(*pages))) != (ssize_t)(run * sizeof(*pages)))
			return -EIO;
	}
	for (size_t i = 0; i < n; i++) {
		bool there = pages[i] & PM_PRESENT && !(pages[i] & (PM_SWAPPED | PM_FILE));

		if (there && !(pages[i] & PM_FRAME))
			return -EPERM;
		exclusive[i] = pages[i] & PM_EXCLUSIVE;
		pages[i] = there ? h->vmemmap + (pages[i] & PM_FRAME) * KERNEL_STRUCT_PAGE : 0;
	}
	return 0;
}

/* A word of each, at an offset; of 0: 0. */
static int read_words(struct page_holders *h, const uint64_t *pages, size_t n, uint64_t offset, uint64_t *words)
{
	for (size_t i = 0; i < n; i++)
		words[i] = pages[i] ? pages[i] + offset : 0;
	return kernel_peek_many(h->kernel, words, n, NULL, NULL);
}

/* Those of a larger one are replaced by its first, which `large` tells. */
static int find_heads(struct page_holders *h, uint64_t *pages, size_t n, bool *large)
{
	uint64_t own[PAGE_HOLDERS_MOST], next[PAGE_HOLDERS_MOST];
	int r = read_words(h, pages, n, h->head, own);

	if (r == 0)
		r = read_words(h, pages, n, KERNEL_STRUCT_PAGE + h->head, next);
	for (size_t i = 0; r == 0 && i < n; i++) {
		bool is_part = own[i] & 1;

		large[i] = pages[i] && (is_part || next[i] == (pages[i] | 1));
		if (is_part)
			pages[i] = own[i] - 1;
	}
	return r;
}

/* Mappings in the lower half, references in the upper. The kernel adds a reference before its mapping, and takes the mapping away first. */
static bool is_only_mapped(uint64_t count)
{
	return (uint32_t)(count >> 32) == (uint32_t)count + 1;
}

/* Of a large one they do not lie side by side: so pins, which it counts apart, must be none, and the mappings the same before and after. */
static bool large_is_held(struct page_holders *h, uint64_t head)
{
	uint32_t before = 0, after = 0, pins = 0, references = 0;
	int r = h->large ? kernel_peek_bytes(h->kernel, head + h->mappings, &before, sizeof(before)) : -ENOTSUP;

	if (r == 0)
		r = kernel_peek_bytes(h->kernel, head + h->references, &references, sizeof(references));
	if (r == 0)
		r = kernel_peek_bytes(h->kernel, head + h->pins, &pins, sizeof(pins));
	if (r == 0)
		r = kernel_peek_bytes(h->kernel, head + h->mappings, &after, sizeof(after));
	return r < 0 || pins || before != after || references != before + 1;
}

int page_holders_find(
	struct page_holders *h, int pagemap_fd, const uint64_t *addresses, size_t n, enum page_holding *out)
{
	uint64_t pages[PAGE_HOLDERS_MOST], count[PAGE_HOLDERS_MOST], last = 0;
	bool large[PAGE_HOLDERS_MOST], exclusive[PAGE_HOLDERS_MOST], last_held = false;
	int r = n > PAGE_HOLDERS_MOST ? -E2BIG : find_frames(h, pagemap_fd, addresses, n, pages, exclusive);

	if (r == 0)
		r = find_heads(h, pages, n, large);
	if (r == 0)
		r = read_words(h, pages, n, h->count, count);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (large[i] && pages[i] != last) {
			last = pages[i];
			last_held = large_is_held(h, last);
		}
		if (!pages[i] || (large[i] ? last_held : !is_only_mapped(count[i])))
			out[i] = PAGE_HELD;
		else
			out[i] = exclusive[i] ? PAGE_EXCLUSIVE : PAGE_MAPPED;
	}
	return r;
}

/* --- is it so? --- */

/* How many references a page of our own has beyond its mapping. */
static int count_more(struct page_holders *h, int pagemap_fd, const void *page, uint32_t *more)
{
	uint64_t address = (uintptr_t)page, frame, count = 0;
	bool exclusive;
	int r = find_frames(h, pagemap_fd, &address, 1, &frame, &exclusive);

	if (r == 0)
		r = read_words(h, &frame, 1, h->count, &count);
	if (r == 0 && (uint32_t)count != 0) /* mapped once */
		r = -ENOTSUP;
	*more = (uint32_t)(count >> 32) - 1;
	return r;
}

/* A page that goes into a pipe has one more; a new one may have one more of its own, until the kernel has put it in its lists. */
static int try_page(struct page_holders *h, int pagemap_fd, void *page)
{
	struct iovec whole = { page, PAGE_SIZE };
	uint32_t before = 0, after = 0;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	r = count_more(h, pagemap_fd, page, &before);
	if (r == 0 && vmsplice(ends[1], &whole, 1, SPLICE_F_NONBLOCK) != PAGE_SIZE)
		r = -ENOTSUP;
	if (r == 0)
		r = count_more(h, pagemap_fd, page, &after);
	close(ends[0]);
	close(ends[1]);
	return r < 0 ? r : before > 1 || (after != before + 1 && after != 1) ? -ENOTSUP : 0;
}

static int agrees(struct page_holders *h)
{
	_cleanup_fd_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	void *page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = pagemap < 0 ? -errno : page == MAP_FAILED ? -ENOMEM : 0;

	if (r == 0) {
		memset(page, 1, PAGE_SIZE);
		r = try_page(h, pagemap, page);
	}
	if (page != MAP_FAILED)
		munmap(page, PAGE_SIZE);
	return r;
}

int page_holders_open(struct kernel_peek *kernel, struct page_holders **out)
{
	struct page_holders *h = kernel ? calloc(1, sizeof(*h)) : NULL;
	struct memory_map map;
	int r;

	if (!h)
		return kernel ? -ENOMEM : -ENODATA;
	h->kernel = kernel;
	r = find_places(h);
	if (r == 0)
		r = memory_map_find(kernel, &map);
	if (r == 0) {
		h->vmemmap = map.vmemmap;
		r = agrees(h);
	}
	if (r < 0)
		free(h);
	else
		*out = h;
	return r;
}

void page_holders_free(struct page_holders *h)
{
	free(h);
}
