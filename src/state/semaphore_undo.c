/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Adjustments that System V semaphores get at a process's exit. semop(2), SEM_UNDO; ipc/sem.c. The kernel shows
 * them to nobody, but it keeps them between -32768 and 32767, and answers a semop that would leave that range with
 * ERANGE. So the process itself is made to ask for operations that move each adjustment to one end of the range and
 * then to the other, and whose last one can only block. semop does all or nothing: EAGAIN says that every
 * adjustment is 0, ERANGE that one is not, and neither leaves a trace.
 */
#include "object/component.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Four steps are half of the range. A value (0 to 32767) has room for one, up or down, even if others change it by as
 * much meanwhile. */
#define STEP	  8192
#define OPS_EACH  24 /* add_probe */
#define OPS_LAST  2
#define CALLS_MAX 256

union semun {
	struct semid_ds *set;
	struct seminfo *info;
};

/* One call: some semaphores of one set. */
struct probe {
	int semid;
	uint32_t op;
	bool older; /* last used before the process was born */
};

struct undo_scratch {
	struct probe *probes; /* in the batch's arena */
	uint32_t n;
	bool cannot_tell;
};

static void add_op(struct sembuf **op, unsigned short num, int by, bool undo)
{
	*(*op)++ = (struct sembuf){ num, (short)by, (short)(IPC_NOWAIT | (undo ? SEM_UNDO : 0)) };
}

/* Moves the adjustment (which counts against the operations that SEM_UNDO marks); the value comes back. */
static void move_adjustment(struct sembuf **op, unsigned short num, int by, bool up)
{
	int first = up ? abs(by) : -abs(by);

	add_op(op, num, first, (by < 0) == up);
	add_op(op, num, -first, (by < 0) != up);
}

/* From adjustment a to a - 32768, back to a, and to a + 32767. */
static void add_probe(struct sembuf **op, unsigned short num, int value)
{
	bool up = value < 2 * STEP;

	for (int i = 0; i < 4; i++)
		move_adjustment(op, num, -STEP, up);
	for (int i = 0; i < 7; i++)
		move_adjustment(op, num, STEP, up);
	move_adjustment(op, num, STEP - 1, up);
}

static void ask_call(struct batch *b, struct undo_scratch *s, struct probe probe, const struct sembuf *ops, size_t n)
{
	uint64_t at = batch_copy(b, ops, n * sizeof(*ops)).v;

	if (s->n == CALLS_MAX) {
		s->cannot_tell = true;
		return;
	}
	probe.op = batch_call(b, "semop", SYS_semop, (uint64_t)probe.semid, at, n);
	batch_may_fail(b, probe.op);
	s->probes[s->n++] = probe;
}

static void ask_set(struct batch *b, struct undo_scratch *s, struct probe probe, size_t n_sems, size_t ops_at_once)
{
	_cleanup_free_ struct sembuf *ops = calloc(ops_at_once, sizeof(*ops));
	struct sembuf *end = ops;

	if (!ops || ops_at_once < OPS_EACH + OPS_LAST) {
		s->cannot_tell = true;
		return;
	}
	for (size_t i = 0; i < n_sems; i++) {
		int value = semctl(probe.semid, (int)i, GETVAL);

		if (value < 0) {
			s->cannot_tell |= errno != EIDRM && errno != EINVAL;
			return;
		}
		add_probe(&end, (unsigned short)i, value);
		if (i + 1 < n_sems && (size_t)(end - ops) + OPS_EACH + OPS_LAST <= ops_at_once)
			continue;
		add_op(&end, (unsigned short)i, -32767, false);
		add_op(&end, (unsigned short)i, -1, false); /* no value is as high as both */
		ask_call(b, s, probe, ops, (size_t)(end - ops));
		end = ops;
	}
}

/* Its last operation came before the process (both in whole seconds of the clock as it is set now). */
static bool is_older(time_t set, const struct process *p)
{
	struct timespec now, up;
	int64_t born;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	born = now.tv_sec - up.tv_sec + (int64_t)(p->stat.starttime / (uint64_t)sysconf(_SC_CLK_TCK));
	return set + 1 < born;
}

/* sysv.c refuses sets in a namespace of the tree's own. */
static bool in_own_namespace(const struct process *p)
{
	struct stat keepers, its;

	return stat("/proc/self/ns/ipc", &keepers) == 0 && fstatat(p->living_fd, "ns/ipc", &its, 0) == 0 &&
	       its.st_ino != keepers.st_ino;
}

static void undo_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct undo_scratch *s = scratch;
	struct seminfo limits = { 0 }, used = { 0 };
	struct semid_ds set;
	void *room = NULL;
	int last = semctl(0, 0, SEM_INFO, (union semun){ .info = &used });

	if (last < 0 || used.semusz == 0 || in_own_namespace(c->process))
		return;
	s->cannot_tell = semctl(0, 0, IPC_INFO, (union semun){ .info = &limits }) < 0;
	batch_room(b, CALLS_MAX * sizeof(*s->probes), &room);
	s->probes = room;
	for (int i = 0; room && i <= last; i++) {
		int semid = semctl(i, 0, SEM_STAT_ANY, (union semun){ .set = &set });

		if (semid >= 0 && set.sem_otime)
			ask_set(b, s, (struct probe){ .semid = semid, .older = is_older(set.sem_otime, c->process) },
				set.sem_nsems, (size_t)limits.semopm);
	}
}

static int undo_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct undo_scratch *s = scratch;
	bool cannot_tell = s->cannot_tell;

	(void)state;
	for (uint32_t i = 0; i < s->n; i++) {
		int64_t r = batch_result(b, s->probes[i].op);

		if (r == -ERANGE)
			refused(c->ps,
				BLAME_PROCESS(c->process, .object = "System V semaphores",
					.remedy = "start it with spore run, in an IPC namespace of its own"),
				"set %d is to be adjusted when it exits (SEM_UNDO)", s->probes[i].semid);
		else if (r != -EAGAIN && r != -EIDRM && r != -EINVAL && !(r == -EACCES && s->probes[i].older))
			cannot_tell = true; /* EACCES: it may have been another user when it used the set */
	}
	if (cannot_tell)
		refused(c->ps,
			BLAME_PROCESS(c->process, .object = "System V semaphores",
				.remedy = "start it with spore run, in an IPC namespace of its own"),
			"it may have adjustments to make at its exit (SEM_UNDO), and cannot be asked");
	return CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_semaphore_undo = {
	.kind = {
		.name = "semaphore_undo",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: adjustments of semaphores at exit (SEM_UNDO) are refused",
		.sources = "semop(2); ipc/sem.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct undo_scratch),
	.ask = undo_ask,
	.capture = undo_capture,
};
