/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making AIO contexts again. A context is known by the address of its ring, which the kernel lets move (mremap), and the place of its next event is one behind
 * that of the last: so requests that do nothing are made, and their events taken, until it is as it was. Then what was in the ring is put into it.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/aio.h"
#include "state/memory_build.h"

#define IDS_MAX	 65536
#define RING_MAX (64ull << 20)
#define AT_ONCE	 512 /* requests in one call */

static const struct aio_state *contexts_of(const struct restore *r, object_id process)
{
	for (size_t i = 0; i < r->image->n_records; i++) {
		const struct record *rec = &r->image->records[i];
		const struct aio_state *s = rec->kind == &component_aio.kind ? rec->state : NULL;

		if (s && s->of == process)
			return s;
	}
	return NULL;
}

/* --- what to ask io_setup for --- */

static uint64_t ring_size(uint64_t requests, long cpus)
{
	uint64_t slots = 2 * MAX(requests, 4 * (uint64_t)cpus) + 2;

	return ALIGN_UP(AIO_HEADER + slots * AIO_EVENT, PAGE_SIZE);
}

/* What makes a ring of that size here, where there may be more processors: as before, else the most that fits. 0: nothing does. */
static uint64_t requests_for(struct restore *r, const struct aio_context *x)
{
	uint64_t most = (aio_slots(x) - 2) / 2;

	if (!r->own.n_cpus)
		r->own.n_cpus = sysconf(_SC_NPROCESSORS_CONF);
	if (ring_size(x->requests, r->own.n_cpus) == x->ring.size)
		return x->requests;
	return ring_size(most, r->own.n_cpus) == x->ring.size ? most : 0;
}

/* --- validate --- */

static bool is_possible(const struct aio_state *s, size_t i)
{
	const struct aio_context *x = &s->contexts[i];

	return x->ring.size && x->ring.size <= RING_MAX && x->ring.size % PAGE_SIZE == 0 && x->start % PAGE_SIZE == 0 &&
	       x->tail < aio_slots(x) && x->id < IDS_MAX && (!i || x->id > s->contexts[i - 1].id) && x->requests &&
	       x->requests <= RING_MAX;
}

int aio_validate(struct restore *r, const struct record *rec)
{
	const struct aio_state *s = rec->state;
	const struct new_process *p = restore_process(r, s->of);

	for (size_t i = 0; i < s->n_contexts; i++) {
		if (!is_possible(s, i))
			return failed(r->ps, BLAME(.pid = p ? p->vpid : 0, .object = "AIO context"), -EBADMSG,
				"the image has an impossible one");
		if (!requests_for(r, &s->contexts[i]))
			refused(r->ps,
				BLAME(.pid = p ? p->vpid : 0, .object = "AIO context",
					.remedy = "restore it on a machine with fewer processors"),
				"this machine has %ld processors, and a ring there is larger", r->own.n_cpus);
	}
	return 0;
}

/* --- one context --- */

/* What the calls for all contexts of a process need. */
struct making {
	struct build *build;
	struct remote_addr
		requests; /* AT_ONCE pointers to one request that does nothing: reads no byte of our own area */
	struct remote_addr events; /* room for as many events */
	struct remote_addr answer; /* of io_setup */
};

static void prepare(struct making *k)
{
	struct batch *b = k->build->batch;
	struct iocb nothing = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = BARE_FD_AREA };
	uint64_t pointers[AT_ONCE], at;

	k->events = batch_room(b, AT_ONCE * AIO_EVENT, NULL);
	nothing.aio_buf = k->events.v;
	at = batch_copy(b, &nothing, sizeof(nothing)).v;
	for (size_t i = 0; i < AT_ONCE; i++)
		pointers[i] = at;
	k->requests = batch_copy(b, pointers, sizeof(pointers));
}

/* The result of the operation that it returns is where the kernel put the ring. */
static uint32_t set_up(struct making *k, uint64_t requests)
{
	struct remote_addr answer = batch_room(k->build->batch, sizeof(uint64_t), NULL);

	batch_call(k->build->batch, "io_setup (fs.aio-max-nr says how many requests all may ask for)", SYS_io_setup,
		requests, answer.v);
	return batch_load(k->build->batch, "io_setup", answer);
}

static void submit(struct making *k, const struct aio_context *x, uint64_t n, bool take)
{
	struct batch *b = k->build->batch;

	for (uint64_t some; n; n -= some) {
		some = MIN(n, MIN((uint64_t)AT_ONCE, aio_slots(x) / 2)); /* of the places, the kernel keeps some back */
		batch_expect(
			b, batch_call(b, "io_submit", SYS_io_submit, x->start, some, k->requests.v), (int64_t)some);
		if (take)
			batch_expect(b,
				batch_call(b, "io_getevents", SYS_io_getevents, x->start, some, some, k->events.v, 0),
				(int64_t)some);
	}
}

/* The kernel moves its own tail, from 0; a ring whose head is behind the tail has been filled once more. */
static void advance(struct making *k, const struct aio_context *x)
{
	uint32_t word;
	uint64_t slots = aio_slots(x), head, unread, all;

	memcpy(&word, x->ring.data + 2 * sizeof(word), sizeof(word));
	head = word % slots;
	unread = (x->tail + slots - head) % slots;
	all = x->tail + (head > x->tail ? slots : 0);
	submit(k, x, all - unread, true);
	submit(k, x, unread, false);
}

/* From our area, by a read of its file. */
static void fill(struct making *k, const struct aio_context *x)
{
	struct batch *b = k->build->batch;
	uint64_t from = batch_copy(b, x->ring.data, x->ring.size).v - k->build->restore->area.base.v;

	batch_expect(b,
		batch_call(b, "filling of the ring of an AIO context", SYS_pread64, BARE_FD_AREA, x->start,
			x->ring.size, from),
		(int64_t)x->ring.size);
}

static void make_context(struct making *k, const struct aio_context *x)
{
	struct batch *b = k->build->batch;
	uint32_t at = set_up(k, requests_for(k->build->restore, x));
	uint32_t op = batch_call(b, "mremap of the ring of an AIO context", SYS_mremap, 0, x->ring.size, x->ring.size,
		MREMAP_MAYMOVE | MREMAP_FIXED, x->start);

	batch_use(b, op, 0, at);
	batch_expect(b, op, (int64_t)x->start);
	advance(k, x);
	fill(k, x);
}

/* --- all of a process --- */

/* The memory has each ring, whole, and no other: so none is put where something else lies. What is inherited has come with the birth. */
static bool agree(const struct aio_state *s, const struct memory_state *m, const struct memory_state *parent)
{
	uint64_t rings = 0, areas = 0;

	for (size_t i = 0; s && i < s->n_contexts; i++)
		rings += s->contexts[i].ring.size;
	for (size_t i = 0; i < m->n_areas; i++) {
		const struct memory_area *a = &m->areas[i];
		bool found = false;

		if (a->kind == AREA_AIO_INHERITED && !(parent && memory_covering(parent, a)))
			return false;
		if (a->kind != AREA_AIO)
			continue;
		for (size_t k = 0; s && k < s->n_contexts; k++)
			found |= a->start >= s->contexts[k].start &&
				 a->end <= s->contexts[k].start + s->contexts[k].ring.size;
		if (!found)
			return false;
		areas += a->end - a->start;
	}
	return rings == areas;
}

/* Where rings are to go, the kernel must not put one in the meantime. */
static void reserve(struct build *b, const struct aio_state *s)
{
	for (size_t i = 0; i < s->n_contexts; i++)
		batch_expect(b->batch,
			batch_call(b->batch, "mmap for an AIO context", SYS_mmap, s->contexts[i].start,
				s->contexts[i].ring.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				(uint64_t)-1, 0),
			(int64_t)s->contexts[i].start);
}

/* The kernel gives the lowest number that is free: those that were free before are taken for a while. */
static void make_all(struct making *k, const struct aio_state *s)
{
	struct batch *b = k->build->batch;
	_cleanup_free_ struct remote_addr *spare = NULL;
	size_t n_spare = 0;
	uint64_t id = 0;

	spare = calloc(s->contexts[s->n_contexts - 1].id + 1, sizeof(*spare));
	if (!spare) {
		b->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < s->n_contexts; i++, id++) {
		for (; id < s->contexts[i].id; id++) {
			spare[n_spare] = batch_room(b, sizeof(uint64_t), NULL);
			batch_call(b, "io_setup of a spare context", SYS_io_setup, 1, spare[n_spare++].v);
		}
		make_context(k, &s->contexts[i]);
	}
	for (size_t i = 0; i < n_spare; i++) {
		uint32_t at = batch_load(b, "io_setup of a spare context", spare[i]);

		batch_use(b, batch_call(b, "io_destroy", SYS_io_destroy, 0), 0, at);
	}
}

static void protect(struct build *b, const struct memory_state *m)
{
	for (size_t i = 0; i < m->n_areas; i++)
		if (m->areas[i].kind == AREA_AIO && m->areas[i].prot != (PROT_READ | PROT_WRITE))
			batch_call(b->batch, "mprotect of the ring of an AIO context", SYS_mprotect, m->areas[i].start,
				m->areas[i].end - m->areas[i].start, m->areas[i].prot);
}

/* Free places are counted for each processor: on one, none is out of reach. The task has the keeper's mask still. */
static void stay_on_one(struct batch *b, uint64_t *mask, size_t size)
{
	uint64_t one[CPU_SETSIZE / 64] = { 0 };
	size_t at = 0;

	while (at < size / 8 - 1 && !mask[at])
		at++;
	one[at] = mask[at] & -mask[at];
	batch_may_fail(
		b, batch_call(b, "sched_setaffinity", SYS_sched_setaffinity, 0, size, batch_copy(b, one, size).v));
}

int aio_make(struct build *b, const struct memory_state *m, const struct memory_state *parent)
{
	const struct aio_state *s = contexts_of(b->restore, m->of);
	struct making k = { .build = b };
	uint64_t mask[CPU_SETSIZE / 64] = { 0 };

	if (!agree(s, m, parent))
		return failed(b->ps, BLAME(.pid = b->process->vpid, .object = "AIO context"), -EBADMSG,
			"the image has a ring without its context, or a context without its ring");
	if (!s || !s->n_contexts)
		return 0;
	if (syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask) > 0)
		stay_on_one(b->batch, mask, sizeof(mask));
	prepare(&k);
	reserve(b, s);
	make_all(&k, s);
	protect(b, m);
	batch_may_fail(b->batch, batch_call(b->batch, "sched_setaffinity", SYS_sched_setaffinity, 0, sizeof(mask),
					 batch_copy(b->batch, mask, sizeof(mask)).v));
	return 0;
}
