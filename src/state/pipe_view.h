/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is in a fifo that must not be opened to be read: from the kernel's memory. struct pipe_inode_info: include/linux/pipe_fs_i.h, fs/pipe.c. */
#pragma once

#include "state/files.h"

struct pipe_view {
	uint64_t capacity;
	bool packets;
	int (*add)(void *arg, const void *data, size_t size); /* is told of what is in each slot */
	void *arg;
};

/* fd: any descriptor of it, O_PATH too. 0 or negative errno. */
int pipe_view_read(struct capture *c, int fd, struct pipe_view *v);
