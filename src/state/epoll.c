/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * epoll(7): which files are watched, under which number, for what; epoll_targets.c finds them. fs/eventpoll.c;
 * tools/testing/selftests/filesystems/epoll.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/descriptors.h"
#include "state/epoll_targets.h"
#include "state/files.h"

struct epoll_target {
	uint64_t fd;
	object_id file;
	uint64_t events;
	uint64_t data;
};

struct epoll_state {
	bool ready;
	uint32_t busy_poll_us, busy_poll_budget;
	bool prefer_busy_poll;
	struct epoll_target *targets;
	size_t n;
};

static const struct field target_fields[] = {
	FIELD_UINT(struct epoll_target, fd, "fd", "number under which it was added"),
	FIELD_REF(struct epoll_target, file, "file", "file", REF_LATE, "the description that is watched"),
	FIELD_HEX(
		struct epoll_target, events, "events", "events and flags; no events: a one-shot target that has fired"),
	FIELD_HEX(struct epoll_target, data, "data", "what epoll_wait returns for it"),
	FIELD_END,
};

static const struct field epoll_fields[] = {
	FIELD_BOOL(struct epoll_state, ready, "ready", "there was something to report"),
	FIELD_UINT(struct epoll_state, busy_poll_us, "busy_poll_us", "EPIOCGPARAMS: how long to poll the network"),
	FIELD_UINT(struct epoll_state, busy_poll_budget, "busy_poll_budget", "packets at once, at most"),
	FIELD_BOOL(struct epoll_state, prefer_busy_poll, "prefer_busy_poll", "its polls come before interrupts"),
	FIELD_LIST(struct epoll_state, targets, n, "targets", target_fields, "in the order of fdinfo"),
	FIELD_END,
};

/* --- checkpoint --- */

static bool epoll_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[eventpoll]");
}

/* Kernels before 6.9 have no such parameters. */
static void capture_busy_poll(int fd, struct epoll_state *s)
{
	struct spore_epoll_params params = { 0 };

	if (ioctl(fd, SPORE_EPIOCGPARAMS, &params) < 0)
		return;
	s->busy_poll_us = params.busy_poll_usecs;
	s->busy_poll_budget = params.busy_poll_budget;
	s->prefer_busy_poll = params.prefer_busy_poll;
}

static int add_target(
	struct capture *c, const struct epoll_watches *all, const struct epoll_watch *w, struct epoll_state *s)
{
	object_id file = epoll_watch_file(c, all, w);

	if (!file && !c->writer)
		return 0; /* the tree runs: it may have been closed a moment ago */
	if (!file)
		return refused(c->ps,
			BLAME_FILE(all->epoll, .remedy = "let the program remove it from the epoll (EPOLL_CTL_DEL)"),
			"watches a file, added as descriptor %d, that no process of the tree has open any "
			"more",
			w->info.fd);
	s->targets[s->n++] = (struct epoll_target){
		.fd = (uint64_t)w->info.fd, .file = file, .events = w->info.events, .data = w->info.data
	};
	return 0;
}

static int capture_targets(struct capture *c, const struct file_look *f, struct epoll_state *s)
{
	_cleanup_(epoll_watches_free)
	struct epoll_watches all = { 0 };
	int err = epoll_watches_read(c, f, &all);

	s->targets = err ? NULL : calloc(all.n + 1, sizeof(*s->targets));
	if (!err && !s->targets)
		err = -ENOMEM;
	for (size_t i = 0; i < all.n && !err; i++)
		err = add_target(c, &all, &all.list[i], s);
	return err;
}

static int epoll_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct pollfd p = { .fd = file_dup(c, f), .events = POLLIN };
	struct epoll_state *s = state;

	if (p.fd < 0)
		return p.fd;
	s->ready = poll(&p, 1, 0) == 1;
	capture_busy_poll(p.fd, s);
	return capture_targets(c, f, s);
}

/* --- restore --- */

static int epoll_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct epoll_state *s = rec->state;
	_cleanup_fd_ int fd = epoll_create1(EPOLL_CLOEXEC);
	const struct spore_epoll_params params = { .busy_poll_usecs = s->busy_poll_us,
		.busy_poll_budget = (uint16_t)s->busy_poll_budget,
		.prefer_busy_poll = s->prefer_busy_poll };

	if (fd < 0)
		return -errno;
	if ((s->busy_poll_us || s->busy_poll_budget || s->prefer_busy_poll) &&
		ioctl(fd, SPORE_EPIOCSPARAMS, &params) < 0)
		return failed(r->ps, BLAME(.object = "epoll"), -errno,
			"its parameters for busy polling cannot be set (Linux 6.9 and later can; more than 64 packets "
			"need CAP_NET_ADMIN): %s",
			strerror(errno));
	return file_settle(take_fd(&fd), file);
}

static int epoll_validate(struct restore *r, const struct record *rec)
{
	const struct epoll_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (s->targets[i].fd >= 1u << 30 || s->targets[i].events > UINT32_MAX)
			return failed(r->ps, BLAME(.object = "epoll"), -EBADMSG,
				"the image has an epoll with an impossible target");
	return 0;
}

/*
 * The number is part of the key under which a target is found, so it is added from inside a task that has the
 * file there: for a moment, if the number is otherwise used or free in this process. A copy of what stands at
 * the number is kept above all others.
 */
static uint32_t ctl_add(struct build *b, int epfd, const struct epoll_target *t)
{
	struct epoll_event event = { .events = (uint32_t)t->events, .data.u64 = t->data };
	struct remote_addr at = batch_copy(b->batch, &event, sizeof(event));

	return batch_call(b->batch, "EPOLL_CTL_ADD", SYS_epoll_ctl, (uint64_t)epfd, EPOLL_CTL_ADD, t->fd, at.v);
}

/* An epoll being filled, from inside a task that has it. */
struct filling {
	struct build *b;
	int epfd;
	const struct descriptors_state *table;
	uint64_t arrival; /* the number at which what is fetched arrives: the lowest free one */
};

static struct filling filling_of(struct build *b, int epfd)
{
	struct filling f = { .b = b, .epfd = epfd, .table = descriptors_of(b->restore, b->process->id) };

	while (f.table && f.arrival < f.table->n && f.table->list[f.arrival].fd == f.arrival)
		f.arrival++;
	if (f.arrival == (uint64_t)b->process->keeper_fd)
		f.arrival++;
	return f;
}

/* saved: the copy of what stood at the number. That may be the epoll itself. */
static void ctl_add_beside(const struct filling *f, const struct epoll_target *t, uint32_t saved)
{
	uint32_t op = ctl_add(f->b, f->epfd, t);

	if ((uint64_t)f->epfd == t->fd)
		batch_use(f->b->batch, op, 0, saved);
}

static void add_fetched(const struct filling *f, int keeper_fd, const struct epoll_target *t, uint32_t saved)
{
	struct batch *b = f->b->batch;
	uint32_t fetched = build_fetch(f->b, "fetching an epoll target", keeper_fd);

	if (f->arrival == t->fd) {
		ctl_add_beside(f, t, saved);
		return;
	}
	batch_use(b, batch_call(b, "dup3 of an epoll target", SYS_dup3, 0, t->fd, O_CLOEXEC), 0, fetched);
	ctl_add_beside(f, t, saved);
	batch_use(b, batch_call(b, "close", SYS_close, 0), 0, fetched);
}

static int add_displacing(const struct filling *f, const struct epoll_target *t, int keeper_fd)
{
	struct batch *b = f->b->batch;
	uint64_t aside = (uint64_t)f->b->process->keeper_fd + 1;
	uint32_t saved, put_back, flags;

	/* Where nothing stands at the number, each of these fails, and nothing has to be put back. */
	flags = batch_call(b, "F_GETFD", SYS_fcntl, t->fd, F_GETFD);
	batch_may_fail(b, flags);
	saved = batch_call(b, "F_DUPFD of what is in the way", SYS_fcntl, t->fd, F_DUPFD_CLOEXEC, aside);
	batch_may_fail(b, saved);
	add_fetched(f, keeper_fd, t, saved);
	batch_call(b, "close", SYS_close, t->fd);
	put_back = batch_call(b, "dup2 back", SYS_dup2, 0, t->fd);
	batch_use(b, put_back, 0, saved);
	batch_may_fail(b, put_back);
	put_back = batch_call(b, "F_SETFD", SYS_fcntl, t->fd, F_SETFD, 0);
	batch_use(b, put_back, 2, flags);
	batch_may_fail(b, put_back);
	put_back = batch_call(b, "close", SYS_close, 0);
	batch_use(b, put_back, 0, saved);
	batch_may_fail(b, put_back);
	return 0;
}

static int add(const struct filling *f, const struct epoll_target *t)
{
	const struct descriptor *now = f->table ? descriptor_at(f->table, t->fd) : NULL;
	int keeper_fd;

	if (now && now->file == t->file) {
		ctl_add(f->b, f->epfd, t);
		return 0;
	}
	keeper_fd = restore_file(f->b->restore, t->file);
	return keeper_fd < 0 ? keeper_fd : add_displacing(f, t, keeper_fd);
}

/* One-shot, and fired: no event is left but the flags. */
static bool is_spent(const struct epoll_target *t)
{
	return !(t->events & ~(uint64_t)(EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE));
}

/* A timer may expire between being added and being drained, and its edge would be lost. */
static bool is_seen_edge(const struct restore *r, const struct epoll_state *s, const struct epoll_target *t)
{
	const struct file_state *file = restore_state(r, t->file, "file");

	return !s->ready && t->events & EPOLLET && file && !restore_state(r, file->backing, "timerfd");
}

/* In the order of work: what has fired, edges that were seen, and all else. */
enum pass { PASS_SPENT, PASS_SEEN, PASS_REST };

static enum pass pass_of(const struct restore *r, const struct epoll_state *s, const struct epoll_target *t)
{
	return is_spent(t) ? PASS_SPENT : is_seen_edge(r, s, t) ? PASS_SEEN : PASS_REST;
}

#define ANYTHING (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDNORM | EPOLLWRNORM | EPOLLRDHUP)

/* It is added for anything, so that it fires at once: only firing turns it off. */
static int add_spent(const struct filling *f, const struct epoll_target *t)
{
	struct epoll_target awake = *t;
	struct pollfd p = { .fd = restore_file(f->b->restore, t->file), .events = POLLIN | POLLOUT | POLLPRI };

	if (p.fd < 0)
		return p.fd;
	if (poll(&p, 1, 0) != 1)
		changed(f->b->ps, BLAME(.pid = f->b->process->vpid, .object = "epoll"),
			"a one-shot target (descriptor %d) that has fired will report errors and hang-ups", (int)t->fd);
	else
		awake.events |= ANYTHING;
	return add(f, &awake);
}

/* What is ready now was so before, and was reported: taken out of the list of the ready. */
static void drain(struct build *b, int epfd, size_t n)
{
	void *local;
	struct remote_addr room = batch_room(b->batch, n * sizeof(struct epoll_event), &local);

	batch_call(b->batch, "epoll_wait", SYS_epoll_wait, (uint64_t)epfd, room.v, n, 0);
}

static int epoll_attach(struct build *b, const struct record *rec, const struct file_state *file, int fd)
{
	const struct epoll_state *s = rec->state;
	const struct filling f = filling_of(b, fd);

	/* Order does not show: the kernel keeps targets in a tree. */
	for (enum pass pass = PASS_SPENT; pass <= PASS_REST; pass++) {
		size_t n = 0;

		for (size_t i = 0; i < s->n; i++) {
			int err = 0;

			if (pass_of(b->restore, s, &s->targets[i]) != pass)
				continue;
			err = pass == PASS_SPENT ? add_spent(&f, &s->targets[i]) : add(&f, &s->targets[i]);
			if (err)
				return err;
			n++;
		}
		if (n && pass != PASS_REST)
			drain(b, fd, n);
	}
	return 0;
}

const struct component component_epoll = {
	.kind = { .name = "epoll",
		.version = 1,
		.size = sizeof(struct epoll_state),
		.fields = epoll_fields,
		.doc = "an epoll and what it watches",
		.sources = "epoll(7); fs/eventpoll.c; tools/testing/selftests/filesystems/epoll" },
	.scope = SCOPE_BACKING,
	.matches = epoll_matches,
	.by_description = true,
	.capture_file = epoll_capture,
	.validate = epoll_validate,
	.open = epoll_open,
	.attach = epoll_attach,
};
