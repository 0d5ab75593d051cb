/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/release.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "remote/birth.h"
#include "state/sleep.h"

#define STOP_TIMEOUT_MS 10000

extern const struct component component_seccomp;

struct holding {
	struct plan *plan;
	struct restore *r;
	bool root;		     /* which half of the second pass */
	_Atomic(uint64_t) vdso_insn; /* where in a vDSO one was found */
	int (*fn)(struct holding *h, struct new_process *p);
};

static int each_of_worker(struct holding *h, unsigned int worker, unsigned int workers)
{
	int error = 0;

	for (size_t i = worker; i < h->r->n_processes && error == 0; i += workers)
		if (!h->r->processes[i]->zombie)
			error = h->fn(h, h->r->processes[i]);
	return error;
}

struct spread {
	struct holding *h;
	unsigned int workers;
};

static int spread_of_worker(unsigned int worker, void *arg)
{
	struct spread *s = arg;

	return each_of_worker(s->h, worker, s->workers);
}

static int each_process(struct holding *h, struct workers *w, int (*fn)(struct holding *h, struct new_process *p))
{
	struct spread s = { h, (unsigned int)MIN((size_t)workers_count(w), h->r->n_processes) };

	h->fn = fn;
	return workers_some(w, s.workers, spread_of_worker, &s);
}

static const struct thread_state *state_of(const struct new_thread *t)
{
	return t->record->state;
}

static int hold_failed(struct holding *h, struct new_thread *t, int error, const char *what)
{
	return failed(
		h->r->ps, BLAME(.pid = t->vtid, .process = state_of(t)->name), error, "%s: %s", what, strerror(-error));
}

static int seize(struct new_thread *t)
{
	if (t->stop.state == STOP_SEIZED)
		return 0;
	t->stop = (struct stop){ .tid = t->tid };
	return stop_seize(&t->stop, t->tid, PTRACE_O_EXITKILL);
}

static bool is_filtered(const struct new_process *p)
{
	size_t n;
	const struct record *records = image_records(p->restore->image, &component_seccomp.kind, &n);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < p->n_threads; k++)
			if (*(const object_id *)records[i].state == p->threads[k].id)
				return true;
	return false;
}

static int seize_filtered(struct holding *h, struct new_process *p)
{
	size_t n = is_filtered(p) ? p->n_threads : 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!state_of(&p->threads[i])->exited) {
			r = seize(&p->threads[i]);
			if (r < 0)
				return hold_failed(h, &p->threads[i], r, "the new task cannot be traced");
		}
	return r;
}

int release_seize_filtered(struct plan *plan, struct workers *w)
{
	struct holding h = { .plan = plan, .r = plan->r };

	return each_process(&h, w, seize_filtered);
}

static int stop_all(struct holding *h, struct new_process *p)
{
	for (size_t i = 0; i < p->n_threads; i++) {
		struct new_thread *t = &p->threads[i];
		int r;

		if (state_of(t)->exited)
			continue;
		r = seize(t);
		if (r == 0)
			r = stop_interrupt(&t->stop);
		if (r < 0)
			return hold_failed(h, t, r, "the new task cannot be traced");
	}
	return 0;
}

static int await_stops(struct holding *h, struct new_process *p)
{
	for (size_t i = 0; i < p->n_threads; i++) {
		struct new_thread *t = &p->threads[i];
		int r;

		if (state_of(t)->exited)
			continue;
		r = stop_wait(&t->stop, STOP_TIMEOUT_MS);
		if (r < 0)
			return hold_failed(h, t, r, "the new task does not stop");
	}
	return 0;
}

/* All have the same vDSO, though a part of it may be mapped otherwise: one look at where another's was found. */
static uint64_t find_insn_again(const struct holding *h, const struct memory_area *a, pid_t pid)
{
	uint64_t at = a->start + h->vdso_insn;

	return h->vdso_insn && at + 2 <= a->end ? find_syscall_insn(pid, at, at + 2) : 0;
}

/* A system call instruction of the program's own: in its vDSO, else anywhere in its code. */
static uint64_t find_insn(struct holding *h, const struct memory_state *m, pid_t pid)
{
	for (int vdso = 1; vdso >= 0; vdso--)
		for (size_t i = 0; i < m->n_areas; i++) {
			const struct memory_area *a = &m->areas[i];
			uint64_t at;

			if ((a->kind == AREA_VDSO) != (vdso == 1) || !(a->prot & PROT_EXEC))
				continue;
			at = vdso ? find_insn_again(h, a, pid) : 0;
			if (!at)
				at = find_syscall_insn(pid, a->start, a->end);
			if (at && vdso)
				h->vdso_insn = at - a->start;
			if (at)
				return at;
		}
	return 0;
}

static struct new_thread *first_alive(struct new_process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (!state_of(&p->threads[i])->exited)
			return &p->threads[i];
	return NULL;
}

static int unmap_area(struct holding *h, struct new_process *p)
{
	const struct area *a = &h->r->area;
	struct new_thread *t = first_alive(p);
	uint64_t insn = find_insn(h, plan_memory(h->plan, p), t->tid);
	int64_t r;

	if (!insn)
		return hold_failed(h, t, -ENOEXEC, "no system call instruction in its memory");
	r = birth_last_call(t->tid, insn, SYS_munmap, (const uint64_t[6]){ a->base.v, a->size });
	return r < 0 ? hold_failed(h, t, (int)r, "the shared area cannot be unmapped") : 0;
}

/* The registers of a sleeper depend on whether its sleep, begun again in the stub, still lasts. */
static void resume_sleep(struct new_thread *t, struct user_regs_struct *gp)
{
	const struct thread_state *s = state_of(t);
	int64_t result = 0;
	bool armed, ended;

	if (!s->restart.block)
		return;
	armed = t->asleep && restart_is_armed(&s->restart, &t->stop.regs.gp);
	ended = t->asleep && !armed && __atomic_load_n(&t->slot->state, __ATOMIC_ACQUIRE) == SLOT_DONE;
	if (ended)
		result = batch_result(&t->batch, 0);
	restart_resume(&s->restart, gp, armed, ended ? &result : NULL);
	if (t->asleep)
		batch_free(&t->batch);
}

/* What stop_release puts back is what the program had. */
static int give_registers(struct holding *h, struct new_thread *t)
{
	const struct thread_state *s = state_of(t);
	struct task_regs regs = { .xstate = s->xstate.data, .xstate_size = s->xstate.size };
	int r;

	memcpy(&regs.gp, &s->regs, sizeof(regs.gp));
	resume_sleep(t, &regs.gp);
	r = task_regs_set(t->tid, &regs);
	if (r < 0)
		return hold_failed(h, t, r, "its registers cannot be set");
	t->stop.regs.gp = regs.gp;
	t->stop.sigmask = s->blocked;
	t->stop.regs_dirty = true;
	t->stop.rseq.rseq = REMOTE(s->rseq);
	t->stop.rseq_cs = s->rseq_cs;
	t->stop.sud =
		(struct sud_config){ s->dispatch_mode, s->dispatch_selector, s->dispatch_offset, s->dispatch_len };
	t->stop.sud_off = s->dispatch_mode != 0;
	return 0;
}

/* For the next checkpoint, which cannot ask the kernel. */
static void note_sleeps(struct new_process *p)
{
	int dir = procfs_open_pid(p->pid);
	struct sleep_notes notes = { 0 };
	struct proc_stat st;

	for (size_t i = 0; i < p->n_threads; i++)
		if (state_of(&p->threads[i])->restart.block)
			sleep_note_add(&notes, p->threads[i].tid, &state_of(&p->threads[i])->restart,
				&p->threads[i].stop.regs.gp);
	if (notes.n && dir >= 0 && proc_stat_read(dir, &st) == 0)
		sleep_notes_store(p->pid, st.starttime, &notes);
	sleep_notes_free(&notes);
	close_fd(&dir);
}

static int hold(struct holding *h, struct new_process *p)
{
	int r = await_stops(h, p);

	if (r == 0)
		r = unmap_area(h, p);
	for (size_t i = 0; r == 0 && i < p->n_threads; i++)
		if (!state_of(&p->threads[i])->exited)
			r = give_registers(h, &p->threads[i]);
	if (r == 0)
		note_sleeps(p);
	return r;
}

int release_hold(struct plan *plan, struct workers *w)
{
	struct holding h = { .plan = plan, .r = plan->r };
	int r = each_process(&h, w, stop_all);

	if (r == 0)
		r = each_process(&h, w, hold);
	for (size_t i = 0; r == 0 && i < plan->r->image->n_records; i++) {
		const struct record *rec = &plan->r->image->records[i];
		const struct component *k = component_of(rec->kind);

		if (k && k->held)
			r = k->held(plan->r, rec->state);
	}
	return r;
}

static int forgive(struct holding *h, struct new_process *p)
{
	if ((p == h->r->processes[0]) != h->root)
		return 0;
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_STOPPED) {
			stop_put_back(&p->threads[i].stop);
			ptrace(PTRACE_SETOPTIONS, p->threads[i].tid, 0, PTRACE_O_TRACESYSGOOD);
		}
	return 0;
}

static int let_go(struct holding *h, struct new_process *p)
{
	for (size_t i = 0; i < p->n_threads; i++) {
		stop_release(&p->threads[i].stop);
		task_regs_free(&p->threads[i].stop.regs);
	}
	return 0;
}

/*
 * The keeper's death kills each task until it is forgiven; the root is last, for where it is pid 1 of a pid namespace its death is
 * everyone's: there that is the commit. Elsewhere the dead man's switch still holds all of them.
 */
void release_forgive(struct restore *r, struct workers *w)
{
	struct holding h = { .r = r };

	each_process(&h, w, forgive);
	h.root = true;
	each_process(&h, w, forgive);
}

void release_run(struct restore *r, struct workers *w)
{
	struct holding h = { .r = r };

	each_process(&h, w, let_go);
}
