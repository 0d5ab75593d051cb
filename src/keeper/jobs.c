/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls, from their request to their result: who may ask for what, and what each leaves behind. */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "container/container.h"
#include "image/image.h"
#include "keeper/keeper.h"

/* --- beginning --- */

/* The tree that a fresh keeper is to work for. */
static int take_target(struct keeper *k, struct job *j)
{
	int r;

	if (j->req.cgroup[0]) {
		j->pid = 0;
		r = tree_id_of_cgroup(j->req.cgroup, &k->id);
	} else {
		if (j->fds[REQUEST_PIDFD] < 0)
			return -EPROTO;
		j->pid = pidfd_pid(j->fds[REQUEST_PIDFD]);
		r = j->pid < 0 ? j->pid : tree_id_of_pid(j->pid, &k->id);
		k->root_fd = take_fd(&j->fds[REQUEST_PIDFD]);
	}
	if (r < 0)
		return r;
	k->tree_pid = j->pid;
	r = door_claim(DOOR_KEEPER, &k->id);
	if (r < 0)
		return r;
	k->keeper_door = r;
	return 0;
}

static bool needs_image(uint32_t call)
{
	return call == CALL_CHECKPOINT || call == CALL_RESTORE || call == CALL_CHECK_IMAGE || call == CALL_MERGE;
}

/* May this call begin, in the role that the keeper has? */
static int admit(struct keeper *k, struct job *j)
{
	bool fresh = !k->isolated && !k->tracking && !k->child;

	if (needs_image(j->req.call) && j->fds[REQUEST_DIR] < 0)
		return -EBADF;
	if (j->req.call == CALL_MERGE && j->fds[REQUEST_PARENT] < 0)
		return -EBADF;
	j->pid = k->tree_pid;
	switch (j->req.call) {
	case CALL_RESTORE:
	case CALL_CHECK_IMAGE:
	case CALL_MERGE:
		return fresh ? 0 : -EINVAL;
	case CALL_UNISOLATE:
		return k->isolated ? 0 : -ESRCH;
	case CALL_ISOLATE:
		if (k->isolated)
			return -EALREADY;
		if (k->tracking)
			return 0;
		return fresh ? take_target(k, j) : -EBUSY;
	case CALL_CHECK:
	case CALL_CHECKPOINT:
		if (k->isolated || k->tracking)
			return 0;
		return fresh ? take_target(k, j) : -EBUSY;
	default:
		return -EPROTO;
	}
}

/* What the engine will be told as well, and says. */
static bool may_write_image(const struct job *j)
{
	struct problems ignored;
	int r;

	if (j->req.call != CALL_CHECKPOINT && j->req.call != CALL_MERGE)
		return false;
	problems_init(&ignored);
	r = image_may_create(
		j->fds[REQUEST_DIR], j->req.flags & (SPORE_CHECKPOINT_FORCE | SPORE_MERGE_FORCE), &ignored);
	problems_free(&ignored);
	return r == 0;
}

void job_begin(struct keeper *k, int sock, const struct request *req, int fds[REQUEST_N_FDS])
{
	struct job *j = &k->job;
	int r;

	j->req = *req;
	memcpy(j->fds, fds, sizeof(j->fds));
	memset(&j->reply, 0, sizeof(j->reply));
	j->tied = !k->isolated;
	j->client_gone = false;
	j->cancel = ENGINE_CANNOT;
	r = admit(k, j);
	if (r < 0) {
		report_result(sock, r);
		request_close(j->fds);
		close(sock);
		return;
	}
	j->may_write = may_write_image(j);
	j->sock = sock;
	j->active = true;
	problems_init(&j->ps);
	eventfd_write(k->start_fd, 1);
}

/* --- ending --- */

static void note_isolated(struct container_entry *e, void *data)
{
	e->isolated = *(bool *)data;
}

static void note_checkpoint(struct container_entry *e, void *data)
{
	e->last_checkpoint = (uint64_t)time(NULL);
}

static void set_isolated(struct keeper *k, bool isolated)
{
	k->isolated = isolated;
	if (k->tree_pid)
		container_note(k->tree_pid, note_isolated, &isolated);
}

static void leave_door(struct keeper *k)
{
	int fd = k->keeper_door;

	set_isolated(k, false);
	k->tracking = false;
	k->keeper_door = -1;
	if (fd >= 0) {
		door_hide(DOOR_KEEPER, &k->id);
		turn_away(fd);
	}
	close_fd(&fd);
}

static void end_engine(struct keeper *k)
{
	if (k->engine)
		engine_thread_end_engine(k);
	if (k->child) /* it stays on, as a parent */
		malloc_trim(0);
}

void isolation_end(struct keeper *k)
{
	leave_door(k);
	end_engine(k);
}

static void after_restore(struct keeper *k, struct job *j)
{
	int door;

	k->tree_pid = j->pid;
	parent_adopt(k, j->sock);
	fill_adopt(k);
	if (j->req.flags & SPORE_RESTORE_RUN)
		return;
	door = door_claim(DOOR_KEEPER, &k->id);
	if (door >= 0)
		k->keeper_door = door;
	set_isolated(k, true);
}

/* A clone's client knows of all of them before any is let go: whose end is seen too has let them go before. */
static int await_confirmation(const struct keeper *k, int sock)
{
	struct pollfd p[] = { { .fd = k->commit_fd, .events = POLLIN }, { .fd = sock, .events = POLLIN } };

	if (k->commit_fd < 0)
		return result_await_confirmation(sock);
	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return p[0].revents & POLLIN || poll(p, 1, 0) == 1 ? 0 : -ECONNRESET;
}

/* The new tree is let go when its client knows of it: before, the death of either ends it; after, that of neither. */
static void settle_restore(struct keeper *k, struct job *j, int sent)
{
	int r;

	if (sent < 0 || await_confirmation(k, j->sock) < 0)
		job_abandon(k);
	if (!(j->req.flags & SPORE_RESTORE_RUN)) {
		fill_stream(k);
		return;
	}
	r = engine_thread_release(k);
	fill_stream(k);
	report_result(j->sock, r);
	engine_thread_end_engine(k);
	malloc_trim(0);
}

static void after(struct keeper *k, struct job *j)
{
	bool done = j->reply.result == 0;

	switch (j->req.call) {
	case CALL_RESTORE:
		if (done)
			after_restore(k, j);
		break;
	case CALL_ISOLATE:
		if (done)
			set_isolated(k, true);
		break;
	case CALL_UNISOLATE:
		if (k->tracking && done)
			set_isolated(k, false);
		else if (!engine_root(k->engine) || done)
			isolation_end(k);
		break;
	case CALL_CHECKPOINT:
		k->tracking = engine_tracks(k->engine);
		if (done && k->tree_pid)
			container_note(k->tree_pid, note_checkpoint, NULL);
		if (done && (j->req.flags & SPORE_CHECKPOINT_KILL) && k->isolated)
			isolation_end(k);
		break;
	default:
		break;
	}
}

bool job_cancel(struct job *j)
{
	int can = ENGINE_CAN;

	return atomic_compare_exchange_strong(&j->cancel, &can, ENGINE_CANCELLED);
}

/* A one-call keeper shuts its door before it answers, so that the client's next call finds no keeper that is
 * about to end. */
void job_finish(struct keeper *k)
{
	struct job *j = &k->job;
	uint32_t call = j->req.call;
	bool over;
	struct reply reply = j->reply; /* before the thread is used again */
	int r;

	after(k, j);
	over = !k->isolated && !k->tracking && k->keeper_door >= 0;
	if (over)
		leave_door(k);
	report_problems(j->sock, &j->ps);
	r = reply_send(j->sock, &reply, call == CALL_RESTORE && reply.result == 0 ? k->root_fd : -1, true);
	if (call == CALL_RESTORE && reply.result == 0)
		settle_restore(k, j, r);
	if (j->client_gone && j->may_write && reply.result < 0)
		image_remove_unfinished(j->fds[REQUEST_DIR], j->req.flags & SPORE_CHECKPOINT_NEW);
	if (over) /* nobody waits for that */
		end_engine(k);
	problems_free(&j->ps);
	request_close(j->fds);
	close_fd(&j->sock);
	j->active = false;
	if (k->tracking && !k->isolated) /* it may stay for long */
		malloc_trim(0);
}
