/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore-graph: makers graph/SEED, for tests/state/run.py; and what seeds contain. See world.h. */
#include "../state/life.h"
#include "world.h"

enum { STEPS_BEFORE = 70, STEPS_AFTER = 50 };

static struct world world;

static int wait_for_children(struct world *w)
{
	for (int i = 0; i < w->n_processes; i++)
		if (w->processes[i].parent == w->me && w->common->pids[i])
			TRY(reap_ok(w->common->pids[i]));
	return 0;
}

static int steps_until(struct world *w, int end)
{
	while (w->step < end)
		if (world_step(w))
			return 1;
	return world_wait(w);
}

/* Those that are born on the way end here. */
static int rest_of_life(struct world *w)
{
	int self = w->me, r = steps_until(w, STEPS_BEFORE + STEPS_AFTER);

	if (!r)
		r = wait_for_children(w);
	if (w->me != self)
		_exit(r);
	return r;
}

static int graph_make(struct maker_ctx *ctx)
{
	struct common *common = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	CHECK(common != MAP_FAILED);
	shared(ctx);
	signal(SIGPIPE, SIG_IGN);
	world_init(&world, (uint64_t)ctx->arg, ctx, common);
	r = steps_until(&world, STEPS_BEFORE);
	if (!world.me)
		return r;
	if (!r)
		wait_for(&common->go);
	_exit(r ? r : rest_of_life(&world));
}

static int graph_use(struct maker_ctx *ctx)
{
	let_go(&world.common->go);
	return rest_of_life(&world);
}

static const struct maker *find(const char *name)
{
	static struct maker m = { .make = graph_make, .use = graph_use };
	char *end;

	if (strncmp(name, "graph/", 6))
		return NULL;
	m.name = name;
	m.arg = strtol(name + 6, &end, 10);
	return *end || m.arg < 0 ? NULL : &m;
}

/* Seeds as the driver wants them: from the environment, since it has no arguments for makers. */
static bool seeds(long *first, long *last)
{
	const char *range = getenv("GRAPH_SEEDS");

	*first = 1;
	*last = 20;
	return !range || sscanf(range, "%ld-%ld", first, last) == 2;
}

static int list(bool flags)
{
	long first, last;

	if (!seeds(&first, &last))
		return 2;
	for (long seed = first; seed <= last; seed++)
		printf(flags ? "graph/%ld\t0\t\ta random graph of processes and objects\n"
			     : "graph/%ld: a random graph\n",
			seed);
	return 0;
}

/* Which kinds were shared in which ways at the moment of the checkpoint; status 1 if a cell is empty. */
static int count(void)
{
	static const char *const ways[WAY_COUNT] = { "alone", "dup", "fork", "table", "passed", "watched", "flight" };
	static unsigned counts[K_COUNT][WAY_COUNT];
	bool empty = false;
	long first, last;

	if (!seeds(&first, &last))
		return 2;
	for (long seed = first; seed <= last; seed++) {
		world_init(&world, (uint64_t)seed, NULL, NULL);
		while (world.step < STEPS_BEFORE)
			world_step(&world);
		world_count(&world, counts);
	}
	printf("%-14s", "");
	for (int way = 0; way < WAY_COUNT; way++)
		printf(" %8s", ways[way]);
	printf("\n");
	for (int kind = 0; kind < K_COUNT; kind++) {
		printf("%-14s", kinds[kind].name);
		for (int way = 0; way < WAY_COUNT; way++) {
			bool cannot = way == WAY_WATCHED && !kinds[kind].pollable;

			if (cannot)
				printf(" %8s", "-");
			else
				printf(" %8u", counts[kind][way]);
			empty |= !cannot && !counts[kind][way];
		}
		printf("\n");
	}
	return empty;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--count"))
		return count();
	if (argc == 2 && (!strcmp(argv[1], "--list") || !strcmp(argv[1], "--flags")))
		return list(!strcmp(argv[1], "--flags"));
	return maker_life(argc, argv, find);
}
