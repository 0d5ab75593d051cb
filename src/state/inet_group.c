/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_group.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/macro.h"
#include "kernel/peek.h"
#include "state/sockets.h"

#define AT_ONCE	 512  /* pointers in one look */
#define ONE_LOOK 4096 /* bytes */

struct group {
	uint64_t at, program; /* struct sock_reuseport; struct bpf_prog, or 0 */
	uint64_t n, n_closed; /* those that listen no more are kept behind the others */
	uint64_t place;	      /* of the socket itself: 1 + its index; 0: it is not among them */
	bool whole;	      /* all belong to the tree */
};

static int find_place(struct kernel_peek *k, uint64_t sock, struct group *g)
{
	uint64_t list = 0, some[AT_ONCE];
	int err = kernel_peek_address(k, g->at, "sock_reuseport", "socks", &list);

	for (uint64_t i = 0; i < g->n && !err && !g->place; i += AT_ONCE) {
		size_t n = (size_t)MIN(g->n - i, (uint64_t)AT_ONCE);

		err = kernel_peek_bytes(k, list + i * sizeof(*some), some, n * sizeof(*some));
		for (size_t j = 0; j < n && !err && !g->place; j++)
			g->place = some[j] == sock ? i + j + 1 : 0;
	}
	return err;
}

static uint64_t members_in_tree(const struct capture *c, uint64_t group)
{
	const struct sockets *all = c->descriptions->sockets;
	uint64_t n = 0;

	for (size_t i = 0; i < all->n; i++)
		n += all->list[i].hidden.reuseport == group;
	return n;
}

static int read_group(struct capture *c, const struct socket_hidden *h, struct group *g)
{
	struct kernel_peek *k = c->kernel;
	int err = kernel_peek_member(k, h->reuseport, "sock_reuseport", "prog", &g->program);

	g->at = h->reuseport;
	if (!err)
		err = kernel_peek_member(k, g->at, "sock_reuseport", "num_socks", &g->n);
	if (!err)
		err = kernel_peek_member(k, g->at, "sock_reuseport", "num_closed_socks", &g->n_closed);
	if (!err)
		err = find_place(k, h->sock, g);
	g->whole = !err && members_in_tree(c, g->at) == g->n + g->n_closed;
	return err;
}

/* What was attached as a classic program is kept as it was. -ENOTSUP: it is not one. */
static int read_program(struct kernel_peek *k, uint64_t program, struct blob *out)
{
	uint64_t at = 0, length = 0, code = 0;
	int err = kernel_peek_member(k, program, "bpf_prog", "orig_prog", &at);

	if (err || !at)
		return err ? err : -ENOTSUP;
	err = kernel_peek_member(k, at, "sock_fprog_kern", "len", &length);
	if (!err)
		err = kernel_peek_member(k, at, "sock_fprog_kern", "filter", &code);
	if (err || !length || length > BPF_MAXINSNS)
		return err ? err : -ENOTSUP;
	out->size = length * sizeof(struct sock_filter);
	out->data = calloc(1, out->size);
	if (!out->data)
		return -ENOMEM;
	for (size_t done = 0; done < out->size && !err; done += ONE_LOOK)
		err = kernel_peek_bytes(k, code + done, out->data + done, MIN(out->size - done, (size_t)ONE_LOOK));
	return err;
}

int inet_group_capture(struct capture *c, const struct file_look *f, struct inet_hidden *s)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);
	struct group g = { 0 };
	int err = h->reuseport ? read_group(c, h, &g) : 0;

	if (err)
		return refused(c->ps, BLAME_FILE(f), "with whom it shares its port (SO_REUSEPORT) cannot be read");
	s->group = g.whole ? g.place : 0;
	if (!g.program)
		return 0;
	if (!s->group)
		return refused(c->ps,
			BLAME_FILE(f, .remedy = "name a tree that holds all of them, or let the program detach it "
						"(SO_DETACH_REUSEPORT_BPF)"),
			"a BPF program that chooses among sockets of its port (SO_ATTACH_REUSEPORT_CBPF), of which "
			"some are outside of the tree, or have been shut");
	err = read_program(c->kernel, g.program, &s->chooser);
	if (err == -ENOTSUP)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program detach it (SO_DETACH_REUSEPORT_BPF)"),
			"a program in eBPF that chooses among sockets of its port (SO_ATTACH_REUSEPORT_EBPF)");
	return err ? failed(c->ps, BLAME_FILE(f), err,
			     "the program that chooses among sockets of its port cannot be read")
		   : 0;
}

/* --- restore --- */

static int attach(int fd, struct sock_filter *code, size_t n)
{
	const struct sock_fprog program = { .len = (unsigned short)n, .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}

int inet_group_choose(int fd, const struct blob *program)
{
	return program->size ? attach(fd, (struct sock_filter *)(void *)program->data,
				       program->size / sizeof(struct sock_filter))
			     : 0;
}

int inet_group_choose_one(int fd, uint64_t group)
{
	struct sock_filter one = BPF_STMT(BPF_RET | BPF_K, (uint32_t)(group - 1));

	return group ? attach(fd, &one, 1) : 0;
}

int inet_group_choose_none(int fd, uint64_t group)
{
	int none = 0;

	return group && setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)) < 0 ? -errno : 0;
}
