/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making rings of io_uring again, in the keeper: not enabled yet, for what is registered with one, and who may submit, has to be settled first (io_uring_round.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring.h"
#include "state/owner.h"
#include "state/process.h"

#define ENTRIES_MAX 65536
#define BLOB_MAX    (64ull << 20)
#define SLOTS_MAX   (1u << 20)
#define BUFFERS_MAX (1u << 14)

/* --- a ring of ours --- */

void ring_unmake(struct ring_made *g)
{
	if (g->rings)
		munmap(g->rings, g->rings_size);
	if (g->sqes)
		munmap(g->sqes, g->sqes_size);
	g->rings = g->sqes = NULL;
	close_fd(&g->fd);
}

static void *map_of(int fd, size_t size, off_t offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	return at == MAP_FAILED ? NULL : at;
}

static void measure(struct ring_made *g, uint32_t flags)
{
	g->stride = flags & IORING_SETUP_SQE128 ? 128 : 64;
	g->rings_size = g->p.cq_off.cqes + g->p.cq_entries * (flags & IORING_SETUP_CQE32 ? 32ul : 16ul);
	if (!(flags & IO_URING_NO_SQARRAY))
		g->rings_size = MAX(g->rings_size, g->p.sq_off.array + g->p.sq_entries * sizeof(uint32_t));
	g->rings_size = ALIGN_UP(g->rings_size, PAGE_SIZE);
	g->sqes_size = ALIGN_UP((size_t)g->p.sq_entries * g->stride, PAGE_SIZE);
}

void ring_number(const struct ring_made *g)
{
	for (uint32_t i = 0; g->p.sq_off.array && i < g->p.sq_entries; i++)
		ring_word(g, g->p.sq_off.array)[i] = i;
}

int ring_map(struct ring_made *g, uint32_t flags)
{
	measure(g, flags);
	g->rings = map_of(g->fd, g->rings_size, IORING_OFF_SQ_RING);
	g->sqes = map_of(g->fd, g->sqes_size, IORING_OFF_SQES);
	if (!g->rings || !g->sqes)
		return -errno;
	ring_number(g);
	return 0;
}

int ring_make(struct ring_made *g, uint32_t sq_entries, uint32_t cq_entries, uint32_t flags)
{
	*g = (struct ring_made){ .p = { .flags = flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries } };
	g->fd = (int)syscall(SYS_io_uring_setup, sq_entries, &g->p);
	return g->fd < 0 ? -errno : ring_map(g, flags);
}

struct making {
	struct ring_made *g;
	const struct io_uring_state *s;
};

/* In a child: the kernel keeps whoever made a ring for a user of it until he ends, and the keeper may live as long as the tree. */
static int make_in_child(void *arg)
{
	struct making *m = arg;

	return ring_make(m->g, (uint32_t)m->s->sq_entries, (uint32_t)m->s->cq_entries, ring_flags(m->s));
}

static int make_early(struct ring_made *g, const struct io_uring_state *s)
{
	struct making m = { g, s };

	return call_in_child(make_in_child, &m);
}

/* --- a ring of the image --- */

static bool is_power_of_2(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool are_possible_files(const struct io_uring_state *s)
{
	for (size_t i = 0; i < s->n_files; i++)
		if (s->files[i].slot >= s->slots || (i && s->files[i].slot <= s->files[i - 1].slot))
			return false;
	return s->slots <= SLOTS_MAX && s->alloc_start <= s->alloc_end && s->alloc_end <= s->slots &&
	       s->alloc_next <= s->slots;
}

static bool are_possible_buffers(const struct io_uring_state *s)
{
	for (size_t i = 0; i < s->n_buffers; i++)
		if (s->buffers[i].slot >= s->buffer_slots || (i && s->buffers[i].slot <= s->buffers[i - 1].slot))
			return false;
	return s->buffer_slots <= BUFFERS_MAX;
}

static bool is_there(const struct restore *r, object_id process)
{
	const struct new_process *p = restore_process(r, process);

	return p && !p->zombie;
}

static bool is_alive(const struct restore *r, object_id thread)
{
	const struct new_thread *t = owner_thread(r, thread);
	const struct thread_state *s = t && t->record ? t->record->state : NULL;

	return s && !s->exited && !t->process->zombie;
}

/* Who has to do something for it is there, and can. */
static bool has_tasks(const struct restore *r, const struct io_uring_state *s)
{
	for (size_t i = 0; i < s->n_buffers; i++)
		if (!is_there(r, s->buffers[i].process))
			return false;
	for (size_t i = 0; i < s->n_provided; i++)
		if (s->provided[i].ring_entries && !is_there(r, s->provided[i].process))
			return false;
	return (!io_uring_is_late(s) || is_there(r, s->process)) &&
	       (!s->region.address || is_there(r, s->region.process)) && (!s->submitter || is_alive(r, s->submitter));
}

static bool are_possible_counters(const struct io_uring_state *s)
{
	return s->sq_head <= UINT32_MAX && s->cq_tail <= UINT32_MAX && (ring_ahead(s) <= 0 || s->drain_disabled);
}

static bool is_possible_submitter(const struct io_uring_state *s)
{
	bool needed = s->flags & IORING_SETUP_SINGLE_ISSUER && !(s->flags & IORING_SETUP_R_DISABLED);

	return needed == (s->submitter || s->submitter_ended) && !(s->submitter && s->submitter_ended);
}

static bool is_possible_late(const struct io_uring_state *s)
{
	const bool own = s->flags & IO_URING_NO_MMAP, polled = s->flags & IORING_SETUP_SQPOLL;

	return own == (s->rings_at && s->sqes_at) && polled == (s->poller.group != 0) &&
	       (s->rings_at | s->sqes_at) % PAGE_SIZE == 0 && s->poller.idle <= UINT32_MAX &&
	       s->poller.cpu <= INT32_MAX && s->poller.nice >= -20 && s->poller.nice < 20 &&
	       s->poller.cpus.size <= PAGE_SIZE;
}

static bool is_possible(const struct io_uring_state *s)
{
	return !(s->flags & ~(uint64_t)IO_URING_CARRIED) && is_power_of_2(s->sq_entries) &&
	       is_power_of_2(s->cq_entries) && s->sq_entries <= ENTRIES_MAX && s->cq_entries <= 2 * ENTRIES_MAX &&
	       s->sq_entries <= s->cq_entries && s->rings.size >= sizeof(struct io_uring_params) &&
	       s->rings.size <= BLOB_MAX && s->sqes.size <= BLOB_MAX && are_possible_files(s) &&
	       are_possible_buffers(s) && are_possible_counters(s) && is_possible_submitter(s) && is_possible_late(s) &&
	       provided_is_possible(s) && s->clock <= INT32_MAX && s->napi.tracking <= UINT8_MAX &&
	       s->restrictions.flags_allowed <= UINT8_MAX && s->restrictions.flags_required <= UINT8_MAX &&
	       s->workers_bounded <= INT32_MAX && s->workers_unbounded <= INT32_MAX;
}

/* Of version 1, which had no such thing. */
static void set_range(struct io_uring_state *s)
{
	if (s->slots && !s->alloc_end)
		s->alloc_end = s->slots;
}

int io_uring_validate(struct restore *r, const struct record *rec)
{
	struct io_uring_state *s = rec->state;

	set_range(s);
	return is_possible(s) && has_tasks(r, s)
		       ? 0
		       : failed(r->ps, BLAME(.object = "io_uring"), -EBADMSG, "the image has an impossible one");
}

/* A program knows where in the rings everything is. */
static bool is_laid_out_alike(const struct ring_made *g, const struct io_uring_state *s)
{
	return g->p.sq_entries == s->sq_entries && g->p.cq_entries == s->cq_entries && g->rings_size == s->rings.size &&
	       g->sqes_size == s->sqes.size && g->p.cq_off.cqes == s->cqes &&
	       (s->flags & IO_URING_NO_SQARRAY || g->p.sq_off.array == s->array);
}

/* Whose workers it was to share (IORING_SETUP_ATTACH_WQ) is of no consequence since Linux 5.12, where they belong to each task. */
uint32_t ring_flags(const struct io_uring_state *s)
{
	return (uint32_t)(s->flags & ~(uint64_t)(IORING_SETUP_CLAMP | IORING_SETUP_ATTACH_WQ)) | IORING_SETUP_CQSIZE |
	       IORING_SETUP_R_DISABLED;
}

static struct ring_made *make(struct restore *r, const struct io_uring_state *s)
{
	struct ring_made *g = calloc(1, sizeof(*g));
	int err = !g ? -ENOMEM : io_uring_is_late(s) ? ring_stand_in(g, s) : make_early(g, s);

	if (err)
		failed(r->ps, BLAME(.object = "io_uring", .remedy = "look at kernel.io_uring_disabled"), err,
			"cannot be made: %s", strerror(-err));
	else if (!is_laid_out_alike(g, s))
		err = refused(r->ps,
			BLAME(.object = "io_uring", .remedy = "restore it on the kernel on which it was saved"),
			"this kernel lays out its rings otherwise");
	if (err && g) {
		ring_unmake(g);
		free(g);
		g = NULL;
	}
	if (g)
		g->s = s;
	return g;
}

/* Made once, when it is first mapped or opened: all descriptors and mappings are of one open file. The second descriptor ends with the restore, should that fail before the rounds. */
int io_uring_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	struct ring_made *g = made->data;
	int fd;

	if (!g) {
		g = make(r, rec->state);
		if (!g)
			return r->ps->first_error ? r->ps->first_error : -EIO;
		made->data = g;
		made->fd[0] = g->fd;
	}
	fd = fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : io_uring_is_late(rec->state) ? fd : file_settle(fd, file);
}
