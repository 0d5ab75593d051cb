/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listening sockets, and those of the network: both ends at loopback addresses that no other graph uses. */
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "world.h"

/* The makers of raw sockets have 253 and 254. */
enum { LISTEN_PORT = 7000, A_PROTOCOL_OF_NOBODY = 201 };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

/* As IPv4, or as IPv4 in IPv6. */
static socklen_t here(const struct world *w, bool v6, in_port_t port, union address *a)
{
	uint32_t ip = htonl(127u << 24 | 1u << 23 | (unique_number(w) & 0x7fffff));

	if (!v6) {
		a->v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { ip } };
		return sizeof(a->v4);
	}
	a->v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memset(&a->v6.sin6_addr.s6_addr[10], 0xff, 2);
	memcpy(&a->v6.sin6_addr.s6_addr[12], &ip, 4);
	return sizeof(a->v6);
}

static int bound(const struct world *w, bool v6, int type, in_port_t port)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0), zero = 0, one = 1;
	union address a;
	socklen_t size = here(w, v6, port, &a);

	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(fd, &a.any, size))
		return fd;
	close(fd);
	return -1;
}

static int unblock(int fd)
{
	SAME(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return 0;
}

static int connect_to(int fd, int other)
{
	union address a;
	socklen_t size = sizeof(a);

	SAME(getsockname(other, &a.any, &size), 0);
	SAME(connect(fd, &a.any, size), 0);
	return 0;
}

int tcp_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	int server;

	o->number = (int)draw(w, 2);
	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	server = bound(w, o->number, SOCK_STREAM, 0);
	CHECK(server >= 0);
	SAME(listen(server, 1), 0);
	fd[1] = bound(w, o->number, SOCK_STREAM, 0);
	CHECK(fd[1] >= 0);
	TRY(connect_to(fd[1], server));
	fd[0] = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(fd[0] >= 0);
	SAME(close(server), 0);
	return unblock(fd[1]);
}

int udp_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	o->number = (int)draw(w, 2);
	flags[0] = flags[1] = O_NONBLOCK;
	if (!real)
		return 0;
	for (int i = 0; i < 2; i++) {
		fd[i] = bound(w, o->number, SOCK_DGRAM, 0);
		CHECK(fd[i] >= 0);
		TRY(unblock(fd[i]));
	}
	TRY(connect_to(fd[0], fd[1]));
	return connect_to(fd[1], fd[0]);
}

/* value[0]: the time to live that its packets get. */
int raw_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	o->number = (int)draw(w, 2);
	o->value[0] = 64;
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = socket(o->number ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, A_PROTOCOL_OF_NOBODY);
	CHECK(fd[0] >= 0);
	return 0;
}

int raw_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int level = o->number ? IPPROTO_IPV6 : IPPROTO_IP, name = o->number ? IPV6_UNICAST_HOPS : IP_TTL, now = -1,
	    next = (int)draw(w, 100) + 1;
	socklen_t size = sizeof(now);

	if (fd >= 0) {
		SAME(getsockopt(fd, level, name, &now, &size), 0);
		SAME(now, o->value[0]);
		SAME(setsockopt(fd, level, name, &next, sizeof(next)), 0);
	}
	o->value[0] = (uint64_t)next;
	return 0;
}

/* value[0]: does it want extended answers? */
int netlink_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	static const int protocols[] = { NETLINK_ROUTE, NETLINK_USERSOCK, NETLINK_SOCK_DIAG, NETLINK_GENERIC };
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	bool bind_it = draw(w, 2);

	o->number = (int)draw(w, 4);
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocols[o->number]);
	CHECK(fd[0] >= 0);
	if (bind_it)
		SAME(bind(fd[0], (struct sockaddr *)&a, sizeof(a)), 0);
	return 0;
}

int netlink_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int now = -1, next = !o->value[0];
	socklen_t size = sizeof(now);

	if (fd >= 0) {
		SAME(getsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &now, &size), 0);
		SAME(now, o->value[0]);
		SAME(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &next, sizeof(next)), 0);
	}
	o->value[0] = (uint64_t)next;
	return 0;
}

/* --- listeners --- */

/* At a path, or abstract (number 1). */
static socklen_t local_address(struct world *w, const struct object *o, union address *a)
{
	char name[64];

	a->local = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!o->number) {
		snprintf(a->local.sun_path, sizeof(a->local.sun_path), "%s",
			numbered(w, "listener", object_index(w, o)));
		return sizeof(a->local);
	}
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(a->local.sun_path + 1, sizeof(a->local.sun_path) - 1, "%s",
				   unique_name(w, object_index(w, o), name)));
}

int listener_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	union address a;
	socklen_t size;

	o->number = (int)draw(w, 2);
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(fd[0] >= 0);
	size = local_address(w, o, &a);
	SAME(bind(fd[0], &a.any, size), 0);
	SAME(listen(fd[0], MAX_WAITING), 0);
	return 0;
}

static in_port_t port_of(const struct world *w, const struct object *o)
{
	return (in_port_t)(LISTEN_PORT + object_index(w, o));
}

int tcp_listener_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2])
{
	o->number = (int)draw(w, 2);
	flags[0] = O_NONBLOCK;
	if (!real)
		return 0;
	fd[0] = bound(w, o->number, SOCK_STREAM, port_of(w, o));
	CHECK(fd[0] >= 0);
	SAME(listen(fd[0], MAX_WAITING), 0);
	return unblock(fd[0]);
}

int dial(struct world *w, const struct object *listener)
{
	bool local = listener->kind == K_LISTENER;
	int fd = local ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : bound(w, listener->number, SOCK_STREAM, 0);
	union address a;
	socklen_t size = local ? local_address(w, listener, &a) : here(w, listener->number, port_of(w, listener), &a);

	if (fd < 0 || connect(fd, &a.any, size) || unblock(fd))
		return -1;
	if (!local)
		nap(2); /* those of one millisecond may be accepted in another order (docs/coverage.md) */
	return fd;
}
