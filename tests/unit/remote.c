/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Remote system calls: every kind of target is stopped, runs a batch, and must not have noticed. */
#include "remote.h"

#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "remote/layout.h"

#define ARENA (16 * 1024) /* for each thread */

int failures;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

char *read_maps(pid_t pid)
{
	char path[32], *text = NULL;
	size_t size = 0;
	_cleanup_file_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f || getdelim(&text, &size, 0, f) < 0)
		return strdup("");
	return text;
}

static size_t list_threads(pid_t pid, struct stop **list)
{
	char path[32];
	_cleanup_dir_ DIR *d = NULL;
	struct dirent *e;
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	*list = NULL;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		*list = reallocarray(*list, n + 1, sizeof(**list));
		(*list)[n++] = (struct stop){ .tid = atoi(e->d_name) };
	}
	return n;
}

int process_stop(struct stopped *p, pid_t pid)
{
	int r = 0;

	*p = (struct stopped){ .pid = pid };
	p->n = list_threads(pid, &p->list);
	for (size_t i = 0; i < p->n && !r; i++)
		r = stop_seize(&p->list[i], p->list[i].tid, 0);
	for (size_t i = 0; i < p->n && !r; i++)
		r = stop_interrupt(&p->list[i]);
	for (size_t i = 0; i < p->n && !r; i++)
		do {
			r = stop_wait(&p->list[i], 5000);
			r = r ? r : inject_let_out(&p->list[i]);
		} while (r == -ETIMEDOUT);
	if (p->n && !r) {
		_cleanup_fd_ int dir = procfs_open_pid(pid);

		r = proc_maps_read(dir, &p->maps);
	}
	return p->n ? r : -ESRCH;
}

void process_release(struct stopped *p)
{
	for (size_t i = 0; i < p->n; i++)
		stop_release(&p->list[i]);
	free(p->list);
	proc_maps_free(&p->maps);
}

/* Three calls, one of which uses another's result. */
static int run_batch(struct injection *in, struct stop *s, size_t i)
{
	struct batch b;
	struct slot *slot = area_slot(&in->area, i);
	uint32_t map, unmap;
	int r;

	batch_init(&b, &in->area);
	batch_expect(&b, batch_call(&b, "gettid", SYS_gettid), s->tid);
	map = batch_call(&b, "mmap", SYS_mmap, 0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1ull, 0);
	unmap = batch_call(&b, "munmap", SYS_munmap, 0, 8192);
	batch_use(&b, unmap, 0, map);
	batch_may_fail(&b, batch_call(&b, "bad close", SYS_close, -1ull));
	r = batch_submit(&b, slot);
	if (!r)
		r = batch_wait(&b, slot, 5000, stop_alive, s);
	batch_free(&b);
	return r;
}

static void check_unchanged(const struct stop *s)
{
	struct task_regs now = { 0 };
	uint64_t mask = 0;

	CHECK(!task_regs_get(s->tid, &now));
	CHECK(!memcmp(&now.gp, &s->regs.gp, sizeof(now.gp)));
	CHECK(now.xstate_size == s->regs.xstate_size);
	/* Not the bits that say which parts are in use: registers that are all zero count as in use or not, as it comes. */
	CHECK(!memcmp(now.xstate, s->regs.xstate, 512));
	CHECK(!memcmp(now.xstate + 520, s->regs.xstate + 520, now.xstate_size - 520));
	CHECK(!ptrace(PTRACE_GETSIGMASK, s->tid, sizeof(mask), &mask) && mask == s->sigmask);
	task_regs_free(&now);
}

static int inside(struct injection *in, struct stopped *p, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = inject_enter(in, &p->list[i], i);
	for (size_t i = 0; i < n && !r; i++)
		r = run_batch(in, &p->list[i], i);
	for (size_t i = 0; i < n; i++) {
		int left = inject_leave(in, &p->list[i]);

		r = r ? r : left;
	}
	return r;
}

int round_trip(pid_t pid, size_t n, struct gadget_cache *cache)
{
	struct stopped p;
	struct injection in;
	struct problems ps;
	int r;

	problems_init(&ps);
	r = process_stop(&p, pid);
	n = n < p.n ? n : p.n;
	if (!r)
		r = inject_begin(&in, pid, &p.list[0], &p.maps, n, ARENA * n, cache, &ps);
	if (!r) {
		r = inside(&in, &p, n);
		inject_end(&in);
		for (size_t i = 0; i < n; i++)
			check_unchanged(&p.list[i]);
	}
	process_release(&p);
	for (size_t i = 0; i < ps.n; i++)
		fprintf(stderr, "%s\n", ps.list[i].text);
	problems_free(&ps);
	return r;
}

int remove_leftovers(pid_t pid)
{
	struct stopped p;
	struct injection in;
	struct problems ps;
	int n = 0;

	problems_init(&ps);
	if (CHECK(!process_stop(&p, pid)) && CHECK(!inject_begin(&in, pid, &p.list[0], &p.maps, 1, ARENA, NULL, &ps))) {
		for (size_t i = p.maps.n; i-- > 0;)
			if (inject_is_leftover(pid, &p.maps, &p.maps.list[i])) {
				n++;
				CHECK(!inject_remove_leftover(&in, p.maps.list[i].start, p.maps.list[i].end));
			}
		inject_end(&in);
	}
	process_release(&p);
	problems_free(&ps);
	return n;
}

static bool goes_on(struct seen *s)
{
	uint64_t turns = s->turns;

	for (int i = 0; i < 3000 && s->turns < turns + 3; i++)
		usleep(1000);
	return s->turns >= turns + 3;
}

/* Once it makes no more threads. */
char *settled_maps(pid_t pid)
{
	char *before = read_maps(pid);
	int calm = 0;

	for (int i = 0; i < 500 && calm < 5; i++) {
		char *now;

		usleep(20000);
		now = read_maps(pid);
		calm = strcmp(before, now) ? 0 : calm + 1;
		free(before);
		before = now;
	}
	return before;
}

#ifdef __SANITIZE_ADDRESS__
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

static void test_target(const char *name, target *body, size_t threads_inside, bool ticks)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(body, s);
	_cleanup_free_ char *before = NULL, *after = NULL;

	before = settled_maps(pid);
	for (int i = 0; i < 5; i++)
		if (!CHECK(!round_trip(pid, threads_inside, NULL)))
			break;
	after = read_maps(pid);
	/* AddressSanitizer's allocator maps more while threads come and go */
	if (!INSTRUMENTED && !CHECK(!strcmp(before, after)))
		fprintf(stderr, "before:\n%safter:\n%s", before, after);
	if (ticks)
		CHECK(goes_on(s));
	CHECK(!s->wrong);
	CHECK(!s->eintr);
	printf("%-12s %lu turns, %u wrong, %u EINTR, worst lateness %lu us\n", name, s->turns, s->wrong, s->eintr,
		s->late_us);
	target_end(pid);
	munmap(s, sizeof(*s));
}

static char state_of(pid_t pid)
{
	char path[32], state = 0;
	_cleanup_file_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
		return 0;
	return state;
}

static void test_stopped(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_stopped, s);

	usleep(10000);
	for (int i = 0; i < 3; i++)
		CHECK(!round_trip(pid, 1, NULL));
	usleep(10000);
	CHECK(state_of(pid) == 'T');
	CHECK(!s->turns);
	kill(pid, SIGCONT);
	CHECK(goes_on(s));
	target_end(pid);
}

static void test_dispatch(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_dispatch, s);

	CHECK(!round_trip(pid, 1, NULL));
	CHECK(!s->done);
	s->go = 1;
	CHECK(goes_on(s));
	usleep(10000);
	CHECK(s->done == 0x101);
	CHECK(!s->wrong);
	target_end(pid);
}

static void test_rseq(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_rseq, s);

	for (int i = 0; i < 50; i++) {
		struct stopped p;
		struct injection in;
		struct problems ps;

		problems_init(&ps);
		if (CHECK(!process_stop(&p, pid)) &&
			CHECK(!inject_begin(&in, pid, &p.list[0], &p.maps, 1, ARENA, NULL, &ps))) {
			CHECK(!inside(&in, &p, 1));
			inject_end(&in);
			s->token++;
		}
		process_release(&p);
		problems_free(&ps);
		usleep(500);
	}
	CHECK(goes_on(s));
	CHECK(!s->wrong);
	target_end(pid);
}

/* SIGSTOP cannot be blocked: it comes in the middle of a batch, which goes on; the process then stays stopped. */
static void test_signals(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_spin, s);
	struct stopped p;
	struct injection in;
	struct problems ps;

	problems_init(&ps);
	if (CHECK(!process_stop(&p, pid)) && CHECK(!inject_begin(&in, pid, &p.list[0], &p.maps, 1, ARENA, NULL, &ps))) {
		CHECK(!inject_enter(&in, &p.list[0], 0));
		kill(pid, SIGSTOP);
		CHECK(!run_batch(&in, &p.list[0], 0));
		CHECK(!inject_leave(&in, &p.list[0]));
		inject_end(&in);
		check_unchanged(&p.list[0]);
	}
	process_release(&p);
	usleep(10000);
	CHECK(state_of(pid) == 'T');
	kill(pid, SIGCONT);
	CHECK(goes_on(s));
	target_end(pid);
	problems_free(&ps);
}

/* A call that fails ends the batch, and is named. */
static void test_failing_batch(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_spin, s);
	struct stopped p;
	struct injection in;
	struct problems ps;
	struct batch b;

	problems_init(&ps);
	if (CHECK(!process_stop(&p, pid)) && CHECK(!inject_begin(&in, pid, &p.list[0], &p.maps, 1, 65536, NULL, &ps))) {
		struct slot *slot = area_slot(&in.area, 0);

		CHECK(!inject_enter(&in, &p.list[0], 0));
		batch_init(&b, &in.area);
		for (int i = 0; i < 100; i++)
			batch_call(&b, "getpid", SYS_getpid);
		batch_call(&b, "bad close", SYS_close, -1ull);
		batch_call(&b, "never", SYS_getpid);
		CHECK(!batch_submit(&b, slot));
		CHECK(batch_wait(&b, slot, 5000, stop_alive, &p.list[0]) == -EBADF);
		CHECK(batch_failed_at(&b, slot) == 100 && !strcmp(batch_what(&b, 100), "bad close"));
		CHECK(batch_result(&b, 42) == pid);
		CHECK(!batch_result(&b, 101));
		batch_free(&b);
		batch_init(&b, &in.area);
		batch_copy(&b, "x", 1);
		batch_room(&b, 1 << 30, NULL);
		CHECK(batch_submit(&b, slot) == -ENOMEM);
		batch_free(&b);
		inject_end(&in);
	}
	process_release(&p);
	CHECK(goes_on(s));
	target_end(pid);
	problems_free(&ps);
}

static void test_ends(void)
{
	struct seen *s = seen_new();
	struct stop stop;
	pid_t pid = target_start(target_spin, s);

	CHECK(!stop_seize(&stop, pid, 0) && !stop_interrupt(&stop) && !stop_wait(&stop, 1000));
	kill(pid, SIGKILL);
	CHECK(!waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
	stop_release(&stop);
	CHECK(stop_seize(&stop, pid, 0) == -ESRCH && stop.state == STOP_GONE);
	target_end(pid);
	CHECK(stop_seize(&stop, pid, 0) == -ESRCH);
}

/* A parent inside vfork does not stop, nor can it be let go; the stop comes with the child's end. */
static void test_vfork(void)
{
	struct seen *s = seen_new();
	struct stop stop;
	pid_t pid = target_start(target_vfork, s);

	CHECK(!stop_seize(&stop, pid, 0) && !stop_interrupt(&stop));
	CHECK(stop_wait(&stop, 50) == -ETIMEDOUT && stop.state == STOP_SEIZED);
	CHECK(!stop_wait(&stop, 2000) && stop.state == STOP_STOPPED);
	CHECK(!s->turns);
	stop_release(&stop);
	CHECK(goes_on(s));
	target_end(pid);
}

static void measure(const char *name, target *body)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(body, s);
	struct gadget_cache *cache = gadget_cache_new();
	struct stop stop;
	int64_t start, bare, trip, best_bare = 1000000, best_trip = 1000000, sum = 0;

	for (int i = 0; i < 200; i++) {
		start = now_us();
		stop_seize(&stop, pid, 0);
		stop_interrupt(&stop);
		stop_wait(&stop, 1000);
		stop_release(&stop);
		bare = now_us() - start;
		best_bare = bare < best_bare ? bare : best_bare;
		start = now_us();
		CHECK(!round_trip(pid, 1, cache));
		trip = now_us() - start;
		best_trip = trip < best_trip ? trip : best_trip;
		sum += trip;
	}
	printf("%-12s stop and release %ld us; injected batch of 4 calls: best %ld, mean %ld us\n", name, best_bare,
		best_trip, sum / 200);
	gadget_cache_free(cache);
	target_end(pid);
}

/* The areas share a list with the C library's own robust mutexes, and leave it as they found it. */
static void test_areas(void)
{
	struct robust_list_head *head;
	pthread_mutexattr_t attr;
	pthread_mutex_t before, between;
	struct area a[3];
	size_t size;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&before, &attr);
	pthread_mutex_init(&between, &attr);
	syscall(SYS_get_robust_list, 0, &head, &size);
	CHECK(head->list.next == &head->list);
	pthread_mutex_lock(&before);
	CHECK(!area_create(&a[0], REMOTE(0x2c5e00000000), 1 << 20, 4));
	CHECK(!area_create(&a[1], REMOTE(0x2c5e00000000), 1 << 20, 4));
	pthread_mutex_lock(&between);
	CHECK(!area_create(&a[2], REMOTE(0x2c5e00000000), 1 << 20, 4));
	pthread_mutex_unlock(&before);
	area_free(&a[1]);
	CHECK(head->list.next == a[2].entry);
	pthread_mutex_unlock(&between);
	CHECK(head->list.next == a[2].entry && head->list.next->next == a[0].entry);
	CHECK(((struct robust_list *)a[0].entry)->next == &head->list);
	area_free(&a[2]);
	area_free(&a[0]);
	CHECK(head->list.next == &head->list);
	CHECK(area_create(&a[0], REMOTE(0x2c5e00000000), 4096, 4) == -EINVAL);
}

static void measure_threads(void)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(target_threads, s);
	int64_t start, stopped, released;
	struct stopped p;

	usleep(100000);
	start = now_us();
	CHECK(!process_stop(&p, pid));
	stopped = now_us();
	process_release(&p);
	released = now_us();
	printf("stop of %zu threads %ld us, release %ld us\n", p.n, stopped - start, released - stopped);
	target_end(pid);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getuid()) {
		printf("needs root\n");
		return 77;
	}
	test_target("spin", target_spin, 1, true);
	test_target("nanosleep", target_nanosleep, 1, true);
	test_target("epoll", target_epoll, 1, true);
	test_target("avx", target_avx, 1, true);
	test_target("threads", target_threads, 200, true);
	test_target("avx threads", target_avx_threads, 6, true);
	test_target("seccomp", target_seccomp, 1, true);
	test_target("altstack", target_altstack, 1, true);
	test_target("mdwe", target_mdwe, 1, true);
	test_target("busybox", target_busybox, 1, false);
	test_areas();
	test_stopped();
	test_dispatch();
	test_rseq();
	test_signals();
	test_failing_batch();
	test_ends();
	test_vfork();
	measure("spin", target_spin);
	measure("nanosleep", target_nanosleep);
	measure_threads();
	test_birth();
	test_kills();
	return failures ? 1 : 0;
}
