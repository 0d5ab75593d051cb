/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a socket of IPv4 or IPv6 gets its name again. What the program had bound is bound; what the kernel had chosen for it, since it was only connected,
 * or bound to port 0, the kernel chooses again, and is left but one choice: IP_LOCAL_PORT_RANGE (Linux 6.3). net/ipv4/af_inet.c, inet_connection_sock.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "state/inet.h"
#include "state/inet_diag.h"
#include "state/sock_diag.h"

#define PORT_LATER 24 /* IP_BIND_ADDRESS_NO_PORT */
#define PORT_RANGE 51 /* IP_LOCAL_PORT_RANGE */

static bool is_any(const union inet_sockaddr *a)
{
	static const struct in6_addr none4 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
	struct in6_addr ip = inet_ip(a);

	return !memcmp(&ip, &in6addr_any, sizeof(ip)) || !memcmp(&ip, &none4, sizeof(ip));
}

static void take_address(union inet_sockaddr *a)
{
	if (a->any.sa_family == AF_INET6) {
		a->v6.sin6_addr = in6addr_any;
		a->v6.sin6_scope_id = 0;
	} else {
		a->v4.sin_addr.s_addr = htonl(INADDR_ANY);
	}
}

/* --- the port --- */

static int read_port_range(void *arg)
{
	struct own_facts *own = arg;
	_cleanup_file_ FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (!f || fscanf(f, "%d %d", &own->port_low, &own->port_high) != 2)
		own->port_low = own->port_high = -1;
	return 0;
}

/* The kernel chooses none but these, whatever it is told. */
bool inet_may_choose(struct restore *r, in_port_t port)
{
	if (!r->own.port_low && call_in_netns(r->root_pid, read_port_range, &r->own) < 0)
		r->own.port_low = r->own.port_high = -1;
	return port >= r->own.port_low && port <= r->own.port_high;
}

int inet_offer_port(int fd, in_port_t port)
{
	uint32_t range = port | (uint32_t)port << 16;

	return setsockopt(fd, IPPROTO_IP, PORT_RANGE, &range, sizeof(range)) < 0 ? -errno : 0;
}

static int bind_to(int fd, const union inet_sockaddr *a)
{
	return bind(fd, &a->any, inet_size(a)) < 0 ? -errno : 0;
}

static int has_port(int fd, in_port_t port)
{
	union inet_sockaddr now;
	socklen_t size = sizeof(now);

	return getsockname(fd, &now.any, &size) < 0 ? -errno : inet_port(&now) == port ? 0 : -EADDRNOTAVAIL;
}

/* One whose program wanted a port only when it connects or listens has it by now. */
int inet_bind_chosen(int fd, const union inet_sockaddr *a)
{
	union inet_sockaddr other = *a;
	int err = inet_offer_port(fd, inet_port(a)), later = 0, now = 0;
	socklen_t size = sizeof(later);

	other.v4.sin_port = 0;
	getsockopt(fd, IPPROTO_IP, PORT_LATER, &later, &size);
	if (later)
		setsockopt(fd, IPPROTO_IP, PORT_LATER, &now, sizeof(now));
	if (!err)
		err = bind_to(fd, &other);
	if (!err)
		err = has_port(fd, inet_port(a));
	if (later)
		setsockopt(fd, IPPROTO_IP, PORT_LATER, &later, sizeof(later));
	inet_offer_port(fd, 0);
	return err;
}

/* --- the address --- */

/* Binding to an address of IPv6 sets IPV6_V6ONLY for good: it shows whether an address was bound, or came with the connection. */
static bool address_was_bound(const struct inet_state *s, const union inet_sockaddr *local)
{
	if (s->hidden.bound & BOUND_KNOWN)
		return s->hidden.bound & BOUND_ADDRESS;
	return s->family == AF_INET || s->ipv6.v6only || IN6_IS_ADDR_V4MAPPED(&local->v6.sin6_addr);
}

/* The address that a connection would get by itself. */
static bool gets_address(struct restore *r, const struct inet_state *s, const union inet_sockaddr *local)
{
	_cleanup_fd_ int fd = socket_in(r->root_pid, (int)s->family, SOCK_DGRAM, 0);
	union inet_sockaddr peer, own = { 0 };
	socklen_t size = sizeof(own);
	struct in6_addr x = inet_ip(local), y;

	if (fd < 0 || inet_from_text(s->family, &s->peer, &peer) < 0 || inet_set_early(r, fd, s) < 0)
		return false;
	if (s->family == AF_INET6)
		peer.v6.sin6_flowinfo = 0; /* it has not leased it */
	if (connect(fd, &peer.any, inet_size(&peer)) < 0 || getsockname(fd, &own.any, &size) < 0)
		return false;
	y = inet_ip(&own);
	return !memcmp(&x, &y, sizeof(x));
}

void inet_unbind_address(const struct inet_state *s, const union inet_sockaddr *peer, union inet_sockaddr *local)
{
	struct in6_addr x = inet_ip(local), y = inet_ip(peer);

	/* of two addresses of one machine each goes to itself */
	if (!address_was_bound(s, local) && (s->family == AF_INET6 || !memcmp(&x, &y, sizeof(x))))
		take_address(local);
}

/* --- who has a port --- */

/* "  12: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 20343 ..." */
static unsigned int count_udp(int pid, const char *list, uint64_t port, bool (*but)(void *arg, uint64_t ino), void *arg)
{
	char path[48], line[512];
	_cleanup_file_ FILE *f = NULL;
	unsigned int n = 0, number;
	unsigned long ino;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, list);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		n += sscanf(line, "%*u: %*[0-9A-F]:%4x %*s %*s %*s %*s %*s %*u %*u %lu", &number, &ino) == 2 &&
		     number == port && !(but && but(arg, ino));
	return n;
}

unsigned int inet_count_udp(int pid, bool lite, uint64_t port, bool (*but)(void *arg, uint64_t ino), void *arg)
{
	return count_udp(pid, lite ? "udplite" : "udp", port, but, arg) +
	       count_udp(pid, lite ? "udplite6" : "udp6", port, but, arg);
}

/* --- all --- */

static int bind_either_way(struct restore *r, int fd, const struct inet_state *s, const union inet_sockaddr *a)
{
	bool chosen = (s->hidden.bound & BOUND_KNOWN) && !(s->hidden.bound & BOUND_PORT) && inet_port(a) &&
		      inet_may_choose(r, inet_port(a));
	int err = chosen ? inet_bind_chosen(fd, a) : -EADDRINUSE;

	return err ? bind_to(fd, a) : 0;
}

int inet_bind(struct restore *r, int fd, const struct inet_state *s)
{
	union inet_sockaddr a;
	struct inet_text name;
	int err;

	if (inet_from_text(s->family, &s->local, &a) < 0 || (is_any(&a) && !s->local.port))
		return 0; /* never bound */
	if (s->peer.ip && !is_any(&a) && !address_was_bound(s, &a) && gets_address(r, s, &a))
		take_address(&a);
	err = bind_either_way(r, fd, s, &a);
	if (err == -EADDRINUSE && s->type == SOCK_STREAM && inet_diag_clear(r->root_pid, &a, NULL) > 0)
		err = bind_either_way(r, fd, s, &a);
	if (!err)
		return 0;
	name = inet_text(&a);
	if (err == -EADDRINUSE)
		return failed(r->ps, BLAME(.object = name.s, .remedy = "end the program that has it"), err,
			"this address is taken");
	if (err == -EADDRNOTAVAIL)
		return failed(r->ps, BLAME(.object = name.s), err, "this address is not one of this machine's");
	return failed(r->ps, BLAME(.object = name.s), err, "the address cannot be bound: %s", strerror(-err));
}
