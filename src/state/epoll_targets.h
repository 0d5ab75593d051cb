/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which descriptions an epoll watches: fdinfo lists the numbers under which they were added, which may have been closed or reused since. kcmp(2)
 * KCMP_EPOLL_TFD compares one with a description, but the kernel walks through all targets for that; where they are many, a child adds
 * what stands at each number now once more, which the kernel denies at once if it is there already. fs/eventpoll.c, kernel/kcmp.c.
 */
#pragma once

#include "object/descriptions.h"
#include "state/fdinfo.h"

struct epoll_watch {
	struct fdinfo_epoll info;
	uint32_t nth;  /* of those added under this number, which has been closed and reused in between */
	bool repeated; /* there are others */
	bool stands;   /* what stands at the number is it: the child has seen that */
};

struct epoll_watches {
	const struct file_look
		*epoll; /* of the process that was found to hold it first: kcmp names it by its number there */
	struct epoll_watch *list; /* in the order of fdinfo */
	size_t n;
};

/* 0 or negative errno. */
int epoll_watches_read(struct capture *c, const struct file_look *f, struct epoll_watches *out);
void epoll_watches_free(struct epoll_watches *w);
/* The description that is watched; 0: none that the tree has. */
object_id epoll_watch_file(struct capture *c, const struct epoll_watches *all, const struct epoll_watch *w);
