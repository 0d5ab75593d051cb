/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V shared memory. shmget(2), shmop(2), shmctl(2), sysvipc(7); ipc/shm.c. One record for each segment; mappings refer to it (memory_attach.c). What
 * is attached is read through a mapping of the tree. What is not has to be attached to be read, which sets its times, and would set the number of who did
 * so last: hence that process, if it lives, attaches it once more.
 */
#include "state/sysv_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "object/descriptions.h"
#include "state/stand_in.h"
#include "state/sysv_shm_list.h"

static const struct field sysv_shm_fields[] = {
	SYSV_FIELDS(struct sysv_shm_state),
	FIELD_HEX(struct sysv_shm_state, name_key, "name_key",
		"the key under which it was made, which its mappings show"),
	FIELD_UINT(struct sysv_shm_state, size, "size", "bytes"),
	FIELD_UINT(struct sysv_shm_state, creator, "creator", "the process that made it, if it was of the tree"),
	FIELD_UINT(struct sysv_shm_state, last, "last", "the process that attached or detached it last"),
	FIELD_BOOL(struct sysv_shm_state, used, "used", "it was attached once"),
	FIELD_BOOL(struct sysv_shm_state, destroyed, "destroyed", "removed, and there only as long as it is attached"),
	FIELD_BOOL(struct sysv_shm_state, locked, "locked", "SHM_LOCK"),
	FIELD_LIST(struct sysv_shm_state, extents, n_extents, "extents", extent_fields, "contents"),
	FIELD_BLOB(struct sysv_shm_state, tail, "tail", "what its last page holds behind its size"),
	FIELD_END,
};

/* --- which there are --- */

object_id sysv_shm_id(struct capture *c, uint64_t id)
{
	return identity_of(c->identities, "sysv_shm", id, 0, 0, NULL);
}

/* In the host's namespace: who made one that nobody has attached, and who used it last, are of the tree. */
static bool is_trees(const struct capture *c, const struct segment *s, const struct mapped *m)
{
	return m->n || (s->ds.shm_nattch == 0 && tree_find(c->tree, s->ds.shm_cpid) &&
			       (!s->ds.shm_lpid || tree_find(c->tree, s->ds.shm_lpid)));
}

struct walk {
	struct capture *c;
	bool own;		      /* all of the namespace is the tree's */
	struct segments here, inside; /* as the keeper counts processes, and as the tree does */
	struct attachments attachments;
};

static void walk_free(struct walk *w)
{
	segments_free(&w->here);
	segments_free(&w->inside);
	free(w->attachments.list);
}

static int walk_begin(struct walk *w)
{
	int r = segments_init(&w->here);

	if (r == 0)
		r = segments_list(&w->here);
	return r < 0 ? r : attachments_find(w->c->tree, &w->attachments);
}

/* Its number as the keeper counts. */
static struct process *last_user(const struct capture *c, const struct segment *s)
{
	struct process *p = s->ds.shm_lpid ? tree_find(c->tree, s->ds.shm_lpid) : NULL;

	return p && !p->zombie ? p : NULL;
}

/* Those who have ended have a number only inside. */
static int ask_inside(struct walk *w)
{
	int r;

	if (!w->own || w->inside.list)
		return 0;
	r = segments_init(&w->inside);
	return r < 0 ? r
		     : stand_in_shared(
			       w->c->tree->processes[0]->living_fd, segments_list, &w->inside, sizeof(w->inside));
}

static void give_numbers(const struct walk *w, const struct segment *s, struct sysv_shm_state *out)
{
	out->creator = (uint64_t)sysv_vpid(w->c->tree, s->ds.shm_cpid);
	out->last = (uint64_t)sysv_vpid(w->c->tree, s->ds.shm_lpid);
	for (size_t i = 0; i < w->inside.n; i++)
		if (w->inside.list[i].id == s->id) {
			out->creator = (uint64_t)w->inside.list[i].ds.shm_cpid;
			out->last = (uint64_t)w->inside.list[i].ds.shm_lpid;
		}
}

/* --- contents --- */

struct attached {
	void *at;
	int fd;
};

static void detach(struct attached *a)
{
	if (a->at != (void *)-1)
		shmdt(a->at);
	a->at = (void *)-1;
	close_fd(&a->fd);
}

/* The file behind a mapping stays as long as a descriptor of it. */
static int open_mapping(int proc_fd, unsigned long start, unsigned long end)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "map_files/%lx-%lx", start, end);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int attach_here(int id, size_t size, struct attached *a)
{
	_cleanup_fd_ int self = procfs_open_pid(getpid());

	a->at = shmat(id, NULL, SHM_RDONLY);
	if (a->at == (void *)-1)
		return -errno;
	a->fd = self < 0 ? self
			 : open_mapping(self, (unsigned long)a->at, (unsigned long)a->at + ALIGN_UP(size, PAGE_SIZE));
	return a->fd < 0 ? a->fd : 0;
}

static int save_tail(int fd, struct sysv_shm_state *s)
{
	uint64_t start = ALIGN_DOWN(s->size, (uint64_t)PAGE_SIZE), used = s->size - start;
	const uint8_t *page;

	if (!used)
		return 0;
	page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, (off_t)start);
	if (page == MAP_FAILED)
		return -errno;
	for (size_t i = used; i < PAGE_SIZE && !s->tail.data; i++)
		if (page[i])
			s->tail.data = malloc(PAGE_SIZE - used);
	if (s->tail.data) {
		s->tail.size = PAGE_SIZE - used;
		memcpy(s->tail.data, page + used, s->tail.size);
	}
	munmap((void *)page, PAGE_SIZE);
	return 0;
}

static int save_contents(struct capture *c, int fd, struct sysv_shm_state *s)
{
	struct statfs fs;
	int r;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
		return refused(c->ps,
			BLAME_PROCESS(c->process, .object = sysv_name(&sysv_shm_kind, &s->o).s,
				.remedy = "make it without SHM_HUGETLB"),
			"huge pages of hugetlbfs cannot be carried");
	r = contents_save(c, fd, &s->extents, &s->n_extents);
	return r < 0 ? r : save_tail(fd, s);
}

/* --- one segment --- */

static int refuse_outside(struct capture *c, const struct segment *s, const struct mapped *m)
{
	const struct sysv_object o = sysv_object_of(s->id, &s->ds.shm_perm, s->ds.shm_ctime);

	return refused(c->ps,
		BLAME_PROCESS(m->process, .object = sysv_name(&sysv_shm_kind, &o).s,
			.remedy = "end those who have it attached, or let them be of the tree"),
		"it has %lu attachments, of which %zu are the tree's", (unsigned long)s->ds.shm_nattch, m->n);
}

static int attach_once(void *arg)
{
	void *at = shmat(*(const int *)arg, NULL, SHM_RDONLY);

	return at == (void *)-1 || shmdt(at) < 0 ? -errno : 0;
}

/* Who had it last has ended: a stand-in with its number has it once more. */
static void attach_for_the_dead(struct walk *w, const struct segment *s, const struct sysv_shm_state *state)
{
	int id = s->id, r;

	if (!w->own || !state->last || last_user(w->c, s))
		return;
	r = stand_in(w->c->tree->processes[0]->living_fd, (pid_t)state->last, attach_once, &id);
	if (r < 0)
		changed(w->c->ps, BLAME_PROCESS(w->c->process, .object = sysv_name(&sysv_shm_kind, &state->o).s),
			"it is now spore that attached it last, to read it: %s", strerror(-r));
}

/* A segment never attached holds nothing, and is not touched. */
static int read_segment(struct walk *w, const struct segment *s, const struct mapped *m, struct sysv_shm_state *out)
{
	_cleanup_(detach)
	struct attached a = { (void *)-1, -1 };
	int r = 0;

	if (m->n)
		r = a.fd = open_mapping(m->process->living_fd, m->start, m->end);
	else if (out->used)
		r = attach_here(s->id, s->ds.shm_segsz, &a);
	else
		return 0;
	if (r == 0 || a.fd >= 0)
		r = save_contents(w->c, a.fd, out);
	detach(&a);
	if (r == 0 && !m->n)
		attach_for_the_dead(w, s, out);
	return r;
}

/* What nobody has attached goes with who made it: that is not its maker's stand-in. */
static bool goes_with_its_maker(const struct segment *s)
{
	_cleanup_free_ char *forced = NULL;

	return !s->ds.shm_nattch && ipc_sysctl_read("kernel/shm_rmid_forced", &forced) == 0 && strcmp(forced, "0") != 0;
}

static int save_segment(struct walk *w, const struct segment *s, const struct mapped *m)
{
	struct capture *c = w->c;
	struct sysv_shm_state state = {
		.o = sysv_object_of(s->id, &s->ds.shm_perm, s->ds.shm_ctime),
		.name_key = m->n ? m->name_key : (uint32_t)s->ds.shm_perm.__key,
		.size = s->ds.shm_segsz,
		.used = m->n || s->ds.shm_atime,
		.destroyed = s->ds.shm_perm.mode & SHM_DEST,
		.locked = s->ds.shm_perm.mode & SHM_LOCKED,
	};
	int r = ask_inside(w);

	if (goes_with_its_maker(s))
		return refused(c->ps,
			BLAME_PROCESS(c->process, .object = sysv_name(&sysv_shm_kind, &state.o).s,
				.remedy = "set kernel.shm_rmid_forced to 0"),
			"it is to go when its maker ends (kernel.shm_rmid_forced)");
	give_numbers(w, s, &state);
	if (r == 0)
		r = read_segment(w, s, m, &state);
	if (r == 0)
		r = image_add(c->writer, &component_sysv_shm.kind, sysv_shm_id(c, (uint64_t)s->id), &state);
	if (problems_told(c->ps, r) < 0)
		failed(c->ps, BLAME_PROCESS(c->process, .object = sysv_name(&sysv_shm_kind, &state.o).s), r,
			"cannot be saved: %s", strerror(-r));
	fields_free(sysv_shm_fields, &state);
	return r;
}

/* only: what no one has attached, and this process had last; NULL: the others. */
static int save_segments(struct walk *w, struct process *only, void (*saved)(void *arg, int id), void *arg)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->here.n; i++) {
		const struct segment *s = &w->here.list[i];
		const struct mapped m = attachments_of(&w->attachments, s->id);

		struct process *last = m.n ? NULL : last_user(w->c, s);

		if (last != only || (!w->own && !is_trees(w->c, s, &m)))
			continue;
		if (m.n && m.n != s->ds.shm_nattch) {
			refuse_outside(w->c, s, &m);
			continue;
		}
		if (!descriptions_claim(w->c->descriptions, sysv_shm_id(w->c, (uint64_t)s->id)))
			continue;
		r = save_segment(w, s, &m);
		if (r == 0 && saved)
			saved(arg, s->id);
		r = problems_told(w->c->ps, r);
	}
	return r;
}

/* It stays attached by who enters another namespace. */
static void refuse_elsewhere(const struct walk *w)
{
	for (size_t i = 0; i < w->attachments.n; i++) {
		const struct attachment *a = &w->attachments.list[i];

		if (!segments_have(&w->here, a->map->inode))
			refused(w->c->ps, BLAME_PROCESS(a->process, .object = a->map->name, .remedy = "detach it"),
				"a System V segment of an IPC namespace that the process is not in");
	}
}

static int save(struct capture *c, struct process *only, void (*saved)(void *arg, int id), void *arg)
{
	struct process *root = c->tree->processes[0];
	struct ipc_place place;
	struct walk w = { .c = c };
	int r = ipc_enter(root->living_fd, &place);

	if (r < 0)
		return r;
	w.own = place.foreign;
	r = walk_begin(&w);
	if (r == 0 && !only)
		refuse_elsewhere(&w);
	if (r == 0)
		r = save_segments(&w, only, saved, arg);
	walk_free(&w);
	ipc_leave(&place);
	return r == -ENOSYS ? 0 : r;
}

/* Once for all processes: a machine may have hundreds of segments, and a tree hundreds of processes. */
static int mark_last_users(struct capture *c)
{
	struct ipc_place place;
	struct walk w = { .c = c };
	int r = ipc_enter(c->tree->processes[0]->living_fd, &place);

	if (r < 0)
		return r;
	r = walk_begin(&w);
	for (size_t i = 0; r == 0 && i < w.here.n; i++) {
		struct process *p = last_user(c, &w.here.list[i]);

		if (p && !attachments_of(&w.attachments, w.here.list[i].id).n)
			p->last_detached = true;
	}
	walk_free(&w);
	ipc_leave(&place);
	return r;
}

static int sysv_shm_look(struct capture *c)
{
	int r = mark_last_users(c);

	if (r < 0 && r != -ENOSYS)
		failed(c->ps, BLAME_PROCESS(c->process), r, "its System V segments cannot be listed: %s", strerror(-r));
	return 0;
}

static int sysv_shm_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	int r = save(c, NULL, NULL, NULL);

	return r < 0 ? r : CAPTURE_NOTHING;
}

const struct component component_sysv_shm = {
	.kind = {
		.name = "sysv_shm",
		.version = 1,
		.size = sizeof(struct sysv_shm_state),
		.fields = sysv_shm_fields,
		.doc = "a System V shared memory segment",
		.sources = "shmget(2), shmop(2), shmctl(2), sysvipc(7); ipc/shm.c",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.look = sysv_shm_look,
	.capture = sysv_shm_capture,
	.validate = sysv_shm_validate,
	.build[STAGE_NAMESPACES] = sysv_shm_make,
	.settle = sysv_shm_settle,
};

/* --- who had it last --- */

static void ask_again(void *arg, int id)
{
	struct batch *b = arg;
	uint32_t at = batch_call(b, "shmat", SYS_shmat, (uint64_t)id, 0, SHM_RDONLY);
	uint32_t off = batch_call(b, "shmdt", SYS_shmdt, 0);

	batch_use(b, off, 0, at);
	batch_may_fail(b, at); /* it may have been another user when it attached it: then another has it last */
	batch_may_fail(b, off);
}

static void last_ask(struct capture *c, struct batch *b, void *scratch)
{
	*(int *)scratch = c->process->last_detached ? save(c, c->process, ask_again, b) : 0;
}

static int last_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	int r = *(int *)scratch;

	return r < 0 ? r : CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_sysv_shm_last = {
	.kind = {
		.name = "sysv_shm_last",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: segments that a process was the last to detach",
		.sources = "shmop(2); ipc/shm.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(int),
	.ask = last_ask,
	.capture = last_capture,
};
