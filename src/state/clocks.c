/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/clocks.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

int64_t clocks_parse_offset(const char *text)
{
	const char *value = strstr(text, "monotonic");
	long long s, ns;

	if (!value || sscanf(value + sizeof("monotonic") - 1, "%lld %lld", &s, &ns) != 2 ||
		s > INT64_MAX / NS_PER_S / 2 || s < INT64_MIN / NS_PER_S / 2)
		return 0;
	return s * NS_PER_S + ns;
}

/* The offset of the namespace in which that process's children are born: for one that was not just unsharing,
 * its own. */
static int64_t offset_of(pid_t pid)
{
	_cleanup_fd_ int dir = procfs_open_pid(pid);
	_cleanup_free_ char *text = NULL;
	size_t size;

	return dir < 0 || procfs_read(dir, "timens_offsets", &text, &size) < 0 ? 0 : clocks_parse_offset(text);
}

int64_t clocks_monotonic_in(const struct build *b)
{
	struct timespec now;

	/* The keeper's own file shows the namespace that it has unshared for its children; that of its pid 1
	 * is the keeper's own. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return timespec_ns(&now) - offset_of(1) + offset_of(b->process->pid);
}

int64_t clocks_left(const struct build *b, int64_t left, int64_t at)
{
	int64_t passed = clocks_monotonic_in(b) - b->restore->clock_shift_ns - at;

	/* A clock that went backwards is no clock to be due by. */
	return MAX(passed > 0 ? left - passed : left, (int64_t)1);
}
