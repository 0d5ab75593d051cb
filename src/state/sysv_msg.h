/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "state/sysv.h"

struct sysv_message {
	int64_t type;
	struct blob text;
};

struct sysv_msg_state {
	struct sysv_object o;
	uint64_t room;	     /* msg_qbytes */
	bool sent, received; /* once */
	uint64_t last_send,
		last_receive; /* processes, as the tree counts; 0: none, or not of the tree's pid namespace */
	struct sysv_message *list;
	size_t n;
};

extern const struct component component_sysv_msg;
extern const struct sysv_kind sysv_msg_kind;

/* --- restore: sysv_msg_restore.c */
int sysv_msg_validate(struct restore *r, const struct record *rec);
int sysv_msg_make(struct build *b, const void *state);
int sysv_msg_settle(struct restore *r, const struct record *rec);
