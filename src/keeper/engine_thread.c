/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine thread: one call after the other. It never ends, since it is the parent of what it restored
 * (PR_SET_PDEATHSIG is about threads). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/keeper.h"

#define CALL_END 100 /* not from outside: the engine is to be freed */

/* Standard streams that were not given are /dev/null; they are the engine's from here on. */
static int take_outside(struct job *j, struct engine_outside *out)
{
	for (int i = 0; i < 3; i++) {
		out->stdio[i] = take_fd(&j->fds[REQUEST_STDIN + i]);
		if (out->stdio[i] < 0)
			out->stdio[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (out->stdio[i] < 0)
			return failed(&j->ps, NULL, -errno, "/dev/null: %s", strerror(errno));
	}
	out->terminal = take_fd(&j->fds[REQUEST_TERMINAL]);
	return 0;
}

static int restore(struct keeper *k, struct job *j)
{
	struct engine_outside outside = { .stdio = { -1, -1, -1 },
		.terminal = -1,
		.clones = k->clones,
		.clone = k->clone,
		.arrive_fd = k->arrive_fd,
		.go_fd = k->go_fd };
	int r = take_outside(j, &outside);

	if (r == 0)
		r = engine_restore(k->engine, j->fds[REQUEST_DIR], j->req.flags & ~SPORE_RESTORE_RUN, &outside,
			&j->reply.restore, &j->ps);
	if (r < 0)
		return r;
	j->pid = r;
	return 0;
}

static int need_engine(struct keeper *k)
{
	struct engine_events events = {
		.data = k, .progress = report_progress, .log = report_log, .cancel = &k->job.cancel
	};

	return k->engine ? 0 : engine_new(&events, &k->engine);
}

static int run_call(struct keeper *k, struct job *j)
{
	const char *cgroup = j->req.cgroup[0] ? j->req.cgroup : NULL;
	int r = need_engine(k);

	if (r < 0)
		return r;
	switch (j->req.call) {
	case CALL_CHECK:
		return engine_check(k->engine, j->pid, cgroup, j->req.timeout_ms, j->req.flags, &j->ps);
	case CALL_CHECK_IMAGE:
		return engine_check_image(k->engine, j->fds[REQUEST_DIR], j->req.flags, &j->ps);
	case CALL_MERGE:
		return engine_merge(
			k->engine, j->fds[REQUEST_PARENT], j->fds[REQUEST_DIR], j->req.flags, &j->reply.merge, &j->ps);
	case CALL_ISOLATE:
		return engine_isolate(k->engine, j->pid, cgroup, j->req.timeout_ms, &j->ps);
	case CALL_CHECKPOINT:
		return engine_checkpoint(k->engine, j->fds[REQUEST_PARENT], j->fds[REQUEST_DIR], j->pid, cgroup,
			j->req.timeout_ms, j->req.flags, j->req.compression, &j->reply.checkpoint, &j->ps);
	case CALL_UNISOLATE:
		return engine_unisolate(k->engine, &j->ps);
	case CALL_RESTORE:
		return restore(k, j);
	case CALL_END:
		engine_free(k->engine);
		k->engine = NULL;
		return 0;
	default:
		return -EPROTO;
	}
}

static void *engine_thread(void *keeper)
{
	struct keeper *k = keeper;
	eventfd_t n;

	if (k->looks && need_engine(k) == 0) /* while the other thread hears what it is about */
		engine_get_ready(k->engine);
	while (eventfd_read(k->start_fd, &n) == 0 || errno == EINTR) {
		int r = run_call(k, &k->job);

		k->job.reply.kind = REPLY_RESULT;
		k->job.reply.result = r < 0 ? r : 0;
		eventfd_write(k->done_fd, 1);
	}
	return NULL;
}

int engine_thread_start(struct keeper *k)
{
	int r;

	k->start_fd = eventfd(0, EFD_CLOEXEC);
	k->done_fd = eventfd(0, EFD_CLOEXEC);
	if (k->start_fd < 0 || k->done_fd < 0)
		return -errno;
	r = pthread_create(&k->thread, NULL, engine_thread, k);
	return -r;
}

static int call_now(struct keeper *k, uint32_t call)
{
	eventfd_t n;

	k->job.req.call = call;
	eventfd_write(k->start_fd, 1);
	while (eventfd_read(k->done_fd, &n) < 0 && errno == EINTR)
		;
	return k->job.reply.result;
}

int engine_thread_release(struct keeper *k)
{
	return call_now(k, CALL_UNISOLATE);
}

void engine_thread_end_engine(struct keeper *k)
{
	call_now(k, CALL_END);
}
