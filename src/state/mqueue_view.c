/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/mqueue_view.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel/peek.h"

static int find_queue(struct kernel_peek *k, int fd, uint64_t *queue)
{
	uint64_t file, ignored, inode, offset;
	int err = k ? kernel_peek_file(k, fd, &file, &ignored) : -ENODATA;

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

/* --- messages --- */

#define DEPTH_MAX 64 /* of a tree of priorities; it is balanced */
#define PIECE	  4096

struct reading {
	struct kernel_peek *k;
	struct mqueue_message *list;
	size_t n, expected;
	uint64_t header; /* sizeof(struct msg_msg): the text begins behind it */
};

static int copy_piece(struct kernel_peek *k, uint64_t at, uint8_t *to, size_t size)
{
	for (size_t done = 0; done < size; done += PIECE) {
		int err = kernel_peek_bytes(k, at + done, to + done, MIN(size - done, (size_t)PIECE));

		if (err)
			return err;
	}
	return 0;
}

/* A message begins in a page of its own, and goes on in others: struct msg_msgseg. */
static int copy_text(struct reading *r, uint64_t message, uint8_t *text, size_t size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t part = MIN(size, page - (size_t)r->header);
	uint64_t next = 0;
	int err = copy_piece(r->k, message + r->header, text, part);

	if (!err)
		err = kernel_peek_member(r->k, message, "msg_msg", "next", &next);
	for (size_t done = part; !err && done < size; done += part) {
		part = MIN(size - done, page - sizeof(next));
		err = next ? copy_piece(r->k, next + sizeof(next), text + done, part) : -EBADMSG;
		if (!err)
			err = kernel_peek_member(r->k, next, "msg_msgseg", "next", &next);
	}
	return err;
}

static int add_message(struct reading *r, uint64_t message, uint64_t priority)
{
	struct mqueue_message *m = &r->list[r->n];
	uint64_t size = 0;
	int err = r->n < r->expected ? kernel_peek_member(r->k, message, "msg_msg", "m_ts", &size) : -EBADMSG;

	if (err)
		return err;
	m->priority = priority;
	m->text.size = (size_t)size;
	m->text.data = malloc((size_t)size + 1);
	if (!m->text.data)
		return -ENOMEM;
	r->n++;
	return copy_text(r, message, m->text.data, (size_t)size);
}

/* Those of one priority: struct posix_msg_tree_node. */
static int add_priority(struct reading *r, uint64_t node)
{
	uint64_t priority = 0, head = 0, at = 0, offset = 0;
	int err = kernel_peek_member(r->k, node, "posix_msg_tree_node", "priority", &priority);

	if (!err)
		err = kernel_peek_address(r->k, node, "posix_msg_tree_node", "msg_list", &head);
	if (!err)
		err = kernel_peek_address(r->k, 0, "msg_msg", "m_list", &offset);
	if (!err)
		err = kernel_peek_member(r->k, head, "list_head", "next", &at);
	while (!err && at != head) {
		err = add_message(r, at - offset, priority);
		if (!err)
			err = kernel_peek_member(r->k, at, "list_head", "next", &at);
	}
	return err;
}

/* The highest first: they are to the right. */
static int add_tree(struct reading *r, uint64_t rb, int depth)
{
	uint64_t offset = 0, higher = 0, lower = 0;
	int err = depth < DEPTH_MAX ? kernel_peek_address(r->k, 0, "posix_msg_tree_node", "rb_node", &offset) : -E2BIG;

	if (!err)
		err = kernel_peek_member(r->k, rb, "rb_node", "rb_right", &higher);
	if (!err)
		err = kernel_peek_member(r->k, rb, "rb_node", "rb_left", &lower);
	if (!err && higher)
		err = add_tree(r, higher, depth + 1);
	if (!err)
		err = add_priority(r, rb - offset);
	return err || !lower ? err : add_tree(r, lower, depth + 1);
}

static int read_messages(struct reading *r, int fd)
{
	struct member_place last;
	uint64_t queue = 0, root = 0;
	int err = find_queue(r->k, fd, &queue);

	if (!err)
		err = kernel_peek_place(r->k, "msg_msg", "security", &last);
	if (!err)
		err = kernel_peek_member(r->k, queue, "mqueue_inode_info", "msg_tree.rb_node", &root);
	if (err)
		return err;
	r->header = last.offset + last.size;
	err = root ? add_tree(r, root, 0) : 0;
	return err ? err : r->n == r->expected ? 0 : -EBADMSG;
}

int mqueue_view_messages(struct kernel_peek *kernel, int fd, size_t expected, struct mqueue_message **list, size_t *n)
{
	struct reading r = { .k = kernel, .list = calloc(expected + 1, sizeof(*r.list)), .expected = expected };
	int err = r.list ? read_messages(&r, fd) : -ENOMEM;

	if (err) {
		mqueue_messages_free(r.list, r.n);
		return err;
	}
	*list = r.list;
	*n = r.n;
	return 0;
}
