/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"

int target_open(pid_t pid, const char *cgroup, struct target_tree *out)
{
	struct target_tree t = TARGET_NONE;
	int r;

	if (cgroup) {
		if (pid || strlen(cgroup) >= sizeof(t.cgroup))
			return -EINVAL;
		strcpy(t.cgroup, cgroup);
		r = tree_id_of_cgroup(cgroup, &t.id);
		if (r == 0)
			*out = t;
		return r == -ENOENT ? -ESRCH : r;
	}
	if (pid <= 0)
		return pid ? -EINVAL : -ESRCH;
	t.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (t.pidfd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* the id of a thread */
	r = tree_id_of_pid(pid, &t.id);
	if (r < 0) {
		close(t.pidfd);
		return r;
	}
	*out = t;
	return 0;
}

void target_close(struct target_tree *t)
{
	close_fd(&t->pidfd);
}

void listener_problem(const struct spore_listener *listener, int error, pid_t pid, const char *text, const char *remedy)
{
	struct spore_problem p = { .kind = SPORE_FAILED, .error = error, .pid = pid };

	if (!listener || !listener->problem)
		return;
	if (pid)
		process_name(pid, p.process);
	snprintf(p.text, sizeof(p.text), "%s", text);
	snprintf(p.remedy, sizeof(p.remedy), "%s", remedy ? remedy : "");
	listener->problem(listener->data, &p);
}

static void deliver(const struct spore_listener *l, const struct reply *reply)
{
	if (!l)
		return;
	if (reply->kind == REPLY_LOG && l->log)
		l->log(l->data, reply->log);
	if (reply->kind == REPLY_PROBLEM && l->problem)
		l->problem(l->data, &reply->problem);
	if (reply->kind == REPLY_PROGRESS && l->progress)
		l->progress(l->data, reply->progress.phase, reply->progress.done, reply->progress.total);
}

static int no_answer(int r, const struct spore_listener *listener)
{
	if (r == -ECONNRESET)
		r = -EOWNERDEAD;
	listener_problem(listener, r, 0,
		r == -EOWNERDEAD	? "its keeper died"
		: r == -EPROTONOSUPPORT ? "its keeper is of another version of spore"
					: "its keeper is not understood",
		NULL);
	return r;
}

int client_result(int sock, const struct spore_listener *listener, struct reply *result, int *pidfd)
{
	int r = 0;

	while (r == 0) {
		r = reply_receive(sock, result, pidfd);
		if (r == 0 && result->kind == REPLY_RESULT)
			return result->result;
		if (r == 0)
			deliver(listener, result);
	}
	return no_answer(r, listener);
}

int client_clones(int sock, const struct spore_listener *listener, struct clone_built *list, uint32_t n)
{
	struct reply reply;
	uint32_t got = 0;

	for (;;) {
		int root = -1, r = reply_receive(sock, &reply, &root);

		if (r < 0)
			return no_answer(r, listener);
		if (reply.kind == REPLY_CLONE && got < n && root >= 0) {
			list[got++] = (struct clone_built){ .root = root, .result = reply.restore };
			continue;
		}
		close_fd(&root);
		if (reply.kind == REPLY_RESULT)
			return reply.result < 0 || got == n ? reply.result : -EPROTO;
		deliver(listener, &reply);
	}
}

int client_call(int sock, const struct request *req, const int fds[REQUEST_N_FDS],
	const struct spore_listener *listener, struct reply *result, int *pidfd)
{
	int r = request_send(sock, req, fds);

	return r < 0 ? no_answer(r, listener) : client_result(sock, listener, result, pidfd);
}
