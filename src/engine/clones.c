/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/clones.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "engine/parking.h"
#include "engine/restore.h"
#include "engine/streamed_pages.h"
#include "engine/verifying.h"
#include "state/tree.h"

struct engine_clones {
	struct image *image;
	struct parking parking;
	struct workers *workers; /* while it is made */
	char (*names)[sizeof(((struct container_entry *)0)->name)];
	unsigned int n;
};

/* --- names --- */

static bool is_free(const char *name)
{
	struct container_entry e = { 0 };
	int r = container_find_name(name, &e);

	if (r == 0)
		container_spec_free(&e.spec);
	return r == -ENOENT;
}

/* NAME, NAME-2 and so on, but for those that are taken. */
static int choose_names(struct engine_clones *c, const char *name)
{
	unsigned int number = 1;

	c->names = calloc(c->n, sizeof(*c->names));
	if (!c->names)
		return -ENOMEM;
	for (unsigned int i = 0; i < c->n; number++) {
		int room = (int)sizeof(c->names[i]) - 12;

		if (number == 1)
			snprintf(c->names[i], sizeof(c->names[i]), "%s", name);
		else
			snprintf(c->names[i], sizeof(c->names[i]), "%.*s-%u", room, name, number);
		i += is_free(c->names[i]);
	}
	return 0;
}

/* --- all --- */

/* What starts it there is a program of its own, which has nothing of this one's memory to hand on. */
static int refuse_moving(struct plan *plan)
{
	return refused(plan->r->ps,
		BLAME(.pid = plan->r->processes[0]->vpid, .process = process_of(plan->r->processes[0])->name,
			.object = "pid namespace", .remedy = "save a tree that `spore run` started"),
		"a tree of the host's pid namespace cannot be cloned");
}

/* A page file is checked while its pages are read: nothing is built before both have ended well. */
static int park(void *data, struct plan *plan)
{
	struct engine_clones *c = data;
	struct verifying verifying = { .image = c->image, .ps = plan->r->ps };
	int r, verified;

	if (plan->move.moves)
		return refuse_moving(plan);
	verifying_start(&verifying);
	r = parking_make(plan, c->workers, &c->parking);
	verified = verifying_end(&verifying);
	return verified < 0 ? verified : r;
}

static int make(struct engine_clones *c, int dir_fd, uint32_t flags, struct problems *ps)
{
	const struct tree_state *tree;
	int r;

	if (streamed_is_wanted(dir_fd))
		return refused(ps,
			BLAME(.object = "image",
				.remedy = "receive it in a directory (`spore receive`), and restore that"),
			"a stream is for one tree");
	r = image_open(dir_fd, record_kinds, ps, &c->image);
	if (r < 0)
		return r;
	tree = tree_state_of(c->image);
	if (!tree)
		return failed(ps, NULL, -EBADMSG, "the image is damaged: nothing in it says what tree it is of");
	r = choose_names(c, tree->name ? tree->name : "");
	return r < 0 ? failed(ps, NULL, r, "out of memory") : restore_plan(c->image, c->names[0], flags, ps, park, c);
}

static void clones_free(struct engine_clones *c)
{
	parking_unmap(&c->parking);
	parking_free(&c->parking);
	image_free(c->image);
	free(c->names);
	free(c);
}

int engine_clones_make(int dir_fd, uint32_t flags, unsigned int n, const struct engine_events *events,
	struct problems *ps, struct engine_clones **out)
{
	struct engine_clones *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->n = n;
	r = workers_new(&c->workers);
	engine_phase(events, "share");
	if (r == 0)
		r = make(c, dir_fd, flags, ps);
	workers_free(c->workers);
	c->workers = NULL;
	if (r < 0)
		clones_free(c);
	else
		*out = c;
	return r;
}

void clones_take(const struct engine_clones *c, unsigned int which, struct restore *r)
{
	r->image = image_keep(c->image);
	image_need_none(r->image);
	r->parking = c->parking.n_areas ? &c->parking : NULL;
	r->clone = c->names[which];
}

int clones_meet(const struct engine_outside *outside, struct problems *ps)
{
	struct pollfd go = { .fd = outside->go_fd, .events = POLLIN };

	if (!outside->clones)
		return 0;
	if (eventfd_write(outside->arrive_fd, 1) < 0)
		return failed(ps, NULL, -errno, "the other clones cannot be told: %m");
	while (poll(&go, 1, -1) != 1)
		;
	return 0;
}
