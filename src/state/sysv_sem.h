/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "state/sysv.h"

struct semaphore {
	uint64_t value;
	uint64_t
		last; /* the process that changed it last, as the tree counts; 0: none, or not of the tree's pid namespace */
};

struct sysv_sem_state {
	struct sysv_object o;
	bool operated; /* semop was called on it once */
	struct semaphore *list;
	size_t n;
};

extern const struct component component_sysv_sem;
extern const struct sysv_kind sysv_sem_kind;

union semun {
	int val;
	struct semid_ds *set;
	unsigned short *array;
	struct seminfo *info;
};

object_id sysv_sem_id(struct capture *c, uint64_t id);
/* Is this set of the host's namespace the tree's: is every semaphore's last user of it? */
bool sysv_sem_is_trees(const struct tree *t, int id, size_t n);

/* --- restore: sysv_sem_restore.c */
int sysv_sem_validate(struct restore *r, const struct record *rec);
int sysv_sem_make(struct build *b, const void *state);
int sysv_sem_settle(struct restore *r, const struct record *rec);
