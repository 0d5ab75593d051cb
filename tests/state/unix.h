/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of unix sockets have in common: unix_*.c. */
#pragma once

#include "maker.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* All of what is said, and nothing after it. */
int says(int from, const char *text);
int hears(int at, const char *text);
int talk(int a, int b); /* both ways */
int hangs_up(int at);
short poll_now(int fd, short events);
int option_of(int fd, int name);

socklen_t named(struct sockaddr_un *a, const char *name); /* "@x" is abstract */
int bound(int type, const char *name);
int listening(int type, const char *name, int backlog);
int dialled(int type, const char *name);
int is_named(int fd, bool peer, const char *name);

int send_with(int fd, const char *text, const int *fds, int n, const struct ucred *creds);
/* The message, up to `room` of it; what came with it. */
int receive(int fd, const char *text, size_t room, int *fds, int n_fds, struct ucred *creds);

const char *abstract_name(struct maker_ctx *ctx, const char *what, char name[static 100]);
