/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is saved of a ring. What cannot be was refused in the look (io_uring.c), but for what only shows here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring_view.h"

/* It is in a process's own memory. */
static int read_places(struct ring *g, const struct io_uring_state *s, uint64_t at, struct blob *out)
{
	for (size_t i = 0; i < g->c->tree->n_processes; i++) {
		const struct process *p = g->c->tree->processes[i];
		struct iovec here = { out->data, out->size }, there = { (void *)at, out->size };

		if (p->id == s->process)
			return process_vm_readv(p->living_tid, &here, 1, &there, 1, 0) == (ssize_t)out->size ? 0
													     : -EFAULT;
	}
	return -ESRCH;
}

static int read_mapped(int fd, off_t offset, struct blob *out)
{
	void *from = mmap(NULL, out->size, PROT_READ, MAP_SHARED, fd, offset);

	if (from == MAP_FAILED)
		return -errno;
	memcpy(out->data, from, out->size);
	munmap(from, out->size);
	return 0;
}

static int read_region(
	struct ring *g, const struct io_uring_state *s, int fd, const char *region, off_t offset, struct blob *out)
{
	uint64_t at = offset == IORING_OFF_SQES ? s->sqes_at : s->rings_at;

	out->size = OF(g, WITHIN(g, region), "io_mapped_region", "nr_pages") * PAGE_SIZE;
	out->data = g->error ? NULL : malloc(out->size);
	if (!out->data) {
		out->size = 0;
		return g->error ? g->error : -ENOMEM;
	}
	return at ? read_places(g, s, at, out) : read_mapped(fd, offset, out);
}

/* --- which open files it has --- */

struct open_file {
	uint64_t file, object; /* the struct file, and what stands behind it */
	object_id id;
};

struct open_files {
	struct open_file *list; /* sorted by file */
	size_t n;
};

static void open_files_free(struct open_files *all)
{
	free(all->list);
}

static int by_file(const void *a, const void *b)
{
	const struct open_file *x = a, *y = b;

	return (x->file > y->file) - (x->file < y->file);
}

/* Those of the outside are nobody's here. */
static int find_open_files(struct capture *c, struct open_files *all)
{
	all->list = calloc(c->descriptions->n + 1, sizeof(*all->list));
	if (!all->list)
		return -ENOMEM;
	for (const struct description *d = c->descriptions->first; d && all->n < c->descriptions->n; d = d->next) {
		_cleanup_fd_ int fd = d->external ? -1 : description_dup(d);
		struct open_file *f = &all->list[all->n];

		if (fd >= 0 && kernel_peek_file(c->kernel, fd, &f->file, &f->object) == 0) {
			f->id = d->file;
			all->n++;
		}
	}
	qsort(all->list, all->n, sizeof(*all->list), by_file);
	return 0;
}

static object_id id_of_file(const struct open_files *all, uint64_t file)
{
	const struct open_file key = { .file = file }, *found = bsearch(&key, all->list, all->n, sizeof(key), by_file);

	return found ? found->id : 0;
}

static object_id id_of_object(const struct open_files *all, uint64_t object)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->list[i].object == object)
			return all->list[i].id;
	return 0;
}

#define FILE_FLAGS 7ull /* in the low bits of the pointer */

static int capture_file(
	struct ring *g, const struct open_files *all, struct io_uring_state *s, uint64_t slot, uint64_t node)
{
	uint64_t file = OF(g, node, "io_rsrc_node", "file_ptr") & ~FILE_FLAGS;
	object_id id = g->error ? 0 : id_of_file(all, file);

	s->files[s->n_files] = (struct io_uring_file){ slot, id, OF(g, node, "io_rsrc_node", "tag") };
	if (g->error)
		return g->error;
	if (!id)
		return ring_refuse(g, "keep it open", "with a registered file that no process has open");
	s->n_files++;
	return 0;
}

static int capture_files(struct ring *g, const struct open_files *all, struct io_uring_state *s)
{
	uint64_t table = WITHIN(g, "file_table"), nodes, node;
	int r = 0;

	s->slots = OF(g, table, "io_rsrc_data", "nr");
	nodes = OF(g, table, "io_rsrc_data", "nodes");
	if (g->error || !s->slots)
		return g->error;
	s->alloc_start = RING(g, "file_alloc_start");
	s->alloc_end = RING(g, "file_alloc_end");
	s->alloc_next = MIN(OF(g, table, "io_file_table", "alloc_hint"), s->slots);
	s->files = calloc(s->slots, sizeof(*s->files));
	if (!s->files)
		return -ENOMEM;
	for (uint64_t i = 0; r == 0 && i < s->slots; i++) {
		node = ring_word_at(g, nodes + i * sizeof(node));
		r = g->error ? g->error : node ? capture_file(g, all, s, i, node) : 0;
	}
	return r;
}

static int capture_eventfd(struct ring *g, const struct open_files *all, struct io_uring_state *s)
{
	uint64_t registered = RING(g, "io_ev_fd");

	if (!registered)
		return g->error;
	s->eventfd = id_of_object(all, OF(g, registered, "io_ev_fd", "cq_ev_fd"));
	s->eventfd_async = OF(g, registered, "io_ev_fd", "eventfd_async");
	return g->error	    ? g->error
	       : s->eventfd ? 0
			    : ring_refuse(g, "keep it open", "with a registered eventfd that no process has open");
}

/* --- its settings --- */

static int capture_submitter(struct ring *g, struct io_uring_state *s)
{
	struct thread *submitter = NULL;
	uint64_t task = RING(g, "submitter_task");
	int err;

	if (g->error || !(s->flags & IORING_SETUP_SINGLE_ISSUER) || s->flags & IORING_SETUP_R_DISABLED)
		return g->error;
	err = task ? kernel_thread(g->c, task, &submitter) : 0;
	if (err == -ESRCH)
		return ring_refuse(g, NULL, "that a process outside of the tree uses");
	s->submitter = submitter && submitter->stop.state != STOP_GONE ? submitter->id : 0;
	s->submitter_ended = !s->submitter;
	return err;
}

static int add_user(struct ring *g, uint64_t task, struct io_uring_state *s)
{
	struct io_uring_user *grown;
	struct thread *th = NULL;
	int err = g->error ? g->error : kernel_thread(g->c, task, &th);

	if (err || !th)
		return err == -ESRCH ? 0 : err; /* the kernel's own, or one that has ended */
	grown = reallocarray(s->users, s->n_users + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->users = grown;
	s->users[s->n_users++].thread = th->id;
	return 0;
}

static int capture_users(struct ring *g, struct io_uring_state *s)
{
	uint64_t head = WITHIN(g, "tctx_list"), node = OF(g, head, "list_head", "next");
	uint64_t offset = ring_address(g, 0, "io_tctx_node", "ctx_node");
	int err = 0;

	for (; !err && !g->error && node != head; node = OF(g, node, "list_head", "next"))
		err = add_user(g, OF(g, node - offset, "io_tctx_node", "task"), s);
	return err ? err : g->error;
}

static void capture_restrictions(struct ring *g, struct io_uring_restrictions *s)
{
	uint64_t at = WITHIN(g, "restrictions");

	s->registered = OF(g, at, "io_restriction", "registered");
	if (!s->registered)
		return;
	s->register_ops = OF(g, at, "io_restriction", "register_op");
	s->sqe_ops = OF(g, at, "io_restriction", "sqe_op");
	s->flags_allowed = OF(g, at, "io_restriction", "sqe_flags_allowed");
	s->flags_required = OF(g, at, "io_restriction", "sqe_flags_required");
}

#define NAPI_TRACKING_INACTIVE 255

static void capture_settings(struct ring *g, struct io_uring_state *s)
{
	uint64_t clock = RING(g, "clockid"), limits = WITHIN(g, "iowq_limits"), pair;

	s->clock = clock == CLOCK_MONOTONIC ? 0 : clock;
	capture_restrictions(g, &s->restrictions);
	s->napi.tracking = RING(g, "napi_track_mode");
	s->napi.registered = s->napi.tracking != NAPI_TRACKING_INACTIVE;
	if (s->napi.registered) {
		s->napi.timeout = RING(g, "napi_busy_poll_dt") / 1000;
		s->napi.prefer_busy_poll = RING(g, "napi_prefer_busy_poll");
	}
	s->workers_limited = RING(g, "iowq_limits_set");
	pair = ring_word_at(g, limits);
	s->workers_bounded = (uint32_t)pair;
	s->workers_unbounded = pair >> 32;
}

static int capture_personalities(struct ring *g, struct io_uring_state *s)
{
	uint64_t all = WITHIN(g, "personalities"), end = ring_entries_end(g, all), cred;
	int err = 0;

	s->next_personality = RING(g, "pers_next");
	for (uint64_t i = 0; !err && !g->error && i < end; i++) {
		struct io_uring_personality *grown;

		cred = ring_entry(g, all, i);
		if (!cred)
			continue;
		grown = reallocarray(s->personalities, s->n_personalities + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->personalities = grown;
		grown[s->n_personalities] = (struct io_uring_personality){ .number = i };
		err = ring_identity_read(g->c, cred, &grown[s->n_personalities++].who);
	}
	if (err == -EXDEV)
		return ring_refuse(g, "unregister it", "with a personality of another user namespace");
	return err ? err : g->error;
}

static int capture_region_for_arguments(struct ring *g, struct io_uring_state *s)
{
	uint64_t region = WITHIN(g, "param_region"), pages = OF(g, region, "io_mapped_region", "nr_pages");
	int err = g->error ? g->error
		  : pages  ? io_uring_find_region(g, region, &s->region.address, &s->region.process)
			   : 0;

	s->region.size = pages * PAGE_SIZE;
	s->region.wait_arguments = RING(g, "cq_wait_arg") != 0;
	return err == -ENOENT ? ring_refuse(g, "have it in memory of the program's own",
					"with a region for arguments (IORING_REGISTER_MEM_REGION) in the kernel's "
					"memory, or in "
					"memory that no process has in place any more")
	       : err	      ? err
			      : g->error;
}

/* --- all of it --- */

static int capture_registered(struct ring *g, struct io_uring_state *s)
{
	_cleanup_(open_files_free)
	struct open_files all = { 0 };
	uint64_t slots = OF(g, WITHIN(g, "file_table"), "io_rsrc_data", "nr");
	int r = g->error;

	if (r == 0 && (slots || RING(g, "io_ev_fd")))
		r = find_open_files(g->c, &all);
	if (r == 0)
		r = capture_files(g, &all, s);
	if (r == 0)
		r = capture_eventfd(g, &all, s);
	if (r == 0)
		r = capture_personalities(g, s);
	if (r == 0)
		r = capture_region_for_arguments(g, s);
	if (r == 0)
		r = io_uring_capture_provided(g, s);
	return r < 0 ? r : io_uring_capture_buffers(g, s);
}

/* As the program says that it took them: not more than were given, nor fewer than there is room for. */
static bool has_sane_head(struct ring *g, const struct io_uring_state *s)
{
	uint64_t at = ring_address(g, ring_address(g, 0, "io_rings", "cq"), "io_uring", "head");
	uint32_t head = 0;

	if (at + sizeof(head) <= s->rings.size)
		memcpy(&head, s->rings.data + at, sizeof(head));
	return g->error || (uint32_t)s->cq_tail - head <= s->cq_entries;
}

static int capture_ring(struct ring *g, int fd, struct io_uring_state *s)
{
	uint64_t offset = 0;
	int r;

	s->flags = RING(g, "flags");
	s->sq_entries = RING(g, "sq_entries");
	s->cq_entries = RING(g, "cq_entries");
	s->sq_head = RING(g, "cached_sq_head");
	s->cq_tail = RING(g, "cached_cq_tail");
	s->drain_disabled = RING(g, "drain_disabled");
	if (!(s->flags & IO_URING_NO_SQARRAY))
		s->array = RING(g, "sq_array") - RING(g, "rings");
	if (kernel_peek_address(g->k, 0, "io_rings", "cqes", &offset) < 0)
		g->error = -ENODATA;
	s->cqes = offset;
	r = io_uring_capture_late(g, s);
	if (r == 0)
		r = read_region(g, s, fd, "ring_region", IORING_OFF_SQ_RING, &s->rings);
	if (r == 0)
		r = read_region(g, s, fd, "sq_region", IORING_OFF_SQES, &s->sqes);
	if (r == 0 && !has_sane_head(g, s))
		r = ring_refuse(g, NULL, "whose program has taken completions that were not given");
	capture_settings(g, s);
	if (r == 0)
		r = capture_submitter(g, s);
	if (r == 0)
		r = capture_users(g, s);
	return r < 0 ? r : capture_registered(g, s);
}

/* By its descriptor, or by a mapping: then f is no descriptor. */
int io_uring_capture(struct capture *c, const struct file_look *f, void *state)
{
	const struct description *d = ring_description(c, f->ino);
	_cleanup_fd_ int fd = d && c->writer && c->kernel ? description_dup(d) : -1;
	struct ring g = { .c = c, .k = c->kernel, .f = d ? d->look : f };
	uint64_t file;
	int r;

	if (!c->writer || !c->kernel || !d)
		return 0;
	g.error = fd < 0 ? fd : kernel_peek_file(c->kernel, fd, &file, &g.at);
	r = g.error ? g.error : capture_ring(&g, fd, state);
	return r < 0 && r != -ENOTSUP ? refused(c->ps, BLAME_FILE(g.f, .remedy = ring_remedy(&g)),
						"it cannot be told what an io_uring holds: %s", strerror(-r))
				      : r;
}
