/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What System V segments, semaphore sets and message queues have in common: sysvipc(7), /proc/sys/kernel/{shm,sem,msg}_next_id; ipc/util.c.
 *
 * In an IPC namespace of the tree's own, all are the tree's. In the host's they outlive the processes, as files do: carried are those that the tree alone
 * uses, and what is found at a restore is taken for the saved one only if nothing tells them apart.
 */
#pragma once

#include <sys/ipc.h>

#include "object/component.h"
#include "state/ipc_namespace.h"

struct sysv_object {
	uint64_t id, key, uid, gid, cuid, cgid, mode;
	int64_t changed; /* when it was made, or its owner or mode was set, seconds since 1970 */
};

#define SYSV_FIELDS(type)                                                                                              \
	FIELD_UINT(type, o.id, "id", "as the kernel numbers it"),                                                      \
		FIELD_HEX(type, o.key, "key", "0: IPC_PRIVATE, or one that is removed"),                               \
		FIELD_UINT(type, o.uid, "uid", "owner"), FIELD_UINT(type, o.gid, "gid", "group"),                      \
		FIELD_UINT(type, o.cuid, "cuid", "who made it"), FIELD_UINT(type, o.cgid, "cgid", "and its group"),    \
		FIELD_OCTAL(type, o.mode, "mode", "permissions"),                                                      \
		FIELD_INT(type, o.changed, "changed",                                                                  \
			"when it was made, or its owner or mode was set: no other object of the host's is taken for "  \
			"it")

struct sysv_object sysv_object_of(int id, const struct ipc_perm *p, time_t changed);

/* One of the three kinds. */
struct sysv_kind {
	const char *what;    /* "System V segment" */
	const char *next_id; /* of /proc/sys */
	char letter;	     /* of ipcrm(1) */
	long get;	     /* shmget, semget, msgget */
	bool sized;	     /* whose second argument is a size */
	int (*remove)(int id, const char *unused);
	/* 0 and who owns it, or negative errno. */
	int (*stat)(int id, struct sysv_object *out);
};

struct sysv_name {
	char s[96];
};
struct sysv_name sysv_name(const struct sysv_kind *k, const struct sysv_object *o);

/* Makes it with its id, as that process (its number in the tree; 0: any) and as the user who made it. In the namespace entered. */
int sysv_create(struct restore *r, const struct sysv_kind *k, const struct sysv_object *o, uint64_t size, pid_t maker,
	bool hosts);
/* A restore into the host's namespace: is what is there the saved one, left by a tree that was killed? 1: it is; 0: nothing is there; -ENOTSUP: refused. */
int sysv_found(struct restore *r, const struct sysv_kind *k, const struct sysv_object *o);
/* Has the tree an IPC namespace of its own, so that a restore makes one? */
bool sysv_is_own(const struct restore *r);
/* That of the tree that is being made. */
int sysv_enter(const struct restore *r, struct ipc_place *place);

/* A number as the image counts it of a process that the keeper sees with this one; 0: it is not of the tree, or has ended. */
pid_t sysv_vpid(const struct tree *t, pid_t pid);
