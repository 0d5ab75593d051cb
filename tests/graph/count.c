/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What graphs contain: kinds of objects, and locks, by the ways in which they are shared. */
#include "world.h"

enum way {
	WAY_ALONE,
	WAY_DUP,
	WAY_FORK,
	WAY_TABLE,
	WAY_PASSED,
	WAY_TAKEN,
	WAY_FLIGHT,
	WAY_EPOLL,
	WAY_CLOSED,
	WAY_REOPENED,
	WAY_TWICE,
	WAY_MAPPED,
	WAY_COUNT
};

/* A way is open to a kind that has one of these traits; else it is impossible, and why. */
static const struct {
	const char *name;
	const char *what;
	unsigned needs;
	const char *why_not;
} ways[WAY_COUNT] = {
	[WAY_ALONE] = { "alone", "one descriptor, one mapping, one user", ~0u, "" },
	[WAY_DUP] = { "dup", "twice in one process", HAS_FD | MANY_MAPS, "it has no descriptor to duplicate" },
	[WAY_FORK] = { "fork", "in a child too", HAS_FD | INHERITS,
		"a child inherits nothing of it: anybody has its number" },
	[WAY_TABLE] = { "table", "in a table of descriptors that two processes share (CLONE_FILES)", HAS_FD,
		"it has no descriptor" },
	[WAY_PASSED] = { "passed", "received from a socket", HAS_FD, "it has no descriptor" },
	[WAY_TAKEN] = { "taken", "by pidfd_getfd", HAS_FD, "it has no descriptor" },
	[WAY_FLIGHT] = { "flight", "in a message on its way", HAS_FD, "it has no descriptor" },
	[WAY_EPOLL] = { "epoll", "registered with an epoll", POLLS, "it cannot be polled (EPERM)" },
	[WAY_CLOSED] = { "closed", "registered under a number that was closed since", POLLS,
		"it cannot be polled (EPERM)" },
	[WAY_REOPENED] = { "reopened", "through /proc/self/fd", REOPENS,
		"it has no descriptor, or is a socket or an anonymous inode (ENXIO)" },
	[WAY_TWICE] = { "twice", "opened, attached or used twice by its name or number", NAMED | BY_ID,
		"it has no name by which it could be opened" },
	[WAY_MAPPED] = { "mapped", "without descriptor or number, held by a mapping", MAPS,
		"it cannot be mapped, or is nothing but a mapping" },
};

/* Locks are counted beside the kinds. */
enum { ROW_POSIX = K_COUNT, ROW_OFD, ROW_FLOCK, ROW_LEASE, ROW_COUNT };
static const char *const lock_names[] = { "lock: POSIX", "lock: OFD", "lock: flock", "lease" };

struct histogram {
	unsigned cell[ROW_COUNT][WAY_COUNT];
	unsigned graphs, processes, most_processes, objects, descriptions;
};

struct histogram *histogram_new(void)
{
	return calloc(1, sizeof(struct histogram));
}

/* --- of descriptions --- */

static bool in_one_table_twice(const struct world *w, int description)
{
	for (int t = 0; t < w->n_processes; t++) {
		int n = 0;

		for (int fd = 0; fd < MAX_FD && w->tables[t].users > 0; fd++)
			n += w->tables[t].fd[fd].description == description;
		if (n > 1)
			return true;
	}
	return false;
}

static bool in_shared_table(const struct world *w, int description)
{
	for (int t = 0; t < w->n_processes; t++)
		for (int fd = 0; fd < MAX_FD && w->tables[t].users > 1; fd++)
			if (w->tables[t].fd[fd].description == description)
				return true;
	return false;
}

/* Registered under a number that it still has, or no longer has. */
static bool is_registered(const struct world *w, int description, bool closed)
{
	for (int i = 0; i < w->n_objects; i++)
		for (int k = 0; k < w->objects[i].n_watched; k++) {
			const struct watched *x = &w->objects[i].watched[k];
			bool there = false;

			if (x->description != description || !end_is_held(w, i, 0))
				continue;
			for (int t = 0; t < w->n_processes; t++)
				there |= w->tables[t].users > 0 && w->tables[t].fd[x->fd].description == description;
			if (there != closed)
				return true;
		}
	return false;
}

static bool has_sibling(const struct world *w, int description)
{
	const struct description *d = &w->descriptions[description];

	for (int i = 0; i < w->n_descriptions; i++)
		if (i != description && w->descriptions[i].object == d->object && w->descriptions[i].end == d->end)
			return true;
	return false;
}

static void count_description(unsigned row[WAY_COUNT], const struct world *w, int description)
{
	const struct description *d = &w->descriptions[description];

	row[WAY_ALONE] += d->holders == 1;
	row[WAY_DUP] += in_one_table_twice(w, description);
	row[WAY_FORK] += d->forked && d->holders > 1;
	row[WAY_TABLE] += in_shared_table(w, description);
	row[WAY_PASSED] += d->passed && d->holders > 1;
	row[WAY_TAKEN] += d->taken && d->holders > 1;
	row[WAY_FLIGHT] += times_in_flight(w, description) > 0;
	row[WAY_EPOLL] += is_registered(w, description, false);
	row[WAY_CLOSED] += is_registered(w, description, true);
	row[WAY_REOPENED] += d->reopened;
	row[WAY_TWICE] += d->twice && has_sibling(w, description);
}

static void count_locks(struct histogram *h, const struct world *w, const struct object *o)
{
	for (int at = 0; at < MAX_PLACES; at++)
		if (o->bytes[at].sort != LOCK_NONE && w->descriptions[o->bytes[at].by].object >= 0)
			count_description(
				h->cell[o->bytes[at].sort == LOCK_POSIX ? ROW_POSIX : ROW_OFD], w, o->bytes[at].by);
	if (o->locked_by >= 0)
		count_description(h->cell[ROW_FLOCK], w, o->locked_by);
}

/* --- of mappings and of IPC --- */

static void count_mapped(unsigned row[WAY_COUNT], const struct world *w, int object)
{
	int maps = 0, mappers = 0;
	bool dup = false, inherited = false;

	for (int p = 0; p < w->n_processes; p++) {
		int n = 0;

		for (int slot = 0; w->processes[p].alive && slot < MAX_MAPS; slot++)
			if (w->processes[p].maps[slot].object == object) {
				n++;
				inherited |= w->processes[p].maps[slot].inherited;
			}
		maps += n;
		mappers += n > 0;
		dup |= n > 1;
	}
	row[WAY_ALONE] += maps == 1;
	row[WAY_DUP] += dup;
	row[WAY_FORK] += inherited && mappers > 1;
	row[WAY_TWICE] += maps > 1 && !inherited;
}

static void count_object(struct histogram *h, const struct world *w, int object)
{
	const struct object *o = &w->objects[object];
	unsigned *row = h->cell[o->kind];

	if (kinds[o->kind].traits & HAS_FD) {
		if (kinds[o->kind].traits & MAPS)
			row[WAY_MAPPED] += !end_is_held(w, object, 0) && is_mapped(w, object);
		count_locks(h, w, o);
	} else if (kinds[o->kind].traits & INHERITS) {
		count_mapped(row, w, object);
		row[WAY_MAPPED] += o->gone && is_mapped(w, object);
	} else {
		row[WAY_ALONE] += __builtin_popcount(o->users) == 1;
		row[WAY_TWICE] += __builtin_popcount(o->users) > 1;
	}
}

void histogram_add(struct histogram *h, const struct world *w)
{
	unsigned alive = 0;

	for (int p = 0; p < w->n_processes; p++)
		alive += w->processes[p].alive;
	h->graphs++;
	h->processes += alive;
	if (h->most_processes < alive)
		h->most_processes = alive;
	h->objects += (unsigned)w->n_objects;
	for (int i = 0; i < w->n_objects; i++)
		count_object(h, w, i);
	for (int i = 0; i < w->n_descriptions; i++) {
		const struct description *d = &w->descriptions[i];

		if (d->object < 0)
			continue;
		h->descriptions++;
		count_description(h->cell[w->objects[d->object].kind], w, i);
		if (d->leased)
			count_description(h->cell[ROW_LEASE], w, i);
	}
}

/* --- printing --- */

static const char *name_of(int row)
{
	return row < K_COUNT ? kinds[row].name : lock_names[row - K_COUNT];
}

/* A lock ends with its description: it cannot be mapped. */
static bool is_open(int row, int way)
{
	unsigned traits = row < K_COUNT ? kinds[row].traits : HAS_FD | NAMED | REOPENS;

	return ways[way].needs & traits;
}

static void print_legend(void)
{
	printf("\nThe ways, and why a kind cannot be shared in one (-):\n");
	for (int way = 0; way < WAY_COUNT; way++)
		printf("%9s: %s%s%s\n", ways[way].name, ways[way].what, *ways[way].why_not ? "; -: " : "",
			ways[way].why_not);
}

int histogram_print(const struct histogram *h)
{
	int empty = 0;

	printf("%u graphs: %u processes (up to %u in one), %u objects, %u descriptions at the checkpoint\n%-17s",
		h->graphs, h->processes, h->most_processes, h->objects, h->descriptions, "");
	for (int way = 0; way < WAY_COUNT; way++)
		printf("%9s", ways[way].name);
	printf("\n");
	for (int row = 0; row < ROW_COUNT; row++) {
		printf("%-17s", name_of(row));
		for (int way = 0; way < WAY_COUNT; way++)
			if (is_open(row, way))
				printf("%9u", h->cell[row][way]);
			else
				printf("%9s", "-");
		printf("\n");
	}
	print_legend();
	for (int row = 0; row < ROW_COUNT; row++)
		for (int way = 0; way < WAY_COUNT; way++)
			if (is_open(row, way) && !h->cell[row][way]) {
				printf("empty: %s, %s\n", name_of(row), ways[way].name);
				empty++;
			}
	return empty > 0;
}
