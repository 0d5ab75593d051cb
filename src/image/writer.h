/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image being written: what writer.c and writer_stream.c share. */
#pragma once

#include <stdatomic.h>
#include <xxhash.h>

#include "image/ancestors.h"
#include "image/compress.h"
#include "image/stream_writer.h"

/* A component's file. Small ones are written once, at the commit. */
struct kind_file {
	struct kind_file *next;
	char name[NAME_ROOM];
	int fd;
	struct bytes pending;
	uint64_t size; /* written; pending is not in it */
	XXH3_state_t *hash;
};

struct image_writer {
	int dir_fd; /* opened anew: it carries the lock that keeps other writers out; -1: a trial, or a stream */
	struct problems *ps;
	pthread_mutex_t lock;
	struct image_head head;
	const struct image *parent; /* NULL: none */
	bool *used;		    /* of its chain's page files */
	struct kind_file *files, **last_file;
	struct page_writer *pages, **last_page;
	unsigned int first_page_file, n_page_files;
	_Atomic uint64_t bytes, stored;
	uint32_t compression; /* enum spore_compression */
	_Atomic bool holds;
	struct page_writer *next_held;
	_Atomic int error; /* the first; no commit after it */
	bool trial, manifest_tmp, committed;
	struct stream_writer *stream; /* NULL: a directory */
};

static void unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

#define LOCKED(m)                                                                                                      \
	_cleanup_(unlock)                                                                                              \
	pthread_mutex_t *locked_ = (m);                                                                                \
	pthread_mutex_lock(locked_)

/* The file of a kind, made if there is none yet. */
int kind_file_get(struct image_writer *w, const char *kind, struct kind_file **out);
int kind_file_flush(struct image_writer *w, struct kind_file *f);

/* --- writer_stream.c --- */

/* What manifest and page_blocks say of the page file that came in blocks. */
int finish_streamed_pages(struct image_writer *w, struct manifest *m);
int commit_stream(struct image_writer *w, const struct manifest *m);
