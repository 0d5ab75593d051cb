/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper: what must outlive one command. One process for one tree, in one of these roles, or several of them at once:
 *
 *	for one call	checkpoint and check of a tree that nobody isolates; ends with the call, and with its client
 *	isolation	from isolate (or restore) to unisolate; found behind DOOR_KEEPER
 *	tracking	from a checkpoint to the next; found behind DOOR_KEEPER
 *	parent		of a restored root: reaps it, answers spore_wait; found behind DOOR_PARENT
 *
 * What begins several trees of one image is none of these: clones.c.
 *
 * The main thread talks; the engine thread does everything that the engine does, since ptrace belongs to a thread. They hand over by two eventfds: the job belongs to the
 * engine thread from the first to the second.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/door.h"
#include "api/protocol.h"
#include "base/problem.h"
#include "engine/engine.h"
#include "lazy/filler.h"

#define KEEPER_SOCKET 3 /* to the first client */

struct job {
	bool active;
	bool tied; /* must not outlive its client */
	bool client_gone;
	_Atomic(int) cancel; /* enum engine_cancel */
	bool may_write;	     /* to the directory of its image: nothing stood there that it was not to touch */
	int sock;	     /* of the client */
	struct request req;
	int fds[REQUEST_N_FDS];
	pid_t pid; /* the tree's root; 0: a cgroup */
	struct problems ps;
	struct reply reply;
};

struct keeper {
	struct engine *engine; /* of the engine thread */
	struct job job;
	int start_fd, done_fd; /* eventfds */
	pthread_t thread;
	bool looks; /* will be asked about a tree */

	struct tree_id id;
	int keeper_door, parent_door; /* listening; -1: not in that role */
	bool isolated;
	bool tracking; /* of the tree something is kept until its next checkpoint */

	pid_t tree_pid;	 /* as the register knows it; 0: a cgroup */
	int root_fd;	 /* pidfd of the tree's root; -1: none, or a cgroup */
	pid_t child;	 /* a root that was restored, or its init, and is not yet reaped; 0: none */
	int init_socket; /* of that init, through which it tells how the root ended; -1: the child is the root */
	bool child_ended;
	int child_status;		    /* its wait status, once it has ended */
	int deaths_fd;			    /* signalfd of SIGCHLD */
	int restorer_fd;		    /* pidfd of who restored it: while it lives, the status is kept for it */
	const struct engine_clones *clones; /* of which it keeps one; NULL: none */
	unsigned int clone;
	int arrive_fd, go_fd; /* of engine_outside */
	int commit_fd;	      /* eventfd: the client knows of all of them; -1 */
	int *waiters;
	size_t n_waiters;

	struct filler *filler;	 /* of a tree whose pages are not all there yet; NULL: none */
	struct problems fill_ps; /* why it ended the tree */
	bool fill_told;
	int *fill_waiters; /* who waits for its pages */
	size_t n_fill_waiters;

	pthread_mutex_t report_lock;
	uint64_t last_progress_ns;
};

/* engine_thread.c */
int engine_thread_start(struct keeper *k);
/* Lets go of the tree that was restored: afterwards it stands by itself. */
int engine_thread_release(struct keeper *k);
/* Frees the engine, in its thread; the thread stays. */
void engine_thread_end_engine(struct keeper *k);

/* report.c: what the client is told. Progress and log lines are dropped when it is slow. */
void report_progress(void *keeper, const char *phase, uint64_t done, uint64_t total);
void report_log(void *keeper, const char *line);
void report_problems(int sock, const struct problems *ps);
void report_result(int sock, int result); /* an answer that is only that */
void set_timeouts(int sock);
/* All who wait in front of a door are told that it is busy. */
void turn_away(int door);

/* jobs.c */
void job_begin(struct keeper *k, int sock, const struct request *req, int fds[REQUEST_N_FDS]);
/* Tells a call that can end in good order to do so; false: it cannot. */
bool job_cancel(struct job *j);
void job_finish(struct keeper *k);
/* No more isolation, and nothing kept of the tree: this door is shut, those who wait in front of it told. */
void isolation_end(struct keeper *k);

/* clones.c: returns in the keeper of each clone, whose first client is at KEEPER_SOCKET; in the process that was called only ends. */
void clones_serve(struct keeper *k);

/* abandon.c: the client of a tied job has gone. Ends this process, and with it what it built. */
void job_abandon(struct keeper *k) __attribute__((noreturn));

/* fill.c */
void fill_adopt(struct keeper *k);  /* what the restore has left to do */
void fill_stream(struct keeper *k); /* the tree runs */
void fill_note(struct keeper *k);   /* there may be news of it */
void fill_add_waiter(struct keeper *k, int sock);

/* parent.c */
void parent_adopt(struct keeper *k, int client);
void parent_add_waiter(struct keeper *k, int sock);
void parent_note_status(struct keeper *k); /* it has ended; before anybody reaps it */
void parent_child_ended(struct keeper *k);
void parent_end(struct keeper *k); /* reaps, and tells all waiters */
