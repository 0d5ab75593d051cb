/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Of a POSIX message queue what the kernel shows to nobody, or only by giving it away: who is to be told when a message comes, and the messages. struct
 * mqueue_inode_info, struct msg_msg: ipc/mqueue.c, ipc/msgutil.c.
 */
#pragma once

#include "state/mqueue.h"

#define MQUEUE_COOKIE 32 /* NOTIFY_COOKIE_LEN */

struct mqueue_view {
	uint64_t value;		       /* SIGEV_SIGNAL: that the signal brings */
	uint64_t sock;		       /* SIGEV_THREAD: the netlink socket (struct sock) that is told, */
	uint8_t cookie[MQUEUE_COOKIE]; /* and what */
};

/* fd: of the queue, the keeper's own; how: SIGEV_*. 0 or negative errno. */
int mqueue_view_read(struct kernel_peek *kernel, int fd, int how, struct mqueue_view *out);
/* All `expected` messages, in the order in which they are received. The same; -EBADMSG: there are others. */
int mqueue_view_messages(struct kernel_peek *kernel, int fd, size_t expected, struct mqueue_message **list, size_t *n);
