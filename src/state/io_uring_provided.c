/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers that a program provides for requests to choose from: rings of them in its own memory (IORING_REGISTER_PBUF_RING), and lists that the kernel keeps
 * (IORING_OP_PROVIDE_BUFFERS). io_uring/kbuf.c. How many of a ring the kernel has taken, which counts from 0, nobody can set: so as many requests take one,
 * in place of those that do nothing (io_uring_wind.c). Lists are provided anew by such requests too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/io_uring_view.h"

#define IS_RING	       1 /* IOBL_BUF_RING */
#define IS_INCREMENTAL 2 /* IOBL_INC, and IOU_PBUF_RING_INC */
#define RUN_MAX	       UINT16_MAX

/* --- checkpoint --- */

static struct io_uring_provided *add(struct io_uring_state *s)
{
	struct io_uring_provided *grown = reallocarray(s->provided, s->n_provided + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	s->provided = grown;
	grown[s->n_provided] = (struct io_uring_provided){ 0 };
	return &grown[s->n_provided++];
}

static bool follows(const struct io_uring_provided *p, uint64_t address, uint64_t size, uint64_t number)
{
	return p->count && p->count < RUN_MAX && size == p->size && address == p->address + p->count * p->size &&
	       number == p->number + p->count;
}

/* Neighbours were provided, or can have been, by one request. One that is empty is there all the same. */
static int capture_list(struct ring *g, uint64_t list, uint64_t group, struct io_uring_state *s)
{
	uint64_t head = ring_address(g, list, "io_buffer_list", "buf_list"), node = OF(g, head, "list_head", "next");
	struct io_uring_provided *p = add(s);

	for (; p && !g->error && node != head; node = OF(g, node, "list_head", "next")) {
		uint64_t address = OF(g, node, "io_buffer", "addr"), size = OF(g, node, "io_buffer", "len");
		uint64_t number = OF(g, node, "io_buffer", "bid");

		if (p->count && !follows(p, address, size, number))
			p = add(s);
		if (!p)
			break;
		if (!p->count)
			*p = (struct io_uring_provided){
				.group = group, .address = address, .size = size, .number = number
			};
		p->count++;
	}
	if (p)
		p->group = group;
	return p ? g->error : -ENOMEM;
}

static int capture_ring_of_buffers(
	struct ring *g, uint64_t list, uint64_t group, uint64_t flags, struct io_uring_state *s)
{
	struct io_uring_provided *p = add(s);
	uint64_t least = 0;
	int err;

	if (!p)
		return -ENOMEM;
	*p = (struct io_uring_provided){ .group = group,
		.ring_entries = OF(g, list, "io_buffer_list", "nr_entries"),
		.incremental = flags & IS_INCREMENTAL,
		.taken = OF(g, list, "io_buffer_list", "head") };
	err = io_uring_find_region(g, ring_address(g, list, "io_buffer_list", "region"), &p->address, &p->process);
	kernel_peek_member(g->k, list, "io_buffer_list", "min_left_sub_one", &least); /* not in every kernel */
	if (p->incremental && (least || p->taken > p->ring_entries))
		return ring_refuse(
			g, NULL, "with a ring of provided buffers that are taken in pieces, and have been for long");
	return err == -ENOENT
		       ? ring_refuse(g, "have it in memory of the program's own",
				 "with a ring of provided buffers in the kernel's memory (IOU_PBUF_RING_MMAP), or "
				 "in memory that no process has in place any more")
		       : err;
}

/* How many requests it takes to have all as it is, of which so many take a buffer. */
static uint64_t requests_for(const struct io_uring_state *s, uint64_t *taking)
{
	uint64_t all = 0;

	*taking = 0;
	for (size_t i = 0; i < s->n_provided; i++) {
		const struct io_uring_provided *p = &s->provided[i];

		*taking += p->ring_entries ? p->taken : 0;
		all += p->ring_entries ? p->taken : p->count ? 1 : 2;
	}
	return all;
}

static int check_provided(struct ring *g, const struct io_uring_state *s)
{
	uint64_t taking, all = requests_for(s, &taking);
	uint64_t silent = ring_ahead(s) > 0 ? (uint64_t)ring_ahead(s) : s->drain_disabled;

	if (all > (uint32_t)(s->sq_head - silent))
		return ring_refuse(g, "unregister them before the checkpoint",
			"with provided buffers of which single requests have taken several");
	if (all && s->restrictions.registered)
		return ring_refuse(g, NULL, "with restrictions, and provided buffers");
	if (taking && s->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL))
		return ring_refuse(g, NULL, "that is polled, with a ring of provided buffers that were taken");
	return 0;
}

int io_uring_capture_provided(struct ring *g, struct io_uring_state *s)
{
	uint64_t all = WITHIN(g, "io_bl_xa"), end = ring_entries_end(g, all);
	int err = 0;

	for (uint64_t i = 0; !err && !g->error && i < end; i++) {
		uint64_t list = ring_entry(g, all, i), flags = list ? OF(g, list, "io_buffer_list", "flags") : 0;

		if (list)
			err = flags & IS_RING ? capture_ring_of_buffers(g, list, i, flags, s)
					      : capture_list(g, list, i, s);
	}
	if (!err)
		err = g->error;
	return err ? err : check_provided(g, s);
}

/* --- restore --- */

bool provided_is_possible(const struct io_uring_state *s)
{
	for (size_t i = 0; i < s->n_provided; i++) {
		const struct io_uring_provided *p = &s->provided[i];

		if (p->group > UINT16_MAX || p->number > UINT16_MAX || p->count > RUN_MAX || p->taken > UINT16_MAX ||
			p->ring_entries > 1u << 15 || p->size > UINT32_MAX)
			return false;
	}
	return true;
}

/* In the process whose memory it is. */
void provided_queue(struct build *b, const struct io_uring_provided *p, uint32_t fetched)
{
	struct {
		uint64_t address;
		uint32_t entries;
		uint16_t group, flags;
		uint64_t reserved[3];
	} ring = { p->address, (uint32_t)p->ring_entries, (uint16_t)p->group, p->incremental ? IS_INCREMENTAL : 0,
		{ 0 } };
	uint32_t op = batch_call(b->batch, "io_uring_register(IORING_REGISTER_PBUF_RING)", SYS_io_uring_register, 0,
		IORING_REGISTER_PBUF_RING, batch_copy(b->batch, &ring, sizeof(ring)).v, 1);

	batch_use(b->batch, op, 0, fetched);
}

/* The n-th of the requests: no such, if it answers false. zeros: a descriptor of /dev/zero. */
bool provided_request(const struct io_uring_state *s, uint64_t n, int zeros, struct io_uring_sqe *out)
{
	for (size_t i = 0; i < s->n_provided; i++) {
		const struct io_uring_provided *p = &s->provided[i];
		uint64_t here = p->ring_entries ? p->taken : p->count ? 1 : 2;

		if (n >= here) {
			n -= here;
			continue;
		}
		*out = (struct io_uring_sqe){ .buf_group = (uint16_t)p->group };
		if (p->ring_entries) {
			out->opcode = IORING_OP_READ;
			out->flags = IOSQE_BUFFER_SELECT;
			out->fd = zeros;
			out->len = 1;
		} else {
			out->opcode = n ? IORING_OP_REMOVE_BUFFERS : IORING_OP_PROVIDE_BUFFERS;
			out->fd = p->count ? (int32_t)p->count : 1;
			out->addr = n ? 0 : p->address;
			out->len = n ? 0 : p->count ? (uint32_t)p->size : 1;
			out->off = n ? 0 : p->number;
		}
		return true;
	}
	return false;
}

static int transfer(pid_t pid, const struct io_uring_provided *p, void *bytes, bool out)
{
	size_t size = p->ring_entries * sizeof(struct io_uring_buf);
	struct iovec here = { bytes, size }, there = { (void *)p->address, size };

	return syscall(out ? SYS_process_vm_writev : SYS_process_vm_readv, pid, &here, 1ul, &there, 1ul, 0ul) ==
			       (long)size
		       ? 0
		       : -EFAULT;
}

/* While they are taken, all of its buffers are one byte at that address. */
static int lend(struct restore *r, const struct io_uring_provided *p, uint64_t byte)
{
	_cleanup_free_ struct io_uring_buf *list = calloc(p->ring_entries, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < p->ring_entries; i++)
		list[i] = (struct io_uring_buf){ .addr = byte, .len = 1 };
	list[0].resv = (uint16_t)p->taken; /* the tail */
	return transfer(restore_process(r, p->process)->pid, p, list, true);
}

int provided_lend(struct restore *r, const struct io_uring_state *s, uint64_t byte, struct lent *lent)
{
	int err = 0;

	lent->contents = calloc(s->n_provided + 1, sizeof(*lent->contents));
	if (!lent->contents)
		return -ENOMEM;
	for (size_t i = 0; !err && i < s->n_provided; i++) {
		const struct io_uring_provided *p = &s->provided[i];

		if (!p->ring_entries || !p->taken)
			continue;
		lent->contents[i] = malloc(p->ring_entries * sizeof(struct io_uring_buf));
		err = lent->contents[i] ? transfer(restore_process(r, p->process)->pid, p, lent->contents[i], false)
					: -ENOMEM;
		if (!err)
			err = lend(r, p, byte);
	}
	return err;
}

int provided_give_back(struct restore *r, const struct io_uring_state *s, struct lent *lent)
{
	int err = 0;

	for (size_t i = 0; lent->contents && i < s->n_provided; i++) {
		if (!err && lent->contents[i])
			err = transfer(restore_process(r, s->provided[i].process)->pid, &s->provided[i],
				lent->contents[i], true);
		free(lent->contents[i]);
	}
	free(lent->contents);
	lent->contents = NULL;
	return err;
}
