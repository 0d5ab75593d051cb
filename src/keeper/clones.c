/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several trees of one image. This process reads what they are to share, and is the parent of a keeper for each, forked from it before it has a thread. To each it is what
 * a client is, up to the moment at which all of the trees are there; then one step tells all of them (an eventfd, which outlives this process), and it ends. Until that
 * step a tree ends with this process, and with its own keeper; and all of them end with any.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/keeper.h"

#define END_MS 10000 /* for the root of a tree that is not wanted to die */

struct part {
	pid_t keeper;
	int sock; /* -1: not begun, or over */
	int root; /* pidfd of its tree's root, once that is built */
	bool built;
	struct spore_restore_result result;
};

struct serving {
	int client;
	struct request req;
	int fds[REQUEST_N_FDS];
	struct engine_clones *clones;
	struct part *parts;
	unsigned int n, begun, arrived, built;
	int arrive, go, commit; /* eventfds */
	struct problems ps;
	struct spore_problem *told; /* what the client has been told of: each clone says the same */
	size_t n_told;
};

/* --- in a clone's keeper --- */

/* Nothing of the others': an end of a socket that is open here too would hide the death of who has it. */
static int become_keeper(struct serving *s, struct keeper *k, unsigned int which, int sock)
{
	for (unsigned int i = 0; i < s->begun; i++) {
		close_fd(&s->parts[i].sock);
		close_fd(&s->parts[i].root);
	}
	request_close(s->fds);
	close_fd(&s->client);
	if (dup3(sock, KEEPER_SOCKET, O_CLOEXEC) < 0)
		return -errno;
	close(sock);
	setsid();
	k->clones = s->clones;
	k->clone = which;
	k->arrive_fd = s->arrive;
	k->go_fd = s->go;
	k->commit_fd = s->commit;
	free(s->parts);
	free(s->told);
	problems_free(&s->ps);
	return 0;
}

/* --- beginning --- */

static unsigned int most_at_once(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned int)MAX(CPU_COUNT(&set), 1) : 1;
}

/* 1: here, in its keeper. */
static int begin_part(struct serving *s, struct keeper *k)
{
	struct part *p = &s->parts[s->begun];
	struct request req = s->req;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	p->keeper = fork();
	if (p->keeper == 0) {
		close(pair[0]);
		return become_keeper(s, k, s->begun, pair[1]) < 0 ? -EBADF : 1;
	}
	close(pair[1]);
	if (p->keeper < 0) {
		close(pair[0]);
		return -errno;
	}
	p->sock = pair[0];
	s->begun++;
	req.clones = 0;
	return request_send(p->sock, &req, s->fds);
}

/* --- what they say --- */

static bool is_told(const struct serving *s, const struct spore_problem *p)
{
	for (size_t i = 0; i < s->n_told; i++)
		if (!strcmp(s->told[i].text, p->text) && !strcmp(s->told[i].object, p->object) &&
			s->told[i].pid == p->pid)
			return true;
	return false;
}

static void tell(struct serving *s, const struct reply *reply)
{
	struct spore_problem *grown;

	if (is_told(s, &reply->problem))
		return;
	grown = reallocarray(s->told, s->n_told + 1, sizeof(*grown));
	if (grown) {
		s->told = grown;
		s->told[s->n_told++] = reply->problem;
	}
	reply_send(s->client, reply, -1, true);
}

static int keeper_died(struct serving *s, unsigned int which)
{
	return failed(&s->ps, NULL, -EOWNERDEAD, "the keeper of clone %u died", which + 1);
}

static int hear_part(struct serving *s, unsigned int which)
{
	struct part *p = &s->parts[which];
	struct reply reply;
	int r = reply_receive(p->sock, &reply, &p->root);

	if (r < 0 || p->built)
		return keeper_died(s, which);
	if (reply.kind == REPLY_PROBLEM)
		tell(s, &reply);
	else if (reply.kind == REPLY_LOG || reply.kind == REPLY_PROGRESS)
		reply_send(s->client, &reply, -1, false);
	if (reply.kind != REPLY_RESULT)
		return 0;
	if (reply.result == 0 && p->root < 0)
		return -EPROTO;
	p->built = reply.result == 0;
	p->result = reply.restore;
	s->built += p->built;
	return reply.result;
}

static int note_arrivals(struct serving *s)
{
	eventfd_t n = 0;

	if (eventfd_read(s->arrive, &n) == 0)
		s->arrived += (unsigned int)n;
	return s->arrived < s->n || eventfd_write(s->go, 1) == 0 ? 0 : -errno;
}

/* The client has nothing to say before it was answered: what comes is its end. */
static int hear_all(struct serving *s)
{
	struct pollfd *p = calloc(s->begun + 2, sizeof(*p));
	int r = p ? 0 : -ENOMEM;

	for (unsigned int i = 0; p && i < s->begun; i++)
		p[i] = (struct pollfd){ .fd = s->parts[i].sock, .events = POLLIN };
	if (p) {
		p[s->begun] = (struct pollfd){ .fd = s->client, .events = POLLIN };
		p[s->begun + 1] = (struct pollfd){ .fd = s->arrive, .events = POLLIN };
	}
	if (p && poll(p, s->begun + 2, -1) < 0)
		r = errno == EINTR ? 0 : -errno;
	else if (p && p[s->begun].revents)
		r = -ECONNRESET;
	if (r == 0 && p[s->begun + 1].revents)
		r = note_arrivals(s);
	for (unsigned int i = 0; r == 0 && i < s->begun; i++)
		if (p[i].revents)
			r = hear_part(s, i);
	free(p);
	return r;
}

/* --- the end --- */

/* Nothing is left of a tree when the client hears that there is none. */
static void end_all(struct serving *s)
{
	for (unsigned int i = 0; i < s->begun; i++)
		close_fd(&s->parts[i].sock); /* which ends the keeper, and that the tree */
	for (unsigned int i = 0; i < s->begun; i++) {
		struct pollfd end = { .fd = s->parts[i].root, .events = POLLIN };

		while (s->parts[i].keeper > 0 && waitpid(s->parts[i].keeper, NULL, 0) < 0 && errno == EINTR)
			;
		if (s->parts[i].root >= 0)
			poll(&end, 1, END_MS);
	}
}

static _Noreturn void give_up(struct serving *s, int error)
{
	end_all(s);
	report_problems(s->client, &s->ps);
	report_result(s->client, error);
	_exit(1);
}

static int answer(struct serving *s)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < s->n; i++) {
		struct reply reply = { .kind = REPLY_CLONE, .restore = s->parts[i].result };

		r = reply_send(s->client, &reply, s->parts[i].root, true);
	}
	if (r == 0)
		report_result(s->client, 0);
	return r < 0 ? r : result_await_confirmation(s->client);
}

/* That none has died since it was built; from here on the death of one is its own tree's alone. */
static int commit(struct serving *s)
{
	for (unsigned int i = 0; i < s->n; i++) {
		struct pollfd p = { .fd = s->parts[i].sock, .events = POLLIN };

		if (poll(&p, 1, 0) != 0)
			return keeper_died(s, i);
	}
	return eventfd_write(s->commit, 1) < 0 ? -errno : 0;
}

static int await_running(struct serving *s)
{
	int error = 0;

	for (unsigned int i = 0; i < s->n; i++) {
		struct reply reply = { 0 };
		int r = reply_receive(s->parts[i].sock, &reply, NULL);

		r = r < 0 ? keeper_died(s, i) : reply.result;
		error = error ? error : r;
	}
	return error;
}

static _Noreturn void finish(struct serving *s)
{
	int r = answer(s);

	if (r == 0)
		r = commit(s);
	if (r < 0)
		give_up(s, r);
	if (s->req.flags & SPORE_RESTORE_RUN) {
		r = await_running(s);
		report_problems(s->client, &s->ps);
		report_result(s->client, r);
	}
	_exit(0);
}

/* --- all --- */

static int prepare(struct serving *s, struct keeper *k)
{
	struct engine_events events = { .data = k, .progress = report_progress, .log = report_log };
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	if (s->req.call != CALL_RESTORE || !s->req.clones || s->req.clones > SPORE_CLONES_MOST ||
		s->fds[REQUEST_DIR] < 0)
		return -EINVAL;
	s->n = s->req.clones;
	s->parts = calloc(s->n, sizeof(*s->parts));
	s->arrive = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->go = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->commit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->parts || s->arrive < 0 || s->go < 0 || s->commit < 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->n; i++)
		s->parts[i].sock = s->parts[i].root = -1;
	if (getsockopt(s->client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
		k->restorer_fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	k->job.sock = s->client; /* who is told of progress */
	return engine_clones_make(
		s->fds[REQUEST_DIR], s->req.flags & ~SPORE_RESTORE_RUN, s->n, &events, &s->ps, &s->clones);
}

void clones_serve(struct keeper *k)
{
	struct serving s = { .client = KEEPER_SOCKET, .arrive = -1, .go = -1, .commit = -1 };
	unsigned int most = most_at_once();
	int r;

	problems_init(&s.ps);
	set_timeouts(s.client);
	r = request_receive(s.client, &s.req, s.fds);
	if (r == 0)
		r = prepare(&s, k);
	while (r == 0 && s.built < s.n) {
		while (r == 0 && s.begun < s.n && s.begun - s.arrived < most)
			r = begin_part(&s, k);
		if (r == 1)
			return;
		if (r == 0)
			r = hear_all(&s);
	}
	if (r < 0)
		give_up(&s, r);
	finish(&s);
}
