/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was registered with a ring and is the same whoever registers it, done in the keeper while the ring is not enabled. io_uring_register(2); io_uring/register.c, rsrc.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring.h"

static int call(const struct ring_made *g, unsigned int opcode, const void *arg, unsigned int n)
{
	return syscall(SYS_io_uring_register, g->fd, opcode, arg, n) < 0 ? -errno : 0;
}

/* --- files --- */

static bool is_taken(const struct io_uring_state *s, uint64_t slot)
{
	for (size_t i = 0; i < s->n_files; i++)
		if (s->files[i].slot == slot)
			return true;
	return false;
}

static int update(const struct ring_made *g, uint64_t slot, int fd)
{
	struct io_uring_rsrc_update u = { .offset = (uint32_t)slot, .data = (uintptr_t)&fd };

	return call(g, IORING_REGISTER_FILES_UPDATE, &u, 1);
}

/* The kernel goes on choosing behind the slot that was filled last, or at the one that was emptied last: the first free one from there on is emptied. */
static int choose_from(const struct ring_made *g)
{
	const struct io_uring_state *s = g->s;
	_cleanup_fd_ int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t slot = s->alloc_next;
	int r;

	while (slot < s->alloc_end && is_taken(s, slot))
		slot++;
	if (slot >= s->alloc_end || slot == s->alloc_start)
		return 0;
	r = fd < 0 ? -errno : update(g, slot, fd);
	return r < 0 ? r : update(g, slot, -1);
}

static int register_files(struct restore *r, const struct ring_made *g)
{
	const struct io_uring_state *s = g->s;
	_cleanup_free_ int *fds = malloc((s->slots + 1) * sizeof(*fds));
	_cleanup_free_ uint64_t *tags = calloc(s->slots + 1, sizeof(*tags));
	struct io_uring_rsrc_register table = { .nr = (uint32_t)s->slots };
	struct io_uring_file_index_range range = { .off = (uint32_t)s->alloc_start,
		.len = (uint32_t)(s->alloc_end - s->alloc_start) };
	int err;

	if (!fds || !tags)
		return -ENOMEM;
	memset(fds, 0xff, s->slots * sizeof(*fds));
	for (size_t i = 0; i < s->n_files; i++) {
		int fd = restore_file(r, s->files[i].file);

		if (fd < 0)
			return fd;
		fds[s->files[i].slot] = fd;
		tags[s->files[i].slot] = s->files[i].tag;
	}
	table.data = (uintptr_t)fds;
	table.tags = (uintptr_t)tags;
	err = call(g, IORING_REGISTER_FILES2, &table, sizeof(table));
	if (!err && s->alloc_end && (range.off || s->alloc_end != s->slots))
		err = call(g, IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0);
	return err ? err : choose_from(g);
}

/* --- buffers --- */

/* Room for them: each is registered by the process whose memory it is. */
static int register_room(const struct ring_made *g)
{
	struct io_uring_rsrc_register table = { .nr = (uint32_t)g->s->buffer_slots,
		.flags = IORING_RSRC_REGISTER_SPARSE };

	return call(g, IORING_REGISTER_BUFFERS2, &table, sizeof(table));
}

static void queue_buffer(struct build *b, const struct io_uring_buffer *buffer, uint32_t fetched)
{
	struct iovec iov = { (void *)buffer->address, buffer->size };
	struct io_uring_rsrc_update2 u = { .offset = (uint32_t)buffer->slot,
		.data = batch_copy(b->batch, &iov, sizeof(iov)).v,
		.tags = batch_copy(b->batch, &buffer->tag, sizeof(buffer->tag)).v,
		.nr = 1 };
	uint32_t op = batch_call(b->batch, "io_uring_register(IORING_REGISTER_BUFFERS_UPDATE)", SYS_io_uring_register,
		0, IORING_REGISTER_BUFFERS_UPDATE, batch_copy(b->batch, &u, sizeof(u)).v, sizeof(u));

	batch_use(b->batch, op, 0, fetched);
	batch_expect(b->batch, op, 1);
}

#define REGION_USER 1 /* IORING_MEM_REGION_TYPE_USER */

static void queue_region(struct build *b, const struct io_uring_region *region, uint32_t fetched)
{
	const struct {
		uint64_t address, size;
		uint32_t flags, id;
		uint64_t offset, reserved[4];
	} memory = { region->address, region->size, REGION_USER, 0, 0, { 0 } };
	const uint64_t ask[4] = { batch_copy(b->batch, &memory, sizeof(memory)).v, region->wait_arguments };

	batch_use(b->batch,
		batch_call(b->batch, "io_uring_register(IORING_REGISTER_MEM_REGION)", SYS_io_uring_register, 0,
			IO_URING_REGISTER_REGION, batch_copy(b->batch, ask, sizeof(ask)).v, 1),
		0, fetched);
}

bool ring_has_memory_of(const struct io_uring_state *s, const struct new_process *p)
{
	for (size_t i = 0; i < s->n_buffers; i++)
		if (s->buffers[i].process == p->id)
			return true;
	for (size_t i = 0; i < s->n_provided; i++)
		if (s->provided[i].ring_entries && s->provided[i].process == p->id)
			return true;
	return s->region.address && s->region.process == p->id;
}

void ring_queue_memory(struct build *b, const struct ring_made *g)
{
	uint32_t fetched = ring_fetch(b, g);

	for (size_t i = 0; i < g->s->n_buffers; i++) {
		if (g->s->buffers[i].process != b->process->id)
			continue;
		if (b->batch->n - fetched >= RING_SEGMENT) {
			ring_drop(b, fetched);
			fetched = ring_fetch(b, g);
		}
		queue_buffer(b, &g->s->buffers[i], fetched);
	}
	if (g->s->region.address && g->s->region.process == b->process->id)
		queue_region(b, &g->s->region, fetched);
	ring_drop(b, fetched);
	for (size_t i = 0; i < g->s->n_provided; i++) {
		const struct io_uring_provided *p = &g->s->provided[i];

		if (!p->ring_entries || p->process != b->process->id)
			continue;
		fetched = ring_fetch(b, g);
		provided_queue(b, p, fetched);
		ring_drop(b, fetched);
	}
}

/* --- personalities --- */

struct assuming {
	const struct ring_made *g;
	const struct io_uring_personality *p;
};

static int assume_and_register(void *arg)
{
	const struct assuming *a = arg;
	int err = ring_identity_assume(&a->p->who);
	long number = err ? err : syscall(SYS_io_uring_register, a->g->fd, IORING_REGISTER_PERSONALITY, NULL, 0);

	return err ? err : number < 0 ? -errno : number == (long)a->p->number ? 0 : -EPROTO;
}

#define NUMBERS 65536

/* The kernel gives one number after the other: what comes before the one wanted is registered and given back. */
static int pass_numbers(const struct ring_made *g, uint64_t wanted, uint64_t *next)
{
	for (long number, tries = 0; *next != wanted; *next = (uint64_t)number + 1) {
		number = syscall(SYS_io_uring_register, g->fd, IORING_REGISTER_PERSONALITY, NULL, 0);
		if (number < 0 || ++tries > NUMBERS)
			return number < 0 ? -errno : -EPROTO;
		if (syscall(SYS_io_uring_register, g->fd, IORING_UNREGISTER_PERSONALITY, NULL, number) < 0)
			return -errno;
	}
	return 0;
}

/* The next that is free, which is what the kernel gives. */
static uint64_t next_free(const struct io_uring_state *s)
{
	uint64_t next = s->next_personality;

	for (size_t i = 0; i < s->n_personalities; i++)
		next += s->personalities[i].number == next;
	return next;
}

static int register_personalities(const struct ring_made *g)
{
	uint64_t next = 1;
	int err = 0;

	for (size_t i = 0; !err && i < g->s->n_personalities; i++) {
		struct assuming a = { g, &g->s->personalities[i] };

		err = pass_numbers(g, a.p->number, &next);
		if (!err)
			err = call_in_child(assume_and_register, &a);
		next = a.p->number + 1;
	}
	return err ? err : pass_numbers(g, next_free(g->s), &next);
}

/* --- the rest --- */

static int register_eventfd(struct restore *r, const struct ring_made *g)
{
	int fd = restore_file(r, g->s->eventfd);

	if (fd < 0)
		return fd;
	return call(g, g->s->eventfd_async ? IORING_REGISTER_EVENTFD_ASYNC : IORING_REGISTER_EVENTFD, &fd, 1);
}

static int register_restrictions(const struct ring_made *g)
{
	const struct io_uring_restrictions *s = &g->s->restrictions;
	struct io_uring_restriction list[2 * 64 + 2];
	unsigned int n = 0;

	memset(list, 0, sizeof(list));
	for (uint8_t i = 0; i < 64; i++) {
		if (s->register_ops >> i & 1)
			list[n++] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_REGISTER_OP,
				.register_op = i };
		if (s->sqe_ops >> i & 1)
			list[n++] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = i };
	}
	if (s->flags_allowed)
		list[n++] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
			.sqe_flags = (uint8_t)s->flags_allowed };
	if (s->flags_required)
		list[n++] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
			.sqe_flags = (uint8_t)s->flags_required };
	return call(g, IORING_REGISTER_RESTRICTIONS, list, n);
}

static int register_clock(const struct ring_made *g)
{
	uint32_t clock[4] = { (uint32_t)g->s->clock };

	return call(g, IO_URING_REGISTER_CLOCK, clock, 0);
}

static int register_napi(const struct ring_made *g)
{
	struct {
		uint32_t timeout;
		uint8_t prefer_busy_poll, opcode, pad[2];
		uint32_t tracking, reserved;
	} napi = { .timeout = (uint32_t)g->s->napi.timeout,
		.prefer_busy_poll = g->s->napi.prefer_busy_poll,
		.tracking = (uint32_t)g->s->napi.tracking };

	return call(g, IO_URING_REGISTER_NAPI, &napi, 1);
}

/* What a task that comes to use the ring takes from it. */
static int register_workers(const struct ring_made *g)
{
	uint32_t limits[2] = { (uint32_t)g->s->workers_bounded, (uint32_t)g->s->workers_unbounded };

	return call(g, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2);
}

int ring_register(struct restore *r, const struct ring_made *g)
{
	const struct io_uring_state *s = g->s;
	int err = s->slots ? register_files(r, g) : 0;

	if (!err && s->buffer_slots)
		err = register_room(g);
	if (!err && s->next_personality)
		err = register_personalities(g);
	if (!err && s->eventfd)
		err = register_eventfd(r, g);
	if (!err && s->clock)
		err = register_clock(g);
	if (!err && s->napi.registered)
		err = register_napi(g);
	if (!err && s->workers_limited)
		err = register_workers(g);
	if (!err && s->poller.cpus.size)
		err = call(g, IORING_REGISTER_IOWQ_AFF, s->poller.cpus.data, (unsigned int)s->poller.cpus.size);
	return !err && s->restrictions.registered ? register_restrictions(g) : err;
}
