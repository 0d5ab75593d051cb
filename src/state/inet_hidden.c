/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_hidden.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/in6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/inet.h"
#include "state/inet_flow.h"
#include "state/inet_group.h"
#include "state/socket_base.h"
#include "state/socket_hidden.h"

#define MOST_ANYCAST 4096
#define MOST_ALERTED 65536
#define NO_ALERT     INT32_MAX /* a value that no packet has: it has two bytes */

/* By number: the kernel's headers and the C library's exclude each other. */
enum {
	OPTION_ROUTER_ALERT4 = 5,  /* IP_ROUTER_ALERT */
	OPTION_ROUTER_ALERT6 = 22, /* IPV6_ROUTER_ALERT */
	OPTION_MTU6 = 24,	   /* IPV6_MTU */
	OPTION_JOIN_ANYCAST = 27,  /* IPV6_JOIN_ANYCAST */
};

static const struct field anycast_fields[] = {
	FIELD_STRING(struct inet_anycast, ip, "ip", "the address"),
	FIELD_STRING(struct inet_anycast, interface, "interface", "on which interface"),
	FIELD_END,
};

const struct field inet_hidden_fields[] = {
	FIELD_UINT(struct inet_hidden, bound, "bound",
		"what was bound by the program: bit 0: it is known, bit 1: the address, bit 2: the port"),
	FIELD_STRING(
		struct inet_hidden, multicast_interface, "multicast_interface", "IP_MULTICAST_IF: which interface"),
	FIELD_UINT(struct inet_hidden, ipv6_mtu, "ipv6_mtu", "IPV6_MTU; 0: not set"),
	FIELD_UINT(struct inet_hidden, ipv6_router_alert, "ipv6_router_alert",
		"IPV6_ROUTER_ALERT: 0 not set, 1 set to 0, 2 set and taken back"),
	FIELD_LIST(struct inet_hidden, anycast, n_anycast, "anycast", anycast_fields, "IPV6_JOIN_ANYCAST"),
	FIELD_SINCE(3, UINT, struct inet_hidden, group, "group",
		"1 + its place among the sockets that share its port (SO_REUSEPORT); 0: none, or not known"),
	FIELD_SINCE(3, BLOB, struct inet_hidden, chooser, "chooser",
		"SO_ATTACH_REUSEPORT_CBPF: instructions of classic BPF that choose among these"),
	FIELD_SINCE(
		4, LIST, struct inet_hidden, labels, n_labels, "labels", inet_flow_label_fields, "IPV6_FLOWLABEL_MGR"),
	FIELD_END,
};

/* --- router alerts --- */

/* Multicast routing has its socket told of them too, and keeps tables of its own: MRT_INIT. */
static int find_routing(struct kernel_peek *k, const struct socket_hidden *h, bool *routes)
{
	uint64_t at = 0, sock = 0, destructor = 0;
	int err = kernel_peek_address(k, h->net, "net", "ipv4", &at);

	if (!err)
		err = kernel_peek_member(k, at, "netns_ipv4", "ra_chain", &at);
	for (int n = 0; !err && at && !*routes; n++) {
		err = n < MOST_ALERTED ? kernel_peek_member(k, at, "ip_ra_chain", "sk", &sock) : -E2BIG;
		if (!err)
			err = kernel_peek_member(k, at, "ip_ra_chain", "destructor", &destructor);
		*routes = !err && sock == h->sock && destructor;
		if (!err)
			err = kernel_peek_member(k, at, "ip_ra_chain", "next", &at);
	}
	return err;
}

/* Over IPv6 each table of a network names the socket that fills it. */
static int find_routing6(struct kernel_peek *k, const struct socket_hidden *h, bool *routes)
{
	uint64_t net = 0, head = 0, at = 0, offset = 0, sock = 0;
	int err = kernel_peek_address(k, h->net, "net", "ipv6", &net);

	if (!err && kernel_peek_address(k, net, "netns_ipv6", "mr6_tables", &head) < 0) {
		/* one table (CONFIG_IPV6_MROUTE_MULTIPLE_TABLES), or this kernel does not route multicast */
		if (kernel_peek_member(k, net, "netns_ipv6", "mrt6", &at) < 0 || !at)
			return 0;
		err = kernel_peek_member(k, at, "mr_table", "mroute_sk", &sock);
		*routes = !err && sock == h->sock;
		return err;
	}
	if (!err)
		err = kernel_peek_address(k, 0, "mr_table", "list", &offset);
	if (!err)
		err = kernel_peek_member(k, head, "list_head", "next", &at);
	for (int n = 0; !err && at != head && !*routes; n++) {
		err = n < MOST_ALERTED ? kernel_peek_member(k, at - offset, "mr_table", "mroute_sk", &sock) : -E2BIG;
		*routes = !err && sock == h->sock;
		if (!err)
			err = kernel_peek_member(k, at, "list_head", "next", &at);
	}
	return err;
}

static int check_routing(struct capture *c, const struct file_look *f, const struct inet_state *s)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	bool routes = false;

	if (h->known &&
		(s->family == AF_INET ? find_routing(c->kernel, h, &routes) : find_routing6(c->kernel, h, &routes)) < 0)
		return refused(c->ps, BLAME_FILE(f), "whether it routes multicast (MRT_INIT) cannot be read");
	return routes ? refused(c->ps, BLAME_FILE(f), "multicast routing by a socket (MRT_INIT)") : 0;
}

struct probing {
	int fd;
	bool zero, other; /* told of alerts of value 0, of another */
};

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/*
 * Who is told already cannot be added once more. That a socket is told of a value that no packet has, for a moment, nobody sees; but it shows afterwards
 * that some value was set, and that cannot be undone: only where it does so already. In a child, which lives on if spore is killed.
 */
static int probe_alert(void *arg)
{
	struct probing *p = arg;
	int shown = 0;
	socklen_t size = sizeof(shown);

	if (getsockopt(p->fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, &shown, &size) < 0)
		return -errno;
	if (!shown) {
		p->zero = set(p->fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, -1) == 0;
		return p->zero ? set(p->fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, 0) : 0;
	}
	p->other = set(p->fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, NO_ALERT) == -EADDRINUSE;
	return p->other ? 0 : set(p->fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, -1);
}

static int capture_alert6(struct capture *c, const struct file_look *f, int fd, struct inet_hidden *s)
{
	struct probing p = { .fd = fd };
	int shown = 0;
	socklen_t size = sizeof(shown);

	if (getsockopt(fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, &shown, &size) < 0)
		return refused(c->ps, BLAME_FILE(f),
			"this kernel does not tell whether a raw socket is to be told of router alerts "
			"(IPV6_ROUTER_ALERT)");
	if (call_in_child(probe_alert, &p) < 0)
		return refused(c->ps, BLAME_FILE(f), "it cannot be told whether IPV6_ROUTER_ALERT is set");
	s->ipv6_router_alert = p.zero ? ALERT_ZERO : shown ? ALERT_TAKEN_BACK : ALERT_NONE;
	return p.other ? refused(c->ps, BLAME_FILE(f, .remedy = "let the program take it back, by the value -1"),
				 "IPV6_ROUTER_ALERT is set to a value other than 0, which nobody can be asked for")
		       : 0;
}

/* An older kernel does not tell it by getsockopt. What is on for a moment hands a packet on only if that comes by in it. In a child, as above. */
static int probe_alert4(void *arg)
{
	struct probing *p = arg;

	p->other = set(p->fd, IPPROTO_IP, OPTION_ROUTER_ALERT4, 1) == -EADDRINUSE;
	return p->other ? 0 : set(p->fd, IPPROTO_IP, OPTION_ROUTER_ALERT4, 0);
}

static int capture_alert4(struct capture *c, const struct file_look *f, int fd, struct inet_state *s)
{
	struct probing p = { .fd = fd };
	int err = s->ip.router_alert == OPTION_ABSENT ? call_in_child(probe_alert4, &p) : -EINVAL;

	if (err == -EINVAL) /* told already, or none that may */
		return 0;
	if (err < 0)
		return refused(c->ps, BLAME_FILE(f), "it cannot be told whether IP_ROUTER_ALERT is set");
	s->ip.router_alert = p.other;
	return 0;
}

/* Only raw sockets may, and of these some. */
static int capture_router(struct capture *c, const struct file_look *f, int fd, struct inet_state *s)
{
	int err = 0;

	if (s->type != SOCK_RAW)
		return 0;
	if (s->family == AF_INET6 && s->protocol == IPPROTO_RAW)
		return capture_alert6(c, f, fd, &s->hidden);
	if ((s->family == AF_INET && s->protocol == IPPROTO_IGMP) ||
		(s->family == AF_INET6 && s->protocol == IPPROTO_ICMPV6))
		err = check_routing(c, f, s);
	return err || s->family == AF_INET6 ? err : capture_alert4(c, f, fd, s);
}

/* --- anycast --- */

static int add_anycast(struct capture *c, int fd, uint64_t at, struct inet_hidden *s)
{
	struct inet_anycast *grown = reallocarray(s->anycast, s->n_anycast + 1, sizeof(*grown));
	struct in6_addr ip;
	uint64_t index = 0, where = 0;
	char text[INET6_ADDRSTRLEN];
	int err;

	if (!grown)
		return -ENOMEM;
	s->anycast = grown;
	memmove(grown + 1, grown, s->n_anycast++ * sizeof(*grown)); /* the kernel has the last first */
	grown[0] = (struct inet_anycast){ 0 };
	err = kernel_peek_address(c->kernel, at, "ipv6_ac_socklist", "acl_addr", &where);
	if (!err)
		err = kernel_peek_bytes(c->kernel, where, &ip, sizeof(ip));
	if (!err)
		err = kernel_peek_member(c->kernel, at, "ipv6_ac_socklist", "acl_ifindex", &index);
	if (!err)
		err = socket_interface_name(fd, (int)index, &grown[0].interface);
	if (err || !inet_ntop(AF_INET6, &ip, text, sizeof(text)))
		return err ? err : -EINVAL;
	grown[0].ip = strdup(text);
	return grown[0].ip ? 0 : -ENOMEM;
}

static int capture_anycast(struct capture *c, const struct file_look *f, int fd, uint64_t at, struct inet_hidden *s)
{
	int err = 0;

	while (at && !err) {
		err = s->n_anycast < MOST_ANYCAST ? add_anycast(c, fd, at, s) : -E2BIG;
		if (!err)
			err = kernel_peek_member(c->kernel, at, "ipv6_ac_socklist", "acl_next", &at);
	}
	return err ? refused(c->ps, BLAME_FILE(f), "its anycast addresses (IPV6_JOIN_ANYCAST) cannot be read: %s",
			     strerror(-err))
		   : 0;
}

/* --- all --- */

static uint64_t bound_of(const struct socket_hidden *h, const struct inet_state *s)
{
	if (!h->known || (s->protocol != IPPROTO_TCP && s->protocol != IPPROTO_UDP && s->protocol != IPPROTO_UDPLITE) ||
		s->type == SOCK_RAW)
		return 0;
	return BOUND_KNOWN | (h->bound & HIDDEN_BOUND_ADDRESS ? BOUND_ADDRESS : 0) |
	       (h->bound & HIDDEN_BOUND_PORT ? BOUND_PORT : 0);
}

int inet_hidden_capture(struct capture *c, const struct file_look *f, int fd, struct inet_state *s)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	int err = s->family == AF_INET6 ? inet_flow_capture(c, f, fd, &s->hidden) : 0;

	if (err)
		return err;
	s->hidden.bound = bound_of(h, s);
	s->hidden.ipv6_mtu = h->ipv6_mtu;
	/* of a connection it is that by which it came, and does nothing */
	if (s->type != SOCK_STREAM && h->multicast_index &&
		socket_interface_name(fd, (int)h->multicast_index, &s->hidden.multicast_interface) < 0)
		return refused(c->ps, BLAME_FILE(f), "the interface for its multicast (IP_MULTICAST_IF) is gone");
	err = inet_group_capture(c, f, &s->hidden);
	if (!err)
		err = capture_router(c, f, fd, s);
	return err ? err : capture_anycast(c, f, fd, h->anycast, &s->hidden);
}

/* --- restore --- */

static int set_multicast(int fd, const struct inet_state *s)
{
	struct ip_mreqn m = { .imr_ifindex = socket_interface_index(fd, s->hidden.multicast_interface) };

	if (m.imr_ifindex < 0)
		return m.imr_ifindex;
	m.imr_address.s_addr = s->ip.multicast_if == OPTION_ABSENT ? 0 : (in_addr_t)s->ip.multicast_if;
	return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)) < 0 ? -errno : 0;
}

static int join_anycast(int fd, const struct inet_anycast *a)
{
	struct ipv6_mreq m = { 0 };
	int index = socket_interface_index(fd, a->interface);

	if (index < 0 || !a->ip || inet_pton(AF_INET6, a->ip, &m.ipv6mr_multiaddr) != 1)
		return index < 0 ? index : -EBADMSG;
	m.ipv6mr_interface = (unsigned int)index;
	return setsockopt(fd, IPPROTO_IPV6, OPTION_JOIN_ANYCAST, &m, sizeof(m)) < 0 ? -errno : 0;
}

static int set_alert6(int fd, uint64_t alert)
{
	int err = alert == ALERT_NONE ? 0
				      : set(fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, alert == ALERT_ZERO ? 0 : NO_ALERT);

	return err || alert != ALERT_TAKEN_BACK ? err : set(fd, IPPROTO_IPV6, OPTION_ROUTER_ALERT6, -1);
}

int inet_hidden_write(struct problems *ps, int fd, const struct inet_state *s)
{
	const struct inet_hidden *h = &s->hidden;
	const struct inet_text name = inet_name(s);
	const char *what = "IP_MULTICAST_IF";
	int err = h->multicast_interface ? set_multicast(fd, s) : 0;

	if (!err && h->ipv6_mtu) {
		what = "IPV6_MTU";
		err = set(fd, IPPROTO_IPV6, OPTION_MTU6, (int)h->ipv6_mtu);
	}
	if (!err) {
		what = "IPV6_ROUTER_ALERT";
		err = set_alert6(fd, h->ipv6_router_alert);
	}
	for (size_t i = 0; i < h->n_anycast && !err; i++) {
		what = "IPV6_JOIN_ANYCAST";
		err = join_anycast(fd, &h->anycast[i]);
	}
	if (!err) {
		what = "SO_ATTACH_REUSEPORT_CBPF";
		err = inet_group_choose(fd, &h->chooser);
	}
	return err ? failed(ps, BLAME(.object = name.s), err, "a socket option cannot be set (%s): %s", what,
			     strerror(-err))
		   : 0;
}
