/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/semaphore_probe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/sysv_sem.h"

/* Four steps are half of the range. A value (0 to 32767) has room for one, up or down, even if others change it by as much meanwhile. */
#define STEP	   SEMAPHORE_STEP
#define OPS_EACH   24 /* add_probe */
#define OPS_SEARCH 18 /* add_search */
#define OPS_LAST   2
#define AT_ONCE	   32 /* calls of a batch */
#define SEARCH_TOP 65536
#define TIMEOUT_MS 10000

static void add_op(struct sembuf **op, unsigned short num, int by, bool undo)
{
	*(*op)++ = (struct sembuf){ num, (short)by, (short)(IPC_NOWAIT | (undo ? SEM_UNDO : 0)) };
}

/* It counts against the operations that SEM_UNDO marks. */
void semaphore_move(struct sembuf **op, unsigned short num, int by, int value)
{
	bool up = value < 2 * STEP;
	int first = up ? abs(by) : -abs(by);

	add_op(op, num, first, (by < 0) == up);
	add_op(op, num, -first, (by < 0) != up);
}

/* From adjustment a to a - 32768, back to a, and to a + 32767: in the range only if a is 0. */
static void add_probe(struct sembuf **op, unsigned short num, int value)
{
	for (int i = 0; i < 4; i++)
		semaphore_move(op, num, -STEP, value);
	for (int i = 0; i < 7; i++)
		semaphore_move(op, num, STEP, value);
	semaphore_move(op, num, STEP - 1, value);
}

/* From a to a + by, by up to 65535. */
static void add_search(struct sembuf **op, unsigned short num, int value, int by)
{
	for (; by >= STEP; by -= STEP)
		semaphore_move(op, num, STEP, value);
	if (by)
		semaphore_move(op, num, by, value);
}

/* No value is as high as both. */
static void add_last(struct sembuf **op, unsigned short num)
{
	add_op(op, num, -32767, false);
	add_op(op, num, -1, false);
}

/* --- asking --- */

struct asking {
	struct injection *injection;
	struct thread *thread;
	int semid;
	struct batch batch;
	size_t mark; /* how much of the arena others use */
};

/* By the one worker that drives this process: nobody else uses its area. */
static void ask_begin(struct asking *a)
{
	a->mark = a->injection->area.used;
	batch_init(&a->batch, &a->injection->area);
}

static void ask_add(struct asking *a, const struct sembuf *ops, size_t n)
{
	uint64_t at = batch_copy(&a->batch, ops, n * sizeof(*ops)).v;

	batch_may_fail(&a->batch, batch_call(&a->batch, "semop", SYS_semop, (uint64_t)a->semid, at, n));
}

static int ask_run(struct asking *a)
{
	struct slot *slot = area_slot(&a->injection->area, a->thread->slot);
	int r = batch_submit(&a->batch, slot);

	return r < 0 ? r : batch_wait(&a->batch, slot, TIMEOUT_MS, stop_alive, &a->thread->stop);
}

static void ask_end(struct asking *a)
{
	batch_free(&a->batch);
	a->injection->area.used = a->mark;
}

/* 1: out of the range; 0: in it; else why it does not say. */
static int answer(const struct asking *a, uint32_t op)
{
	int64_t r = batch_result(&a->batch, op);

	return r == -ERANGE ? 1 : r == -EAGAIN ? 0 : r < 0 ? (int)r : -ENOSYS;
}

/* --- which are not 0 --- */

struct set {
	int *values;
	size_t n;
	bool *adjusted; /* or beside one that is */
	size_t ops_at_once;
};

static void set_free(struct set *s)
{
	free(s->values);
	free(s->adjusted);
}

static int set_read(struct set *s, int semid, size_t n)
{
	struct seminfo limits = { 0 };

	s->values = calloc(n, sizeof(*s->values));
	s->adjusted = calloc(n, sizeof(*s->adjusted));
	s->n = n;
	if (!s->values || !s->adjusted)
		return -ENOMEM;
	if (semctl(0, 0, IPC_INFO, (union semun){ .info = &limits }) < 0)
		return -errno;
	s->ops_at_once = MIN((size_t)limits.semopm, 512ul);
	for (size_t i = 0; i < n; i++) {
		s->values[i] = semctl(semid, (int)i, GETVAL);
		if (s->values[i] < 0)
			return -errno;
	}
	return s->ops_at_once < OPS_EACH + OPS_LAST ? -ENOSYS : 0;
}

/* So many semaphores from `first` on by one call, as many calls as a batch takes. Returns how many were asked for, or negative errno. */
static int probe_some(struct asking *a, struct set *s, size_t first)
{
	struct sembuf ops[512], *end;
	size_t each = (s->ops_at_once - OPS_LAST) / OPS_EACH, at = first;
	int r;

	ask_begin(a);
	for (uint32_t call = 0; call < AT_ONCE && at < s->n; call++) {
		size_t stop = MIN(s->n, at + each);

		for (end = ops; at < stop; at++)
			add_probe(&end, (unsigned short)at, s->values[at]);
		add_last(&end, (unsigned short)(at - 1));
		ask_add(a, ops, (size_t)(end - ops));
	}
	r = ask_run(a);
	for (size_t i = first; r >= 0 && i < at; i++) {
		r = answer(a, (uint32_t)((i - first) / each));
		s->adjusted[i] = r == 1;
	}
	ask_end(a);
	return r < 0 ? r : (int)(at - first);
}

static int probe_all(struct asking *a, struct set *s)
{
	for (size_t at = 0; at < s->n;) {
		int r = probe_some(a, s, at);

		if (r < 0)
			return r;
		at += (size_t)r;
	}
	return 0;
}

/* --- and what they are --- */

struct search {
	size_t num;
	int low, high; /* a + low is in the range, a + high is not */
};

static int halve(struct asking *a, const struct set *s, struct search *list, size_t n)
{
	struct sembuf ops[OPS_SEARCH + OPS_LAST], *end;
	int r;

	ask_begin(a);
	for (size_t i = 0; i < n; i++) {
		end = ops;
		add_search(&end, (unsigned short)list[i].num, s->values[list[i].num], (list[i].low + list[i].high) / 2);
		add_last(&end, (unsigned short)list[i].num);
		ask_add(a, ops, (size_t)(end - ops));
	}
	r = ask_run(a);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		int middle = (list[i].low + list[i].high) / 2;

		r = answer(a, (uint32_t)i);
		*(r == 1 ? &list[i].high : &list[i].low) = middle;
	}
	ask_end(a);
	return r < 0 ? r : 0;
}

static int search(struct asking *a, const struct set *s, struct search *list, size_t n, struct adjustments *out)
{
	int r = 0;

	for (int width = SEARCH_TOP; r == 0 && n && width > 1; width /= 2)
		r = halve(a, s, list, n);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (list[i].high != SEARCH_TOP / 2)
			out->list[out->n++] =
				(struct adjustment){ (uint16_t)list[i].num, SEARCH_TOP / 2 - list[i].high };
	return r;
}

static int search_all(struct asking *a, const struct set *s, struct adjustments *out)
{
	struct search list[AT_ONCE];
	size_t n = 0;
	int r = 0;

	out->list = calloc(s->n, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < s->n; i++) {
		if (s->adjusted[i])
			list[n++] = (struct search){ i, 0, SEARCH_TOP };
		if (n == AT_ONCE) {
			r = search(a, s, list, n, out);
			n = 0;
		}
	}
	return r < 0 ? r : search(a, s, list, n, out);
}

void adjustments_free(struct adjustments *a)
{
	free(a->list);
	*a = (struct adjustments){ 0 };
}

int semaphore_probe(struct process *p, struct thread *th, int semid, size_t n_sems, struct adjustments *out)
{
	struct asking a = { .injection = &p->injection, .thread = th, .semid = semid };
	_cleanup_(set_free)
	struct set s = { 0 };
	int left, r = set_read(&s, semid, n_sems);

	if (r < 0)
		return r;
	r = inject_enter(&p->injection, &th->stop, th->slot);
	if (r < 0)
		return r;
	r = probe_all(&a, &s);
	if (r == 0)
		r = search_all(&a, &s, out);
	left = inject_leave(&p->injection, &th->stop);
	return left < 0 ? left : r;
}
