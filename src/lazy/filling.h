/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the filler share: filler.c (its life), answer.c (faults and events), stream.c. Private to them. */
#pragma once

#include <pthread.h>

#include "lazy/filler.h"
#include "lazy/survivor.h"
#include "lazy/wanted.h"

#define STREAMS_MOST 16u

struct filler {
	struct image *image;
	struct wanted wanted; /* of the lock */
	pthread_mutex_t why;  /* of `ps` */
	struct problems ps;
	struct survivor survivor;
	struct deadman deadman;
	struct doomed *roots;
	size_t n_roots;

	int epoll, wake_fd, event_fd;
	pthread_t faults, streams[STREAMS_MOST];
	bool answers;
	unsigned int n_streams;

	pthread_mutex_t lock;
	pthread_cond_t turn;  /* there may be something to stream, or it is over */
	struct space *spaces; /* never removed before the end */
	struct space **last;
	_Atomic bool stopping;
	bool hearing; /* events are being read */
	_Atomic bool failed, ended /* and all that was found is dying */, over;
	_Atomic int out_of_memory; /* copies that the kernel had no memory for, one after the other */
};

/* The tree is ended, if it was not for another reason before. */
void filling_fail(struct filler *f, int error, const char *what);
/* A block, verified; where that cannot be, the tree is ended. */
int filling_load(struct filler *f, struct loaded *to, const struct block *where);
/* What an answer of space_copy or space_zero means. 0: done with, or given up; -EAGAIN: later */
int filling_judge(struct filler *f, struct space *s, int r);
/* Under the lock: closes what is whole; and is that all? */
void filling_look_for_end(struct filler *f);
int filling_watch(struct filler *f, struct space *s);

/* Threads. The first takes what answering_new made. */
struct answering *answering_new(struct filler *f);
void answering_free(struct answering *a);
void *filling_answer(void *answering);
void *filling_stream(void *filler);
