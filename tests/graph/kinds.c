/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How each kind of object is made, looked at and changed, beside its model. */
#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>

#include "world.h"

static const char *numbered(struct world *w, const char *what, int number)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%d", what, number);
	return in_dir(w->ctx, name);
}

/* --- regular files ----------------------------------------------------------------------------------------------------- */

/* A file of the pool is one object, however often it is opened. */
static int pool_file(struct world *w, int number)
{
	for (int i = 0; i < w->n_objects; i++)
		if (w->objects[i].kind == K_FILE && w->objects[i].number == number && w->objects[i].value[7])
			return i;
	return -1;
}

static int file_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	int number = (int)draw(w, N_FILES), found = pool_file(w, number);

	flags[0] = draw(w, 2) ? O_APPEND : 0;
	if (found < 0) {
		o->number = number;
		o->value[7] = 1;
	} else {
		*o = (struct object){
			.kind = K_FILE, .number = found, .locked_by = -1
		}; /* world_step takes the one that is there */
		o->value[6] = 1;
	}
	if (!real)
		return 0;
	fd[0] = open(numbered(w, "file", number), O_RDWR | O_CREAT | O_CLOEXEC | flags[0], 0644);
	CHECK(fd[0] >= 0);
	if (found < 0)
		SAME(ftruncate(fd[0], 4096), 0);
	return 0;
}

static int unlinked_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	if (!real)
		return 0;
	fd[0] = open(numbered(w, "gone", object_index(w, o)), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd[0] >= 0);
	SAME(ftruncate(fd[0], 4096), 0);
	return unlink(w->ctx->path);
}

static int memfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	if (!real)
		return 0;
	fd[0] = memfd_create("graph", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(fd[0] >= 0);
	SAME(ftruncate(fd[0], 4096), 0);
	return 0;
}

/* value[0..5]: the byte at that multiple of 512. */
static int contents_touch(struct world *w, struct description *d, struct object *o, int fd)
{
	uint64_t at = draw(w, 6), value = draw(w, 256);
	uint8_t byte = 0, now = (uint8_t)value;

	if (fd >= 0) {
		SAME(pread(fd, &byte, 1, (off_t)at * 512), 1);
		SAME(byte, o->value[at]);
	}
	if (d->flags & O_APPEND) /* pwrite would append */
		return 0;
	if (fd >= 0)
		SAME(pwrite(fd, &now, 1, (off_t)at * 512), 1);
	o->value[at] = value;
	return 0;
}

static int position_touch(struct world *w, struct description *d, int fd)
{
	int64_t to = (int64_t)draw(w, 3000);

	if (fd >= 0) {
		SAME(lseek(fd, 0, SEEK_CUR), d->position);
		SAME(lseek(fd, to, SEEK_SET), to);
	}
	d->position = to;
	return 0;
}

static int lock_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int self = (int)(d - w->descriptions);
	bool own = o->locked_by == self, held = o->locked_by >= 0 && w->descriptions[o->locked_by].object >= 0;

	if (own && draw(w, 2)) {
		if (fd >= 0)
			SAME(flock(fd, LOCK_UN), 0);
		o->locked_by = -1;
		return 0;
	}
	if (fd >= 0)
		SAME(flock(fd, LOCK_EX | LOCK_NB), own || !held ? 0 : -1);
	if (!own && !held) { /* a lock that it has already stays that of who set it */
		o->locked_by = self;
		o->locker = process;
	}
	return 0;
}

static int file_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	switch (draw(w, 3)) {
	case 0:
		return position_touch(w, d, fd);
	case 1:
		return lock_touch(w, process, d, o, fd);
	default:
		return contents_touch(w, d, o, fd);
	}
}

/* --- directories, paths, devices ----------------------------------------------------------------------------------------- */

static int directory_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	if (!real)
		return 0;
	CHECK(!mkdir(numbered(w, "directory", object_index(w, o)), 0755));
	fd[0] = open(w->ctx->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

static int directory_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	if (fd >= 0) {
		int inside = openat(fd, "inside", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		CHECK(inside >= 0);
		SAME(lseek(inside, 0, SEEK_END), o->value[0]);
		SAME(write(inside, "x", 1), 1);
		close(inside);
	}
	o->value[0]++;
	return 0;
}

static int path_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	if (!real)
		return 0;
	fd[0] = open(w->ctx->dir, O_PATH | O_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

static int path_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct stat at, st;

	if (fd < 0)
		return 0;
	SAME(fstat(fd, &at), 0);
	SAME(stat(w->ctx->dir, &st), 0);
	SAME(at.st_ino, st.st_ino);
	return 0;
}

static int device_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = 0;
	o->number = (int)draw(w, 2);
	if (!real)
		return 0;
	fd[0] = open(o->number ? "/dev/zero" : "/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

static int device_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	char byte = 1;

	if (fd < 0)
		return 0;
	SAME(read(fd, &byte, 1), o->number);
	SAME(byte, !o->number);
	return 0;
}

/* --- what flows -------------------------------------------------------------------------------------------------------------- */

enum { FLOW_ROOM = 2000 };

/* The byte at that place of the stream. */
static uint8_t flowing(uint64_t place)
{
	return (uint8_t)(place * 37 + 11);
}

static int flow_in(struct world *w, struct object *o, int way, int fd)
{
	uint64_t n = draw(w, 400) + 1;
	uint8_t data[400];

	if (o->written[way] - o->taken[way] + n > FLOW_ROOM)
		return 0;
	for (uint64_t i = 0; i < n; i++)
		data[i] = flowing(o->written[way] + i);
	if (fd >= 0)
		SAME(write(fd, data, n), n);
	o->written[way] += n;
	return 0;
}

/* What goes through a terminal arrives a little later, and in pieces. */
static int read_all(int fd, uint8_t *data, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (size_t got = 0; got < size;) {
		ssize_t n;

		SAME(poll(&p, 1, 10000), 1);
		n = read(fd, data + got, size - got);
		CHECK(n > 0);
		got += (size_t)n;
	}
	return 0;
}

static int flow_out(struct world *w, struct object *o, int way, bool hung_up, int fd)
{
	uint64_t there = o->written[way] - o->taken[way], n = draw(w, 400) + 1;
	uint8_t data[400];

	if (n > there)
		n = there;
	if (fd >= 0 && !n) {
		SAME(read(fd, data, 1), hung_up ? 0 : -1);
		if (!hung_up)
			SAME(errno, EAGAIN);
	}
	if (fd >= 0 && n) {
		TRY(read_all(fd, data, n));
		for (uint64_t i = 0; i < n; i++)
			SAME(data[i], flowing(o->taken[way] + i));
	}
	o->taken[way] += n;
	return 0;
}

static int pipe_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (real)
		SAME(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
	return 0;
}

static int fifo_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	CHECK(!mkfifo(numbered(w, "fifo", object_index(w, o)), 0600));
	fd[0] = open(w->ctx->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fd[1] = open(w->ctx->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd[0] >= 0 && fd[1] >= 0);
	return 0;
}

static int pipe_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int index = object_index(w, o);

	if (d->end == 0)
		return flow_out(w, o, 0, !end_is_held(w, index, 1), fd);
	return end_is_held(w, index, 0) ? flow_in(w, o, 0, fd) : 0;
}

static int pty_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	struct termios t;

	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	SAME(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	SAME(tcgetattr(fd[1], &t), 0);
	cfmakeraw(&t);
	SAME(tcsetattr(fd[1], TCSANOW, &t), 0);
	for (int i = 0; i < 2; i++) {
		SAME(fcntl(fd[i], F_SETFL, O_NONBLOCK), 0);
		SAME(fcntl(fd[i], F_SETFD, FD_CLOEXEC), 0);
	}
	return 0;
}

/* A terminal, or a socket. */
static int both_ways_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int index = object_index(w, o), end = d->end;

	if (!end_is_held(w, index, !end))
		return 0; /* a hang-up: what waits is lost or not, by who has gone */
	return draw(w, 2) ? flow_in(w, o, end, fd) : flow_out(w, o, !end, false, fd);
}

static int pair_make(int type, bool real, int fd[2], int flags[2])
{
	flags[0] = flags[1] = O_NONBLOCK;
	if (real)
		SAME(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	return 0;
}

static int stream_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_STREAM, real, fd, flags);
}

/* What steps.c posts through it are descriptors. */
static int post_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	return pair_make(SOCK_SEQPACKET, real, fd, flags);
}

/* --- events -------------------------------------------------------------------------------------------------------------------- */

static int eventfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
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

static int eventfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
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
static int timerfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
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

static int timerfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
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

static int signalfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
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

static int signalfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct signalfd_siginfo info;

	if (fd >= 0) {
		SAME(read(fd, &info, sizeof(info)), -1);
		SAME(errno, EAGAIN);
	}
	return 0;
}

static int pidfd_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
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

static int pidfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd >= 0)
		SAME(poll(&p, 1, 0), !w->processes[o->number].alive);
	return 0;
}

static int inotify_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(fd[0] >= 0);
	return 0;
}

/* value[]: what is watched, one more than its object's index, by watch descriptor. Nothing that it waits for ever happens. */
static int inotify_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int directory = (int)draw(w, (uint64_t)w->n_objects), wd = 0;

	if (w->objects[directory].kind != K_DIRECTORY)
		return 0;
	while (wd < 6 && o->value[wd] && o->value[wd] != (uint64_t)directory + 1)
		wd++;
	if (wd == 6)
		return 0;
	o->value[wd] = (uint64_t)directory + 1;
	if (fd >= 0)
		SAME(inotify_add_watch(fd, numbered(w, "directory", directory), IN_DELETE_SELF | IN_MOVE_SELF), wd + 1);
	return 0;
}

/* --- epoll ------------------------------------------------------------------------------------------------------------------------ */

static int epoll_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
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
	return kinds[target->kind].pollable;
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

static int epoll_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
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

static int memfd_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	return draw(w, 2) ? position_touch(w, d, fd) : contents_touch(w, d, o, fd);
}

const struct kind_ops kinds[K_COUNT] = {
	[K_FILE] = { "file", 1, false, file_make, file_touch },
	[K_UNLINKED] = { "unlinked file", 1, false, unlinked_make, file_touch },
	[K_DIRECTORY] = { "directory", 1, false, directory_make, directory_touch },
	[K_PATH] = { "path", 1, false, path_make, path_touch },
	[K_DEVICE] = { "device", 1, false, device_make, device_touch },
	[K_PIPE] = { "pipe", 2, true, pipe_make, pipe_touch },
	[K_FIFO] = { "fifo", 2, true, fifo_make, pipe_touch },
	[K_EVENTFD] = { "eventfd", 1, true, eventfd_make, eventfd_touch },
	[K_TIMERFD] = { "timerfd", 1, true, timerfd_make, timerfd_touch },
	[K_SIGNALFD] = { "signalfd", 1, true, signalfd_make, signalfd_touch },
	[K_EPOLL] = { "epoll", 1, true, epoll_make, epoll_touch },
	[K_PIDFD] = { "pidfd", 1, true, pidfd_make, pidfd_touch },
	[K_INOTIFY] = { "inotify", 1, true, inotify_make, inotify_touch },
	[K_MEMFD] = { "memfd", 1, false, memfd_make, memfd_touch },
	[K_STREAM] = { "unix stream", 2, true, stream_make, both_ways_touch },
	[K_POST] = { "unix seqpacket", 2, true, post_make, NULL },
	[K_PTY] = { "pty", 2, true, pty_make, both_ways_touch },
};
