/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that other programs have sent to a netlink socket, and that it has not read: netlink(7). */

#include "unix.h"

#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

enum { LARGE = 20000 };

static int fd = -1, sender = -1, twin = -1;
static struct sockaddr_nl here, there;
static uint32_t gone, ended, group;
static char large[LARGE], got[LARGE + 8];

static int with_port(struct sockaddr_nl *a)
{
	socklen_t size = sizeof(*a);
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);

	*a = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	if (s < 0 || bind(s, (struct sockaddr *)a, sizeof(*a)) || getsockname(s, (struct sockaddr *)a, &size))
		return -1;
	return s;
}

static int tell(int from, const struct sockaddr_nl *to, const void *data, size_t size)
{
	SAME(sendto(from, data, size, 0, (const struct sockaddr *)to, sizeof(*to)), size);
	return 0;
}

static int kid_make(struct maker_ctx *ctx)
{
	CHECK(!setresgid(77, -1, -1) && !setresuid(88, -1, -1));
	return tell(sender, &here, "of a child", 10);
}

/* By a socket that is there, by one that is closed, by a child that has ended. */
static int told_make(struct maker_ctx *ctx)
{
	struct sockaddr_nl a;
	int on = 1, other;
	pid_t p;

	fd = with_port(&here);
	sender = with_port(&there);
	other = with_port(&a);
	CHECK(fd >= 0 && sender >= 0 && other >= 0);
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	gone = a.nl_pid;
	TRY(tell(sender, &here, "first", 5));
	fill(large, sizeof(large), 6);
	TRY(tell(other, &here, large, sizeof(large)));
	TRY(tell(fd, &here, "to itself", 9));
	p = fork();
	if (!p)
		_exit(kid_make(ctx));
	ended = (uint32_t)p;
	TRY(reap_ok(p));
	TRY(tell(sender, &here, "abc", 3));
	return close(other);
}

static int hears_of(const void *data, size_t size, uint32_t port, uint32_t of, pid_t pid, gid_t gid)
{
	union {
		char bytes[256];
		struct cmsghdr align;
	} control;
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { got, sizeof(got) };
	struct msghdr msg = { .msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct nl_pktinfo info = { 0 };
	struct ucred creds = { 0 };

	SAME(recvmsg(fd, &msg, MSG_DONTWAIT), size);
	CHECK(!memcmp(got, data, size));
	SAME(from.nl_pid, port);
	SAME(from.nl_groups, of ? 1u << (of - 1) : 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_PKTINFO)
			memcpy(&info, CMSG_DATA(c), sizeof(info));
		else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&creds, CMSG_DATA(c), sizeof(creds));
		else
			return maker_fail(__FILE__, __LINE__, "nothing else is told");
	SAME(info.group, of);
	SAME(creds.pid, pid);
	SAME(creds.uid, gid ? 88 : 0);
	SAME(creds.gid, gid);
	return 0;
}

static int told_use(struct maker_ctx *ctx)
{
	TRY(hears_of("first", 5, there.nl_pid, 0, getpid(), 0));
	TRY(hears_of(large, sizeof(large), gone, 0, getpid(), 0));
	TRY(hears_of("to itself", 9, here.nl_pid, 0, getpid(), 0));
	TRY(hears_of("of a child", 10, there.nl_pid, 0, (pid_t)ended, 77));
	TRY(hears_of("abc", 3, there.nl_pid, 0, getpid(), 0));
	SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	TRY(tell(sender, &here, "again", 5));
	return hears_of("again", 5, there.nl_pid, 0, getpid(), 0);
}

/* To a group; a twin has read it, and is not told again. */
static int group_make(struct maker_ctx *ctx)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = INT32_MAX };
	int on = 1;

	group = 1 + (uint32_t)(now_ns(CLOCK_MONOTONIC) >> 8) % 31; /* others run beside it */
	to.nl_groups = 1u << (group - 1);

	fd = with_port(&here);
	twin = with_port(&there);
	sender = with_port(&there);
	CHECK(fd >= 0 && twin >= 0 && sender >= 0);
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	CHECK(!setsockopt(fd, SOL_NETLINK, NETLINK_PKTINFO, &on, sizeof(on)));
	NEED(!setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	CHECK(!setsockopt(twin, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	sendto(sender, "to all", 6, 0, (struct sockaddr *)&to, sizeof(to)); /* and to a port that nobody has */
	TRY(tell(sender, &here, "to one", 6));
	to.nl_pid = here.nl_pid;
	TRY(tell(sender, &to, "to both", 7));
	SAME(recv(twin, got, sizeof(got), MSG_DONTWAIT), 6);
	SAME(recv(twin, got, sizeof(got), MSG_DONTWAIT), 7);
	return 0;
}

static int group_use(struct maker_ctx *ctx)
{
	TRY(hears_of("to all", 6, there.nl_pid, group, getpid(), 0));
	TRY(hears_of("to one", 6, there.nl_pid, 0, getpid(), 0));
	TRY(hears_of("to both", 7, there.nl_pid, group, getpid(), 0));
	SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	SAME(recv(twin, got, sizeof(got), MSG_DONTWAIT), -1);
	return 0;
}

/* --- notifications of the kernel; arg: bit 0: of a socket that is not to be told that it has missed some, bit 1: a message of a program between them --- */

struct rule_message {
	struct nlmsghdr h;
	struct fib_rule_hdr rule;
	struct {
		struct rtattr a;
		uint32_t value;
	} priority;
};

/* Of routing, for a moment, by a table that is empty: nobody is led otherwise. */
static int rule(int by, uint16_t type, uint32_t number)
{
	struct rule_message m = {
		.h = { sizeof(m), type, NLM_F_REQUEST | NLM_F_ACK, 1, 0 },
		.rule = { .family = AF_INET, .table = 251, .action = FR_ACT_TO_TBL },
		.priority = { { sizeof(m.priority), FRA_PRIORITY }, number },
	};
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} answer;

	SAME(send(by, &m, sizeof(m), 0), sizeof(m));
	CHECK(recv(by, &answer, sizeof(answer), 0) > 0);
	SAME(answer.h.nlmsg_type, NLMSG_ERROR);
	return answer.e.error;
}

static int change_rules(void)
{
	const uint32_t number =
		100000 + (uint32_t)(now_ns(CLOCK_MONOTONIC) >> 8) % 1000000000; /* others run beside it */
	int by = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	CHECK(by >= 0);
	NEED(!rule(by, RTM_NEWRULE, number));
	SAME(rule(by, RTM_DELRULE, number), 0);
	return close(by);
}

/* A port of its own: others run beside it, in the same network, each as process 2 of its container, which would be the kernel's choice. */
static int route_socket(int *s, struct sockaddr_nl *a)
{
	*s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	*a = (struct sockaddr_nl){ .nl_family = AF_NETLINK,
		.nl_pid = 1u << 30 | (uint32_t)(now_ns(CLOCK_MONOTONIC) >> 8) % (1u << 30) };
	CHECK(*s >= 0 && !bind(*s, (struct sockaddr *)a, sizeof(*a)));
	return 0;
}

static int listen_route(void)
{
	int of = RTNLGRP_IPV4_RULE;

	TRY(route_socket(&sender, &there));
	TRY(route_socket(&fd, &here));
	return setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &of, sizeof(of));
}

static int notified_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(listen_route());
	if (ctx->arg & 1)
		CHECK(!setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on)));
	TRY(change_rules());
	if (ctx->arg & 2)
		TRY(tell(sender, &here, "between", 7));
	return ctx->arg & 2 ? change_rules() : 0;
}

static ssize_t hear(void)
{
	return recv(fd, got, sizeof(got), 0);
}

static int is_notified(void)
{
	while (hear() > 0)
		;
	SAME(errno, EAGAIN);
	TRY(change_rules());
	CHECK(hear() > (ssize_t)sizeof(struct fib_rule_hdr));
	SAME(((struct nlmsghdr *)(void *)got)->nlmsg_type, RTM_NEWRULE);
	return 0;
}

/* They are there, or it is told that they are not. */
static int notified_use(struct maker_ctx *ctx)
{
	ssize_t n = hear();

	if (n < 0) {
		SAME(errno, ENOBUFS);
		if (ctx->arg & 2)
			SAME(hear(), 7);
	}
	return is_notified();
}

/* Told by the kernel itself: messages of a program fill it, and a notification is missed. */
static int overrun_make(struct maker_ctx *ctx)
{
	int small = 2304;

	TRY(listen_route());
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	fill(large, 2000, 6);
	TRY(tell(sender, &here, large, 2000));
	return change_rules();
}

static int overrun_use(struct maker_ctx *ctx)
{
	SAME(hear(), -1);
	SAME(errno, ENOBUFS);
	SAME(hear(), 2000);
	TRY(check_fill(got, 2000, 6));
	SAME(hear(), -1);
	SAME(errno, EAGAIN);
	return is_notified();
}

const struct maker makers_netlink[] = {
	ROW("told", "messages of other programs that were not read", told),
	ROW("told-group", "those to a group", group),
	ROW_ARG("notified", "notifications of the kernel that were not read", notified, 0),
	ROW_ARG("notified-between", "and a message between them", notified, 2),
	REFUSED("notified-quiet", "of a socket that is not told what it misses", notified_make, notified_use, 1,
		"not been read"),
	ROW("overrun", "that it has missed a notification", overrun),
	{ 0 },
};
