/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel keeps for a thread that uses rings of io_uring: rings that it knows by a number of its own (IORING_REGISTER_RING_FDS), and which processors its workers
 * may use and how many there may be (IORING_REGISTER_IOWQ_AFF, IOWQ_MAX_WORKERS). io_uring_register(2); io_uring/tctx.c, io_uring/io-wq.c. No interface tells any of it.
 */
#include "state/io_uring_tasks.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/files.h"
#include "state/io_uring_view.h"
#include "state/owner.h"
#include "state/process.h"

#define NUMBERS	     16 /* IO_RINGFD_REG_MAX */
#define NUMBER_SPARE (NUMBERS - 1)

static const struct field task_fields[] = {
	FIELD_REF(struct io_uring_task, thread, "thread", "thread", REF_LATE, "the thread"),
	FIELD_UINT(struct io_uring_task, bounded, "bounded", "most workers for files"),
	FIELD_UINT(struct io_uring_task, unbounded, "unbounded", "most workers for all else"),
	FIELD_BLOB(struct io_uring_task, cpus, "cpus", "where they may run; absent: anywhere that it may"),
	FIELD_END,
};

static const struct field numbered_fields[] = {
	FIELD_REF(struct io_uring_numbered, thread, "thread", "thread", REF_LATE, "the thread"),
	FIELD_UINT(struct io_uring_numbered, number, "number", "its number for"),
	FIELD_REF(struct io_uring_numbered, ring, "ring", "file", REF_LATE, "this ring"),
	FIELD_END,
};

static const struct field tasks_fields[] = {
	FIELD_REF(struct io_uring_tasks_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_LIST(struct io_uring_tasks_state, tasks, n_tasks, "tasks", task_fields, "threads that use rings"),
	FIELD_LIST(struct io_uring_tasks_state, numbered, n_numbered, "numbered", numbered_fields,
		"rings that a thread knows by a number of its own"),
	FIELD_END,
};

/* --- checkpoint --- */

static size_t mask_size(void)
{
	return ALIGN_UP((size_t)sysconf(_SC_NPROCESSORS_CONF), 64) / 8;
}

#define KERNEL_HALF (1ull << 63)

/* An array in the structure, or, in a kernel for very many processors, a pointer to one. */
static uint64_t mask_of(struct ring *g, uint64_t wq)
{
	uint64_t at = ring_address(g, wq, "io_wq", "cpu_mask"), first = ring_word_at(g, at);

	return mask_size() <= sizeof(first) && first & KERNEL_HALF ? first : at;
}

static int read_mask(struct ring *g, uint64_t task, uint8_t *mask)
{
	uint64_t wq = OF(g, OF(g, task, "task_struct", "io_uring"), "io_uring_task", "io_wq");

	if (!g->error && wq)
		g->error = kernel_peek_bytes(g->k, mask_of(g, wq), mask, mask_size());
	return g->error ? g->error : wq ? 0 : -ENOENT;
}

/* What a thread gets that asked for nothing: as one of the keeper's, which is in the same cpuset or tells in any case where it may run. */
static int read_usual_mask(struct ring *g, uint8_t *mask)
{
	struct io_uring_params p = { 0 };
	_cleanup_fd_ int ring = (int)syscall(SYS_io_uring_setup, 1, &p);
	uint64_t task = 0;
	int err = ring < 0 ? -errno : kernel_own_task(g->c, &task);

	return err ? err : read_mask(g, task, mask);
}

int io_uring_worker_cpus(struct ring *g, uint64_t task, struct blob *out)
{
	size_t size = mask_size();
	_cleanup_free_ uint8_t *mask = calloc(2, size);
	int err = mask ? read_mask(g, task, mask) : -ENOMEM;

	if (!err)
		err = read_usual_mask(g, mask + size);
	if (err || !memcmp(mask, mask + size, size))
		return err;
	*out = (struct blob){ .data = mask, .size = size };
	mask = NULL;
	return 0;
}

uint64_t io_uring_workers(struct ring *g, uint64_t wq, size_t which)
{
	uint64_t first = ring_address(g, wq, "io_wq", "acct"), after = ring_address(g, wq, "io_wq", "wait");

	return OF(g, first + which * ((after - first) / 2), "io_wq_acct", "max_workers");
}

static object_id ring_open_as(struct capture *c, uint64_t file)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next) {
		_cleanup_fd_ int fd = ring_matches(d->look) && !d->external ? description_dup(d) : -1;
		uint64_t other, object;

		if (fd >= 0 && kernel_peek_file(c->kernel, fd, &other, &object) == 0 && other == file)
			return d->file;
	}
	return 0;
}

static int add_numbered(struct ring *g, uint64_t tctx, const struct thread *th, struct io_uring_tasks_state *s)
{
	uint64_t at = ring_address(g, tctx, "io_uring_task", "registered_rings");

	for (uint64_t i = 0; i < NUMBERS; i++) {
		uint64_t file = ring_word_at(g, at + i * sizeof(file));
		struct io_uring_numbered *grown;

		if (g->error || !file)
			continue;
		grown = reallocarray(s->numbered, s->n_numbered + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->numbered = grown;
		s->numbered[s->n_numbered] = (struct io_uring_numbered){ th->id, i, ring_open_as(g->c, file) };
		if (!s->numbered[s->n_numbered++].ring)
			return refused(g->c->ps,
				BLAME_PROCESS(th->process, .object = "io_uring", .remedy = "keep its descriptor open"),
				"thread %d has one that is only registered (io_uring_register_ring_fd) and open "
				"nowhere",
				th->tid);
	}
	return g->error;
}

static int add_task(struct ring *g, uint64_t task, uint64_t tctx, struct io_uring_tasks_state *s)
{
	uint64_t wq = OF(g, tctx, "io_uring_task", "io_wq");
	struct io_uring_task *grown, *t;
	struct thread *th;
	int err = g->error ? g->error : kernel_thread(g->c, task, &th);

	if (err == -ESRCH || (!err && (!th || !wq))) /* the kernel's own, or one that has ended */
		return 0;
	grown = err ? NULL : reallocarray(s->tasks, s->n_tasks + 1, sizeof(*grown));
	if (!grown)
		return err ? err : -ENOMEM;
	s->tasks = grown;
	t = &s->tasks[s->n_tasks++];
	*t = (struct io_uring_task){
		.thread = th->id, .bounded = io_uring_workers(g, wq, 0), .unbounded = io_uring_workers(g, wq, 1)
	};
	err = io_uring_worker_cpus(g, task, &t->cpus);
	return err ? err : add_numbered(g, tctx, th, s);
}

static int look_at_threads(struct ring *g, struct io_uring_tasks_state *s)
{
	uint64_t task = 0, head, node, offset;
	int err = kernel_task(g->c, g->c->process, &task);

	if (err)
		return err;
	head = ring_address(g, OF(g, task, "task_struct", "signal"), "signal_struct", "thread_head");
	offset = ring_address(g, 0, "task_struct", "thread_node");
	for (node = OF(g, head, "list_head", "next"); !err && !g->error && node != head;
		node = OF(g, node, "list_head", "next")) {
		uint64_t tctx = OF(g, node - offset, "task_struct", "io_uring");

		if (tctx)
			err = add_task(g, node - offset, tctx, s);
	}
	return err ? err : g->error;
}

/* Nearly no process uses any. */
static int may_use(struct capture *c, bool *out)
{
	struct member_place place;
	uint64_t leader = 0;
	int err = kernel_peek_place(c->kernel, "task_struct", "io_uring", &place);

	*out = false;
	if (err)
		return err == -ENODATA ? 0 : err; /* a kernel without io_uring */
	if (c->process->n_threads == 1)
		err = kernel_leader_io_uring(c, c->process, &leader);
	*out = leader || c->process->n_threads > 1;
	return err;
}

static int tasks_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct io_uring_tasks_state *s = state;
	struct ring g = { .c = c, .k = c->kernel };
	bool any = false;
	int err;

	(void)b, (void)scratch;
	if (!c->kernel || kernel_peek_ready(c->kernel) < 0)
		return CAPTURE_NOTHING;
	s->of = c->process->id;
	err = may_use(c, &any);
	if (!err && any)
		err = look_at_threads(&g, s);
	if (err == -ENOTSUP)
		return err;
	if (err)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "io_uring", .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told what its threads have of it: %s", strerror(-err));
	return s->n_tasks ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

static int tasks_validate(struct restore *r, const struct record *rec)
{
	const struct io_uring_tasks_state *s = rec->state;
	bool possible = true;

	for (size_t i = 0; i < s->n_tasks; i++) {
		const struct new_thread *t = owner_thread(r, s->tasks[i].thread);

		possible &= t && t->record && t->process->id == s->of &&
			    !((const struct thread_state *)t->record->state)->exited && !t->process->zombie &&
			    s->tasks[i].cpus.size <= PAGE_SIZE;
	}
	for (size_t i = 0; i < s->n_numbered; i++) {
		const struct file_state *f = restore_state(r, s->numbered[i].ring, "file");

		possible &= f && restore_state(r, f->backing, component_io_uring.kind.name) &&
			    s->numbered[i].number < NUMBERS && owner_thread(r, s->numbered[i].thread);
	}
	return possible ? 0
			: failed(r->ps, BLAME(.object = "io_uring"), -EBADMSG,
				  "the image has an impossible thread that uses one");
}

/* How many workers a thread may have whose first ring that is. */
static bool gives(const struct io_uring_state *s, const struct io_uring_task *t)
{
	uint64_t usual = MIN(s->sq_entries, 4 * (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	uint64_t limit = s->workers_limited ? s->workers_bounded : 0;

	return t->bounded == (limit ? MIN(limit, t->unbounded) : usual);
}

/* A ring that the thread used: best one that gives it the limits that it had. */
static const struct record *find_ring(struct restore *r, const struct io_uring_task *t)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n), *any = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct io_uring_state *s = rec[i].state;

		for (size_t k = 0; k < s->n_users; k++) {
			if (s->users[k].thread != t->thread)
				continue;
			if (gives(s, t))
				return &rec[i];
			any = &rec[i];
		}
	}
	if (any)
		changed(r->ps, BLAME(.pid = owner_vpid(r, t->thread), .object = "io_uring"),
			"how many workers it may have for files is not %lu any more, but what its ring gives",
			t->bounded);
	return any;
}

static void queue_limit(struct batch *b, struct rlimit limit)
{
	batch_may_fail(
		b, batch_call(b, "prlimit", SYS_prlimit64, 0, RLIMIT_NPROC, batch_copy(b, &limit, sizeof(limit)).v, 0));
}

static uint32_t queue_register(struct batch *b, uint32_t ring, unsigned int opcode, uint64_t arg, uint64_t n)
{
	uint32_t op = batch_call(b, "io_uring_register", SYS_io_uring_register, 0, opcode, arg, n);

	batch_use(b, op, 0, ring);
	return op;
}

/* number: a descriptor of the task's that no other is using at the same time. */
static void queue_number(struct build *build, uint32_t ring, int keeper_fd, uint64_t index, uint64_t number, bool keep)
{
	struct batch *b = build->batch;
	struct io_uring_rsrc_update u = { .offset = (uint32_t)index, .data = number },
				    none = { .offset = (uint32_t)index };
	uint32_t fetched = build_fetch(build, "fetching an io_uring", keeper_fd);

	batch_use(b, batch_call(b, "dup3 of an io_uring", SYS_dup3, 0, number, O_CLOEXEC), 0, fetched);
	batch_expect(b, queue_register(b, ring, IORING_REGISTER_RING_FDS, batch_copy(b, &u, sizeof(u)).v, 1), 1);
	if (!keep)
		queue_register(b, ring, IORING_UNREGISTER_RING_FDS, batch_copy(b, &none, sizeof(none)).v, 1);
	batch_call(b, "close of an io_uring", SYS_close, number);
	batch_use(b, batch_call(b, "close of an io_uring", SYS_close, 0), 0, fetched);
}

/* To register a ring by number makes the kernel begin to keep something for the thread: as many workers as it may have processes. That limit gets its own value later (state/limits.c). */
static int queue_task(struct restore *r, struct build *build, const struct io_uring_tasks_state *s,
	const struct io_uring_task *t, const struct record *rec, uint64_t number)
{
	const struct ring_made *g = restore_made(r, rec->id)->data;
	struct batch *b = build->batch;
	rlim_t most = t->unbounded == UINT32_MAX ? RLIM_INFINITY : t->unbounded;
	struct rlimit own;
	uint32_t ring;

	if (!g || getrlimit(RLIMIT_NPROC, &own) < 0)
		return -EBADMSG;
	queue_limit(b, (struct rlimit){ most, MAX(most, own.rlim_max) });
	ring = ring_fetch(build, g);
	queue_number(build, ring, g->fd, NUMBER_SPARE, number, false);
	for (size_t i = 0; i < s->n_numbered; i++) {
		int fd = s->numbered[i].thread == t->thread ? restore_file(r, s->numbered[i].ring) : -1;

		if (s->numbered[i].thread == t->thread && fd < 0)
			return fd;
		if (fd >= 0)
			queue_number(build, ring, fd, s->numbered[i].number, number, true);
	}
	if (t->cpus.size)
		queue_register(
			b, ring, IORING_REGISTER_IOWQ_AFF, batch_copy(b, t->cpus.data, t->cpus.size).v, t->cpus.size);
	ring_drop(build, ring);
	return 0;
}

#define NUMBER_FIRST 64

/* One thread of a process at a time, since all have one limit. The number is each process's own, for two may share a table of descriptors. */
int io_uring_tasks_queue(struct restore *r, struct callers *callers, size_t round)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring_tasks.kind, &n), *ring;
	bool more = false;
	struct build *b;
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		const struct io_uring_tasks_state *s = rec[i].state;

		if (round >= s->n_tasks)
			continue;
		more = true;
		ring = find_ring(r, &s->tasks[round]);
		b = ring ? callers->add(callers, owner_thread(r, s->tasks[round].thread)) : NULL;
		if (ring)
			err = b ? queue_task(r, b, s, &s->tasks[round], ring, NUMBER_FIRST + i) : -ENOMEM;
	}
	return err ? err : more;
}

const struct component component_io_uring_tasks = {
	.kind = { .name = "io_uring_tasks",
		.version = 1,
		.size = sizeof(struct io_uring_tasks_state),
		.fields = tasks_fields,
		.doc = "what the kernel keeps of io_uring for threads",
		.sources = "io_uring_register(2); io_uring/tctx.c, io_uring/io-wq.c" },
	.scope = SCOPE_PROCESS,
	.capture = tasks_capture,
	.validate = tasks_validate,
};
