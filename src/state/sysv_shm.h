/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kernel/procfs.h"
#include "state/contents.h"
#include "state/sysv.h"

struct sysv_shm_state {
	struct sysv_object o;
	uint64_t name_key; /* under which it was made: its mappings show it for ever */
	uint64_t size;
	uint64_t creator, last; /* processes, as the tree counts; 0: none, or not of the tree's pid namespace */
	bool used;		/* it was attached once */
	bool destroyed, locked;
	struct extent *extents;
	size_t n_extents;
	struct blob tail; /* what is in its last page behind its size, for mappings show that page whole */
};

extern const struct component component_sysv_shm;
extern const struct sysv_kind sysv_shm_kind;

/* Does maps show this mapping as one of a segment? Its inode is then the segment's id. */
bool sysv_shm_maps(const struct proc_map *m);
object_id sysv_shm_id(struct capture *c, uint64_t id);

/* --- restore: sysv_shm_restore.c */
int sysv_shm_validate(struct restore *r, const struct record *rec);
int sysv_shm_make(struct build *b, const void *state);
int sysv_shm_settle(struct restore *r, const struct record *rec);
