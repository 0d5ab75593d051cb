/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the identity of a thread that lives and of one that has ended have in common. */
#pragma once

#include "kernel/procfs.h"
#include "object/component.h"

struct credentials_state {
	object_id of;
	uint32_t uid, euid, suid, fsuid;
	uint32_t gid, egid, sgid, fsgid;
	uint64_t *groups;
	size_t n_groups;
	uint64_t inheritable, permitted, effective, bounding, ambient;
	uint32_t securebits;
	bool no_new_privs;
	uint8_t dumpable;
	int64_t request_keyring;
};

/* All that /proc/PID/status shows: not the securebits, nor whether the process is dumpable. */
int credentials_from_status(const struct proc_status *st, struct credentials_state *s);
int credentials_validate(struct restore *r, const struct record *rec);
/* Queues the change of the running task's identity. */
int credentials_identity(struct build *build, const void *state);
