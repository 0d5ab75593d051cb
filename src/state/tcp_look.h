/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All TCP sockets of a tree, seen together: who is connected with whom, and what is under way between them. */
#pragma once

#include <linux/tcp.h>

#include "state/sockets.h"
#include "state/tcp.h"

/* What was sent on a connection that a listener has not accepted yet. */
struct tcp_early {
	const struct inet_diag *child;
	struct blob data; /* of a client that was closed; a client of the tree has it in its `unsent` */
	uint64_t mark;	  /* 1 + where in it the byte out of band is; 0: there is none */
	bool whole;	  /* all that such a client had written */
};

/* What an end that was closed had written and is not acknowledged. */
struct tcp_orphan {
	uint32_t acked; /* the number of its first byte */
	struct blob data;
	uint64_t mark; /* as above */
};

struct tcp_look {
	struct tcp_info info;
	uint32_t info_rcv_wnd;		 /* tcpi_rcv_wnd, which follows since 6.2 */
	union inet_sockaddr local, peer; /* peer.any.sa_family is 0: none */
	const struct inet_diag *diag,
		*other_diag;	    /* its own; of the other end, if that is in the same network namespace */
	struct socket_look *other;  /* the other end, if it is in the tree */
	int unacked;		    /* SIOCOUTQ */
	struct blob unread, unsent; /* unsent: what has not come to the other end; */
	uint32_t unsent_seq;	    /* the number of its first byte */
	int mark;		    /* where in unread the byte out of band is; -1: none */
	bool mark_taken;
	bool urgent;	      /* it has sent a byte out of band that was not acknowledged; */
	uint32_t urgent_seq;  /* its number */
	uint64_t unsent_mark; /* 1 + where in unsent that is; 0: it is not among it */
	uint32_t snd_wnd, rcv_wnd;
	struct tcp_orphan rest;	 /* of a peer that was closed: what has not come; */
	bool rest_known;	 /* it could be read */
	struct tcp_early *early; /* of a listener */
	size_t n_early;
	const struct inet_diag *
		*queue; /* of a listener: what it has not accepted, in that order; empty where that cannot be read */
	size_t n_queue;
};

_Static_assert(
	sizeof(struct tcp_info) == 232 && offsetof(struct tcp_look, info_rcv_wnd) == 232, "one answer of the kernel");

int tcp_look(struct capture *c);
bool tcp_fin_received(const struct tcp_look *t);
/* Its peer was closed, but not before it had written what has not come yet. */
bool tcp_peer_sends_on(const struct tcp_look *t);
/* Puts the buffers of one direction together, from the byte of that number on. -ENOTSUP: there is a hole. */
int tcp_lay_out(struct capture *c, uint32_t from, const struct socket_buffers *b, struct blob *out);

/* tcp_orphan.c: d: an end that its program has closed, and the kernel still has something to send for. */
bool tcp_orphan_sends(const struct inet_diag *d);
/* Of that network namespace (its address in the kernel). -ENODATA and others: it cannot be read; -ENOENT: it has ended. */
int tcp_orphan_read(struct capture *c, uint64_t net, const struct inet_diag *d, struct tcp_orphan *out);
/* Without what has come to the other end, which awaits that byte next. */
int tcp_orphan_pass_over(struct tcp_orphan *o, uint32_t come);
void tcp_orphan_free(struct tcp_orphan *o);
void tcp_orphans_free(struct tcp_orphans *o); /* takes NULL */

/* tcp_early.c: of a listener; NULL: it could not be read. */
int tcp_read_early(struct capture *c, struct socket_look *s);
bool tcp_sent_early(const struct inet_diags *all, const struct inet_diag *child);
struct tcp_early *tcp_early_of(const struct tcp_look *listener, const struct inet_diag *child);
void tcp_look_free(struct tcp_look *t); /* takes NULL */

/* tcp_queue.c: what has come to it, and is not read. -ENOTSUP: this kernel does not show what is behind a byte out of band. */
int tcp_read_unread(int fd, struct tcp_look *t);
/* The same of one that is not at rest; *next: the number of the byte that it awaits. */
int tcp_read_come(int fd, struct tcp_look *t, uint32_t *next);
/* Between two ends of the tree: sent by `from`, and not come to `to` (fd -1: nothing has). Fills from->unsent, to->unread, and the windows of both. */
int tcp_read_under_way(int from_fd, struct tcp_look *from, int to_fd, struct tcp_look *to);
/*
 * A peer that was closed may still have something to send, which then lies in a socket that nobody has: it is let send, for a bounded time, into a
 * receive buffer that is widened for that.
 */
int tcp_draw(int pid, int fd, const struct tcp_look *t);
