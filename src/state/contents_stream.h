/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Contents (state/contents.h) that no descriptor reads and no descriptor takes: in order, piece by piece, so that they need not fit into memory. */
#pragma once

#include "state/contents.h"

struct contents_stream {
	struct capture *c;
	uint8_t *buffer;
	size_t filled;
	uint64_t size; /* that came before what is in the buffer */
	struct extent *list;
	size_t n, room;
};

int contents_stream_open(struct capture *c, struct contents_stream *s);
int contents_stream_add(struct contents_stream *s, const void *bytes, size_t n);
/* After a failure too. The extents are the caller's. */
int contents_stream_close(struct contents_stream *s, struct extent **extents, size_t *n, uint64_t *size);

/* Of what contents_check found to be right: what no extent holds is zero. */
int contents_read_at(
	struct restore *r, const struct extent *extents, size_t n, uint64_t offset, void *bytes, size_t size);
