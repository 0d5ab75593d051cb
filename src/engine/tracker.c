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
#include "base/clock.h"
#include "engine/capture.h"
#include "engine/precopy.h"
#include "kernel/peek.h"
#include "state/older.h"
#include "state/written.h"

/* That a process has: fewer are compared, or written, as fast. -Dtest_copies=true has another. */
#ifndef LEAST_PAGES
#define LEAST_PAGES 1024
#endif

#define USERFAULTFD "anon_inode:[userfaultfd]"

/* One process. */
struct tracked {
	pid_t pid;
	uint64_t vpid, starttime;
	bool based; /* since before the instant of the image */
	struct written written;
};

struct tracker {
	pthread_mutex_t lock; /* of the list, to which workers add */
	struct tracked **list;
	size_t n, room;
	uint8_t image_id[16];
	uint64_t since_us; /* when that image was whole */
	struct kernel_peek *kernel;
	struct page_holders *holders; /* NULL: nobody can tell, and nothing is read before the stop */
	bool holders_tried;
	uint8_t *stash;
	uint64_t stash_pages;
};

struct tracker *tracker_new(struct kernel_peek *kernel)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (t) {
		pthread_mutex_init(&t->lock, NULL);
		t->kernel = kernel;
	}
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

/* For so many pages and a little more. Where there will be more, it is read and saved in the stop, or from a copy. */
static void make_stash(struct tracker *t, uint64_t pages)
{
	void *p;

	free_stash(t);
	if (pages > STASH_MOST)
		return;
	pages += STASH_SPARE;
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
	page_holders_free(t->holders);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

size_t tracker_count(const struct tracker *t)
{
	return t ? t->n : 0;
}

/* --- the look before the stop --- */

/* A mapping that cannot be tracked, or comes after this, counts as written in the stop. */
static int look_at_maps(struct tracked *k, int dir, int pagemap, struct page_ranges *fresh)
{
	struct proc_maps maps = { 0 };
	int r = proc_maps_read(dir, &maps);

	for (size_t i = 0; r == 0 && i < maps.n; i++) {
		const struct proc_map *m = &maps.list[i];

		if (written_may_track_map(m) && written_add(&k->written, pagemap, m->start, m->end) == 0)
			r = written_take(pagemap, m->start, m->end, fresh);
	}
	proc_maps_free(&maps);
	return r;
}

/* What was written since the last look is among what was since the image. */
static int add_to_written(struct tracked *k, const struct page_ranges *fresh)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < fresh->n; i++)
		r = page_ranges_add(&k->written.before, fresh->list[i]);
	page_ranges_join(&k->written.before);
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

static int open_process(struct tracked *k, int *dir, int *pagemap)
{
	struct proc_stat st;
	int r;

	*dir = procfs_open_pid(k->pid);
	if (*dir < 0)
		return *dir;
	*pagemap = openat(*dir, "pagemap", O_RDONLY | O_CLOEXEC);
	r = proc_stat_read(*dir, &st);
	if (r == 0 && (*pagemap < 0 || st.starttime != k->starttime || written_ended(&k->written)))
		r = -ESRCH; /* what it calls exec for is tracked anew */
	return r;
}

static int look_at_process(struct tracked *k)
{
	_cleanup_fd_ int dir = -1, pagemap = -1;
	struct page_ranges fresh = { 0 };
	int r = open_process(k, &dir, &pagemap);

	if (r == 0 && has_made_userfaultfd(dir))
		r = -EBUSY;
	if (r == 0)
		r = look_at_maps(k, dir, pagemap, &fresh);
	if (r == 0)
		r = add_to_written(k, &fresh);
	free(fresh.list);
	return r;
}

/* Those of which nothing can be told any more are saved as if they had never been tracked. */
static void look_at_all(struct tracker *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (look_at_process(t->list[i]) == 0)
			t->list[kept++] = t->list[i];
		else
			tracked_free(t->list[i]);
	t->n = kept;
}

/* --- saving before the stop --- */

static struct page_holders *holders_of(struct tracker *t)
{
	if (!t->holders_tried && page_holders_open(t->kernel, &t->holders) < 0)
		t->holders = NULL;
	t->holders_tried = true;
	return t->holders;
}

/* Again: what was written since the last look. Adds how many pages that was. */
static int precopy_process(struct tracker *t, struct capturing *c, struct tracked *k, bool again, uint64_t *pages)
{
	_cleanup_fd_ int dir = -1, pagemap = -1;
	struct page_ranges fresh = { 0 };
	int r = open_process(k, &dir, &pagemap);

	if (r == 0 && again && has_made_userfaultfd(dir))
		r = -EBUSY;
	if (r == 0 && again)
		r = look_at_maps(k, dir, pagemap, &fresh);
	if (r == 0 && again)
		r = add_to_written(k, &fresh);
	page_ranges_join(&fresh);
	if (r == 0)
		r = precopy(c, t->holders, k->pid, &k->written, dir, pagemap, again ? &fresh : &k->written.before);
	*pages += page_ranges_count(again ? &fresh : &k->written.before);
	free(fresh.list);
	return r;
}

/* The pages that were found. What nothing can be told of any more is not known. */
static uint64_t precopy_round(struct tracker *t, struct capturing *c, bool again)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct written *w = &t->list[i]->written;

		if (!w->lost && precopy_process(t, c, t->list[i], again, &pages) < 0) {
			precopied_forget(&w->copied);
			w->lost = true;
		}
	}
	return pages;
}

#define MOST_ROUNDS 4
#define FEW_PAGES   64 /* cost the stop less than another round would bring */

/* In rounds, as long as each finds less than half of what the one before did. */
static void precopy_all(struct tracker *t, struct capturing *c)
{
	uint64_t before = UINT64_MAX, pages = precopy_round(t, c, false);

	for (int round = 1; round < MOST_ROUNDS && pages > FEW_PAGES && pages < before / 2; round++) {
		before = pages;
		pages = precopy_round(t, c, true);
	}
}

/* Against another image than that which the writes are known since, nothing is known before the stop. */
static bool fits(const struct tracker *t, const struct older *older)
{
	return older && !memcmp(image_instant(&older->image->head), t->image_id, sizeof(t->image_id));
}

static void settle(struct tracked *k, const struct older *older)
{
	const struct memory_state *memory = older_memory(older, k->vpid);

	if (memory && memory_settle(&k->written, memory) < 0)
		k->written.settled_by = NULL;
}

#define MOST_PRECOPIED (256ul << 10) /* pages: each costs memory for a note of where it is */
#define MOST_RATE      100 /* pages in a millisecond: written faster than they are saved, they would be saved twice */

static bool is_worth_precopy(const struct tracker *t, uint64_t pages)
{
	return pages && pages <= MOST_PRECOPIED && pages < (clock_us() - t->since_us) * MOST_RATE / 1000;
}

void tracker_look(struct tracker *t, struct capturing *c)
{
	uint64_t pages = 0;
	bool saves;

	look_at_all(t);
	for (size_t i = 0; i < t->n; i++) {
		precopied_forget(&t->list[i]->written.copied);
		t->list[i]->written.settled_by = NULL;
		pages += page_ranges_count(&t->list[i]->written.before);
	}
	saves = is_worth_precopy(t, pages) && c->writer && fits(t, c->older) && holders_of(t);
	make_stash(t, saves ? pages / 8 : pages);
	if (saves) {
		image_hold(c->writer, true); /* what is in a page file is compressed when all of it is there */
		precopy_all(t, c);
	}
	for (size_t i = 0; fits(t, c->older) && i < t->n; i++)
		settle(t->list[i], c->older);
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
	*k = (struct tracked){
		.pid = p->pid, .vpid = (uint64_t)p->vpid, .starttime = p->stat.starttime, .written = *w
	};
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
	precopied_forget(&k->written.copied);
	k->written.settled_by = NULL;
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
	t->since_us = clock_us();
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
