/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uring.h"

#include <dirent.h>

volatile uint32_t *ring_word(struct ring *r, uint32_t offset)
{
	return (volatile uint32_t *)(r->rings + offset);
}

int ring_open(struct ring *r, unsigned int entries, unsigned int flags)
{
	memset(r, 0, sizeof(*r));
	return ring_open_with(r, entries, flags);
}

int ring_open_with(struct ring *r, unsigned int entries, unsigned int flags)
{
	size_t cqe = flags & IORING_SETUP_CQE32 ? 32 : 16, sqe = flags & IORING_SETUP_SQE128 ? 128 : 64;

	r->p.flags = flags;
	r->p.cq_entries = 4 * entries;
	r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->p);
	NEED(r->fd >= 0);
	r->size = r->p.sq_off.array + r->p.sq_entries * 4;
	if (r->p.cq_off.cqes + r->p.cq_entries * cqe > r->size)
		r->size = r->p.cq_off.cqes + r->p.cq_entries * cqe;
	r->rings = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(
		NULL, r->p.sq_entries * sqe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	CHECK(r->rings != MAP_FAILED && r->sqes != MAP_FAILED);
	return 0;
}

struct io_uring_sqe *ring_queue(struct ring *r, int opcode, uint64_t number)
{
	uint32_t i = r->next++ & (r->p.sq_entries - 1);
	size_t size = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64;
	struct io_uring_sqe *sqe = (void *)(r->sqes + i * size);

	memset(sqe, 0, size);
	sqe->opcode = (uint8_t)opcode;
	sqe->user_data = number;
	sqe->fd = -1;
	if (r->p.sq_off.array)
		ring_word(r, r->p.sq_off.array)[i] = i;
	__atomic_store_n(ring_word(r, r->p.sq_off.tail), r->next, __ATOMIC_RELEASE);
	return sqe;
}

int ring_enter(struct ring *r, unsigned int submit)
{
	SAME(syscall(SYS_io_uring_enter, r->fd, submit, 0,
		     r->p.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0, NULL, 0),
		submit);
	return 0;
}

/* The next completion, waited for. */
int ring_take(struct ring *r, uint64_t number, int result)
{
	uint32_t head = *ring_word(r, r->p.cq_off.head);
	struct io_uring_cqe *cqe =
		(void *)(r->rings + r->p.cq_off.cqes +
			 (head & (r->p.cq_entries - 1)) * (r->p.flags & IORING_SETUP_CQE32 ? 32ul : 16ul));

	if (__atomic_load_n(ring_word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) == head)
		CHECK(syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
	CHECK(__atomic_load_n(ring_word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) != head);
	SAME(cqe->user_data, number);
	SAME(cqe->res, result);
	__atomic_store_n(ring_word(r, r->p.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return 0;
}

int ring_pass(struct ring *r, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		ring_queue(r, IORING_OP_NOP, i);
		TRY(ring_enter(r, 1));
		TRY(ring_take(r, i, 0));
	}
	return 0;
}

#define UNTAKEN	    5
#define UNSUBMITTED 3

int ring_leave(struct ring *r, uint64_t n)
{
	TRY(ring_pass(r, n));
	for (uint64_t i = 0; i < UNTAKEN; i++)
		ring_queue(r, IORING_OP_NOP, 100 + i);
	TRY(ring_enter(r, UNTAKEN));
	for (uint64_t i = 0; i < UNSUBMITTED; i++)
		ring_queue(r, IORING_OP_NOP, 200 + i);
	return 0;
}

int ring_finish(struct ring *r)
{
	for (uint64_t i = 0; i < UNTAKEN; i++)
		TRY(ring_take(r, 100 + i, 0));
	TRY(ring_enter(r, UNSUBMITTED));
	for (uint64_t i = 0; i < UNSUBMITTED; i++)
		TRY(ring_take(r, 200 + i, 0));
	return 0;
}

/* More than once around, and its counters go on from where they were. */
int ring_works(struct ring *r)
{
	uint32_t before = *ring_word(r, r->p.sq_off.head);

	SAME(before, r->next);
	TRY(ring_pass(r, 3 * r->p.cq_entries));
	CHECK(UNTIL(*ring_word(r, r->p.sq_off.head) == before + 3 * r->p.cq_entries));
	SAME(*ring_word(r, r->p.sq_off.dropped), 0);
	SAME(*ring_word(r, r->p.cq_off.overflow), 0);
	return 0;
}

int ring_worker_runs_on(struct ring *r, cpu_set_t *set)
{
	struct io_uring_sqe *sqe = ring_queue(r, IORING_OP_READ, 7);
	static char byte;
	int pipes[2], found = 0;

	CHECK(!pipe2(pipes, O_CLOEXEC));
	sqe->fd = pipes[0];
	sqe->addr = (uintptr_t)&byte;
	sqe->len = 1;
	sqe->flags = IOSQE_ASYNC;
	TRY(ring_enter(r, 1));
	for (int i = 0; i < 2000 && !found; i++) {
		DIR *tasks = opendir("/proc/self/task");
		struct dirent *d;
		char path[300], name[32] = "";

		while ((d = readdir(tasks))) {
			FILE *f;

			snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
			f = fopen(path, "r");
			if (f && fgets(name, sizeof(name), f) && !strncmp(name, "iou-wrk", 7))
				found = atoi(d->d_name);
			if (f)
				fclose(f);
		}
		closedir(tasks);
		usleep(1000);
	}
	CHECK(found);
	CHECK(!sched_getaffinity(found, sizeof(*set), set));
	SAME(write(pipes[1], "x", 1), 1);
	TRY(ring_take(r, 7, 1));
	close(pipes[0]);
	return close(pipes[1]);
}
