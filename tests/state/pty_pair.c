/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pty_pair.h"

#include <pty.h>
#include <termios.h>

int open_pair(int *master, int *slave)
{
	CHECK(!openpty(master, slave, NULL, NULL, NULL));
	return 0;
}

int raw(int f)
{
	struct termios t;

	CHECK(!tcgetattr(f, &t));
	cfmakeraw(&t);
	CHECK(!tcsetattr(f, TCSANOW, &t));
	return 0;
}

int got(int f, const char *want)
{
	char c[512] = "";
	ssize_t n = read(f, c, sizeof(c) - 1);

	SAME(n, strlen(want));
	CHECK(!memcmp(c, want, (size_t)n));
	return 0;
}
