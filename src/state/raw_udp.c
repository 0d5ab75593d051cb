/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/raw_udp.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "state/sock_diag.h"
#include "state/sockets.h"

#define HEADER 8

static in_port_t port_of(const uint8_t *payload)
{
	return (in_port_t)(payload[2] << 8 | payload[3]);
}

const char *raw_udp_check(const uint8_t *payload, size_t size)
{
	return size < HEADER || !port_of(payload) ? "that are of UDP, and go to no port" : NULL;
}

static bool is_of_tree(void *arg, uint64_t ino)
{
	const struct capture *c = arg;

	return socket_find(c->descriptions, ino);
}

bool raw_udp_has_outsider(struct capture *c, const struct inet_state *s, const uint8_t *payload)
{
	return inet_count_udp(tree_living(c->tree), s->protocol == IPPROTO_UDPLITE, port_of(payload), is_of_tree,
		       (void *)c) > 0;
}

/* One of IPv6 has the port of IPv4 as well. */
int raw_udp_sink(struct restore *r, const struct inet_state *s, const uint8_t *payload)
{
	union inet_sockaddr a = { .any.sa_family = AF_INET6 };
	int err, all = 0, fd = socket_in(r->root_pid, AF_INET6, SOCK_DGRAM, (int)s->protocol);

	if (fd < 0 && s->family == AF_INET) { /* a kernel without IPv6 */
		a.any.sa_family = AF_INET;
		fd = socket_in(r->root_pid, AF_INET, SOCK_DGRAM, (int)s->protocol);
	}
	if (fd < 0)
		return fd;
	a.v4.sin_port = htons(port_of(payload));
	if ((a.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &all, sizeof(all)) < 0) ||
		bind(fd, &a.any, inet_size(&a)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
