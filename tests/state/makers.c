/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore-makers: runs one maker (see maker.h), or lists them all. */

#include "life.h"

/* MAKER_GROUPS, from meson.build: G(task) G(thread) and so on. */
#define G(g) extern const struct maker makers_##g[];
MAKER_GROUPS
#undef G

#define G(g) { #g, makers_##g },
const struct maker_group maker_groups[] = { MAKER_GROUPS{ NULL, NULL } };
#undef G

static void list(bool flags)
{
	for (const struct maker_group *g = maker_groups; g->name; g++)
		for (const struct maker *m = g->makers; m->name; m++) {
			if (flags)
				printf("%s/%s\t%u\t%s\t%s\n", g->name, m->name, m->flags, m->refusal ? m->refusal : "",
					m->what);
			else
				printf("%s/%s: %s\n", g->name, m->name, m->what);
		}
}

static const struct maker *find(const char *name)
{
	const char *slash = strchr(name, '/');

	if (!slash)
		return NULL;
	for (const struct maker_group *g = maker_groups; g->name; g++) {
		if (strlen(g->name) != (size_t)(slash - name) || strncmp(g->name, name, strlen(g->name)))
			continue;
		for (const struct maker *m = g->makers; m->name; m++)
			if (!strcmp(m->name, slash + 1))
				return m;
	}
	return NULL;
}

/* For makers that need a process which has called exec: waits for a writer of the fifo, exits with the
 * number. */
static int wait_and_exit(const char *path, int status)
{
	return open(path, O_RDONLY | O_CLOEXEC) < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
	if (argc == 2 && (!strcmp(argv[1], "--list") || !strcmp(argv[1], "--flags"))) {
		list(!strcmp(argv[1], "--flags"));
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "--wait"))
		return wait_and_exit(argv[2], atoi(argv[3]));
	return maker_life(argc, argv, find);
}
