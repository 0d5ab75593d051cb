/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "engine/capture.h"
#include "container/container.h"
#include "engine/halt.h"
#include "engine/members.h"
#include "engine/restore.h"
#include "engine/streamed_pages.h"
#include "engine/tracker.h"
#include "kernel/peek.h"
#include "kernel/vma_flags.h"
#include "state/older.h"
#include "state/outside_holders.h"

#define STOP_TIMEOUT_MS 5000
#define PASSING_TRIES	4
#define PASSING_WAIT_US 40000

struct engine {
	struct engine_events events;
	struct workers *workers;
	struct kernel_peek *kernel;
	struct vma_flags *vma_flags;
	struct tracker *tracker;   /* of the tree last saved; NULL: none */
	struct tree *tree;	   /* stopped by engine_isolate */
	struct restored *restored; /* built, and held */
	pid_t root;
};

void engine_phase(const struct engine_events *events, const char *name)
{
	char line[64];

	if (!events || !events->log)
		return;
	snprintf(line, sizeof(line), "phase: %s", name);
	events->log(events->data, line);
}

bool engine_is_cancelled(const struct engine_events *events)
{
	return events && events->cancel && *events->cancel == ENGINE_CANCELLED;
}

static void set_cancel(const struct engine_events *events, enum engine_cancel to)
{
	if (events->cancel)
		*events->cancel = to;
}

int engine_new(const struct engine_events *events, struct engine **out)
{
	struct engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	if (events)
		e->events = *events;
	e->kernel = kernel_peek_new();
	e->vma_flags = e->kernel ? vma_flags_new(e->kernel) : NULL;
	r = e->vma_flags ? workers_new(&e->workers) : -ENOMEM;
	if (r < 0) {
		vma_flags_free(e->vma_flags);
		kernel_peek_free(e->kernel);
		free(e);
		return r;
	}
	*out = e;
	return 0;
}

static void drop_tree(struct engine *e)
{
	if (!e->tree)
		return;
	tree_release(e->tree, e->workers);
	tree_free(e->tree);
	e->tree = NULL;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	drop_tree(e);
	restored_free(e->restored);
	tracker_free(e->tracker);
	workers_free(e->workers);
	vma_flags_free(e->vma_flags);
	kernel_peek_free(e->kernel);
	free(e);
}

pid_t engine_root(const struct engine *e)
{
	return e->root;
}

/* What the root is known as, if spore made it: the namespaces that it then has are no obstacle. */
static int find_container(struct tree *t, struct problems *ps)
{
	struct container_entry *entry;
	int r;

	if (t->container || !t->root_pid)
		return 0;
	entry = calloc(1, sizeof(*entry));
	r = entry ? container_find(t->root_pid, entry) : -ENOMEM;
	if (r == 0 && !entry->spec.pids_only) {
		t->container = entry;
		return 0;
	}
	if (r == 0)
		container_spec_free(&entry->spec);
	if (r == 0 || r == -ENOENT)
		r = container_find_moved(t->root_pid, entry);
	if (r == 0) {
		t->moved = true;
		container_spec_free(&entry->spec);
	}
	free(entry);
	if (r < 0 && r != -ENOENT)
		return failed(ps, BLAME(.pid = t->root_pid, .object = RUN_DIR), r,
			"whether it is a container cannot be told: %s", strerror(-r));
	return 0;
}

static struct capturing capturing_of(struct engine *e, struct tree *t, struct problems *ps)
{
	return (struct capturing){ .tree = t,
		.workers = e->workers,
		.ps = ps,
		.events = &e->events,
		.kernel = e->kernel,
		.tracker = e->tracker,
		.vma_flags = e->vma_flags };
}

static int isolate(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	int r;

	if (e->tree || e->restored)
		return failed(ps, BLAME(.pid = pid), -EALREADY, "the tree is isolated already");
	r = tree_new(pid, cgroup, ps, &e->tree);
	engine_phase(&e->events, "stop");
	if (r == 0)
		r = tree_stop(e->tree, e->workers, timeout_ms ? timeout_ms : STOP_TIMEOUT_MS, ps);
	if (r < 0) {
		tree_free(e->tree);
		e->tree = NULL;
		return r;
	}
	e->root = e->tree->processes[0]->pid;
	if (!e->tree->root_pid)
		e->tree->root_pid = e->root;
	r = find_container(e->tree, ps);
	if (r < 0)
		drop_tree(e);
	return r;
}

void engine_get_ready(struct engine *e)
{
	kernel_peek_ready(e->kernel);
	vma_flags_ready(e->vma_flags);
}

int engine_isolate(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	engine_get_ready(e);
	return isolate(e, pid, cgroup, timeout_ms, ps);
}

int engine_unisolate(struct engine *e, struct problems *ps)
{
	if (e->restored) {
		engine_phase(&e->events, "release");
		restored_release(e->restored, e->workers);
		return 0;
	}
	if (!e->tree)
		return failed(ps, NULL, -ESRCH, "the tree is not isolated");
	drop_tree(e);
	return 0;
}

/* Obstacles, seen while the tree runs. */
static int look(struct engine *e, pid_t pid, const char *cgroup, struct problems *ps)
{
	struct tree *t = NULL;
	struct capturing c;
	int r = tree_new(pid, cgroup, ps, &t);

	if (r == 0)
		r = tree_find_tasks(t, e->workers, ps);
	if (r == 0) {
		if (!t->root_pid)
			t->root_pid = t->processes[0]->pid;
		r = find_container(t, ps);
		c = capturing_of(e, t, ps);
		if (r == 0)
			r = capture_look(&c);
	}
	tree_free(t);
	return r;
}

/* A tree that cannot be stopped has a reason, such as a debugger or a vfork that lasts, that a look may name. */
static int isolate_or_name(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	struct problems found;
	int r;

	problems_init(&found);
	r = isolate(e, pid, cgroup, timeout_ms, &found);
	if (r == -EPERM || r == -ETIMEDOUT)
		look(e, pid, cgroup, ps);
	if (ps->n_refused)
		r = ps->first_error;
	else
		problems_move(ps, &found);
	problems_free(&found);
	return r;
}

/* All obstacles that the stopped tree has: a capture that copies no memory and keeps nothing. */
static int try_capture(struct engine *e, struct problems *ps)
{
	_cleanup_(outside_ends_free)
	struct outside_ends ends = { 0 };
	struct problems found;
	struct capturing c;
	int r;

	problems_init(&found);
	c = capturing_of(e, e->tree, &found);
	c.ends = &ends;
	r = image_create_trial(&found, &c.writer);
	if (r == 0)
		r = capture_tree(&c);
	if (r == 0)
		r = capture_rest(&c);
	capture_end(&c);
	if (r == 0 || found.n_refused)
		r = MIN(r, outside_ends_check(&ends, &found));
	image_writer_free(c.writer);
	problems_move(ps, &found);
	problems_free(&found);
	return r;
}

int engine_check(
	struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, uint32_t flags, struct problems *ps)
{
	bool own = !e->tree;
	int r = 0;

	if (e->restored)
		return failed(ps, BLAME(.pid = e->root, .remedy = "unisolate it first"), -EBUSY,
			"a tree just restored, and still isolated, cannot be saved");
	if (own) {
		engine_get_ready(e);
		r = isolate_or_name(e, pid, cgroup, timeout_ms, ps);
	}
	if (r == 0 && e->tree) {
		e->tree->strict = flags & SPORE_CHECKPOINT_STRICT;
		r = try_capture(e, ps);
	}
	if (own)
		drop_tree(e);
	return r < 0 ? r : ps->first_error;
}

/* --- checkpoint --- */

static void kill_stopped(struct tree *t)
{
	for (size_t i = t->n_processes; i-- > 0;)
		if (!t->processes[i]->zombie)
			kill(t->processes[i]->pid, SIGKILL);
}

struct saving {
	int dir_fd;
	struct older *older;  /* NULL: no parent */
	uint32_t flags;	      /* SPORE_CHECKPOINT_* */
	uint32_t compression; /* enum spore_compression */
	bool own;	      /* the tree is isolated for this call alone */
	bool stream;	      /* dir_fd is none: the image is written to it as a stream */
	bool patient;	      /* it is tried again where nothing but what passes stands in the way */
	struct capturing c;
	struct outside_ends ends;
};

static const struct image *parent_of(const struct saving *s)
{
	return s->older ? s->older->image : NULL;
}

static bool is_cancelled(const void *events)
{
	return engine_is_cancelled(events);
}

/* An older image is overwritten when it is known that nothing stands in the way of the new one. */
static int create_image(struct saving *s, bool force)
{
	return image_create_compressed(s->dir_fd, parent_of(s), force, s->compression, s->c.ps, &s->c.writer);
}

static int begin_image(struct saving *s)
{
	bool force = s->flags & SPORE_CHECKPOINT_FORCE;

	if (s->stream)
		return image_create_stream(s->dir_fd, is_cancelled, s->c.events, s->c.ps, &s->c.writer);
	return force ? image_may_create(s->dir_fd, force, s->c.ps) : create_image(s, force);
}

/* What it finds is told if it is an obstacle; the rest the capture finds again. */
static int try_before_overwriting(struct engine *e, struct problems *ps)
{
	struct problems found;
	int r;

	problems_init(&found);
	r = try_capture(e, &found);
	if (r < 0)
		problems_move(ps, &found);
	problems_free(&found);
	return r;
}

static int capture_into_image(struct engine *e, struct saving *s)
{
	int r = 0;

	s->c.tree = e->tree;
	s->c.tracks = e->tracker && s->flags & SPORE_CHECKPOINT_TRACK;
	if (!s->stream)
		s->c.stash = tracker_stash(e->tracker, &s->c.stash_pages);
	s->c.leaves = s->own && !(s->flags & SPORE_CHECKPOINT_KILL);
	if (!s->c.writer) {
		r = try_before_overwriting(e, s->c.ps);
		if (r == 0)
			r = create_image(s, true);
		return r < 0 ? r : capture_tree(&s->c);
	}
	s->c.ends = &s->ends;
	r = capture_tree(&s->c);
	if (s->c.ps->n_refused)
		try_capture(e, s->c.ps); /* one answer names everything */
	return r;
}

static int save(struct engine *e, struct saving *s, struct spore_checkpoint_result *result)
{
	bool kill_it = s->flags & SPORE_CHECKPOINT_KILL;
	int r = capture_into_image(e, s);

	result->tasks = e->tree->n_threads;
	if (s->own && (r < 0 || !kill_it)) {
		engine_phase(&e->events, "release");
		tree_release(e->tree, e->workers);
		result->stop_us = e->tree->running_at - e->tree->stopped_at;
	}
	if (r == 0 && s->c.ends)
		r = outside_ends_check(s->c.ends, s->c.ps);
	if (s->c.copies || s->stream)
		set_cancel(&e->events, ENGINE_CAN);
	if (r == 0)
		r = capture_rest(&s->c);
	capture_end(&s->c);
	if (r == -ECANCELED || engine_is_cancelled(&e->events))
		r = failed(s->c.ps, NULL, -ECANCELED, "nobody waits for it any more");
	set_cancel(&e->events, ENGINE_CANNOT);
	result->pages = s->c.pages;
	result->unchanged = s->c.unchanged;
	result->copies = s->c.copies;
	engine_phase(&e->events, "commit");
	if (r == 0)
		r = image_commit(s->c.writer);
	if (r == 0) {
		result->bytes = image_bytes(s->c.writer);
		result->stored_bytes = image_stored_bytes(s->c.writer);
	}
	if (r == 0 && s->c.tracks)
		tracker_done(e->tracker, e->tree, image_writer_id(s->c.writer));
	result->tracked = kill_it ? 0 : tracker_count(e->tracker);
	if (r == 0 && kill_it) {
		kill_stopped(e->tree);
		result->stop_us = s->own ? clock_us() - e->tree->stopped_at : 0;
	}
	if (s->own || (r == 0 && kill_it))
		drop_tree(e);
	return r;
}

static void note_checkpoint(struct container_entry *entry, void *data)
{
	entry->last_checkpoint = (uint64_t)time(NULL);
}

static int checkpoint_once(struct engine *e, struct saving *s, pid_t pid, const char *cgroup, uint32_t timeout_ms,
	struct spore_checkpoint_result *result)
{
	int r = begin_image(s);

	if (r == 0 && s->stream && s->own && !(s->flags & SPORE_CHECKPOINT_KILL))
		streamed_room(&s->c);
	if (r == 0 && s->own)
		engine_get_ready(e);
	if (r == 0 && e->tracker)
		tracker_look(e->tracker, &s->c);
	if (r == 0 && s->own)
		r = isolate_or_name(e, pid, cgroup, timeout_ms, s->c.ps);
	if (r == 0 && e->tree) {
		e->tree->strict = s->flags & SPORE_CHECKPOINT_STRICT;
		e->tree->patient = s->patient;
		r = save(e, s, result);
	}
	if (s->stream)
		streamed_room_free(&s->c);
	free(s->c.writers);
	s->c.writers = NULL;
	image_writer_free(s->c.writer);
	s->c.writer = NULL;
	outside_ends_free(&s->ends);
	return r;
}

static void end_tracking(struct engine *e)
{
	tracker_free(e->tracker);
	e->tracker = NULL;
}

/* It ends with a checkpoint that does not ask for it, and with the tree: the last one is still the faster for it. */
static void set_tracking(struct engine *e, struct saving *s, const char *cgroup)
{
	if (s->flags & SPORE_CHECKPOINT_KILL || cgroup)
		s->flags &= ~SPORE_CHECKPOINT_TRACK;
	if (s->flags & SPORE_CHECKPOINT_KILL)
		return;
	if (!(s->flags & SPORE_CHECKPOINT_TRACK))
		end_tracking(e);
	else if (!e->tracker)
		e->tracker = tracker_new(e->kernel);
}

bool engine_tracks(const struct engine *e)
{
	return e && tracker_count(e->tracker) > 0;
}

/* What stands in the way may be gone a moment later: it is tried again, for a bounded time, while the tree runs in between. */
int engine_checkpoint(struct engine *e, int old_dir_fd, int new_dir_fd, pid_t pid, const char *cgroup,
	uint32_t timeout_ms, uint32_t flags, uint32_t compression, struct spore_checkpoint_result *result,
	struct problems *ps)
{
	uint64_t start = clock_us();
	struct saving s = { .dir_fd = new_dir_fd,
		.stream = streamed_is_wanted(new_dir_fd),
		.flags = flags,
		.compression = compression,
		.own = !e->tree };
	struct problems found;
	bool again = true;
	int r = 0;

	*result = (struct spore_checkpoint_result){ 0 };
	if (e->restored)
		return failed(ps, BLAME(.pid = e->root, .remedy = "unisolate it first"), -EBUSY,
			"a tree just restored, and still isolated, cannot be saved");
	r = s.stream ? streamed_may_be(old_dir_fd >= 0, compression, flags, ps) : 0;
	if (r < 0)
		return r;
	set_tracking(e, &s, cgroup);
	if (old_dir_fd >= 0)
		r = older_open(old_dir_fd, ps, &s.older);
	if (r < 0)
		return r;
	for (int tries = 0; again; tries++) {
		problems_init(&found);
		s.c = capturing_of(e, e->tree, &found);
		s.c.older = s.older;
		s.patient = s.own && tries < PASSING_TRIES;
		r = checkpoint_once(e, &s, pid, cgroup, timeout_ms, result);
		again = r < 0 && s.patient && problems_pass(&found);
		if (again)
			usleep(PASSING_WAIT_US);
		else
			problems_move(ps, &found);
		problems_free(&found);
	}
	older_free(s.older);
	if (r < 0 && e->tracker)
		tracker_failed(e->tracker);
	if (r == 0)
		container_note(e->root, note_checkpoint, NULL);
	if (r == 0 && s.flags & SPORE_CHECKPOINT_KILL)
		end_tracking(e);
	result->total_us = clock_us() - start;
	return r;
}

/* --- restore --- */

pid_t engine_restore(struct engine *e, int dir_fd, uint32_t flags, const struct engine_outside *outside,
	struct spore_restore_result *result, struct problems *ps)
{
	int r;

	if (e->tree || e->restored)
		return failed(ps, NULL, -EBUSY, "this keeper holds a tree already");
	r = restore_build(dir_fd, flags, outside, e->workers, &e->events, result, ps, &e->restored);
	if (r < 0)
		return r;
	e->root = restored_root(e->restored);
	return e->root;
}

int engine_check_image(struct engine *e, int dir_fd, uint32_t flags, struct problems *ps)
{
	return restore_check(dir_fd, flags, &e->events, ps);
}

static void tell_merging(void *data, uint64_t done, uint64_t total)
{
	const struct engine_events *events = data;

	if (events->progress)
		events->progress(events->data, "merge", done, total);
}

int engine_merge(struct engine *e, int dir_fd, int out_dir_fd, uint32_t flags, struct spore_merge_result *result,
	struct problems *ps)
{
	const struct image_merging how = {
		.force = flags & SPORE_MERGE_FORCE, .data = &e->events, .progress = tell_merging
	};
	uint64_t start = clock_us();
	struct image_merged merged = { 0 };
	int r;

	engine_phase(&e->events, "merge");
	r = image_merge(dir_fd, out_dir_fd, record_kinds, &how, ps, &merged);
	*result = (struct spore_merge_result){
		.total_us = clock_us() - start, .pages = merged.pages, .older = merged.older, .bytes = merged.bytes
	};
	return r;
}

void engine_take_child(struct engine *e, struct engine_child *out)
{
	restored_child(e->restored, out);
}

struct filler *engine_take_filler(struct engine *e)
{
	return restored_filler(e->restored);
}
