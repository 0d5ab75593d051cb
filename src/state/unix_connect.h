/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How unix sockets come to be connected again. Two without names were a socketpair. An accepted one has its listener's name, and is made by a listener
 * for this purpose alone, bound out of sight to that name: so no two connections can be confused, and nobody else can come between. Only when
 * these are made do the sockets that are found by their names get them; connections that wait to be accepted are dialled then, in their order.
 * unix_plan.c says what is to be made, unix_dial.c makes what was accepted, unix_knock.c what waits; unix_restore.c goes through the phases.
 */
#pragma once

#include "state/unix.h"

struct listener {
	const struct blob *name;
	const struct unix_identity *who; /* NULL: anybody */
	uint64_t type;
	unsigned int generation; /* of those of one abstract name, which cannot be there at once */
	int fd, dir;
	size_t dialled, next, end;  /* its dials: those before the wave under way, those up to it, and all */
	size_t first_call, n_calls; /* of that wave */
};

struct dial {
	struct unix_made *client, *accepted; /* one of them may be NULL: it is not of the tree */
	const struct blob *name;	     /* of the listener */
	const struct unix_identity *listened, *connected;
	uint64_t type;
	int fd; /* of the client */
	bool done;
};

struct pairing {
	struct unix_made *a, *b; /* b NULL: not of the tree */
};

enum phase { PHASE_PAIRS, PHASE_LISTEN, PHASE_DIAL, PHASE_ACCEPT, PHASE_BIND, PHASE_KNOCK, PHASE_DONE };

struct connecting {
	struct unix_all all;
	enum phase phase;
	unsigned int generation, generations;
	struct listener *listeners;
	size_t n_listeners;
	struct dial *dials; /* of each listener in a row */
	size_t n_dials;
	struct pairing *pairs;
	size_t n_pairs;
	size_t knock, most_waiting;
	struct unix_call *calls; /* of the round under way */
	size_t n_calls;
	struct called {
		struct dial *dial; /* whose call it is; NULL: no dial's */
		struct listener *listener;
	} * called;
};

static inline const struct unix_identity *known(const struct unix_identity *who)
{
	return who->known ? who : NULL;
}

/* --- unix_restore.c */

struct unix_call *unix_add_call(struct connecting *c, enum unix_call_kind kind, const struct unix_identity *who);
/* Where a listener is found: its name, in a directory of its own if it is one of the file system. */
void unix_set_target(struct unix_call *call, int dir, const struct blob *name);
/* A descriptor takes a socket's place, under its number. */
int unix_replace(int fd, int by);

/* --- unix_plan.c: fills in pairs, dials and listeners */
int unix_plan(struct connecting *c);

/* --- unix_dial.c: the phases of what was accepted */
int unix_listen_all(struct connecting *c);
int unix_dial_wave(struct connecting *c);
int unix_accept_wave(struct connecting *c); /* sets the phase that follows */
/* The call was made at once, not queued: the listener has it. */
int unix_accept_one(struct connecting *c, const struct called *called);

/* --- unix_knock.c: what waits to be accepted */
void unix_find_holders(const struct connecting *c);
int unix_knock_all(struct connecting *c);
