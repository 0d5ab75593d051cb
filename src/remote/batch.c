/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/futex.h"

void batch_init(struct batch *b, struct area *a)
{
	*b = (struct batch){ .area = a };
}

void batch_free(struct batch *b)
{
	free(b->what);
	*b = (struct batch){ 0 };
}

/* The old array stays behind in the arena until that is reset. */
static int grow(struct batch *b)
{
	uint32_t room = b->room ? 4 * b->room : 64;
	const char **what = reallocarray(b->what, room, sizeof(*what));
	struct op *ops;

	if (!what)
		return -ENOMEM;
	b->what = what;
	ops = area_alloc(b->area, room * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	if (b->n)
		memcpy(ops, b->ops, b->n * sizeof(*ops));
	b->ops = ops;
	b->room = room;
	return 0;
}

uint32_t batch_add(struct batch *b, const char *what, long nr, const uint64_t args[6])
{
	struct op *op;

	if (!b->error && b->n == b->room)
		b->error = grow(b);
	if (b->error)
		return 0;
	b->what[b->n] = what;
	op = &b->ops[b->n];
	*op = (struct op){ .nr = nr };
	memcpy(op->arg, args, sizeof(op->arg));
	return b->n++;
}

static struct op *op_at(struct batch *b, uint32_t op)
{
	if (!b->error && op >= b->n)
		b->error = -EINVAL;
	return b->error ? NULL : &b->ops[op];
}

void batch_may_fail(struct batch *b, uint32_t op)
{
	struct op *o = op_at(b, op);

	if (o)
		o->flags |= OP_MAY_FAIL;
}

void batch_expect(struct batch *b, uint32_t op, int64_t result)
{
	struct op *o = op_at(b, op);

	if (!o)
		return;
	o->flags |= OP_EXPECT;
	o->expect = result;
}

void batch_use(struct batch *b, uint32_t op, unsigned int arg, uint32_t from)
{
	struct op *o = op_at(b, op);

	if (!o)
		return;
	if (arg >= 6 || from >= op || op - from > 255)
		b->error = -EINVAL;
	else
		o->from[arg] = (uint8_t)(op - from);
}

uint32_t batch_load(struct batch *b, const char *what, struct remote_addr address)
{
	uint32_t op = batch_call(b, what, -1, address.v);
	struct op *o = op_at(b, op);

	if (o)
		o->flags |= OP_LOAD;
	return op;
}

void batch_birth(struct batch *b, uint32_t op, struct slot *child)
{
	struct op *o = op_at(b, op);

	if (!o)
		return;
	o->flags |= OP_BIRTH;
	o->child = area_remote(b->area, child).v;
}

struct remote_addr batch_room(struct batch *b, size_t size, void **local)
{
	void *p = b->error ? NULL : area_alloc(b->area, size);

	if (local)
		*local = p;
	if (!p) {
		b->error = b->error ? b->error : -ENOMEM;
		return REMOTE(0);
	}
	return area_remote(b->area, p);
}

struct remote_addr batch_copy(struct batch *b, const void *bytes, size_t size)
{
	void *local;
	struct remote_addr at = batch_room(b, size, &local);

	if (local)
		memcpy(local, bytes, size);
	return at;
}

struct remote_addr batch_string(struct batch *b, const char *s)
{
	return batch_copy(b, s, strlen(s) + 1);
}

int64_t batch_result(const struct batch *b, uint32_t op)
{
	return op < b->n ? b->ops[op].result : -EINVAL;
}

static int run_from(struct batch *b, struct slot *s, uint32_t op)
{
	if (b->error)
		return b->error;
	b->begun = op;
	s->ops = b->n ? area_remote(b->area, &b->ops[op]).v : 0;
	s->count = b->n - op;
	s->failed = 0;
	__atomic_store_n(&s->state, SLOT_RUN, __ATOMIC_SEQ_CST);
	futex_wake(&s->state, 1);
	return 0;
}

int batch_submit(struct batch *b, struct slot *s)
{
	return run_from(b, s, 0);
}

int batch_again(struct batch *b, struct slot *s)
{
	return run_from(b, s, batch_failed_at(b, s));
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* In turns of a few milliseconds at first, then longer: only that long does a task's death go unnoticed. */
static int wait_done(struct slot *s, int timeout_ms, bool (*alive)(void *arg), void *arg)
{
	int64_t end = now_ms() + timeout_ms;
	int turn = 2;

	while (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == SLOT_RUN) {
		int64_t left = timeout_ms < 0 ? turn : end - now_ms();
		struct timespec t = { 0, MIN(left, (int64_t)turn) * 1000000 };

		if (left <= 0)
			return -ETIMEDOUT;
		if (futex_wait(&s->state, SLOT_RUN, &t) != -ETIMEDOUT)
			continue;
		if (alive && !alive(arg) && __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == SLOT_RUN)
			return -ESRCH;
		turn = MIN(2 * turn, 64);
	}
	return 0;
}

int batch_wait(struct batch *b, struct slot *s, int timeout_ms, bool (*alive)(void *arg), void *arg)
{
	uint32_t at;
	int64_t result;
	int r;

	if (b->error)
		return b->error;
	r = wait_done(s, timeout_ms, alive, arg);
	if (r < 0)
		return r;
	at = batch_failed_at(b, s);
	if (at == b->n)
		return 0;
	result = batch_result(b, at);
	return result < 0 && result >= -4095 ? (int)result : -EPROTO;
}

uint32_t batch_failed_at(const struct batch *b, const struct slot *s)
{
	return (uint32_t)MIN((uint64_t)b->begun + s->failed, b->n);
}

pid_t batch_unborn(const struct batch *b, const struct slot *s)
{
	uint32_t at = batch_failed_at(b, s);

	return at < b->n && b->ops[at].flags & OP_BIRTH ? (pid_t)b->ops[at].expect : 0;
}

const char *batch_what(const struct batch *b, uint32_t op)
{
	return op < b->n ? b->what[op] : "the end of the batch";
}
