/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio: contexts of asynchronous I/O. io_setup(2), io_submit(2); fs/aio.c; the ring of a context is memory that the program may read, and libaio does. What has
 * come and was not read is in it. Requests under way cannot be carried: they are waited for, since the kernel completes them without the program. That
 * there are any is shown by no interface, nor are contexts: both are read from the kernel's structures (kernel/peek.h).
 */
#include "state/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/kernel_view.h"

static const struct field context_fields[] = {
	FIELD_UINT(struct aio_context, id, "id", "its number in the process, which the ring shows"),
	FIELD_HEX(struct aio_context, start, "start", "address of the ring: the aio_context_t"),
	FIELD_UINT(struct aio_context, requests, "requests", "what io_setup was asked for"),
	FIELD_UINT(struct aio_context, tail, "tail", "where in the ring the next event goes"),
	FIELD_BLOB(struct aio_context, ring, "ring", "what is in the ring: its header, and events"),
	FIELD_END,
};

static const struct field aio_fields[] = {
	FIELD_REF(struct aio_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_LIST(struct aio_state, contexts, n_contexts, "contexts", context_fields, "by id"),
	FIELD_END,
};

/* --- mappings --- */

bool aio_is_ring(const struct proc_map *m)
{
	return m->shared && m->deleted && !strcmp(m->name, "/[aio]");
}

bool aio_is_inherited(const struct process *p, const struct proc_map *m)
{
	const struct process *parent = p->parent;

	if (!parent || !(p->stat.flags & PF_FORKNOEXEC))
		return false;
	for (size_t i = 0; i < parent->maps.n; i++) {
		const struct proc_map *t = &parent->maps.list[i];

		if (aio_is_ring(t) && t->inode == m->inode && t->start <= m->start && t->end >= m->end &&
			t->offset - t->start == m->offset - m->start)
			return true;
	}
	return false;
}

static bool has_rings(const struct process *p)
{
	for (size_t i = 0; i < p->maps.n; i++)
		if (aio_is_ring(&p->maps.list[i]))
			return true;
	return false;
}

/* Is all of the ring where it was, and in order? In one piece, or in several that differ in protection or advice. */
static bool is_whole(const struct process *p, uint64_t start, uint64_t size)
{
	uint64_t at = start;

	for (size_t i = 0; i < p->maps.n; i++) {
		const struct proc_map *m = &p->maps.list[i];

		if (aio_is_ring(m) && m->start == at && m->offset == at - start && at < start + size)
			at = m->end;
	}
	return at == start + size;
}

/* --- contexts --- */

struct seen_context {
	uint64_t id, start, size, requests, tail;
	int64_t in_flight;
};

struct seen_contexts {
	struct seen_context *list;
	size_t n;
};

static void seen_contexts_free(struct seen_contexts *s)
{
	free(s->list);
}

/* Every request has a place from its submission until its event is taken out; a place is free, or counted as completed, or the request's still. */
static int read_in_flight(struct kernel_peek *k, uint64_t at, int64_t *in_flight)
{
	uint64_t slots, free, percpu, completed;
	int64_t on_cpus;
	int r = kernel_peek_member(k, at, "kioctx", "nr_events", &slots);

	if (r == 0)
		r = kernel_peek_member(k, at, "kioctx", "reqs_available", &free);
	if (r == 0)
		r = kernel_peek_member(k, at, "kioctx", "completed_events", &completed);
	if (r == 0)
		r = kernel_peek_member(k, at, "kioctx", "cpu", &percpu);
	if (r == 0)
		r = kernel_peek_percpu(k, percpu, "kioctx_cpu", "reqs_available", &on_cpus);
	if (r == 0)
		*in_flight = (int64_t)slots - 1 - (int32_t)free - on_cpus - (int64_t)completed;
	return r;
}

static int read_context(struct kernel_peek *k, uint64_t at, struct seen_context *x)
{
	const struct {
		const char *member;
		uint64_t *to;
	} members[] = {
		{ "id", &x->id },
		{ "user_id", &x->start },
		{ "mmap_size", &x->size },
		{ "max_reqs", &x->requests },
		{ "tail", &x->tail },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(members); i++)
		r = kernel_peek_member(k, at, "kioctx", members[i].member, members[i].to);
	return r < 0 ? r : read_in_flight(k, at, &x->in_flight);
}

static int read_table(struct kernel_peek *k, uint64_t table, struct seen_contexts *out)
{
	uint64_t n, first, at;
	int r = kernel_peek_member(k, table, "kioctx_table", "nr", &n);

	if (r == 0)
		r = kernel_peek_address(k, table, "kioctx_table", "table", &first);
	if (r == 0) {
		out->list = calloc(n + 1, sizeof(*out->list));
		r = out->list ? 0 : -ENOMEM;
	}
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		r = kernel_peek_bytes(k, first + i * sizeof(at), &at, sizeof(at));
		if (r == 0 && at)
			r = read_context(k, at, &out->list[out->n++]);
	}
	return r;
}

static int read_contexts(struct capture *c, struct seen_contexts *out)
{
	uint64_t mm, table = 0;
	int r = kernel_mm(c, c->process, &mm);

	*out = (struct seen_contexts){ 0 };
	if (r == 0)
		r = kernel_peek_member(c->kernel, mm, "mm_struct", "ioctx_table", &table);
	return r < 0 || !table ? r : read_table(c->kernel, table, out);
}

/* --- in the stop --- */

#define DRAIN_MS 1000

static bool in_flight(const struct seen_contexts *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].in_flight)
			return true;
	return false;
}

/* Once something was refused, nobody waits any more. */
static int drain(struct capture *c, struct seen_contexts *s)
{
	int r = read_contexts(c, s);

	for (int ms = 0; r == 0 && ms < DRAIN_MS && in_flight(s) && !c->ps->n_refused; ms++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		seen_contexts_free(s);
		*s = (struct seen_contexts){ 0 };
		r = read_contexts(c, s);
	}
	return r;
}

static int refuse(struct capture *c, uint64_t start, const char *remedy, const char *what)
{
	char object[64];

	snprintf(object, sizeof(object), "AIO context %lx", start);
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = remedy), "%s", what);
}

static const struct seen_context *context_at(const struct seen_contexts *s, uint64_t address)
{
	for (size_t i = 0; i < s->n; i++)
		if (address >= s->list[i].start && address < s->list[i].start + s->list[i].size)
			return &s->list[i];
	return NULL;
}

static void look_at_contexts(struct capture *c, const struct seen_contexts *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct seen_context *x = &s->list[i];

		if (x->in_flight)
			refuse(c, x->start, "wait until its requests have ended, or cancel them (io_cancel)",
				"requests are under way that do not end by themselves");
		if (!is_whole(c->process, x->start, x->size))
			refuse(c, x->start, "end it (io_destroy) before its ring is unmapped",
				"its ring was unmapped, or is in pieces");
	}
}

static void look_at_rings(struct capture *c, const struct seen_contexts *s)
{
	for (size_t i = 0; i < c->process->maps.n; i++) {
		const struct proc_map *m = &c->process->maps.list[i];
		const struct seen_context *x = aio_is_ring(m) ? context_at(s, m->start) : NULL;

		if (!aio_is_ring(m) || aio_is_inherited(c->process, m))
			continue;
		if (!x || m->start - x->start != m->offset)
			refuse(c, m->start, "unmap it before the checkpoint",
				"the ring of a context that the process does not have, or not there");
	}
}

static bool any_in_the_system(void)
{
	_cleanup_free_ char *text = NULL;

	return procfs_read(AT_FDCWD, "/proc/sys/fs/aio-nr", &text, NULL) == 0 && strtoul(text, NULL, 10) > 0;
}

/* A context whose ring was unmapped is no mapping, so where there are contexts at all every process is asked. */
static int aio_look(struct capture *c)
{
	_cleanup_(seen_contexts_free)
	struct seen_contexts seen = { 0 };
	int r;

	if (!c->kernel || (!has_rings(c->process) && !any_in_the_system()))
		return 0;
	r = drain(c, &seen);
	if (r < 0 && !has_rings(c->process))
		return c->process != c->tree->processes[0] ? 0
							   : changed(c->ps,
								     BLAME_PROCESS(c->process, .object = "AIO context",
									     .remedy = KERNEL_VIEW_REMEDY),
								     "whether any of the tree's has its ring unmapped "
								     "cannot be read here: then it is lost");
	if (r < 0)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "AIO context", .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told whether requests are under way: %s", strerror(-r));
	look_at_contexts(c, &seen);
	look_at_rings(c, &seen);
	return 0;
}

static int capture_context(struct capture *c, const struct seen_context *from, struct aio_context *x)
{
	struct iovec to, ring = { (void *)from->start, from->size };

	*x = (struct aio_context){
		.id = from->id, .start = from->start, .requests = from->requests, .tail = from->tail
	};
	x->ring.data = malloc(from->size);
	if (!x->ring.data)
		return -ENOMEM;
	x->ring.size = from->size;
	to = (struct iovec){ x->ring.data, x->ring.size };
	if (process_vm_readv(c->process->living_tid, &to, 1, &ring, 1, 0) == (ssize_t)from->size)
		return 0;
	return refuse(c, from->start, "let the program be able to read it (mprotect)", "its ring cannot be read");
}

/* The look has refused what it cannot save. */
static int aio_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	_cleanup_(seen_contexts_free)
	struct seen_contexts seen = { 0 };
	struct aio_state *s = state;
	int r = has_rings(c->process) ? read_contexts(c, &seen) : 0;

	(void)b, (void)scratch;
	if (r < 0 || !seen.n)
		return r < 0 ? r : CAPTURE_NOTHING;
	s->of = c->process->id;
	s->contexts = calloc(seen.n, sizeof(*s->contexts));
	if (!s->contexts)
		return -ENOMEM;
	while (r == 0 && s->n_contexts < seen.n) {
		r = capture_context(c, &seen.list[s->n_contexts], &s->contexts[s->n_contexts]);
		s->n_contexts++;
	}
	return r;
}

const struct component component_aio = {
	.kind = { .name = "aio",
		.version = 1,
		.size = sizeof(struct aio_state),
		.fields = aio_fields,
		.doc = "contexts of asynchronous I/O of a process",
		.sources = "io_setup(2), io_submit(2), io_getevents(2); fs/aio.c" },
	.scope = SCOPE_PROCESS,
	.look = aio_look,
	.capture = aio_capture,
	.validate = aio_validate,
};
