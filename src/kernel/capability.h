/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calling thread's own capability sets. capabilities(7) */
#pragma once

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>

struct capability_sets {
	uint64_t inheritable, permitted, effective, bounding;
};

/* What capget(2) and PR_CAPBSET_READ say of this thread. */
void capabilities_own(struct capability_sets *c);
bool capable_own(unsigned int cap);
/* Changes this thread's effective set only, and returns what it was. Other threads keep theirs: the raw call
 * is one thread's. */
uint64_t capabilities_set_effective(uint64_t effective);
/* "cap_net_admin", or "capability 41" for one that these headers do not know. */
const char *capability_name(unsigned int cap, char buf[static 24]);
