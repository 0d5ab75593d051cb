/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/netlink_lost.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kernel/capability.h"
#include "kernel/peek.h"
#include "state/socket_base.h"

#define TOO_LARGE (8u << 20) /* for one piece of the kernel's memory: KMALLOC_MAX_SIZE is 4 MiB */
#define NO_SUCH	  0xfff0

/* Of those whose kernel side answers a request that is wrong by sending it back: netlink_ack(). */
bool netlink_can_lose(uint64_t protocol)
{
	return protocol == NETLINK_ROUTE || protocol == NETLINK_SOCK_DIAG || protocol == NETLINK_XFRM ||
	       protocol == NETLINK_KOBJECT_UEVENT || protocol == NETLINK_GENERIC || protocol == NETLINK_NETFILTER;
}

int netlink_lost_capture(struct capture *c, const struct file_look *f, int fd, bool *lost)
{
	uint64_t sock = 0, error = 0;

	*lost = false;
	if (!socket_has_error(fd))
		return 0;
	if (c->kernel && (kernel_peek_socket(c->kernel, fd, &sock, NULL, 0) < 0 ||
				 kernel_peek_member(c->kernel, sock, "sock", "sk_err", &error) < 0))
		error = 0;
	*lost = error == ENOBUFS;
	return *lost || !c->kernel ? 0 : socket_refuse_error(c, f);
}

/* A wrong request, and so large that there is no memory to send it back: the kernel says that instead. By a thread that may do nothing, which it may not heed. */
static int send_wrong(int fd, struct nlmsghdr *request)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct capability_sets own;
	ssize_t n;
	int err;

	*request = (struct nlmsghdr){ .nlmsg_len = TOO_LARGE, .nlmsg_type = NO_SUCH, .nlmsg_flags = NLM_F_REQUEST };
	capabilities_own(&own);
	capabilities_set_effective(0);
	n = sendto(fd, request, TOO_LARGE, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	err = n < 0 ? -errno : 0;
	capabilities_set_effective(own.effective);
	return err;
}

int netlink_lose(int fd)
{
	struct pollfd p = { .fd = fd };
	int room = 2 * TOO_LARGE, before = 0, err;
	socklen_t size = sizeof(before);
	void *request = mmap(NULL, TOO_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (request == MAP_FAILED)
		return -ENOMEM;
	err = getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &before, &size) < 0 ||
			      setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0
		      ? -errno
		      : send_wrong(fd, request);
	munmap(request, TOO_LARGE);
	before /= 2; /* the kernel doubles it */
	if (!err && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &before, sizeof(before)) < 0)
		err = -errno;
	return err ? err : poll(&p, 1, 0) == 1 && p.revents & POLLERR ? 0 : -EPROTO;
}
