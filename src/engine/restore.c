/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "engine/birth.h"
#include "engine/clones.h"
#include "engine/first.h"
#include "engine/on_demand.h"
#include "engine/parking.h"
#include "engine/release.h"
#include "engine/stages.h"
#include "engine/streamed_memory.h"
#include "engine/streamed_pages.h"
#include "engine/verifying.h"
#include "isolate/deadman.h"
#include "isolate/watchdog.h"
#include "remote/birth.h"
#include "state/external.h"
#include "state/tree.h"

struct restored {
	struct restore r;
	struct plan plan;
	struct container_spec container;
	struct watchdog watchdog;
	struct deadman deadman;
	struct filler *filler; /* of pages that come later; NULL: none do, or it was handed on */
	const struct tree_state *tree;
	const struct engine_outside *outside;
	int keeper_fd, seed_fd;
	pid_t first;	 /* the child of this process: the root, or spore-init */
	uint64_t later;	 /* pages that come when the tree runs */
	int init_socket; /* of spore-init; -1: none, or handed on */
	bool running;
};

/* --- namespaces and clocks --- */

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static char *copy_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

static void describe_container(struct restored *t)
{
	t->container = (struct container_spec){
		.name = copy_or_null(t->r.clone && t->tree->container ? t->r.clone : t->tree->name),
		.hostname = copy_or_null(t->tree->hostname),
		.domainname = copy_or_null(t->tree->domainname),
		.root = copy_or_null(t->tree->directory),
		.net = copy_or_null(t->tree->network),
		.init = t->tree->init,
		.shm_limited = t->tree->shm_limited,
		.shm_size = t->tree->shm_size,
		.shm_inodes = t->tree->shm_inodes,
		.time_ns = true,
	};
}

/* The tree's clocks go on from where they were: a time namespace makes up for what has passed, or not yet passed, here. */
static int prepare_container(struct restored *t)
{
	struct container_spec *spec = &t->container;

	spec->pids_only = t->plan.move.moves;
	spec->monotonic_offset_ns = (int64_t)t->tree->monotonic_ns - now_ns(CLOCK_MONOTONIC);
	spec->boottime_offset_ns = (int64_t)t->tree->boottime_ns - now_ns(CLOCK_BOOTTIME);
	return t->tree->container ? container_make_cgroup(spec, t->r.ps) : 0;
}

/* --- the first process --- */

static int find_root(struct restored *t)
{
	struct restore *r = &t->r;
	char path[32];

	r->root_pid = t->plan.move.moves ? moving_find_root(t->first, r->processes[0]->vpid) : t->first;
	if (r->root_pid < 0)
		return failed(r->ps, BLAME(.pid = r->processes[0]->vpid), r->root_pid,
			"was born, but cannot be found in /proc");
	snprintf(path, sizeof(path), "/proc/%d/root", r->root_pid);
	close_fd(&r->root_fd);
	r->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return r->root_fd < 0 ? failed(r->ps, NULL, -errno, "the new root directory: %m") : 0;
}

/* As at every other birth (engine/tasks.c). */
static pid_t start_with_number(struct restored *t, struct first *f)
{
	struct holder holder;
	uint64_t since = 0;
	pid_t pid = first_start(f);

	while (pid == -EEXIST && holder_yields(f->number, &since, &holder))
		pid = first_start(f);
	if (pid == -EEXIST)
		t->plan.taken = holder;
	return pid;
}

static int start_first(struct restored *t)
{
	struct restore *r = &t->r;
	struct moving moving = MOVING_NONE;
	struct first f = { .restore = r, .slot = r->processes[0]->threads[0].slot, .number = r->processes[0]->vpid };
	char seed[80];
	int error = 0;

	t->keeper_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	t->seed_fd = seed_open();
	if (t->keeper_fd < 0 || t->seed_fd < 0)
		return failed(r->ps, NULL, -errno, "the keeper's own descriptors: %m");
	seed_argument(seed, &r->area, BARE_FD_AREA, f.slot);
	f.seed = seed;
	f.personality = memory_personality(plan_memory(&t->plan, r->processes[0]));
	f.keeper_fd = t->keeper_fd;
	f.seed_fd = t->seed_fd;
	f.clocks = &t->container;
	f.new_pid_namespace = t->tree->own_pid_namespace;
	f.container = t->tree->container || t->plan.move.moves ? &t->container : NULL;
	f.stays = r->parking != NULL;
	if (t->plan.move.moves) {
		f.moving = &moving;
		error = moving_prepare(&moving, &t->plan, seed);
	}
	if (error == 0)
		error = t->first = start_with_number(t, &f);
	if (error > 0)
		watchdog_add(&t->watchdog, t->first);
	if (r->parking)
		parking_unmap(r->parking); /* what wrote on would be this process's alone */
	t->init_socket = take_fd(&moving.socket);
	moving_free(&moving);
	return error < 0 ? error : find_root(t);
}

/*
 * Not for a tree in a pid namespace of its own: there the end of pid 1, which is the last to be let go, is everyone's. Where the switch
 * cannot be armed, or does not reach, the watchdog is what remains.
 */
static int tie_processes(struct restored *t)
{
	_cleanup_free_ pid_t *pids = calloc(t->r.n_processes, sizeof(*pids));
	size_t n = 0;

	if (t->r.processes[0]->vpid == 1)
		return 0;
	if (!pids)
		return failed(t->r.ps, NULL, -ENOMEM, "out of memory");
	for (size_t i = 0; i < t->r.n_processes; i++)
		if (!t->r.processes[i]->zombie)
			pids[n++] = t->r.processes[i]->pid;
	deadman_arm(&t->deadman, pids, n);
	return 0;
}

/* --- all --- */

/* Whatever is in the way is named in one go; only without its root directory nothing else can be looked for. */
static int validate(struct restored *t)
{
	struct restore *r = &t->r;
	int error, planned;

	describe_container(t);
	error = t->tree->container ? container_validate(&t->container, r->ps) : 0;
	if (access("/proc/self/ns/time", F_OK) < 0)
		error = refused(r->ps, BLAME(.object = "time namespace", .remedy = "use a kernel with CONFIG_TIME_NS"),
			"this kernel has none, so that the tree's clocks could not go on");
	/* The new tree's own later. */
	r->root_fd = open(t->container.root ? t->container.root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->root_fd < 0)
		return error;
	planned = plan_make(&t->plan, r);
	if (planned == 0 && t->tree->root != r->processes[0]->id)
		planned =
			failed(r->ps, NULL, -EBADMSG, "the image is damaged: the root that it names is not the tree's");
	return error < 0 ? error : planned;
}

/* A stream is read once, however often it is tried. */
static int open_image(struct restore *r, int dir_fd)
{
	r->streamed = streamed_is_wanted(dir_fd);
	if (r->image)
		return 0;
	if (!r->streamed)
		return image_open(dir_fd, record_kinds, r->ps, &r->image);
	if (r->flags & SPORE_RESTORE_LAZY)
		return failed(r->ps,
			BLAME(.object = "--lazy",
				.remedy = "receive it in a directory (`spore receive`), and restore that"),
			-EINVAL, "a stream brings pages in its own order, not when they are touched");
	return image_open_stream(dir_fd, record_kinds, r->ps, &r->image);
}

/* Of a tree that is to have that terminal, its standard streams are on it too, and not on that of whoever restores it. */
static void attach_terminal(struct restore *r)
{
	for (size_t i = 0; r->terminal >= 0 && external_wants(r->image) & 8 && i < ARRAY_SIZE(r->stdio); i++)
		if (r->stdio[i] >= 0 && isatty(r->stdio[i])) {
			close_fd(&r->stdio[i]);
			r->stdio[i] = fcntl(r->terminal, F_DUPFD_CLOEXEC, 0);
		}
}

static int prepare(struct restored *t, int dir_fd, const struct engine_events *events)
{
	struct restore *r = &t->r;
	int error;

	engine_phase(events, "read");
	error = open_image(r, dir_fd);
	if (error < 0 || !r->image)
		return error;
	t->tree = tree_state_of(r->image);
	if (!t->tree)
		return failed(r->ps, NULL, -EBADMSG, "the image is damaged: nothing in it says what tree it is of");
	r->made = calloc(r->image->n_records + 1, sizeof(*r->made));
	if (!r->made || restore_find_uses(r) < 0)
		return failed(r->ps, NULL, -ENOMEM, "out of memory");
	for (size_t i = 0; i < r->image->n_records; i++)
		r->made[i].fd[0] = r->made[i].fd[1] = -1;
	attach_terminal(r);
	engine_phase(events, "plan");
	on_demand_prepare(r);
	error = validate(t);
	return error < 0 ? error : streaming_new(&t->plan, &t->plan.streaming);
}

/* What belongs to the tree as a whole, where its namespaces now are. */
static int furnish(struct restore *r)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < r->image->n_records; i++) {
		const struct component *k = component_of(r->image->records[i].kind);
		struct build b = { .restore = r, .process = r->processes[0], .ps = r->ps };

		if (k && k->scope == SCOPE_TREE && k->build[STAGE_NAMESPACES])
			error = k->build[STAGE_NAMESPACES](&b, r->image->records[i].state);
		if (error < 0 && !r->ps->first_error)
			failed(r->ps, BLAME(.object = k->kind.name), error, "cannot be restored: %s", strerror(-error));
	}
	return error;
}

/*
 * Last of all, when no task runs any more: watches on files, which would notice what the restore itself opens and closes. What tasks have open is open
 * on; all else that the keeper has of files goes first, and that of other clones' keepers.
 */
static int watch_files(struct restored *t)
{
	struct restore *r = &t->r;
	int error;

	memory_close_mapped(r);
	for (size_t i = 0; i < r->image->n_records; i++) {
		const struct record *rec = &r->image->records[i];
		const struct component *k = component_of(rec->kind);

		if (!k || (k->scope == SCOPE_BACKING && !k->watch))
			close_fd(&r->made[i].fd[0]), close_fd(&r->made[i].fd[1]);
	}
	error = clones_meet(t->outside, r->ps);
	for (size_t i = 0; error == 0 && i < r->image->n_records; i++) {
		const struct record *rec = &r->image->records[i];
		const struct component *k = component_of(rec->kind);

		error = k && k->watch ? k->watch(r, rec) : 0;
		if (error < 0 && !r->ps->first_error)
			failed(r->ps, BLAME(.object = k->kind.name), error, "cannot watch again: %s", strerror(-error));
	}
	return error;
}

static int build(struct restored *t, struct workers *w, const struct engine_events *events)
{
	struct restore *r = &t->r;
	struct verifying verifying = { .image = r->image, .ps = r->ps };
	int error;

	engine_phase(events, "births");
	if ((r->lazy && later_blocks_find(r, &verifying.later) < 0) || filled_blocks_find(r, &verifying.filled) < 0) {
		verifying_end(&verifying);
		return failed(r->ps, NULL, -ENOMEM, "out of memory");
	}
	t->later = verifying.later.total;
	if (!r->clone) /* whose image was checked for all of them */
		verifying_start(&verifying);
	error = prepare_container(t);
	if (error == 0)
		error = watchdog_start(&t->watchdog, r->area.own);
	close_fd(&r->root_fd);
	if (error == 0)
		error = start_first(t);
	if (error == 0)
		error = furnish(r);
	if (error == 0)
		error = births(&t->plan, w);
	if (error == 0)
		error = tie_processes(t);
	if (error == 0)
		error = on_demand_begin(&t->plan, &t->filler);
	engine_phase(events, "stages");
	if (error == 0)
		error = stages(&t->plan, w);
	engine_phase(events, "hold");
	if (verifying_end(&verifying) < 0 && error == 0)
		error = verifying.error;
	if (error == 0)
		error = release_hold(&t->plan, w);
	if (error == 0)
		error = watch_files(t);
	if (t->filler && filler_problems(t->filler, r->ps))
		error = r->ps->first_error;
	if (t->filler && error == 0)
		error = on_demand_secure(r, t->first, t->filler, &t->deadman);
	return error;
}

static void fill_result(struct restored *t, uint64_t start, struct spore_restore_result *result)
{
	size_t tasks = 0;

	for (size_t i = 0; i < t->r.n_processes; i++)
		tasks += t->r.processes[i]->n_threads;
	*result = (struct spore_restore_result){
		.total_us = clock_us() - start,
		.tasks = tasks,
		.new_pid_namespace = t->tree->own_pid_namespace || t->plan.move.moves,
	};
	result->pages = image_pages(t->r.image) + streaming_pages(t->plan.streaming);
	result->outside = external_wants(t->r.image);
	result->bytes = result->pages * PAGE_SIZE;
	result->pages_later = t->later;
	result->pages_shared = t->r.parking ? t->r.parking->pages : 0;
}

/* A restored container is one again: found by its name, and saved as one. */
static int enter_register(struct restored *t)
{
	struct container_entry e = { .pid = t->r.root_pid, .restored = true, .spec = t->container };

	if (t->plan.move.moves)
		snprintf(e.name, sizeof(e.name), "restored-%d", e.pid);
	else if (t->tree->container)
		snprintf(e.name, sizeof(e.name), "%s", t->container.name ? t->container.name : "");
	else
		return 0;
	if (process_starttime(e.pid, &e.starttime) < 0)
		return failed(t->r.ps, BLAME(.pid = e.pid), -ESRCH, "the restored container has died");
	return container_register(&e, t->r.ps);
}

static struct restored *restored_new(uint32_t flags, struct problems *ps)
{
	struct restored *t = calloc(1, sizeof(*t));

	if (!t) {
		failed(ps, NULL, -ENOMEM, "out of memory");
		return NULL;
	}
	t->keeper_fd = t->seed_fd = t->init_socket = -1;
	t->watchdog = WATCHDOG_NONE;
	t->deadman = DEADMAN_NONE;
	t->r = (struct restore){ .ps = ps,
		.watchdog = &t->watchdog,
		.root_fd = -1,
		.flags = flags,
		.stdio = { -1, -1, -1 },
		.terminal = -1 };
	return t;
}

static int attempt(struct restored *t, int dir_fd, struct workers *w, const struct engine_events *events)
{
	int error = prepare(t, dir_fd, events);

	if (error == 0)
		error = build(t, w, events);
	return error < 0 ? error : enter_register(t);
}

/* A number that was free when this was planned has been taken before its birth. */
static bool lost_a_number(const struct restored *t, int error)
{
	return error == -EEXIST && t->plan.taken.number && move_is_possible(&t->plan);
}

static int tell_lost(struct restored *t)
{
	return failed(t->r.ps, BLAME(.pid = t->plan.taken.number, .object = "pid", .remedy = "send the stream again"),
		-EEXIST, "was taken while the tree was being built, and what came of the stream cannot be read again");
}

/* Ends what was built. What t was given, and knows of who has the number, is the new one's. */
static struct restored *begin_anew(struct restored *t)
{
	struct restored *next = restored_new(t->r.flags, t->r.ps);

	if (next) {
		memcpy(next->r.stdio, t->r.stdio, sizeof(t->r.stdio));
		next->r.terminal = t->r.terminal;
		next->outside = t->outside;
		next->plan.taken = t->plan.taken;
		if (t->r.streamed)
			next->r.image = image_keep(t->r.image);
		t->r.terminal = t->r.stdio[0] = t->r.stdio[1] = t->r.stdio[2] = -1;
	}
	restored_free(t);
	return next;
}

int restore_build(int dir_fd, uint32_t flags, const struct engine_outside *outside, struct workers *w,
	const struct engine_events *events, struct spore_restore_result *result, struct problems *ps,
	struct restored **out)
{
	uint64_t start = clock_us();
	struct restored *t = restored_new(flags, ps);
	int error;

	if (!t)
		return -ENOMEM;
	t->outside = outside;
	t->r.terminal = outside->terminal;
	memcpy(t->r.stdio, outside->stdio, sizeof(t->r.stdio));
	if (outside->clones)
		clones_take(outside->clones, outside->clone, &t->r);
	error = attempt(t, dir_fd, w, events);
	if (lost_a_number(t, error) && streaming_has_begun(t->plan.streaming)) {
		tell_lost(t);
	} else if (lost_a_number(t, error)) {
		t = begin_anew(t);
		error = t ? attempt(t, dir_fd, w, events) : -ENOMEM;
		problems_once(ps);
	}
	if (error < 0) {
		restored_free(t);
		return error;
	}
	fill_result(t, start, result);
	*out = t;
	return 0;
}

int restore_plan(struct image *image, const char *name, uint32_t flags, struct problems *ps,
	int (*fn)(void *data, struct plan *plan), void *data)
{
	struct restored *t = restored_new(flags, ps);
	int error = -ENOMEM;

	if (t) {
		t->r.image = image_keep(image);
		t->r.clone = name;
		error = prepare(t, -1, NULL);
	}
	if (error == 0)
		error = fn(data, &t->plan);
	restored_free(t);
	return error;
}

int restore_check(int dir_fd, uint32_t flags, const struct engine_events *events, struct problems *ps)
{
	struct restored *t = restored_new(flags, ps);
	int error = t ? prepare(t, dir_fd, events) : -ENOMEM;

	if (t && t->r.image && image_verify_needed(t->r.image, ps) < 0 && error == 0)
		error = ps->first_error;
	restored_free(t);
	return error;
}

void restored_release(struct restored *t, struct workers *w)
{
	release_forgive(&t->r, w);
	watchdog_commit(&t->watchdog);
	deadman_disarm(&t->deadman); /* the commit */
	release_run(&t->r, w);
	t->running = true;
}

struct filler *restored_filler(struct restored *t)
{
	return take_ptr(t->filler);
}

pid_t restored_root(const struct restored *t)
{
	return t->r.root_pid;
}

void restored_child(struct restored *t, struct engine_child *out)
{
	*out = (struct engine_child){ .pid = t->first, .init_socket = take_fd(&t->init_socket) };
}

static void close_made(struct restore *r)
{
	for (size_t i = 0; r->made && r->image && i < r->image->n_records; i++) {
		close_fd(&r->made[i].fd[0]);
		close_fd(&r->made[i].fd[1]);
		free(r->made[i].data);
	}
	free(r->made);
	r->made = NULL;
	free(r->uses);
	r->uses = NULL;
}

static void kill_tree(struct restored *t)
{
	struct restore *r = &t->r;

	if (r->area.local)
		area_abandon(&r->area); /* reaches those too that have been born since the last look */
	for (size_t i = r->n_processes; i-- > 0;)
		if (r->processes[i]->pid > 0 && i > 0)
			kill(r->processes[i]->pid, SIGKILL);
	if (t->first > 0) {
		kill(t->first, SIGKILL);
		waitpid(t->first, NULL, __WALL);
	}
}

void restored_free(struct restored *t)
{
	struct restore *r;

	if (!t)
		return;
	r = &t->r;
	if (!t->running)
		kill_tree(t);
	filler_free(t->filler);
	watchdog_end(&t->watchdog);
	deadman_disarm(&t->deadman);
	for (size_t i = 0; i < ARRAY_SIZE(r->stdio); i++)
		close_fd(&r->stdio[i]);
	close_fd(&r->terminal);
	close_made(r);
	memory_close_mapped(r);
	for (size_t i = 0; i < r->n_processes; i++) {
		free(r->processes[i]->threads);
		free(r->processes[i]->birth);
		free(r->processes[i]);
	}
	free(r->processes);
	streaming_free(t->plan.streaming);
	plan_free(&t->plan);
	if (r->area.local)
		area_free(&r->area);
	image_free(r->image);
	container_spec_free(&t->container);
	close_fd(&r->root_fd);
	close_fd(&t->keeper_fd);
	close_fd(&t->seed_fd);
	close_fd(&t->init_socket);
	free(t);
}
