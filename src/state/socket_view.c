/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_view.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arch/x86_64/memory_map.h"
#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/peek.h"

#define MOST_BUFFERS (1u << 16)
#define MOST_PARTS   256
#define MOST_DEPTH   64 /* of a balanced tree */
#define ONE_LOOK     4096

struct socket_view {
	struct kernel_peek *kernel;
	struct memory_map map;
};

static int agrees(struct socket_view *v);

int socket_view_open(struct kernel_peek *kernel, struct socket_view **out)
{
	struct socket_view *v = kernel ? calloc(1, sizeof(*v)) : NULL;
	int err;

	if (!v)
		return kernel ? -ENOMEM : -ENODATA;
	v->kernel = kernel;
	err = memory_map_find(kernel, &v->map);
	if (!err)
		err = agrees(v);
	if (err)
		free(v);
	else
		*out = v;
	return err;
}

void socket_view_free(struct socket_view *v)
{
	free(v);
}

/* A member's value, of at most 8 bytes. */
static int get(struct socket_view *v, uint64_t at, const char *type, const char *member, uint64_t *value)
{
	return kernel_peek_member(v->kernel, at, type, member, value);
}

static int offset_of(struct socket_view *v, const char *type, const char *member, uint64_t *offset)
{
	return kernel_peek_address(v->kernel, 0, type, member, offset);
}

int socket_view_find(struct socket_view *v, int fd, uint64_t *sock)
{
	uint64_t file = 0, at = 0;
	int err = kernel_peek_file(v->kernel, fd, &file, &at);

	return err ? err : get(v, at, "socket", "sk", sock);
}

int socket_view_errors(struct socket_view *v, uint64_t sock, struct socket_errors *out)
{
	uint64_t now = 0, soft = 0, queue = 0, queued = 0;
	int err = get(v, sock, "sock", "sk_err", &now);

	if (!err)
		err = get(v, sock, "sock", "sk_err_soft", &soft);
	if (!err)
		err = kernel_peek_address(v->kernel, sock, "sock", "sk_error_queue", &queue);
	if (!err)
		err = get(v, queue, "sk_buff_head", "qlen", &queued);
	*out = (struct socket_errors){ .now = (uint32_t)now, .soft = (uint32_t)soft, .queued = (uint32_t)queued };
	return err;
}

/* --- buffers --- */

struct part {
	uint64_t at, size;
};

uint64_t socket_view_page(const struct socket_view *v, uint64_t page)
{
	return v->map.page_offset + (page - v->map.vmemmap) / KERNEL_STRUCT_PAGE * KERNEL_PAGE;
}

static int read_part(struct socket_view *v, const struct part *p, uint8_t *to)
{
	int err = 0;

	for (uint64_t done = 0; done < p->size && !err;) {
		uint64_t n = MIN(p->size - done, (uint64_t)ONE_LOOK);

		err = kernel_peek_bytes(v->kernel, p->at + done, to + done, n);
		done += n;
	}
	return err;
}

/* What tells of a page where a buffer's data lie: its address and two numbers of 4 bytes. */
static const struct page_kind {
	const char *type, *size, *offset;
} page_kinds[] = {
	{ "skb_frag", "len", "offset" }, { "bio_vec", "bv_len", "bv_offset" }, /* before Linux 6.9 */
};

static const struct page_kind *page_kind_of(struct socket_view *v)
{
	uint64_t at;

	return &page_kinds[offset_of(v, page_kinds[0].type, page_kinds[0].size, &at) < 0];
}

/* What of it lies in pages of their own. */
static int find_pages(struct socket_view *v, uint64_t shared, struct part *parts, size_t *n)
{
	uint64_t page = 0, count = 0, at = 0, at_size = 0, at_offset = 0, offset = 0;
	const struct page_kind *k = page_kind_of(v);
	int err = get(v, shared, "skb_shared_info", "nr_frags", &count);

	if (!err)
		err = kernel_peek_address(v->kernel, shared, "skb_shared_info", "frags", &at);
	if (!err)
		err = offset_of(v, k->type, k->size, &at_size);
	if (!err)
		err = offset_of(v, k->type, k->offset, &at_offset);
	if (err || count + *n > MOST_PARTS)
		return err ? err : -ENOTSUP;
	for (uint64_t i = 0; i < count && !err; i++, at += MAX(at_size, at_offset) + sizeof(uint32_t)) {
		err = kernel_peek_bytes(v->kernel, at, &page, sizeof(page));
		if (!err)
			err = get(v, at, k->type, k->size, &parts[*n].size);
		if (!err)
			err = get(v, at, k->type, k->offset, &offset);
		if (page & 1)
			return -ENOTSUP; /* memory of a device */
		parts[(*n)++].at = socket_view_page(v, page) + offset;
	}
	return err;
}

/* Where the data of a buffer lie. */
struct layout {
	uint64_t length, paged, head, data, end, network;
};

static int read_layout(struct socket_view *v, uint64_t skb, struct layout *l)
{
	const struct {
		const char *member;
		uint64_t *value;
	} members[] = { { "len", &l->length }, { "data_len", &l->paged }, { "head", &l->head }, { "data", &l->data },
		{ "end", &l->end }, { "network_header", &l->network } };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !err; i++)
		err = get(v, skb, "sk_buff", members[i].member, members[i].value);
	return err ? err : l->paged > l->length || l->length > 64u << 20 ? -EAGAIN : 0;
}

/* Packets that were put together from fragments are a list of buffers. */
static int find_listed(struct socket_view *v, uint64_t shared, struct part *parts, size_t *n)
{
	uint64_t at = 0, more = 0;
	struct layout l;
	int err = get(v, shared, "skb_shared_info", "frag_list", &at);

	while (!err && at) {
		err = read_layout(v, at, &l);
		if (!err)
			err = get(v, l.head + l.end, "skb_shared_info", "frag_list", &more);
		if (err || more || *n == MOST_PARTS)
			return err ? err : -ENOTSUP;
		parts[(*n)++] = (struct part){ l.data, l.length - l.paged };
		err = find_pages(v, l.head + l.end, parts, n);
		if (!err)
			err = get(v, at, "sk_buff", "next", &at);
	}
	return err;
}

static int read_data(struct socket_view *v, uint64_t skb, bool headers, struct socket_buffer *out)
{
	struct part parts[MOST_PARTS];
	struct layout l;
	size_t n = 1, total = 0;
	int err = read_layout(v, skb, &l);

	if (err)
		return err;
	parts[0] = (struct part){ l.data, l.length - l.paged };
	if (headers && l.network != UINT16_MAX && l.head + l.network <= l.data)
		parts[0] = (struct part){ l.head + l.network, l.length - l.paged + l.data - l.head - l.network };
	if (l.paged)
		err = find_pages(v, l.head + l.end, parts, &n);
	if (l.paged && !err)
		err = find_listed(v, l.head + l.end, parts, &n);
	for (size_t i = 0; i < n && !err; i++)
		out->size += parts[i].size;
	out->data = err ? NULL : malloc(out->size ? out->size : 1);
	if (!err && !out->data)
		err = -ENOMEM;
	for (size_t i = 0; i < n && !err; total += parts[i++].size)
		err = read_part(v, &parts[i], out->data + total);
	return err;
}

static int add_buffer(struct socket_view *v, uint64_t skb, bool headers, struct socket_buffers *out)
{
	struct socket_buffer *grown = reallocarray(out->list, out->n + 1, sizeof(*grown)), *b;
	uint64_t cb = 0;
	int err;

	if (!grown)
		return -ENOMEM;
	out->list = grown;
	b = &grown[out->n++];
	*b = (struct socket_buffer){ .address = skb };
	err = kernel_peek_address(v->kernel, skb, "sk_buff", "cb", &cb);
	if (!err)
		err = kernel_peek_bytes(v->kernel, cb, b->cb, sizeof(b->cb));
	if (!err)
		err = get(v, skb, "sk_buff", "sk", &b->sock);
	return err ? err : read_data(v, skb, headers, b);
}

int socket_view_queue(
	struct socket_view *v, uint64_t sock, enum socket_view_queue which, bool headers, struct socket_buffers *out)
{
	static const char *const queues[][2] = { [QUEUE_RECEIVED] = { "sock", "sk_receive_queue" },
		[QUEUE_ERRORS] = { "sock", "sk_error_queue" },
		[QUEUE_ASIDE] = { "udp_sock", "reader_queue" },
		[QUEUE_WRITTEN] = { "sock", "sk_write_queue" } };
	const size_t before = out->n;
	uint64_t queue = 0, at = 0, length = 0;
	int err = kernel_peek_address(v->kernel, sock, queues[which][0], queues[which][1], &queue);

	if (!err)
		err = get(v, queue, "sk_buff_head", "qlen", &length);
	if (!err)
		err = get(v, queue, "sk_buff_head", "next", &at);
	while (!err && at != queue && out->n - before <= MIN(length, MOST_BUFFERS)) {
		err = add_buffer(v, at, headers, out);
		if (!err)
			err = get(v, at, "sk_buff", "next", &at);
	}
	return err ? err : out->n - before == length ? 0 : -EAGAIN;
}

/* In order: a buffer's left branch, itself, its right one. */
static int add_tree(struct socket_view *v, uint64_t node, int depth, struct socket_buffers *out)
{
	uint64_t left = 0, right = 0, offset = 0;
	int err;

	if (!node)
		return 0;
	if (!depth || out->n > MOST_BUFFERS)
		return -EAGAIN;
	err = offset_of(v, "sk_buff", "rbnode", &offset);
	if (!err)
		err = get(v, node, "rb_node", "rb_left", &left);
	if (!err)
		err = get(v, node, "rb_node", "rb_right", &right);
	if (!err)
		err = add_tree(v, left, depth - 1, out);
	if (!err)
		err = add_buffer(v, node - offset, false, out);
	return err ? err : add_tree(v, right, depth - 1, out);
}

/* What was sent is a tree by its numbers, what was not yet a list. */
int socket_view_unsent(struct socket_view *v, uint64_t sock, struct socket_buffers *out)
{
	uint64_t root = 0;
	int err = get(v, sock, "sock", "tcp_rtx_queue", &root);

	if (!err)
		err = add_tree(v, root, MOST_DEPTH, out);
	return err ? err : socket_view_queue(v, sock, QUEUE_WRITTEN, false, out);
}

struct sock_extended_err socket_view_error_of(struct socket_view *v, const struct socket_buffer *b)
{
	struct sock_extended_err ee = { .ee_origin = SO_EE_ORIGIN_NONE };
	uint64_t offset = 0;

	if (!offset_of(v, "sock_exterr_skb", "ee", &offset) && offset + sizeof(ee) <= sizeof(b->cb))
		memcpy(&ee, b->cb + offset, sizeof(ee));
	return ee;
}

void socket_buffers_free(struct socket_buffers *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->list[i].data);
	free(b->list);
	*b = (struct socket_buffers){ 0 };
}

/* Kernels differ: is what is read what was sent? A message that has both a head and pages. */
static int agrees(struct socket_view *v)
{
	enum { SIZE = 20000 };
	_cleanup_free_ uint8_t *sent = malloc(SIZE);
	struct socket_buffers seen = { 0 };
	uint64_t sock;
	int pair[2], err;

	if (!sent || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < SIZE; i++)
		sent[i] = (uint8_t)(i * 31 + i / 251);
	err = send(pair[0], sent, SIZE, MSG_DONTWAIT) == SIZE ? socket_view_find(v, pair[1], &sock) : -ENOTSUP;
	if (!err)
		err = socket_view_queue(v, sock, QUEUE_RECEIVED, false, &seen);
	if (!err && (seen.n != 1 || seen.list[0].size != SIZE || memcmp(seen.list[0].data, sent, SIZE) != 0))
		err = -ENOTSUP;
	socket_buffers_free(&seen);
	close(pair[0]);
	close(pair[1]);
	return err;
}
