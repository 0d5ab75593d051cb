/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One pass after another over a tree, each divided among the workers, and what all of them share. */
#pragma once

#include "engine/capture.h"
#include "object/component.h"

struct pass {
	struct capturing *c;
	struct identities *ids;
	struct memory_plan *plans;  /* one for each process */
	struct snapshot *snapshots; /* the same; NULL: none */
	uint64_t least_forked;	    /* pages: a process with as many is saved from a copy, where that can be */
	_Atomic(uint64_t) copied_pages;
	struct descriptions *descriptions;
	struct gadget_cache *gadgets;
	struct witnesses *witnesses;
	struct kernel_peek *kernel;
	bool tracks; /* processes may be tracked */
	int (*fn)(struct pass *pass, size_t process);
	int (*thread_fn)(struct pass *pass, struct thread *th);
	_Atomic(size_t) next; /* process of a pass of anybody's */
};

/* Each process by the worker that may use ptrace on it. The first error; all are gone through. */
int pass_run(struct pass *pass, int (*fn)(struct pass *pass, size_t process));
/* What is not asked by ptrace is anybody's: each process by whichever worker comes first. */
int pass_run_any(struct pass *pass, int (*fn)(struct pass *pass, size_t process));
/* One worker's part of that, for a pass in which workers have something else to do first: pass->fn and next are set. */
int pass_of_any(unsigned int worker, void *pass);
/* Each thread but the leaders, which are done with their processes. Not by ptrace. */
int pass_run_threads(struct pass *pass, int (*fn)(struct pass *pass, struct thread *th));

/* What a component is called with. */
struct capture capture_of(struct pass *pass, struct process *p);
