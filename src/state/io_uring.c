/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io_uring: rings without requests under way. io_uring_setup(2), io_uring_register(2); io_uring/. What is queued and not yet submitted, and what has completed and was
 * not taken, is in memory that the ring shares with the program. What it was made with, and what is registered with it, fdinfo tells only in part: it is read from the
 * kernel's structures (kernel/peek.h), and whatever cannot be given back is refused by name. Requests under way are waited for: the kernel ends most of
 * them without the program.
 */
#include "state/io_uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"
#include "state/files.h"
#include "state/kernel_view.h"

static const struct field file_fields[] = {
	FIELD_UINT(struct io_uring_file, slot, "slot", "its number"),
	FIELD_REF(struct io_uring_file, file, "file", "file", REF_LATE, "the open file"),
	FIELD_END,
};

static const struct field io_uring_fields[] = {
	FIELD_HEX(struct io_uring_state, flags, "flags", "IORING_SETUP_*"),
	FIELD_UINT(struct io_uring_state, sq_entries, "sq_entries", "room for submissions"),
	FIELD_UINT(struct io_uring_state, cq_entries, "cq_entries", "room for completions"),
	FIELD_UINT(struct io_uring_state, sq_head, "sq_head", "how many submissions the kernel has taken"),
	FIELD_UINT(struct io_uring_state, cq_tail, "cq_tail", "how many completions it has given"),
	FIELD_BOOL(struct io_uring_state, drain_disabled, "drain_disabled",
		"IOSQE_IO_DRAIN is not possible any more, since a request used IOSQE_CQE_SKIP_SUCCESS"),
	FIELD_UINT(
		struct io_uring_state, array, "array", "where in the rings the kernel puts the array of submissions"),
	FIELD_UINT(struct io_uring_state, cqes, "cqes", "and the completions"),
	FIELD_BLOB(struct io_uring_state, rings, "rings", "what is in the rings"),
	FIELD_BLOB(struct io_uring_state, sqes, "sqes", "what is in the array of requests"),
	FIELD_UINT(struct io_uring_state, slots, "slots", "room for registered files"),
	FIELD_LIST(struct io_uring_state, files, n_files, "files", file_fields, "registered files"),
	FIELD_END,
};

#define LINK "anon_inode:[io_uring]"

static bool io_uring_matches(const struct file_look *f)
{
	return !strcmp(f->link, LINK);
}

/* --- what the kernel has --- */

struct ring {
	struct capture *c;
	struct kernel_peek *k;
	const struct file_look *f;
	uint64_t at; /* the struct io_ring_ctx */
	int error;   /* of any look */
};

static uint64_t member_of(struct ring *g, uint64_t at, const char *type, const char *member)
{
	uint64_t value = 0;
	int r = g->error ? 0 : kernel_peek_member(g->k, at, type, member, &value);

	if (r < 0)
		g->error = r;
	return value;
}

#define RING(g, member)		member_of((g), (g)->at, "io_ring_ctx", member)
#define OF(g, at, type, member) member_of((g), (at), type, member)

/* Where a structure within the ring's lies. */
static uint64_t within(struct ring *g, const char *member)
{
	uint64_t at = 0;
	int r = g->error ? 0 : kernel_peek_address(g->k, g->at, "io_ring_ctx", member, &at);

	if (r < 0)
		g->error = r;
	return at;
}

static int refuse(struct ring *g, const char *remedy, const char *what)
{
	return refused(g->c->ps, BLAME_FILE(g->f, .remedy = remedy), "an io_uring %s", what);
}

static bool is_empty_list(struct ring *g, const char *member)
{
	uint64_t at = within(g, member), first = OF(g, at, "list_head", "next");

	return g->error || first == at;
}

static bool has_any(struct ring *g, const char *xarray)
{
	return OF(g, within(g, xarray), "xarray", "xa_head") != 0;
}

/* --- requests under way --- */

#define TASKS_MAX 4096

/* Of one task that uses the ring: how many of its requests, of whatever ring, have not ended. */
static int64_t in_flight_of(struct ring *g, uint64_t tctx)
{
	uint64_t counter = 0;
	int64_t count, on_cpus = 0;
	int r = kernel_peek_address(g->k, tctx, "io_uring_task", "inflight", &counter);

	count = (int64_t)OF(g, counter, "percpu_counter", "count");
	if (r == 0 && !g->error)
		r = kernel_peek_percpu(g->k, OF(g, counter, "percpu_counter", "counters"), NULL, NULL, &on_cpus);
	if (r < 0)
		g->error = r;
	return count + on_cpus - (int32_t)OF(g, tctx, "io_uring_task", "cached_refs");
}

struct users {
	bool in_flight, outside, registered_rings;
};

static bool has_registered_rings(struct ring *g, uint64_t tctx)
{
	uint64_t rings[16], at = 0;
	int r = kernel_peek_address(g->k, tctx, "io_uring_task", "registered_rings", &at);

	if (r == 0)
		r = kernel_peek_bytes(g->k, at, rings, sizeof(rings));
	if (r < 0)
		g->error = r;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rings); i++)
		if (rings[i])
			return true;
	return false;
}

/* The tasks that have ever used it and live. */
static void look_at_users(struct ring *g, struct users *u)
{
	uint64_t head = within(g, "tctx_list"), node = OF(g, head, "list_head", "next"), offset = 0;

	*u = (struct users){ 0 };
	if (kernel_peek_address(g->k, 0, "io_tctx_node", "ctx_node", &offset) < 0)
		g->error = -EOPNOTSUPP;
	for (size_t i = 0; !g->error && node != head; i++, node = OF(g, node, "list_head", "next")) {
		uint64_t task = OF(g, node - offset, "io_tctx_node", "task");
		uint64_t tctx = OF(g, task, "task_struct", "io_uring");

		if (i == TASKS_MAX)
			g->error = -E2BIG;
		if (g->error || !tctx)
			continue;
		u->in_flight |= in_flight_of(g, tctx) != 0;
		u->registered_rings |= has_registered_rings(g, tctx);
		u->outside |= !kernel_mm_owner(g->c, OF(g, task, "task_struct", "mm"));
	}
}

#define DRAIN_MS 1000

/* Once something was refused, nobody waits any more. */
static void drain(struct ring *g, struct users *u)
{
	look_at_users(g, u);
	for (int ms = 0; !g->error && u->in_flight && ms < DRAIN_MS && !g->c->ps->n_refused; ms++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		look_at_users(g, u);
	}
}

/* --- what cannot be carried --- */

static void look_at_registered(struct ring *g)
{
	uint64_t files = within(g, "file_table"), buffers = within(g, "buf_table");
	uint64_t n = OF(g, files, "io_rsrc_data", "nr");

	if (RING(g, "io_ev_fd"))
		refuse(g, "unregister it before the checkpoint", "with a registered eventfd");
	if (RING(g, "restricted") || OF(g, within(g, "restrictions"), "io_restriction", "registered"))
		refuse(g, NULL, "with restrictions");
	if (has_any(g, "personalities"))
		refuse(g, "unregister them before the checkpoint", "with registered personalities");
	if (has_any(g, "io_bl_xa"))
		refuse(g, "unregister them before the checkpoint", "with provided buffers");
	if (has_any(g, "zcrx_ctxs"))
		refuse(g, NULL, "that receives without copying");
	if (OF(g, buffers, "io_rsrc_data", "nr"))
		refuse(g, "unregister them before the checkpoint", "with registered buffers");
	if (n && (RING(g, "file_alloc_start") || RING(g, "file_alloc_end") != n))
		refuse(g, NULL, "with a range for the numbers of registered files");
}

static void look_at_settings(struct ring *g)
{
	const char *at = g->f->info, *napi = fdinfo_next(&at, "NAPI");
	uint64_t flags = RING(g, "flags"), taken = RING(g, "cached_sq_head"), given = RING(g, "cached_cq_tail");

	if (flags & ~(uint64_t)IO_URING_CARRIED)
		refuse(g, "make it without IORING_SETUP_SQPOLL, ATTACH_WQ, SINGLE_ISSUER, DEFER_TASKRUN and NO_MMAP",
			"of a kind that only the program could make again");
	if (RING(g, "compat"))
		refuse(g, NULL, "of a 32-bit program");
	if (RING(g, "clockid") != CLOCK_MONOTONIC)
		refuse(g, NULL, "with a clock of its own");
	if (RING(g, "iowq_limits_set"))
		refuse(g, NULL, "with a limit of workers");
	if (napi && strncmp(napi, "disabled", 8) != 0)
		refuse(g, NULL, "that polls network devices (NAPI)");
	if (RING(g, "check_cq") || !is_empty_list(g, "cq_overflow_list"))
		refuse(g, "let the program take them", "with more completions than it has room for");
	if (taken + given > IO_URING_REQUESTS_MAX)
		refuse(g, NULL,
			"that has carried out more than 134 million requests, which a restored one would have to "
			"repeat");
	if (taken > given && !RING(g, "drain_disabled"))
		refuse(g, NULL, "that has lost submissions or completions");
}

static void look_at_ring(struct ring *g, bool stopped)
{
	struct users u = { 0 };

	if (stopped)
		drain(g, &u);
	if (!g->error && u.in_flight)
		refuse(g, "wait until its requests have ended, or cancel them",
			"with requests under way that do not end by themselves");
	if (!g->error && u.outside)
		refuse(g, NULL, "that a process outside of the tree uses");
	if (!g->error && u.registered_rings)
		refuse(g, "unregister it before the checkpoint",
			"whose descriptor is registered (io_uring_register_ring_fd)");
	look_at_registered(g);
	look_at_settings(g);
	if (g->error)
		refused(g->c->ps, BLAME_FILE(g->f, .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told what an io_uring holds: %s", strerror(-g->error));
}

static int ring_of(struct capture *c, const struct file_look *f, struct ring *g)
{
	*g = (struct ring){ .c = c, .k = c->kernel, .f = f };
	g->error = kernel_object(c, f, &g->at);
	return g->error;
}

static const struct description *description_of(const struct capture *c, uint64_t ino)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (d->look->ino == ino && io_uring_matches(d->look))
			return d;
	return NULL;
}

static void look_at_mappings(struct capture *c)
{
	for (size_t i = 0; i < c->process->maps.n; i++) {
		const struct proc_map *m = &c->process->maps.list[i];
		char object[64];

		if (strcmp(m->name, LINK) != 0)
			continue;
		snprintf(object, sizeof(object), "mapping %lx-%lx", m->start, m->end);
		if (!description_of(c, m->inode))
			refused(c->ps,
				BLAME_PROCESS(c->process, .object = object, .remedy = "unmap it, or keep it open"),
				"an io_uring that no process has open");
		else if (m->offset & (IORING_OFF_CQ_RING - 1))
			refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "unmap it"),
				"a part of the memory of an io_uring");
	}
}

static struct file_look *next_ring(struct process *p, size_t *at)
{
	while (*at < p->n_files) {
		struct file_look *f = &p->files[(*at)++];

		if (io_uring_matches(f) && f->description->look == f)
			return f;
	}
	return NULL;
}

static void look_at_rings(struct capture *c, bool stopped)
{
	const struct file_look *f;
	struct ring g;

	for (size_t at = 0; (f = next_ring(c->process, &at));) {
		ring_of(c, f, &g);
		look_at_ring(&g, stopped);
	}
}

/* Every ring once, before anything is captured: requests that end meanwhile change other objects. Of a tree that runs, what may change is not looked at. */
static int io_uring_look(struct capture *c)
{
	struct capture running = *c;
	size_t at = 0;

	if (c->kernel) {
		look_at_rings(c, true);
		look_at_mappings(c);
	} else if (next_ring(c->process, &at)) {
		running.kernel = kernel_peek_new();
		if (running.kernel)
			look_at_rings(&running, false);
		kernel_peek_free(running.kernel);
	}
	return 0;
}

/* --- capture --- */

static int read_region(struct ring *g, int fd, const char *region, off_t offset, struct blob *out)
{
	size_t size = OF(g, within(g, region), "io_mapped_region", "nr_pages") * PAGE_SIZE;
	void *from;

	if (g->error)
		return g->error;
	from = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, offset);
	if (from == MAP_FAILED)
		return -errno;
	out->data = malloc(size);
	if (out->data) {
		memcpy(out->data, from, size);
		out->size = size;
	}
	munmap(from, size);
	return out->data ? 0 : -ENOMEM;
}

/* The open file whose struct file that is; 0: nobody has it open. */
static object_id file_at(struct capture *c, uint64_t file)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next) {
		_cleanup_fd_ int fd = description_dup(d);
		uint64_t other, object;

		if (fd >= 0 && kernel_peek_file(c->kernel, fd, &other, &object) == 0 && other == file)
			return d->external ? 0 : d->file;
	}
	return 0;
}

#define FILE_FLAGS 7ull /* in the low bits of the pointer */

static int capture_file(struct ring *g, struct io_uring_state *s, uint64_t slot, uint64_t node)
{
	uint64_t file = OF(g, node, "io_rsrc_node", "file_ptr") & ~FILE_FLAGS;
	object_id id = g->error ? 0 : file_at(g->c, file);

	if (g->error)
		return g->error;
	if (OF(g, node, "io_rsrc_node", "tag"))
		return refuse(g, NULL, "with a tag at a registered file");
	if (!id)
		return refuse(g, "keep it open", "with a registered file that no process has open");
	s->files[s->n_files++] = (struct io_uring_file){ slot, id };
	return 0;
}

static int capture_files(struct ring *g, struct io_uring_state *s)
{
	uint64_t table = within(g, "file_table"), nodes, node;
	int r = 0;

	s->slots = OF(g, table, "io_rsrc_data", "nr");
	nodes = OF(g, table, "io_rsrc_data", "nodes");
	if (g->error || !s->slots)
		return g->error;
	s->files = calloc(s->slots, sizeof(*s->files));
	if (!s->files)
		return -ENOMEM;
	for (uint64_t i = 0; r == 0 && i < s->slots; i++) {
		r = kernel_peek_bytes(g->k, nodes + i * sizeof(node), &node, sizeof(node));
		if (r == 0 && node)
			r = capture_file(g, s, i, node);
	}
	return r;
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
		g->error = -EOPNOTSUPP;
	s->cqes = offset;
	r = read_region(g, fd, "ring_region", IORING_OFF_SQ_RING, &s->rings);
	if (r == 0)
		r = read_region(g, fd, "sq_region", IORING_OFF_SQES, &s->sqes);
	return r < 0 ? r : capture_files(g, s);
}

/* By its descriptor, or by a mapping: then f is no descriptor. What cannot be carried was refused in the look. */
static int io_uring_capture(struct capture *c, const struct file_look *f, void *state)
{
	const struct description *d = description_of(c, f->ino);
	_cleanup_fd_ int fd = d && c->writer && c->kernel ? description_dup(d) : -1;
	struct ring g = { .c = c, .k = c->kernel, .f = d ? d->look : f };
	uint64_t file;
	int r;

	if (!c->writer || !c->kernel || !d)
		return 0;
	g.error = fd < 0 ? fd : kernel_peek_file(c->kernel, fd, &file, &g.at);
	r = g.error ? g.error : capture_ring(&g, fd, state);
	return r < 0 && r != -ENOTSUP ? refused(c->ps, BLAME_FILE(g.f, .remedy = KERNEL_VIEW_REMEDY),
						"it cannot be told what an io_uring holds: %s", strerror(-r))
				      : r;
}

const struct component component_io_uring = {
	.kind = { .name = "io_uring",
		.version = 1,
		.size = sizeof(struct io_uring_state),
		.fields = io_uring_fields,
		.doc = "a ring of io_uring",
		.sources = "io_uring_setup(2), io_uring_register(2); io_uring/" },
	.scope = SCOPE_BACKING,
	.matches = io_uring_matches,
	.look = io_uring_look,
	.capture_file = io_uring_capture,
	.validate = io_uring_validate,
	.open = io_uring_open,
	.fill = io_uring_fill,
};
