/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watch_place.h"

#include <sys/ioctl.h>

char place[700];

const char *there(const char *name)
{
	static char path[800];

	snprintf(path, sizeof(path), "%s/%s", place, name);
	return path;
}

int place_make(struct maker_ctx *ctx)
{
	snprintf(place, sizeof(place), "%s/place", ctx->dir);
	CHECK(!mkdir(place, 0755));
	return 0;
}

int create(const char *name)
{
	int f = open(there(name), O_CREAT | O_EXCL | O_RDWR, 0644);

	CHECK(f >= 0);
	SAME(write(f, "contents", 8), 8);
	return f;
}

int touch(const char *name)
{
	int f = create(name);

	return f < 0 ? f : close(f);
}

int silent(int f)
{
	int n = -1;

	CHECK(!ioctl(f, FIONREAD, &n));
	SAME(n, 0);
	return 0;
}

int program_copy(void)
{
	char text[4096];
	int from = open("/bin/sleep", O_RDONLY), to = open(there("program"), O_CREAT | O_WRONLY, 0755);
	ssize_t n;

	CHECK(from >= 0 && to >= 0);
	while ((n = read(from, text, sizeof(text))) > 0)
		SAME(write(to, text, (size_t)n), n);
	return close(from) || close(to);
}
