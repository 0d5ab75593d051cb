/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The descriptor table of a process, for the engine. */
#pragma once

#include "object/component.h"

struct descriptor {
	uint64_t fd;
	bool cloexec;
	object_id file;
	uint64_t notify; /* F_NOTIFY: DN_* */
};

struct descriptors_state {
	object_id of;
	object_id shared_with;	 /* the parent, whose table this process uses (CLONE_FILES): nothing else is in
				  the record then */
	struct descriptor *list; /* ascending */
	size_t n;
};

/* The record of a process; NULL: it has none (a zombie). */
const struct descriptors_state *descriptors_of(const struct restore *r, object_id process);
const struct descriptor *descriptor_at(const struct descriptors_state *s, uint64_t fd); /* NULL: nothing */
/* Its highest descriptor; -1: none. With a shared table: the parent's. */
int descriptors_max(const struct restore *r, object_id process);
/* Must the process be born with CLONE_FILES from its parent? */
bool descriptors_shared(const struct restore *r, object_id process);
/* The process that has the table which this one uses: itself, or the one that it shares it with in the end. 0: the image does not tell. */
object_id descriptors_owner(const struct restore *r, object_id process);
