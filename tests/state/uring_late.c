/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: rings that a thread of the kernel's polls (IORING_SETUP_SQPOLL), and rings in the program's own memory (IORING_SETUP_NO_MMAP). io_uring_setup(2). */
#include "uring.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define NO_MMAP (1u << 14)
#define POLLED	(IORING_SETUP_CQSIZE | IORING_SETUP_SQPOLL)

static struct ring ring, second;
static char *memory;

/* --- polled --- */

static int open_polled(struct ring *r, unsigned int flags)
{
	memset(r, 0, sizeof(*r));
	r->p.sq_thread_idle = 30;
	return ring_open_with(r, 8, flags);
}

/* Until it sleeps. */
static int sleeps(struct ring *r)
{
	CHECK(UNTIL(*ring_word(r, r->p.sq_off.flags) & IORING_SQ_NEED_WAKEUP));
	return 0;
}

/* arg: more flags. */
static int polled_make(struct maker_ctx *ctx)
{
	if (ctx->arg & IORING_SETUP_SQ_AFF) {
		cpu_set_t set;

		CHECK(!sched_getaffinity(0, sizeof(set), &set));
		NEED(CPU_ISSET(1, &set));
		memset(&ring, 0, sizeof(ring));
		ring.p.sq_thread_cpu = 1;
		ring.p.sq_thread_idle = 30;
		TRY(ring_open_with(&ring, 8, POLLED | (unsigned int)ctx->arg));
	} else {
		TRY(open_polled(&ring, POLLED | (unsigned int)ctx->arg));
	}
	if (ctx->arg & IORING_SETUP_R_DISABLED)
		return 0;
	TRY(ring_pass(&ring, 45));
	for (uint64_t i = 0; i < 5; i++)
		ring_queue(&ring, IORING_OP_NOP, 100 + i);
	TRY(ring_enter(&ring, 5));
	CHECK(UNTIL(*ring_word(&ring, ring.p.cq_off.tail) == 50));
	return sleeps(&ring);
}

static int polled_use(struct maker_ctx *ctx)
{
	uint32_t limits[2] = { 0 };
	struct rlimit processes;

	if (ctx->arg & IORING_SETUP_R_DISABLED)
		CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	for (uint64_t i = 0; i < 5 && !(ctx->arg & IORING_SETUP_R_DISABLED); i++)
		TRY(ring_take(&ring, 100 + i, 0));
	TRY(ring_works(&ring));
	CHECK(!getrlimit(RLIMIT_NPROC, &processes));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2));
	SAME(limits[1], (uint32_t)processes.rlim_cur);
	return sleeps(&ring);
}

/* Where the workers of the thread run. */
static int workers_make(struct maker_ctx *ctx)
{
	cpu_set_t set;

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	NEED(CPU_ISSET(1, &set));
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	TRY(open_polled(&ring, POLLED));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_IOWQ_AFF, &set, sizeof(set)));
	return sleeps(&ring);
}

static int workers_use(struct maker_ctx *ctx)
{
	cpu_set_t set;

	TRY(ring_worker_runs_on(&ring, &set));
	SAME(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(1, &set));
	return ring_works(&ring);
}

/* Two rings, one thread. */
static int together_make(struct maker_ctx *ctx)
{
	TRY(open_polled(&ring, POLLED));
	memset(&second, 0, sizeof(second));
	second.p.wq_fd = (uint32_t)ring.fd;
	second.p.sq_thread_idle = 20;
	TRY(ring_open_with(&second, 8, POLLED | IORING_SETUP_ATTACH_WQ));
	TRY(ring_pass(&ring, 3));
	TRY(ring_pass(&second, 20));
	TRY(sleeps(&ring));
	return sleeps(&second);
}

static int pollers(void)
{
	char line[200] = "";
	FILE *f = popen("cat /proc/$PPID/task/*/comm | grep -c iou-sqp", "r");

	CHECK(f && fgets(line, sizeof(line), f));
	pclose(f);
	return atoi(line);
}

static int together_use(struct maker_ctx *ctx)
{
	SAME(pollers(), 1);
	TRY(ring_works(&ring));
	return ring_works(&second);
}

/* The thread acts as whoever made the ring, not as who uses it. */
static int opens(const char *path, int result)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_OPENAT, 9);

	sqe->fd = AT_FDCWD;
	sqe->addr = (uintptr_t)path;
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 9, result);
}

static int identity_make(struct maker_ctx *ctx)
{
	const gid_t groups[] = { 21, 22 };

	NEED(geteuid() == 0);
	CHECK(!setpriority(PRIO_PROCESS, 0, 7));
	CHECK(!syscall(SYS_setgroups, 2, groups));
	CHECK(!syscall(SYS_setresgid, 11, 12, 13));
	CHECK(!syscall(SYS_setresuid, 1, 65534, 0));
	syscall(SYS_setfsgid, 14);
	TRY(open_polled(&ring, POLLED));
	CHECK(!syscall(SYS_setresuid, 0, 0, 0));
	CHECK(!syscall(SYS_setresuid, 0, 65534, 1));
	TRY(open_polled(&second, POLLED));
	CHECK(!syscall(SYS_setresuid, 0, 0, 0));
	CHECK(!syscall(SYS_setresgid, 0, 0, 0));
	CHECK(!syscall(SYS_setgroups, 0, groups));
	CHECK(!setpriority(PRIO_PROCESS, 0, 0));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	TRY(opens("/etc/shadow", -EACCES));
	TRY(sleeps(&second));
	return sleeps(&ring);
}

static int identity_use(struct maker_ctx *ctx)
{
	TRY(opens("/etc/shadow", -EACCES));
	return ring_works(&ring);
}

/* --- in the program's memory --- */

#define SIZE (4 * PAGE)

static int open_in(struct ring *r, char *at, unsigned int flags)
{
	memset(r, 0, sizeof(*r));
	r->p.flags = flags | NO_MMAP | IORING_SETUP_CQSIZE;
	r->p.cq_entries = 32;
	r->p.cq_off.resv2 = (uintptr_t)at;
	r->p.sq_off.resv2 = (uintptr_t)at + SIZE / 2;
	r->p.sq_thread_idle = 30;
	r->fd = (int)syscall(SYS_io_uring_setup, 8, &r->p);
	NEED(r->fd >= 0);
	r->rings = at;
	r->sqes = at + SIZE / 2;
	return 0;
}

/* arg: flags. */
static int own_make(struct maker_ctx *ctx)
{
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	TRY(open_in(&ring, memory, (unsigned int)ctx->arg));
	TRY(ring_pass(&ring, 45));
	for (uint64_t i = 0; i < 5; i++)
		ring_queue(&ring, IORING_OP_NOP, 100 + i);
	TRY(ring_enter(&ring, 5));
	CHECK(UNTIL(*ring_word(&ring, ring.p.cq_off.tail) == 50));
	if (ctx->arg & IORING_SETUP_SQPOLL)
		return sleeps(&ring);
	ring_queue(&ring, IORING_OP_NOP, 200);
	return 0;
}

static int own_use(struct maker_ctx *ctx)
{
	for (uint64_t i = 0; i < 5; i++)
		TRY(ring_take(&ring, 100 + i, 0));
	if (!(ctx->arg & IORING_SETUP_SQPOLL)) {
		TRY(ring_enter(&ring, 1));
		TRY(ring_take(&ring, 200, 0));
	}
	return ring_works(&ring);
}

/* As PostgreSQL has them: made by the parent, in memory that all share, and used by children. */
static int childs_use(struct maker_ctx *ctx)
{
	TRY(ring_works(&ring));
	return ring_works(&second);
}

static int shared_make(struct maker_ctx *ctx)
{
	memory = mmap(NULL, 16 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	TRY(open_in(&ring, memory + 4 * SIZE, 0));
	TRY(open_in(&second, memory + 5 * SIZE, 0));
	TRY(ring_pass(&ring, 7));
	TRY(ring_pass(&second, 9));
	return kid_start(ctx, NULL, childs_use, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	ring.next = *ring_word(&ring, ring.p.sq_off.tail);
	second.next = *ring_word(&second, second.p.sq_off.tail);
	TRY(ring_works(&second));
	return ring_works(&ring);
}

#define ARG(name, what, of, arg)                                                                                       \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg                                                                \
	}

const struct maker makers_uring_late[] = {
	ARG("polled", "a thread of the kernel polls it", polled, 0),
	ARG("polled-disabled", "and will when it is enabled", polled, IORING_SETUP_R_DISABLED),
	ARG("polled-single", "and only its maker may use it", polled, IORING_SETUP_SINGLE_ISSUER),
	ARG("polled-cpu", "on one processor", polled, IORING_SETUP_SQ_AFF),
	ROW("polled-workers", "whose workers run on one", workers),
	ROW("polled-together", "one thread for two rings", together),
	ROW("polled-as", "as another user", identity),
	ARG("own", "in the program's own memory", own, 0),
	ARG("own-deferred", "and only its maker may use it", own,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ARG("own-polled", "and a thread of the kernel polls it", own, IORING_SETUP_SQPOLL),
	{ "own-shared", "in memory that a child shares, which uses it", shared_make, shared_use },
	{ 0 },
};
