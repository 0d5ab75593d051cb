/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makers: each makes one kind of kernel state in one of its conditions, waits while something happens to its
 * process tree (nothing; a stop; a checkpoint, a kill and a restore), and then uses what it made. A maker
 * knows nothing of spore. It holds no descriptor, lock or memory for the sake of the test alone, except one
 * shared page if it has children: the file that lets it go on is looked for by name.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum maker_flags {
	MAKER_MAY_REFUSE = 1 << 0,  /* spore may answer 3: then its message must name the object, the tree go on */
	MAKER_MUST_REFUSE = 1 << 1, /* out of scope: spore must answer 3 */
	MAKER_NO_STOP = 1 << 2,	    /* a plain SIGSTOP and SIGCONT is visible to it */
	MAKER_CONTAINER = 1 << 3,   /* under spore, only as a container: its tree does not hang together without one */
	MAKER_SLOW = 1 << 4,	    /* uses more memory or time than the others */
	MAKER_BUSY = 1 << 5,	 /* its memory changes by itself, or by a stop (the time that remains): not compared */
	MAKER_RESTLESS = 1 << 6, /* its tasks change by themselves: the oracle cannot compare them */
};

enum { MAKER_SKIP = 77, MAX_KIDS = 128, PAGE = 4096 };

/* Seen by all processes of a maker that has more than one. */
struct maker_shared {
	_Atomic int up; /* children that are ready */
	_Atomic int go; /* children may go on */
	_Atomic int flag[16];
	_Atomic long long value[16];
	char text[2048]; /* what went wrong */
};

struct maker_ctx {
	char dir[512]; /* a directory of its own */
	char ready[600], go[600], log[600];
	int delay_ms; /* how far ahead a timer is to be set so that it fires only after the restore */
	long arg;     /* the maker's own */
	bool stopped; /* for use: the tree was stopped in between, in whatever way */
	struct maker_shared *shared;
	int n_kids;
	pid_t kids[MAX_KIDS];
	char path[700]; /* the last answer of in_dir() */
};

typedef int maker_step(struct maker_ctx *ctx);

struct maker {
	const char *name;
	const char *what;
	maker_step *make;
	maker_step *use; /* NULL: let the children go on and expect 0 of each */
	unsigned flags;
	long arg;
	const char *refusal; /* what a refusal has to mention: a regular expression */
};

/* One whose steps are of_make and of_use. */
#define ROW(name, what, of)                                                                                            \
	{                                                                                                              \
		name, what, of##_make, of##_use                                                                        \
	}

/* The same with an argument. */
#define ROW_ARG(name, what, of, arg)                                                                                   \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg, NULL                                                          \
	}

/* Out of scope: spore must refuse it, with this word. */
#define REFUSED(name, what, made, used, arg, word)                                                                     \
	{                                                                                                              \
		name, what, made, used, MAKER_MUST_REFUSE, arg, word                                                   \
	}

struct maker_group {
	const char *name;
	const struct maker *makers; /* ends with a name of NULL */
};

extern const struct maker_group maker_groups[];

/* A step fails by returning 1 after it said why, and skips by returning 77. */
#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			return maker_fail(__FILE__, __LINE__, #cond);                                                  \
	} while (0)
#define SAME(a, b)                                                                                                     \
	do {                                                                                                           \
		long long a_ = (long long)(a), b_ = (long long)(b);                                                    \
		if (a_ != b_)                                                                                          \
			return maker_differ(__FILE__, __LINE__, #a, a_, #b, b_);                                       \
	} while (0)
#define TRY(step)                                                                                                      \
	do {                                                                                                           \
		int r_ = (step);                                                                                       \
		if (r_)                                                                                                \
			return r_;                                                                                     \
	} while (0)
#define NEED(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			return maker_skip(#cond);                                                                      \
	} while (0)
/* Waits up to ten seconds for a condition; its value. */
#define UNTIL(cond)                                                                                                    \
	({                                                                                                             \
		int n_ = 5000;                                                                                         \
		bool is_;                                                                                              \
                                                                                                                       \
		while (!(is_ = (cond)) && n_--)                                                                        \
			nap(2);                                                                                        \
		is_;                                                                                                   \
	})
int maker_fail(const char *file, int line, const char *what);
int maker_differ(const char *file, int line, const char *a, long long av, const char *b, long long bv);
int maker_skip(const char *what);

void nap(int ms);
int64_t now_ms(clockid_t clock);
int64_t now_ns(clockid_t clock);
pid_t tid_self(void);

/*
 * Sleeping without a trace: no polling, so that the task is at rest until another process or thread of the
 * tree lets it go on, and the oracle can compare its registers and memory. The word is 0 until then.
 */
void wait_for(_Atomic int *word);
void let_go(_Atomic int *word);

/* The path of a file in the maker's directory; good until the next call. */
const char *in_dir(struct maker_ctx *ctx, const char *name);

/* A file in the maker's directory with these contents, opened with these flags; -1. Its path is ctx->path. */
int new_file(struct maker_ctx *ctx, const char *name, const void *contents, size_t len, int flags);

/* The page that children share with their parents; made at the first call. */
struct maker_shared *shared(struct maker_ctx *ctx);

/*
 * A child that runs make, waits until it may go on, runs use and exits with the answer. Returns when it is
 * ready. Either step may be NULL. Children may have children.
 */
int kid_start(struct maker_ctx *ctx, maker_step *make, maker_step *use, pid_t *pid);
/* For children born in other ways (clone, double fork): the same life, for the child to call; it does not
 * return. */
_Noreturn void kid_live(struct maker_ctx *ctx, maker_step *make, maker_step *use);
/* Waits until one more child than before is ready. */
int kid_up(struct maker_ctx *ctx, int before, pid_t pid);
/* Lets all children go on, waits for those that kid_start made, and expects 0 of each. */
int kids_finish(struct maker_ctx *ctx);
int reap_ok(pid_t pid);

int thread_start(pthread_t *t, void *(*run)(void *), void *arg);
/* Waits until that task of ours sleeps in the given system call. */
int until_blocked_in(pid_t tid, long nr);
/* The state letter of a task (R, S, T, Z ...); 0 if there is none. */
char task_state(pid_t pid);
/* The number after "name:" in /proc/PID/status or another such file, in the base given; -1 if there is none.
 */
long long proc_number(const char *path, const char *name, int base);
/* Would a read of this descriptor find something? 1 or 0. */
int readable(int fd);
/* Does the file's text hold this word? */
bool file_has(const char *path, const char *word);

/* What went wrong, so far. */
const char *maker_text(void);

/* A pattern that no other seed gives, to fill memory with and to look for. */
void fill(void *p, size_t len, uint64_t seed);
int check_fill(const void *p, size_t len, uint64_t seed);
