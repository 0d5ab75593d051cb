/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of objects. */
#include "world.h"

const char *numbered(struct world *w, const char *what, int number)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%d", what, number);
	return in_dir(w->ctx, name);
}

/* The directory's name is of the driver's choice, and random. */
uint32_t unique_number(const struct world *w)
{
	uint32_t hash = 2166136261u;

	for (const char *c = w->ctx->dir; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash;
}

const char *unique_name(struct world *w, int number, char name[64])
{
	snprintf(name, 64, "/spore-graph-%08x-%d", unique_number(w), number);
	return name;
}

enum {
	OF_FILE = HAS_FD | NAMED | REOPENS,
	OF_EVENTS = HAS_FD | POLLS,
};

const struct kind_ops kinds[K_COUNT] = {
	[K_FILE] = { "file", 1, OF_FILE | MAPS, file_make, file_touch, O_RDWR },
	[K_UNLINKED] = { "unlinked file", 1, HAS_FD | REOPENS | MAPS, unlinked_make, file_touch, O_RDWR },
	[K_LEASED] = { "leased file", 1, OF_FILE, leased_make, leased_touch, O_RDONLY },
	[K_DIRECTORY] = { "directory", 1, OF_FILE, directory_make, directory_touch, O_RDONLY | O_DIRECTORY },
	[K_PATH] = { "O_PATH", 1, OF_FILE, path_make, path_touch, O_PATH },
	[K_DEVICE] = { "device", 1, OF_FILE, device_make, device_touch, O_RDWR },
	[K_PROC] = { "file of /proc", 1, OF_FILE, proc_make, proc_touch, O_RDONLY },
	[K_NAMESPACE] = { "namespace", 1, HAS_FD | REOPENS, namespace_make, namespace_touch, O_RDONLY },
	[K_MEMFD] = { "memfd", 1, HAS_FD | REOPENS | MAPS, memfd_make, memfd_touch, O_RDWR },
	[K_POSIX_SHM] = { "POSIX shm", 1, OF_FILE | MAPS, posix_shm_make, memfd_touch, O_RDWR },
	[K_PIPE] = { "pipe", 2, HAS_FD | POLLS | REOPENS, pipe_make, pipe_touch, O_NONBLOCK },
	[K_FIFO] = { "fifo", 2, OF_FILE | POLLS, fifo_make, pipe_touch, O_NONBLOCK },
	[K_PTY] = { "pty", 2, OF_FILE | POLLS | END_1_ONLY, pty_make, both_ways_touch, O_RDWR | O_NOCTTY | O_NONBLOCK },
	[K_EVENTFD] = { "eventfd", 1, OF_EVENTS, eventfd_make, eventfd_touch, 0 },
	[K_TIMERFD] = { "timerfd", 1, OF_EVENTS, timerfd_make, timerfd_touch, 0 },
	[K_SIGNALFD] = { "signalfd", 1, OF_EVENTS, signalfd_make, signalfd_touch, 0 },
	[K_EPOLL] = { "epoll", 1, OF_EVENTS, epoll_make, epoll_touch, 0 },
	[K_PIDFD] = { "pidfd", 1, OF_EVENTS, pidfd_make, pidfd_touch, 0 },
	[K_INOTIFY] = { "inotify", 1, OF_EVENTS, inotify_make, inotify_touch, 0 },
	[K_FANOTIFY] = { "fanotify", 1, OF_EVENTS, fanotify_make, fanotify_touch, 0 },
	[K_MQUEUE] = { "POSIX mqueue", 1, OF_FILE | POLLS, mqueue_make, mqueue_touch, O_RDWR | O_NONBLOCK },
	[K_STREAM] = { "unix stream", 2, OF_EVENTS, stream_make, both_ways_touch, 0 },
	[K_DGRAM] = { "unix datagram", 2, OF_EVENTS, dgram_make, records_touch, 0 },
	[K_SEQPACKET] = { "unix seqpacket", 2, OF_EVENTS, seqpacket_make, records_touch, 0 },
	[K_POST] = { "unix SCM_RIGHTS", 2, OF_EVENTS, post_make, NULL, 0 },
	[K_LISTENER] = { "unix listener", 1, OF_EVENTS, listener_make, NULL, 0 },
	[K_TCP] = { "TCP", 2, OF_EVENTS, tcp_make, both_ways_touch, 0 },
	[K_TCP_LISTENER] = { "TCP listener", 1, OF_EVENTS, tcp_listener_make, NULL, 0 },
	[K_UDP] = { "UDP", 2, OF_EVENTS, udp_make, records_touch, 0 },
	[K_RAW] = { "raw", 1, OF_EVENTS, raw_make, raw_touch, 0 },
	[K_NETLINK] = { "netlink", 1, OF_EVENTS, netlink_make, netlink_touch, 0 },
	[K_ANONYMOUS] = { "anonymous memory", 0, INHERITS | MANY_MAPS, anonymous_make, anonymous_touch, 0 },
	[K_SYSV_SHM] = { "System V shm", 0, INHERITS | MAPS | MANY_MAPS | BY_ID, sysv_shm_make, sysv_shm_touch, 0 },
	[K_SYSV_SEM] = { "System V sem", 0, BY_ID, sysv_sem_make, sysv_sem_touch, 0 },
	[K_SYSV_MSG] = { "System V msg", 0, BY_ID, sysv_msg_make, sysv_msg_touch, 0 },
};
