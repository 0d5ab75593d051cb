/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine: what the five calls do, inside the keeper. One engine holds one tree. Not safe for several threads: the keeper's main loop
 * gives it one call at a time.
 *
 * The kernel undoes whatever the engine holds when the keeper dies: stopped tasks run on, and a tree half restored dies.
 */
#pragma once

#include <spore.h>

#include "base/problem.h"

struct engine;
struct filler;

struct engine_events {
	void *data;
	void (*progress)(void *data, const char *phase, uint64_t done, uint64_t total); /* from any thread */
	void (*log)(void *data, const char *line);
	_Atomic(int) *cancel; /* enum engine_cancel; NULL: nobody cancels */
};

/* While a tree that was let go is saved from copies, a call whose client has gone can end in good order: CAN is set to CANCELLED by whoever finds it so. */
enum engine_cancel {
	ENGINE_CANNOT,
	ENGINE_CAN,
	ENGINE_CANCELLED,
};
bool engine_is_cancelled(const struct engine_events *events);

/* "phase: NAME", for whoever listens to the log: which of them a call is in, when it is killed or slow. */
void engine_phase(const struct engine_events *events, const char *name);

int engine_new(const struct engine_events *events, struct engine **out);
/* For looking at a tree: what takes some milliseconds, which are not to be a part of the stop. */
void engine_get_ready(struct engine *e);
/* Lets an isolated tree go; leaves a restored one running. Takes NULL. */
void engine_free(struct engine *e);

/* Each leaves its problems in ps and returns 0 or the first problem's negative errno. cgroup: NULL or the path of the cgroup that is the tree. */
int engine_check(
	struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, uint32_t flags, struct problems *ps);
int engine_isolate(struct engine *e, pid_t pid, const char *cgroup, uint32_t timeout_ms, struct problems *ps);
/* The tree that is isolated, or, if none is, the one named, isolated for the call. old_dir_fd: -1, or the parent's. */
int engine_checkpoint(struct engine *e, int old_dir_fd, int new_dir_fd, pid_t pid, const char *cgroup,
	uint32_t timeout_ms, uint32_t flags, uint32_t compression, struct spore_checkpoint_result *result,
	struct problems *ps);
/* Something of the tree is to be kept until its next checkpoint, which this engine should make. */
bool engine_tracks(const struct engine *e);
/* After it a restored tree runs, but dies with this process until engine_free says that it stands. */
int engine_unisolate(struct engine *e, struct problems *ps);

/*
 * What several trees of one image have in common. It is made before any of them, in a process that each of their keepers is then forked from: what they share lies
 * in that process's memory (state/memory_parked.h), and so in theirs.
 */
struct engine_clones;
/* Reads the image and checks all of it; nothing is built. No thread is left. */
int engine_clones_make(int dir_fd, uint32_t flags, unsigned int n, const struct engine_events *events,
	struct problems *ps, struct engine_clones **out);

/* Outside descriptors that the tree is attached to; all the engine's own (the keeper received them). */
struct engine_outside {
	int stdio[3];
	int terminal;
	const struct engine_clones *clones; /* NULL: it is the only one */
	unsigned int clone;		    /* which of them */
	int arrive_fd,
		go_fd; /* eventfds: each adds 1 to the first when it is built, but for what would notice the making of the others; the second tells that all are */
};
/* The root's pid or a negative errno. */
pid_t engine_restore(struct engine *e, int dir_fd, uint32_t flags, const struct engine_outside *outside,
	struct spore_restore_result *result, struct problems *ps);
/* What would be in the way of engine_restore. */
int engine_check_image(struct engine *e, int dir_fd, uint32_t flags, struct problems *ps);
/* flags: SPORE_MERGE_* */
int engine_merge(struct engine *e, int dir_fd, int out_dir_fd, uint32_t flags, struct spore_merge_result *result,
	struct problems *ps);
/*
 * This process's child: the root, or spore-init, whose descendant the root is (src/init/moved.h). The socket to it is the caller's from then
 * on: it tells how the root ended, and lets the root be reaped when it is closed. -1: the child is the root.
 */
struct engine_child {
	pid_t pid;
	int init_socket;
};
void engine_take_child(struct engine *e, struct engine_child *out);
/* What brings the pages that come later: NULL: none do. The caller's then. */
struct filler *engine_take_filler(struct engine *e);
/* What a restored image wants from outside, before it is restored: bit 0..2 standard streams, bit 3 a terminal. */
int engine_wants(int dir_fd, uint32_t *wants, struct problems *ps);
pid_t engine_root(const struct engine *e); /* 0: holds no tree */
