/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pipes and fifos: what is in them, their size and ends. pipe(7), fifo(7). */

#include "maker.h"

#include <poll.h>
#include <sys/ioctl.h>

enum { FULL = 65536, R = 0, W = 1 };

static int p[2] = { -1, -1 };
static char data[1 << 20];

static int queued(void)
{
	int n = -1;

	ioctl(p[R], FIONREAD, &n);
	return n;
}

/* arg: how many bytes are in it. */

static int filled_make(struct maker_ctx *ctx)
{
	fill(data, sizeof(data), 1);
	CHECK(!pipe(p));
	if (ctx->arg)
		SAME(write(p[W], data, (size_t)ctx->arg), ctx->arg);
	return 0;
}

static int filled_use(struct maker_ctx *ctx)
{
	static char back[FULL];
	struct pollfd w = { .fd = p[W], .events = POLLOUT };

	SAME(queued(), ctx->arg);
	SAME(poll(&w, 1, 0), ctx->arg < FULL);
	if (ctx->arg)
		SAME(read(p[R], back, sizeof(back)), ctx->arg);
	CHECK(!memcmp(back, data, (size_t)ctx->arg));
	SAME(write(p[W], "more", 4), 4);
	SAME(read(p[R], back, sizeof(back)), 4);
	CHECK(!close(p[W]));
	SAME(read(p[R], back, 1), 0);
	return 0;
}

/* Pages that were not written but moved: from a file (arg 0), or out of memory (arg 1). */
static int spliced_make(struct maker_ctx *ctx)
{
	static char page[3 * PAGE] __attribute__((aligned(4096)));
	struct iovec v = { page + 100, 2 * PAGE };
	loff_t from = 100;
	int f = open(in_dir(ctx, "spliced"), O_CREAT | O_RDWR, 0644);

	fill(data, sizeof(data), 1);
	CHECK(f >= 0 && !pipe(p));
	SAME(write(f, data, 3 * PAGE), 3 * PAGE);
	memcpy(page, data, sizeof(page));
	SAME(write(p[W], "before", 6), 6);
	if (ctx->arg)
		SAME(vmsplice(p[W], &v, 1, 0), 2 * PAGE);
	else
		SAME(splice(f, &from, p[W], NULL, 2 * PAGE, 0), 2 * PAGE);
	SAME(write(p[W], "after", 5), 5);
	return close(f);
}

static int spliced_use(struct maker_ctx *ctx)
{
	static char back[FULL];

	SAME(queued(), 6 + 2 * PAGE + 5);
	SAME(write(p[W], "more", 4), 4);
	SAME(read(p[R], back, sizeof(back)), 6 + 2 * PAGE + 5 + 4);
	CHECK(!memcmp(back, "before", 6));
	CHECK(!memcmp(back + 6, data + 100, 2 * PAGE));
	CHECK(!memcmp(back + 6 + 2 * PAGE, "aftermore", 9));
	return 0;
}

/* Many small writes: the buffers are all in use though the bytes are few. */
static int pieces_make(struct maker_ctx *ctx)
{
	CHECK(!pipe2(p, O_NONBLOCK));
	for (int i = 0; i < 16; i++) {
		memset(data, 'a' + i, 4096);
		SAME(write(p[W], data, 4096), 4096);
	}
	SAME(read(p[R], data, 6000), 6000);
	return 0;
}

static int pieces_use(struct maker_ctx *ctx)
{
	SAME(queued(), FULL - 6000);
	SAME(read(p[R], data, FULL), FULL - 6000);
	for (int i = 6000; i < FULL; i++)
		SAME(data[i - 6000], 'a' + i / 4096);
	SAME(read(p[R], data, 1), -1);
	SAME(errno, EAGAIN);
	return 0;
}

/* Packet mode: the borders stay. */
static int packets_make(struct maker_ctx *ctx)
{
	NEED(!pipe2(p, O_DIRECT | O_NONBLOCK));
	SAME(write(p[W], "one", 3), 3);
	SAME(write(p[W], "three", 5), 5);
	SAME(write(p[W], "x", 1), 1);
	return 0;
}

/* The mode given up after they were written: those that are inside stay apart. */
static int packets_left_make(struct maker_ctx *ctx)
{
	TRY(packets_make(ctx));
	CHECK(!fcntl(p[W], F_SETFL, O_NONBLOCK));
	return fcntl(p[R], F_SETFL, O_NONBLOCK);
}

static int packets_left_use(struct maker_ctx *ctx)
{
	char c[64];

	SAME(fcntl(p[W], F_GETFL) & O_DIRECT, 0);
	SAME(read(p[R], c, sizeof(c)), 3);
	SAME(read(p[R], c, sizeof(c)), 5);
	SAME(read(p[R], c, sizeof(c)), 1);
	return 0;
}

static int packets_use(struct maker_ctx *ctx)
{
	char c[64];

	CHECK(fcntl(p[W], F_GETFL) & O_DIRECT);
	SAME(read(p[R], c, sizeof(c)), 3);
	SAME(read(p[R], c, sizeof(c)), 5);
	SAME(read(p[R], c, sizeof(c)), 1);
	SAME(write(p[W], "ab", 2), 2);
	SAME(write(p[W], "cd", 2), 2);
	SAME(read(p[R], c, sizeof(c)), 2);
	SAME(read(p[R], c, sizeof(c)), 2);
	return 0;
}

/* Another size, and full. arg: the size. */
static int size_make(struct maker_ctx *ctx)
{
	fill(data, sizeof(data), 1);
	CHECK(!pipe(p));
	NEED(fcntl(p[W], F_SETPIPE_SZ, ctx->arg) == ctx->arg);
	SAME(write(p[W], data, (size_t)ctx->arg), ctx->arg);
	return 0;
}

static int size_use(struct maker_ctx *ctx)
{
	static char back[1 << 20];
	size_t got = 0;

	SAME(fcntl(p[R], F_GETPIPE_SZ), ctx->arg);
	while (got < (size_t)ctx->arg) {
		ssize_t n = read(p[R], back + got, sizeof(back) - got);

		CHECK(n > 0);
		got += (size_t)n;
	}
	CHECK(!memcmp(back, data, got));
	return 0;
}

/* One end only. */

static int writer_closed_make(struct maker_ctx *ctx)
{
	ctx->arg = 3000;
	TRY(filled_make(ctx));
	return close(p[W]);
}

static int writer_closed_use(struct maker_ctx *ctx)
{
	static char back[FULL];

	SAME(read(p[R], back, 1000), 1000);
	SAME(read(p[R], back, FULL), 2000);
	CHECK(!memcmp(back, data + 1000, 2000));
	SAME(read(p[R], back, 1), 0);
	return 0;
}

static int writer_closed_empty_make(struct maker_ctx *ctx)
{
	CHECK(!pipe(p));
	return close(p[W]);
}

static int writer_closed_empty_use(struct maker_ctx *ctx)
{
	char c;

	SAME(read(p[R], &c, 1), 0);
	return 0;
}

static int reader_closed_make(struct maker_ctx *ctx)
{
	TRY(filled_make(ctx));
	return close(p[R]);
}

static int reader_closed_use(struct maker_ctx *ctx)
{
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	SAME(write(p[W], "x", 1), -1);
	SAME(errno, EPIPE);
	return 0;
}

/* Both ends by one descriptor, opened through /proc. */
static int both_make(struct maker_ctx *ctx)
{
	char path[64];

	TRY(filled_make(ctx));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[R]);
	p[W] = dup2(open(path, O_RDWR), p[W]);
	CHECK(p[W] >= 0);
	return 0;
}

static int both_use(struct maker_ctx *ctx)
{
	SAME(fcntl(p[W], F_GETFL) & O_ACCMODE, O_RDWR);
	SAME(read(p[W], data + 1000, 1000), ctx->arg);
	SAME(write(p[W], "round", 5), 5);
	SAME(read(p[R], data, 1000), 5);
	CHECK(!memcmp(data, "round", 5));
	return 0;
}

/* A reader's and a writer's descriptors in several processes, and flags that differ. */

static int writes(struct maker_ctx *ctx)
{
	SAME(write(p[W], "from the child", 14), 14);
	return 0;
}

static int closes_reader(struct maker_ctx *ctx)
{
	return close(p[R]);
}

static int two_make(struct maker_ctx *ctx)
{
	CHECK(!pipe2(p, O_CLOEXEC));
	CHECK(!fcntl(p[R], F_SETFL, O_NONBLOCK));
	TRY(kid_start(ctx, closes_reader, writes, NULL));
	return close(p[W]);
}

static int two_use(struct maker_ctx *ctx)
{
	char c[64];

	SAME(fcntl(p[R], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	SAME(fcntl(p[R], F_GETFD), FD_CLOEXEC);
	SAME(read(p[R], c, sizeof(c)), -1);
	SAME(errno, EAGAIN);
	TRY(kids_finish(ctx));
	SAME(read(p[R], c, sizeof(c)), 14);
	SAME(read(p[R], c, sizeof(c)), 0);
	return 0;
}

/* A pipeline in which every process is busy; the bytes come out whole and in order. arg: bytes. */

static int from_fd, to_fd;

static int pump(struct maker_ctx *ctx)
{
	unsigned char c[1000];
	ssize_t n;

	while ((n = read(from_fd, c, sizeof(c))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			c[i] = (unsigned char)(c[i] + 1);
		for (ssize_t i = 0, w; i < n; i += w) {
			w = write(to_fd, c + i, (size_t)(n - i));
			CHECK(w > 0);
		}
	}
	return n ? 1 : 0;
}

static int pump_pids[3];

static int pipeline_make(struct maker_ctx *ctx)
{
	int a[2], b[2];

	shared(ctx);
	CHECK(!pipe(p));
	from_fd = p[R];
	for (int i = 0; i < 3; i++) {
		CHECK(!pipe(a));
		pump_pids[i] = fork();
		CHECK(pump_pids[i] >= 0);
		if (!pump_pids[i]) {
			to_fd = a[W];
			close(p[W]);
			close(a[R]);
			_exit(pump(ctx));
		}
		close(from_fd);
		close(a[W]);
		from_fd = b[R] = a[R];
	}
	p[R] = from_fd;
	pump_pids[0] = pump_pids[0];
	/* The pipeline is filled until it takes no more, then read. */
	CHECK(!fcntl(p[W], F_SETFL, O_NONBLOCK));
	for (int i = 0, still = 0; still < 20;) {
		unsigned char c = (unsigned char)i;

		if (write(p[W], &c, 1) == 1) {
			i++;
			still = 0;
			ctx->arg = i;
		} else {
			still++;
			nap(5);
		}
	}
	return 0;
}

static int pipeline_use(struct maker_ctx *ctx)
{
	int status, at = 0;

	CHECK(!close(p[W]));
	for (ssize_t n; (n = read(p[R], data, sizeof(data))) > 0;)
		for (ssize_t i = 0; i < n; i++, at++)
			SAME((unsigned char)data[i], (unsigned char)(at + 3));
	SAME(at, ctx->arg);
	for (int i = 0; i < 3; i++) {
		SAME(waitpid(pump_pids[i], &status, 0), pump_pids[i]);
		SAME(status, 0);
	}
	return 0;
}

/* Threads asleep in read and in write. */

static pthread_t thread;
static pid_t thread_tid;
static ssize_t thread_got;

static void *sleeps_in_read(void *arg)
{
	static char c[64];

	thread_tid = tid_self();
	thread_got = read(p[R], c, sizeof(c));
	return NULL;
}

static void *sleeps_in_write(void *arg)
{
	thread_tid = tid_self();
	thread_got = write(p[W], data, FULL + 5000);
	return NULL;
}

static int reading_make(struct maker_ctx *ctx)
{
	CHECK(!pipe(p));
	TRY(thread_start(&thread, sleeps_in_read, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int reading_use(struct maker_ctx *ctx)
{
	SAME(write(p[W], "wake up", 7), 7);
	SAME(pthread_join(thread, NULL), 0);
	SAME(thread_got, 7);
	return 0;
}

static int writing_make(struct maker_ctx *ctx)
{
	fill(data, sizeof(data), 1);
	CHECK(!pipe(p));
	TRY(thread_start(&thread, sleeps_in_write, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_write);
}

/* A write that has moved bytes already comes to an end at a stop with what it moved: either is right. */
static int writing_use(struct maker_ctx *ctx)
{
	static char back[1 << 17];
	size_t got = 0;

	for (ssize_t n; got < FULL; got += (size_t)n) {
		n = read(p[R], back + got, sizeof(back) - got);
		CHECK(n > 0);
	}
	SAME(pthread_join(thread, NULL), 0);
	CHECK(thread_got == FULL + 5000 || (thread_got >= FULL && thread_got < FULL + 5000));
	if (got < (size_t)thread_got)
		SAME(read(p[R], back + got, sizeof(back) - got), (size_t)thread_got - got);
	CHECK(!memcmp(back, data, (size_t)thread_got));
	return 0;
}

/* Fifos. arg: bytes in it. */

static int fifo_make(struct maker_ctx *ctx)
{
	fill(data, sizeof(data), 1);
	CHECK(!mkfifo(in_dir(ctx, "fifo"), 0600));
	p[R] = open(ctx->path, O_RDONLY | O_NONBLOCK);
	p[W] = open(ctx->path, O_WRONLY | O_NONBLOCK);
	CHECK(p[R] >= 0 && p[W] >= 0);
	if (ctx->arg)
		SAME(write(p[W], data, (size_t)ctx->arg), ctx->arg);
	return 0;
}

static int fifo_use(struct maker_ctx *ctx)
{
	static char back[FULL];
	int again = open(in_dir(ctx, "fifo"), O_WRONLY | O_NONBLOCK);

	CHECK(again >= 0);
	SAME(write(again, "end", 3), 3);
	SAME(read(p[R], back, FULL), ctx->arg + 3);
	CHECK(!memcmp(back, data, (size_t)ctx->arg) && !memcmp(back + ctx->arg, "end", 3));
	SAME(fcntl(p[R], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	return 0;
}

/* A reader whose writer has left sees a hang-up; one who never had a writer does not. arg: had one. */

static int fifo_left_make(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "fifo"), 0600));
	p[R] = open(ctx->path, O_RDONLY | O_NONBLOCK);
	CHECK(p[R] >= 0);
	return ctx->arg ? close(open(ctx->path, O_WRONLY | O_NONBLOCK)) : 0;
}

static int fifo_left_use(struct maker_ctx *ctx)
{
	struct pollfd poll_it = { .fd = p[R], .events = POLLIN };
	char c;

	SAME(poll(&poll_it, 1, 0), ctx->arg ? 1 : 0);
	SAME(poll_it.revents, ctx->arg ? POLLHUP : 0);
	SAME(read(p[R], &c, 1), 0);
	return 0;
}

/* One reader that met a writer, which has gone, and one that came later. */
static int fifo_late_make(struct maker_ctx *ctx)
{
	TRY(fifo_left_make(ctx));
	p[W] = open(ctx->path, O_RDONLY | O_NONBLOCK);
	CHECK(p[W] >= 0);
	return 0;
}

static int fifo_late_use(struct maker_ctx *ctx)
{
	struct pollfd late = { .fd = p[W], .events = POLLIN };

	SAME(poll(&late, 1, 0), 0);
	return fifo_left_use(ctx);
}

static int fifo_unlinked_make(struct maker_ctx *ctx)
{
	TRY(fifo_make(ctx));
	return unlink(ctx->path);
}

static int fifo_unlinked_use(struct maker_ctx *ctx)
{
	SAME(read(p[R], data, sizeof(data)), ctx->arg);
	SAME(write(p[W], "x", 1), 1);
	SAME(read(p[R], data, sizeof(data)), 1);
	return 0;
}

static int fifo_both_make(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "fifo"), 0600));
	p[R] = p[W] = open(ctx->path, O_RDWR);
	SAME(write(p[W], "kept", 4), 4);
	return 0;
}

static int fifo_both_use(struct maker_ctx *ctx)
{
	char c[8];

	SAME(read(p[R], c, sizeof(c)), 4);
	CHECK(!memcmp(c, "kept", 4));
	return 0;
}

/* A thread that waits in open for somebody at the other end. */

static void *opens(void *arg)
{
	thread_tid = tid_self();
	p[R] = open(arg, O_RDONLY);
	return NULL;
}

static int fifo_opening_make(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "fifo"), 0600));
	TRY(thread_start(&thread, opens, ctx->path));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_openat);
}

static int fifo_opening_use(struct maker_ctx *ctx)
{
	char c;

	p[W] = open(ctx->path, O_WRONLY);
	SAME(pthread_join(thread, NULL), 0);
	CHECK(p[R] >= 0);
	SAME(write(p[W], "y", 1), 1);
	SAME(read(p[R], &c, 1), 1);
	return 0;
}

const struct maker makers_pipe[] = {
	{ "empty", "an empty pipe", filled_make, filled_use, 0, 0 },
	{ "partly", "a pipe with 5,000 bytes", filled_make, filled_use, 0, 5000 },
	{ "full", "a full pipe", filled_make, filled_use, 0, FULL },
	{ "spliced", "pages of a file, moved in by splice", spliced_make, spliced_use, 0, 0 },
	{ "vmspliced", "pages of memory, moved in by vmsplice", spliced_make, spliced_use, 0, 1 },
	ROW("pieces", "full, written in pieces and read in part, non-blocking", pieces),
	ROW("packets", "packet mode with three packets", packets),
	ROW("packets-left", "three packets, the mode given up", packets_left),
	{ "small", "a full pipe of one page", size_make, size_use, 0, 4096 },
	{ "large", "a full pipe of 1 MiB", size_make, size_use, 0, 1 << 20 },
	ROW("writer-closed", "unread data, no writer", writer_closed),
	ROW("writer-closed-empty", "nothing left, no writer", writer_closed_empty),
	{ "reader-closed", "no reader", reader_closed_make, reader_closed_use, 0, 0 },
	{ "reader-closed-data", "no reader, data inside", reader_closed_make, reader_closed_use, 0, 100 },
	{ "both-ends", "one descriptor for both ends", both_make, both_use, 0, 700 },
	ROW("two-processes", "a child that writes, a parent that reads", two),
	ROW("pipeline", "four processes in a row, all full", pipeline),
	ROW("reading", "a thread asleep in read", reading),
	{ "writing", "a thread asleep in write, half done", writing_make, writing_use, MAKER_NO_STOP | MAKER_RESTLESS },
	{ "fifo", "a fifo with 3,000 bytes", fifo_make, fifo_use, 0, 3000 },
	{ "fifo-empty", "an empty fifo", fifo_make, fifo_use, 0, 0 },
	{ "fifo-left", "a fifo whose writer has left", fifo_left_make, fifo_left_use, 0, 1 },
	{ "fifo-alone", "a fifo that never had a writer", fifo_left_make, fifo_left_use, 0, 0 },
	{ "fifo-late", "a fifo with a reader whose writer has left, and one that came later", fifo_late_make,
		fifo_late_use, MAKER_MAY_REFUSE, 1 },
	{ "fifo-unlinked", "an unlinked fifo with 3,000 bytes", fifo_unlinked_make, fifo_unlinked_use, 0, 3000 },
	ROW("fifo-both-ends", "a fifo opened for both", fifo_both),
	{ "fifo-opening", "a thread that waits in open", fifo_opening_make, fifo_opening_use },
	{ 0 },
};
