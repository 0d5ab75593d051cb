/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/pipe_view.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define MOST_SLOTS	     (1u << 20)
#define USUAL_SLOTS	     16 /* PIPE_DEF_BUFFERS */
#define PIPE_BUF_FLAG_PACKET 0x08

struct ring {
	uint64_t head, tail, size, slots, most;
	uint64_t slot_size; /* sizeof(struct pipe_buffer) */
};

static int find_ring(struct kernel_peek *k, uint64_t pipe, struct ring *r)
{
	static const char type[] = "pipe_inode_info";
	struct member_place last = { 0 };
	int err = kernel_peek_member(k, pipe, type, "head", &r->head);

	if (!err)
		err = kernel_peek_member(k, pipe, type, "tail", &r->tail);
	if (!err)
		err = kernel_peek_member(k, pipe, type, "ring_size", &r->size);
	if (!err)
		err = kernel_peek_member(k, pipe, type, "bufs", &r->slots);
	if (!err)
		err = kernel_peek_member(k, pipe, type, "max_usage", &r->most);
	if (!err)
		err = kernel_peek_place(k, "pipe_buffer", "private", &last);
	r->slot_size = last.offset + last.size;
	return err ? err : r->size && !(r->size & (r->size - 1)) && r->size <= MOST_SLOTS ? 0 : -EBADMSG;
}

static int read_slot(struct capture *c, struct socket_view *memory, uint64_t at, struct pipe_view *v)
{
	struct kernel_peek *k = c->kernel;
	uint64_t page = 0, offset = 0, size = 0, flags = 0;
	_cleanup_free_ uint8_t *bytes = NULL;
	int err = kernel_peek_member(k, at, "pipe_buffer", "page", &page);

	if (!err)
		err = kernel_peek_member(k, at, "pipe_buffer", "offset", &offset);
	if (!err)
		err = kernel_peek_member(k, at, "pipe_buffer", "len", &size);
	if (!err)
		err = kernel_peek_member(k, at, "pipe_buffer", "flags", &flags);
	if (err || !size)
		return err;
	bytes = size <= (uint64_t)sysconf(_SC_PAGESIZE) ? malloc(size) : NULL;
	if (!bytes)
		return -ENOMEM;
	v->packets |= flags & PIPE_BUF_FLAG_PACKET;
	err = kernel_peek_bytes(k, socket_view_page(memory, page) + offset, bytes, size);
	return err ? err : v->add(v->arg, bytes, size);
}

/* Nobody has it open: there is none. */
static int find_pipe(struct kernel_peek *k, int fd, uint64_t *pipe)
{
	uint64_t file, ignored, inode;
	int err = k ? kernel_peek_file(k, fd, &file, &ignored) : -ENODATA;

	if (!err)
		err = kernel_peek_member(k, file, "file", "f_inode", &inode);
	return err ? err : kernel_peek_member(k, inode, "inode", "i_pipe", pipe);
}

int pipe_view_read(struct capture *c, int fd, struct pipe_view *v)
{
	struct socket_view *memory = NULL;
	struct ring r = { .most = USUAL_SLOTS };
	uint64_t pipe = 0;
	int err = find_pipe(c->kernel, fd, &pipe);

	if (!err && pipe)
		err = find_ring(c->kernel, pipe, &r);
	if (!err && r.head != r.tail)
		err = sockets_view(c, &memory);
	for (uint32_t i = (uint32_t)r.tail; !err && i != (uint32_t)r.head; i++)
		err = i - (uint32_t)r.tail < r.size
			      ? read_slot(c, memory, r.slots + (i & (r.size - 1)) * r.slot_size, v)
			      : -EBADMSG;
	v->capacity = r.most * (uint64_t)sysconf(_SC_PAGESIZE);
	return err;
}
