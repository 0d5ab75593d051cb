/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* epoll: who is registered, and what was reported already. epoll(7). */

#include "maker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int fd = -1, fd2 = -1, fds[2];
static pid_t kid;
static int ep = -1;

static int add(int e, int f, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	CHECK(!epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
	return 0;
}

static int wait_one(int e, uint32_t *events, uint64_t *data)
{
	struct epoll_event ev[4] = { 0 };
	int n = epoll_wait(e, ev, 4, 0);

	*events = ev[0].events;
	*data = ev[0].data.u64;
	return n;
}

/* struct epoll_params of linux/eventpoll.h, and EPIOC[SG]PARAMS */
struct busy_poll {
	uint32_t us;
	uint16_t budget;
	uint8_t prefer, pad;
};

static int epoll_busy_make(struct maker_ctx *ctx)
{
	struct busy_poll p = { 50, 16, 1, 0 };

	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	NEED(!ioctl(ep, _IOW(0x8A, 1, struct busy_poll), &p));
	return 0;
}

static int epoll_busy_use(struct maker_ctx *ctx)
{
	struct busy_poll p = { 0 };

	CHECK(!ioctl(ep, _IOR(0x8A, 2, struct busy_poll), &p));
	SAME(p.us, 50);
	SAME(p.budget, 16);
	SAME(p.prefer, 1);
	return 0;
}

/* arg: flags of the one entry, a pipe that has data. */
static int epoll_make(struct maker_ctx *ctx)
{
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0 && !pipe(fds));
	TRY(add(ep, fds[0], (uint32_t)ctx->arg, 0xdeadbeefcafe0001));
	return 0;
}

static int epoll_use(struct maker_ctx *ctx)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5 };
	uint32_t events;
	uint64_t data;

	SAME(fcntl(ep, F_GETFD), FD_CLOEXEC);
	SAME(wait_one(ep, &events, &data), 0);
	SAME(write(fds[1], "a", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 0xdeadbeefcafe0001);
	SAME(events, EPOLLIN);
	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	SAME(write(fds[1], "b", 1), 1);
	SAME(wait_one(ep, &events, &data), ctx->arg & EPOLLONESHOT ? 0 : 1);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev));
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

/* Ready before: level stays, edge was seen or not, one-shot is spent. arg: flags; entry was reported already.
 */

static int epoll_seen_make(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	TRY(epoll_make(ctx));
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

static int epoll_seen_use(struct maker_ctx *ctx)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 6 };
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev));
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 6);
	return 0;
}

static int epoll_unseen_make(struct maker_ctx *ctx)
{
	TRY(epoll_make(ctx));
	SAME(write(fds[1], "x", 1), 1);
	return 0;
}

static int epoll_unseen_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 0xdeadbeefcafe0001);
	SAME(wait_one(ep, &events, &data), ctx->arg & (EPOLLET | EPOLLONESHOT) ? 0 : 1);
	return 0;
}

/* One epoll within another. */
static int epoll_nested_make(struct maker_ctx *ctx)
{
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	fd = epoll_create1(0);
	CHECK(fd >= 0);
	TRY(add(fd, ep, EPOLLIN, 77));
	fd2 = epoll_create1(0);
	CHECK(fd2 >= 0);
	return add(fd2, fd, EPOLLIN, 88);
}

static int epoll_nested_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(fd2, &events, &data), 0);
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(fd2, &events, &data), 1);
	SAME(data, 88);
	SAME(wait_one(fd, &events, &data), 1);
	SAME(data, 77);
	return 0;
}

/* Registered under a number that was closed since; the open file lives on under another. */
static int epoll_closed_make(struct maker_ctx *ctx)
{
	int number;

	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	number = dup(fds[0]);
	TRY(add(ep, number, EPOLLIN, 99));
	CHECK(!close(number));
	return epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL);
}

static int epoll_closed_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(wait_one(ep, &events, &data), 0);
	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	SAME(data, 99);
	return 0;
}

/* The number belongs to another file now, registered as well. */
static int epoll_reused_make(struct maker_ctx *ctx)
{
	int number;

	TRY(epoll_closed_make(ctx));
	number = eventfd(7, 0);
	fd = number;
	return add(ep, number, EPOLLIN, 100);
}

static int epoll_reused_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[4] = { 0 };

	SAME(write(fds[1], "x", 1), 1);
	SAME(epoll_wait(ep, ev, 4, 0), 2);
	SAME(ev[0].data.u64 + ev[1].data.u64, 199);
	return 0;
}

/* The number is the epoll's own since. */
static int epoll_moved_make(struct maker_ctx *ctx)
{
	int number;

	TRY(epoll_closed_make(ctx));
	number = dup(ep);
	CHECK(!close(ep));
	ep = number;
	return 0;
}

static int epoll_many_make(struct maker_ctx *ctx)
{
	ep = epoll_create1(0);
	for (int i = 0; i < 200; i++) {
		int f = eventfd(i % 3 == 0, 0);

		CHECK(f >= 0);
		TRY(add(ep, f, EPOLLIN, (uint64_t)i));
	}
	return 0;
}

static int epoll_many_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[300];
	long sum = 0;

	SAME(epoll_wait(ep, ev, 300, 0), 67);
	for (int i = 0; i < 67; i++)
		sum += (long)ev[i].data.u64;
	SAME(sum, 66 * 67 / 2 * 3);
	return 0;
}

/* Of three numbers one stands for what was registered, one for another eventfd since, and one for another that was registered too. */
enum { REUSED = 150 };
static int number[REUSED], meant[REUSED];

static int epoll_many_reused_make(struct maker_ctx *ctx)
{
	ep = epoll_create1(0);
	for (int i = 0; i < REUSED; i++) {
		int other;

		number[i] = meant[i] = eventfd(0, 0);
		TRY(add(ep, number[i], EPOLLIN, (uint64_t)i));
		if (i % 3 == 0)
			continue;
		meant[i] = dup(number[i]);
		other = eventfd(0, 0);
		CHECK(meant[i] >= 0 && dup2(other, number[i]) >= 0 && !close(other));
		if (i % 3 == 2)
			TRY(add(ep, number[i], EPOLLIN, (uint64_t)i + REUSED));
	}
	return 0;
}

/* How many entries tell of this one alone, and with what. */
static int told_of(int f, uint64_t *data)
{
	uint64_t count = 1;
	uint32_t events;
	int n = -1;

	if (write(f, &count, sizeof(count)) == sizeof(count))
		n = wait_one(ep, &events, data);
	return read(f, &count, sizeof(count)) == sizeof(count) ? n : -1;
}

static int epoll_many_reused_use(struct maker_ctx *ctx)
{
	uint64_t data;

	for (int i = 0; i < REUSED; i++) {
		SAME(told_of(meant[i], &data), 1);
		SAME(data, i);
		if (i % 3 == 0)
			continue;
		SAME(told_of(number[i], &data), i % 3 - 1);
		if (i % 3 == 2)
			SAME(data, i + REUSED);
	}
	return 0;
}

/* One epoll of two processes. */
static int epoll_kid(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	SAME(write(fds[1], "x", 1), 1);
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

static int epoll_shared_make(struct maker_ctx *ctx)
{
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	return kid_start(ctx, NULL, epoll_kid, NULL);
}

static int epoll_shared_use(struct maker_ctx *ctx)
{
	uint32_t events;
	uint64_t data;

	TRY(kids_finish(ctx));
	SAME(wait_one(ep, &events, &data), 1);
	return 0;
}

/* Every kind of descriptor in one epoll, all of them ready later. */
static int epoll_kinds_make(struct maker_ctx *ctx)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	ctx->arg = EPOLLIN;
	TRY(epoll_make(ctx));
	fd = signalfd(-1, &set, 0);
	fd2 = timerfd_create(CLOCK_MONOTONIC, 0);
	TRY(kid_start(ctx, NULL, NULL, &kid));
	TRY(add(ep, fd, EPOLLIN, 1));
	TRY(add(ep, fd2, EPOLLIN, 2));
	TRY(add(ep, pidfd_open(kid, 0), EPOLLIN, 3));
	return add(ep, fds[1], EPOLLERR, 4);
}

static int epoll_kinds_use(struct maker_ctx *ctx)
{
	struct epoll_event ev[8];

	SAME(epoll_wait(ep, ev, 8, 0), 0);
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(!timerfd_settime(fd2, 0, &(struct itimerspec){ .it_value.tv_nsec = 1000000 }, NULL));
	SAME(write(fds[1], "x", 1), 1);
	TRY(kids_finish(ctx));
	CHECK(UNTIL(epoll_wait(ep, ev, 8, 0) >= 4));
	SAME(epoll_wait(ep, ev, 8, 0), 4);
	CHECK(!close(fds[0]));
	return 0;
}

const struct maker makers_epoll[] = {
	{ "level", "an epoll, level-triggered", epoll_make, epoll_use, 0, EPOLLIN },
	{ "edge", "edge-triggered", epoll_make, epoll_use, 0, EPOLLIN | EPOLLET },
	{ "oneshot", "one-shot", epoll_make, epoll_use, 0, EPOLLIN | EPOLLONESHOT },
	{ "exclusive", "exclusive", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN | EPOLLEXCLUSIVE },
	{ "seen", "reported and still ready", epoll_seen_make, epoll_seen_use, 0, EPOLLIN },
	{ "seen-edge", "an edge that was reported", epoll_seen_make, epoll_seen_use, 0, EPOLLIN | EPOLLET },
	{ "seen-oneshot", "one shot, spent", epoll_seen_make, epoll_seen_use, 0, EPOLLIN | EPOLLONESHOT },
	{ "unseen", "ready and not reported", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN },
	{ "unseen-edge", "an edge not reported", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN | EPOLLET },
	{ "unseen-oneshot", "one shot, not spent", epoll_unseen_make, epoll_unseen_use, 0, EPOLLIN | EPOLLONESHOT },
	ROW("busy-poll", "one that polls the network", epoll_busy),
	ROW("nested", "three, one inside the other", epoll_nested),
	ROW("closed", "registered under a number since closed", epoll_closed),
	{ "closed-own", "which is now the epoll's own, and its only one", epoll_moved_make, epoll_closed_use },
	ROW("reused", "a number since used again", epoll_reused),
	ROW("many", "two hundred entries", epoll_many),
	ROW("many-reused", "numbers since used again, among many", epoll_many_reused),
	ROW("shared", "an epoll of two processes", epoll_shared),
	ROW("kinds", "entries of every kind", epoll_kinds),
	{ 0 },
};
