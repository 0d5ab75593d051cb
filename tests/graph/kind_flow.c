/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds something on its way: pipes, terminals, sockets, message queues. */
#include <mqueue.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>

#include "world.h"

enum { FLOW_ROOM = 2000, FLOW_PIECE = 400, RECORD_SIZE = 200 };

/* The byte at that place of the stream, or of the records. */
static uint8_t flowing(uint64_t place)
{
	return (uint8_t)(place * 37 + 11);
}

/* --- bytes --- */

static int flow_in(struct world *w, struct object *o, int way, int fd)
{
	uint64_t n = draw(w, FLOW_PIECE) + 1;
	uint8_t data[FLOW_PIECE];

	if (o->shut[way] || o->written[way] - o->taken[way] + n > FLOW_ROOM)
		return 0;
	for (uint64_t i = 0; i < n; i++)
		data[i] = flowing(o->written[way] + i);
	if (fd >= 0)
		SAME(write(fd, data, n), n);
	o->written[way] += n;
	return 0;
}

/* What goes through a terminal or a network arrives a little later, and in pieces. */
static int read_all(int fd, uint8_t *data, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (size_t got = 0; got < size;) {
		ssize_t n;

		SAME(poll(&p, 1, 10000), 1);
		n = read(fd, data + got, size - got);
		CHECK(n > 0);
		got += (size_t)n;
	}
	return 0;
}

static int reads_nothing(int fd, bool ended)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	if (ended)
		SAME(poll(&p, 1, 10000), 1);
	SAME(read(fd, &byte, 1), ended ? 0 : -1);
	if (!ended)
		SAME(errno, EAGAIN);
	return 0;
}

static int flow_out(struct world *w, struct object *o, int way, bool ended, int fd)
{
	uint64_t there = o->written[way] - o->taken[way], n = draw(w, FLOW_PIECE) + 1;
	uint8_t data[FLOW_PIECE];

	if (n > there)
		n = there;
	if (fd >= 0 && !n)
		TRY(reads_nothing(fd, ended));
	if (fd >= 0 && n) {
		TRY(read_all(fd, data, n));
		for (uint64_t i = 0; i < n; i++)
			SAME(data[i], flowing(o->taken[way] + i));
	}
	o->taken[way] += n;
	return 0;
}

/* A terminal, or a socket that has a stream. */
int both_ways_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int end = d->end;

	if (!end_is_held(w, object_index(w, o), !end))
		return 0; /* a hang-up, or nobody has accepted it yet: what waits is lost or not, by who has gone */
	return draw(w, 2) ? flow_in(w, o, end, fd) : flow_out(w, o, !end, o->shut[!end], fd);
}

int pipe_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int index = object_index(w, o);

	if (d->end == 0)
		return flow_out(w, o, 0, !end_is_held(w, index, 1), fd);
	return end_is_held(w, index, 0) ? flow_in(w, o, 0, fd) : 0;
}

int pipe_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (real)
		SAME(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
	return 0;
}

int fifo_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	CHECK(!mkfifo(numbered(w, "fifo", object_index(w, o)), 0600));
	fd[0] = open(w->ctx->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fd[1] = open(w->ctx->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd[0] >= 0 && fd[1] >= 0);
	return 0;
}

int pty_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	struct termios t;

	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	SAME(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	SAME(tcgetattr(fd[1], &t), 0);
	cfmakeraw(&t);
	SAME(tcsetattr(fd[1], TCSANOW, &t), 0);
	for (int i = 0; i < 2; i++) {
		SAME(fcntl(fd[i], F_SETFL, O_NONBLOCK), 0);
		SAME(fcntl(fd[i], F_SETFD, FD_CLOEXEC), 0);
	}
	return 0;
}

static int pair_make(int type, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (real)
		SAME(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	return 0;
}

int stream_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_STREAM, real, fd, flags);
}

/* What step_post sends through it are descriptors. */
int post_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_SEQPACKET, real, fd, flags);
}

/* --- records --- */

int dgram_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_DGRAM, real, fd, flags);
}

int seqpacket_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_SEQPACKET, real, fd, flags);
}

/* The n-th record; its length. */
static size_t record(uint64_t n, uint8_t data[RECORD_SIZE])
{
	size_t size = 1 + (n * 53) % (RECORD_SIZE - 1);

	for (size_t i = 0; i < size; i++)
		data[i] = flowing(n + i);
	return size;
}

static int expect_record(uint64_t n, const uint8_t *data, ssize_t size)
{
	uint8_t want[RECORD_SIZE];

	SAME(size, record(n, want));
	SAME(memcmp(data, want, (size_t)size), 0);
	return 0;
}

static int record_out(struct object *o, int way, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t data[RECORD_SIZE + 1];

	if (o->written[way] == o->taken[way]) {
		if (fd < 0)
			return 0;
		SAME(recv(fd, data, sizeof(data), MSG_DONTWAIT), o->shut[way] ? 0 : -1);
		return 0;
	}
	if (fd >= 0) {
		SAME(poll(&p, 1, 10000), 1);
		TRY(expect_record(o->taken[way], data, recv(fd, data, sizeof(data), 0)));
	}
	o->taken[way]++;
	return 0;
}

int records_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int end = d->end;
	bool out = draw(w, 2);
	uint8_t data[RECORD_SIZE];

	if (!end_is_held(w, object_index(w, o), !end))
		return 0;
	if (!out)
		return record_out(o, !end, fd);
	if (o->shut[end] || o->written[end] - o->taken[end] == MAX_RECORDS)
		return 0;
	if (fd >= 0) {
		size_t size = record(o->written[end], data);

		SAME(send(fd, data, size, 0), size);
	}
	o->written[end]++;
	return 0;
}

/* --- POSIX message queues --- */

int mqueue_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	struct mq_attr attr = { .mq_maxmsg = MAX_RECORDS, .mq_msgsize = RECORD_SIZE };
	char name[64];

	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = mq_open(unique_name(w, object_index(w, o), name), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	CHECK(fd[0] >= 0);
	return 0;
}

/* value[]: what waits, in order: priority, and the number of the record; written[0] - taken[0] of them. */
static uint64_t waiting_message(uint64_t priority, uint64_t n)
{
	return priority << 32 | n;
}

static int mqueue_in(struct world *w, struct object *o, int fd)
{
	uint64_t n = o->written[0]++, count = n - o->taken[0], priority = draw(w, 4);
	uint8_t data[RECORD_SIZE];

	if (fd >= 0)
		SAME(mq_send(fd, (char *)data, record(n, data), (unsigned)priority), 0);
	while (count && o->value[count - 1] >> 32 < priority) {
		o->value[count] = o->value[count - 1];
		count--;
	}
	o->value[count] = waiting_message(priority, n);
	return 0;
}

int mqueue_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	uint64_t count = o->written[0] - o->taken[0];
	uint8_t data[RECORD_SIZE];
	unsigned priority;

	if (count < MAX_RECORDS && draw(w, 3))
		return mqueue_in(w, o, fd);
	if (fd >= 0 && !count) {
		SAME(mq_receive(fd, (char *)data, sizeof(data), &priority), -1);
		SAME(errno, EAGAIN);
	}
	if (!count)
		return 0;
	if (fd >= 0) {
		TRY(expect_record((uint32_t)o->value[0], data, mq_receive(fd, (char *)data, sizeof(data), &priority)));
		SAME(priority, o->value[0] >> 32);
	}
	o->taken[0]++;
	memmove(&o->value[0], &o->value[1], sizeof(o->value[0]) * (count - 1));
	return 0;
}
