/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What sockets of the lesser families have in common: owner, options of level SOL_SOCKET, the network namespace. */
#pragma once

#include "state/files.h"
#include "state/socket_options.h"

struct socket_base {
	uint64_t type, protocol;
	uint64_t mode, uid, gid;
	struct socket_options options;
};
extern const struct field socket_base_fields[];

/* Refuses by name, also an error that waits to be told. */
int socket_base_capture(struct capture *c, const struct file_look *f, int fd, struct socket_base *s);
bool socket_has_unread(int fd);
/* One that is to be told (SO_ERROR), which nobody can ask for without taking it. */
bool socket_has_error(int fd);
int socket_refuse_error(struct capture *c, const struct file_look *f);
/* Is it of the network namespace of the tree's root? Refuses by name. */
int socket_check_netns(struct capture *c, const struct file_look *f, int fd);
/* Nothing comes into it until socket_hear_again, */
int socket_base_open(struct restore *r, int family, const struct socket_base *s);
int socket_close_ears(int fd);
void socket_open_ears(int fd);
/* Around what sets its options, and at last: what the restore itself sends is not for it. With a filter that is locked it hears from the first on. */
void socket_before_options(int fd, const struct socket_options *o);
int socket_after_options(int fd, const struct socket_options *o);
int socket_hear_again(int fd, const struct socket_options *o);
/* A mark of this process's own (SO_MARK), since others may restore at the same time; a filter that takes what carries it, and nothing else. */
uint32_t socket_mark(void);
int socket_hear_marked(int fd);
/* It takes what begins with the same bytes, and has as many. */
int socket_hear_only(int fd, const uint8_t *data, size_t size);
/* How much room what it has got takes; waits until it has more. */
unsigned int socket_queued(int fd);
int socket_await(int fd, unsigned int before);
int socket_base_settle(
	struct restore *r, int fd, const char *name, const struct socket_base *s, const struct file_state *file);
/* In the socket's own network namespace; index 0, or no name: none. Negative errno. */
int socket_interface_name(int fd, int index, char **name);
int socket_interface_index(int fd, const char *name);
int socket_set_owner(int fd, uint64_t mode, uint64_t uid, uint64_t gid);
