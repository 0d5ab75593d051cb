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

/* A status that the master has not read. arg: TIOCPKT_*; 256: and what was typed and printed since; 512: that it was stopped was read before. */
static int cause(long what)
{
	struct termios t;

	CHECK(!tcgetattr(slave, &t));
	if (what & TIOCPKT_NOSTOP)
		t.c_iflag &= ~(tcflag_t)IXON;
	if (what & TIOCPKT_IOCTL)
		t.c_lflag |= EXTPROC;
	CHECK(!tcsetattr(slave, TCSANOW, &t));
	t.c_lflag &= ~(tcflag_t)EXTPROC;
	if (what & (TIOCPKT_IOCTL | TIOCPKT_DOSTOP))
		CHECK(!tcsetattr(slave, TCSANOW, &t));
	if (what & TIOCPKT_FLUSHREAD)
		CHECK(!tcflush(slave, TCIFLUSH));
	if (what & TIOCPKT_FLUSHWRITE)
		CHECK(!tcflush(slave, TCOFLUSH));
	if (what & (TIOCPKT_STOP | TIOCPKT_START))
		CHECK(!tcflow(slave, TCOOFF));
	if (what & TIOCPKT_START)
		CHECK(!tcflow(slave, TCOON));
	return 0;
}

static int tells(int what)
{
	struct pollfd p = { .fd = master, .events = POLLPRI };
	char c[16] = "";

	SAME(poll(&p, 1, 0), 1);
	SAME(read(master, c, sizeof(c)), 1);
	SAME(c[0], what);
	SAME(poll(&p, 1, 0), 0);
	return 0;
}

static int packet_status_make(struct maker_ctx *ctx)
{
	struct termios t;

	TRY(open_pair(&master, &slave));
	if (ctx->arg & TIOCPKT_DOSTOP) {
		CHECK(!tcgetattr(slave, &t));
		t.c_cc[VSTOP] = 1;
		CHECK(!tcsetattr(slave, TCSANOW, &t));
	}
	CHECK(!ioctl(master, TIOCPKT, &(int){ 1 }));
	if (ctx->arg & 512) {
		CHECK(!tcflow(slave, TCOOFF));
		TRY(tells(TIOCPKT_STOP));
	}
	if (ctx->arg & TIOCPKT_DOSTOP) {
		t.c_cc[VSTOP] = 023;
		CHECK(!tcsetattr(slave, TCSANOW, &t));
	}
	TRY(cause(ctx->arg));
	if (ctx->arg & 256) {
		SAME(write(slave, "out\n", 4), 4);
		SAME(write(master, "in\n", 3), 3);
		CHECK(UNTIL(waiting(master) == 9 && waiting(slave) == 3));
	}
	return 0;
}

static int packet_status_use(struct maker_ctx *ctx)
{
	char c[16] = "";

	TRY(tells((int)ctx->arg & 255));
	if (ctx->arg & 256) {
		SAME(read(master, c, sizeof(c)), 10);
		CHECK(!memcmp(c, "\0out\r\nin\r\n", 10));
		TRY(got(slave, "in\n"));
	}
	if (ctx->arg & (TIOCPKT_STOP | 512)) {
		CHECK(!tcflow(slave, TCOON));
		TRY(tells(TIOCPKT_START));
	}
	return packet_use(ctx);
}

/* ^S stopped it; the master has read of it or not. */
static int packet_key_make(struct maker_ctx *ctx)
{
	TRY(packet_make(ctx));
	SAME(write(master, "\023", 1), 1);
	CHECK(UNTIL(!poll(&(struct pollfd){ .fd = slave, .events = POLLOUT }, 1, 0)));
	return ctx->arg ? tells(TIOCPKT_STOP) : 0;
}

static int packet_key_use(struct maker_ctx *ctx)
{
	struct pollfd p = { .fd = master, .events = POLLPRI };

	if (!ctx->arg)
		TRY(tells(TIOCPKT_STOP));
	SAME(poll(&p, 1, 0), 0);
	SAME(write(master, "\021", 1), 1);
	CHECK(UNTIL(poll(&p, 1, 0) == 1));
	TRY(tells(TIOCPKT_START));
	return packet_use(ctx);
}

/* Stopped by tcflow, of which the master has read; EXTPROC, of which every setting of modes would tell. */
static int packet_quiet_make(struct maker_ctx *ctx)
{
	struct termios t;

	TRY(packet_make(ctx));
	CHECK(!tcgetattr(slave, &t));
	t.c_lflag |= EXTPROC;
	CHECK(!tcsetattr(slave, TCSANOW, &t));
	TRY(tells(TIOCPKT_IOCTL));
	SAME(write(slave, "out", 3), 3);
	CHECK(!tcflow(slave, TCOOFF));
	return tells(TIOCPKT_STOP);
}

static int packet_quiet_use(struct maker_ctx *ctx)
{
	struct pollfd p = { .fd = master, .events = POLLPRI };
	char c[16];

	SAME(poll(&p, 1, 0), 0);
	SAME(read(master, c, sizeof(c)), 4);
	CHECK(!tcflow(slave, TCOON));
	TRY(tells(TIOCPKT_START));
	SAME(write(slave, "p", 1), 1);
	SAME(read(master, c, sizeof(c)), 2);
	return 0;
}

/* More than a line buffer, not read. arg: 1 the output was stopped behind it, 2 until there is no more room, 3 the same of what is typed. */
static char large[100000], back[sizeof(large)];
static size_t n_large;

static void write_much(int to, size_t size, size_t part)
{
	while (n_large < size) {
		size_t left = size - n_large;
		ssize_t n = write(to, large + n_large, left < part ? left : part);

		if (n <= 0)
			return;
		n_large += (size_t)n;
	}
}

static int much_make(struct maker_ctx *ctx)
{
	int to, from;

	TRY(open_pair(&master, &slave));
	TRY(raw(slave));
	to = ctx->arg == 3 ? master : slave;
	from = ctx->arg == 3 ? slave : master;
	fill(large, sizeof(large), 3);
	CHECK(!fcntl(to, F_SETFL, O_NONBLOCK));
	write_much(to, 6000, 1000);
	if (ctx->arg > 1) {
		CHECK(UNTIL(waiting(from) == 4095));
		write_much(to, sizeof(large), 1000);
		write_much(to, sizeof(large), 1);
		CHECK(n_large > 20000 && n_large < sizeof(large));
	}
	return ctx->arg == 1 ? tcflow(slave, TCOOFF) : 0;
}

static int much_use(struct maker_ctx *ctx)
{
	int to = ctx->arg == 3 ? master : slave, from = ctx->arg == 3 ? slave : master;
	size_t n = 0;

	if (ctx->arg == 1)
		SAME(poll(&(struct pollfd){ .fd = slave, .events = POLLOUT }, 1, 0), 0);
	while (n < n_large) {
		ssize_t r = read(from, back + n, sizeof(back) - n);

		CHECK(r > 0);
		n += (size_t)r;
	}
	SAME(n, n_large);
	CHECK(!memcmp(large, back, n));
	CHECK(ctx->arg != 1 || !tcflow(slave, TCOON));
	CHECK(UNTIL(write(to, "x", 1) == 1));
	return got(from, "x");
}

/* What is typed is held, by the master's own tcflow. */
static int master_held_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	CHECK(!fcntl(master, F_SETFL, O_NONBLOCK));
	return tcflow(master, TCOOFF);
}

static int master_held_use(struct maker_ctx *ctx)
{
	SAME(write(master, "x", 1), -1);
	SAME(errno, EAGAIN);
	CHECK(!tcflow(master, TCOON));
	SAME(write(master, "x\n", 2), 2);
	return got(slave, "x\n");
}

/* Typed while the output is held: it is echoed later. A ^V that quotes what comes next. */
static int unechoed_make(struct maker_ctx *ctx)
{
	TRY(held_make(ctx));
	SAME(write(master, "typed\n", 6), 6);
	CHECK(UNTIL(waiting(slave) == 6));
	return 0;
}

static int unechoed_use(struct maker_ctx *ctx)
{
	CHECK(!tcflow(slave, TCOON));
	TRY(got(slave, "typed\n"));
	SAME(write(slave, "x", 1), 1);
	return got(master, "typed\r\nx");
}

static int quoting_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	SAME(write(master, "a\026", 2), 2);
	return got(master, "a^\b");
}

static int quoting_use(struct maker_ctx *ctx)
{
	SAME(write(master, "\003\n", 2), 2);
	return got(slave, "a\003\n");
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
	ROW_ARG("packet-flushread", "packet mode, a status not read: input dropped", packet_status, TIOCPKT_FLUSHREAD),
	ROW_ARG("packet-flushwrite", "output dropped", packet_status, TIOCPKT_FLUSHWRITE),
	ROW_ARG("packet-stop", "output stopped", packet_status, TIOCPKT_STOP),
	ROW_ARG("packet-start", "output started", packet_status, TIOCPKT_START),
	ROW_ARG("packet-nostop", "^S does not stop any more", packet_status, TIOCPKT_NOSTOP),
	ROW_ARG("packet-dostop", "^S stops now", packet_status, TIOCPKT_DOSTOP),
	ROW_ARG("packet-ioctl", "modes changed under EXTPROC", packet_status, TIOCPKT_IOCTL),
	ROW_ARG("packet-several", "several of these, with bytes in both queues", packet_status,
		TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE | TIOCPKT_START | TIOCPKT_NOSTOP | TIOCPKT_IOCTL | 256),
	ROW_ARG("packet-stop-read", "input dropped, and stopped, of which was read", packet_status,
		TIOCPKT_FLUSHREAD | 512),
	ROW_ARG("packet-key", "stopped by ^S", packet_key, 0),
	ROW_ARG("packet-key-read", "of which was read", packet_key, 1),
	ROW("packet-quiet", "packet mode with EXTPROC and output held, of which was read", packet_quiet),
	ROW_ARG("much", "more output than a line buffer", much, 0),
	ROW_ARG("much-held", "and then held", much, 1),
	ROW_ARG("full", "as much as there is room for", much, 2),
	ROW_ARG("full-typed", "as much typed as there is room for", much, 3),
	ROW("master-held", "input held by the master", master_held),
	REFUSED("unechoed", "typed while output is held", unechoed_make, unechoed_use, 0, "echoed"),
	REFUSED("quoting", "^V typed, and not what it quotes", quoting_make, quoting_use, 0, "quotes"),
	{ "never-opened", "typed before the slave was first opened", unopened_make, unopened_use },
	{ "never-opened-locked", "the same with a slave that is locked", unopened_make, unopened_use, 0, 1 },
	{ "never-opened-held", "the same with output held", unopened_make, unopened_use, 0, 2 },
	{ 0 },
};
