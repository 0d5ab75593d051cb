/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What went wrong, made once, where its cause is known: which process, which object, why, and what to do about it.
 * Functions return a negative errno and leave the words in the list of problems that their context carries.
 * A list is safe to add to from several workers.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/macro.h"

enum problem_kind {
	PROBLEM_FAILED,	 /* the call cannot go on */
	PROBLEM_REFUSED, /* the tree or image holds something that spore cannot carry (exit status 3) */
	PROBLEM_CHANGED, /* carried, but something that a program could see is different, by name */
};

struct problem {
	enum problem_kind kind;
	int error;	  /* negative errno */
	pid_t pid;	  /* in the caller's pid namespace; 0: not about one process */
	char process[32]; /* its name */
	char *object;	  /* "fd 5 (socket:[123])", "mapping 7f..-7f.." ; may be NULL */
	char *text;
	char *remedy; /* may be NULL */
	bool passing; /* it may be gone a moment later */
};

struct problems {
	pthread_mutex_t lock;
	struct problem *list;
	size_t n;
	size_t n_refused;
	size_t n_failed;
	int first_error; /* the first failure's or refusal's negative errno */
};

void problems_init(struct problems *ps);
void problems_free(struct problems *ps);
/* Appends what `to` does not hold yet, and leaves `from` empty. */
void problems_move(struct problems *to, struct problems *from);
/* Drops what is there twice. While nobody adds. */
void problems_once(struct problems *ps);

/* Nothing but refusals, and each for what passes. */
bool problems_pass(const struct problems *ps);

/* Who a problem is about. All members may be zero. */
struct blame {
	pid_t pid;
	const char *process;
	const char *object;
	const char *remedy;
	bool passing;
};

/* Each adds a problem and returns the negative errno that the caller hands on: failed() its error, refused() -ENOTSUP, changed() 0. */
int failed(struct problems *ps, const struct blame *who, int error, const char *fmt, ...) PRINTF_LIKE(4, 5);
int refused(struct problems *ps, const struct blame *who, const char *fmt, ...) PRINTF_LIKE(3, 4);
int changed(struct problems *ps, const struct blame *who, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Of what was handed on: 0 for a refusal, since that is told. Where nothing was refused, -ENOTSUP is what a system call answered (EOPNOTSUPP): -EIO, so that
 * nobody takes it for told.
 */
int problems_told(const struct problems *ps, int error);

#define BLAME(...) (&(const struct blame){ __VA_ARGS__ })
