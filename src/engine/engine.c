/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/capture.h"
#include "container/container.h"
#include "engine/halt.h"
#include "engine/restore.h"

#define STOP_TIMEOUT_MS 5000
#define LOOKS		5 /* at most, at a tree that runs, until two agree */

struct engine {
	struct engine_events events;
	struct workers *workers;
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

int engine_new(const struct engine_events *events, struct engine **out)
{
	struct engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	if (events)
		e->events = *events;
	r = workers_new(&e->workers);
	if (r < 0) {
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
	workers_free(e->workers);
	free(e);
}

pid_t engine_root(const struct engine *e)
{
	return e->root;
}

/* What the root is known as, if spore made it: the namespaces that it then has are no obstacle. */
static void find_container(struct tree *t)
{
	struct container_entry *entry;

	if (t->container || !t->root_pid)
		return;
	entry = calloc(1, sizeof(*entry));
	if (entry && container_find(t->root_pid, entry) == 0 && !entry->spec.pids_only) {
		t->container = entry;
		return;
	}
	if (entry)
		container_spec_free(&entry->spec);
	if (entry && container_find_moved(t->root_pid, entry) == 0) {
		t->moved = true;
		container_spec_free(&entry->spec);
	}
	free(entry);
}

static struct capturing capturing_of(struct engine *e, struct tree *t, struct problems *ps)
{
	return (struct capturing){ .tree = t, .workers = e->workers, .ps = ps, .events = &e->events };
}

/* Finds the tree and looks for obstacles, without stopping it. */
static int look(struct engine *e, struct tree *t, struct problems *ps)
{
	struct capturing c = capturing_of(e, t, ps);
	int r;

	engine_phase(&e->events, "find");
	r = tree_find_tasks(t, e->workers, ps);
	if (r < 0)
		return r;
	if (!t->root_pid)
		t->root_pid = t->processes[0]->pid;
	find_container(t);
	engine_phase(&e->events, "look");
	r = capture_look(&c);
	return r < 0 ? r : ps->first_error;
}

static int look_once(struct engine *e, pid_t pid, const char *cgroup, struct problems *ps)
{
	struct tree *t = NULL;
	int r = tree_new(pid, cgroup, ps, &t);

	if (r == 0)
		r = look(e, t, ps);
	tree_free(t);
	return r;
}

/*
 * A tree that runs changes under the look: a process that was born after the list was made looks like one from outside
 * that holds a pipe of the tree, a descriptor that was opened anew like a file that its path does not lead to. So an
 * obstacle is believed when the next look finds the same ones.
 */
static int look_until_settled(struct engine *e, pid_t pid, const char *cgroup, struct problems *ps)
{
	struct problems found[2]; /* by this look and by the one before */
	bool settled = false;
	int r = 0;

	problems_init(&found[0]);
	problems_init(&found[1]);
	for (int i = 0; i < LOOKS && !settled; i++) {
		problems_free(&found[i % 2]);
		problems_init(&found[i % 2]);
		r = look_once(e, pid, cgroup, &found[i % 2]);
		settled = r == 0 || problems_same(&found[0], &found[1]) || i == LOOKS - 1;
		if (settled)
			problems_move(ps, &found[i % 2]);
	}
	problems_free(&found[0]);
	problems_free(&found[1]);
	return r;
}

int engine_isolate(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
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
	find_container(e->tree);
	return 0;
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

/* --- checkpoint ------------------------------------------------------------------------------------------------------------------ */

static void kill_stopped(struct tree *t)
{
	for (size_t i = t->n_processes; i-- > 0;)
		if (!t->processes[i]->zombie)
			kill(t->processes[i]->pid, SIGKILL);
}

static int save(struct engine *e, struct image_writer *w, bool own_isolation, uint32_t flags, uint64_t stopped_at,
	struct spore_checkpoint_result *result, struct problems *ps)
{
	struct capturing c = capturing_of(e, e->tree, ps);
	bool kill_it = flags & SPORE_CHECKPOINT_KILL;
	int r;

	c.writer = w;
	engine_phase(&e->events, "capture");
	r = capture_tree(&c);
	result->tasks = e->tree->n_threads;
	result->pages = c.pages;
	if (own_isolation && (r < 0 || !kill_it)) {
		drop_tree(e);
		result->stop_us = clock_us() - stopped_at;
	}
	engine_phase(&e->events, "commit");
	if (r == 0)
		r = image_commit(w);
	result->bytes = image_bytes(w);
	if (r == 0 && kill_it) {
		kill_stopped(e->tree);
		result->stop_us = own_isolation ? clock_us() - stopped_at : 0;
	}
	if (own_isolation || (r == 0 && kill_it))
		drop_tree(e);
	return r;
}

/* What only a stopped task can tell: a checkpoint that copies no memory and keeps nothing. */
static void try_capture(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	struct capturing c;
	struct problems found;

	problems_init(&found);
	/* a tree that cannot be stopped has a tracer, which the look has named */
	if (engine_isolate(e, pid, cgroup, timeout_ms, ps->n_refused ? &found : ps) == 0) {
		problems_free(&found);
		problems_init(&found);
		c = capturing_of(e, e->tree, &found);
		if (image_create_trial(&found, &c.writer) == 0)
			capture_tree(&c);
		drop_tree(e);
		image_writer_free(c.writer);
		problems_move(ps, &found);
	}
	problems_free(&found);
}

int engine_check(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps)
{
	int r = look_until_settled(e, pid, cgroup, ps);

	if (!e->tree && !e->restored && !ps->n_failed)
		try_capture(e, pid, cgroup, timeout_ms, ps);
	return r < 0 ? r : ps->first_error;
}

static void note_checkpoint(struct container_entry *entry, void *data)
{
	entry->last_checkpoint = (uint64_t)time(NULL);
}

int engine_checkpoint(struct engine *e, int new_dir_fd, pid_t pid, const char *cgroup, uint32_t timeout_ms,
	uint32_t flags, struct spore_checkpoint_result *result, struct problems *ps)
{
	uint64_t start = clock_us(), stopped_at = 0;
	struct image_writer *w = NULL;
	bool own = !e->tree;
	int r = 0;

	*result = (struct spore_checkpoint_result){ 0 };
	if (e->restored)
		return failed(ps, BLAME(.pid = e->root, .remedy = "unisolate it first"), -EBUSY,
			"a tree just restored, and still isolated, cannot be saved");
	/* So that what cannot be carried is named before anything is touched. */
	if (own)
		r = look_until_settled(e, pid, cgroup, ps);
	if (r == 0)
		r = image_create(new_dir_fd, flags & SPORE_CHECKPOINT_FORCE, ps, &w);
	if (r == 0 && own) {
		stopped_at = clock_us();
		r = engine_isolate(e, pid, cgroup, timeout_ms, ps);
	}
	if (r == 0)
		r = save(e, w, own, flags, stopped_at, result, ps);
	if (r == 0)
		container_note(e->root, note_checkpoint, NULL);
	image_writer_free(w);
	result->total_us = clock_us() - start;
	return r;
}

/* --- restore ----------------------------------------------------------------------------------------------------------------------- */

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

void engine_take_child(struct engine *e, struct engine_child *out)
{
	restored_child(e->restored, out);
}
