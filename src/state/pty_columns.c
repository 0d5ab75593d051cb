/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The column that a terminal counts for what it prints, by which tabs become blanks (XTABS), and the one at which the line began that is being typed, by which
 * it knows how far back a tab is to be erased. Nothing sets them: so much is printed, and something typed, in the keeper, which throws away what comes out.
 * drivers/tty/n_tty.c.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "state/pty.h"

#define PART	    512
#define MOST	    (1ul << 16) /* beyond, only its place among tabs */
#define PATIENCE_MS 1000

static int discard(int master, size_t size)
{
	char bytes[PART];

	while (size) {
		struct pollfd p = { .fd = master, .events = POLLIN };
		ssize_t n = poll(&p, 1, PATIENCE_MS) == 1 ? read(master, bytes, MIN(size, sizeof(bytes))) : -1;

		if (n <= 0)
			return -EIO;
		size -= (size_t)n;
	}
	return 0;
}

static int print(int master, int slave, char c, size_t n)
{
	char bytes[PART];
	int err = 0;

	memset(bytes, c, sizeof(bytes));
	while (!err && n) {
		size_t part = MIN(n, sizeof(bytes));

		err = write(slave, bytes, part) == (ssize_t)part ? discard(master, part) : -EIO;
		n -= part;
	}
	return err;
}

/* Echoed, it notes where the line begins, and takes one column. */
static int type(int master, int slave)
{
	if (ioctl(slave, TIOCSTI, "x") < 0)
		return -errno;
	if (discard(master, 1) < 0)
		return -EIO;
	return ioctl(slave, TCFLSH, TCIFLUSH) < 0 ? -errno : 0;
}

static uint64_t bounded(uint64_t column)
{
	return column < MOST ? column : MOST + column % 8;
}

int pty_columns_set(int master, int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	uint64_t column = bounded(s->column), line = bounded(s->line_column), now = line;
	struct terminal_modes plain = *m;
	int err;

	if (!column && !line)
		return 0;
	plain.iflag = 0;
	plain.oflag = OPOST;
	plain.lflag = ICANON | ECHO;
	memset(plain.cc, 0, sizeof(plain.cc));
	err = ioctl(master, TERMINAL_SET, &plain) < 0 ? -errno : print(master, slave, ' ', line);
	if (!err && line) {
		err = type(master, slave);
		now++;
	}
	if (!err)
		err = column < now ? print(master, slave, '\b', now - column) : print(master, slave, ' ', column - now);
	if (ioctl(master, TERMINAL_SET, m) < 0 && !err)
		err = -errno;
	return err;
}
