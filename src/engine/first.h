/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first process of a new tree: cloned by the keeper into its namespaces, and turned into the seed. */
#pragma once

#include "container/container.h"
#include "object/component.h"

struct first {
	struct restore *restore;
	const struct container_spec *container; /* NULL: the host's namespaces */
	pid_t number;				/* its pid in the innermost namespace; 0: any */
	struct slot *slot;
	int keeper_fd, seed_fd;
};

/* Its pid as the keeper sees it, or negative errno. */
pid_t first_start(struct first *f);
