/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was typed at a pseudo-terminal or printed to it, and not read yet. pty(7), termios(3). */

#include "pty_pair.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master = -1, slave = -1;

/* How much there is to read: what is typed or printed arrives by a worker of the kernel, some time later. */
static int waiting(int f)
{
	int n = -1;

	return ioctl(f, FIONREAD, &n) < 0 ? -1 : n;
}

/* Typed and not read: whole lines, the beginning of a line, raw bytes. */
static int typed_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(master, "one\ntwo\n", 8), 8);
	return got(master, "one\r\ntwo\r\n");
}

static int typed_use(struct maker_ctx *ctx)
{
	SAME(readable(master), 0);
	TRY(got(slave, "one\n"));
	TRY(got(slave, "two\n"));
	SAME(readable(slave), 0);
	return 0;
}

static int partial_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(master, "whole\nhal", 9), 9);
	return got(master, "whole\r\nhal");
}

static int partial_use(struct maker_ctx *ctx)
{
	TRY(got(slave, "whole\n"));
	SAME(readable(slave), 0);
	SAME(write(master, "x\177f\n", 4), 4);
	return got(slave, "half\n");
}

static int raw_typed_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	TRY(raw(slave));
	SAME(write(master, "\003raw\r\0\377bytes", 13), 13);
	CHECK(UNTIL(waiting(slave) == 13));
	SAME(readable(master), 0);
	return 0;
}

static int raw_typed_use(struct maker_ctx *ctx)
{
	char c[64];

	SAME(read(slave, c, sizeof(c)), 13);
	CHECK(!memcmp(c, "\003raw\r\0\377bytes", 13));
	SAME(readable(slave), 0);
	return 0;
}

/* An end of file that waits to be read. */
static int eof_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(master, "tail\004", 5), 5);
	CHECK(UNTIL(waiting(slave) == 4));
	return 0;
}

static int eof_use(struct maker_ctx *ctx)
{
	char c[64];

	TRY(got(slave, "tail"));
	SAME(write(master, "\004", 1), 1);
	SAME(read(slave, c, sizeof(c)), 0);
	return 0;
}

/* Printed and not read. */
static int printed_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(slave, "printed\n", 8), 8);
	CHECK(UNTIL(waiting(master) == 9));
	return 0;
}

static int printed_use(struct maker_ctx *ctx)
{
	TRY(got(master, "printed\r\n"));
	SAME(readable(master), 0);
	return 0;
}

/* Output held by the terminal. */
static int held_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	return tcflow(slave, TCOOFF);
}

static int held_use(struct maker_ctx *ctx)
{
	CHECK(!fcntl(slave, F_SETFL, O_NONBLOCK));
	SAME(write(slave, "x", 1), -1);
	SAME(errno, EAGAIN);
	CHECK(!tcflow(slave, TCOON));
	SAME(write(slave, "x", 1), 1);
	return got(master, "x");
}

/* Packet mode, exclusive use, a slave that is still locked. */
static int packet_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(open_pair(&master, &slave));
	CHECK(!ioctl(master, TIOCPKT, &on));
	return 0;
}

static int packet_use(struct maker_ctx *ctx)
{
	char c[16] = "";

	SAME(write(slave, "p", 1), 1);
	SAME(read(master, c, sizeof(c)), 2);
	SAME(c[0], TIOCPKT_DATA);
	SAME(c[1], 'p');
	CHECK(!tcflush(slave, TCOFLUSH));
	SAME(read(master, c, sizeof(c)), 1);
	CHECK(c[0] & TIOCPKT_FLUSHWRITE);
	return 0;
}

static int packet_status_make(struct maker_ctx *ctx)
{
	TRY(packet_make(ctx));
	return tcflush(slave, TCIFLUSH);
}

static int packet_status_use(struct maker_ctx *ctx)
{
	char c[16] = "";

	SAME(read(master, c, sizeof(c)), 1);
	SAME(c[0], TIOCPKT_FLUSHREAD);
	return packet_use(ctx);
}

/* Typed before anybody opened the slave: its master sees no end. arg: 1 the slave is locked still, 2 a ^S is the last of it. */
static int unopened_make(struct maker_ctx *ctx)
{
	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0);
	if (ctx->arg != 1)
		CHECK(!unlockpt(master));
	SAME(write(master, "line\npart", 9), 9);
	CHECK(UNTIL(poll(&(struct pollfd){ .fd = master, .events = POLLIN }, 1, 0) == 1));
	if (ctx->arg == 2) {
		SAME(write(master, "\023", 1), 1);
		nap(50);
	}
	return 0;
}

static int unopened_use(struct maker_ctx *ctx)
{
	struct pollfd p = { .fd = master, .events = POLLIN | POLLOUT };
	int flags = O_RDWR | O_NOCTTY, locked = 0;

	SAME(poll(&p, 1, 0), 1);
	SAME(p.revents, POLLIN | POLLOUT);
	TRY(got(master, "line\r\npart"));
	SAME(readable(master), 0);
	CHECK(!ioctl(master, TIOCGPTLCK, &locked));
	SAME(locked, ctx->arg == 1);
	if (locked) {
		SAME(ioctl(master, TIOCGPTPEER, flags), -1);
		SAME(errno, EIO);
		CHECK(!unlockpt(master));
	}
	slave = ioctl(master, TIOCGPTPEER, flags);
	CHECK(slave >= 0);
	TRY(got(slave, "line\n"));
	if (ctx->arg == 2) {
		p = (struct pollfd){ .fd = slave, .events = POLLOUT };
		SAME(poll(&p, 1, 0), 0);
		SAME(write(master, "\021", 1), 1);
		CHECK(UNTIL(poll(&p, 1, 0) == 1));
	}
	SAME(write(master, "ial\n", 4), 4);
	TRY(got(slave, "partial\n"));
	SAME(write(slave, "x", 1), 1);
	return 0;
}

/* Output stopped by a key, which only a key starts. */
static int key_held_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(master, "\023", 1), 1);
	CHECK(UNTIL(!poll(&(struct pollfd){ .fd = slave, .events = POLLOUT }, 1, 0)));
	return 0;
}

static int key_held_use(struct maker_ctx *ctx)
{
	CHECK(!fcntl(slave, F_SETFL, O_NONBLOCK));
	SAME(write(slave, "x", 1), -1);
	SAME(errno, EAGAIN);
	SAME(write(master, "\021", 1), 1);
	CHECK(UNTIL(write(slave, "x", 1) == 1));
	return got(master, "x");
}

const struct maker makers_pty_queues[] = {
	ROW("typed", "two lines typed and not read", typed),
	ROW("typed-partly", "a line and the beginning of another", partial),
	ROW("typed-raw", "bytes typed in raw mode", raw_typed),
	ROW("end-of-file", "a line ended by ^D", eof),
	ROW("printed", "output not read", printed),
	ROW("held", "output held by tcflow", held),
	ROW("held-by-key", "output held by ^S typed", key_held),
	ROW("packet", "packet mode", packet),
	{ "packet-status", "packet mode, a status not read", packet_status_make, packet_status_use, MAKER_MUST_REFUSE,
		0, "packet mode" },
	{ "never-opened", "typed before the slave was first opened", unopened_make, unopened_use },
	{ "never-opened-locked", "the same with a slave that is locked", unopened_make, unopened_use, 0, 1 },
	{ "never-opened-held", "the same with output held", unopened_make, unopened_use, 0, 2 },
	{ 0 },
};
