/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/raw_error.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "state/inet_errors.h"
#include "state/inet_packet.h"
#include "state/kernel_view.h"
#include "state/socket_base.h"
#include "state/socket_hidden.h"

#define QUOTED_HEADER 8 /* of what is behind that of IP */
#define WAIT_MS	      1000

bool raw_error_is_possible(const struct inet_state *s, uint64_t error)
{
	uint8_t type, code;

	return !error || inet_errors_message(error, s->family == AF_INET6, true, &type, &code);
}

/* --- checkpoint --- */

static int refuse(struct capture *c, const struct file_look *f, const char *remedy, const char *why)
{
	return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = remedy),
		"an error (SO_ERROR, or in its error queue) that was not told yet%s", why);
}

/* What is in the error queue names the packet that it came for: sent once more, such a message would come to whoever has the same addresses. */
int raw_error_capture(struct capture *c, const struct file_look *f, int fd, const struct inet_state *s, uint64_t *error)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);

	if (!socket_has_error(fd))
		return 0;
	if (!h->known)
		return refuse(c, f, KERNEL_VIEW_REMEDY, ", and cannot be read here");
	if (h->errors_queued || !h->error)
		return refuse(c, f, "let the program see it", "");
	if (!raw_error_is_possible(s, h->error))
		return refuse(c, f, "let the program see it", ", and which no message from the net makes");
	if (s->type == SOCK_DGRAM && !s->local.port)
		return refuse(c, f, "let the program see it", ", of one that has no number to ping by");
	*error = h->error;
	return 0;
}

/* --- restore --- */

/* Who asks for all errors is told of one without a peer, and of one that TCP and UDP take for passing; what is queued for it then is dropped with that wish. */
static int ask_for_all(int fd, const struct inet_state *s, int on)
{
	const bool six = s->family == AF_INET6;

	return setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVERR : IP_RECVERR, &on, sizeof(on)) < 0
		       ? -errno
		       : 0;
}

static union inet_sockaddr loopback(const struct inet_state *s)
{
	union inet_sockaddr a = { .any.sa_family = (sa_family_t)s->family };

	if (s->family == AF_INET6)
		a.v6.sin6_addr = in6addr_loopback;
	else
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static bool is_any(const union inet_sockaddr *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) : !a->v4.sin_addr.s_addr;
}

static int draw_address(const struct inet_state *s, union inet_sockaddr *a)
{
	uint8_t drawn[8];

	*a = (union inet_sockaddr){ .any.sa_family = (sa_family_t)s->family };
	if (getrandom(drawn, sizeof(drawn), 0) != sizeof(drawn))
		return -EIO;
	if (s->family == AF_INET) {
		a->v4.sin_addr.s_addr =
			htonl(127u << 24 | (64u | drawn[0] % 64u) << 16 | (uint32_t)drawn[1] << 8 | drawn[2]);
	} else {
		a->v6.sin6_addr.s6_addr[0] = 0xfd; /* RFC 4193 */
		memcpy(&a->v6.sin6_addr.s6_addr[1], drawn, sizeof(drawn));
	}
	return 0;
}

static int bind_anywhere(int fd, const struct inet_state *s, const union inet_sockaddr *a, int on)
{
	if (s->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)) < 0)
		return -errno;
	return bind(fd, &a->any, inet_size(a)) < 0 ? -errno : 0;
}

/* The head of the packet that could not be delivered, as the message quotes it: of a ping, the question with its number. */
static size_t quote(
	const struct inet_state *s, const union inet_sockaddr *from, const union inet_sockaddr *to, uint8_t *at)
{
	const bool six = s->family == AF_INET6;
	const struct ip6_hdr h6 = { .ip6_flow = htonl(6u << 28),
		.ip6_plen = htons(QUOTED_HEADER),
		.ip6_nxt = (uint8_t)s->protocol,
		.ip6_hlim = 64,
		.ip6_src = from->v6.sin6_addr,
		.ip6_dst = to->v6.sin6_addr };
	const struct iphdr h4 = { .version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(h4) + QUOTED_HEADER),
		.ttl = 64,
		.protocol = (uint8_t)s->protocol,
		.saddr = from->v4.sin_addr.s_addr,
		.daddr = to->v4.sin_addr.s_addr };
	const struct icmphdr ping = { .type = six ? ICMP6_ECHO_REQUEST : ICMP_ECHO, .un.echo.id = from->v4.sin_port };
	const size_t size = six ? sizeof(h6) : sizeof(h4);

	memcpy(at, six ? (const void *)&h6 : &h4, size);
	memset(at + size, 0, QUOTED_HEADER);
	if (s->type == SOCK_DGRAM)
		memcpy(at + size, &ping, sizeof(ping));
	return size + QUOTED_HEADER;
}

static int send_message(
	struct restore *r, int fd, const struct inet_state *s, const union inet_sockaddr *from, uint64_t error)
{
	uint8_t data[sizeof(struct icmp6_hdr) + sizeof(struct ip6_hdr) + QUOTED_HEADER] = { 0 };
	union inet_sockaddr peer = { 0 };
	struct inet_packet p = { .data = data,
		.ttl = 64,
		.checksum = 2,
		.protocol = s->family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP };
	_cleanup_fd_ int raw = -1;
	int err = draw_address(s, &peer);

	p.from = p.to = loopback(s);
	if (s->type == SOCK_DGRAM && !is_any(from))
		p.to = *from;
	if (!err && !inet_errors_message(error, s->family == AF_INET6, true, &data[0], &data[1]))
		err = -EBADMSG;
	p.size = sizeof(struct icmp6_hdr) + quote(s, from, &peer, data + sizeof(struct icmp6_hdr));
	raw = err ? err : inet_packet_socket(r->root_pid, &p.to);
	if (raw < 0)
		return raw;
	err = inet_packet_send(raw, &p);
	for (int ms = 0; !err && !socket_has_error(fd); ms++) {
		if (ms == WAIT_MS)
			return -ETIMEDOUT;
		poll(NULL, 0, 1);
	}
	return err;
}

static int tell(struct restore *r, int fd, const struct inet_state *s, const union inet_sockaddr *local, uint64_t error)
{
	int err = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0 ? -errno : ask_for_all(fd, s, true);

	if (!err)
		err = send_message(r, fd, s, local, error);
	return err ? err : ask_for_all(fd, s, false);
}

/* Such a message comes to all sockets of that protocol that have these two addresses: so this one has for the moment one that nobody has. */
static int tell_raw(struct restore *r, int fd, const struct inet_state *s, uint64_t error)
{
	const union inet_sockaddr none = { .any.sa_family = (sa_family_t)s->family };
	union inet_sockaddr own;
	int err = draw_address(s, &own);

	if (!err)
		err = bind_anywhere(fd, s, &own, true);
	if (!err)
		err = tell(r, fd, s, &own, error);
	return err ? err : bind_anywhere(fd, s, &none, false);
}

/* One that pings is found by its number. */
static int tell_ping(struct restore *r, int fd, const struct inet_state *s, uint64_t error)
{
	union inet_sockaddr own = { 0 };
	socklen_t size = sizeof(own);

	return getsockname(fd, &own.any, &size) < 0 ? -errno : tell(r, fd, s, &own, error);
}

int raw_error_make(struct restore *r, int fd, const struct inet_state *s, uint64_t error)
{
	struct inet_text name = inet_name(s);
	int err = s->type == SOCK_RAW ? tell_raw(r, fd, s, error) : tell_ping(r, fd, s, error);

	return err ? failed(r->ps, BLAME(.object = name.s), err, "its error cannot be made again: %s", strerror(-err))
		   : 0;
}
