/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* signalfd: signals read from a descriptor. It holds a mask and nothing else: whose signals, the reader
 * decides. signalfd(2); fs/signalfd.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/files.h"

struct signalfd_state {
	uint64_t mask;
};

static const struct field signalfd_fields[] = {
	FIELD_HEX(struct signalfd_state, mask, "mask", "signals that it gives: bit 0 is signal 1"),
	FIELD_END,
};

static bool signalfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[signalfd]");
}

static int signalfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct signalfd_state *s = state;

	return proc_value_u64(f->info, "sigmask", 16, &s->mask) < 0 ? -EBADMSG : 0;
}

static int signalfd_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct signalfd_state *s = rec->state;
	long fd = syscall(SYS_signalfd4, -1, &s->mask, sizeof(s->mask), O_CLOEXEC);

	return file_settle(fd < 0 ? -errno : (int)fd, file);
}

const struct component component_signalfd = {
	.kind = { .name = "signalfd",
		.version = 1,
		.size = sizeof(struct signalfd_state),
		.fields = signalfd_fields,
		.doc = "signals read from a descriptor",
		.sources = "signalfd(2); fs/signalfd.c" },
	.scope = SCOPE_BACKING,
	.matches = signalfd_matches,
	.by_description = true,
	.capture_file = signalfd_capture,
	.open = signalfd_open,
};
