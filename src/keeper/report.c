/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keeper.h"

#define PROGRESS_INTERVAL_NS 100000000ull

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* From any of the engine's threads, inside the stop too: it must never wait. */
void report_progress(void *keeper, const char *phase, uint64_t done, uint64_t total)
{
	struct keeper *k = keeper;
	struct reply reply = { .kind = REPLY_PROGRESS, .progress = { .done = done, .total = total } };
	uint64_t now = now_ns();
	bool due;

	if (pthread_mutex_trylock(&k->report_lock) != 0)
		return;
	due = now - k->last_progress_ns >= PROGRESS_INTERVAL_NS;
	if (due)
		k->last_progress_ns = now;
	pthread_mutex_unlock(&k->report_lock);
	if (!due)
		return;
	snprintf(reply.progress.phase, sizeof(reply.progress.phase), "%s", phase);
	reply_send(k->job.sock, &reply, -1, false);
}

void report_log(void *keeper, const char *line)
{
	struct keeper *k = keeper;
	struct reply reply = { .kind = REPLY_LOG };

	snprintf(reply.log, sizeof(reply.log), "%s", line);
	reply_send(k->job.sock, &reply, -1, false);
}

void report_problems(int sock, const struct problems *ps)
{
	static const int kinds[] = {
		[PROBLEM_FAILED] = SPORE_FAILED,
		[PROBLEM_REFUSED] = SPORE_REFUSED,
		[PROBLEM_CHANGED] = SPORE_CHANGED,
	};

	for (size_t i = 0; i < ps->n; i++) {
		const struct problem *p = &ps->list[i];
		struct reply reply = { .kind = REPLY_PROBLEM };
		struct spore_problem *out = &reply.problem;

		out->kind = kinds[p->kind];
		out->error = p->error;
		out->pid = p->pid;
		snprintf(out->process, sizeof(out->process), "%s", p->process);
		snprintf(out->object, sizeof(out->object), "%s", p->object ? p->object : "");
		snprintf(out->text, sizeof(out->text), "%s", p->text ? p->text : strerror(-p->error));
		snprintf(out->remedy, sizeof(out->remedy), "%s", p->remedy ? p->remedy : "");
		if (reply_send(sock, &reply, -1, true) < 0)
			return;
	}
}

void report_result(int sock, int result)
{
	struct reply reply = { .kind = REPLY_RESULT, .result = result };

	reply_send(sock, &reply, -1, true);
}

void set_timeouts(int sock)
{
	struct timeval hear = { .tv_sec = 2 }, tell = { .tv_sec = 30 };

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &hear, sizeof(hear));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tell, sizeof(tell));
}

/* What they ask is read first: a socket that is closed with something unread in it loses the answer (ECONNRESET). */
void turn_away(int door)
{
	int sock, fds[REQUEST_N_FDS];
	struct request req;

	while ((sock = door_accept(door)) >= 0) {
		set_timeouts(sock);
		if (request_receive(sock, &req, fds) == 0)
			request_close(fds);
		report_result(sock, -EBUSY);
		close(sock);
	}
}
