/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: memory of the program's that the kernel holds on to for a ring: registered buffers. io_uring_register(2), IORING_OP_READ_FIXED in io_uring_enter(2). */
#include "uring.h"

#include <sys/uio.h>

#define BIG (4ul << 20)

static struct ring ring;
static int ends[2];
static char *memory;

static int register_buffers(const struct iovec *iov, const uint64_t *tags, unsigned int n)
{
	struct io_uring_rsrc_register table = { .nr = n, .data = (uintptr_t)iov, .tags = (uintptr_t)tags };

	CHECK(!pipe2(ends, O_CLOEXEC));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table)));
	return 0;
}

static int move(int opcode, int fd, unsigned int number, const char *at, unsigned int size, int result)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, opcode, 8);

	sqe->fd = fd;
	sqe->addr = (uintptr_t)at;
	sqe->len = size;
	sqe->buf_index = (uint16_t)number;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 8, result);
}

/* The kernel reads what the program writes there, and the other way round: the very same pages. */
static int goes_through(unsigned int number, char *at)
{
	char text[3] = "";

	memcpy(at, "out", 3);
	TRY(move(IORING_OP_WRITE_FIXED, ends[1], number, at, 3, 3));
	SAME(read(ends[0], text, 3), 3);
	SAME(memcmp(text, "out", 3), 0);
	SAME(write(ends[1], "in!", 3), 3);
	TRY(move(IORING_OP_READ_FIXED, ends[0], number, at, 3, 3));
	SAME(memcmp(at, "in!", 3), 0);
	return 0;
}

static int map_memory(size_t size, int flags)
{
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	return 0;
}

/* arg: flags of the ring. */
static int buffers_make(struct maker_ctx *ctx)
{
	const uint64_t tags[4] = { 0, 0, 0x1234, 0 };
	struct iovec iov[4];

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | (unsigned int)ctx->arg));
	TRY(map_memory(16 * PAGE, MAP_PRIVATE));
	strcpy(memory + 20, "kept");
	iov[0] = (struct iovec){ memory, 2 * PAGE };
	iov[1] = (struct iovec){ NULL, 0 };
	iov[2] = (struct iovec){ memory + 3 * PAGE + 100, 5 * PAGE };
	iov[3] = (struct iovec){ memory + 15 * PAGE + 7, 9 };
	TRY(register_buffers(iov, tags, 4));
	return ring_pass(&ring, 7);
}

static int buffers_use(struct maker_ctx *ctx)
{
	SAME(strcmp(memory + 20, "kept"), 0);
	TRY(goes_through(0, memory + 20));
	TRY(goes_through(2, memory + 8 * PAGE - 1));
	TRY(goes_through(3, memory + 15 * PAGE + 10));
	TRY(move(IORING_OP_WRITE_FIXED, ends[1], 2, memory + 3 * PAGE, 3, -EFAULT));
	TRY(move(IORING_OP_WRITE_FIXED, ends[1], 1, memory, 3, -EFAULT));
	TRY(move(IORING_OP_WRITE_FIXED, ends[1], 4, memory, 3, -EFAULT));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
	TRY(ring_take(&ring, 0x1234, 0));
	return ring_works(&ring);
}

/* Room for them, and none. */
static int sparse_make(struct maker_ctx *ctx)
{
	struct io_uring_rsrc_register table = { .nr = 5, .flags = IORING_RSRC_REGISTER_SPARSE };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table)));
	return map_memory(PAGE, MAP_PRIVATE);
}

static int sparse_use(struct maker_ctx *ctx)
{
	struct iovec iov = { memory, PAGE };
	struct io_uring_rsrc_update2 u = { .offset = 4, .nr = 1, .data = (uintptr_t)&iov };

	SAME(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS_UPDATE, &u, sizeof(u)), 1);
	return goes_through(4, memory + 5);
}

/* Large pages, and a good many. */
static int large_make(struct maker_ctx *ctx)
{
	struct iovec iov;

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(map_memory(3 * BIG, MAP_PRIVATE));
	madvise(memory, 3 * BIG, MADV_HUGEPAGE);
	memset(memory, 3, 3 * BIG);
	iov = (struct iovec){ memory + 12345, 2 * BIG };
	return register_buffers(&iov, NULL, 1);
}

static int large_use(struct maker_ctx *ctx)
{
	for (size_t at = 12345; at < 2 * BIG; at += 300 * PAGE)
		TRY(goes_through(0, memory + at));
	SAME(memory[12344 + 1 + 2 * BIG], 3);
	return ring_works(&ring);
}

/* Memory shared with a child, or not: arg MAP_SHARED or MAP_PRIVATE. The child writes too. */
static int forked_child(struct maker_ctx *ctx)
{
	SAME(strcmp(memory + 20, ctx->arg == MAP_SHARED ? "in!l" : "all"), 0);
	strcpy(memory + 60, "child");
	return 0;
}

static int forked_make(struct maker_ctx *ctx)
{
	struct iovec iov;

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(map_memory(4 * PAGE, (int)ctx->arg));
	strcpy(memory + 20, "all");
	iov = (struct iovec){ memory, 3 * PAGE };
	TRY(register_buffers(&iov, NULL, 1));
	strcpy(memory + 20, "all");
	return kid_start(ctx, NULL, forked_child, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	strcpy(memory + 20, "roll");
	TRY(goes_through(0, memory + 20));
	TRY(kids_finish(ctx));
	SAME(strcmp(memory + 60, ctx->arg == MAP_SHARED ? "child" : ""), 0);
	return goes_through(0, memory + 60);
}

/* A child registers memory of its own with the ring that it has from its parent. */
static int childs_made(struct maker_ctx *ctx)
{
	struct iovec iov;

	TRY(map_memory(2 * PAGE, MAP_PRIVATE));
	strcpy(memory, "child");
	iov = (struct iovec){ memory, 2 * PAGE };
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1));
	return 0;
}

static int childs_use(struct maker_ctx *ctx)
{
	SAME(strcmp(memory, "child"), 0);
	ring.next = *ring_word(&ring, ring.p.sq_off.head);
	return goes_through(0, memory);
}

static int childs_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	return kid_start(ctx, childs_made, childs_use, NULL);
}

static int childs_after(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	ring.next = *ring_word(&ring, ring.p.sq_off.head);
	return ring_works(&ring);
}

/* Memory in which a wait finds what it is asked: how long. */
struct region {
	uint64_t address, size;
	uint32_t flags, id;
	uint64_t offset, reserved[4];
};

struct wait_argument {
	struct __kernel_timespec timeout;
	uint32_t min_wait_usec, flags;
	uint64_t sigmask;
	uint32_t sigmask_size, pad[3];
	uint64_t pad2[2];
};

static int region_make(struct maker_ctx *ctx)
{
	struct region region = { .size = PAGE, .flags = 1 };
	uint64_t ask[4] = { (uintptr_t)&region, 1 };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED));
	TRY(map_memory(PAGE, MAP_PRIVATE));
	region.address = (uintptr_t)memory;
	NEED(!syscall(SYS_io_uring_register, ring.fd, 34 /* IORING_REGISTER_MEM_REGION */, ask, 1));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	return ring_pass(&ring, 3);
}

/* IORING_ENTER_EXT_ARG_REG: at that offset. */
static int region_use(struct maker_ctx *ctx)
{
	struct wait_argument *argument = (void *)(memory + sizeof(*argument));

	*argument = (struct wait_argument){ .timeout.tv_nsec = 1000, .flags = 1 };
	SAME(syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | 1u << 6,
		     sizeof(*argument), sizeof(*argument)),
		-1);
	SAME(errno, ETIME);
	return ring_works(&ring);
}

/* Memory that has gone since. */
static int gone_make(struct maker_ctx *ctx)
{
	struct iovec iov;

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	TRY(map_memory(4 * PAGE, MAP_PRIVATE));
	memset(memory, 1, 4 * PAGE);
	iov = (struct iovec){ memory, 4 * PAGE };
	TRY(register_buffers(&iov, NULL, 1));
	if (ctx->arg)
		CHECK(!madvise(memory + PAGE, PAGE, MADV_DONTNEED));
	else
		CHECK(!munmap(memory, 4 * PAGE));
	return 0;
}

static int gone_use(struct maker_ctx *ctx)
{
	return ring_works(&ring);
}

#define ARG(name, what, of, arg)                                                                                       \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg                                                                \
	}

const struct maker makers_uring_memory[] = {
	ARG("buffers", "registered buffers, one with a tag", buffers, 0),
	ARG("buffers-single", "with a ring of one thread", buffers,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ROW("sparse", "room for registered buffers", sparse),
	ROW("large", "of large pages", large),
	ARG("forked", "memory that a child has a copy of", forked, MAP_PRIVATE),
	ARG("shared", "memory that a child shares", forked, MAP_SHARED),
	{ "childs", "of a child that has the ring", childs_make, childs_after },
	ROW("region", "memory for arguments", region),
	REFUSED("unmapped", "memory that was unmapped since", gone_make, gone_use, 0, "io_uring.*unmapped"),
	REFUSED("replaced", "memory of which a part was dropped since", gone_make, gone_use, 1, "io_uring.*unmapped"),
	{ 0 },
};
