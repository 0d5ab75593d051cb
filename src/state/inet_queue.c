/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"

#define LARGEST	 (64ul << 10)
#define UDP_GRO	 104
#define LOOPBACK 1 /* index of the first interface of every network namespace */

const struct field inet_message_fields[] = {
	FIELD_BLOB(struct inet_message, data, "data", "its bytes"),
	FIELD_STRUCT(struct inet_message, from, "from", inet_address_fields, "the sender"),
	FIELD_STRING(struct inet_message, to, "to", "the address that it was sent to"),
	FIELD_UINT(struct inet_message, ttl, "ttl", "time to live, or hop limit"),
	FIELD_UINT(struct inet_message, tos, "tos", "type of service, or traffic class"),
	FIELD_END,
};

/* As the child leaves it; its bytes follow. */
struct piece {
	size_t size;
	union inet_sockaddr from, to;
	int ttl, tos, interface, segment;
	in_port_t port;
};

struct peeking {
	int fd;
	char *area;
	size_t size, used;
};

/* Each of these tells more of a message. */
static const struct {
	int level, name, wanted;
} asked[] = {
	{ SOL_SOCKET, SO_PEEK_OFF, 0 },
	{ IPPROTO_IP, IP_PKTINFO, 1 },
	{ IPPROTO_IP, IP_RECVTTL, 1 },
	{ IPPROTO_IP, IP_RECVTOS, 1 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 1 },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1 },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, 1 },
};

static int number(const struct cmsghdr *c)
{
	int value = 0;

	memcpy(&value, CMSG_DATA(c), MIN(c->cmsg_len - CMSG_LEN(0), sizeof(value)));
	return value;
}

static void read_v4(const struct cmsghdr *c, struct piece *p)
{
	struct in_pktinfo info;
	struct sockaddr_in at;

	switch (c->cmsg_type) {
	case IP_PKTINFO:
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		if (p->to.any.sa_family)
			break; /* IPv6 has told */
		p->to.v4.sin_family = AF_INET;
		p->to.v4.sin_addr = info.ipi_addr;
		p->interface = info.ipi_ifindex;
		break;
	case IP_RECVORIGDSTADDR:
		memcpy(&at, CMSG_DATA(c), sizeof(at));
		p->port = ntohs(at.sin_port);
		break;
	case IP_TTL:
		p->ttl = number(c);
		break;
	case IP_TOS:
		p->tos = number(c);
		break;
	default:
		break;
	}
}

static void read_v6(const struct cmsghdr *c, struct piece *p)
{
	struct in6_pktinfo info;
	struct sockaddr_in6 at;

	switch (c->cmsg_type) {
	case IPV6_PKTINFO:
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		p->to.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr };
		p->interface = (int)info.ipi6_ifindex;
		break;
	case IPV6_RECVORIGDSTADDR:
		memcpy(&at, CMSG_DATA(c), sizeof(at));
		p->port = ntohs(at.sin6_port);
		break;
	case IPV6_HOPLIMIT:
		p->ttl = number(c);
		break;
	case IPV6_TCLASS:
		p->tos = number(c);
		break;
	default:
		break;
	}
}

/* 1: there may be more. */
static int peek_one(struct peeking *k)
{
	struct piece *p = (void *)(k->area + k->used);
	union {
		char bytes[1024];
		struct cmsghdr align;
	} control;
	struct iovec iov = { p + 1, LARGEST };
	struct msghdr msg = { .msg_name = &p->from,
		.msg_namelen = sizeof(p->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t n;

	if (k->size - k->used < sizeof(*p) + LARGEST) {
		void *more = mremap(k->area, k->size, 2 * k->size, MREMAP_MAYMOVE);

		if (more == MAP_FAILED)
			return -errno;
		k->area = more;
		k->size *= 2;
		return 1;
	}
	memset(p, 0, sizeof(*p));
	n = recvmsg(k->fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	p->size = (size_t)n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == IPPROTO_IP)
			read_v4(c, p);
		else if (c->cmsg_level == IPPROTO_IPV6)
			read_v6(c, p);
		else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			p->segment = number(c);
	}
	k->used += ALIGN_UP(sizeof(*p) + p->size, 16ul);
	return 1;
}

static int peek_all(void *arg)
{
	struct peeking *k = arg;
	int before[ARRAY_SIZE(asked)], r;
	socklen_t size;

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		size = sizeof(before[i]);
		if (getsockopt(k->fd, asked[i].level, asked[i].name, &before[i], &size) < 0)
			before[i] = INT32_MIN;
		else if (before[i] != asked[i].wanted)
			setsockopt(k->fd, asked[i].level, asked[i].name, &asked[i].wanted, sizeof(int));
	}
	do
		r = peek_one(k);
	while (r == 1);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		if (before[i] != INT32_MIN && (before[i] != asked[i].wanted || asked[i].name == SO_PEEK_OFF))
			setsockopt(k->fd, asked[i].level, asked[i].name, &before[i], sizeof(int));
	return r;
}

static bool is_multicast(const union inet_sockaddr *a)
{
	struct in6_addr ip = inet_ip(a);

	if (IN6_IS_ADDR_V4MAPPED(&ip))
		return ip.s6_addr[12] >= 224;
	return IN6_IS_ADDR_MULTICAST(&ip);
}

static int keep_one(const struct piece *p, const void *data, size_t size, struct inet_queue *q)
{
	struct inet_message *grown = reallocarray(q->list, q->n + 1, sizeof(*grown)), *m;
	struct inet_address to = { 0 };
	int err;

	if (!grown)
		return -ENOMEM;
	q->list = grown;
	m = &grown[q->n++];
	*m = (struct inet_message){ .ttl = (uint64_t)p->ttl, .tos = (uint64_t)p->tos, .data.size = size };
	m->data.data = malloc(size ? size : 1);
	if (!m->data.data)
		return -ENOMEM;
	memcpy(m->data.data, data, size);
	q->elsewhere |= p->interface != LOOPBACK || is_multicast(&p->to);
	err = inet_to_text(&p->from, &m->from);
	if (!err)
		err = inet_to_text(&p->to, &to);
	m->to = to.ip;
	return err;
}

static int keep(const struct piece *p, struct inet_queue *q)
{
	const size_t segment = p->segment > 0 && (size_t)p->segment < p->size ? (size_t)p->segment : p->size;
	size_t at = 0;
	int err;

	q->buffers++;
	q->segments |= segment < p->size;
	q->ports |= q->port && q->port != p->port;
	q->port = p->port;
	do {
		err = keep_one(p, (const char *)(p + 1) + at, MIN(segment, p->size - at), q);
		if (!err)
			q->list[q->n - 1].begins = !at;
		at += segment;
	} while (!err && at < p->size);
	return err;
}

int inet_queue_read(int fd, struct inet_queue *out)
{
	struct peeking k = { .fd = fd, .size = 4 * LARGEST };
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	int err;

	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLIN))
		return 0;
	k.area = mmap(NULL, k.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k.area == MAP_FAILED)
		return -errno;
	err = call_in_child(peek_all, &k);
	for (size_t at = 0; at < k.used && !err;) {
		const struct piece *p = (const void *)(k.area + at);

		err = keep(p, out);
		at += ALIGN_UP(sizeof(*p) + p->size, 16ul);
	}
	munmap(k.area, k.size);
	return err;
}
