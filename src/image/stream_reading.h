/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One stream being read: what stream_in.c and stream_end.c share. */
#pragma once

#include <xxhash.h>

#include "image/stream.h"

struct stream_in {
	int fd;
	int dir_fd;	      /* that the files go to, the caller's; -1: they are kept in memory */
	pthread_mutex_t lock; /* of everything below, from the first block on */
	bool begun;
	_Atomic uint64_t number; /* of the next frame */
	struct stream_member *members;
	size_t n_members;
	XXH3_state_t *sum; /* of the last member */
	uint64_t room;	   /* that was seen to be there for more of them */
	bool has_blocks, after_blocks, ended;
	char pages_name[NAME_ROOM];
	uint64_t pages, first_blocks;
	struct block_sums sums;
	int error; /* the first */
};

int stream_damaged(const struct stream_in *s, struct problems *ps, const char *why);
int stream_failed(struct problems *ps, const char *name, int error, const char *what);
