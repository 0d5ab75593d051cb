/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/streamed_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "engine/streamed_layout.h"
#include "kernel/memory_room.h"

/* --- before the stop --- */

bool streamed_is_wanted(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode);
}

int streamed_may_be(bool parent, bool compressed, uint32_t flags, struct problems *ps)
{
	if (parent)
		return failed(ps, BLAME(.object = "--parent", .remedy = "save to a directory, or without a parent"),
			-EINVAL, "a stream holds all of an image, and is not made against an older one");
	if (compressed)
		return failed(ps,
			BLAME(.object = "--compress", .remedy = "save to a directory, or compress the stream"), -EINVAL,
			"the pages of a stream are not compressed");
	if (flags & SPORE_CHECKPOINT_TRACK)
		return failed(ps, BLAME(.object = "--track", .remedy = "save to a directory, or without it"), -EINVAL,
			"no image can be made against a stream, for which the writes would be noted");
	return 0;
}

void streamed_room(struct capturing *c)
{
	void *room = mmap(NULL, STREAM_STASH * PAGE_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	c->stash = room == MAP_FAILED ? NULL : room;
	c->stash_pages = c->stash ? STREAM_STASH : 0;
}

void streamed_room_free(struct capturing *c)
{
	if (c->stash)
		munmap(c->stash, c->stash_pages * PAGE_SIZE);
	c->stash = NULL;
	c->stash_pages = 0;
}

/* --- in the stop --- */

struct stashing {
	struct capturing *c;
	struct memory_plan *plans;
	_Atomic(size_t) next;
};

static uint64_t count_pages(const struct page_ranges *r)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < r->n; i++)
		pages += r->list[i].pages;
	return pages;
}

static bool has_room(uint64_t bytes)
{
	_cleanup_fd_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return self >= 0 && memory_room(self) / 2 > bytes;
}

/* More than was made before the stop is made now, if it can be had. */
static int make_room(struct capturing *c, uint64_t pages)
{
	void *room;

	if (pages <= c->stash_pages)
		return 0;
	room = has_room(pages * PAGE_SIZE) ? mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
						     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
					   : MAP_FAILED;
	if (room == MAP_FAILED)
		return failed(c->ps,
			BLAME(.object = "memory",
				.remedy = "save it to a directory, or with --kill, which keeps it stopped meanwhile"),
			-ENOMEM, "there is no room for the %llu MiB that would have to be kept until they are sent",
			(unsigned long long)(pages * PAGE_SIZE >> 20));
	streamed_room_free(c);
	c->stash = room;
	c->stash_pages = pages;
	return 0;
}

static int stash_of_worker(unsigned int worker, void *arg)
{
	struct stashing *s = arg;
	int r = 0;

	while (r == 0) {
		size_t i = atomic_fetch_add(&s->next, 1);
		struct memory_plan *plan;

		if (i >= s->c->tree->n_processes)
			break;
		plan = &s->plans[i];
		if (plan->stash)
			r = pages_read(
				s->c->tree->processes[i]->living_tid, plan->present.list, plan->present.n, plan->stash);
		if (r < 0)
			failed(s->c->ps, BLAME_PROCESS(s->c->tree->processes[i], .object = "memory"), r,
				"its pages cannot be read: %s", strerror(-r));
	}
	return r;
}

int streamed_stash(struct capturing *c, struct memory_plan *plans)
{
	struct stashing s = { .c = c, .plans = plans };
	uint64_t pages = 0;
	uint8_t *at;
	int r;

	if (!c->leaves)
		return 0;
	for (size_t i = 0; i < c->tree->n_processes; i++)
		pages += count_pages(&plans[i].present);
	r = make_room(c, pages);
	at = c->stash;
	for (size_t i = 0; r == 0 && i < c->tree->n_processes; i++)
		if (plans[i].present.n) {
			plans[i].stash = at;
			at += count_pages(&plans[i].present) * PAGE_SIZE;
		}
	return r < 0 ? r : workers_some(c->workers, c->tree->n_processes, stash_of_worker, &s);
}

/* --- sending --- */

struct streamed {
	struct capturing *c;
	struct memory_plan *plans;
	struct pieces_laid laid;
	_Atomic(size_t) *left; /* parts of blocks that are still to be read from the copy of each process */
	_Atomic(uint64_t) next, sent, done;
};

/* The part of a piece that lies in the block; false: none does. */
static bool part_in(const struct piece *p, uint64_t block, struct piece *part)
{
	uint64_t first = MAX(p->at, block * PAGE_BLOCK), end = MIN(p->at + p->pages, (block + 1) * PAGE_BLOCK);

	if (first >= end)
		return false;
	*part = *p;
	part->at = first;
	part->pages = end - first;
	part->start += (first - p->at) * PAGE_SIZE;
	if (p->stash)
		part->stash += (first - p->at) * PAGE_SIZE;
	return true;
}

static size_t first_piece(const struct pieces_laid *l, uint64_t at)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->list[mid].at + l->list[mid].pages <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t count_blocks(const struct pieces_laid *l)
{
	return (l->pages + PAGE_BLOCK - 1) / PAGE_BLOCK;
}

static int count_left(struct streamed *s)
{
	s->left = calloc(s->c->tree->n_processes, sizeof(*s->left));
	if (!s->left)
		return -ENOMEM;
	for (size_t i = 0; i < s->laid.n; i++) {
		const struct piece *p = &s->laid.list[i];

		if (p->copied)
			s->left[p->process] += (p->at + p->pages - 1) / PAGE_BLOCK - p->at / PAGE_BLOCK + 1;
	}
	return 0;
}

int streamed_lay_out(struct capturing *c, struct memory_plan *plans, struct streamed **out)
{
	struct streamed *s = calloc(1, sizeof(*s));
	unsigned int file = 0;
	int r = s ? 0 : -ENOMEM;

	*out = s;
	if (r == 0) {
		*s = (struct streamed){ .c = c, .plans = plans };
		r = lay_out(c->tree, plans, &s->laid);
	}
	if (r == 0)
		r = count_left(s);
	if (r == 0 && s->laid.pages)
		r = image_stream_file(c->writer, s->laid.pages, &file);
	if (r == 0)
		r = laid_runs(&s->laid, plans, c->tree->n_processes, file);
	return r < 0 && !c->ps->n_failed ? failed(c->ps, NULL, r, "no memory for the stream") : r;
}

void streamed_free(struct streamed *s)
{
	if (!s)
		return;
	free(s->laid.list);
	free(s->left);
	free(s);
}

/* A copy that is sent costs its process memory and faults no longer. Its tracer has still to wait for it: so the number stays its own. */
static void part_done(struct streamed *s, const struct piece *part)
{
	if (part->copied && --s->left[part->process] == 0)
		kill(s->plans[part->process].copy, SIGKILL);
}

static int read_part(struct streamed *s, const struct piece *part, uint8_t *to)
{
	struct process *p = s->c->tree->processes[part->process];
	const struct page_range range = {
		.start = part->start, .pages = part->pages, .shared = part->shared, .over = part->over
	};
	int r = 0;

	if (part->stash)
		memcpy(to, part->stash, part->pages * PAGE_SIZE);
	else
		r = pages_read(part->copied ? s->plans[part->process].copy : p->living_tid, &range, 1, to);
	if (r < 0 && !s->c->ps->n_failed)
		failed(s->c->ps, BLAME_PROCESS(p, .object = "memory"), r, "its pages cannot be saved: %s",
			strerror(-r));
	return r;
}

static int send_block(struct streamed *s, uint64_t block, uint8_t *buffer)
{
	uint64_t start = block * PAGE_BLOCK, end = start;
	bool keep[PAGE_BLOCK] = { false };
	struct piece part;
	int r = 0;

	for (size_t i = first_piece(&s->laid, start);
		r == 0 && i < s->laid.n && part_in(&s->laid.list[i], block, &part); i++) {
		memset(buffer + (end - start) * PAGE_SIZE, 0, (part.at - end) * PAGE_SIZE);
		r = read_part(s, &part, buffer + (part.at - start) * PAGE_SIZE);
		end = part.at + part.pages;
		memset(keep + (part.at - start), part.over, part.pages);
		part_done(s, &part);
	}
	memset(buffer + (end - start) * PAGE_SIZE, 0, (start + PAGE_BLOCK - end) * PAGE_SIZE);
	return r < 0 ? r : image_stream_block(s->c->writer, block, buffer, keep);
}

static void tell_progress(struct streamed *s)
{
	const struct engine_events *events = s->c->events;
	uint64_t done = atomic_fetch_add(&s->done, 1) + 1;

	if (events && events->progress)
		events->progress(events->data, "memory", done * PAGE_BLOCK * PAGE_SIZE, s->laid.pages * PAGE_SIZE);
}

static int send_of_worker(unsigned int worker, void *arg)
{
	struct streamed *s = arg;
	_cleanup_free_ uint8_t *buffer = aligned_alloc(PAGE_SIZE, PAGE_BLOCK * PAGE_SIZE);
	int r = buffer ? 0 : -ENOMEM;

	while (r >= 0) {
		uint64_t block = atomic_fetch_add(&s->next, 1);

		if (block >= count_blocks(&s->laid) || engine_is_cancelled(s->c->events))
			break;
		r = send_block(s, block, buffer);
		if (r >= 0) {
			atomic_fetch_add(&s->sent, (uint64_t)r);
			tell_progress(s);
		}
	}
	return MIN(r, 0);
}

int streamed_send(struct streamed *s)
{
	int r = image_stream_begin(s->c->writer, s->laid.first_blocks);

	if (r == 0)
		r = workers_some(s->c->workers, count_blocks(&s->laid), send_of_worker, s);
	s->c->pages += s->sent;
	return r;
}
