/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_multicast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define SOURCES_MAX 4096

struct filter {
	union {
		struct group_filter f;
		uint8_t room[GROUP_FILTER_SIZE(SOURCES_MAX)];
	};
};

static char *ip_text(const struct sockaddr_storage *a)
{
	struct inet_address text = { 0 };

	return inet_to_text((const void *)a, &text) < 0 ? NULL : text.ip;
}

static int add(int fd, struct inet_state *s, const struct group_filter *f)
{
	struct ifreq interface = { .ifr_ifindex = (int)f->gf_interface };
	struct inet_membership *grown = reallocarray(s->memberships, s->n_memberships + 1, sizeof(*grown)), *m;

	if (!grown)
		return -ENOMEM;
	s->memberships = grown;
	m = &grown[s->n_memberships++];
	*m = (struct inet_membership){ .group = ip_text(&f->gf_group), .exclude = f->gf_fmode == MCAST_EXCLUDE };
	if (ioctl(fd, SIOCGIFNAME, &interface) < 0)
		return -errno;
	m->interface = strndup(interface.ifr_name, sizeof(interface.ifr_name));
	m->sources = calloc(f->gf_numsrc + 1, sizeof(*m->sources));
	if (!m->group || !m->interface || !m->sources)
		return -ENOMEM;
	for (; m->n_sources < f->gf_numsrc; m->n_sources++) {
		m->sources[m->n_sources].ip = ip_text(&f->gf_slist[m->n_sources]);
		if (!m->sources[m->n_sources].ip)
			return -ENOMEM;
	}
	return 0;
}

/* EADDRNOTAVAIL: not of this socket. */
static int ask(int fd, struct inet_state *s, const union inet_sockaddr *group, unsigned int index)
{
	_cleanup_free_ struct filter *filter = calloc(1, sizeof(*filter));
	socklen_t size = sizeof(*filter);

	if (!filter)
		return -ENOMEM;
	filter->f.gf_interface = index;
	memcpy(&filter->f.gf_group, group, sizeof(*group));
	filter->f.gf_numsrc = SOURCES_MAX;
	if (getsockopt(fd, group->any.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, filter, &size) <
		0)
		return 0;
	if (filter->f.gf_numsrc > SOURCES_MAX)
		return -E2BIG;
	return add(fd, s, &filter->f);
}

static FILE *open_list(int pid, const char *name)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, name);
	return fopen(path, "re");
}

/* "2	eth0      :     1      V3", and for each group of it "				010000E0     1 0:00000000		0" */
static int read_v4(int pid, int fd, struct inet_state *s)
{
	_cleanup_file_ FILE *f = open_list(pid, "igmp");
	unsigned int index = 0, group;
	char line[256];
	int err = 0;

	while (f && !err && fgets(line, sizeof(line), f)) {
		union inet_sockaddr a = { .v4.sin_family = AF_INET };

		if (line[0] != '\t') {
			index = (unsigned int)strtoul(line, NULL, 10);
			continue;
		}
		if (sscanf(line, "%x", &group) != 1)
			continue;
		a.v4.sin_addr.s_addr = group; /* printed as it lies in memory */
		err = ask(fd, s, &a, index);
	}
	return err;
}

/* "1    lo              ff020000000000000000000000000001     1 0000000C 0" */
static int read_v6(int pid, int fd, struct inet_state *s)
{
	_cleanup_file_ FILE *f = open_list(pid, "igmp6");
	char line[256], hex[33];
	unsigned int index;
	int err = 0;

	while (f && !err && fgets(line, sizeof(line), f)) {
		union inet_sockaddr a = { .v6.sin6_family = AF_INET6 };
		bool good = sscanf(line, "%u %*s %32[0-9a-f]", &index, hex) == 2 && strlen(hex) == 32;

		for (int i = 0; i < 16 && good; i++)
			good = sscanf(hex + 2 * i, "%2hhx", &a.v6.sin6_addr.s6_addr[i]) == 1;
		if (good)
			err = ask(fd, s, &a, index);
	}
	return err;
}

int inet_memberships_read(int pid, int fd, struct inet_state *s)
{
	int err;

	if (s->type == SOCK_STREAM)
		return 0;
	err = read_v4(pid, fd, s);
	return err || s->family != AF_INET6 ? err : read_v6(pid, fd, s);
}

/* --- restore --- */

static int address_of(const char *text, struct sockaddr_storage *to)
{
	struct inet_address a = { .ip = (char *)text };

	return inet_from_text(text && strchr(text, ':') ? AF_INET6 : AF_INET, &a, (void *)to);
}

static int join_sources(int fd, int level, unsigned int index, const struct inet_membership *m)
{
	for (size_t i = 0; i < m->n_sources; i++) {
		struct group_source_req req = { .gsr_interface = index };

		if (address_of(m->group, &req.gsr_group) < 0 || address_of(m->sources[i].ip, &req.gsr_source) < 0)
			return -EBADMSG;
		if (setsockopt(fd, level, m->exclude ? MCAST_BLOCK_SOURCE : MCAST_JOIN_SOURCE_GROUP, &req,
			    sizeof(req)) < 0)
			return -errno;
	}
	return 0;
}

static int join(int fd, const struct inet_membership *m)
{
	struct ifreq interface = { 0 };
	struct group_req req = { 0 };
	int level;

	if (!m->interface || address_of(m->group, &req.gr_group) < 0)
		return -EBADMSG;
	level = req.gr_group.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	strncpy(interface.ifr_name, m->interface, sizeof(interface.ifr_name) - 1);
	if (ioctl(fd, SIOCGIFINDEX, &interface) < 0)
		return -errno;
	req.gr_interface = (unsigned int)interface.ifr_ifindex;
	if (m->exclude && setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) < 0)
		return -errno;
	return join_sources(fd, level, req.gr_interface, m);
}

int inet_memberships_write(struct problems *ps, int fd, const struct inet_state *s)
{
	for (size_t i = 0; i < s->n_memberships; i++) {
		const struct inet_membership *m = &s->memberships[i];
		int err = join(fd, m);

		if (err)
			return failed(ps, BLAME(.object = m->group ? m->group : "multicast group"), err,
				"the group cannot be joined on %s: %s", m->interface ? m->interface : "no interface",
				strerror(-err));
	}
	return 0;
}
