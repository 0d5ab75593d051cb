/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX message queues, as the components of queues and of their notifications share them. */
#pragma once

#include <mqueue.h>

#include "state/files.h"

struct mqueue_message {
	uint64_t priority;
	struct blob text;
};

struct mqueue_state {
	char *name;    /* without the slash */
	bool unlinked; /* it has none any more */
	uint64_t inode;
	uint64_t mode, uid, gid;
	uint64_t max_messages, message_size;
	int64_t atime_s, mtime_s;
	uint64_t atime_ns, mtime_ns;
	struct mqueue_message *list; /* in the order in which they are received */
	size_t n;
};

extern const struct component component_mqueue;

bool mqueue_matches(const struct file_look *f);

/* What reading the file tells (mq_overview(7)). */
struct mqueue_notice {
	int how; /* SIGEV_* */
	int signo;
	pid_t pid; /* 0: nobody is to be told */
};
int mqueue_notice_read(int fd, struct mqueue_notice *out);

/*
 * The messages of a queue: fd is one of spore's own, O_RDWR and O_NONBLOCK. They have to be taken out and put back, which a child does that outlives spore.
 * told: somebody is to be told when a message comes to the empty queue: then it never is empty meanwhile. -EBUSY: it cannot be done so.
 */
int mqueue_read(int fd, const struct mq_attr *attr, bool told, struct mqueue_message **list, size_t *n);
void mqueue_messages_free(struct mqueue_message *list, size_t n);

/* The file system that shows the queues of the namespace that the caller is in. Descriptor or negative errno. */
int mqueue_mount(void);

/* --- restore: mqueue_restore.c */
int mqueue_validate(struct restore *r, const struct record *rec);
int mqueue_open(struct restore *r, const struct record *rec, const struct file_state *file);
int mqueue_fill(struct restore *r, const struct record *rec);
