/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which segments there are in an IPC namespace, and which mappings of a tree are of which. */
#pragma once

#include <sys/shm.h>

#include "state/sysv_shm.h"

struct segment {
	int id;
	struct shmid_ds ds;
};

struct segments {
	struct segment *list;
	size_t n, room;
};

/* Room for all that there are now and some more, in memory shared with stand-ins. 0 or -ENOMEM */
int segments_init(struct segments *s);
void segments_free(struct segments *s);
/* Fills it, of the namespace entered; the processes' numbers are as the caller's pid namespace counts them. A stand-in may call it. 0, -ENOBUFS */
int segments_list(void *segments);
bool segments_have(const struct segments *s, uint64_t id);

/* A mapping that shows itself as one of a segment. */
struct attachment {
	int id;
	const struct process *process;
	const struct proc_map *map;
};

/* All of the tree, in the order of their segments: looked through once, for a machine may have hundreds of segments. */
struct attachments {
	struct attachment *list;
	size_t n;
};

/* The caller frees the list. 0 or -ENOMEM */
int attachments_find(const struct tree *t, struct attachments *a);

/* How a tree maps one segment. */
struct mapped {
	size_t n; /* mappings, as the kernel counts attachments */
	const struct process *process;
	unsigned long start, end; /* of one */
	uint64_t name_key;
};

struct mapped attachments_of(const struct attachments *a, int id);
