/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first process of a new tree: cloned by the keeper into its namespaces, and turned into the seed. */
#pragma once

#include "container/container.h"
#include "engine/moved.h"
#include "object/component.h"

struct first {
	struct restore *restore;
	const struct container_spec
		*container;		     /* NULL: the host's namespaces, but for that of the pids if that is new */
	const struct container_spec *clocks; /* of its time namespace */
	bool new_pid_namespace;
	struct moving *moving; /* not NULL: it is spore-init, whose descendant the root is */
	pid_t number;	       /* the root's pid in the innermost namespace */
	struct slot *slot;
	uint64_t personality; /* of its exec: memory_personality() */
	char *seed;	      /* what the root is to exec the seed with */
	int keeper_fd, seed_fd;
	bool stays; /* the root: no exec of the seed, for it has what it is to share from this process's memory */
};

/*
 * Its pid as the keeper sees it, or negative errno; the root is then the seed, idle in its slot. -EEXIST: the root's number is taken, which is no
 * problem yet.
 */
pid_t first_start(struct first *f);
