/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptor that the kernel gives with a fanotify event is exempt from all notification (FMODE_NONOTIFY). To get one, a thread tries to open the
 * file; that makes a permission event, which comes before any event that others may see; it is refused, and the descriptor kept. If spore dies, the
 * group does, and the kernel lets everybody pass who waits for its permission. fanotify(7), fanotify_init(2); fs/notify/fanotify.
 */
#include "kernel/unseen.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

struct opener {
	char path[32];
	int flags;
	int done; /* an eventfd */
	_Atomic pid_t tid;
	int result;
};

static void *open_once(void *arg)
{
	struct opener *o = arg;

	o->tid = (pid_t)syscall(SYS_gettid);
	o->result = open(o->path, o->flags);
	if (o->result < 0)
		o->result = -errno;
	eventfd_write(o->done, 1);
	return NULL;
}

/* Others who open the file just now may. Returns the descriptor of the opener's event; -EAGAIN: the event was another's. */
static int answer(int group, const struct opener *o)
{
	struct fanotify_event_metadata event;
	struct fanotify_response response;
	bool ours;

	if (read(group, &event, sizeof(event)) != sizeof(event))
		return errno == EAGAIN ? -EAGAIN : -errno;
	if (event.fd < 0)
		return -EAGAIN;
	ours = event.pid == o->tid;
	response = (struct fanotify_response){ .fd = event.fd, .response = ours ? FAN_DENY : FAN_ALLOW };
	if (write(group, &response, sizeof(response)) != sizeof(response))
		ours = false;
	if (ours)
		return event.fd;
	close(event.fd);
	return -EAGAIN;
}

/* Until the opener's event is there, or it ended without one. */
static int await(int group, const struct opener *o)
{
	struct pollfd p[] = { { .fd = group, .events = POLLIN }, { .fd = o->done, .events = POLLIN } };
	int fd = -EAGAIN;

	while (fd == -EAGAIN) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents & POLLIN)
			fd = answer(group, o);
		else if (p[1].revents)
			return -EOPNOTSUPP;
	}
	return fd;
}

static int open_by_event(int group, struct opener *o)
{
	pthread_t thread;
	int fd, err = pthread_create(&thread, NULL, open_once, o);

	if (err)
		return -err;
	fd = await(group, o);
	if (fd < 0)
		fanotify_mark(group, FAN_MARK_FLUSH, 0, AT_FDCWD, NULL);
	pthread_join(thread, NULL);
	if (o->result >= 0)
		close(o->result);
	return fd;
}

int unseen_open(int fd)
{
	_cleanup_fd_ int group = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_TID,
		O_RDONLY | O_NOATIME | O_LARGEFILE | O_CLOEXEC);
	_cleanup_fd_ int done = eventfd(0, EFD_CLOEXEC);
	struct opener o = { .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, .done = done };
	uint64_t what = FAN_OPEN_PERM;
	struct stat st;

	if (group < 0 || done < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -EOPNOTSUPP;
	if (S_ISDIR(st.st_mode))
		what |= FAN_ONDIR;
	snprintf(o.path, sizeof(o.path), "/proc/self/fd/%d", fd);
	if (fanotify_mark(group, FAN_MARK_ADD, what, AT_FDCWD, o.path) < 0)
		return -errno;
	return open_by_event(group, &o);
}
