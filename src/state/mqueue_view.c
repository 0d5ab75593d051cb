/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/mqueue_view.h"

#include <errno.h>
#include <signal.h>

#include "kernel/peek.h"

static int find_queue(struct kernel_peek *k, int fd, uint64_t *queue)
{
	uint64_t file, ignored, inode, offset;
	int err = k ? kernel_peek_file(k, fd, &file, &ignored) : -EOPNOTSUPP;

	if (!err)
		err = kernel_peek_member(k, file, "file", "f_inode", &inode);
	if (!err)
		err = kernel_peek_address(k, 0, "mqueue_inode_info", "vfs_inode", &offset);
	if (!err)
		*queue = inode - offset;
	return err;
}

static int read_value(struct kernel_peek *k, uint64_t queue, uint64_t *value)
{
	uint64_t event;
	int err = kernel_peek_address(k, queue, "mqueue_inode_info", "notify", &event);

	return err ? err : kernel_peek_member(k, event, "sigevent", "sigev_value", value);
}

static int read_cookie(struct kernel_peek *k, uint64_t queue, struct mqueue_view *out)
{
	uint64_t buffer, data;
	int err = kernel_peek_member(k, queue, "mqueue_inode_info", "notify_sock", &out->sock);

	if (!err)
		err = kernel_peek_member(k, queue, "mqueue_inode_info", "notify_cookie", &buffer);
	if (!err)
		err = kernel_peek_member(k, buffer, "sk_buff", "data", &data);
	return err ? err : kernel_peek_bytes(k, data, out->cookie, sizeof(out->cookie));
}

int mqueue_view_read(struct kernel_peek *kernel, int fd, int how, struct mqueue_view *out)
{
	uint64_t queue = 0;
	int err = find_queue(kernel, fd, &queue);

	*out = (struct mqueue_view){ 0 };
	if (err)
		return err;
	return how == SIGEV_THREAD ? read_cookie(kernel, queue, out) : read_value(kernel, queue, &out->value);
}
