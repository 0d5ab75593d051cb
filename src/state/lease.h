/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leases that are being broken: their holder was told, and has not answered. fcntl(2) F_SETLEASE; fs/locks.c. */
#pragma once

#include "state/fdinfo.h"
#include "state/files.h"

enum lease_break { LEASE_KEPT, LEASE_TO_READ, LEASE_GIVE_UP };

struct lease_look {
	bool exclusive; /* it is one for writing */
	uint64_t breaking;
};

/* What it is, and what it is to become, which alone fdinfo tells. Refuses by name. */
int lease_look(struct capture *c, const struct file_look *f, const struct fdinfo_lock *l, struct lease_look *out);
/* Of one that is set: breaks it again, without a signal; takes away the owner that setting it gave, if there was none. In the keeper. */
int lease_settle(struct build *b, object_id file, uint64_t breaking);
