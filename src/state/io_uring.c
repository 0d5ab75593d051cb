/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io_uring: rings without requests under way. io_uring_setup(2), io_uring_register(2); io_uring/. What is queued and not yet submitted, and what has completed and was
 * not taken, is in memory that the ring shares with the program. What it was made with, and what is registered with it, fdinfo tells only in part: it is read from the
 * kernel's structures (kernel/peek.h), and whatever cannot be given back is refused by name. Requests under way are waited for: the kernel ends most of
 * them without the program.
 */
#include "state/io_uring.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"
#include "state/files.h"
#include "state/io_uring_view.h"

static const struct field file_fields[] = {
	FIELD_UINT(struct io_uring_file, slot, "slot", "its number"),
	FIELD_REF(struct io_uring_file, file, "file", "file", REF_LATE, "the open file"),
	FIELD_SINCE(2, HEX, struct io_uring_file, tag, "tag", "what a completion says when it is not in use any more"),
	FIELD_END,
};

static const struct field buffer_fields[] = {
	FIELD_UINT(struct io_uring_buffer, slot, "slot", "its number"),
	FIELD_HEX(struct io_uring_buffer, address, "address", "where it is"),
	FIELD_UINT(struct io_uring_buffer, size, "size", "bytes"),
	FIELD_HEX(struct io_uring_buffer, tag, "tag", "what a completion says when it is not in use any more"),
	FIELD_REF(struct io_uring_buffer, process, "process", "process", REF_LATE, "in whose memory"),
	FIELD_END,
};

static const struct field personality_fields[] = {
	FIELD_UINT(struct io_uring_personality, number, "number", "its number"),
	FIELD_STRUCT(struct io_uring_personality, who, "who", ring_acting_fields,
		"as whom requests with it are carried out"),
	FIELD_END,
};

static const struct field poller_fields[] = {
	FIELD_UINT(
		struct io_uring_poller, group, "group", "the same for rings that share the thread; 0: there is none"),
	FIELD_UINT(struct io_uring_poller, idle, "idle", "milliseconds, until it sleeps"),
	FIELD_INT(struct io_uring_poller, cpu, "cpu", "the processor that it runs on; -1: any"),
	FIELD_INT(struct io_uring_poller, nice, "nice", "its nice value"),
	FIELD_UINT(struct io_uring_poller, workers, "workers", "most workers for all but files"),
	FIELD_BLOB(struct io_uring_poller, cpus, "cpus", "where they may run; absent: anywhere that it may"),
	FIELD_STRUCT(struct io_uring_poller, who, "who", ring_acting_fields, "as whom requests are carried out"),
	FIELD_END,
};

static const struct field user_fields[] = {
	FIELD_REF(struct io_uring_user, thread, "thread", "thread", REF_LATE, "a thread"),
	FIELD_END,
};

static const struct field provided_fields[] = {
	FIELD_UINT(struct io_uring_provided, group, "group", "number of the group"),
	FIELD_HEX(struct io_uring_provided, address, "address", "of the ring of buffers, or of the first buffer"),
	FIELD_UINT(struct io_uring_provided, size, "size", "in a list: bytes of each buffer"),
	FIELD_UINT(struct io_uring_provided, number, "number", "number of the first"),
	FIELD_UINT(struct io_uring_provided, count, "count", "how many lie one behind the other; 0: the list is empty"),
	FIELD_UINT(
		struct io_uring_provided, ring_entries, "ring_entries", "room in the ring of buffers; 0: it is a list"),
	FIELD_UINT(struct io_uring_provided, taken, "taken", "how many the kernel has taken"),
	FIELD_BOOL(struct io_uring_provided, incremental, "incremental", "IOU_PBUF_RING_INC"),
	FIELD_REF(struct io_uring_provided, process, "process", "process", REF_LATE,
		"in whose memory the ring of buffers is"),
	FIELD_END,
};

static const struct field region_fields[] = {
	FIELD_HEX(struct io_uring_region, address, "address", "where it is; 0: there is none"),
	FIELD_UINT(struct io_uring_region, size, "size", "bytes"),
	FIELD_BOOL(struct io_uring_region, wait_arguments, "wait_arguments", "IORING_MEM_REGION_REG_WAIT_ARG"),
	FIELD_REF(struct io_uring_region, process, "process", "process", REF_LATE, "in whose memory"),
	FIELD_END,
};

static const struct field restriction_fields[] = {
	FIELD_BOOL(struct io_uring_restrictions, registered, "registered", "there are some, from when it is enabled"),
	FIELD_HEX(struct io_uring_restrictions, register_ops, "register_ops", "bits of IORING_REGISTER_* allowed"),
	FIELD_HEX(struct io_uring_restrictions, sqe_ops, "sqe_ops", "bits of IORING_OP_* allowed"),
	FIELD_HEX(struct io_uring_restrictions, flags_allowed, "flags_allowed", "IOSQE_* that a request may have"),
	FIELD_HEX(struct io_uring_restrictions, flags_required, "flags_required", "and those that it must have"),
	FIELD_END,
};

static const struct field napi_fields[] = {
	FIELD_BOOL(struct io_uring_napi, registered, "registered", "network devices are polled"),
	FIELD_UINT(struct io_uring_napi, timeout, "timeout", "for so many microseconds"),
	FIELD_BOOL(struct io_uring_napi, prefer_busy_poll, "prefer_busy_poll", "rather than interrupts"),
	FIELD_UINT(struct io_uring_napi, tracking, "tracking", "IO_URING_NAPI_TRACKING_*"),
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
	FIELD_SINCE(2, UINT, struct io_uring_state, alloc_start, "alloc_start",
		"first slot that the kernel may choose for a file"),
	FIELD_SINCE(2, UINT, struct io_uring_state, alloc_end, "alloc_end", "the one behind the last"),
	FIELD_SINCE(2, UINT, struct io_uring_state, alloc_next, "alloc_next", "from which on it looks for a free one"),
	FIELD_SINCE(2, LIST, struct io_uring_state, users, n_users, "users", user_fields, "who has used it and lives"),
	FIELD_SINCE(2, REF, struct io_uring_state, submitter, "submitter", "thread", REF_LATE,
		"with IORING_SETUP_SINGLE_ISSUER: who may submit"),
	FIELD_SINCE(2, BOOL, struct io_uring_state, submitter_ended, "submitter_ended",
		"it has ended: nobody may any more"),
	FIELD_SINCE(2, UINT, struct io_uring_state, buffer_slots, "buffer_slots", "room for registered buffers"),
	FIELD_SINCE(2, LIST, struct io_uring_state, buffers, n_buffers, "buffers", buffer_fields, "registered buffers"),
	FIELD_SINCE(2, STRUCT, struct io_uring_state, region, "region", region_fields,
		"memory for arguments (IORING_REGISTER_MEM_REGION)"),
	FIELD_SINCE(2, LIST, struct io_uring_state, provided, n_provided, "provided", provided_fields,
		"buffers for requests to choose from"),
	FIELD_SINCE(2, LIST, struct io_uring_state, personalities, n_personalities, "personalities", personality_fields,
		"registered personalities"),
	FIELD_SINCE(2, UINT, struct io_uring_state, next_personality, "next_personality",
		"the number of the next, if it is free"),
	FIELD_SINCE(2, REF, struct io_uring_state, process, "process", "process", REF_LATE,
		"who has to make it: whose thread polls it, or whose memory it is in"),
	FIELD_SINCE(
		2, HEX, struct io_uring_state, rings_at, "rings_at", "in its memory: the rings; 0: the kernel's own"),
	FIELD_SINCE(2, HEX, struct io_uring_state, sqes_at, "sqes_at", "and the requests"),
	FIELD_SINCE(2, STRUCT, struct io_uring_state, poller, "poller", poller_fields, "the thread that polls it"),
	FIELD_SINCE(2, REF, struct io_uring_state, eventfd, "eventfd", "file", REF_LATE, "is told of completions"),
	FIELD_SINCE(2, BOOL, struct io_uring_state, eventfd_async, "eventfd_async",
		"only of those that did not come at once (IORING_REGISTER_EVENTFD_ASYNC)"),
	FIELD_SINCE(2, STRUCT, struct io_uring_state, restrictions, "restrictions", restriction_fields,
		"what may be asked of it"),
	FIELD_SINCE(2, UINT, struct io_uring_state, clock, "clock", "by which waits are timed; 0: CLOCK_MONOTONIC"),
	FIELD_SINCE(2, STRUCT, struct io_uring_state, napi, "napi", napi_fields, "IORING_REGISTER_NAPI"),
	FIELD_SINCE(2, BOOL, struct io_uring_state, workers_limited, "workers_limited",
		"a task that comes to use it gets these limits (IORING_REGISTER_IOWQ_MAX_WORKERS)"),
	FIELD_SINCE(2, UINT, struct io_uring_state, workers_bounded, "workers_bounded", "for files; 0: as it was"),
	FIELD_SINCE(
		2, UINT, struct io_uring_state, workers_unbounded, "workers_unbounded", "for all else; 0: as it was"),
	FIELD_END,
};

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
	bool in_flight, outside, not_taken;
};

/* The tasks that have ever used it and live. */
static void look_at_users(struct ring *g, struct users *u)
{
	uint64_t head = WITHIN(g, "tctx_list"), node = OF(g, head, "list_head", "next"), offset = 0;

	*u = (struct users){ 0 };
	if (kernel_peek_address(g->k, 0, "io_tctx_node", "ctx_node", &offset) < 0)
		g->error = -ENODATA;
	for (size_t i = 0; !g->error && node != head; i++, node = OF(g, node, "list_head", "next")) {
		uint64_t task = OF(g, node - offset, "io_tctx_node", "task");
		uint64_t tctx = OF(g, task, "task_struct", "io_uring");

		if (i == TASKS_MAX)
			g->error = -E2BIG;
		if (g->error || !tctx)
			continue;
		u->in_flight |= in_flight_of(g, tctx) != 0;
		u->outside |= !kernel_mm_owner(g->c, OF(g, task, "task_struct", "mm"));
	}
}

/* What the thread that polls it has been given and not taken. */
static void look_at_poller(struct ring *g, struct users *u)
{
	uint64_t data = RING(g, "sq_data"), thread = data ? OF(g, data, "io_sq_data", "thread") : 0;
	uint64_t tctx = thread ? OF(g, thread, "task_struct", "io_uring") : 0;
	uint64_t tail = OF(g, ring_address(g, RING(g, "rings"), "io_rings", "sq"), "io_uring", "tail");

	if (tctx && !g->error)
		u->in_flight |= in_flight_of(g, tctx) != 0;
	u->not_taken =
		thread && !(RING(g, "flags") & IORING_SETUP_R_DISABLED) && (uint32_t)tail != RING(g, "cached_sq_head");
}

#define DRAIN_MS 1000

/* Once something was refused, nobody waits any more. */
static void drain(struct ring *g, struct users *u)
{
	look_at_users(g, u);
	look_at_poller(g, u);
	for (int ms = 0; !g->error && (u->in_flight || u->not_taken) && ms < DRAIN_MS && !g->c->ps->n_refused; ms++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		look_at_users(g, u);
		look_at_poller(g, u);
	}
}

/* --- what cannot be carried --- */

#define NAPI_TRACKING_STATIC 1
#define NOTEWORTHY	     (10 * IO_URING_A_SECOND)

static void look_at_registered(struct ring *g)
{
	const bool restricted = OF(g, WITHIN(g, "restrictions"), "io_restriction", "registered");

	if (restricted && RING(g, "drain_disabled"))
		ring_refuse(g, NULL, "with restrictions, after requests that asked for no completion");
	if (ring_has_any(g, "zcrx_ctxs"))
		ring_refuse(g, NULL, "that receives without copying (IORING_REGISTER_ZCRX_IFQ)");
	if (RING(g, "napi_track_mode") == NAPI_TRACKING_STATIC && !ring_list_is_empty(g, WITHIN(g, "napi_list")))
		ring_refuse(g, NULL, "that polls certain network devices (IO_URING_NAPI_STATIC_ADD_ID)");
}

static void look_at_settings(struct ring *g)
{
	const uint32_t taken = (uint32_t)RING(g, "cached_sq_head"), given = (uint32_t)RING(g, "cached_cq_tail");
	const uint64_t flags = RING(g, "flags");

	if (flags & ~(uint64_t)IO_URING_CARRIED)
		ring_refuse(g, NULL, "made with a flag that spore does not know");
	if (RING(g, "compat"))
		ring_refuse(g, NULL, "of a 32-bit program");
	if (RING(g, "check_cq") || !ring_list_is_empty(g, WITHIN(g, "cq_overflow_list")))
		ring_refuse(g, "let the program take them", "with more completions than it has room for");
	if ((int32_t)(taken - given) > 0 && !RING(g, "drain_disabled"))
		ring_refuse(g, NULL, "that has lost submissions or completions");
	if (MAX(taken, given) >= NOTEWORTHY && !g->error)
		changed(g->c->ps, BLAME_FILE(g->f),
			"the io_uring has carried out %u million requests, which a restored one repeats: that takes "
			"some %u seconds",
			MAX(taken, given) / 1000000, (unsigned int)(MAX(taken, given) / IO_URING_A_SECOND));
}

static void look_at_ring(struct ring *g, bool stopped)
{
	struct users u = { 0 };

	if (stopped)
		drain(g, &u);
	if (!g->error && u.in_flight)
		ring_refuse(g, "wait until its requests have ended, or cancel them",
			"with requests under way that do not end by themselves");
	if (!g->error && u.not_taken)
		ring_refuse(g, "let the program wake it (IORING_ENTER_SQ_WAKEUP)",
			"with requests that its polling thread has not taken");
	if (!g->error && u.outside)
		ring_refuse(g, NULL, "that a process outside of the tree uses");
	look_at_registered(g);
	look_at_settings(g);
	if (g->error)
		refused(g->c->ps, BLAME_FILE(g->f, .remedy = ring_remedy(g)),
			"it cannot be told what an io_uring holds: %s", strerror(-g->error));
}

static void look_at_mappings(struct capture *c)
{
	for (size_t i = 0; i < c->process->maps.n; i++) {
		const struct proc_map *m = &c->process->maps.list[i];
		char object[64];

		if (strcmp(m->name, RING_LINK) != 0)
			continue;
		snprintf(object, sizeof(object), "mapping %lx-%lx", m->start, m->end);
		if (!ring_description(c, m->inode))
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

		if (ring_matches(f) && f->description->look == f)
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

const struct component component_io_uring = {
	.kind = { .name = "io_uring",
		.version = 2,
		.size = sizeof(struct io_uring_state),
		.fields = io_uring_fields,
		.doc = "a ring of io_uring",
		.sources = "io_uring_setup(2), io_uring_register(2); io_uring/" },
	.scope = SCOPE_BACKING,
	.matches = ring_matches,
	.look = io_uring_look,
	.capture_file = io_uring_capture,
	.validate = io_uring_validate,
	.open = io_uring_open,
	.round = io_uring_round,
};
