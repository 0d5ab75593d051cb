/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps: who does what with descriptors and processes, on the model and for real. */
#include <limits.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/pidfd.h>

#include "world.h"

int move_fd(int from, int to, bool cloexec)
{
	CHECK(from >= 0);
	SAME(dup3(from, to, cloexec ? O_CLOEXEC : 0), to);
	return close(from);
}

/* --- descriptors --- */

/* Those that others go through come more often. */
static enum kind any_kind(struct world *w)
{
	uint64_t kind = draw(w, K_COUNT + 6);

	return kind < K_COUNT ? (enum kind)kind : kind % 2 ? K_POST : K_EPOLL;
}

static int step_open(struct world *w, int process)
{
	bool real = is_real(w, process), cloexec = draw(w, 2);
	struct table *t = table_of(w, process);
	enum kind kind = any_kind(w);
	int made[2] = { -1, -1 }, flags[2] = { 0, 0 }, index = w->n_objects;
	struct object *o = new_object(w, kind);

	if (!o || !room_for_descriptions(w, 2))
		return 0;
	TRY(kinds[kind].make(w, process, o, real, made, flags));
	w->n_objects++;
	for (int end = 0; end < kinds[kind].ends; end++) {
		int to = any_free_fd(w, process);

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

static bool may_open_again(const struct world *w, const struct description *d, enum traits how)
{
	const struct kind_ops *k = &kinds[w->objects[d->object].kind];

	if (!(k->traits & how) || !room_for_descriptions(w, 1) || (k->traits & END_1_ONLY && d->end != 1))
		return false;
	/* a reader that comes when all writers have gone is another than those that met them, and that is refused */
	if (w->objects[d->object].kind == K_FIFO && !d->end && !end_is_held(w, d->object, 1))
		return false;
	return !d->end ||
	       end_is_held(w, d->object, 0); /* else there is nobody to write to (ENXIO), or no master (EIO) */
}

static int open_again(const struct object *o, int end, int fd, enum traits how)
{
	bool pipe = o->kind == K_PIPE || o->kind == K_FIFO;
	int flags = kinds[o->kind].open_flags | O_CLOEXEC | (pipe && end ? O_WRONLY : 0);
	char link[64], name[PATH_MAX];
	ssize_t size;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (how == REOPENS)
		return open(link, flags);
	size = readlink(link, name, sizeof(name) - 1);
	CHECK(size > 0);
	name[size] = 0;
	return o->kind == K_MQUEUE ? mq_open(name, flags) : open(name, flags);
}

/* Another description of the same: by its name, or through /proc/self/fd. */
static int step_again(struct world *w, int process)
{
	enum traits how = draw(w, 2) ? NAMED : REOPENS;
	int from = any_fd(w, process), to = any_free_fd(w, process), description;
	struct table *t = table_of(w, process);
	const struct description *d;

	if (from < 0 || to < 0)
		return 0;
	d = &w->descriptions[t->fd[from].description];
	if (!may_open_again(w, d, how))
		return 0;
	if (is_real(w, process))
		TRY(move_fd(open_again(&w->objects[d->object], d->end, from, how), to, true));
	drop_posix_locks(w, t, d->object); /* move_fd has closed one */
	description = new_description(w, d->object, d->end, kinds[w->objects[d->object].kind].open_flags & O_NONBLOCK);
	hold(w, t, to, description, true);
	w->descriptions[description].twice = how == NAMED;
	w->descriptions[description].reopened = how == REOPENS;
	return 0;
}

static int step_dup(struct world *w, int process)
{
	struct table *t = table_of(w, process);
	int from = any_fd(w, process), to = any_free_fd(w, process);
	bool cloexec = draw(w, 2);

	if (from < 0 || to < 0)
		return 0;
	if (is_real(w, process))
		SAME(dup3(from, to, cloexec ? O_CLOEXEC : 0), to);
	hold(w, t, to, t->fd[from].description, cloexec);
	return 0;
}

static int close_fd(struct world *w, int process, int fd)
{
	struct table *t = table_of(w, process);

	if (fd < 0 || !may_drop(w, t, fd))
		return 0;
	if (is_real(w, process))
		SAME(close(fd), 0);
	drop(w, t, fd);
	return 0;
}

static int step_close(struct world *w, int process)
{
	return close_fd(w, process, any_fd(w, process));
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

/* A descriptor of another process, whether or not they descend from each other. */
static int step_take(struct world *w, int process)
{
	int other = any_process(w), from = any_fd(w, other), to = any_free_fd(w, process), description;

	if (from < 0 || to < 0 || w->processes[other].table == w->processes[process].table)
		return 0;
	description = table_of(w, other)->fd[from].description;
	if (is_real(w, process)) {
		int pidfd = pidfd_open(w->common->pids[other], 0);

		CHECK(pidfd >= 0);
		TRY(move_fd(pidfd_getfd(pidfd, from, 0), to, true));
		close(pidfd);
	}
	drop_posix_locks(w, table_of(w, process), w->descriptions[description].object);
	hold(w, table_of(w, process), to, description, true);
	w->descriptions[description].taken = true;
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

/* Something is registered with an epoll. */
static int step_watch(struct world *w, int process)
{
	struct table *t = table_of(w, process);
	int epoll = any_of_kind(w, process, K_EPOLL);
	struct description *d;

	if (epoll < 0)
		return 0;
	d = &w->descriptions[t->fd[epoll].description];
	return kinds[K_EPOLL].touch(w, process, d, &w->objects[d->object], is_real(w, process) ? epoll : -1);
}

/* What is registered loses its number, while others still have it. */
static int step_close_watched(struct world *w, int process)
{
	struct table *t = table_of(w, process);
	int epoll = any_of_kind(w, process, K_EPOLL);
	const struct object *o;

	if (epoll < 0)
		return 0;
	o = &w->objects[w->descriptions[t->fd[epoll].description].object];
	for (int i = 0; i < o->n_watched; i++) {
		int fd = o->watched[i].fd, description = o->watched[i].description, other = any_free_fd(w, process);

		if (t->fd[fd].description != description || other < 0)
			continue;
		if (w->descriptions[description].holders == 1) {
			if (is_real(w, process))
				SAME(dup3(fd, other, 0), other);
			hold(w, t, other, description, false);
		}
		return close_fd(w, process, fd);
	}
	return 0;
}

/* --- processes --- */

static void model_birth(struct world *w, int process, int child, bool shares)
{
	struct process *p = &w->processes[process], *c = &w->processes[child];

	*c = (struct process){ .alive = true, .parent = process, .table = shares ? p->table : child };
	memcpy(c->maps, p->maps, sizeof(c->maps));
	for (int i = 0; i < MAX_MAPS; i++)
		c->maps[i].inherited = true;
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

/* A child without children ends, and is waited for, or not. Its parent does this step. */
static int step_end(struct world *w, int process)
{
	int child = any_process(w);
	bool reap = draw(w, 2) || is_noted(w, child);
	struct process *c = &w->processes[child];

	if (child == process || c->parent != process || c->children || must_live(w, child))
		return 0;
	if (w->tables[c->table].users == 1 && !may_drop_all(w, &w->tables[c->table]))
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
	undo_at_end(w, child);
	if (reap)
		w->processes[process].children--;
	if (!--w->tables[c->table].users)
		drop_all(w, &w->tables[c->table]);
	return 0;
}

static const struct {
	int weight;
	step_run *run;
} steps[] = {
	{ 9, step_open },
	{ 4, step_again },
	{ 3, step_dup },
	{ 3, step_close },
	{ 1, step_cloexec },
	{ 2, step_take },
	{ 10, step_post },
	{ 11, step_touch },
	{ 5, step_watch },
	{ 2, step_close_watched },
	{ 3, step_accept },
	{ 1, step_shut },
	{ 2, step_map },
	{ 2, step_use_map },
	{ 1, step_unmap },
	{ 4, step_ipc },
	{ 4, step_fork },
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

void world_clean(struct world *w)
{
	char name[64];

	for (int i = 0; i < w->n_objects; i++)
		switch (w->objects[i].kind) {
		case K_MQUEUE:
			mq_unlink(unique_name(w, i, name));
			break;
		case K_POSIX_SHM:
			shm_unlink(unique_name(w, i, name));
			break;
		default:
			remove_ipc(w, &w->objects[i]);
		}
}
