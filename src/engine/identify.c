/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is who: names and ids of all tasks, and what /proc says of each. */
#include <errno.h>

#include "base/cleanup.h"
#include "engine/pass.h"
#include "object/identity.h"
#include "state/process.h"

/* What /proc/PID says is its leader's, but for times and exit codes, which are not asked of threads. */
static int identify_leader(struct thread *th, const struct process *p)
{
	th->stat = p->stat;
	return proc_status_copy(&p->status, &th->status);
}

static int identify_thread(struct pass *pass, struct thread *th)
{
	int r;

	proc_status_free(&th->status);
	if (th->tid == th->process->pid) {
		r = identify_leader(th, th->process);
	} else {
		r = proc_stat_read(th->proc_fd, &th->stat);
		if (r == 0)
			r = proc_status_read(th->proc_fd, &th->status);
	}
	th->vtid = th->status.pid_in_ns;
	th->id = identity_of(pass->ids, "thread", (uint64_t)th->tid, th->stat.starttime, 0, NULL);
	return r == -ENOENT ? -ESRCH : r;
}

static int find_living(struct process *p)
{
	if (p->living_fd != p->proc_fd)
		close_fd(&p->living_fd);
	p->living_fd = p->proc_fd;
	p->living_tid = p->pid;
	for (size_t i = 0; i < p->n_threads && p->stat.state == 'Z'; i++)
		if (p->threads[i].stat.state != 'Z' && p->threads[i].stat.state != 'X') {
			p->living_tid = p->threads[i].tid;
			p->living_fd = procfs_open_pid(p->living_tid);
			return p->living_fd < 0 ? p->living_fd : 0;
		}
	return 0;
}

static int identify_process(struct pass *pass, size_t index)
{
	struct process *p = pass->c->tree->processes[index];
	int r;

	proc_status_free(&p->status);
	r = proc_stat_read(p->proc_fd, &p->stat);
	if (r == 0)
		r = proc_status_read(p->proc_fd, &p->status);
	p->vpid = p->status.tgid_in_ns;
	p->id = identity_of(pass->ids, "process", (uint64_t)p->pid, p->stat.starttime, 0, NULL);
	for (size_t i = 0; i < p->n_threads; i++) {
		p->threads[i].process = p;
		p->threads[i].slot = i;
	}
	if (r == 0 && !p->zombie && p->n_threads)
		r = identify_thread(pass, &p->threads[0]);
	return r == -ENOENT ? -ESRCH : r;
}

int capture_identify(struct capturing *c, struct identities *ids)
{
	struct pass pass = { .c = c, .ids = ids };
	int r = pass_run_any(&pass, identify_process);
	struct tree *t = c->tree;

	if (r == 0)
		r = pass_run_threads(&pass, identify_thread);
	for (size_t i = 0; r == 0 && i < t->n_processes; i++)
		r = find_living(t->processes[i]);
	if (r == 0 && t->n_processes)
		t->own_pid_ns = t->processes[0]->vpid == 1 && t->processes[0]->status.ns_depth > 1;
	return r;
}
