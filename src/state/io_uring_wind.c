/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Winding a new ring on. The kernel counts what it has taken and given from 0, and nobody can set that: so as many requests are carried out that do nothing, and
 * completions given that nobody asked for (IORING_OP_MSG_RING, from another ring). All requests in the ring are alike, so the tail stands at the end from the start. The
 * head of the completions follows what is given, but not beyond where it is to be: what was not taken keeps its place. A request that restrictions forbid fails, and is
 * counted all the same.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "state/io_uring.h"

static uint32_t saved_word(const struct io_uring_state *s, uint32_t offset)
{
	uint32_t value;

	memcpy(&value, s->rings.data + offset, sizeof(value));
	return value;
}

/* The counters have 32 bits and begin anew beyond them: only what is between two of them tells which is ahead. */
int32_t ring_ahead(const struct io_uring_state *s)
{
	return (int32_t)((uint32_t)s->sq_head - (uint32_t)s->cq_tail);
}

#define ALL_NUMBERS 0x100000000ull

int wind_begin(struct winding *w, const struct ring_made *g)
{
	const struct io_uring_state *s = g->s;
	uint32_t silent = ring_ahead(s) > 0 ? (uint32_t)ring_ahead(s) : s->drain_disabled;
	uint32_t not_taken = (uint32_t)s->cq_tail - saved_word(s, g->p.cq_off.head);
	uint64_t plain = (uint32_t)s->sq_head - silent, messages = (uint32_t)((uint32_t)s->cq_tail - plain);

	if (not_taken > plain + messages)
		plain += ALL_NUMBERS;
	*w = (struct winding){ .silent = silent,
		.plain = plain,
		.messages = messages,
		.turn = s->restrictions.registered ? 1 : (uint32_t)s->sq_entries,
		.head = plain + messages - not_taken };
	return not_taken <= s->cq_entries ? 0 : -EBADMSG;
}

/* --- the rings --- */

static void put_word(const struct ring_made *g, uint32_t offset, uint32_t value)
{
	__atomic_store_n(ring_word(g, offset), value, __ATOMIC_RELEASE);
	ring_push(g, ring_word(g, offset), sizeof(value));
}

static uint32_t get_word(const struct ring_made *g, uint32_t offset)
{
	ring_pull(g, ring_word(g, offset), sizeof(uint32_t));
	return __atomic_load_n(ring_word(g, offset), __ATOMIC_ACQUIRE);
}

static void queue_requests(const struct ring_made *g, uint8_t flags)
{
	memset(g->sqes, 0, g->sqes_size);
	for (uint32_t i = 0; i < g->p.sq_entries; i++)
		((struct io_uring_sqe *)(void *)(g->sqes + (size_t)i * g->stride))->flags = flags;
	ring_push(g, g->sqes, g->sqes_size);
}

static int enter(const struct ring_made *g, uint32_t submit, uint32_t flags)
{
	long done = syscall(SYS_io_uring_enter, g->fd, submit, 0, flags, NULL, 0);

	return done < 0 ? -errno : done == submit ? 0 : -EIO;
}

/* n more completions have been given: how many places become free. */
static uint32_t take(struct winding *w, uint32_t n)
{
	uint64_t taken = MIN(w->given + n, w->head), before = MIN(w->given, w->head);

	w->given += n;
	return (uint32_t)(taken - before);
}

static void advance(const struct ring_made *g, uint32_t n)
{
	put_word(g, g->p.cq_off.head, get_word(g, g->p.cq_off.head) + n);
}

static uint64_t room(const struct winding *w, const struct ring_made *g)
{
	return g->p.cq_entries - (w->given - MIN(w->given, w->head));
}

static bool is_polled(const struct ring_made *g)
{
	return g->s->flags & IORING_SETUP_SQPOLL;
}

/* All requests of the sort that is next. */
static uint64_t *queue_next(struct winding *w, const struct ring_made *g)
{
	uint64_t *left = w->silent ? &w->silent : &w->plain;

	queue_requests(g, left == &w->silent ? IOSQE_CQE_SKIP_SUCCESS : 0);
	if (!is_polled(g))
		put_word(g, g->p.sq_off.tail, (uint32_t)(left == &w->silent ? w->silent : g->s->sq_head));
	return left;
}

void wind_silently(const struct ring_made *g)
{
	put_word(g, g->p.cq_off.flags, IORING_CQ_EVENTFD_DISABLED);
}

#define POLLED_STEP_US 20
#define POLLED_STEPS   500000

/* By the thread that polls it, which takes whatever is there. */
static int let_poll(const struct ring_made *g, uint32_t n)
{
	uint32_t tail = get_word(g, g->p.sq_off.head) + n;

	put_word(g, g->p.sq_off.tail, tail);
	if (syscall(SYS_io_uring_enter, g->fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		return -errno;
	for (int i = 0; i < POLLED_STEPS; i++) {
		if (get_word(g, g->p.sq_off.head) == tail)
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = POLLED_STEP_US * 1000 }, NULL);
	}
	return -ETIMEDOUT;
}

/* The next of those that provide buffers, or take them: how many. They take the places of some that do nothing. */
static uint32_t queue_provided(struct winding *w, const struct ring_made *g, uint64_t most)
{
	uint32_t at = get_word(g, g->p.sq_off.head), n = 0;
	struct io_uring_sqe request;

	for (; !w->silent && n < MIN(most, (uint64_t)w->turn); n++) {
		if (!provided_request(g->s, w->provided, w->zeros, &request))
			break;
		memcpy(g->sqes + (size_t)((at + n) & (g->p.sq_entries - 1)) * g->stride, &request, sizeof(request));
		w->provided++;
	}
	if (n)
		ring_push(g, g->sqes, g->sqes_size);
	return n;
}

/* --- completions that no request asked for --- */

#define MESSAGES 64 /* at a time */

static int post(const struct ring_made *from, const struct ring_made *to, uint32_t n)
{
	uint32_t *tail = ring_word(from, from->p.sq_off.tail);
	int r;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = (*tail + i) & (from->p.sq_entries - 1);

		((struct io_uring_sqe *)(void *)from->sqes)[at] =
			(struct io_uring_sqe){ .opcode = IORING_OP_MSG_RING, .fd = to->fd };
	}
	__atomic_store_n(tail, *tail + n, __ATOMIC_RELEASE);
	r = enter(from, n, 0);
	__atomic_store_n(ring_word(from, from->p.cq_off.head), *ring_word(from, from->p.cq_off.tail), __ATOMIC_RELEASE);
	return r;
}

/* Those that a submitter has to take in before they count: only it may complete anything there. */
static bool is_deferred(const struct ring_made *g)
{
	return g->s->flags & IORING_SETUP_DEFER_TASKRUN;
}

/* All of them; or, where another task has to take them in, as many as there is room for. */
static int pass_messages(struct winding *w, const struct ring_made *g, bool own)
{
	struct ring_made other;
	const bool wait = is_deferred(g) && !own;
	int r = w->messages ? ring_make(&other, MESSAGES, 2 * MESSAGES, 0) : 0;

	if (!w->messages)
		return 0;
	for (uint32_t n; r == 0 && w->messages; w->messages -= n) {
		n = (uint32_t)MIN(MIN(w->messages, room(w, g) - w->posted), (uint64_t)MESSAGES);
		if (!n)
			break;
		r = post(&other, g, n);
		if (wait)
			w->posted += n;
		else if (r == 0 && is_deferred(g))
			r = enter(g, 0, IORING_ENTER_GETEVENTS);
		if (!wait)
			advance(g, take(w, n));
	}
	ring_unmake(&other);
	return r;
}

/* --- by who may submit --- */

int wind(struct winding *w, struct ring_made *g)
{
	int r = 0;

	while (r == 0 && (w->silent || w->plain)) {
		uint64_t *left = queue_next(w, g);

		for (uint32_t n, provided = 0; r == 0 && *left; *left -= n) {
			n = queue_provided(w, g, *left);
			if (!n && provided)
				queue_requests(g, 0);
			provided = n;
			n = n ? n : (uint32_t)MIN(*left, (uint64_t)w->turn);
			r = is_polled(g) ? let_poll(g, n) : enter(g, n, 0);
			if (left == &w->plain)
				advance(g, take(w, n));
		}
	}
	return r < 0 ? r : pass_messages(w, g, true);
}

/* --- by a task of the tree --- */

int wind_prepare(struct winding *w, struct ring_made *g)
{
	advance(g, take(w, w->posted));
	w->posted = 0;
	if (!w->silent && !w->plain)
		return pass_messages(w, g, false);
	queue_next(w, g);
	w->some = queue_provided(w, g, MIN(w->plain, room(w, g)));
	return 0;
}

#define TURNS 20000 /* in one batch */

static uint32_t add_enter(struct build *b, uint32_t fetched, uint32_t submit, uint32_t flags)
{
	uint32_t op = batch_call(b->batch, "io_uring_enter", SYS_io_uring_enter, 0, submit, 0, flags, 0, 0);

	batch_use(b->batch, op, 0, fetched);
	batch_expect(b->batch, op, submit);
	return op;
}

/* A task can add to a word of its memory by a system call: nobody waits there to be woken. */
static void add_advance(struct build *b, uint64_t at, uint32_t n)
{
	for (uint32_t bit = 0; n >> bit; bit++)
		if (n >> bit & 1)
			batch_call(b->batch, "futex(FUTEX_WAKE_OP)", SYS_futex, b->restore->area.base.v,
				FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, at,
				FUTEX_OP((FUTEX_OP_ADD | FUTEX_OP_OPARG_SHIFT), bit, FUTEX_OP_CMP_EQ, 0));
}

/* Where the task cannot tell what it took, only as many as there is room for. */
static uint32_t next_turn(struct winding *w, const struct ring_made *g, uint64_t left, uint64_t head_at)
{
	uint64_t most = w->silent || head_at ? left : room(w, g) - w->posted;

	return (uint32_t)MIN(MIN(left, most), (uint64_t)w->turn);
}

static void queue_turns(struct winding *w, const struct ring_made *g, struct build *b, uint64_t head_at)
{
	const bool silent = w->silent;
	uint64_t *left = silent ? &w->silent : &w->plain;
	uint32_t fetched = ring_fetch(b, g), turns = w->some ? TURNS - 1 : 0, n;

	for (; turns < TURNS && (n = w->some ? w->some : next_turn(w, g, *left, head_at)); turns++, *left -= n) {
		if (add_enter(b, fetched, n, 0) - fetched >= RING_SEGMENT) {
			ring_drop(b, fetched);
			fetched = ring_fetch(b, g);
		}
		if (!silent && head_at)
			add_advance(b, head_at, take(w, n));
		else if (!silent)
			w->posted += n;
	}
	ring_drop(b, fetched);
}

void wind_queue(struct winding *w, const struct ring_made *g, struct build *b, uint64_t head_at)
{
	uint32_t fetched;

	if (w->silent || w->plain) {
		queue_turns(w, g, b, head_at);
	} else if (w->posted) {
		fetched = ring_fetch(b, g);
		add_enter(b, fetched, 0, IORING_ENTER_GETEVENTS);
		ring_drop(b, fetched);
	}
}

bool wind_is_done(const struct winding *w)
{
	return !w->silent && !w->plain && !w->messages && !w->posted;
}

/* --- the end --- */

/* But for the word in which the kernel says what it needs now. */
static void put_rings(const struct ring_made *g)
{
	const size_t before = g->p.sq_off.flags, after = before + sizeof(uint32_t);

	memcpy(g->rings, g->s->rings.data, before);
	memcpy(g->rings + after, g->s->rings.data + after, g->rings_size - after);
	ring_push(g, g->rings, before);
	ring_push(g, g->rings + after, g->rings_size - after);
}

int wind_end(struct ring_made *g)
{
	const struct io_uring_state *s = g->s;

	if (get_word(g, g->p.sq_off.head) != s->sq_head || get_word(g, g->p.cq_off.tail) != s->cq_tail)
		return -EPROTO;
	memcpy(g->sqes, s->sqes.data, s->sqes.size);
	ring_push(g, g->sqes, g->sqes_size);
	put_rings(g);
	return 0;
}
