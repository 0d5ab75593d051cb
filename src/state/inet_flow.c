/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_flow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/in6.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/files.h"
#include "state/inet.h"
#include "state/kernel_view.h"
#include "state/socket_hidden.h"

#define OPTION_FLOWLABEL_MGR 32 /* IPV6_FLOWLABEL_MGR: the kernel's headers and the C library's exclude each other */
#define MOST_LABELS	     4096
#define LABELS		     (1u << 20)
#define WAIT_MS		     20000
#define ENDED_MS	     2000

const struct field inet_flow_label_fields[] = {
	FIELD_UINT(struct inet_flow_label, label, "label", "the label"),
	FIELD_UINT(
		struct inet_flow_label, share, "share", "1 nobody else may have it, 3 those of that user, 255 anybody"),
	FIELD_UINT(struct inet_flow_label, uid, "uid", "that user"),
	FIELD_UINT(struct inet_flow_label, linger, "linger", "for how many seconds it stays when it is given back"),
	FIELD_UINT(struct inet_flow_label, expires, "expires", "for how many seconds it stays at least"),
	FIELD_STRING(struct inet_flow_label, to, "to", "to whom it leads"),
	FIELD_END,
};

/* A line of the list: "12345 1 0      1      6      4        20010db8000000000000000000000001 0" */
struct line {
	unsigned int label, share, users, options;
	long owner, linger, expires;
	char to[33];
};

/* 1: it is there. */
static int find_line(int pid, uint64_t label, struct line *l)
{
	char path[48], text[256];
	_cleanup_file_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/net/ip6_flowlabel", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(text, sizeof(text), f))
		if (sscanf(text, "%x %u %ld %u %ld %ld %32s %u", &l->label, &l->share, &l->owner, &l->users, &l->linger,
			    &l->expires, l->to, &l->options) == 8 &&
			l->label == label)
			return 1;
	return 0;
}

/* --- checkpoint --- */

static int text_of(const char *digits, char **out)
{
	struct in6_addr ip = { 0 };
	char text[INET6_ADDRSTRLEN];
	unsigned int byte;

	for (size_t i = 0; i < sizeof(ip); i++) {
		if (sscanf(digits + 2 * i, "%2x", &byte) != 1)
			return -EBADMSG;
		ip.s6_addr[i] = (uint8_t)byte;
	}
	*out = inet_ntop(AF_INET6, &ip, text, sizeof(text)) ? strdup(text) : NULL;
	return *out ? 0 : -ENOMEM;
}

static int add_label(struct capture *c, const struct file_look *f, uint64_t label, struct inet_hidden *s)
{
	struct inet_flow_label *grown = reallocarray(s->labels, s->n_labels + 1, sizeof(*grown)), *l;
	struct line line = { 0 };
	int err;

	if (!grown)
		return -ENOMEM;
	s->labels = grown;
	err = find_line(tree_living(c->tree), label, &line);
	if (err < 1)
		return err ? err : -ENOENT;
	if (line.options || line.share == IPV6_FL_S_PROCESS)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program give it back (IPV6_FL_A_PUT)"),
			line.options ? "a flow label that it has leased with options (IPV6_FLOWLABEL_MGR)"
				     : "a flow label that it has leased for one process (IPV6_FL_S_PROCESS)");
	l = &grown[s->n_labels++];
	*l = (struct inet_flow_label){ .label = label,
		.share = line.share,
		.uid = line.share == IPV6_FL_S_USER ? (uint64_t)line.owner : 0,
		.linger = (uint64_t)MAX(line.linger, 0l),
		.expires = (uint64_t)MAX(line.expires, 0l) + 1 /* of the last, a part */ };
	return text_of(line.to, &l->to);
}

/* The last one that it leased comes first. */
static int add_leased(struct capture *c, const struct file_look *f, uint64_t at, struct inet_hidden *s)
{
	uint64_t labels[MOST_LABELS], label = 0, place = 0;
	size_t n = 0;
	int err = 0;

	while (at && !err) {
		err = n < MOST_LABELS ? kernel_peek_member(c->kernel, at, "ipv6_fl_socklist", "fl", &place) : -E2BIG;
		if (!err)
			err = kernel_peek_member(c->kernel, place, "ip6_flowlabel", "label", &label);
		if (!err)
			labels[n++] = ntohl((uint32_t)label);
		if (!err)
			err = kernel_peek_member(c->kernel, at, "ipv6_fl_socklist", "next", &at);
	}
	while (n && !err)
		err = add_label(c, f, labels[--n], s);
	return err;
}

/* A connection may also answer with the labels that it gets: of what it is asked for then it tells nothing but the label. */
static bool reflects(int fd)
{
	struct in6_flowlabel_req request = { 0 };
	socklen_t size = sizeof(request);

	return getsockopt(fd, IPPROTO_IPV6, OPTION_FLOWLABEL_MGR, &request, &size) == 0 && !request.flr_share;
}

static bool sends_by_one(int fd)
{
	struct sockaddr_in6 peer = { 0 };
	socklen_t size = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin6_family == AF_INET6 &&
	       ntohl(peer.sin6_flowinfo) & (LABELS - 1);
}

int inet_flow_capture(struct capture *c, const struct file_look *f, int fd, struct inet_hidden *s)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	int err;

	if (reflects(fd))
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program take it back (IPV6_FL_A_PUT)"),
			"a flow label that it answers with (IPV6_FL_F_REFLECT)");
	if (!h->known && sends_by_one(fd))
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"a flow label that it sends by, and whose lease cannot be read here");
	err = add_leased(c, f, h->flow_labels ? h->flow_labels : h->ipv6_flow_labels, s);
	return err && err != -ENOMEM && err != -ENOTSUP
		       ? refused(c->ps, BLAME_FILE(f),
				 "a flow label that it has leased (IPV6_FLOWLABEL_MGR) cannot be read")
		       : err;
}

/* --- restore --- */

struct lease {
	int fd;
	const struct inet_flow_label *l;
};

/* The user is that of who asks. */
static int lease(void *arg)
{
	const struct lease *a = arg;
	struct in6_flowlabel_req request = { .flr_label = htonl((uint32_t)a->l->label),
		.flr_action = IPV6_FL_A_GET,
		.flr_share = (uint8_t)a->l->share,
		.flr_flags = IPV6_FL_F_CREATE,
		.flr_expires = (uint16_t)MIN(a->l->expires, (uint64_t)UINT16_MAX),
		.flr_linger = (uint16_t)MIN(a->l->linger, (uint64_t)UINT16_MAX) };

	if (!a->l->to || inet_pton(AF_INET6, a->l->to, &request.flr_dst) != 1)
		return -EBADMSG;
	if (a->l->share == IPV6_FL_S_USER && syscall(SYS_setresuid, -1, (uid_t)a->l->uid, -1) < 0)
		return -errno;
	return setsockopt(a->fd, IPPROTO_IPV6, OPTION_FLOWLABEL_MGR, &request, sizeof(request)) < 0 ? -errno : 0;
}

/*
 * What a tree that was killed had to itself stays for a while; to ask for it makes that longer. Its sockets, too, have it for a moment after their end.
 * -EADDRINUSE: somebody has it; -EAGAIN: it stays for long.
 */
static int await_label(int pid, const struct inet_flow_label *l)
{
	struct line line = { 0 };
	int found = 0;

	if (l->share != IPV6_FL_S_EXCL)
		return 0;
	for (int ms = 0; ms < WAIT_MS; ms += 20) {
		found = find_line(pid, l->label, &line);
		if (found < 1)
			return 0;
		if (line.users && ms >= ENDED_MS)
			return -EADDRINUSE;
		poll(NULL, 0, 20);
	}
	return -EAGAIN;
}

int inet_flow_lease(struct restore *r, int fd, const struct inet_state *s)
{
	struct inet_text name = inet_name(s);
	int err = 0;

	for (size_t i = 0; i < s->hidden.n_labels && !err; i++) {
		struct lease a = { fd, &s->hidden.labels[i] };

		err = a.l->label < LABELS && (a.l->share == IPV6_FL_S_EXCL || a.l->share == IPV6_FL_S_USER ||
						     a.l->share == IPV6_FL_S_ANY)
			      ? await_label(r->root_pid, a.l)
			      : -EBADMSG;
		if (!err)
			err = call_in_child(lease, &a);
	}
	if (err == -EADDRINUSE || err == -EAGAIN || err == -EPERM)
		return failed(r->ps,
			BLAME(.object = name.s, .remedy = err == -EAGAIN ? "restore it a little later" : NULL), err,
			"a flow label that it had leased is taken");
	return err ? failed(r->ps, BLAME(.object = name.s), err, "a flow label cannot be leased again: %s",
			     strerror(-err))
		   : 0;
}
