/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What waits to be read from a unix socket, looked at without taking any of it: MSG_PEEK and SO_PEEK_OFF, unix(7), socket(7); net/unix/af_unix.c.
 * That needs options of the socket to be changed for a moment. A short-lived child does it, which lives on if spore is killed meanwhile.
 */
#pragma once

#include <sys/types.h>

#include "image/field.h"

enum { MARK_NONE, MARK_OUT_OF_BAND, MARK_TAKEN };

/* One message; of a stream, bytes that were sent alike: with the same credentials, or behind a descriptor. */
struct queue_message {
	uint8_t *data;
	size_t size;
	char *from; /* address of the sender (sun_path), from_size bytes */
	size_t from_size;
	bool has_credentials;
	pid_t pid; /* as the tree counts, if pid_ns was given; 0: nobody it knows */
	uid_t uid;
	gid_t gid;
	int *fds; /* descriptors in this process */
	size_t n_fds;
	uint8_t mark; /* the first byte is out of band; or, before the first, one was that has been taken */
};

struct socket_queue {
	struct queue_message *list;
	size_t n;
};

/* pid_ns: a descriptor of the pid namespace that credentials are told in; -1: this process's own. */
/* -ENOTSUP: a byte out of band whose place cannot be told. -EUCLEAN: not of a stream: an error is to be told before any of it, and a look would take that. */
int socket_queue_read(int fd, int type, int pid_ns, struct socket_queue *out);
void socket_queue_free(struct socket_queue *q); /* and closes the descriptors */
