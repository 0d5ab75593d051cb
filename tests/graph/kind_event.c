/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tells of events: counters, timers, signals, processes, watches on files, epoll. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "world.h"

int eventfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = O_NONBLOCK;
	o->number = (int)draw(w, 2); /* a semaphore? */
	o->value[0] = draw(w, 5);
	if (!real)
		return 0;
	fd[0] = eventfd((unsigned)o->value[0], EFD_NONBLOCK | EFD_CLOEXEC | (o->number ? EFD_SEMAPHORE : 0));
	CHECK(fd[0] >= 0);
	return 0;
}

int eventfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	uint64_t add = draw(w, 4), got = 0, want = o->number && o->value[0] ? 1 : o->value[0];

	if (add) {
		if (fd >= 0)
			SAME(write(fd, &add, sizeof(add)), sizeof(add));
		o->value[0] += add;
		return 0;
	}
	if (fd >= 0) {
		SAME(read(fd, &got, sizeof(got)), want ? 8 : -1);
		SAME(got, want);
	}
	o->value[0] -= want;
	return 0;
}

/* value[0]: seconds of the interval; it is always due in an hour or more. */
int timerfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME };

	flags[0] = O_NONBLOCK;
	o->number = (int)draw(w, 3);
	if (!real)
		return 0;
	fd[0] = timerfd_create(clocks[o->number], TFD_NONBLOCK | TFD_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

int timerfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	uint64_t interval = draw(w, 100) + 1;
	struct itimerspec now, set = { { (time_t)interval, 0 }, { 3600 + (time_t)interval, 0 } };

	if (fd >= 0) {
		SAME(timerfd_gettime(fd, &now), 0);
		SAME(now.it_interval.tv_sec, o->value[0]);
		CHECK(!o->value[0] || now.it_value.tv_sec > 3000);
		SAME(timerfd_settime(fd, 0, &set, NULL), 0);
	}
	o->value[0] = interval;
	return 0;
}

int signalfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	sigset_t set;

	flags[0] = O_NONBLOCK;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)draw(w, 8));
	if (!real)
		return 0;
	fd[0] = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

int signalfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct signalfd_siginfo info;

	if (fd >= 0) {
		SAME(read(fd, &info, sizeof(info)), -1);
		SAME(errno, EAGAIN);
	}
	return 0;
}

int pidfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	do
		o->number = (int)draw(w, (uint64_t)w->n_processes);
	while (!w->processes[o->number].alive);
	if (!real)
		return 0;
	fd[0] = pidfd_open(w->common->pids[o->number], 0);
	CHECK(fd[0] >= 0);
	return 0;
}

int pidfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd >= 0)
		SAME(poll(&p, 1, 0), !w->processes[o->number].alive);
	return 0;
}

/* --- watches on directories --- */

int inotify_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

int fanotify_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC | FAN_REPORT_FID, O_RDONLY);
	CHECK(fd[0] >= 0);
	return 0;
}

/*
 * value[]: what is watched, one more than its object's index, by watch descriptor. Nothing that it waits for ever happens. Returns the place in value[] of
 * the directory drawn; -1: none, or no room.
 */
static int choose_watch(struct world *w, struct object *o, int *directory)
{
	int at = 0;

	*directory = (int)draw(w, (uint64_t)w->n_objects);
	if (w->objects[*directory].kind != K_DIRECTORY)
		return -1;
	while (at < 6 && o->value[at] && o->value[at] != (uint64_t)*directory + 1)
		at++;
	return at < 6 ? at : -1;
}

int inotify_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int directory, at = choose_watch(w, o, &directory);

	if (at < 0)
		return 0;
	o->value[at] = (uint64_t)directory + 1;
	if (fd >= 0)
		SAME(inotify_add_watch(fd, numbered(w, "directory", directory), IN_DELETE_SELF | IN_MOVE_SELF), at + 1);
	return 0;
}

/* A mark that is there can be removed. */
int fanotify_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int directory, at = choose_watch(w, o, &directory);
	bool there;

	if (at < 0)
		return 0;
	there = o->value[at];
	if (fd >= 0)
		SAME(fanotify_mark(fd, there ? FAN_MARK_REMOVE : FAN_MARK_ADD,
			     FAN_DELETE_SELF | FAN_MOVE_SELF | FAN_ONDIR, AT_FDCWD,
			     numbered(w, "directory", directory)),
			0);
	for (int i = at; there && i < 7; i++)
		o->value[i] = o->value[i + 1];
	if (!there)
		o->value[at] = (uint64_t)directory + 1;
	return 0;
}

/* --- epoll --- */

int epoll_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	if (!real)
		return 0;
	fd[0] = epoll_create1(EPOLL_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

static struct watched *find_watched(struct object *o, int fd, int description)
{
	for (int i = 0; i < o->n_watched; i++)
		if (o->watched[i].fd == fd && o->watched[i].description == description)
			return &o->watched[i];
	return NULL;
}

static void forget_watched(struct object *o, struct watched *x)
{
	*x = o->watched[--o->n_watched];
}

static bool may_watch(const struct world *w, const struct object *o, const struct object *target)
{
	/* One epoll inside another, never deeper and never in a circle: the later one watches nothing. */
	if (target->kind == K_EPOLL)
		return target > o && !target->n_watched && o - w->objects < MAX_OBJECTS / 2;
	return kinds[target->kind].traits & POLLS;
}

/* An epoll that is watched must go on watching nothing. */
static bool is_watched(const struct world *w, int object)
{
	for (int i = 0; i < w->n_objects; i++)
		for (int k = 0; k < w->objects[i].n_watched; k++)
			if (w->descriptions[w->objects[i].watched[k].description].object == object)
				return true;
	return false;
}

int epoll_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	static const uint32_t choices[] = { EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET, EPOLLPRI,
		EPOLLOUT | EPOLLONESHOT };
	struct epoll_event e = { .events = choices[draw(w, 5)] };
	int target = any_fd(w, process), index;
	uint64_t what = draw(w, 3);
	struct watched *x;

	if (target < 0 || is_watched(w, object_index(w, o)))
		return 0;
	index = w->tables[w->processes[process].table].fd[target].description;
	if (!may_watch(w, o, &w->objects[w->descriptions[index].object]))
		return 0;
	x = find_watched(o, target, index);
	e.data.u64 = draw(w, 1u << 30);
	if (x && !what) {
		if (fd >= 0)
			SAME(epoll_ctl(fd, EPOLL_CTL_DEL, target, NULL), 0);
		forget_watched(o, x);
	} else if (x) {
		if (fd >= 0)
			SAME(epoll_ctl(fd, EPOLL_CTL_MOD, target, &e), 0);
		x->events = e.events;
	} else if (o->n_watched < MAX_WATCHED) {
		if (fd >= 0)
			SAME(epoll_ctl(fd, EPOLL_CTL_ADD, target, &e), 0);
		o->watched[o->n_watched++] = (struct watched){ target, index, e.events };
	}
	return 0;
}
