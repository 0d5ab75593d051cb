/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has a number that a tree of the host's pid namespace is to have again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct numbers {
	pid_t *list; /* sorted, each once */
	size_t n;
};

bool numbers_have(const struct numbers *numbers, pid_t number);
/* Sorts them and drops doubles, and what is no number. */
void numbers_settle(struct numbers *numbers);

enum taken { FREE, BY_ZOMBIE, BY_DYING, BY_LIVING };

struct holder {
	enum taken taken;
	pid_t number;
	pid_t pid; /* who has it: as its own, or as its group or session */
	char name[64];
};

/* Waits while only what is dying or dead has one: it lets go of its number soon, or never, if its parent does not reap it. */
struct holder holder_find(const struct numbers *numbers);

/*
 * After a birth failed because the number was taken: whether to try once more, after a pause. *since: 0 at first. A number may be taken and have no
 * holder: the kernel frees that of a dead thread only after it has left /proc, and a thread under SCHED_IDLE on a busy machine takes seconds from the
 * one to the other. If not, *holder says who has it; `number` is never 0 there.
 */
bool holder_yields(pid_t number, uint64_t *since, struct holder *holder);

/* "123 is taken here (cat)" */
void holder_describe(const struct holder *h, char *text, size_t size);
