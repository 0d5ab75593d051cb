/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a stop finds a thread: inside the vDSO, a system call, a restartable sequence. vdso(7), rseq(2). */

#include "maker.h"

#include <sys/rseq.h>

static pthread_t thread;
static _Atomic int started, go;

static int start(void *(*run)(void *))
{
	TRY(thread_start(&thread, run, NULL));
	CHECK(UNTIL(started));
	nap(5);
	return 0;
}

static int join(void)
{
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

/* Loops that are nearly always inside the vDSO, inside a system call, or between the two. arg: which. */

static _Atomic uint64_t turns;
static _Atomic int backwards;
static int loop_kind;

static void *run_loop(void *arg)
{
	int64_t last = 0, now;
	char c;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	started = 1;
	while (!go) {
		switch (loop_kind) {
		case 0:
			now = now_ns(CLOCK_MONOTONIC);
			if (now < last)
				backwards++;
			last = now;
			break;
		case 1:
			syscall(SYS_getppid);
			break;
		case 2:
			if (read(zero, &c, 1) != 1)
				backwards++;
			break;
		case 3:
			sched_yield();
			break;
		}
		turns++;
	}
	close(zero);
	return NULL;
}

static int loop_make(struct maker_ctx *ctx)
{
	loop_kind = (int)ctx->arg;
	return start(run_loop);
}

static int loop_use(struct maker_ctx *ctx)
{
	uint64_t was = turns;

	CHECK(UNTIL(turns > was + 1000));
	TRY(join());
	SAME(backwards, 0);
	return 0;
}

static _Atomic int64_t attempt_began;
static _Atomic int aborts, commits;
static _Atomic uint64_t *_Atomic section_word;

static struct rseq *my_rseq(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void *run_rseq(void *arg)
{
	_Atomic uint64_t *section = (void *)((char *)my_rseq() + offsetof(struct rseq, rseq_cs));
	int committed = 0;

	section_word = section;
	while (!committed) {
		attempt_began = now_ns(CLOCK_MONOTONIC);
		started = 1;
		__asm__ goto volatile(".pushsection .data.rel.rseq_sections, \"aw\"\n"
				      ".balign 32\n"
				      "77: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n"
				      ".popsection\n"
				      "lea 77b(%%rip), %%rax\n"
				      "mov %%rax, (%[section])\n"
				      "1: cmpl $0, %[go]\n je 1b\n"
				      "incl %[commits]\n"
				      "2: jmp 5f\n"
				      ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
				      "4: jmp %l[aborted]\n"
				      "5:\n"
				      :
				      : [section] "r"(section), [go] "m"(go), [commits] "m"(commits)
				      : "memory", "cc", "rax"
				      : aborted);
		*section = 0;
		committed = 1;
		continue;
	aborted:
		aborts++;
	}
	return NULL;
}

static int64_t ready_at;

static int rseq_make(struct maker_ctx *ctx)
{
	NEED(__rseq_size > 0);
	TRY(start(run_rseq));
	ready_at = now_ns(CLOCK_MONOTONIC);
	return 0;
}

static int rseq_use(struct maker_ctx *ctx)
{
	/* It is in the section, and so the word names it: but where the kernel was never told that it was there, and it could not abort. */
	CHECK(UNTIL(*section_word));
	TRY(join());
	SAME(commits, 1);
	/* The attempt that came through must not be one that was begun before it was stopped. */
	if (ctx->stopped) {
		CHECK(attempt_began >= ready_at);
		CHECK(aborts > 0);
	}
	return 0;
}

static int rseq_registered_make(struct maker_ctx *ctx)
{
	NEED(__rseq_size > 0);
	return 0;
}

static int rseq_registered_use(struct maker_ctx *ctx)
{
	struct rseq *r = my_rseq();
	cpu_set_t one;

	for (int cpu = 0; cpu < 2 && cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK(!sched_setaffinity(0, sizeof(one), &one));
		SAME(*(volatile uint32_t *)&r->cpu_id, cpu);
	}
	SAME(syscall(SYS_rseq, r, __rseq_size < 32 ? 32 : __rseq_size, 0, 0x53053053), -1);
	CHECK(errno == EBUSY || errno == EINVAL); /* registered already */
	CHECK(!syscall(SYS_rseq, r, __rseq_size < 32 ? 32 : __rseq_size, 1, 0x53053053));
	return 0;
}

const struct maker makers_moment[] = {
	{ "loop-vdso", "a thread that reads the clock", loop_make, loop_use, 0, 0 },
	{ "loop-getppid", "a thread that calls getppid", loop_make, loop_use, 0, 1 },
	{ "loop-read", "a thread that reads /dev/zero", loop_make, loop_use, 0, 2 },
	{ "loop-yield", "a thread that yields", loop_make, loop_use, 0, 3 },
	ROW("rseq", "a thread inside a restartable sequence", rseq),
	ROW("rseq-registered", "a registered rseq area", rseq_registered),
	{ 0 },
};
