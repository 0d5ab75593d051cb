/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: buffers that the program provides for requests to choose from. IORING_REGISTER_PBUF_RING in io_uring_register(2), IORING_OP_PROVIDE_BUFFERS in io_uring_enter(2). */
#include "uring.h"

#define ENTRIES 8
#define SIZE	64
#define GROUP	7

static struct ring ring;
static int ends[2];
static struct io_uring_buf_ring *buffers;
static char (*memory)[SIZE];

static int make(unsigned int flags)
{
	TRY(ring_open(&ring, 16, IORING_SETUP_CQSIZE | flags));
	CHECK(!pipe2(ends, O_CLOEXEC));
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	return 0;
}

static void give(unsigned int number)
{
	struct io_uring_buf *b = &((struct io_uring_buf *)buffers)[buffers->tail & (ENTRIES - 1)];

	b->addr = (uintptr_t)memory[number];
	b->len = SIZE;
	b->bid = (uint16_t)number;
	__atomic_store_n(&buffers->tail, buffers->tail + 1, __ATOMIC_RELEASE);
}

/* A read that takes a buffer: which, or -1 for none. */
static int take(unsigned int group, int expected)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_READ, 3);
	uint32_t head = *ring_word(&ring, ring.p.cq_off.head);
	struct io_uring_cqe *cqe = (void *)(ring.rings + ring.p.cq_off.cqes + (head & (ring.p.cq_entries - 1)) * 16ul);
	char text[4] = "";

	SAME(write(ends[1], "abc", 3), 3);
	sqe->fd = ends[0];
	sqe->len = SIZE;
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = (uint16_t)group;
	TRY(ring_enter(&ring, 1));
	if (expected < 0) {
		TRY(ring_take(&ring, 3, -ENOBUFS));
		SAME(read(ends[0], text, 3), 3);
		return 0;
	}
	TRY(ring_take(&ring, 3, 3));
	SAME(cqe->flags & IORING_CQE_F_BUFFER, IORING_CQE_F_BUFFER);
	SAME(cqe->flags >> IORING_CQE_BUFFER_SHIFT, expected);
	SAME(memcmp(memory[expected], "abc", 3), 0);
	memset(memory[expected], 0, SIZE);
	return 0;
}

static int register_ring(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = ENTRIES, .bgid = GROUP };

	buffers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(buffers != MAP_FAILED);
	buffers->tail = 0;
	reg.ring_addr = (uintptr_t)buffers;
	NEED(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1));
	for (unsigned int i = 0; i < ENTRIES; i++)
		give(i);
	return 0;
}

/* arg: flags of the ring. */
static int ring_make(struct maker_ctx *ctx)
{
	TRY(make((unsigned int)ctx->arg));
	return register_ring();
}

static int ring_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < ENTRIES; i++)
		TRY(take(GROUP, i));
	TRY(take(GROUP, -1));
	give(5);
	TRY(take(GROUP, 5));
	return ring_works(&ring);
}

/* Around its end, and all but three taken. */
static int taken_make(struct maker_ctx *ctx)
{
	TRY(ring_make(ctx));
	for (int i = 0; i < 3 * ENTRIES + 5; i++) {
		TRY(take(GROUP, i % ENTRIES));
		give((unsigned int)i % ENTRIES);
	}
	for (int i = 5; i < 10; i++)
		TRY(take(GROUP, i % ENTRIES));
	return ring_pass(&ring, 40);
}

static int taken_use(struct maker_ctx *ctx)
{
	TRY(take(GROUP, 2));
	give(2);
	TRY(take(GROUP, 3));
	TRY(take(GROUP, 4));
	TRY(take(GROUP, 2));
	TRY(take(GROUP, -1));
	return ring_works(&ring);
}

/* Taken in pieces: a buffer goes on where the last read ended. */
static int pieces_make(struct maker_ctx *ctx)
{
	struct io_uring_buf_reg reg = { .ring_entries = ENTRIES, .bgid = GROUP, .pad = 2 /* IOU_PBUF_RING_INC */ };

	TRY(make(0));
	buffers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(buffers != MAP_FAILED);
	buffers->tail = 0;
	reg.ring_addr = (uintptr_t)buffers;
	NEED(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1));
	give(0);
	give(1);
	TRY(take(GROUP, 0));
	return ring_pass(&ring, 3);
}

static int pieces_use(struct maker_ctx *ctx)
{
	for (size_t at = 3; at < 9; at += 3) {
		struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_READ, 3);

		SAME(write(ends[1], "abc", 3), 3);
		sqe->fd = ends[0];
		sqe->len = SIZE;
		sqe->flags = IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
		TRY(ring_enter(&ring, 1));
		TRY(ring_take(&ring, 3, 3));
		SAME(memcmp(memory[0] + at, "abc", 3), 0);
	}
	return ring_works(&ring);
}

/* A list that the kernel keeps. */
static int provide(unsigned int group, unsigned int first, unsigned int n)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_PROVIDE_BUFFERS, 2);

	sqe->fd = (int)n;
	sqe->addr = (uintptr_t)memory[first];
	sqe->len = SIZE;
	sqe->off = first;
	sqe->buf_group = (uint16_t)group;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 2, 0);
}

static int list_make(struct maker_ctx *ctx)
{
	TRY(make((unsigned int)ctx->arg));
	TRY(provide(100, 10, 6));
	TRY(provide(100, 3, 2));
	TRY(take(100, 10));
	TRY(provide(100, 10, 1));
	TRY(provide(200, 30, 1));
	return take(200, 30);
}

static int list_use(struct maker_ctx *ctx)
{
	static const int order[] = { 11, 12, 13, 14, 15, 3, 4, 10, -1 };
	struct io_uring_sqe *sqe;

	for (int i = 0; i < 9; i++)
		TRY(take(100, order[i]));
	TRY(take(200, -1));
	for (int i = 0; i < 2; i++) { /* one that is empty, and one that there is not */
		sqe = ring_queue(&ring, IORING_OP_REMOVE_BUFFERS, 4);
		sqe->fd = 1;
		sqe->buf_group = i ? 300 : 200;
		TRY(ring_enter(&ring, 1));
		TRY(ring_take(&ring, 4, i ? -ENOENT : 0));
	}
	TRY(provide(200, 31, 1));
	TRY(take(200, 31));
	return ring_works(&ring);
}

/* One request has taken several. */
static int several_make(struct maker_ctx *ctx)
{
	struct io_uring_sqe *sqe;

	TRY(ring_make(ctx));
	sqe = ring_queue(&ring, 49 /* IORING_OP_READ_MULTISHOT */, 6);
	sqe->fd = ends[0];
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	TRY(ring_enter(&ring, 1));
	for (int i = 0; i < 5; i++) {
		SAME(write(ends[1], "abc", 3), 3);
		TRY(ring_take(&ring, 6, 3));
	}
	close(ends[1]);
	return ring_take(&ring, 6, 0);
}

static int several_use(struct maker_ctx *ctx)
{
	CHECK(!pipe2(ends, O_CLOEXEC));
	TRY(take(GROUP, 5));
	return ring_works(&ring);
}

#define ARG(name, what, of, arg)                                                                                       \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg                                                                \
	}
#define DEFERRED (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

const struct maker makers_uring_provided[] = {
	ARG("ring", "a ring of buffers, none of them taken", ring, 0),
	ARG("ring-deferred", "of a ring of one thread", ring, DEFERRED),
	ARG("taken", "some of them taken", taken, 0),
	ARG("taken-deferred", "of a ring of one thread", taken, DEFERRED),
	ROW("pieces", "taken in pieces", pieces),
	ARG("list", "lists that the kernel keeps", list, 0),
	ARG("list-deferred", "of a ring of one thread", list, DEFERRED),
	REFUSED("several", "one request has taken several", several_make, several_use, 0, "io_uring.*several"),
	{ 0 },
};
