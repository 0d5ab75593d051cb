/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptors that a task needs while its memory is being made: page files and mapped files, opened by the keeper, fetched from it to fixed numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/locks_mapped.h"
#include "state/inode.h"
#include "state/memory_build.h"
#include "state/memory_lazy.h"

static void fetch_to(struct build *b, const char *what, int keeper_fd, int number)
{
	uint32_t fetch = build_fetch(b, what, keeper_fd);
	uint32_t dup = batch_call(b->batch, what, SYS_dup3, 0, (uint64_t)number, O_CLOEXEC);
	uint32_t drop;

	batch_use(b->batch, dup, 0, fetch);
	drop = batch_call(b->batch, what, SYS_close, 0);
	batch_use(b->batch, drop, 0, fetch);
}

/* Fetched descriptors take the lowest free number for a moment: the fixed ones start above any that could be. */
#define FIXED_FIRST 64

int page_file_number(unsigned int file)
{
	return FIXED_FIRST + (int)file;
}

int fetch_page_files(struct build *b, struct fetched *f, const struct memory_state *m)
{
	_cleanup_free_ bool *known = calloc(b->restore->image->n_page_files + 1, sizeof(*known));
	bool reads = !b->restore->streamed && !memory_is_large(b->restore, m);

	if (!known)
		return -ENOMEM;
	f->n_page_files = b->restore->image->n_page_files;
	for (size_t i = 0; reads && i < m->n_runs; i++) {
		unsigned int file = (unsigned int)m->runs[i].file;

		if (!known[file] && !page_file_is_compressed(b->restore->image, file))
			fetch_to(b, "page file", page_file_fd(b->restore->image, file), page_file_number(file));
		known[file] = true;
	}
	return 0;
}

struct mapped_file {
	object_id backing;
	bool write;
	int fd;
};

static const struct mapped_file *opened_before(const struct restore *r, object_id backing, bool write)
{
	for (size_t i = 0; i < r->n_mapped; i++)
		if (r->mapped[i].backing == backing && r->mapped[i].write == write)
			return &r->mapped[i];
	return NULL;
}

/* The keeper opens each once, however many processes map it. */
static int open_mapped(struct restore *r, object_id backing, bool write)
{
	const struct mapped_file *known = opened_before(r, backing, write);
	struct mapped_file *grown;
	int fd, err;

	if (known)
		return known->fd;
	grown = reallocarray(r->mapped, r->n_mapped + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->mapped = grown;
	fd = backing_open(r, backing, write ? O_RDWR : O_RDONLY);
	if (fd < 0)
		return fd;
	r->mapped[r->n_mapped++] = (struct mapped_file){ backing, write, fd };
	err = opened_before(r, backing, !write) ? 0 : locks_mapped_set(r, backing, fd);
	return err < 0 ? err : fd;
}

void memory_close_mapped(struct restore *r)
{
	for (size_t i = 0; i < r->n_mapped; i++)
		close(r->mapped[i].fd);
	free(r->mapped);
	r->mapped = NULL;
	r->n_mapped = 0;
}

int fetch_backing(struct build *b, struct fetched *f, object_id backing, bool write)
{
	int number = FIXED_FIRST + (int)f->n_page_files, fd;

	for (size_t i = 0; i < f->n; i++)
		if (f->list[i].backing == backing && f->list[i].write == write)
			return number + (int)i;
	fd = open_mapped(b->restore, backing, write);
	if (fd < 0)
		return fd;
	/* The table is a window: more backings than it holds take the place of the first again. */
	if (f->n == ARRAY_SIZE(f->list))
		f->n = 0;
	f->list[f->n] = (struct backing_fd){ backing, write };
	fetch_to(b, "mapped file", fd, number + (int)f->n);
	return number + (int)f->n++;
}
