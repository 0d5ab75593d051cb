/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/pages.h"
#include "engine/pass.h"
#include "engine/snapshot.h"
#include "engine/streamed_pages.h"
#include "engine/tracker.h"
#include "kernel/vma_flags.h"
#include "object/identity.h"
#include "object/component.h"
#include "object/descriptions.h"
#include "state/bpf_view.h"
#include "state/files.h"
#include "state/memory.h"
#include "state/older.h"
#include "state/process.h"
#include "state/sockets.h"
#include "state/witness.h"

#define BATCH_TIMEOUT_MS 10000
#define ARENA_PROCESS	 (1024 * 1024) /* only what is used of it becomes memory */
#define ARENA_THREAD	 (8 * 1024)
#define ARENA_FILE	 512 /* each may be asked for its flags */

/* --- a pass --- */

static const uint8_t *parent_id(const struct capturing *c)
{
	return c->older ? image_instant(&c->older->image->head) : NULL;
}

static int read_maps(struct pass *pass, struct process *p)
{
	int r = vma_flags_read(pass->c->vma_flags, p->living_fd, p->living_tid, &p->maps);

	return r == -ENODATA ? proc_smaps_read(p->living_fd, &p->maps) : r;
}

/* Every descriptor of the tree, and in the stop every mapping, is looked at before any is captured: what is shared with whom must be known. */
static int look_at_files(struct pass *pass, size_t index)
{
	struct capture c = capture_of(pass, pass->c->tree->processes[index]);
	struct process *p = c.process;
	int r;

	if (p->zombie)
		return 0;
	proc_maps_free(&p->maps);
	r = pass->plans ? read_maps(pass, p) : 0;
	return r < 0 ? r : files_look(&c);
}

static int files_of_tree(struct pass *pass)
{
	struct capture c = capture_of(pass, pass->c->tree->processes[0]);
	int r = descriptions_new(pass->c->tree, &pass->descriptions);

	if (r == 0)
		r = pass_run_any(pass, look_at_files);
	c.descriptions = pass->descriptions;
	return r == 0 ? files_look_done(&c) : r;
}

/* What is held of the tree's: none of it may be when the tree runs on. */
static void pass_let_go(struct pass *pass)
{
	for (size_t i = 0; i < pass->c->tree->n_processes; i++)
		files_look_free(pass->c->tree->processes[i]);
	if (pass->descriptions) {
		sockets_free(pass->descriptions->sockets);
		bpf_views_free(pass->descriptions->bpf);
	}
	descriptions_free(pass->descriptions);
	witnesses_free(pass->witnesses);
	gadget_cache_free(pass->gadgets);
	pass->descriptions = NULL;
	pass->witnesses = NULL;
	pass->gadgets = NULL;
}

static void pass_free(struct pass *pass)
{
	pass_let_go(pass);
	for (size_t i = 0; pass->plans && i < pass->c->tree->n_processes; i++)
		memory_plan_free(&pass->plans[i]);
	free(pass->plans);
	identities_free(pass->ids);
}

/* Nothing may go wrong without a word. */
static int heed(struct capture *c, const char *object, int r)
{
	r = problems_told(c->ps, r);
	if (r < 0 && !c->ps->n_failed)
		failed(c->ps, BLAME_PROCESS(c->process, .object = object), r, "cannot be captured: %s", strerror(-r));
	return r;
}

static void look_at(struct capture *c, const struct component *k, int (*look)(struct capture *c))
{
	int r = look(c);

	if (c->writer) /* a tree that runs comes and goes meanwhile */
		heed(c, k->kind.name, r);
}

static int look_process(struct pass *pass, size_t index)
{
	struct capture c = capture_of(pass, pass->c->tree->processes[index]);

	if (c.process->zombie)
		return 0;
	memory_look(&c);
	for (size_t i = 0; components[i]; i++)
		if (components[i]->look && components[i]->scope != SCOPE_TREE)
			look_at(&c, components[i], components[i]->look);
	return 0;
}

static int look_thread(struct pass *pass, struct thread *th)
{
	struct capture c = capture_of(pass, th->process);

	c.thread = th;
	for (size_t i = 0; components[i]; i++)
		if (components[i]->look_thread)
			look_at(&c, components[i], components[i]->look_thread);
	return 0;
}

static size_t look_workers(const struct pass *pass)
{
	return MIN(pass->c->tree->n_processes, (size_t)workers_count(pass->c->workers));
}

/* Those of the tree as a whole take long, and are few: divided among the workers, one by one. */
static void look_at_whole(struct pass *pass, unsigned int worker)
{
	struct capture c = capture_of(pass, pass->c->tree->processes[0]);
	size_t turn = 0, workers = look_workers(pass);

	for (size_t i = 0; components[i]; i++)
		if (components[i]->look && components[i]->scope == SCOPE_TREE && turn++ % workers == worker)
			look_at(&c, components[i], components[i]->look);
}

static int look_of_worker(unsigned int worker, void *arg)
{
	struct pass *pass = arg;

	look_at_whole(pass, worker);
	return pass_of_any(worker, pass);
}

static int look_at_tree(struct pass *pass)
{
	int r;

	pass->fn = look_process;
	pass->next = 0;
	r = workers_some(pass->c->workers, look_workers(pass), look_of_worker, pass);
	return r < 0 ? r : pass_run_threads(pass, look_thread);
}

int capture_look(struct capturing *c)
{
	struct pass pass = { .c = c, .ids = identities_new() };
	int r = pass.ids ? capture_identify(c, pass.ids) : -ENOMEM;

	if (r == 0)
		tracker_attach(c->tracker, c->tree, NULL);
	if (r == 0)
		r = files_of_tree(&pass);
	if (r == 0)
		r = look_at_tree(&pass);
	pass_free(&pass);
	return r == -ESRCH ? 0 : r; /* tasks come and go while they are looked at; the stop sees to it */
}

/* --- one process --- */

/* What a component keeps between ask and capture, for one owner. */
static size_t scratch_size(void)
{
	size_t size = 0;

	for (size_t i = 0; components[i]; i++)
		size += ALIGN_UP(components[i]->scratch_size, 16ul);
	return size + MEMORY_SCRATCH;
}

static struct thread *first_alive(struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_STOPPED)
			return &p->threads[i];
	return NULL;
}

/* Everything about the asking of one process. */
struct asking {
	struct capture c;
	struct thread *first;
	struct batch *batches; /* one for each thread */
	uint8_t *scratch;      /* one for each thread, of size each */
	size_t size;
};

static void ask_thread(struct asking *a, struct thread *th)
{
	struct batch *b = &a->batches[th->slot];
	uint8_t *scratch = a->scratch + th->slot * a->size;

	a->c.thread = th;
	batch_init(b, &a->c.process->injection.area);
	for (size_t i = 0; components[i]; i++) {
		const struct component *k = components[i];

		if (k->ask && (k->scope == SCOPE_THREAD || (k->scope == SCOPE_PROCESS && th == a->first)))
			k->ask(&a->c, b, scratch);
		scratch += ALIGN_UP(k->scratch_size, 16ul);
	}
	if (th == a->first)
		memory_ask(&a->c, b, scratch);
}

static int run_asked(struct asking *a)
{
	struct process *p = a->c.process;
	int error = 0;

	for (size_t i = 0; i < p->n_threads && !error; i++)
		if (p->threads[i].stop.state == STOP_STOPPED) {
			ask_thread(a, &p->threads[i]);
			error = inject_run(&p->injection, &p->threads[i].stop, i, &a->batches[i]);
		}
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_RUNNING) {
			int r = batch_wait(&a->batches[i], area_slot(&p->injection.area, i), BATCH_TIMEOUT_MS,
				stop_alive, &p->threads[i].stop);

			if (r < 0 && !error)
				error = failed(a->c.ps, BLAME_PROCESS(p), r, "thread %d: %s", p->threads[i].tid,
					batch_what(&a->batches[i],
						batch_failed_at(&a->batches[i], area_slot(&p->injection.area, i))));
		}
	for (size_t i = 0; i < p->n_threads; i++)
		inject_call_back(&p->injection, &p->threads[i].stop);
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_RUNNING) {
			int r = inject_leave(&p->injection, &p->threads[i].stop);

			if (r < 0 && !error)
				error = failed(
					a->c.ps, BLAME_PROCESS(p), r, "thread %d did not come back", p->threads[i].tid);
		}
	return error;
}

static int capture_component(struct asking *a, const struct component *k, const struct batch *b, void *scratch)
{
	_cleanup_free_ void *state = calloc(1, k->kind.size);
	object_id id =
		k->scope == SCOPE_THREAD && k == &component_thread ? a->c.thread->id : identity_fresh(a->c.identities);
	int r;

	if (!state)
		return -ENOMEM;
	r = k->capture(&a->c, b, scratch, state);
	if (r == 0)
		r = image_add(a->c.writer, &k->kind, id, state);
	if (k->kind.fields)
		fields_free(k->kind.fields, state);
	return r == CAPTURE_NOTHING ? 0 : heed(&a->c, k->kind.name, r);
}

static int capture_thread(struct asking *a, struct thread *th)
{
	uint8_t *scratch = a->scratch + th->slot * a->size;
	int error = 0;

	a->c.thread = th;
	for (size_t i = 0; components[i]; i++) {
		const struct component *k = components[i];
		bool gone = th->stop.state == STOP_GONE;
		int r = 0;

		if (k->capture && ((k->scope == SCOPE_THREAD && (!gone || k == &component_thread)) ||
					  (k->scope == SCOPE_PROCESS && th == a->first)))
			r = capture_component(a, k, &a->batches[th->slot], scratch);
		if (r < 0 && !error)
			error = r;
		scratch += ALIGN_UP(k->scratch_size, 16ul);
	}
	return error;
}

static int capture_asked(struct asking *a, struct memory_plan *plan)
{
	struct process *p = a->c.process;
	int r = run_asked(a), error = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < p->n_threads; i++) {
		r = capture_thread(a, &p->threads[i]);
		if (r < 0 && !error)
			error = r;
	}
	a->c.thread = a->first;
	r = memory_capture(&a->c, &a->batches[a->first->slot],
		a->scratch + a->first->slot * a->size + a->size - MEMORY_SCRATCH, plan);
	r = heed(&a->c, "memory", r);
	return error ? error : r;
}

/* Mappings that a spore killed at its work left in the process. Few processes have any. The last first, for one is known by its first page. */
static int remove_leftovers(struct process *p, struct problems *ps)
{
	int r = 0;

	for (size_t i = p->injection.leftovers ? p->maps.n : 0; r == 0 && i-- > 0;)
		if (inject_is_leftover(p->living_tid, &p->maps, &p->maps.list[i]))
			r = inject_remove_leftover(&p->injection, p->maps.list[i].start, p->maps.list[i].end);
	return r < 0 ? failed(ps, BLAME_PROCESS(p), r, "what a killed spore left in its memory cannot be removed: %s",
			       strerror(-r))
		     : 0;
}

static int capture_alive(struct pass *pass, struct process *p, struct memory_plan *plan)
{
	struct asking a = { .c = capture_of(pass, p), .first = first_alive(p), .size = scratch_size() };
	int r;

	if (!a.first)
		return failed(pass->c->ps, BLAME_PROCESS(p), -ESRCH, "it is ending");
	a.batches = calloc(p->n_threads, sizeof(*a.batches));
	a.scratch = calloc(p->n_threads, a.size);
	r = a.batches && a.scratch ? 0 : -ENOMEM;
	if (r == 0)
		r = inject_begin(&p->injection, p->living_tid, &a.first->stop, &p->maps, p->n_threads,
			ARENA_PROCESS + p->n_threads * ARENA_THREAD + p->n_files * ARENA_FILE, pass->gadgets,
			pass->c->ps);
	if (r == 0) {
		p->injected = true;
		r = remove_leftovers(p, pass->c->ps);
		if (r == 0)
			r = capture_asked(&a, plan);
		if (r == 0 && pass->tracks)
			r = tracker_add(pass->c->tracker, p, a.first, plan);
		inject_end(&p->injection);
		p->injected = false;
	}
	for (size_t i = 0; a.batches && i < p->n_threads; i++)
		batch_free(&a.batches[i]);
	free(a.batches);
	free(a.scratch);
	return r;
}

static int capture_zombie(struct pass *pass, struct process *p)
{
	struct asking a = { .c = capture_of(pass, p) };
	int r = 0;

	for (size_t i = 0; r == 0 && components[i]; i++)
		if (components[i]->zombies)
			r = capture_component(&a, components[i], NULL, NULL);
	return r;
}

static int capture_process(struct pass *pass, size_t index)
{
	struct process *p = pass->c->tree->processes[index];
	struct capture c = capture_of(pass, p);
	int r = process_save(&c);

	pass->plans[index].older = older_memory(pass->c->older, (uint64_t)p->vpid);
	if (r == 0)
		r = p->zombie ? capture_zombie(pass, p) : capture_alive(pass, p, &pass->plans[index]);
	if (r < 0 && !pass->c->ps->n_failed && !pass->c->ps->n_refused)
		failed(pass->c->ps, BLAME_PROCESS(p), r, "cannot be captured: %s", strerror(-r));
	return r;
}

/* --- the tree --- */

static int capture_tree_components(struct pass *pass)
{
	struct asking a = { .c = capture_of(pass, pass->c->tree->processes[0]) };
	int r = 0;

	for (size_t i = 0; r == 0 && components[i]; i++)
		if (components[i]->scope == SCOPE_TREE && components[i]->capture)
			r = capture_component(&a, components[i], NULL, NULL);
	return r;
}

static int by_address(const void *a, const void *b)
{
	const struct page_run *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int add_memory_record(struct pass *pass, size_t index)
{
	struct memory_plan *plan = &pass->plans[index];
	struct memory_state s = plan->state;

	if (!s.of)
		return 0;
	if (s.n_runs && (plan->later.n || plan->older)) /* those of the stop came first */
		qsort(s.runs, s.n_runs, sizeof(*s.runs), by_address);
	s.inherited = plan->inherited.list;
	s.n_inherited = plan->inherited.n;
	s.guards = plan->guards.list;
	s.n_guards = plan->guards.n;
	return image_add(pass->c->writer, &component_memory.kind, identity_fresh(pass->ids), &s);
}

static int capture_all(struct pass *pass)
{
	struct problems *ps = pass->c->ps;
	int r;

	engine_phase(pass->c->events, "look");
	r = capture_identify(pass->c, pass->ids);
	if (r == 0)
		tracker_attach(pass->c->tracker, pass->c->tree, parent_id(pass->c));
	if (r == 0)
		r = files_of_tree(pass);
	if (r == 0)
		r = look_at_tree(pass);
	pass->tracks = r == 0 && pass->c->tracker && tracker_may(pass->c->tree, pass->kernel) && pass->c->tracks;
	/* a trial goes on, to find what only a task itself can tell */
	if (r == 0 && ps->first_error && !image_is_trial(pass->c->writer))
		r = ps->first_error;
	if (r == 0)
		engine_phase(pass->c->events, "capture");
	if (r == 0)
		r = pass_run(pass, capture_process);
	if (r == 0 && !ps->first_error)
		r = capture_tree_components(pass);
	if (r == 0 && ps->first_error)
		r = ps->first_error;
	if (r == 0 && pass->c->leaves)
		snapshots_take(pass);
	if (r == 0)
		engine_phase(pass->c->events, "pages");
	if (r == 0 && !image_is_trial(pass->c->writer))
		r = image_is_stream(pass->c->writer) ? streamed_stash(pass->c, pass->plans)
						     : pages_copy(pass->c, pass->plans);
	return r;
}

int capture_tree(struct capturing *c)
{
	struct pass *pass = calloc(1, sizeof(*pass));
	int r = -ENOMEM;

	c->pass = pass;
	if (!pass)
		return -ENOMEM;
	image_hold(c->writer, c->leaves); /* to compress in the stop would make it longer */
	*pass = (struct pass){
		.c = c,
		.ids = identities_new(),
		.gadgets = gadget_cache_new(),
		.witnesses = witnesses_new(),
		.plans = calloc(c->tree->n_processes, sizeof(*pass->plans)),
		.kernel = c->kernel,
	};
	if (pass->ids && pass->gadgets && pass->witnesses && pass->plans)
		r = capture_all(pass);
	pass_let_go(pass);
	return r;
}

static int refer_settled(struct pass *pass, size_t index)
{
	return memory_refer_settled(pass->c->writer, &pass->plans[index]);
}

/* Where all that lies which the image had before the stop. */
static int refer_to_settled(struct capturing *c)
{
	int r = pass_run_any(c->pass, refer_settled);

	for (size_t i = 0; i < c->tree->n_processes; i++)
		c->unchanged += c->pass->plans[i].unchanged;
	return r;
}

/* Where pages go is said before they are sent. */
static int send_rest(struct capturing *c)
{
	struct streamed *s = NULL;
	int r = streamed_lay_out(c, c->pass->plans, &s);

	if (r == 0)
		r = pass_run_any(c->pass, add_memory_record);
	engine_phase(c->events, "stream");
	if (r == 0)
		r = streamed_send(s);
	streamed_free(s);
	return r;
}

int capture_rest(struct capturing *c)
{
	int r = 0;

	if (image_is_stream(c->writer))
		return send_rest(c);
	r = refer_to_settled(c);
	image_hold(c->writer, false);
	if (r == 0 && (c->copies || c->stash)) {
		engine_phase(c->events, "copies");
		r = pages_copy_later(c, c->pass->plans);
	}
	if (r == 0)
		r = pages_compress(c);
	return r < 0 ? r : pass_run_any(c->pass, add_memory_record);
}

void capture_end(struct capturing *c)
{
	if (!c->pass)
		return;
	snapshots_end(c->pass);
	free(c->writers);
	c->writers = NULL;
	pass_free(c->pass);
	free(c->pass);
	c->pass = NULL;
}
