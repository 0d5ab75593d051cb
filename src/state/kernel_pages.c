/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documentation/admin-guide/mm/pagemap.rst; include/asm-generic/memory_model.h (CONFIG_SPARSEMEM_VMEMMAP, which x86-64 always has). */
#include "state/kernel_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PRESENT (1ull << 63)
#define NUMBER	((1ull << 55) - 1)
#define OWN	16 /* pages, of which two neighbours in number are looked for */

static int numbers_of(int pagemap, uint64_t address, uint64_t *numbers, size_t n)
{
	ssize_t got = pread(pagemap, numbers, n * sizeof(*numbers), (off_t)(address / PAGE_SIZE * sizeof(*numbers)));

	if (got < 0)
		return -errno;
	for (size_t i = 0; i < n; i++)
		numbers[i] = i < (size_t)got / sizeof(*numbers) && numbers[i] & PRESENT ? numbers[i] & NUMBER : 0;
	return 0;
}

/* --- the keeper's own --- */

/* The struct page of the only page of that registered buffer. */
static int page_of_buffer(struct capture *c, uint64_t nodes, size_t i, uint64_t *page)
{
	uint64_t node, buffer, bvec;
	int err = kernel_peek_bytes(c->kernel, nodes + i * sizeof(node), &node, sizeof(node));

	if (!err)
		err = kernel_peek_member(c->kernel, node, "io_rsrc_node", "buf", &buffer);
	if (!err)
		err = kernel_peek_address(c->kernel, buffer, "io_mapped_ubuf", "bvec", &bvec);
	return err ? err : kernel_peek_member(c->kernel, bvec, "bio_vec", "bv_page", page);
}

static int compare(struct capture *c, int ring, const uint64_t *numbers, struct page_array *out)
{
	uint64_t file, at, table, nodes, first, other;
	int err = kernel_peek_file(c->kernel, ring, &file, &at);

	if (!err)
		err = kernel_peek_address(c->kernel, at, "io_ring_ctx", "buf_table", &table);
	if (!err)
		err = kernel_peek_member(c->kernel, table, "io_rsrc_data", "nodes", &nodes);
	if (!err)
		err = page_of_buffer(c, nodes, 0, &first);
	for (size_t i = 1; !err && i < OWN; i++) {
		err = page_of_buffer(c, nodes, i, &other);
		if (!err && numbers[i] != numbers[0]) {
			out->size = (uint64_t)((int64_t)(other - first) / (int64_t)(numbers[i] - numbers[0]));
			out->first = first - numbers[0] * out->size;
			return out->size && out->size <= PAGE_SIZE && other == out->first + numbers[i] * out->size
				       ? 0
				       : -EPROTO;
		}
	}
	return err ? err : -EPROTO;
}

static int register_own(int ring, uint8_t *at)
{
	struct iovec iov[OWN];

	memset(at, 1, OWN * PAGE_SIZE);
	for (size_t i = 0; i < OWN; i++)
		iov[i] = (struct iovec){ at + i * PAGE_SIZE, PAGE_SIZE };
	return syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, iov, OWN) < 0 ? -errno : 0;
}

int page_array_find(struct capture *c, struct page_array *out)
{
	struct io_uring_params p = { 0 };
	_cleanup_fd_ int ring = (int)syscall(SYS_io_uring_setup, 1, &p);
	_cleanup_fd_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint8_t *at = mmap(NULL, OWN * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t numbers[OWN];
	int err = ring < 0 || pagemap < 0 || at == MAP_FAILED ? -errno : register_own(ring, at);

	if (!err)
		err = numbers_of(pagemap, (uintptr_t)at, numbers, OWN);
	if (!err)
		err = compare(c, ring, numbers, out);
	if (at != MAP_FAILED)
		munmap(at, OWN * PAGE_SIZE);
	return err;
}

/* --- a process's --- */

int process_pages(const struct page_array *a, const struct process *p, uint64_t address, uint64_t *pages, size_t n)
{
	_cleanup_fd_ int pagemap = openat(p->living_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	int err = pagemap < 0 ? -errno : numbers_of(pagemap, address, pages, n);

	for (size_t i = 0; !err && i < n; i++)
		if (pages[i])
			pages[i] = a->first + pages[i] * a->size;
	return err;
}
