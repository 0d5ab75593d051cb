/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an image to a plan: which tasks are to be born, by whom, and where the stub's area lies. Nothing is built yet. */
#pragma once

#include "engine/holder.h"
#include "engine/move.h"
#include "engine/workers.h"
#include "object/component.h"
#include "state/memory.h"
#include "state/process.h"

/*
 * How a process gets its parent, group and session: by whom it is born, and when. A stand-in is a short-lived process
 * with the number of a session's leader that is dead: whoever it gives birth to with CLONE_PARENT is its parent's child, in its session.
 */
struct birth {
	struct new_process *creator; /* whose batch has the clone3; NULL: the root */
	struct new_thread *thread;   /* that of the creator which has it; NULL: the leader */
	bool early;		     /* before the creator calls setsid */
	struct stand_in *stand_in;   /* not NULL: born by it */
	bool sibling;		     /* CLONE_PARENT: the creator is not its parent */
	bool forked;		     /* shares memory by fork; else a fresh exec */
	bool carries;	    /* forked although it had called exec: it, or a descendant, is to have what is parked */
	pid_t born_session; /* the session it is born in */
	bool born, made, has_memory, filled;
	uint64_t worn_slack; /* the timer slack that it has as a creator: state/timer_slack.h */
};

struct stand_in {
	pid_t number;
	struct new_process *parent;
	struct slot *slot;
	struct stand_in *next;
};

struct plan {
	struct restore *r;
	struct move move;
	struct holder taken;		      /* .number: at a birth, of this attempt or of one before; 0: none was */
	struct stand_in *sessions;	      /* dead session leaders */
	const struct memory_state **memories; /* by process */
	size_t n_slots;
	struct streaming *streaming; /* the image is a stream (engine/streamed_memory.h); else NULL */
};

static inline struct birth *birth_of(const struct new_process *p)
{
	return p->birth;
}

/* Born with its creator's memory, and without an exec. */
static inline bool is_born_forked(const struct new_process *p)
{
	return birth_of(p)->forked || birth_of(p)->carries || p->zombie;
}

/* From whom a process inherits; a stand-in hands on what it inherited. NULL: from spore. */
static inline struct new_process *inherits_from(const struct new_process *p)
{
	const struct birth *b = birth_of(p);

	return b->stand_in ? b->stand_in->parent : b->creator;
}

static inline const struct process_state *process_of(const struct new_process *p)
{
	return p->record->state;
}

/* Fills r->processes, their threads and births, chooses the area, validates every record. plan->taken is looked at, all else is written. */
int plan_make(struct plan *plan, struct restore *r);
void plan_free(struct plan *plan);
/* An address at which there is room for that much: no process uses it, nor, in a clone, the keeper. */
int plan_find_hole(struct plan *plan, uint64_t size, uint64_t *base);
const struct memory_state *plan_memory(const struct plan *plan, const struct new_process *p);
