/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore-keeper FD [look|clones]: started by libspore, with a socket to its first client; look: that will ask about a tree; clones: for several. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/keeper.h"
#include "state/sleep.h"

/* Only the socket, as 3, and /dev/null as the standard streams: whatever else the client had open is not the
 * keeper's. */
static int set_descriptors(int sock)
{
	int fd;

	if (sock != KEEPER_SOCKET && dup2(sock, KEEPER_SOCKET) < 0)
		return -errno;
	if (fcntl(KEEPER_SOCKET, F_SETFD, FD_CLOEXEC) < 0 || syscall(SYS_close_range, KEEPER_SOCKET + 1, ~0u, 0) < 0)
		return -errno;
	for (fd = 0; fd < 3; fd++)
		close(fd);
	if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2)
		return -EIO;
	return chdir("/") < 0 ? -errno : 0;
}

#define DESCRIPTORS 8192 /* for some thousands of tasks, two for each; beyond that the table grows as usual */

/*
 * Room for many descriptors while there is one thread only: when a table that threads share grows, open waits for an RCU grace period
 * (expand_fdtable() in fs/file.c), some 15 ms at each power of two.
 */
static void make_room_for_descriptors(void)
{
	struct rlimit limit;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	high = (int)MIN(limit.rlim_cur, (rlim_t)DESCRIPTORS) - 1;
	if (dup2(0, high) == high)
		close(high);
}

/* One request of a connection; the socket belongs to what it asks for. */
static void hear(struct keeper *k, int sock)
{
	int fds[REQUEST_N_FDS];
	struct request req;
	int r;

	set_timeouts(sock);
	r = request_receive(sock, &req, fds);
	if (r == 0 && req.call == CALL_WAIT) {
		request_close(fds);
		if (req.flags & SPORE_WAIT_PAGES)
			fill_add_waiter(k, sock);
		else
			parent_add_waiter(k, sock);
		return;
	}
	if (r == 0 && !k->job.active) {
		job_begin(k, sock, &req, fds);
		return;
	}
	if (r == 0)
		request_close(fds);
	report_result(sock, r < 0 ? r : -EBUSY);
	close(sock);
}

enum { JOB_DONE, JOB_CLIENT, KEEPER_DOOR, PARENT_DOOR, ROOT, RESTORER, DEATHS, FILLER, N_POLLS };

static void job_events(struct keeper *k, const struct pollfd *p)
{
	eventfd_t n;

	if (p[JOB_DONE].revents && eventfd_read(k->done_fd, &n) == 0) {
		job_finish(k);
		return;
	}
	if (!(p[JOB_CLIENT].revents & (POLLHUP | POLLERR | POLLIN)))
		return;
	if (k->job.tied && !job_cancel(&k->job))
		job_abandon(k);
	k->job.client_gone = true; /* an isolation outlives it */
}

static void door_events(struct keeper *k, int door, const struct pollfd *p)
{
	int sock;

	if (!p->revents)
		return;
	sock = door_accept(door);
	if (sock >= 0)
		hear(k, sock);
}

static void tree_events(struct keeper *k, const struct pollfd *p)
{
	if (p[ROOT].revents) {
		if (k->child)
			parent_note_status(k);
		if (k->isolated || k->tracking)
			isolation_end(k);
		if (k->child)
			parent_child_ended(k);
	} else if (p[RESTORER].revents) {
		if (k->child_ended)
			parent_end(k);
		close_fd(&k->restorer_fd);
	}
}

/* SIGCHLD, for all threads: deaths are read from a descriptor. */
static int watch_deaths(struct keeper *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	k->deaths_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->deaths_fd < 0 ? -errno : 0;
}

/*
 * A task that is killed while it is stopped, isolated or saved or restored, even by another thread of its process that runs again already, is dead for its parent, and for
 * a pidfd of its process, when its tracer has waited for it. The status of a root that is this process's own child is for parent_note_status.
 */
static void reap_killed(struct keeper *k)
{
	struct signalfd_siginfo ignored;
	siginfo_t info;

	while (read(k->deaths_fd, &ignored, sizeof(ignored)) > 0)
		;
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || !info.si_pid ||
			info.si_pid == k->child)
			return;
		waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG | __WALL);
	}
}

/* While a job runs, the engine alone looks after the tree. */
static int turn(struct keeper *k)
{
	bool busy = k->job.active, client = busy && !k->job.client_gone;
	struct pollfd p[N_POLLS] = {
		[JOB_DONE] = { .fd = k->done_fd, .events = POLLIN },
		[JOB_CLIENT] = { .fd = client ? k->job.sock : -1, .events = POLLIN },
		[KEEPER_DOOR] = { .fd = k->keeper_door, .events = POLLIN },
		[PARENT_DOOR] = { .fd = k->parent_door, .events = POLLIN },
		[ROOT] = { .fd = busy || k->child_ended ? -1 : k->root_fd, .events = POLLIN },
		[RESTORER] = { .fd = busy ? -1 : k->restorer_fd, .events = POLLIN },
		[FILLER] = { .fd = !busy && k->filler ? filler_event(k->filler) : -1, .events = POLLIN },
		[DEATHS] = { .fd = !busy ? k->deaths_fd : -1, .events = POLLIN },
	};

	if (poll(p, N_POLLS, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[DEATHS].revents)
		reap_killed(k);
	if (p[FILLER].revents)
		fill_note(k);
	if (busy)
		job_events(k, p);
	else
		tree_events(k, p);
	door_events(k, k->keeper_door, &p[KEEPER_DOOR]);
	door_events(k, k->parent_door, &p[PARENT_DOOR]);
	return 0;
}

int main(int argc, char **argv)
{
	struct keeper k = { .keeper_door = -1,
		.parent_door = -1,
		.root_fd = -1,
		.restorer_fd = -1,
		.init_socket = -1,
		.commit_fd = -1,
		.job.sock = -1 };
	int r;

	if (argc < 2 || argc > 3 || set_descriptors(atoi(argv[1])) < 0)
		return 2;
	k.looks = argc == 3 && !strcmp(argv[2], "look");
	make_room_for_descriptors();
	/* What is freed will be wanted again in a moment: given back, each page would be taken, and cleared, anew. */
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	umask(077);
	prctl(PR_SET_NAME, "spore-keeper");
	pthread_mutex_init(&k.report_lock, NULL);
	problems_init(&k.fill_ps);
	if (argc == 3 && !strcmp(argv[2], "clones"))
		clones_serve(&k);
	r = watch_deaths(&k);
	if (r == 0)
		r = engine_thread_start(&k);
	if (r < 0) {
		report_result(KEEPER_SOCKET, r);
		return 1;
	}
	hear(&k, KEEPER_SOCKET);
	while (r == 0 && (k.job.active || k.isolated || k.tracking || k.child || k.filler))
		r = turn(&k);
	sleep_notes_sweep();
	/* The engine thread waits for a call that will not come: exit ends it. */
	return r < 0;
}
