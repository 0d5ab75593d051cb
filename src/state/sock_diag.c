/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/sock_diag.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define ANSWER (32u << 10)

static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int call_in_netns(int pid, int (*fn)(void *arg), void *arg)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), theirs = -1;
	bool away;
	char path[48];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	theirs = open(path, O_RDONLY | O_CLOEXEC);
	if (own < 0 || theirs < 0)
		return -errno;
	away = !same_file(own, theirs);
	if (away && setns(theirs, CLONE_NEWNET) < 0)
		return -errno;
	r = fn(arg);
	/* A thread that cannot go back would do everything else in the wrong place. */
	if (away && setns(own, CLONE_NEWNET) < 0)
		abort();
	return r;
}

struct kind_of_socket {
	int family, type, protocol;
};

static int make_socket(void *arg)
{
	const struct kind_of_socket *k = arg;
	int fd = socket(k->family, k->type | SOCK_CLOEXEC, k->protocol);

	return fd < 0 ? -errno : fd;
}

int socket_in(int pid, int family, int type, int protocol)
{
	struct kind_of_socket k = { family, type, protocol };

	return call_in_netns(pid, make_socket, &k);
}

static int read_waiting(struct unix_diag *d, const struct rtattr *a)
{
	size_t size = RTA_PAYLOAD(a);

	d->waiting = malloc(size ? size : 1);
	if (!d->waiting)
		return -ENOMEM;
	memcpy(d->waiting, RTA_DATA(a), size);
	d->n_waiting = size / sizeof(*d->waiting);
	return 0;
}

static int read_attribute(struct unix_diag *d, const struct rtattr *a)
{
	struct unix_diag_rqlen rqlen;

	switch (a->rta_type) {
	case UNIX_DIAG_PEER:
		memcpy(&d->peer, RTA_DATA(a), sizeof(d->peer));
		d->has_peer = true;
		break;
	case UNIX_DIAG_SHUTDOWN:
		d->shutdown = *(const uint8_t *)RTA_DATA(a);
		break;
	case UNIX_DIAG_ICONS:
		return read_waiting(d, a);
	case UNIX_DIAG_RQLEN:
		memcpy(&rqlen, RTA_DATA(a), sizeof(rqlen));
		d->queue = rqlen.udiag_rqueue;
		d->backlog = rqlen.udiag_wqueue;
		break;
	default:
		break;
	}
	return 0;
}

struct dump {
	struct unix_diags *all;
	size_t room;
};

static int add(void *arg, const struct nlmsghdr *h)
{
	struct dump *dump = arg;
	struct unix_diags *all = dump->all;
	const struct unix_diag_msg *msg = NLMSG_DATA(h);
	unsigned int left = (unsigned int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	const struct rtattr *a = (const void *)(msg + 1);
	struct unix_diag *d;
	int err = 0;

	if (all->n == dump->room) {
		size_t room = dump->room ? 2 * dump->room : 64;
		struct unix_diag *grown = reallocarray(all->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		all->list = grown;
		dump->room = room;
	}
	d = &all->list[all->n++];
	*d = (struct unix_diag){ .ino = msg->udiag_ino, .type = msg->udiag_type, .state = msg->udiag_state };
	for (; err == 0 && RTA_OK(a, left); a = RTA_NEXT(a, left))
		err = read_attribute(d, a);
	return err;
}

/* 1: there is more to come. */
static int read_answer(int fd, void *buffer, int (*each)(void *arg, const struct nlmsghdr *h), void *arg)
{
	ssize_t n = recv(fd, buffer, ANSWER, 0);
	const struct nlmsghdr *h = buffer;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (unsigned int left = (unsigned int)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		int err;

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		err = each(arg, h);
		if (err)
			return err;
	}
	return 1;
}

int sock_diag_ask(
	int pid, const void *question, size_t size, int (*each)(void *arg, const struct nlmsghdr *h), void *arg)
{
	_cleanup_fd_ int fd = socket_in(pid, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	_cleanup_free_ void *buffer = malloc(ANSWER);
	int r = 1;

	if (fd < 0)
		return fd;
	if (!buffer)
		return -ENOMEM;
	if (send(fd, question, size, 0) < 0)
		return -errno;
	while (r == 1)
		r = read_answer(fd, buffer, each, arg);
	return r;
}

static int by_inode(const void *a, const void *b)
{
	const struct unix_diag *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

int unix_diag_read(int pid, struct unix_diags *out)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_UNIX,
			.udiag_states = ~0u,
			.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN },
	};
	struct dump dump = { .all = out };
	int err = sock_diag_ask(pid, &ask, sizeof(ask), add, &dump);

	if (!err)
		qsort(out->list, out->n, sizeof(*out->list), by_inode);
	return err;
}

void unix_diag_free(struct unix_diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->list[i].waiting);
	free(d->list);
	*d = (struct unix_diags){ 0 };
}

const struct unix_diag *unix_diag_find(const struct unix_diags *d, uint64_t ino)
{
	const struct unix_diag key = { .ino = (uint32_t)ino };

	return ino && d->n ? bsearch(&key, d->list, d->n, sizeof(key), by_inode) : NULL;
}
