/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What components may call during a restore. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "object/component.h"

const struct component *component_of(const struct record_kind *k)
{
	for (size_t i = 0; components[i]; i++)
		if (&components[i]->kind == k)
			return components[i];
	return NULL;
}

const void *restore_state(const struct restore *r, object_id id, const char *kind)
{
	struct record *rec = image_find(r->image, id);

	return rec && (!kind || !strcmp(rec->kind->name, kind)) ? rec->state : NULL;
}

struct new_process *restore_process(const struct restore *r, object_id id)
{
	for (size_t i = 0; i < r->n_processes; i++)
		if (r->processes[i]->id == id)
			return r->processes[i];
	return NULL;
}

struct new_process *restore_vpid(const struct restore *r, pid_t vpid)
{
	for (size_t i = 0; i < r->n_processes; i++)
		if (r->processes[i]->vpid == vpid)
			return r->processes[i];
	return NULL;
}

struct made *restore_made(struct restore *r, object_id id)
{
	struct record *rec = image_find(r->image, id);

	return rec ? &r->made[rec - r->image->records] : NULL;
}

struct made *restore_made_of(struct restore *r, const void *state)
{
	for (size_t i = 0; i < r->image->n_records; i++)
		if (r->image->records[i].state == state)
			return &r->made[i];
	return NULL;
}

static object_id backing_of(const struct record *file)
{
	return ((const struct file_state *)file->state)->backing;
}

static int by_backing(const void *a, const void *b)
{
	const struct record *x = *(const struct record *const *)a, *y = *(const struct record *const *)b;
	object_id p = backing_of(x), q = backing_of(y);

	return p != q ? (p < q ? -1 : 1) : (x > y) - (x < y);
}

int restore_find_uses(struct restore *r)
{
	r->uses = calloc(r->image->n_records + 1, sizeof(*r->uses));
	if (!r->uses)
		return -ENOMEM;
	for (size_t i = 0; i < r->image->n_records; i++)
		if (!strcmp(r->image->records[i].kind->name, "file"))
			r->uses[r->n_uses++] = &r->image->records[i];
	qsort(r->uses, r->n_uses, sizeof(*r->uses), by_backing);
	return 0;
}

const struct record *const *restore_uses(const struct restore *r, object_id backing, size_t *n)
{
	size_t low = 0, high = r->n_uses;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (backing_of(r->uses[middle]) < backing)
			low = middle + 1;
		else
			high = middle;
	}
	for (*n = 0; low + *n < r->n_uses && backing_of(r->uses[low + *n]) == backing;)
		++*n;
	return r->uses + low;
}

int restore_open(const struct restore *r, const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_IN_ROOT,
	};
	long fd = syscall(SYS_openat2, r->root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int restore_file(struct restore *r, object_id file)
{
	const struct file_state *state = restore_state(r, file, "file");
	struct made *made = restore_made(r, file);
	const struct component *k;
	struct record *backing;
	int fd;

	if (!state || !made)
		return failed(r->ps, NULL, -EBADMSG, "the image has a descriptor of no file");
	if (made->fd[0] >= 0)
		return made->fd[0];
	backing = image_find(r->image, state->backing);
	k = backing ? component_of(backing->kind) : NULL;
	if (!k || !k->open)
		return failed(r->ps, NULL, -EBADMSG, "the image has an open file that stands on nothing");
	fd = k->open(r, backing, state);
	if (fd >= 0)
		made->fd[0] = fd;
	return fd;
}

uint32_t build_fetch(struct build *b, const char *what, int keeper_fd)
{
	return batch_call(b->batch, what, SYS_pidfd_getfd, (uint64_t)b->process->keeper_fd, (uint64_t)keeper_fd, 0);
}
