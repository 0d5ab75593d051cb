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

/* The kernel hands it on by portions, from a worker. */
int got(int f, const char *want)
{
	char c[512] = "";
	size_t n = 0;

	while (n < strlen(want)) {
		ssize_t more = read(f, c + n, sizeof(c) - 1 - n);

		CHECK(more > 0);
		n += (size_t)more;
	}
	SAME(n, strlen(want));
	CHECK(!memcmp(c, want, n));
	return 0;
}
