/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/tracker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/memory.h"
#include "state/written.h"

/* That a process has: fewer are compared, or written, as fast. -Dtest_copies=true has another. */
#ifndef LEAST_PAGES
#define LEAST_PAGES 1024
#endif

#define USERFAULTFD "anon_inode:[userfaultfd]"

/* One process. */
struct tracked {
	pid_t pid;
	uint64_t starttime;
	bool based; /* since before the instant of the image */
	struct written written;
};

struct tracker {
	pthread_mutex_t lock; /* of the list, to which workers add */
	struct tracked **list;
	size_t n, room;
	uint8_t image_id[16];
	uint8_t *stash;
	uint64_t stash_pages;
};

struct tracker *tracker_new(void)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (t)
		pthread_mutex_init(&t->lock, NULL);
	return t;
}

#define STASH_SPARE 1024 /* pages */
#define STASH_MOST  ((48ul << 20) / PAGE_SIZE)

static void free_stash(struct tracker *t)
{
	if (t->stash)
		munmap(t->stash, t->stash_pages * PAGE_SIZE);
	t->stash = NULL;
	t->stash_pages = 0;
}

/* Where there will be more, it is read and saved in the stop, or from a copy. */
static void make_stash(struct tracker *t)
{
	uint64_t pages = STASH_SPARE;
	void *p;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->list[i]->written.before.n; k++)
			pages += t->list[i]->written.before.list[k].pages;
	free_stash(t);
	if (pages - STASH_SPARE > STASH_MOST)
		return;
	p = mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		return;
	madvise(p, pages * PAGE_SIZE,
		MADV_DONTFORK); /* or a fork of ours in the stop would have it copied page by page */
	t->stash = p;
	t->stash_pages = pages;
}

uint8_t *tracker_stash(const struct tracker *t, uint64_t *pages)
{
	*pages = t ? t->stash_pages : 0;
	return t ? t->stash : NULL;
}

static void tracked_free(struct tracked *k)
{
	written_end(&k->written);
	free(k);
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		tracked_free(t->list[i]);
	free(t->list);
	free_stash(t);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

size_t tracker_count(const struct tracker *t)
{
	return t ? t->n : 0;
}

/* --- the look before the stop --- */

/* A mapping that cannot be tracked, or comes after this, counts as written in the stop. */
static int look_at_maps(struct tracked *k, int dir, int pagemap)
{
	struct proc_maps maps = { 0 };
	int r = proc_maps_read(dir, &maps);

	for (size_t i = 0; r == 0 && i < maps.n; i++) {
		const struct proc_map *m = &maps.list[i];

		if (written_may_track_map(m) && written_add(&k->written, pagemap, m->start, m->end) == 0)
			r = written_take(pagemap, m->start, m->end, &k->written.before);
	}
	proc_maps_free(&maps);
	return r;
}

/* One that has made a userfaultfd since may watch its own writes in the same way: its marks are not to be taken away. */
static bool has_made_userfaultfd(int dir)
{
	_cleanup_fd_ int fd = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_dir_ DIR *fds = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!fds)
		return true;
	take_fd(&fd);
	while ((e = readdir(fds))) {
		char link[64];
		ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof(link) - 1);

		link[MAX(n, 0)] = 0;
		if (!strcmp(link, USERFAULTFD))
			return true;
	}
	return false;
}

static int look_at_process(struct tracked *k)
{
	_cleanup_fd_ int dir = procfs_open_pid(k->pid);
	_cleanup_fd_ int pagemap = dir < 0 ? -1 : openat(dir, "pagemap", O_RDONLY | O_CLOEXEC);
	struct proc_stat st;
	int r = dir < 0 ? dir : proc_stat_read(dir, &st);

	if (r == 0 && (pagemap < 0 || st.starttime != k->starttime || written_ended(&k->written)))
		r = -ESRCH; /* what it calls exec for is tracked anew */
	if (r == 0 && has_made_userfaultfd(dir))
		r = -EBUSY;
	if (r == 0)
		r = look_at_maps(k, dir, pagemap);
	page_ranges_join(&k->written.before);
	return r;
}

void tracker_look(struct tracker *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (look_at_process(t->list[i]) == 0)
			t->list[kept++] = t->list[i];
		else
			tracked_free(t->list[i]);
	t->n = kept;
	make_stash(t);
}

/* --- in the stop --- */

static struct tracked *find(struct tracker *t, const struct process *p)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i]->pid == p->pid && t->list[i]->starttime == p->stat.starttime)
			return t->list[i];
	return NULL;
}

void tracker_attach(struct tracker *t, struct tree *tree, const uint8_t parent_id[16])
{
	bool fits = t && parent_id && !memcmp(parent_id, t->image_id, sizeof(t->image_id));

	for (size_t i = 0; i < tracker_count(t); i++)
		t->list[i]->written.known = false;
	for (size_t i = 0; i < tree->n_processes; i++) {
		struct tracked *k = t ? find(t, tree->processes[i]) : NULL;

		if (k)
			k->written.known = fits && k->based && !k->written.lost;
		tree->processes[i]->written = k ? &k->written : NULL;
	}
}

static bool may_have_io_uring(const struct process *p)
{
	if (p->io_uring || (!p->task && !p->zombie)) /* or that could not be read */
		return true;
	for (size_t i = 0; i < p->n_files; i++)
		if (p->files[i].link && !strcmp(p->files[i].link, "anon_inode:[io_uring]"))
			return true;
	return false;
}

static bool has_userfaultfd(const struct process *p)
{
	for (size_t i = 0; i < p->n_files; i++)
		if (p->files[i].link && !strcmp(p->files[i].link, USERFAULTFD))
			return true;
	return false;
}

static void lose(struct process *p)
{
	if (p->written) {
		p->written->known = false;
		p->written->lost = true;
	}
}

/*
 * The kernel writes into registered buffers by itself; who has such can only be told where it can be looked at. And who has a userfaultfd may watch its memory in the
 * same way, and is to get it for that.
 */
bool tracker_may(struct tree *tree, struct kernel_peek *kernel)
{
	bool may = kernel && kernel_peek_ready(kernel) >= 0;

	for (size_t i = 0; may && i < tree->n_processes; i++)
		may = !may_have_io_uring(tree->processes[i]);
	for (size_t i = 0; i < tree->n_processes; i++)
		if (!may || has_userfaultfd(tree->processes[i]))
			lose(tree->processes[i]);
	return may;
}

static bool is_worth_it(const struct process *p, const struct memory_plan *plan)
{
	uint64_t pages = plan->unchanged;

	for (size_t i = 0; i < plan->present.n; i++)
		pages += plan->present.list[i].pages;
	return pages >= LEAST_PAGES && !has_userfaultfd(p);
}

static int track_areas(struct written *w, const struct process *p, const struct memory_plan *plan)
{
	_cleanup_fd_ int pagemap = openat(p->living_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	struct page_ranges ignored = { 0 };
	int r = pagemap < 0 ? -errno : 0;

	for (size_t i = 0; r == 0 && i < plan->state.n_areas; i++) {
		const struct memory_area *a = &plan->state.areas[i];

		if (written_may_track(a) && written_add(w, pagemap, a->start, a->end) == 0)
			r = written_take(pagemap, a->start, a->end, &ignored);
	}
	free(ignored.list);
	return r;
}

static struct tracked *list_add(struct tracker *t, const struct process *p, struct written *w)
{
	struct tracked *k = calloc(1, sizeof(*k));

	if (t->n == t->room && k) {
		struct tracked **grown = reallocarray(t->list, t->room ? 2 * t->room : 8, sizeof(struct tracked *));

		if (!grown) {
			free(k);
			return NULL;
		}
		t->list = grown;
		t->room = t->room ? 2 * t->room : 8;
	}
	if (!k)
		return NULL;
	*k = (struct tracked){ .pid = p->pid, .starttime = p->stat.starttime, .written = *w };
	t->list[t->n++] = k;
	return k;
}

int tracker_add(struct tracker *t, struct process *p, struct thread *th, const struct memory_plan *plan)
{
	struct written w = { .uffd = -1 };
	struct tracked *k = NULL;
	int r;

	if (p->written || !is_worth_it(p, plan))
		return 0;
	r = written_begin(p, th, &w);
	if (r < 0 || w.uffd < 0)
		return r;
	if (track_areas(&w, p, plan) == 0) {
		pthread_mutex_lock(&t->lock);
		k = list_add(t, p, &w);
		pthread_mutex_unlock(&t->lock);
	}
	if (k)
		p->written = &k->written;
	else
		written_end(&w);
	return 0;
}

static void base_on_image(struct tracked *k)
{
	k->based = k->written.known = true;
	k->written.before.n = 0;
}

/* Those that are, and not lost, stay. */
static void keep_known(struct tracker *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->list[i]->written.known && !t->list[i]->written.lost)
			t->list[kept++] = t->list[i];
		else
			tracked_free(t->list[i]);
	t->n = kept;
}

void tracker_done(struct tracker *t, const struct tree *tree, const uint8_t image_id[16])
{

	free_stash(t);
	memcpy(t->image_id, image_id, sizeof(t->image_id));
	for (size_t i = 0; i < t->n; i++)
		t->list[i]->written.known = false;
	for (size_t i = 0; i < tree->n_processes; i++) {
		struct tracked *k = tree->processes[i]->written ? find(t, tree->processes[i]) : NULL;

		if (k)
			base_on_image(k);
	}
	keep_known(t);
}

void tracker_failed(struct tracker *t)
{
	free_stash(t);
	for (size_t i = 0; i < t->n; i++)
		t->list[i]->written.known = t->list[i]->based;
	keep_known(t);
}
