/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fcntl(2), F_SETSIG and F_SETOWN_EX; pipe_release() in fs/pipe.c, send_sigio() in fs/fcntl.c.
 *
 * A pipe whose last writer is closed sends the signal of each open description of its other end that has O_ASYNC to that one's
 * owner. In a dying process the writer must be closed while those descriptions still live. They are therefore not in its table, but
 * sent into a socket that nobody reads: the kernel lets go of what is on its way only after all that stood in the table.
 */
#include "isolate/deadman.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"

#define MOST_AT_ONCE 250 /* SCM_MAX_FD is 253 */

/* A description of its own: the owner belongs to that. */
static int tied_to(const struct deadman *d, pid_t pid)
{
	struct f_owner_ex owner = { F_OWNER_PID, pid };
	_cleanup_fd_ int fd = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", d->reader);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0 || fcntl(fd, F_SETOWN_EX, &owner) < 0 ||
		fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
		return -errno;
	return take_fd(&fd);
}

static int send_away(int socket, const int *fds, size_t n)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST_AT_ONCE * sizeof(int))];
	} control;
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(n * sizeof(int))
	};

	memset(&control, 0, sizeof(control));
	control.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))
	};
	memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int tie(const struct deadman *d, const pid_t *pids, size_t n)
{
	int fds[MOST_AT_ONCE], r = 0;
	size_t made = 0;

	while (r == 0 && made < n) {
		fds[made] = tied_to(d, pids[made]);
		if (fds[made] < 0)
			r = fds[made];
		else
			made++;
	}
	if (r == 0)
		r = send_away(d->tied[0], fds, n);
	while (made > 0)
		close_fd(&fds[--made]);
	return r;
}

int deadman_arm(struct deadman *d, const pid_t *pids, size_t n)
{
	int ends[2], r = 0;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*d = (struct deadman){ .reader = ends[0], .writer = ends[1], .tied = { -1, -1 } };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, d->tied) < 0)
		r = -errno;
	for (size_t i = 0; r == 0 && i < n; i += MOST_AT_ONCE)
		r = tie(d, pids + i, MIN(n - i, (size_t)MOST_AT_ONCE));
	if (r < 0)
		deadman_disarm(d);
	return r;
}

void deadman_disarm(struct deadman *d)
{
	/* What is on its way from one to the other goes with the one that would receive it, in that call. */
	close_fd(&d->tied[1]);
	close_fd(&d->tied[0]);
	close_fd(&d->reader);
	close_fd(&d->writer);
}

int deadman_hold(int fd, int held[2])
{
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, held) < 0)
		return -errno;
	r = send_away(held[0], &fd, 1);
	if (r < 0) {
		close_fd(&held[1]);
		close_fd(&held[0]);
	}
	return r;
}
