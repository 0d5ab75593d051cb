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

/* The fields that both have in the image. */
#define CREDENTIALS_FIELDS                                                                                             \
	FIELD_UINT(struct credentials_state, uid, "uid", "real user"),                                                 \
		FIELD_UINT(struct credentials_state, euid, "euid", "effective user"),                                  \
		FIELD_UINT(struct credentials_state, suid, "suid", "saved user"),                                      \
		FIELD_UINT(struct credentials_state, fsuid, "fsuid", "file system user"),                              \
		FIELD_UINT(struct credentials_state, gid, "gid", "real group"),                                        \
		FIELD_UINT(struct credentials_state, egid, "egid", "effective group"),                                 \
		FIELD_UINT(struct credentials_state, sgid, "sgid", "saved group"),                                     \
		FIELD_UINT(struct credentials_state, fsgid, "fsgid", "file system group"),                             \
		FIELD_UINTS(                                                                                           \
			struct credentials_state, groups, n_groups, "groups", SHOW_DECIMAL, "supplementary groups"),   \
		FIELD_HEX(struct credentials_state, inheritable, "inheritable",                                        \
			"capabilities kept over an exec of a file that takes them"),                                   \
		FIELD_HEX(                                                                                             \
			struct credentials_state, permitted, "permitted", "capabilities that it may make effective"),  \
		FIELD_HEX(struct credentials_state, effective, "effective", "capabilities in force"),                  \
		FIELD_HEX(                                                                                             \
			struct credentials_state, bounding, "bounding", "capabilities that an exec can give at most"), \
		FIELD_HEX(struct credentials_state, ambient, "ambient", "capabilities kept over any exec")

/* All that /proc/PID/status shows: not the securebits, nor whether the process is dumpable. */
int credentials_from_status(const struct proc_status *st, struct credentials_state *s);
int credentials_validate(struct restore *r, const struct record *rec);
/* Queues the change of the running task's identity. */
int credentials_identity(struct build *build, const void *state);
