/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All sockets of a tree, seen together: who is connected with whom, and what lies in their queues. Descriptors in flight are found here, before
 * anything is captured: a description that only a queue holds is part of the tree like any other.
 */
#pragma once

#include "object/component.h"
#include "object/descriptions.h"
#include "state/inet_diag.h"
#include "state/sock_diag.h"
#include "state/socket_hidden.h"
#include "state/socket_view.h"
#include "state/socket_queue.h"

/* AF_UNIX: what was sent on a connection that nobody has accepted yet. */
struct socket_early {
	struct socket_early *next;
	struct socket_queue queue;
	struct file_look *in_flight; /* one for each descriptor in it, in order */
	size_t n_in_flight;
};

struct socket_look {
	struct description *description;
	uint64_t ino;
	int family, type;
	struct socket_hidden hidden;
	const struct unix_diag *diag; /* AF_UNIX; NULL: not of the tree's network namespace */
	struct socket_queue queue;    /* read once; empty where nothing is read at all (a tree that runs, a trial) */
	struct file_look *in_flight;  /* one for each descriptor in the queue, in order */
	size_t n_in_flight;
	bool is_read;
	bool ends_at_mark;	    /* of a stream: behind its queue is the mark of a byte out of band that was taken */
	struct socket_early *early; /* its own; of a listener: of clients that have closed since */
	struct tcp_look *tcp;	    /* TCP: state/tcp_look.h */
	bool waits;		    /* connected to a listener of the tree, which has not accepted it yet */
};

struct sockets {
	struct unix_diags diags;
	struct inet_diags inet;	  /* if there is a TCP socket */
	struct socket_look *list; /* by inode */
	size_t n, room;
	struct socket_places *places; /* NULL: what sockets hide cannot be read */
	pthread_mutex_t view_lock;
	struct socket_view *view; /* opened when it is first asked for */
	int view_error;
	struct tcp_orphans *orphans; /* TCP: state/tcp_orphan.c; when they are first asked for */
};

/* Once every process's descriptors are known: fills c->descriptions->sockets and description->family, and adds what is in flight to the descriptions. */
int sockets_find(struct capture *c);
void sockets_free(struct sockets *s);					     /* takes NULL */
struct socket_look *socket_find(const struct descriptions *d, uint64_t ino); /* NULL: none of the tree's */
/* Reads the queue, if that was not done yet. */
int socket_read_queue(struct capture *c, struct socket_look *s);
/* What it sent and nobody has accepted yet. 0; it may have been refused, which leaves *out NULL. */
int socket_read_early(struct capture *c, struct socket_look *s, const struct socket_early **out);
/* The same of the i-th of n connections that wait at a listener, whose client has closed since. */
int socket_read_closed(
	struct capture *c, struct socket_look *listener, size_t i, size_t n, const struct socket_early **out);
/* For what cannot be asked for. Negative errno where it cannot be had. */
int sockets_view(struct capture *c, struct socket_view **out);
/* What has come to a socket and was not read. headers: of packets, from the network header on. */
int sockets_view_received(struct capture *c, int fd, bool headers, struct socket_buffers *out);
