/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System V semaphores: semget(2), semop(2) with SEM_UNDO, semctl(2), clone(2) and unshare(2) CLONE_SYSVSEM. */

#include "maker.h"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *set;
	unsigned short *array;
};

static int id = -1;
static key_t key;
static struct semid_ds before;
static int pids[8];

static int make(int n)
{
	key = 0x54000000 | (getpid() & 0xffffff);
	id = semget(key, n, IPC_CREAT | IPC_EXCL | 0640);
	NEED(id >= 0);
	return 0;
}

static int operate(int num, int by, int flags)
{
	struct sembuf op = { (unsigned short)num, (short)by, (short)(IPC_NOWAIT | flags) };

	SAME(semop(id, &op, 1), 0);
	return 0;
}

static int set(int num, int value)
{
	SAME(semctl(id, num, SETVAL, (union semun){ .val = value }), 0);
	return 0;
}

static int look(void)
{
	SAME(semctl(id, 0, IPC_STAT, (union semun){ .set = &before }), 0);
	for (int i = 0; i < 8 && i < (int)before.sem_nsems; i++)
		pids[i] = semctl(id, i, GETPID);
	return 0;
}

/* All but the times; whether there was an operation is seen by one of them. */
static int same(void)
{
	struct semid_ds now;

	SAME(semctl(id, 0, IPC_STAT, (union semun){ .set = &now }), 0);
	SAME(semget(key, 0, 0), id);
	SAME(now.sem_perm.uid, before.sem_perm.uid);
	SAME(now.sem_perm.gid, before.sem_perm.gid);
	SAME(now.sem_perm.cuid, before.sem_perm.cuid);
	SAME(now.sem_perm.cgid, before.sem_perm.cgid);
	SAME(now.sem_perm.mode, before.sem_perm.mode);
	SAME(now.sem_nsems, before.sem_nsems);
	SAME(now.sem_otime != 0, before.sem_otime != 0);
	for (int i = 0; i < 8 && i < (int)before.sem_nsems; i++)
		SAME(semctl(id, i, GETPID), pids[i]);
	return 0;
}

static int leave(void)
{
	SAME(semctl(id, 0, IPC_RMID), 0);
	return 0;
}

/* --- values; arg 1: nobody ever called semop; 2: the last to do so is dead; 3: untouched --- */

static int values_kid(struct maker_ctx *ctx)
{
	return operate(2, 7, 0);
}

static int values_make(struct maker_ctx *ctx)
{
	TRY(make(5));
	if (ctx->arg == 3)
		return look();
	SAME(semctl(id, 0, SETALL, (union semun){ .array = (unsigned short[]){ 1, 0, 3, 32767, 5 } }), 0);
	if (ctx->arg == 0) {
		TRY(operate(1, 2, 0));
		TRY(operate(3, -1, 0));
		TRY(operate(3, 1, 0));
		TRY(kid_start(ctx, values_kid, NULL, NULL));
	} else if (ctx->arg == 2) {
		pid_t p = fork();

		if (p == 0)
			_exit(values_kid(ctx));
		TRY(reap_ok(p));
	}
	return look();
}

static int values_use(struct maker_ctx *ctx)
{
	TRY(same());
	SAME(semctl(id, 0, GETVAL), ctx->arg == 3 ? 0 : 1);
	SAME(semctl(id, 1, GETVAL), ctx->arg == 0 ? 2 : 0);
	SAME(semctl(id, 2, GETVAL), ctx->arg == 3 ? 0 : ctx->arg == 1 ? 3 : 10);
	SAME(semctl(id, 3, GETVAL), ctx->arg == 3 ? 0 : 32767);
	SAME(semctl(id, 4, GETVAL), ctx->arg == 3 ? 0 : 5);
	TRY(operate(4, 1, 0));
	if (ctx->arg == 0)
		TRY(kids_finish(ctx));
	return leave();
}

static int make_as_another(void)
{
	CHECK(!setegid(1001) && !seteuid(1000));
	return semget(key, 1, IPC_CREAT | IPC_EXCL | 0640) < 0;
}

static int owned_make(struct maker_ctx *ctx)
{
	pid_t p;

	key = 0x54000000 | (getpid() & 0xffffff);
	p = fork();
	if (p == 0)
		_exit(make_as_another());
	TRY(reap_ok(p));
	id = semget(key, 0, 0);
	CHECK(id >= 0);
	TRY(look());
	before.sem_perm.uid = 1002;
	before.sem_perm.gid = 1003;
	before.sem_perm.mode = 0451;
	SAME(semctl(id, 0, IPC_SET, (union semun){ .set = &before }), 0);
	TRY(operate(0, 4, 0));
	return look();
}

static int owned_use(struct maker_ctx *ctx)
{
	SAME(before.sem_perm.uid, 1002);
	SAME(before.sem_perm.cgid, 1001);
	TRY(same());
	SAME(semctl(id, 0, GETVAL), 4);
	return leave();
}

/* --- adjustments of a child, which ends at last --- */

struct step {
	int by;
	bool undo;
};

/* In a set of n, semaphore num, of that value at first; what is left of it when the child has ended. */
static const struct undo {
	int n, num, first;
	struct step steps[4];
	int last;
} undos[] = {
	{ 1, 0, 0, { { 1, true } }, 0 },
	{ 1, 0, 32767, { { -2, true } }, 32767 },
	{ 120, 70, 16000, { { 1, true } }, 16000 },
	{ 1, 0, 32767, { { -32767, true }, { 5, false } }, 32767 },
	{ 1, 0, 0, { { 32767, true }, { -32767, false }, { 1, true }, { 100, false } }, 0 },
	{ 3, 1, 100, { { -50, true }, { 20, true }, { 5, false } }, 105 },
	{ 2, 1, 20000, { { 9000, true } }, 20000 },
	{ 2, 1, 3, { { 5, true }, { -5, true } }, 3 },
};

static int undo_kid(struct maker_ctx *ctx)
{
	const struct undo *u = &undos[ctx->arg];

	for (size_t i = 0; i < 4 && u->steps[i].by; i++)
		TRY(operate(u->num, u->steps[i].by, u->steps[i].undo ? SEM_UNDO : 0));
	return 0;
}

static int undo_make(struct maker_ctx *ctx)
{
	TRY(make(undos[ctx->arg].n));
	TRY(set(undos[ctx->arg].num, undos[ctx->arg].first));
	TRY(kid_start(ctx, undo_kid, NULL, NULL));
	return look();
}

static int undo_use(struct maker_ctx *ctx)
{
	const struct undo *u = &undos[ctx->arg];
	int now = u->first;

	TRY(same());
	for (size_t i = 0; i < 4; i++)
		now += u->steps[i].by;
	SAME(semctl(id, u->num, GETVAL), now);
	TRY(kids_finish(ctx));
	SAME(semctl(id, u->num, GETVAL), u->last);
	return leave();
}

/* --- many at once --- */

enum { MANY = 1000 };

static int many_kid(struct maker_ctx *ctx)
{
	for (int i = 0; i < MANY; i += 7)
		TRY(operate(i, i % 2 ? i + 1 : -(i + 1), SEM_UNDO));
	return 0;
}

static int many_make(struct maker_ctx *ctx)
{
	TRY(make(MANY));
	for (int i = 0; i < MANY; i++)
		TRY(set(i, 2000 + i));
	return kid_start(ctx, many_kid, NULL, NULL);
}

static int many_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < MANY; i++)
		SAME(semctl(id, i, GETVAL), 2000 + i + (i % 7 ? 0 : i % 2 ? i + 1 : -(i + 1)));
	TRY(kids_finish(ctx));
	for (int i = 0; i < MANY; i++)
		SAME(semctl(id, i, GETVAL), 2000 + i);
	return leave();
}

/* --- who shares them: threads, one that does not, a child that does --- */

static _Atomic int ready, go;

static void *adjusts(void *arg)
{
	if (arg && unshare(CLONE_SYSVSEM))
		return (void *)1;
	if (operate(1, 3, SEM_UNDO))
		return (void *)1;
	ready = 1;
	wait_for(&go);
	return NULL;
}

static pthread_t thread;

static int threads_kid(struct maker_ctx *ctx)
{
	TRY(operate(0, 5, SEM_UNDO));
	TRY(thread_start(&thread, adjusts, (void *)ctx->arg));
	CHECK(UNTIL(ready));
	return 0;
}

static int threads_kid_use(struct maker_ctx *ctx)
{
	void *failed;

	let_go(&go);
	SAME(pthread_join(thread, &failed), 0);
	CHECK(!failed);
	SAME(semctl(id, 0, GETVAL), 5);
	/* Its own, a thread takes with it. */
	CHECK(UNTIL(semctl(id, 1, GETVAL) == (ctx->arg ? 0 : 3)));
	return 0;
}

static int threads_make(struct maker_ctx *ctx)
{
	TRY(make(2));
	return kid_start(ctx, threads_kid, threads_kid_use, NULL);
}

static int all_back_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(semctl(id, 0, GETVAL), 0);
	SAME(semctl(id, 1, GETVAL), 0);
	return leave();
}

/* Born with its parent's: they are made when both have ended. */
static int heir_kid(struct maker_ctx *ctx)
{
	return operate(1, 2, SEM_UNDO);
}

static pid_t heir;

static int parent_kid(struct maker_ctx *ctx)
{
	int up = ctx->shared->up;

	TRY(operate(0, 5, SEM_UNDO));
	heir = (pid_t)syscall(SYS_clone, CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0);
	if (heir == 0)
		kid_live(ctx, heir_kid, NULL);
	return kid_up(ctx, up, heir);
}

static int parent_kid_use(struct maker_ctx *ctx)
{
	TRY(reap_ok(heir));
	SAME(semctl(id, 0, GETVAL), 5);
	SAME(semctl(id, 1, GETVAL), 2);
	return 0;
}

static int heir_make(struct maker_ctx *ctx)
{
	TRY(make(2));
	return kid_start(ctx, parent_kid, parent_kid_use, NULL);
}

/* --- a thread asleep in semop --- */

static pid_t asleep;

static void *waits(void *arg)
{
	struct sembuf op = { 0, -2, (short)(long)arg };

	asleep = tid_self();
	return (void *)(long)(semop(id, &op, 1) ? errno : 0);
}

static int asleep_make(struct maker_ctx *ctx)
{
	TRY(make(1));
	TRY(operate(0, 1, 0));
	TRY(thread_start(&thread, waits, (void *)ctx->arg));
	CHECK(UNTIL(asleep));
	return until_blocked_in(asleep, SYS_semtimedop);
}

static int asleep_use(struct maker_ctx *ctx)
{
	void *error;

	CHECK(UNTIL(semctl(id, 0, GETNCNT) == 1));
	TRY(operate(0, 1, 0));
	SAME(pthread_join(thread, &error), 0);
	SAME((long)error, 0);
	SAME(semctl(id, 0, GETVAL), 0);
	return leave();
}

#define UNDO(name, what, arg)                                                                                          \
	{                                                                                                              \
		name, what, undo_make, undo_use, 0, arg, NULL                                                          \
	}

const struct maker makers_sysv_sem[] = {
	{ "values", "a set that a process and its child changed", values_make, values_use, 0, 0, NULL },
	{ "set-only", "one whose values were only set", values_make, values_use, 0, 1, NULL },
	{ "last-dead", "one last changed by a process that has ended", values_make, values_use, MAKER_CONTAINER, 2,
		NULL },
	{ "untouched", "one that nobody has touched", values_make, values_use, 0, 3, NULL },
	{ "owned", "one with another owner", owned_make, owned_use, 0, 0, NULL },
	UNDO("undo", "an adjustment at exit", 0),
	UNDO("undo-lowered", "one of a semaphore at its highest value", 1),
	UNDO("undo-set", "one in a large set", 2),
	UNDO("undo-most", "the highest there can be", 3),
	UNDO("undo-least", "the lowest there can be", 4),
	UNDO("undo-sum", "several operations", 5),
	UNDO("undo-middle", "one in two steps", 6),
	UNDO("undo-settled", "operations that cancel each other", 7),
	{ "undo-many", "143 adjustments in a set of a thousand", many_make, many_use, MAKER_SLOW, 0, NULL },
	{ "undo-threads", "threads that share their adjustments", threads_make, all_back_use, 0, 0, NULL },
	{ "undo-thread", "a thread that has its own", threads_make, all_back_use, 0, 1, NULL },
	{ "undo-heir", "a child that shares its parent's", heir_make, all_back_use, 0, 0, NULL },
	{ "asleep", "a thread asleep in semop", asleep_make, asleep_use, MAKER_NO_STOP, 0, NULL },
	{ "asleep-undo", "a thread asleep in semop with SEM_UNDO", asleep_make, asleep_use, MAKER_NO_STOP, SEM_UNDO,
		NULL },
	{ 0 },
};
