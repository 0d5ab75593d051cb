/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random graphs of processes and objects. A seed gives a list of steps: a process opens, duplicates, shares, uses, passes or closes something, forks, ends.
 * Every process of the tree goes through the same list with the same model of the whole tree; the one whose turn it is does the step for real, and what
 * it sees must be what the model says. So each process knows at any time what every descriptor should be, after a restore as well as before.
 *
 * The model needs nothing real: `spore-graph --count` goes through seeds without doing anything, and tells what they contain.
 */
#pragma once

#include "../state/maker.h"

enum {
	MAX_PROCESSES = 20,
	MAX_OBJECTS = 256,
	MAX_DESCRIPTIONS = 256,
	FIRST_FD = 10,
	MAX_FD = 72,
	MAX_MAPS = 24,
	MAX_WATCHED = 24,
	MAX_POSTED = 6,
	N_FILES = 4
};

enum kind {
	K_FILE,
	K_UNLINKED,
	K_DIRECTORY,
	K_PATH,
	K_DEVICE,
	K_PIPE,
	K_FIFO,
	K_EVENTFD,
	K_TIMERFD,
	K_SIGNALFD,
	K_EPOLL,
	K_PIDFD,
	K_INOTIFY,
	K_MEMFD,
	K_PTY,
	K_STREAM,
	K_POST,
	K_COUNT,
};

/* The ways in which a description is shared. */
enum way { WAY_ALONE, WAY_DUP, WAY_FORK, WAY_TABLE, WAY_PASSED, WAY_WATCHED, WAY_FLIGHT, WAY_COUNT };

/* What a description stands on. */
struct object {
	enum kind kind;
	int number;		       /* of a file: which; of a pidfd: the process */
	uint64_t value[8];	       /* the kind's own */
	uint64_t written[2], taken[2]; /* of what flows: bytes so far, by direction */
	int locked_by;		       /* the description that has a flock on it; -1 */
	int locker;		       /* the process that set it */
	int n_posted[2];	       /* of a post: the descriptions on their way to each end */
	int posted[2][MAX_POSTED];
	int n_watched; /* of an epoll */
	struct watched {
		int fd, description;
		uint32_t events;
	} watched[MAX_WATCHED];
};

struct description {
	int object;  /* -1: nobody holds it any more */
	int end;     /* of a pair: which */
	int holders; /* descriptors, and messages that it is in */
	int64_t position;
	int flags; /* O_NONBLOCK, O_APPEND */
	bool forked, passed;
};

struct table {
	int users;
	struct {
		int description; /* -1: free */
		bool cloexec;
	} fd[MAX_FD];
};

struct map {
	int object; /* -1: none */
	bool writable;
};

struct process {
	bool alive;
	int parent, children, table;
	struct map maps[MAX_MAPS];
};

/* Seen by all. */
struct common {
	_Atomic int turn; /* the step that is due */
	_Atomic int go;	  /* after the restore */
	_Atomic int failed;
	_Atomic int pids[MAX_PROCESSES];
};

struct world {
	uint64_t random;
	int me; /* -1: nobody: the model alone */
	int step;
	int n_processes, n_objects, n_descriptions;
	struct process processes[MAX_PROCESSES];
	struct table tables[MAX_PROCESSES];
	struct object objects[MAX_OBJECTS];
	struct description descriptions[MAX_DESCRIPTIONS];
	struct common *common;
	struct maker_ctx *ctx;
};

uint64_t draw(struct world *w, uint64_t below);
/* Does this process do the step, or only follow it? */
bool is_real(const struct world *w, int process);

/* --- kinds (kinds.c) --------------------------------------------------------------------------------------------------- */

struct kind_ops {
	const char *name;
	int ends; /* 0: it has no descriptor of its own in this kind; 1; or 2 */
	bool pollable;
	/* Chooses the object's parameters and, if real, makes it: fd[] are its descriptors. Flags of the descriptions into flags[]. Returns 0, or a maker's failure. */
	int (*make)(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2]);
	/* Looks whether it is what the model says, and changes it. fd: -1 if not real. May be NULL. */
	int (*touch)(struct world *w, int process, struct description *d, struct object *o, int fd);
};
extern const struct kind_ops kinds[K_COUNT];

/* Descriptions of that object and end that anybody holds. */
bool end_is_held(const struct world *w, int object, int end);
int object_index(const struct world *w, const struct object *o);
/* A random descriptor of the process; -1: it has none. */
int any_fd(struct world *w, int process);

/* --- steps (steps.c) ------------------------------------------------------------------------------------------------------ */

void world_init(struct world *w, uint64_t seed, struct maker_ctx *ctx, struct common *common);
/* The next step. In a process that it makes, w->me is another afterwards. */
int world_step(struct world *w);
/* Until all steps before the next one are done; the process whose turn it was says so. */
int world_wait(const struct world *w);
/* Into counts[kind][way]. */
void world_count(const struct world *w, unsigned counts[K_COUNT][WAY_COUNT]);
