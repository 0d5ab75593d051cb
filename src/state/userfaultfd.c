/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * userfaultfd: a descriptor by which a program learns of faults in the memory of the process that made it. userfaultfd(2), ioctl_userfaultfd(2); fs/userfaultfd.c;
 * selftests/mm. Carried while no memory is registered with it: what is registered is refused as memory (memory.c). Its features are in fdinfo; whose memory it is for, and
 * UFFD_USER_MODE_ONLY, are shown by no interface, and read from the kernel's structures. It is made by that process again, in a round, and takes the place of a
 * descriptor that the keeper holds for it until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"
#include "state/files.h"
#include "state/kernel_view.h"
#include "state/userfaultfd.h"

#define USER_MODE_ONLY 1	  /* UFFD_USER_MODE_ONLY */
#define INITIALIZED    (1u << 31) /* among the features in fdinfo: UFFDIO_API was called */

struct userfaultfd_state {
	object_id memory;
	bool initialized;
	uint64_t features;
	bool user_mode_only;
};

extern const struct component component_userfaultfd;

static const struct field userfaultfd_fields[] = {
	FIELD_REF(struct userfaultfd_state, memory, "memory", "process", REF_STRONG, "whose memory it is for"),
	FIELD_BOOL(struct userfaultfd_state, initialized, "initialized", "UFFDIO_API was called"),
	FIELD_HEX(struct userfaultfd_state, features, "features", "UFFD_FEATURE_* that it asked for"),
	FIELD_BOOL(struct userfaultfd_state, user_mode_only, "user_mode_only", "UFFD_USER_MODE_ONLY"),
	FIELD_END,
};

static bool userfaultfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[userfaultfd]");
}

/* "API:	aa:80000000:1ff" */
static int read_features(const char *info, struct userfaultfd_state *s)
{
	const char *at = info, *value = fdinfo_next(&at, "API");
	unsigned int features;

	if (!value || sscanf(value, "%*x:%x:", &features) != 1)
		return -EBADMSG;
	s->initialized = features & INITIALIZED;
	s->features = features & ~INITIALIZED;
	return 0;
}

static int find_memory(struct capture *c, const struct file_look *f, struct userfaultfd_state *s)
{
	uint64_t ctx = 0, flags = 0, mm = 0;
	struct process *owner;
	int r = kernel_object(c, f, &ctx);

	if (r == 0)
		r = kernel_peek_member(c->kernel, ctx, "userfaultfd_ctx", "flags", &flags);
	if (r == 0)
		r = kernel_peek_member(c->kernel, ctx, "userfaultfd_ctx", "mm", &mm);
	if (r < 0)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told whose memory the userfaultfd is for: %s", strerror(-r));
	owner = kernel_mm_owner(c, mm);
	if (!owner)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
			"a userfaultfd for the memory of a process that is not of the tree, or has ended or called "
			"exec "
			"since");
	s->memory = owner->id;
	s->user_mode_only = flags & USER_MODE_ONLY;
	return 0;
}

static int userfaultfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct userfaultfd_state *s = state;
	uint64_t total;

	if (read_features(f->info, s) < 0 || proc_value_u64(f->info, "total", 10, &total) < 0)
		return -EBADMSG;
	if (total)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program answer them"),
			"a userfaultfd with faults that nobody has answered");
	return c->kernel ? find_memory(c, f, s) : 0;
}

/* --- restore --- */

bool userfaultfd_is_for(const struct restore *r, object_id process)
{
	size_t n;
	const struct record *records = image_records(r->image, &component_userfaultfd.kind, &n);

	for (size_t i = 0; i < n; i++)
		if (((const struct userfaultfd_state *)records[i].state)->memory == process)
			return true;
	return false;
}

static int userfaultfd_validate(struct restore *r, const struct record *rec)
{
	const struct userfaultfd_state *s = rec->state;
	const struct new_process *p = restore_process(r, s->memory);

	return p && !p->zombie ? 0
			       : failed(r->ps, BLAME(.object = "userfaultfd"), -EBADMSG,
					 "the image has one for the memory of nobody");
}

/* Until the round, something else keeps its number in the keeper. */
static int userfaultfd_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)r, (void)rec, (void)file;
	return fd < 0 ? -errno : fd;
}

#define NUMBER_FIRST 64

/* The number that the n-th has for a while in the process that makes it: each its own, since two processes may share a table. */
static uint64_t number_of(size_t n)
{
	return NUMBER_FIRST + n;
}

static void queue_making(struct build *b, const struct userfaultfd_state *s, size_t n)
{
	struct uffdio_api api = { .api = UFFD_API, .features = s->features };
	uint32_t made = batch_call(
		b->batch, "userfaultfd", SYS_userfaultfd, O_CLOEXEC | (s->user_mode_only ? USER_MODE_ONLY : 0));

	batch_use(
		b->batch, batch_call(b->batch, "dup3 of a userfaultfd", SYS_dup3, 0, number_of(n), O_CLOEXEC), 0, made);
	batch_use(b->batch, batch_call(b->batch, "close of a userfaultfd", SYS_close, 0), 0, made);
	if (s->initialized)
		batch_call(b->batch, "UFFDIO_API (a feature that this kernel does not have, or leave to use it)",
			SYS_ioctl, number_of(n), UFFDIO_API, batch_copy(b->batch, &api, sizeof(api)).v);
}

/* It takes the place of what was opened for it. */
static int fetch(struct restore *r, const struct record *rec, const struct new_process *p, size_t n)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0), fd = -1;

	fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, number_of(n), 0);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < r->image->n_records; i++) {
		const struct record *file = &r->image->records[i];
		const struct file_state *s = file->kind == &component_file.kind ? file->state : NULL;
		int opened = s && s->backing == rec->id ? restore_file(r, file->id) : -1;

		if (opened >= 0 && (fcntl(fd, F_SETFL, s->flags & (O_APPEND | O_NOATIME | O_NONBLOCK)) < 0 ||
					   dup3(fd, opened, O_CLOEXEC) < 0))
			return -errno;
	}
	return 0;
}

/* First those of all processes are made, then they are fetched, and closed there. */
static int userfaultfd_round(struct restore *r, struct callers *callers, unsigned int round)
{
	struct build *b = NULL;
	size_t n = 0;
	int err = 0;

	if (round > 1)
		return 0;
	for (size_t k = 0; !err && k < r->n_processes; k++, b = NULL, n = 0)
		for (size_t i = 0; !err && i < r->image->n_records; i++) {
			const struct record *rec = &r->image->records[i];
			const struct userfaultfd_state *s =
				rec->kind == &component_userfaultfd.kind ? rec->state : NULL;

			if (s && s->memory == r->processes[k]->id) {
				b = b ? b : callers->add(callers, &r->processes[k]->threads[0]);
				err = !b ? -ENOMEM : round ? fetch(r, rec, r->processes[k], n) : 0;
				if (!err && !round)
					queue_making(b, s, n);
				if (!err && round)
					batch_call(b->batch, "close of a userfaultfd", SYS_close, number_of(n));
			}
			n += s != NULL;
		}
	return err ? err : 1;
}

const struct component component_userfaultfd = {
	.kind = { .name = "userfaultfd",
		.version = 1,
		.size = sizeof(struct userfaultfd_state),
		.fields = userfaultfd_fields,
		.doc = "a userfaultfd with which no memory is registered",
		.sources = "userfaultfd(2), ioctl_userfaultfd(2); fs/userfaultfd.c; selftests/mm" },
	.scope = SCOPE_BACKING,
	.matches = userfaultfd_matches,
	.by_description = true,
	.capture_file = userfaultfd_capture,
	.validate = userfaultfd_validate,
	.open = userfaultfd_open,
	.round = userfaultfd_round,
};
