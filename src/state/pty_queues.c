/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel's memory cannot be read (pty_view.h), what is in a pty's queues can only be read away, and an unfinished line only while the terminal is
 * not in canonical mode. So it is taken out and put back, in a child that goes on if spore is killed meanwhile.
 * TIOCSTI puts input into the queue at once, past the flip buffers; on a master it puts output back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "state/pty.h"

#define QUEUE_SIZE (72ul << 10) /* n_tty's 4 KiB and the flip buffers' 64 KiB */

struct queues {
	int master, slave; /* slave: negative, there is none */
	bool never_opened; /* nor was there one */
	int exclusive;
	bool stopped; /* as far as that was looked at: where there was none */
	bool sure;    /* neither description waits */
	struct terminal_modes modes;
	const uint8_t *put_output, *put_input;
	uint8_t *output, *input;
	size_t n_output, n_input;
};

/* Canonical mode, if it is on, stays on; nothing is echoed, translated or taken as special, except what ends
 * a line. Flow control and EXTPROC stay as they are, for a master in packet mode is told when they change. */
static struct terminal_modes plain(const struct terminal_modes *m, bool canonical)
{
	static const int kept[] = { VSTART, VSTOP, VEOL, VEOL2, VEOF, VMIN, VTIME };
	struct terminal_modes p = *m;

	p.iflag &= IXON;
	p.oflag = 0;
	p.lflag &= EXTPROC | (canonical ? ICANON : 0);
	memset(p.cc, 0, sizeof(p.cc));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		p.cc[kept[i]] = m->cc[kept[i]];
	if (!canonical)
		p.cc[VMIN] = p.cc[VTIME] = 0;
	return p;
}

/* Only as much as is there: the description may be a blocking one. poll has the flip buffers emptied first.
 */
static size_t take(int fd, uint8_t *buffer, size_t room)
{
	size_t got = 0;

	while (got < room) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = 0;
		ssize_t n;

		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLIN) || ioctl(fd, FIONREAD, &ready) < 0 || ready <= 0)
			break;
		n = read(fd, buffer + got, MIN((size_t)ready, room - got));
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

static bool can_write(int slave)
{
	struct pollfd p = { .fd = slave, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

/* n_tty holds this much; what is beyond it waits in the flip buffer. */
#define LINE_BUFFER 4095

static int insert(int fd, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (ioctl(fd, TIOCSTI, &data[i]) < 0)
			return -errno;
	return 0;
}

/*
 * The flip buffer takes more or less, as it comes in pieces: these use all of it. tty_buffer_alloc(): each has room for twice what it is counted with, and is
 * made as long as not more than 8 KiB are counted; TTY_BUFFER_PAGE is the largest.
 */
#define FIRST_PART   1024ul
#define FIRST_PARTS  (16 * FIRST_PART)
#define LARGEST_PART 1792ul

/* only_ready: rather than wait. */
static int write_parts(int fd, bool only_ready, const uint8_t *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		size_t part = MIN(size - done, done < FIRST_PARTS ? FIRST_PART : LARGEST_PART);
		ssize_t n = !only_ready || can_write(fd) ? write(fd, data + done, part) : -1;

		if (n <= 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int write_untouched(const struct queues *q, const uint8_t *data, size_t size)
{
	struct terminal_modes quiet = q->modes;
	int err;

	quiet.oflag &= ~(uint32_t)OPOST;
	ioctl(q->slave, TERMINAL_SET, &quiet);
	err = write_parts(q->slave, !q->sure, data, size);
	ioctl(q->slave, TERMINAL_SET, &q->modes);
	return err;
}

static int put_output(const struct queues *q, const uint8_t *data, size_t size)
{
	size_t first = MIN(size, (size_t)LINE_BUFFER);
	int err = insert(q->master, data, first);

	return err || first == size ? err : write_untouched(q, data + first, size - first);
}

/* In canonical mode an end of file stands in the queue as NUL. */
static int put_input(const struct queues *q, const uint8_t *data, size_t size)
{
	bool canonical = q->modes.lflag & ICANON;
	size_t first = MIN(size, (size_t)LINE_BUFFER);
	struct terminal_modes quiet = plain(&q->modes, canonical);
	int err = 0;

	ioctl(q->slave, TERMINAL_SET, &quiet);
	for (size_t i = 0; i < first && !err; i++) {
		uint8_t c = canonical && !data[i] && q->modes.cc[VEOF] ? q->modes.cc[VEOF] : data[i];

		err = insert(q->slave, &c, 1);
	}
	ioctl(q->slave, TERMINAL_SET, &q->modes);
	return err || first == size ? err : write_parts(q->master, false, data + first, size - first);
}

static int exchange_output(struct queues *q)
{
	int packet = 0, off = 0;

	ioctl(q->master, TIOCGPKT, &packet);
	if (packet)
		ioctl(q->master, TIOCPKT, &off);
	q->n_output = take(q->master, q->output, QUEUE_SIZE);
	if (packet)
		ioctl(q->master, TIOCPKT, &packet);
	return q->n_output ? put_output(q, q->output, q->n_output) : 0;
}

static int exchange_input(struct queues *q)
{
	struct terminal_modes raw = plain(&q->modes, false);

	ioctl(q->slave, TERMINAL_SET, &raw);
	q->n_input = take(q->slave, q->input, QUEUE_SIZE);
	return put_input(q, q->input, q->n_input);
}

static size_t output_ready(int master)
{
	struct pollfd p = { .fd = master, .events = POLLIN };
	int ready = 0;

	return poll(&p, 1, 0) == 1 && !ioctl(master, FIONREAD, &ready) && ready > 0 ? (size_t)ready : 0;
}

static bool has_input(const struct queues *q)
{
	struct pollfd p = { .fd = q->slave, .events = POLLIN };

	return q->modes.lflag & ICANON || (poll(&p, 1, 0) == 1 && p.revents & POLLIN);
}

static int exchange(void *arg)
{
	struct queues *q = arg;
	size_t output = output_ready(q->master);
	int err = 0;

	/* What is beyond the line buffer goes back through the slave. */
	if (output >= LINE_BUFFER && (q->slave < 0 || !can_write(q->slave)))
		return -EBUSY;
	if (output)
		err = exchange_output(q);
	if (!err && q->slave >= 0 && has_input(q))
		err = exchange_input(q);
	return err;
}

/*
 * The master is to see no end of a slave that for all it knows was never opened. pty_close() takes one whose last open failed for one that is not open, and
 * opening a locked one fails.
 */
void pty_close_unseen(int master, int slave)
{
	int on = 1, off = 0, none;

	ioctl(master, TIOCSPTLCK, &on);
	none = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	close(slave);
	ioctl(master, TIOCSPTLCK, &off);
	if (none >= 0)
		close(none);
}

/* A slave that nobody has is opened for a moment. */
static int exchange_open(void *arg)
{
	struct queues *q = arg;
	int locked = 0, off = 0, err;

	if (q->slave >= 0)
		return exchange(q);
	if (ioctl(q->master, TIOCGPTLCK, &locked) < 0 || ioctl(q->master, TIOCSPTLCK, &off) < 0)
		return -errno;
	q->slave = ioctl(q->master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	err = q->slave < 0 ? -errno : 0;
	if (!err) {
		q->stopped = !can_write(q->slave);
		ioctl(q->slave, TIOCGEXCL, &q->exclusive);
		err = exchange(q);
		if (q->never_opened)
			pty_close_unseen(q->master, q->slave);
		else
			close(q->slave);
	}
	ioctl(q->master, TIOCSPTLCK, &locked);
	return err;
}

static int keep(struct blob *b, const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	b->data = malloc(size);
	if (!b->data)
		return -ENOMEM;
	memcpy(b->data, data, size);
	b->size = size;
	return 0;
}

int pty_queues_read(int master, int slave, struct pty_state *s)
{
	struct queues q = { .master = master,
		.slave = slave,
		.never_opened = s->slave == SLAVE_NEVER_OPENED,
		.output = malloc(QUEUE_SIZE),
		.input = malloc(QUEUE_SIZE) };
	int err = q.output && q.input ? 0 : -ENOMEM;

	if (!err && ioctl(master, TERMINAL_GET, &q.modes) < 0)
		err = -errno;
	if (!err)
		err = call_in_child(exchange_open, &q);
	if (!err)
		err = keep(&s->output, q.output, q.n_output);
	if (!err)
		err = keep(&s->input, q.input, q.n_input);
	s->stopped |= q.stopped;
	s->exclusive |= q.exclusive != 0;
	free(q.output);
	free(q.input);
	return err;
}

static int set_nonblocking(int fd, int *before)
{
	*before = fcntl(fd, F_GETFL);
	return *before < 0 || fcntl(fd, F_SETFL, *before | O_NONBLOCK) < 0 ? -errno : 0;
}

/* More may fit than poll would say. */
int pty_queues_write(
	int master, int slave, const struct blob *output, const struct blob *input, const struct terminal_modes *modes)
{
	struct queues q = { .master = master, .slave = slave, .sure = true, .modes = *modes };
	int of_master, of_slave, err = set_nonblocking(master, &of_master);

	if (!err)
		err = set_nonblocking(slave, &of_slave);
	if (!err && output->size)
		err = put_output(&q, output->data, output->size);
	if (!err && input->size)
		err = put_input(&q, input->data, input->size);
	if (!err && (fcntl(master, F_SETFL, of_master) < 0 || fcntl(slave, F_SETFL, of_slave) < 0))
		err = -errno;
	return err;
}
