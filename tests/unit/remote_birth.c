/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Births: from one seed in a new pid namespace come processes and threads with chosen numbers; with spore they all die. */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remote/birth.h"

#define BASE	 0x2c5e00000000ul
#define CHILDREN 50
#define THREADS	 20
#define SLOTS	 (1 + CHILDREN + THREADS)
#define WAIT_MS	 10000
#define AREA_FD	 100
#define SEED_FD	 101

struct born {
	volatile uint32_t ready, failures;
	volatile pid_t init;
	volatile int64_t us;
};

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* As before 5.16: no futex_waitv. */
static void become_old(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 449, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof(f) / sizeof(f[0]), f };

	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}

static pid_t start_seed(const struct area *a, int seed_fd, bool old)
{
	char argument[80], *argv[] = { (char *)"seed", argument, NULL }, *envp[] = { NULL };
	struct clone_args args = { .flags = CLONE_NEWPID, .exit_signal = SIGCHLD };
	pid_t pid;

	seed_argument(argument, a, AREA_FD, area_slot((struct area *)a, 0));
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!pid) {
		dup2(a->fd, AREA_FD);
		dup2(seed_fd, SEED_FD);
		if (old)
			become_old();
		syscall(SYS_execveat, seed_fd, "", argv, envp, AT_EMPTY_PATH);
		_exit(126);
	}
	return pid;
}

static void queue_birth(struct batch *b, pid_t number, uint64_t flags, struct slot *slot)
{
	struct clone_args args = {
		.flags = flags, .exit_signal = flags & CLONE_THREAD ? 0 : SIGCHLD, .set_tid_size = 1
	};

	args.set_tid = batch_copy(b, &number, sizeof(number)).v;
	batch_birth(b, batch_call(b, "clone3", SYS_clone3, batch_copy(b, &args, sizeof(args)).v, sizeof(args)), slot);
	batch_expect(b, b->n - 1, number);
}

static void run(struct batch *b, struct slot *s, int expect)
{
	CHECK(!batch_submit(b, s));
	int r = batch_wait(b, s, WAIT_MS, NULL, NULL);
	if (!CHECK(r == expect))
		fprintf(stderr, "%s: %s\n", batch_what(b, batch_failed_at(b, s)), strerror(-r));
	batch_free(b);
}

static void give_birth(struct area *a)
{
	struct batch b;

	batch_init(&b, a);
	batch_expect(&b, batch_call(&b, "getpid", SYS_getpid), 1);
	for (int i = 0; i < CHILDREN; i++)
		queue_birth(&b, 100 + 2 * i, 0, area_slot(a, 1 + (size_t)i));
	for (int i = 0; i < THREADS; i++)
		queue_birth(&b, 1000 + 3 * i,
			CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
			area_slot(a, 1 + CHILDREN + (size_t)i));
	run(&b, area_slot(a, 0), 0);
}

static void ask_all(struct area *a)
{
	struct batch b;

	for (size_t i = 0; i < SLOTS; i++) {
		pid_t expect = i == 0 ? 1 : i <= CHILDREN ? 98 + 2 * (pid_t)i : 1000 + 3 * (pid_t)(i - 1 - CHILDREN);

		batch_init(&b, a);
		batch_expect(&b, batch_call(&b, "gettid", SYS_gettid), expect);
		run(&b, area_slot(a, i), 0);
	}
}

static void exec_again(struct area *a)
{
	struct slot *s = area_slot(a, 7);
	struct batch b;

	batch_init(&b, a);
	batch_exec_seed(&b, SEED_FD, AREA_FD, s);
	run(&b, s, 0);
	batch_init(&b, a);
	batch_exec_seed(&b, 999, AREA_FD, s);
	run(&b, s, -EBADF);
}

/* From a stop, by the vDSO's own instruction. */
static void last_call(struct area *a, pid_t pid)
{
	struct stop s;
	char *maps = read_maps(pid), *vdso = strstr(maps, "[vdso]");
	uint64_t start = 0, end = 0, insn;

	while (vdso && vdso > maps && vdso[-1] != '\n')
		vdso--;
	CHECK(vdso && sscanf(vdso, "%lx-%lx", &start, &end) == 2);
	insn = find_syscall_insn(pid, start, end);
	CHECK(insn);
	CHECK(!stop_seize(&s, pid, 0) && !stop_interrupt(&s) && !stop_wait(&s, 1000));
	CHECK(birth_last_call(pid, insn, SYS_getpid, (uint64_t[6]){ 0 }) == 1);
	CHECK(birth_last_call(pid, insn, SYS_close, (uint64_t[6]){ 999 }) == -EBADF);
	stop_release(&s);
	free(maps);
}

/* A process without a C library has nothing to borrow but its vDSO. */
static void inject_into_seed(pid_t pid)
{
	struct stopped p;
	struct injection in;
	struct problems ps;
	struct batch b;

	problems_init(&ps);
	if (CHECK(!process_stop(&p, pid)) && CHECK(!inject_begin(&in, pid, &p.list[0], &p.maps, 1, 4096, NULL, &ps))) {
		CHECK(!in.outer && !in.gadgets.syscall_ret && in.gadgets.syscall);
		CHECK(!inject_enter(&in, &p.list[0], 0));
		batch_init(&b, &in.area);
		batch_expect(&b, batch_call(&b, "getpid", SYS_getpid), 1);
		run(&b, area_slot(&in.area, 0), 0);
		CHECK(!inject_leave(&in, &p.list[0]));
		inject_end(&in);
	}
	process_release(&p);
	problems_free(&ps);
}

static void be_spore(struct born *born, bool old)
{
	struct area a;
	int seed = seed_open();
	int64_t start;
	int r = area_create(&a, REMOTE(BASE), 256ul << 20, SLOTS);

	failures = 0;
	if (CHECK(seed >= 0) && CHECK(!r)) {
		start = now_us();
		born->init = start_seed(&a, seed, old);
		give_birth(&a);
		ask_all(&a);
		born->us = now_us() - start;
		exec_again(&a);
		last_call(&a, born->init);
		inject_into_seed(born->init);
		ask_all(&a);
		area_reset(&a);
		ask_all(&a);
	}
	born->failures = (uint32_t)failures;
	born->ready = 1;
	for (;;)
		pause();
}

/* Of the namespace's processes, those that are left, by their parent links from init. */
static int alive(pid_t init)
{
	char path[64], line[2048] = "";
	FILE *f;
	int n = 1;

	if (kill(init, 0) < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", init, init);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		for (char *p = strtok(line, " "); p; p = strtok(NULL, " "))
			n++;
	if (f)
		fclose(f);
	return n;
}

static struct born *born_new(void)
{
	return mmap(NULL, sizeof(struct born), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Killed in the middle of births: whatever there is comes to this process to be reaped, and it must all come. */
static void test_births_cut_off(int times)
{
	struct born *born = born_new();

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (int i = 0; i < times; i++) {
		pid_t spore = fork(), left = 0;

		if (!spore)
			be_spore(born, false);
		usleep((useconds_t)(500 + i * 6000 / times));
		kill(spore, SIGKILL);
		for (int ms = 0; ms < 3000 && left >= 0; ms++) {
			left = waitpid(-1, NULL, __WALL | WNOHANG);
			if (!left)
				usleep(1000);
		}
		CHECK(left < 0);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	munmap(born, sizeof(*born));
}

static void test_births(const char *name, bool old)
{
	struct born *born = born_new();
	pid_t spore = fork();

	if (!spore)
		be_spore(born, old);
	for (int i = 0; i < 20000 && !born->ready; i++)
		usleep(1000);
	CHECK(born->ready);
	failures += (int)born->failures;
	CHECK(alive(born->init) == 1 + CHILDREN);
	kill(spore, SIGKILL);
	waitpid(spore, NULL, 0);
	for (int i = 0; i < 20000 && alive(born->init); i++)
		usleep(1000);
	CHECK(!alive(born->init));
	printf("%-12s seed, %d processes, %d threads and a batch in each: %ld us\n", name, CHILDREN, THREADS, born->us);
	munmap(born, sizeof(*born));
}

void test_birth(void)
{
	test_births("birth", false);
	test_births("no waitv", true);
	test_births_cut_off(30);
}
