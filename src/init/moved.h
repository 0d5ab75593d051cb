/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spore-init --moved: the first processes of a restored tree that moves to a pid namespace of its own. What the keeper gives it, and
 * what goes over the socket between them: messages whole (SOCK_SEQPACKET).
 *
 *	spore-init --moved ROOT ATTENDANT SESSION LAST FLAGS SEED
 *
 * ROOT, ATTENDANT and SESSION are pids to be born with; SESSION 0: the root's session is its own affair. LAST: pids of new processes
 * count from there. SEED is the argument with which the root execs the seed. FLAGS: MOVED_*.
 *
 * It says MOVED_UP, waits for one byte, with which a terminal may come for the session, and gives birth. When the root has ended
 * the keeper hears MOVED_ENDED; the root stays a zombie until the socket is shut.
 */
#pragma once

#define MOVED_LEADER_LIVES	1u /* the session's stand-in stays for as long as the root */
#define MOVED_PARENT_IN_SESSION 2u /* it is the root's parent, and so keeps the root's group from being orphaned */

/* Descriptors after those of a bare task (state/memory.h), which are handed to the root. */
#define MOVED_FD_SOCKET 3
#define MOVED_FD_BARE	3 /* how many the root is given */
#define MOVED_FD_SEED	2

enum moved_kind { MOVED_UP, MOVED_FAILED, MOVED_ENDED };

struct moved_word {
	int kind;
	int value; /* MOVED_FAILED: errno; MOVED_ENDED: the wait status */
	char what[56];
};
