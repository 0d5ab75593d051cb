/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of a tree: who holds what, and what goes when it is let go. Nothing here is real. */
#include "world.h"

uint64_t draw(struct world *w, uint64_t below)
{
	uint64_t x = w->random += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return (x ^ (x >> 31)) % below;
}

bool is_real(const struct world *w, int process)
{
	return w->me == process;
}

void world_init(struct world *w, uint64_t seed, struct maker_ctx *ctx, struct common *common)
{
	*w = (struct world){ .random = seed * 0x2545f4914f6cdd1du,
		.ctx = ctx,
		.common = common,
		.me = common ? 0 : -1,
		.n_processes = 1 };
	for (int t = 0; t < MAX_PROCESSES; t++)
		for (int fd = 0; fd < MAX_FD; fd++)
			w->tables[t].fd[fd].description = -1;
	for (int i = 0; i < MAX_MAPS; i++)
		w->processes[0].maps[i].object = -1;
	w->processes[0].alive = true;
	w->processes[0].parent = -1;
	w->tables[0].users = 1;
	if (common)
		common->pids[0] = getpid();
}

/* --- finding --- */

struct table *table_of(struct world *w, int process)
{
	return &w->tables[w->processes[process].table];
}

int object_index(const struct world *w, const struct object *o)
{
	return (int)(o - w->objects);
}

bool end_is_held(const struct world *w, int object, int end)
{
	for (int i = 0; i < w->n_descriptions; i++)
		if (w->descriptions[i].object == object && w->descriptions[i].end == end)
			return true;
	return false;
}

int any_process(struct world *w)
{
	for (;;) {
		int p = (int)draw(w, (uint64_t)w->n_processes);

		if (w->processes[p].alive)
			return p;
	}
}

static int random_fd(struct world *w, const struct table *t, bool free)
{
	int start = (int)draw(w, MAX_FD - FIRST_FD);

	for (int i = 0; i < MAX_FD - FIRST_FD; i++) {
		int fd = FIRST_FD + (start + i) % (MAX_FD - FIRST_FD);

		if ((t->fd[fd].description < 0) == free)
			return fd;
	}
	return -1;
}

int any_fd(struct world *w, int process)
{
	return random_fd(w, table_of(w, process), false);
}

int any_free_fd(struct world *w, int process)
{
	return random_fd(w, table_of(w, process), true);
}

int any_of_kind(struct world *w, int process, enum kind kind)
{
	const struct table *t = table_of(w, process);
	int start = (int)draw(w, MAX_FD);

	for (int i = 0; i < MAX_FD; i++) {
		int fd = (start + i) % MAX_FD, description = t->fd[fd].description;

		if (description >= 0 && w->objects[w->descriptions[description].object].kind == kind)
			return fd;
	}
	return -1;
}

int times_in_flight(const struct world *w, int description)
{
	int n = 0;

	for (int i = 0; i < w->n_objects; i++)
		for (int end = 0; end < 2; end++)
			for (int k = 0; k < w->objects[i].n_posted[end]; k++)
				n += w->objects[i].posted[end][k] == description;
	return n;
}

/* --- holding and letting go --- */

struct object *new_object(struct world *w, enum kind kind)
{
	if (w->n_objects == MAX_OBJECTS)
		return NULL;
	w->objects[w->n_objects] = (struct object){ .kind = kind, .locked_by = -1, .last = -1 };
	return &w->objects[w->n_objects];
}

bool room_for_descriptions(const struct world *w, int n)
{
	return w->n_descriptions + n <= MAX_DESCRIPTIONS;
}

int new_description(struct world *w, int object, int end, int flags)
{
	w->descriptions[w->n_descriptions] =
		(struct description){ .object = object, .end = end, .flags = flags, .owner = -1 };
	return w->n_descriptions++;
}

void hold(struct world *w, struct table *t, int fd, int description, bool cloexec)
{
	t->fd[fd].description = description;
	t->fd[fd].cloexec = cloexec;
	w->descriptions[description].holders++;
}

/*
 * The other end of what this one was closed with unread: it is told so (ECONNRESET). A checkpoint carries that of a unix socket that has nothing to read
 * before it.
 */
static bool tells_an_error(const struct world *w, const struct object *o, int end)
{
	bool unread = o->written[!end] > o->taken[!end] || o->n_posted[end],
	     before_it = o->written[end] > o->taken[end] || o->n_posted[!end];

	switch (o->kind) {
	case K_TCP:
		return unread && end_is_held(w, object_index(w, o), !end);
	case K_STREAM:
	case K_SEQPACKET:
	case K_POST:
		return unread && before_it && end_is_held(w, object_index(w, o), !end);
	case K_TCP_LISTENER:
		return o->n_waiting;
	default:
		return false;
	}
}

/* Is that the end of a connection by TCP which nobody has accepted yet? */
static bool waits(const struct world *w, int object)
{
	for (int i = 0; i < w->n_objects; i++)
		for (int k = 0; k < w->objects[i].n_waiting; k++)
			if (w->objects[i].kind == K_TCP_LISTENER && w->objects[i].waiting[k] == object)
				return true;
	return false;
}

static void forget_locks(struct object *o, int description)
{
	if (o->locked_by == description)
		o->locked_by = -1;
	for (int at = 0; at < MAX_PLACES; at++)
		if (o->bytes[at].sort == LOCK_OFD && o->bytes[at].owner == description)
			o->bytes[at].sort = LOCK_NONE;
}

static bool has_lock(const struct world *w, int description)
{
	const struct object *o = &w->objects[w->descriptions[description].object];

	if (o->locked_by == description || w->descriptions[description].leased)
		return true;
	for (int at = 0; at < MAX_PLACES; at++)
		if (o->bytes[at].sort == LOCK_OFD && o->bytes[at].owner == description)
			return true;
	return false;
}

/* Nobody has it any more: its locks, its registrations and what was on its way to it go with it. */
static void forget(struct world *w, int description)
{
	struct description *d = &w->descriptions[description];
	struct object *post = &w->objects[d->object];
	int object = d->object;

	/* A mapping may be of it, and would hold them on, which is refused. */
	w->refusable |= has_lock(w, description) && is_mapped(w, object);
	d->object = -1;
	if (!end_is_held(w, object, d->end))
		w->refusable |= tells_an_error(w, post, d->end) || waits(w, object);
	while (post->kind == K_POST && post->n_posted[d->end])
		let_one_go(w, post->posted[d->end][--post->n_posted[d->end]]);
	if (!end_is_held(w, object, 0))
		post->n_waiting = 0;
	for (int i = 0; i < w->n_objects; i++) {
		struct object *o = &w->objects[i];

		forget_locks(o, description);
		for (int k = o->n_watched; k-- > 0;)
			if (o->watched[k].description == description)
				o->watched[k] = o->watched[--o->n_watched];
	}
}

void let_one_go(struct world *w, int description)
{
	if (!--w->descriptions[description].holders)
		forget(w, description);
}

void drop_posix_locks(struct world *w, const struct table *t, int object)
{
	struct object *o = &w->objects[object];

	for (int at = 0; at < MAX_PLACES; at++)
		if (o->bytes[at].sort == LOCK_POSIX && o->bytes[at].owner == t - w->tables)
			o->bytes[at].sort = LOCK_NONE;
}

void drop(struct world *w, struct table *t, int fd)
{
	int description = t->fd[fd].description;

	t->fd[fd].description = -1;
	drop_posix_locks(w, t, w->descriptions[description].object);
	let_one_go(w, description);
}

void drop_all(struct world *w, struct table *t)
{
	for (int fd = 0; fd < MAX_FD; fd++)
		if (t->fd[fd].description >= 0)
			drop(w, t, fd);
}

/* --- what must not happen --- */

/* To be read it would have to be opened, of which a watch that is there, or will be, tells. */
static bool must_be_opened(const struct world *w, int object)
{
	const struct object *o = &w->objects[object];

	return o->kind == K_FIFO && o->written[0] > o->taken[0] && end_is_held(w, object, 1) &&
	       !end_is_held(w, object, 0);
}

static bool is_refusable(const struct world *w)
{
	if (w->refusable)
		return true;
	for (int i = 0; i < w->n_objects; i++)
		if (must_be_opened(w, i))
			return true;
	for (int i = 0; i < w->n_descriptions; i++)
		if (w->descriptions[i].object >= 0 && has_lock(w, i) &&
			times_in_flight(w, i) == w->descriptions[i].holders)
			return true;
	return false;
}

/* What would be after that descriptor, or all (-1), were dropped? */
static bool may(const struct world *w, int table, int fd)
{
	struct world *then = malloc(sizeof(*then));
	bool may;

	if (!then)
		abort();
	*then = *w;
	if (fd >= 0)
		drop(then, &then->tables[table], fd);
	else
		drop_all(then, &then->tables[table]);
	may = !is_refusable(then);
	free(then);
	return may;
}

bool may_drop(const struct world *w, const struct table *t, int fd)
{
	return may(w, (int)(t - w->tables), fd);
}

bool may_drop_all(const struct world *w, const struct table *t)
{
	return may(w, (int)(t - w->tables), -1);
}

bool must_live(const struct world *w, int process)
{
	for (int i = 0; i < w->n_objects; i++) {
		const struct object *o = &w->objects[i];

		if (o->locked_by >= 0 && o->locker == process)
			return true;
		for (int at = 0; at < MAX_PLACES; at++)
			if (o->bytes[at].sort != LOCK_NONE && o->bytes[at].locker == process)
				return true;
		if (o->kind == K_SYSV_SEM && o->users & 1u << process)
			return true;
	}
	for (int i = 0; i < w->n_descriptions; i++)
		if (w->descriptions[i].object >= 0 && w->descriptions[i].owner == process)
			return true;
	return false;
}

bool is_noted(const struct world *w, int process)
{
	for (int i = 0; i < w->n_objects; i++)
		if (w->objects[i].users & 1u << process)
			return true;
	for (int slot = 0; slot < MAX_MAPS; slot++) {
		int object = w->processes[process].maps[slot].object;

		if (object >= 0 && w->objects[object].kind == K_SYSV_SHM)
			return true;
	}
	return false;
}
