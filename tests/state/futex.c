/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks in memory, and those who wait for them. futex(2), get_robust_list(2), pthread_mutex_lock(3). */

#include "maker.h"

#include <linux/futex.h>
#include <semaphore.h>

static pthread_mutex_t mutex;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static _Atomic pid_t thread_tid;
static _Atomic int step, go;
static int result;

/* arg: what kind of mutex */
enum { NORMAL = 0, PI = 1, ROBUST = 2, SHARED = 4, RECURSIVE = 8 };

static int init(pthread_mutex_t *m, long kind)
{
	pthread_mutexattr_t at;

	SAME(pthread_mutexattr_init(&at), 0);
	if (kind & PI)
		SAME(pthread_mutexattr_setprotocol(&at, PTHREAD_PRIO_INHERIT), 0);
	if (kind & ROBUST)
		SAME(pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST), 0);
	if (kind & SHARED)
		SAME(pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED), 0);
	if (kind & RECURSIVE)
		SAME(pthread_mutexattr_settype(&at, PTHREAD_MUTEX_RECURSIVE), 0);
	SAME(pthread_mutex_init(m, &at), 0);
	return 0;
}

/* Held by us, waited for by a thread. */

static void *locks(void *arg)
{
	thread_tid = tid_self();
	result = pthread_mutex_lock(&mutex);
	step = 1;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static int contended_make(struct maker_ctx *ctx)
{
	TRY(init(&mutex, ctx->arg));
	SAME(pthread_mutex_lock(&mutex), 0);
	if (ctx->arg & RECURSIVE)
		SAME(pthread_mutex_lock(&mutex), 0);
	TRY(thread_start(&thread, locks, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_futex);
}

static int contended_use(struct maker_ctx *ctx)
{
	nap(20);
	SAME(step, 0);
	if (ctx->arg & RECURSIVE)
		SAME(pthread_mutex_unlock(&mutex), 0);
	SAME(pthread_mutex_unlock(&mutex), 0);
	SAME(pthread_join(thread, NULL), 0);
	SAME(step, 1);
	SAME(result, 0);
	SAME(pthread_mutex_lock(&mutex), 0);
	SAME(pthread_mutex_unlock(&mutex), 0);
	return 0;
}

/* Held by a thread that ends with it: the next one is told. */

static void *holds_and_ends(void *arg)
{
	result = pthread_mutex_lock(&mutex);
	step = 1;
	wait_for(&go);
	return NULL;
}

static int owner_thread_make(struct maker_ctx *ctx)
{
	TRY(init(&mutex, ctx->arg));
	TRY(thread_start(&thread, holds_and_ends, NULL));
	CHECK(UNTIL(step));
	return result;
}

static int owner_thread_use(struct maker_ctx *ctx)
{
	SAME(pthread_mutex_trylock(&mutex), EBUSY);
	let_go(&go);
	SAME(pthread_mutex_lock(&mutex), EOWNERDEAD);
	SAME(pthread_mutex_consistent(&mutex), 0);
	SAME(pthread_mutex_unlock(&mutex), 0);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

/* The same between processes: the holder is killed while we sleep in the lock. */

static pthread_mutex_t *common;
static pid_t kid;

static int holds_common(struct maker_ctx *ctx)
{
	SAME(pthread_mutex_lock(common), 0);
	return 0;
}

static void *locks_common(void *arg)
{
	thread_tid = tid_self();
	result = pthread_mutex_lock(common);
	return NULL;
}

static int owner_process_make(struct maker_ctx *ctx)
{
	common = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(common != MAP_FAILED);
	TRY(init(common, ctx->arg));
	TRY(kid_start(ctx, holds_common, NULL, &kid));
	TRY(thread_start(&thread, locks_common, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_futex);
}

static int owner_process_use(struct maker_ctx *ctx)
{
	int status;

	CHECK(!kill(kid, SIGKILL));
	SAME(waitpid(kid, &status, 0), kid);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, EOWNERDEAD);
	return 0;
}

/* The list's head is where the C library put it, for each thread. */

static _Atomic uintptr_t heads[2];

static uintptr_t head_of(pid_t tid)
{
	size_t len = 0;
	void *head = NULL;

	return syscall(SYS_get_robust_list, tid, &head, &len) ? 0 : (uintptr_t)head + len;
}

static void *looks(void *arg)
{
	heads[1] = head_of(0);
	thread_tid = tid_self();
	wait_for(&go);
	return NULL;
}

static int list_make(struct maker_ctx *ctx)
{
	heads[0] = head_of(0);
	TRY(thread_start(&thread, looks, NULL));
	CHECK(UNTIL(thread_tid));
	CHECK(heads[0] && heads[1]);
	return 0;
}

static int list_use(struct maker_ctx *ctx)
{
	SAME(head_of(0), heads[0]);
	SAME(head_of(thread_tid), heads[1]);
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

/* A condition: three wait, one signal and one broadcast. */

static pthread_t waiters[3];
static _Atomic int waiting, woken;

static void *waits(void *arg)
{
	pthread_mutex_lock(&mutex);
	waiting++;
	while (!step)
		pthread_cond_wait(&cond, &mutex);
	woken++;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static int cond_make(struct maker_ctx *ctx)
{
	TRY(init(&mutex, 0));
	for (int i = 0; i < 3; i++)
		TRY(thread_start(&waiters[i], waits, NULL));
	CHECK(UNTIL(waiting == 3));
	SAME(pthread_mutex_lock(&mutex), 0); /* who waits has let go of it */
	SAME(pthread_mutex_unlock(&mutex), 0);
	return 0;
}

static int cond_use(struct maker_ctx *ctx)
{
	SAME(pthread_mutex_lock(&mutex), 0);
	step = 1;
	SAME(pthread_cond_signal(&cond), 0);
	SAME(pthread_mutex_unlock(&mutex), 0);
	CHECK(UNTIL(woken == 1));
	SAME(pthread_cond_broadcast(&cond), 0);
	for (int i = 0; i < 3; i++)
		SAME(pthread_join(waiters[i], NULL), 0);
	return 0;
}

/* Semaphores, barriers and reader-writer locks. */

static sem_t sem;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void *waits_sem(void *arg)
{
	thread_tid = tid_self();
	result = sem_wait(&sem);
	return NULL;
}

static int sem_make(struct maker_ctx *ctx)
{
	CHECK(!sem_init(&sem, 0, 0));
	TRY(thread_start(&thread, waits_sem, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_futex);
}

static int sem_use(struct maker_ctx *ctx)
{
	CHECK(!sem_post(&sem));
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	return 0;
}

static void *waits_barrier(void *arg)
{
	thread_tid = tid_self();
	pthread_barrier_wait(&barrier);
	return NULL;
}

static int barrier_make(struct maker_ctx *ctx)
{
	SAME(pthread_barrier_init(&barrier, NULL, 2), 0);
	TRY(thread_start(&thread, waits_barrier, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_futex);
}

static int barrier_use(struct maker_ctx *ctx)
{
	pthread_barrier_wait(&barrier);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

static void *waits_rwlock(void *arg)
{
	thread_tid = tid_self();
	result = pthread_rwlock_wrlock(&rwlock);
	step = 1;
	pthread_rwlock_unlock(&rwlock);
	return NULL;
}

static int rwlock_make(struct maker_ctx *ctx)
{
	SAME(pthread_rwlock_rdlock(&rwlock), 0);
	TRY(thread_start(&thread, waits_rwlock, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_futex);
}

static int rwlock_use(struct maker_ctx *ctx)
{
	SAME(step, 0);
	SAME(pthread_rwlock_unlock(&rwlock), 0);
	SAME(pthread_join(thread, NULL), 0);
	SAME(step, 1);
	return result;
}

/* A futex in a shared mapping: woken by another process. */

static int wakes_kid(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);

	s->flag[0] = 1;
	CHECK(syscall(SYS_futex, &s->flag[0], FUTEX_WAKE, 1, NULL, NULL, 0) == 1);
	return 0;
}

static struct maker_shared *page;

static void *waits_shared(void *arg)
{
	thread_tid = tid_self();
	while (!page->flag[0])
		result = (int)syscall(SYS_futex, &page->flag[0], FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

static int shared_make(struct maker_ctx *ctx)
{
	page = shared(ctx);
	TRY(thread_start(&thread, waits_shared, NULL));
	CHECK(UNTIL(thread_tid));
	TRY(until_blocked_in(thread_tid, SYS_futex));
	return kid_start(ctx, NULL, wakes_kid, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	TRY(until_blocked_in(thread_tid, SYS_futex));
	TRY(kids_finish(ctx));
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 0);
	return 0;
}

/* Several at once (futex_waitv). */

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

static _Atomic uint32_t words[2];

static void *waits_many(void *arg)
{
	struct waitv w[2] = { { 0, (uintptr_t)&words[0], 2 }, { 0, (uintptr_t)&words[1], 2 } };

	thread_tid = tid_self();
	result = (int)syscall(449, w, 2, 0, NULL, CLOCK_MONOTONIC);
	return NULL;
}

static int waitv_make(struct maker_ctx *ctx)
{
	NEED(syscall(449, NULL, 1, 0, NULL, 0) != -1 || errno != ENOSYS);
	TRY(thread_start(&thread, waits_many, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, 449);
}

static int waitv_use(struct maker_ctx *ctx)
{
	TRY(until_blocked_in(thread_tid, 449)); /* a wait begun anew would see the new value and not sleep */
	words[1] = 1;
	SAME(syscall(SYS_futex, &words[1], FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	SAME(pthread_join(thread, NULL), 0);
	SAME(result, 1);
	return 0;
}

const struct maker makers_futex[] = {
	{ "mutex", "a mutex, held and waited for", contended_make, contended_use, 0, NORMAL },
	{ "recursive", "a recursive one, held twice", contended_make, contended_use, 0, RECURSIVE },
	{ "robust", "a robust one", contended_make, contended_use, 0, ROBUST },
	{ "pi", "one with priority inheritance", contended_make, contended_use, 0, PI },
	{ "pi-robust", "one with both", contended_make, contended_use, 0, PI | ROBUST },
	{ "owner-dies", "robust, its owner a thread that will end", owner_thread_make, owner_thread_use, 0, ROBUST },
	{ "owner-dies-pi", "the same with priority inheritance", owner_thread_make, owner_thread_use, 0, ROBUST | PI },
	{ "owner-killed", "robust, its owner another process", owner_process_make, owner_process_use, 0,
		ROBUST | SHARED },
	{ "owner-killed-pi", "the same with priority inheritance", owner_process_make, owner_process_use, 0,
		ROBUST | SHARED | PI },
	ROW("robust-list", "the address of each thread's robust list", list),
	ROW("condition", "three threads that wait for a condition", cond),
	ROW("semaphore", "a thread that waits for a semaphore", sem),
	ROW("barrier", "a thread that waits at a barrier", barrier),
	ROW("rwlock", "a writer that waits for a reader", rwlock),
	ROW("shared", "a futex in memory shared with the process that wakes it", shared),
	ROW("waitv", "two futexes waited for at once", waitv),
	{ 0 },
};
