/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore-graph: makers graph/SEED, for tests/state/run.py; and what seeds contain. See world.h. */
#include "../state/life.h"
#include "world.h"

enum { STEPS_BEFORE = 130, STEPS_AFTER = 60 };

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
	if (!self)
		world_clean(w);
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

/*
 * Seeds as the driver wants them: from the environment, since it has no arguments for makers. "1,5,7-9". Returns the next of the list that *text is at; -1: the
 * end, -2: that is no list.
 */
static long next_seed(const char **text, long before)
{
	char *end;
	long seed = strtol(*text, &end, 10), last = seed;

	if (!**text)
		return -1;
	if (end == *text)
		return -2;
	if (*end == '-')
		last = strtol(end + 1, &end, 10);
	if (before >= seed && before < last)
		return before + 1;
	if (before == last && *end == ',') {
		*text = end + 1;
		return next_seed(text, -1);
	}
	return before == last ? -1 : seed;
}

static const char *seeds(void)
{
	const char *list = getenv("GRAPH_SEEDS");

	return list ? list : "1-20";
}

static int list(bool flags)
{
	const char *text = seeds();
	long seed = next_seed(&text, -1);

	for (; seed >= 0; seed = next_seed(&text, seed))
		printf(flags ? "graph/%ld\t0\t\ta random graph of processes and objects\n"
			     : "graph/%ld: a random graph\n",
			seed);
	return seed == -1 ? 0 : 2;
}

/* Which kinds were shared in which ways at the moment of the checkpoint; status 1 if a cell is empty. */
static int count(void)
{
	struct histogram *h = histogram_new();
	const char *text = seeds();
	long seed = next_seed(&text, -1);
	int r;

	if (!h)
		return 2;
	for (; seed >= 0; seed = next_seed(&text, seed)) {
		world_init(&world, (uint64_t)seed, NULL, NULL);
		while (world.step < STEPS_BEFORE)
			world_step(&world);
		histogram_add(h, &world);
	}
	r = histogram_print(h);
	free(h);
	return r;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--count"))
		return count();
	if (argc == 2 && (!strcmp(argv[1], "--list") || !strcmp(argv[1], "--flags")))
		return list(!strcmp(argv[1], "--flags"));
	return maker_life(argc, argv, find);
}
