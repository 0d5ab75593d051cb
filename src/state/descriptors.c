/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptor table of a process: which number stands for which description, and close-on-exec.
 * proc_pid_fd(5), clone(2) CLONE_FILES, dup(2), pidfd_getfd(2); fs/file.c.
 */
#include "state/descriptors.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/dnotify.h"
#include "state/file_owner.h"
#include "state/files.h"
#include "state/locks.h"
#include "state/owner.h"

static const struct field descriptor_fields[] = {
	FIELD_UINT(struct descriptor, fd, "fd", "number"),
	FIELD_BOOL(struct descriptor, cloexec, "cloexec", "closed by execve"),
	FIELD_REF(struct descriptor, file, "file", "file", REF_STRONG, "the open file description"),
	FIELD_SINCE(2, HEX, struct descriptor, notify, "notify",
		"F_NOTIFY: of which changes a directory tells by a signal"),
	FIELD_END,
};

static const struct field descriptors_fields[] = {
	FIELD_REF(struct descriptors_state, of, "of", "process", REF_STRONG, "whose table it is"),
	FIELD_REF(struct descriptors_state, shared_with, "shared_with", "process", REF_STRONG,
		"the parent, whose table the process uses"),
	FIELD_LIST(struct descriptors_state, list, n, "list", descriptor_fields, "by number"),
	FIELD_END,
};

/* --- checkpoint --- */

static int save_files(struct capture *c)
{
	struct process *p = c->process;
	int first = 0;

	for (size_t i = 0; i < p->n_files; i++) {
		int err = file_save(c, &p->files[i]);

		if (err && !first)
			first = err;
	}
	return first;
}

/* unshare(CLONE_FILES) in a thread. */
static void look_at_tables_of_threads(struct capture *c)
{
	const struct process *p = c->process;

	for (size_t i = 1; i < p->n_threads; i++) {
		if (kernel_kcmp(owner_alive(p)->tid, p->threads[i].tid, KCMP_FILES) <= 0)
			continue;
		refused(c->ps, BLAME_PROCESS(p, .object = "descriptors"),
			"thread %d has a descriptor table of its own (unshare(CLONE_FILES))", p->threads[i].tid);
		return;
	}
}

static int descriptors_look(struct capture *c)
{
	look_at_tables_of_threads(c);
	save_files(c);
	return 0;
}

/* The table of all is rebuilt by a birth with CLONE_FILES: that needs the parent to be the one who has it. */
static int capture_shared(struct capture *c, struct descriptors_state *s)
{
	const struct process *p = c->process;

	if (!p->parent || p->parent->descriptors != p->descriptors)
		return refused(c->ps, BLAME_PROCESS(p),
			"shares its descriptor table (CLONE_FILES) with a process that is not its parent");
	s->shared_with = p->parent->id;
	return 0;
}

/*
 * fdinfo shows close-on-exec also where only the description was opened so (TIOCGPTPEER keeps it in f_flags, seen on 6.18): whoever shows it is asked.
 */
struct descriptors_scratch {
	uint32_t first;
};

static void descriptors_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct descriptors_scratch *s = scratch;
	const struct process *p = c->process;

	s->first = b->n;
	for (size_t i = 0; i < p->n_files; i++)
		if (p->files[i].cloexec)
			batch_call(b, "F_GETFD", SYS_fcntl, (uint64_t)p->files[i].fd, F_GETFD);
}

static int capture_notify(struct capture *c, struct descriptors_state *s)
{
	const struct process *p = c->process;
	int err = 0;

	for (size_t i = 0; i < s->n && !err; i++)
		if (S_ISDIR(p->files[i].mode) && !(p->files[i].flags & O_PATH))
			err = dnotify_capture(c, &p->files[i], &s->list[i].notify);
	return err;
}

static int descriptors_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	uint32_t answer = ((const struct descriptors_scratch *)scratch)->first;
	struct descriptors_state *s = state;
	const struct process *p = c->process;
	int err;

	s->of = p->id;
	if (p->descriptors && p->descriptors != p->id)
		return capture_shared(c, s);
	err = save_files(c);
	if (err)
		return err;
	s->list = calloc(p->n_files ? p->n_files : 1, sizeof(*s->list));
	if (!s->list)
		return -ENOMEM;
	s->n = p->n_files;
	for (size_t i = 0; i < s->n; i++)
		s->list[i] = (struct descriptor){
			.fd = (uint64_t)p->files[i].fd,
			.cloexec = p->files[i].cloexec && (batch_result(b, answer++) & FD_CLOEXEC),
			.file = p->files[i].file,
		};
	return capture_notify(c, s);
}

/* --- restore --- */

const struct descriptors_state *descriptors_of(const struct restore *r, object_id process)
{
	size_t n;
	const struct record *recs = image_records(r->image, &component_descriptors.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct descriptors_state *s = recs[i].state;

		if (s->of == process)
			return s;
	}
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	const struct descriptor *x = a, *y = b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

const struct descriptor *descriptor_at(const struct descriptors_state *s, uint64_t fd)
{
	const struct descriptor key = { .fd = fd };

	return s->n ? bsearch(&key, s->list, s->n, sizeof(key), by_number) : NULL;
}

/* A chain of shared tables ends at the one who has it; a hostile image's may not end. */
static const struct descriptors_state *table_of(const struct restore *r, const struct descriptors_state *s)
{
	for (size_t i = 0; s && s->shared_with && i <= r->n_processes; i++)
		s = descriptors_of(r, s->shared_with);
	return s && !s->shared_with ? s : NULL;
}

bool descriptors_shared(const struct restore *r, object_id process)
{
	const struct descriptors_state *s = descriptors_of(r, process);

	return s && s->shared_with;
}

object_id descriptors_owner(const struct restore *r, object_id process)
{
	const struct descriptors_state *s = table_of(r, descriptors_of(r, process));

	return s ? s->of : 0;
}

int descriptors_max(const struct restore *r, object_id process)
{
	const struct descriptors_state *s = table_of(r, descriptors_of(r, process));

	return s && s->n ? (int)s->list[s->n - 1].fd : -1;
}

static int descriptors_validate(struct restore *r, const struct record *rec)
{
	const struct descriptors_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].fd >= 1u << 30 || (i && s->list[i].fd <= s->list[i - 1].fd))
			return failed(r->ps, BLAME(.object = "descriptors"), -EBADMSG,
				"the image's descriptors are not in ascending order");
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].notify & ~dnotify_events)
			return failed(r->ps, BLAME(.object = "descriptors"), -EBADMSG,
				"the image has a directory tell of changes that do not exist (F_NOTIFY)");
	if (s->shared_with && !table_of(r, s))
		return failed(r->ps, BLAME(.object = "descriptors"), -EBADMSG,
			"the image's shared descriptor tables form a circle");
	return 0;
}

/* In the keeper: every description is opened once. */
static int descriptors_create(struct build *b, const void *state)
{
	const struct descriptors_state *s = state;

	for (size_t i = 0; i < s->n; i++) {
		int fd = restore_file(b->restore, s->list[i].file);

		if (fd < 0)
			return fd;
	}
	return 0;
}

/* Where the task's way to the keeper goes: above everything that is to come. All that share a table compute
 * the same number. */
static int keeper_number(const struct restore *r, const struct descriptors_state *s)
{
	const struct descriptors_state *table = table_of(r, s);

	return table && table->n ? (int)table->list[table->n - 1].fd + 1 : 0;
}

static void clear_table(struct build *b, int keeper)
{
	struct new_process *p = b->process;

	if (p->keeper_fd != keeper)
		batch_call(b->batch, "dup3 of the way to the keeper", SYS_dup3, (uint64_t)p->keeper_fd,
			(uint64_t)keeper, O_CLOEXEC);
	p->keeper_fd = keeper;
	if (keeper)
		batch_call(b->batch, "close_range below", SYS_close_range, 0, (uint64_t)keeper - 1, 0);
	batch_call(b->batch, "close_range above", SYS_close_range, (uint64_t)keeper + 1, ~0u, 0);
}

static const struct descriptor *same_file_before(const struct descriptors_state *s, size_t i)
{
	for (size_t k = i; k-- > 0 && i - k < 64;)
		if (s->list[k].file == s->list[i].file)
			return &s->list[k];
	return NULL;
}

/* A descriptor fetched arrives at the lowest free number, close-on-exec. */
static int put(struct build *b, const struct descriptor *d, uint64_t lowest_free)
{
	int keeper_fd = restore_file(b->restore, d->file);
	uint32_t fetched;

	if (keeper_fd < 0)
		return keeper_fd;
	fetched = build_fetch(b, "fetching a descriptor", keeper_fd);
	if (d->fd == lowest_free) {
		batch_expect(b->batch, fetched, (int64_t)d->fd);
		if (!d->cloexec)
			batch_call(b->batch, "F_SETFD", SYS_fcntl, d->fd, F_SETFD, 0);
		return 0;
	}
	batch_use(b->batch, batch_call(b->batch, "dup3", SYS_dup3, 0, d->fd, d->cloexec ? O_CLOEXEC : 0), 0, fetched);
	batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fetched);
	return 0;
}

static int descriptors_connect(struct build *b, const void *state)
{
	const struct descriptors_state *s = state;
	int keeper = keeper_number(b->restore, s);
	uint64_t lowest_free = 0;

	if (s->shared_with) {
		b->process->keeper_fd = keeper;
		return 0;
	}
	clear_table(b, keeper);
	for (size_t i = 0; i < s->n; i++) {
		const struct descriptor *d = &s->list[i], *twin = same_file_before(s, i);
		int err = 0;

		if (lowest_free == (uint64_t)keeper)
			lowest_free++;
		if (twin)
			batch_call(b->batch, "dup3", SYS_dup3, twin->fd, d->fd, d->cloexec ? O_CLOEXEC : 0);
		else
			err = put(b, d, lowest_free);
		if (err)
			return err;
		if (d->fd == lowest_free)
			lowest_free++;
	}
	return 0;
}

static bool first_to_attach(struct restore *r, object_id file)
{
	struct made *made = restore_made(r, file);

	if (!made || made->data)
		return false;
	made->data = calloc(1, 1);
	return true;
}

static int attach_at(struct build *b, object_id id, int fd)
{
	const struct file_state *file = restore_state(b->restore, id, "file");
	const struct record *backing = file ? image_find(b->restore->image, file->backing) : NULL;
	const struct component *k = backing ? component_of(backing->kind) : NULL;
	int err = k ? file_own(b, id, file, fd) : 0;

	return !err && k && k->attach ? k->attach(b, backing, file, fd) : err;
}

/* The last process with a table of its own: what nobody before it has, and it has not, nobody has. */
static bool is_last(const struct build *b)
{
	const struct restore *r = b->restore;

	for (size_t i = r->n_processes; i-- > 0 && r->processes[i] != b->process;) {
		const struct descriptors_state *s = descriptors_of(r, r->processes[i]->id);

		if (!r->processes[i]->zombie && s && !s->shared_with)
			return false;
	}
	return true;
}

/* What is only in flight stands at a number for a moment, above the way to the keeper and what is put aside beside it. */
static int attach_in_flight(struct build *b)
{
	const uint64_t number = (uint64_t)b->process->keeper_fd + 2;
	size_t n;
	const struct record *files = image_records(b->restore->image, &component_file.kind, &n);

	for (size_t i = 0; i < n; i++) {
		int keeper_fd, err;
		uint32_t fetched;

		if (!first_to_attach(b->restore, files[i].id))
			continue;
		keeper_fd = restore_file(b->restore, files[i].id);
		if (keeper_fd < 0)
			return keeper_fd;
		fetched = build_fetch(b, "fetching what is in flight", keeper_fd);
		batch_use(b->batch, batch_call(b->batch, "dup3", SYS_dup3, 0, number, O_CLOEXEC), 0, fetched);
		batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fetched);
		err = attach_at(b, files[i].id, (int)number);
		if (err)
			return err;
		batch_call(b->batch, "close", SYS_close, number);
	}
	return 0;
}

/* What is done once for each description, from a process that has it. */
static int descriptors_attach(struct build *b, const void *state)
{
	const struct descriptors_state *s = state;

	for (size_t i = 0; i < s->n; i++) {
		int err = first_to_attach(b->restore, s->list[i].file)
				  ? attach_at(b, s->list[i].file, (int)s->list[i].fd)
				  : 0;

		if (err)
			return err;
	}
	if (!s->shared_with && is_last(b)) {
		int err = attach_in_flight(b);

		if (err)
			return err;
	}
	return locks_attach_fetched(b);
}

/* Late: the restore changes directories, too. */
static int descriptors_arm(struct build *b, const void *state)
{
	const struct descriptors_state *s = state;

	for (size_t i = 0; i < s->n; i++) {
		const struct file_state *file = restore_state(b->restore, s->list[i].file, "file");

		if (s->list[i].notify && file)
			dnotify_ask(b, (int)s->list[i].fd, s->list[i].notify, file->owner);
	}
	return 0;
}

const struct component component_descriptors = {
	.kind = { .name = "descriptors",
		.version = 2,
		.size = sizeof(struct descriptors_state),
		.fields = descriptors_fields,
		.doc = "the descriptor table of a process",
		.sources = "proc_pid_fd(5), dup(2), clone(2); fs/file.c; "
			   "tools/testing/selftests/core/close_range_test.c",
		.critical = true },
	.scope = SCOPE_PROCESS,
	.look = descriptors_look,
	.scratch_size = sizeof(struct descriptors_scratch),
	.ask = descriptors_ask,
	.capture = descriptors_capture,
	.validate = descriptors_validate,
	.build = { [STAGE_CREATE] = descriptors_create,
		[STAGE_CONNECT] = descriptors_connect,
		[STAGE_ATTACH] = descriptors_attach,
		[STAGE_ARM] = descriptors_arm },
};
