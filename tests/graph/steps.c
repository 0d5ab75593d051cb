/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps: who does what, on the model and for real. */
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

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

static struct table *table_of(struct world *w, int process)
{
	return &w->tables[w->processes[process].table];
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

/* --- the model of descriptors --------------------------------------------------------------------------------------------- */

static int new_description(struct world *w, int object, int end, int flags)
{
	w->descriptions[w->n_descriptions] = (struct description){ .object = object, .end = end, .flags = flags };
	return w->n_descriptions++;
}

static void hold(struct world *w, struct table *t, int fd, int description, bool cloexec)
{
	t->fd[fd].description = description;
	t->fd[fd].cloexec = cloexec;
	w->descriptions[description].holders++;
}

static void forget(struct world *w, int description);

static void let_one_go(struct world *w, int description)
{
	if (!--w->descriptions[description].holders)
		forget(w, description);
}

/* Nobody has it any more: its lock, its registrations and what was on its way to it go with it. */
static void forget(struct world *w, int description)
{
	struct description *d = &w->descriptions[description];
	struct object *post = &w->objects[d->object];

	d->object = -1;
	while (post->kind == K_POST && post->n_posted[d->end])
		let_one_go(w, post->posted[d->end][--post->n_posted[d->end]]);
	for (int i = 0; i < w->n_objects; i++) {
		struct object *o = &w->objects[i];

		if (o->locked_by == description)
			o->locked_by = -1;
		for (int k = o->n_watched; k-- > 0;)
			if (o->watched[k].description == description)
				o->watched[k] = o->watched[--o->n_watched];
	}
}

static void drop(struct world *w, struct table *t, int fd)
{
	int description = t->fd[fd].description;

	t->fd[fd].description = -1;
	let_one_go(w, description);
}

/* --- steps ---------------------------------------------------------------------------------------------------------------------- */

/* Where it was made, it goes to the number that the model chose. */
static int move_fd(int from, int to, bool cloexec)
{
	CHECK(from >= 0);
	SAME(dup3(from, to, cloexec ? O_CLOEXEC : 0), to);
	return close(from);
}

static int step_open(struct world *w, int process)
{
	bool real = is_real(w, process), cloexec = draw(w, 2);
	struct table *t = table_of(w, process);
	enum kind kind = (enum kind)draw(w, K_COUNT);
	int made[2] = { -1, -1 }, flags[2] = { 0, 0 }, index = w->n_objects;
	struct object *o = &w->objects[index];

	if (index == MAX_OBJECTS || w->n_descriptions + 2 > MAX_DESCRIPTIONS)
		return 0;
	*o = (struct object){ .kind = kind, .locked_by = -1 };
	TRY(kinds[kind].make(w, process, o, real, made, flags));
	if (o->value[6] && kind == K_FILE) /* another description of a file that is there already */
		index = o->number;
	else
		w->n_objects++;
	for (int end = 0; end < kinds[kind].ends; end++) {
		int to = random_fd(w, t, true);

		if (to < 0) {
			if (real)
				close(made[end]);
			continue;
		}
		hold(w, t, to, new_description(w, index, end, flags[end]), cloexec);
		if (real)
			TRY(move_fd(made[end], to, cloexec));
	}
	return 0;
}

static int step_dup(struct world *w, int process)
{
	struct table *t = table_of(w, process);
	int from = any_fd(w, process), to = random_fd(w, t, true);
	bool cloexec = draw(w, 2);

	if (from < 0 || to < 0)
		return 0;
	if (is_real(w, process))
		SAME(dup3(from, to, cloexec ? O_CLOEXEC : 0), to);
	hold(w, t, to, t->fd[from].description, cloexec);
	return 0;
}

static int step_close(struct world *w, int process)
{
	int fd = any_fd(w, process);

	if (fd < 0)
		return 0;
	if (is_real(w, process))
		SAME(close(fd), 0);
	drop(w, table_of(w, process), fd);
	return 0;
}

static int step_cloexec(struct world *w, int process)
{
	int fd = any_fd(w, process);
	struct table *t = table_of(w, process);

	if (fd < 0)
		return 0;
	if (is_real(w, process)) {
		SAME(fcntl(fd, F_GETFD), t->fd[fd].cloexec ? FD_CLOEXEC : 0);
		SAME(fcntl(fd, F_SETFD, t->fd[fd].cloexec ? 0 : FD_CLOEXEC), 0);
	}
	t->fd[fd].cloexec = !t->fd[fd].cloexec;
	return 0;
}

static int any_process(struct world *w)
{
	for (;;) {
		int p = (int)draw(w, (uint64_t)w->n_processes);

		if (w->processes[p].alive)
			return p;
	}
}

/* A descriptor of another process, whether or not they descend from each other. */
static int step_take(struct world *w, int process)
{
	int other = any_process(w), from = any_fd(w, other), to = random_fd(w, table_of(w, process), true), description;

	if (from < 0 || to < 0 || w->processes[other].table == w->processes[process].table)
		return 0;
	description = table_of(w, other)->fd[from].description;
	if (is_real(w, process)) {
		int pidfd = pidfd_open(w->common->pids[other], 0);

		CHECK(pidfd >= 0);
		TRY(move_fd(pidfd_getfd(pidfd, from, 0), to, true));
		close(pidfd);
	}
	hold(w, table_of(w, process), to, description, true);
	w->descriptions[description].passed = true;
	return 0;
}

static int any_of_kind(struct world *w, int process, enum kind kind)
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

static int post(int socket, int fd)
{
	char byte = 'p', room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	SAME(sendmsg(socket, &m, 0), 1);
	return 0;
}

static int take_post(int socket, int to)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int fd;

	SAME(recvmsg(socket, &m, MSG_CMSG_CLOEXEC), 1);
	SAME(byte, 'p');
	CHECK(CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return move_fd(fd, to, true);
}

/* A descriptor goes into a message, or comes out of one. Of these sockets only later ones go through earlier ones, so that none holds itself. */
static int step_post(struct world *w, int process)
{
	int socket = any_of_kind(w, process, K_POST), fd = any_fd(w, process),
	    to = random_fd(w, table_of(w, process), true), end, description;
	bool send = draw(w, 3);
	struct object *o;

	if (socket < 0)
		return 0;
	description = table_of(w, process)->fd[socket].description;
	end = w->descriptions[description].end;
	o = &w->objects[w->descriptions[description].object];
	if (!end_is_held(w, object_index(w, o), !end)) /* a hang-up, or a reset, by what that end had not read */
		return 0;
	if (send) {
		int sent = table_of(w, process)->fd[fd].description;
		const struct object *what = &w->objects[w->descriptions[sent].object];

		if (o->n_posted[!end] == MAX_POSTED || (what->kind == K_POST && what <= o))
			return 0;
		if (is_real(w, process))
			TRY(post(socket, fd));
		o->posted[!end][o->n_posted[!end]++] = sent;
		w->descriptions[sent].holders++;
		return 0;
	}
	if (!o->n_posted[end] || to < 0)
		return 0;
	if (is_real(w, process))
		TRY(take_post(socket, to));
	description = o->posted[end][0];
	memmove(&o->posted[end][0], &o->posted[end][1], sizeof(int) * (size_t)--o->n_posted[end]);
	hold(w, table_of(w, process), to, description, true);
	w->descriptions[description].holders--;
	w->descriptions[description].passed = true;
	return 0;
}

static int step_touch(struct world *w, int process)
{
	int fd = any_fd(w, process);
	struct description *d;
	struct object *o;

	if (fd < 0)
		return 0;
	d = &w->descriptions[table_of(w, process)->fd[fd].description];
	o = &w->objects[d->object];
	return kinds[o->kind].touch ? kinds[o->kind].touch(w, process, d, o, is_real(w, process) ? fd : -1) : 0;
}

/* Something is registered with an epoll, or what is registered loses its number while others still have it. */
static int step_watch(struct world *w, int process)
{
	struct table *t = table_of(w, process);
	int epoll = any_of_kind(w, process, K_EPOLL);
	bool close_it = draw(w, 2);
	struct object *o;

	if (epoll < 0)
		return 0;
	o = &w->objects[w->descriptions[t->fd[epoll].description].object];
	for (int i = 0; close_it && i < o->n_watched; i++) {
		int fd = o->watched[i].fd;

		if (t->fd[fd].description != o->watched[i].description ||
			w->descriptions[o->watched[i].description].holders < 2)
			continue;
		if (is_real(w, process))
			SAME(close(fd), 0);
		drop(w, t, fd);
		return 0;
	}
	return kinds[K_EPOLL].touch(
		w, process, &w->descriptions[t->fd[epoll].description], o, is_real(w, process) ? epoll : -1);
}

static void *map_address(int i)
{
	return (void *)(0x100000000000 + (uintptr_t)i * (1 << 20));
}

/* A shared mapping of what a descriptor stands on: it outlives the descriptor. */
static int step_map(struct world *w, int process)
{
	int fd = any_fd(w, process), slot = (int)draw(w, MAX_MAPS);
	struct map *m = &w->processes[process].maps[slot];
	const struct description *d;
	enum kind kind;

	if (fd < 0)
		return 0;
	d = &w->descriptions[table_of(w, process)->fd[fd].description];
	kind = w->objects[d->object].kind;
	if (kind != K_FILE && kind != K_UNLINKED && kind != K_MEMFD)
		return 0;
	if (is_real(w, process))
		CHECK(mmap(map_address(slot), 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
			map_address(slot));
	*m = (struct map){ .object = d->object, .writable = true };
	return 0;
}

static int step_use_map(struct world *w, int process)
{
	uint64_t at = draw(w, 6), value = draw(w, 256);
	int slot = (int)draw(w, MAX_MAPS);

	for (int i = 0; i < MAX_MAPS; i++, slot = (slot + 1) % MAX_MAPS) {
		const struct map *m = &w->processes[process].maps[slot];
		volatile uint8_t *byte = (uint8_t *)map_address(slot) + at * 512;

		if (m->object < 0)
			continue;
		if (is_real(w, process)) {
			SAME(*byte, w->objects[m->object].value[at]);
			*byte = (uint8_t)value;
		}
		w->objects[m->object].value[at] = value;
		return 0;
	}
	return 0;
}

static void model_birth(struct world *w, int process, int child, bool shares)
{
	struct process *p = &w->processes[process], *c = &w->processes[child];

	*c = (struct process){ .alive = true, .parent = process, .table = shares ? p->table : child };
	memcpy(c->maps, p->maps, sizeof(c->maps));
	p->children++;
	if (shares) {
		w->tables[p->table].users++;
		return;
	}
	w->tables[child] = w->tables[p->table];
	w->tables[child].users = 1;
	for (int fd = 0; fd < MAX_FD; fd++)
		if (w->tables[child].fd[fd].description >= 0) {
			w->descriptions[w->tables[child].fd[fd].description].holders++;
			w->descriptions[w->tables[child].fd[fd].description].forked = true;
		}
}

static int step_fork(struct world *w, int process)
{
	bool shares = !draw(w, 4);
	int child = w->n_processes;
	long pid;

	if (child == MAX_PROCESSES)
		return 0;
	w->n_processes++;
	model_birth(w, process, child, shares);
	if (!is_real(w, process))
		return 0;
	pid = syscall(SYS_clone, SIGCHLD | (shares ? CLONE_FILES : 0), 0, 0, 0, 0);
	CHECK(pid >= 0);
	if (!pid) {
		w->me = child;
		return 0;
	}
	w->common->pids[child] = (int)pid;
	return 0;
}

/* /proc/locks goes on to name it, and a restore cannot (docs/coverage.md). */
static bool has_lock(const struct world *w, int process)
{
	for (int i = 0; i < w->n_objects; i++)
		if (w->objects[i].locked_by >= 0 && w->objects[i].locker == process)
			return true;
	return false;
}

/* A child without children ends, and is waited for, or not. Its parent does this step. */
static int step_end(struct world *w, int process)
{
	int child = any_process(w);
	bool reap = draw(w, 2);
	struct process *c = &w->processes[child];

	if (child == process || c->parent != process || c->children || has_lock(w, child))
		return 0;
	if (w->me == child)
		_exit(0);
	if (is_real(w, process)) {
		siginfo_t info;

		SAME(waitid(P_PID, (id_t)w->common->pids[child], &info, WEXITED | (reap ? 0 : WNOWAIT)), 0);
		SAME(info.si_status, 0);
		if (reap)
			w->common->pids[child] = 0;
	}
	c->alive = false;
	if (reap)
		w->processes[process].children--;
	if (!--w->tables[c->table].users)
		for (int fd = 0; fd < MAX_FD; fd++)
			if (w->tables[c->table].fd[fd].description >= 0)
				drop(w, &w->tables[c->table], fd);
	return 0;
}

static const struct {
	int weight;
	int (*run)(struct world *w, int process);
} steps[] = {
	{ 6, step_open },
	{ 3, step_dup },
	{ 3, step_close },
	{ 1, step_cloexec },
	{ 2, step_take },
	{ 5, step_post },
	{ 10, step_touch },
	{ 6, step_watch },
	{ 2, step_map },
	{ 2, step_use_map },
	{ 2, step_fork },
	{ 1, step_end },
};

int world_wait(const struct world *w)
{
	struct common *c = w->common;

	for (;;) {
		int turn = c->turn;

		if (c->failed)
			return 1;
		if (turn >= w->step)
			return 0;
		syscall(SYS_futex, &c->turn, FUTEX_WAIT, turn, NULL, NULL, 0);
	}
}

static void next_turn(struct common *c, int turn)
{
	c->turn = turn;
	syscall(SYS_futex, &c->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int world_step(struct world *w)
{
	int total = 0, process, before = w->me, step = w->step, r = 0;
	uint64_t choice;

	if (before >= 0 && world_wait(w))
		return 1;
	w->step++;
	process = any_process(w);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		total += steps[i].weight;
	choice = draw(w, (uint64_t)total);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		if (choice < (uint64_t)steps[i].weight) {
			r = steps[i].run(w, process);
			break;
		}
		choice -= (uint64_t)steps[i].weight;
	}
	if (r && w->common)
		w->common->failed = 1;
	if (before == process && w->me == before)
		next_turn(w->common, step + 1);
	return r;
}

/* --- what a seed contains ------------------------------------------------------------------------------------------------------- */

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

/* Registered under a number that it no longer has. */
static bool watched_after_close(const struct world *w, int description)
{
	for (int i = 0; i < w->n_objects; i++)
		for (int k = 0; k < w->objects[i].n_watched; k++) {
			const struct watched *x = &w->objects[i].watched[k];
			bool there = false;

			if (x->description != description || !end_is_held(w, i, 0))
				continue;
			for (int t = 0; t < w->n_processes; t++)
				there |= w->tables[t].users > 0 && w->tables[t].fd[x->fd].description == description;
			if (!there)
				return true;
		}
	return false;
}

static bool is_in_flight(const struct world *w, int description)
{
	for (int i = 0; i < w->n_objects; i++)
		for (int end = 0; end < 2; end++)
			for (int k = 0; k < w->objects[i].n_posted[end]; k++)
				if (w->objects[i].posted[end][k] == description)
					return true;
	return false;
}

void world_count(const struct world *w, unsigned counts[K_COUNT][WAY_COUNT])
{
	for (int i = 0; i < w->n_descriptions; i++) {
		const struct description *d = &w->descriptions[i];
		unsigned *row;

		if (d->object < 0)
			continue;
		row = counts[w->objects[d->object].kind];
		row[WAY_ALONE] += d->holders == 1;
		row[WAY_DUP] += in_one_table_twice(w, i);
		row[WAY_FORK] += d->forked && d->holders > 1;
		row[WAY_TABLE] += in_shared_table(w, i);
		row[WAY_PASSED] += d->passed && d->holders > 1;
		row[WAY_FLIGHT] += is_in_flight(w, i);
		row[WAY_WATCHED] += watched_after_close(w, i);
	}
}
