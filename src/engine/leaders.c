/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/leaders.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "kernel/procfs.h"
#include "state/process.h"

#define END_TIMEOUT_MS 10000

static const struct thread_state *leader_of(const struct new_process *p)
{
	return p->threads[0].record->state;
}

/* Its name is not its own yet: the record has it. */
static int leader_failed(struct restore *r, const struct new_process *p, int error, const char *what)
{
	return failed(r->ps,
		BLAME(.pid = p->vpid, .process = process_of(p)->name, .object = "its first thread, which had ended",
			.remedy = "try again"),
		error, "%s: %s", what, strerror(-error));
}

static bool is_to_end(const struct new_process *p)
{
	return !p->zombie && leader_of(p)->exited;
}

/* Its signal mask is of no use to a task that has ended, but it is shown. */
static int end_leader(struct restore *r, struct new_process *p)
{
	uint64_t mask = leader_of(p)->blocked;
	struct batch b;
	int error;

	batch_init(&b, &r->area);
	if (process_of(p)->name)
		batch_call(&b, "prctl(PR_SET_NAME)", SYS_prctl, PR_SET_NAME, batch_string(&b, process_of(p)->name).v);
	batch_call(&b, "rt_sigprocmask", SYS_rt_sigprocmask, SIG_SETMASK, batch_copy(&b, &mask, sizeof(mask)).v, 0,
		sizeof(mask));
	batch_call(&b, "exit of the leader", SYS_exit, process_of(p)->exit_code >> 8);
	error = batch_submit(&b, p->threads[0].slot);
	batch_free(&b);
	return error < 0 ? leader_failed(r, p, error, "cannot be ended") : 0;
}

/* Its slot says nothing of a batch that ends with exit. */
static int await_end(struct restore *r, const struct new_process *p)
{
	_cleanup_fd_ int dir = procfs_open_pid(p->threads[0].tid);
	struct proc_stat st;
	int error = dir < 0 ? dir : 0;

	for (int ms = 0; !error && ms < END_TIMEOUT_MS; ms++) {
		error = proc_stat_read(dir, &st);
		if (!error && st.state == 'Z')
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = ms < 10 ? 100000 : 1000000 }, NULL);
	}
	return leader_failed(r, p, error ? error : -ETIMEDOUT, "does not end");
}

int leaders_end(struct plan *plan)
{
	struct restore *r = plan->r;
	int error = 0;

	for (size_t i = 0; !error && i < r->n_processes; i++)
		if (is_to_end(r->processes[i]))
			error = end_leader(r, r->processes[i]);
	for (size_t i = 0; !error && i < r->n_processes; i++)
		if (is_to_end(r->processes[i]))
			error = await_end(r, r->processes[i]);
	return error;
}
