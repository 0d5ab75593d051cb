/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making rings that only a process of the tree can make (io_uring_capture_late.c says which). Until it has, something else keeps their number in the keeper. What is
 * in a process's memory is written and read through that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring.h"
#include "state/memory_build.h"

bool io_uring_is_late(const struct io_uring_state *s)
{
	return s->flags & (IORING_SETUP_SQPOLL | IO_URING_NO_MMAP);
}

/* --- memory of another process --- */

static void transfer(const struct ring_made *g, void *at, size_t size, bool out)
{
	uint8_t *local = at;
	bool rings = local >= g->rings && local < g->rings + g->rings_size;
	uint64_t remote = rings ? g->rings_at + (uint64_t)(local - g->rings) : g->sqes_at + (uint64_t)(local - g->sqes);
	struct iovec here = { local, size }, there = { (void *)remote, size };

	if (g->pid)
		syscall(out ? SYS_process_vm_writev : SYS_process_vm_readv, g->pid, &here, 1ul, &there, 1ul, 0ul);
}

void ring_push(const struct ring_made *g, void *at, size_t size)
{
	transfer(g, at, size, true);
}

void ring_pull(const struct ring_made *g, void *at, size_t size)
{
	transfer(g, at, size, false);
}

/* --- its stand-in --- */

/* As a ring of ours is laid out, which otherwise is alike. */
static int lay_out(struct ring_made *g, const struct io_uring_state *s)
{
	const uint32_t kept = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IO_URING_NO_SQARRAY | IO_URING_CQE_MIXED;
	int err = ring_make(g, (uint32_t)s->sq_entries, (uint32_t)s->cq_entries, (uint32_t)s->flags & kept);

	ring_unmake(g);
	return err;
}

int ring_stand_in(struct ring_made *g, const struct io_uring_state *s)
{
	int err = lay_out(g, s);

	if (!err)
		g->fd = eventfd(0, EFD_CLOEXEC);
	return err ? err : g->fd < 0 ? -errno : 0;
}

/* --- making --- */

#define NUMBER_FIRST 64

/* The number that the ring has for a while in the process that makes it: each its own, since two may share a table. */
static uint64_t number_of(const struct restore *r, const struct record *rec)
{
	size_t n;

	return NUMBER_FIRST + (uint64_t)(rec - image_records(r->image, &component_io_uring.kind, &n));
}

/* Of those that share a thread, the one that is made first: one that says where it runs, if there is any. */
static const struct record *first_of_group(const struct restore *r, uint64_t group)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n), *first = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct io_uring_state *s = rec[i].state;

		if (s->poller.group == group && (!first || s->flags & IORING_SETUP_SQ_AFF))
			first = &rec[i];
		if (first && ((const struct io_uring_state *)first->state)->flags & IORING_SETUP_SQ_AFF)
			break;
	}
	return first;
}

/* Memory for it begins as the kernel's own does. */
static int prepare_memory(struct ring_made *g, const struct io_uring_state *s, pid_t pid)
{
	g->pid = pid;
	g->rings_at = s->rings_at;
	g->sqes_at = s->sqes_at;
	g->rings = mmap(NULL, g->rings_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	g->sqes = mmap(NULL, g->sqes_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->rings == MAP_FAILED || g->sqes == MAP_FAILED)
		return -ENOMEM;
	ring_number(g);
	ring_push(g, g->rings, g->rings_size);
	ring_push(g, g->sqes, g->sqes_size);
	return 0;
}

static struct io_uring_params params_of(const struct restore *r, const struct record *rec)
{
	const struct io_uring_state *s = rec->state;
	const struct record *first = s->poller.group ? first_of_group(r, s->poller.group) : rec;
	struct io_uring_params p = { .flags = ring_flags(s),
		.cq_entries = (uint32_t)s->cq_entries,
		.sq_thread_idle = (uint32_t)s->poller.idle,
		.sq_thread_cpu = s->poller.cpu < 0 ? 0 : (uint32_t)s->poller.cpu };

	if (first != rec) {
		p.flags |= IORING_SETUP_ATTACH_WQ;
		p.wq_fd = (uint32_t)number_of(r, first);
	}
	p.cq_off.resv2 = s->rings_at;
	p.sq_off.resv2 = s->sqes_at;
	return p;
}

static int queue_making(struct restore *r, struct build *build, const struct record *rec)
{
	const struct io_uring_state *s = rec->state;
	struct ring_made *g = restore_made(r, rec->id)->data;
	struct io_uring_params p = params_of(r, rec);
	struct rlimit limit = { 0 };
	struct batch *b = build->batch;
	int err = s->flags & IO_URING_NO_MMAP ? prepare_memory(g, s, build->process->pid) : 0;
	uint32_t made;

	getrlimit(RLIMIT_NPROC, &limit);
	limit.rlim_cur = s->poller.workers == UINT32_MAX ? RLIM_INFINITY : s->poller.workers;
	limit.rlim_max = MAX(limit.rlim_max, limit.rlim_cur);
	if (s->poller.group)
		batch_may_fail(b, batch_call(b, "prlimit", SYS_prlimit64, 0, RLIMIT_NPROC,
					  batch_copy(b, &limit, sizeof(limit)).v, 0));
	if (s->poller.nice)
		batch_call(b, "setpriority", SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)s->poller.nice);
	if (!err && s->poller.group)
		err = ring_identity_take(b, &s->poller.who);
	made = batch_call(b, "io_uring_setup", SYS_io_uring_setup, s->sq_entries, batch_copy(b, &p, sizeof(p)).v);
	batch_use(b, batch_call(b, "dup3 of an io_uring", SYS_dup3, 0, number_of(r, rec), O_CLOEXEC), 0, made);
	batch_use(b, batch_call(b, "close of an io_uring", SYS_close, 0), 0, made);
	if (s->poller.group)
		ring_identity_drop(b);
	if (s->poller.nice)
		batch_call(b, "setpriority", SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)getpriority(PRIO_PROCESS, 0));
	return err;
}

static bool is_made_by(const struct record *rec, const struct new_process *p)
{
	const struct io_uring_state *s = rec->state;

	return io_uring_is_late(s) && s->process == p->id;
}

/* The first of each group before those that join it. */
static bool has_turn(const struct restore *r, const struct record *rec, unsigned int pass)
{
	uint64_t group = ((const struct io_uring_state *)rec->state)->poller.group;

	return pass == (group && first_of_group(r, group) != rec);
}

int io_uring_late_make(struct restore *r, struct callers *callers)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n);
	bool any = false;
	int err = 0;

	for (size_t k = 0; !err && k < r->n_processes; k++) {
		struct build *b = NULL;

		for (size_t i = 0; !err && i < 2 * n; i++) {
			const struct record *one = &rec[i < n ? i : i - n];

			if (!is_made_by(one, r->processes[k]) || !has_turn(r, one, i >= n) ||
				!restore_made(r, one->id)->data)
				continue;
			any = true;
			b = b ? b : callers->add(callers, &r->processes[k]->threads[0]);
			err = b ? queue_making(r, b, one) : -ENOMEM;
		}
	}
	return err ? err : any;
}

/* --- what was made --- */

/* It takes the place of its stand-in, in all descriptors. */
static int fetch(struct restore *r, const struct record *rec, pid_t pid)
{
	const struct io_uring_state *s = rec->state;
	struct ring_made *g = restore_made(r, rec->id)->data;
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	_cleanup_fd_ int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, number_of(r, rec), 0);
	size_t n;
	const struct record *const *uses = restore_uses(r, rec->id, &n);

	if (fd < 0 || dup3(fd, g->fd, O_CLOEXEC) < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		const struct file_state *f = uses[i]->state;
		int opened = restore_file(r, uses[i]->id);

		if (opened < 0 || dup3(fd, opened, O_CLOEXEC) < 0 ||
			fcntl(fd, F_SETFL, f->flags & (O_APPEND | O_NOATIME | O_NONBLOCK)) < 0)
			return opened < 0 ? opened : -errno;
	}
	return s->flags & IO_URING_NO_MMAP ? 0 : ring_map(g, (uint32_t)s->flags);
}

static int fetch_all(struct restore *r)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n);
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		const struct io_uring_state *s = rec[i].state;

		if (io_uring_is_late(s) && restore_made(r, rec[i].id)->data)
			err = fetch(r, &rec[i], restore_process(r, s->process)->pid);
	}
	return err;
}

static const struct memory_state *memory_of(const struct restore *r, object_id process)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_memory.kind, &n);

	for (size_t i = 0; i < n; i++)
		if (((const struct memory_state *)rec[i].state)->of == process)
			return rec[i].state;
	return NULL;
}

static bool has_number(const struct restore *r, const struct record *rec, const struct new_process *p)
{
	return is_made_by(rec, p) && restore_made((struct restore *)r, rec->id)->data;
}

int io_uring_late_fetch(struct restore *r, struct callers *callers)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_io_uring.kind, &n);
	bool any = false;
	int err = fetch_all(r);

	for (size_t k = 0; !err && k < r->n_processes; k++) {
		struct new_process *p = r->processes[k];
		const struct memory_state *m = p->zombie ? NULL : memory_of(r, p->id);
		struct build *b = NULL;

		for (size_t i = 0; i < n; i++)
			if (has_number(r, &rec[i], p)) {
				b = b ? b : callers->add(callers, &p->threads[0]);
				if (!b)
					return -ENOMEM;
				batch_call(b->batch, "close of an io_uring", SYS_close, number_of(r, &rec[i]));
			}
		if (m && memory_has_late_rings(r, m)) {
			b = b ? b : callers->add(callers, &p->threads[0]);
			err = b ? memory_map_late_rings(b, m) : -ENOMEM;
		}
		any |= b != NULL;
	}
	return err ? err : any;
}
