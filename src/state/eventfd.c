/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* eventfd: a counter behind a descriptor. eventfd(2); /proc/PID/fdinfo has count, id and semaphore mode;
 * fs/eventfd.c. */
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/kernel_view.h"

struct eventfd_state {
	uint64_t count;
	bool semaphore;
};

static const struct field eventfd_fields[] = {
	FIELD_UINT(struct eventfd_state, count, "count", "the counter"),
	FIELD_BOOL(struct eventfd_state, semaphore, "semaphore", "EFD_SEMAPHORE"),
	FIELD_END,
};

static bool eventfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[eventfd]");
}

/* Told since Linux 6.5. */
static int read_semaphore(struct capture *c, const struct file_look *f, uint64_t *semaphore)
{
	uint64_t context = 0, flags = 0;
	int err = proc_value_u64(f->info, "eventfd-semaphore", 10, semaphore);

	if (!err || !c->kernel)
		return err;
	err = kernel_object(c, f, &context);
	if (!err)
		err = kernel_peek_member(c->kernel, context, "eventfd_ctx", "flags", &flags);
	*semaphore = flags & EFD_SEMAPHORE;
	return err;
}

static int eventfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct eventfd_state *s = state;
	uint64_t semaphore;

	if (proc_value_u64(f->info, "eventfd-count", 16, &s->count) < 0)
		return -EBADMSG;
	if (read_semaphore(c, f, &semaphore) < 0)
		return refused(c->ps,
			BLAME_FILE(f, .remedy = "use Linux 6.5 or later, or let its memory be looked at (CAP_BPF, "
						"CAP_PERFMON)"),
			"this kernel does not tell whether the eventfd is a semaphore");
	s->semaphore = semaphore;
	return 0;
}

/* Waiters come back by their own restarted read or poll; only the counter has to be right. */
static int eventfd_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct eventfd_state *s = rec->state;
	_cleanup_fd_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (s->semaphore ? EFD_SEMAPHORE : 0));

	if (fd < 0)
		return -errno;
	if (s->count && write(fd, &s->count, sizeof(s->count)) != sizeof(s->count))
		return failed(r->ps, BLAME(.object = "eventfd"), -EBADMSG,
			"the image has an eventfd with an impossible counter");
	return file_settle(take_fd(&fd), file);
}

const struct component component_eventfd = {
	.kind = { .name = "eventfd",
		.version = 1,
		.size = sizeof(struct eventfd_state),
		.fields = eventfd_fields,
		.doc = "a counter behind a descriptor",
		.sources = "eventfd(2); fs/eventfd.c; tools/testing/selftests/filesystems/eventfd" },
	.scope = SCOPE_BACKING,
	.matches = eventfd_matches,
	.by_description = true,
	.capture_file = eventfd_capture,
	.open = eventfd_open,
};
