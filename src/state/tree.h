/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one record about the tree as a whole. */
#pragma once

#include "object/component.h"

struct tree_state {
	object_id root;
	bool own_pid_namespace; /* the root is pid 1 of its own */
	bool leader_outside;	/* the root's session is led by a living process outside of the tree */
	bool parent_in_session; /* and the root's parent, outside, is in it: it keeps the root's group from being orphaned */
	bool container;		/* made by `spore run`: what follows says how */
	char *name, *hostname, *domainname, *directory, *network;
	bool init;
	bool shm_limited;
	uint64_t shm_size, shm_inodes;
	uint64_t monotonic_ns, boottime_ns, realtime_ns; /* the tree's clocks when it was saved */
};

extern const struct component component_tree;
/* Is the path on a mount that is there only when the container is made again? */
bool tree_brings(const struct restore *r, const char *path);
/* What a path of the tree leads to, before the tree is there: its own init stands somewhere else. O_* flags; descriptor or negative errno. */
int tree_open_before(const struct restore *r, const char *path, uint64_t flags);
const struct tree_state *tree_state_of(const struct image *img); /* NULL: none */
