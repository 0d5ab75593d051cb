/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads: what each has for itself. pthreads(7), prctl(2), sched(7). */

#include "maker.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { N = 4 };

static _Atomic int ready, go, bad;
static pthread_t threads[64];

/* One thread of a set: sets up its own, says so, sleeps, looks again. */
static void *own_thing(void *arg, int (*set)(int), int (*check)(int))
{
	int i = (int)(intptr_t)arg;

	if (set(i))
		bad++;
	ready++;
	wait_for(&go);
	if (check(i))
		bad++;
	return (void *)(intptr_t)(i + 1000);
}

static int start_all(int n, void *(*run)(void *))
{
	for (int i = 0; i < n; i++)
		TRY(thread_start(&threads[i], run, (void *)(intptr_t)i));
	CHECK(UNTIL(ready == n));
	SAME(bad, 0);
	return 0;
}

static int join_all(int n)
{
	void *answer;

	let_go(&go);
	for (int i = 0; i < n; i++) {
		SAME(pthread_join(threads[i], &answer), 0);
		SAME((intptr_t)answer, i + 1000);
	}
	SAME(bad, 0);
	return 0;
}

#define OWN(thing, n)                                                                                                  \
	static void *thing##_run(void *arg)                                                                            \
	{                                                                                                              \
		return own_thing(arg, thing##_set, thing##_check);                                                     \
	}                                                                                                              \
	static int thing##_make(struct maker_ctx *ctx)                                                                 \
	{                                                                                                              \
		return start_all(n, thing##_run);                                                                      \
	}                                                                                                              \
	static int thing##_use(struct maker_ctx *ctx)                                                                  \
	{                                                                                                              \
		return join_all(n);                                                                                    \
	}

static pid_t tids[64];

static int id_set(int i)
{
	tids[i] = tid_self();
	return 0;
}

static int id_check(int i)
{
	SAME(tids[i], tid_self());
	CHECK(pthread_equal(threads[i], pthread_self()));
	return 0;
}

OWN(id, 50)

static int name_set(int i)
{
	char name[16];

	snprintf(name, sizeof(name), "thread (%d) \xc3\xa9", i);
	return prctl(PR_SET_NAME, name);
}

static int name_check(int i)
{
	char name[16], now[16] = "";

	snprintf(name, sizeof(name), "thread (%d) \xc3\xa9", i);
	CHECK(!prctl(PR_GET_NAME, now));
	CHECK(!strcmp(name, now));
	return 0;
}

OWN(name, N)

static int mask_set(int i)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1 + 2 * (i & 1));
	sigaddset(&set, SIGRTMIN + i);
	return pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static int mask_check(int i)
{
	sigset_t set;

	SAME(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (s < 32 || s >= SIGRTMIN)
			SAME(sigismember(&set, s), s == SIGUSR1 + 2 * (i & 1) || s == SIGRTMIN + i);
	return 0;
}

OWN(mask, N)

static char stacks[N][16384];

static int altstack_set(int i)
{
	stack_t s = { .ss_sp = stacks[i], .ss_size = sizeof(stacks[i]) - (size_t)i * 1024 };

	return sigaltstack(&s, NULL);
}

static int altstack_check(int i)
{
	stack_t s;

	CHECK(!sigaltstack(NULL, &s));
	CHECK(s.ss_sp == stacks[i]);
	SAME(s.ss_size, sizeof(stacks[i]) - (size_t)i * 1024);
	SAME(s.ss_flags, 0);
	return 0;
}

OWN(altstack, N)

static int affinity_set(int i)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(i & 1, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static int affinity_check(int i)
{
	cpu_set_t set;

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	SAME(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(i & 1, &set));
	SAME(sched_getcpu(), i & 1);
	return 0;
}

OWN(affinity, N)

static int affinity_two_make(struct maker_ctx *ctx)
{
	NEED(sysconf(_SC_NPROCESSORS_ONLN) >= 2);
	return affinity_make(ctx);
}

static int nice_set(int i)
{
	return setpriority(PRIO_PROCESS, (id_t)tid_self(), i * 3 + 1);
}

static int nice_check(int i)
{
	SAME(getpriority(PRIO_PROCESS, (id_t)tid_self()), i * 3 + 1);
	return 0;
}

OWN(nice, N)

static int slack_set(int i)
{
	return prctl(PR_SET_TIMERSLACK, 70000 + i);
}

static int slack_check(int i)
{
	SAME(prctl(PR_GET_TIMERSLACK), 70000 + i);
	return 0;
}

OWN(slack, N)

static int policy_set(int i)
{
	struct sched_param p = { 0 };

	return sched_setscheduler(0, i & 1 ? SCHED_BATCH : SCHED_IDLE, &p);
}

static int policy_check(int i)
{
	SAME(sched_getscheduler(0), i & 1 ? SCHED_BATCH : SCHED_IDLE);
	return 0;
}

OWN(policy, N)

static __thread uint64_t tls_word = 12345;
static __thread char tls_bytes[5000];

static int tls_set(int i)
{
	tls_word = (uint64_t)i * 77;
	errno = 900 + i;
	fill(tls_bytes, sizeof(tls_bytes), (uint64_t)i);
	return 0;
}

static int tls_check(int i)
{
	SAME(tls_word, i * 77);
	return check_fill(tls_bytes, sizeof(tls_bytes), (uint64_t)i);
}

OWN(tls, N)

/* pthread keys have their destructors run at the end. */
static pthread_key_t key;
static _Atomic int destroyed;

static void destroy(void *p)
{
	destroyed += *(int *)p;
	free(p);
}

static int key_set(int i)
{
	int *p = malloc(sizeof(*p));

	*p = i + 1;
	return pthread_setspecific(key, p);
}

static int key_check(int i)
{
	SAME(*(int *)pthread_getspecific(key), i + 1);
	return 0;
}

static void *key_run(void *arg)
{
	return own_thing(arg, key_set, key_check);
}

static int key_make(struct maker_ctx *ctx)
{
	SAME(pthread_key_create(&key, destroy), 0);
	return start_all(N, key_run);
}

static int key_use(struct maker_ctx *ctx)
{
	TRY(join_all(N));
	SAME(destroyed, 1 + 2 + 3 + 4);
	return 0;
}

/* Identities of one thread alone, past the C library, which would set them in all. */
static int uid_set(int i)
{
	return i ? (int)syscall(SYS_setresuid, -1, 1000 + i, -1) : 0;
}

static int uid_check(int i)
{
	uid_t r, e, s;

	CHECK(!syscall(SYS_getresuid, &r, &e, &s));
	SAME(r, 0);
	SAME(e, i ? 1000 + i : 0);
	SAME(s, 0);
	return 0;
}

OWN(uid, 3)

static int unshared_set(int i)
{
	char path[64];

	if (!i)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d", getpid());
	CHECK(!unshare(CLONE_FS));
	CHECK(!chdir(path));
	return 0;
}

static int unshared_check(int i)
{
	char path[64], now[512];

	snprintf(path, sizeof(path), "/proc/%d", getpid());
	CHECK(getcwd(now, sizeof(now)));
	SAME(!strcmp(now, path), i != 0);
	return 0;
}

OWN(unshared, 2)

static int table_set(int i)
{
	if (!i)
		return 0;
	CHECK(!unshare(CLONE_FILES));
	SAME(dup2(0, 77), 77);
	return 0;
}

static int table_check(int i)
{
	SAME(fcntl(77, F_GETFD), i ? 0 : -1);
	return 0;
}

OWN(table, 2)

/* A thread asleep in a join: the kernel wakes it through clear_child_tid when the other ends. */

static void *joins_first(void *arg)
{
	void *answer = NULL;

	tids[1] = tid_self();
	return pthread_join(threads[0], &answer) ? NULL : answer;
}

static int joining_make(struct maker_ctx *ctx)
{
	TRY(start_all(1, id_run));
	TRY(thread_start(&threads[1], joins_first, NULL));
	CHECK(UNTIL(tids[1]));
	return until_blocked_in(tids[1], SYS_futex);
}

static int joining_use(struct maker_ctx *ctx)
{
	void *answer;

	let_go(&go);
	SAME(pthread_join(threads[1], &answer), 0);
	SAME((intptr_t)answer, 1000);
	return 0;
}

static int detached_make(struct maker_ctx *ctx)
{
	TRY(start_all(N, id_run));
	for (int i = 0; i < N; i++)
		SAME(pthread_detach(threads[i]), 0);
	return 0;
}

static int detached_use(struct maker_ctx *ctx)
{
	char path[64];

	let_go(&go);
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d", tids[i]);
		CHECK(UNTIL(access(path, F_OK)));
	}
	SAME(bad, 0);
	return 0;
}

static void *nothing(void *arg)
{
	return arg;
}

/* Ended threads leave holes between the numbers. */
static int holes_make(struct maker_ctx *ctx)
{
	pthread_t other;

	for (int i = 0; i < 8; i++) {
		TRY(thread_start(&threads[i], id_run, (void *)(intptr_t)i));
		TRY(thread_start(&other, nothing, NULL));
		SAME(pthread_join(other, NULL), 0);
	}
	CHECK(UNTIL(ready == 8));
	return 0;
}

static int holes_use(struct maker_ctx *ctx)
{
	return join_all(8);
}

/* Two threads that each turn one counter, and must not stop. */

static _Atomic uint64_t turns[2];

static void *spin(void *arg)
{
	int i = (int)(intptr_t)arg;

	ready++;
	while (!go)
		turns[i]++;
	return (void *)(intptr_t)(i + 1000);
}

static int spin_make(struct maker_ctx *ctx)
{
	return start_all(2, spin);
}

static int spin_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 2; i++) {
		uint64_t was = turns[i];

		CHECK(UNTIL(turns[i] > was + 1000));
	}
	return join_all(2);
}

const struct maker makers_thread[] = {
	ROW("many", "fifty threads, their numbers and handles", id),
	ROW("name", "a name each, with odd characters", name),
	ROW("mask", "a signal mask each", mask),
	ROW("altstack", "an alternate signal stack each", altstack),
	{ "affinity", "a set of CPUs each", affinity_two_make, affinity_use },
	ROW("nice", "a nice value each", nice),
	ROW("timerslack", "a timer slack each", slack),
	ROW("policy", "a scheduling policy each", policy),
	ROW("tls", "thread-local storage", tls),
	ROW("key", "thread-specific data with destructors", key),
	{ "uid", "an identity each", uid_make, uid_use },
	{ "unshared-fs", "a thread with a working directory of its own", unshared_make, unshared_use, MAKER_MUST_REFUSE,
		0, "working directory of its own" },
	{ "unshared-files", "a thread with a descriptor table of its own", table_make, table_use, MAKER_MUST_REFUSE, 0,
		"descriptor table of its own" },
	ROW("joining", "a thread asleep in a join", joining),
	ROW("detached", "detached threads", detached),
	ROW("holes", "numbers that do not follow each other", holes),
	ROW("spinning", "two threads that never sleep", spin),
	{ 0 },
};
