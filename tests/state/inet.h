/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of sockets of IPv4 and IPv6 have in common. */
#pragma once

#include "unix.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* How the two ends are made: a server at the loopback address, and who talks to it. */
enum { OVER_V4, OVER_V6, OVER_MAPPED /* a client of IPv4, a server of IPv6 */ };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

socklen_t size_of(const union address *a);
union address loopback(int family);
/* Bound to a port of the loopback address that the kernel chooses; -1. */
int bound_here(int over, int type, int protocol, union address *a);
int listening_here(int over, int backlog, union address *a);
/* A client of the server bound to *a, not connected yet; and the address at which it reaches it. */
int client_of(int over, int type, int protocol, const union address *a, union address *there);
/* A connection with fds[0] at the client's end. */
int connected_here(int over, int fds[2]);
/* A key for segments to and from these peers (TCP_MD5SIG_EXT); NULL: takes it away. 0 or negative errno. */
int sign(int fd, const char *ip, int prefix, int flags, const char *key);
/* From now on whatever the functions above make for TCP signs by such a key. Does it? */
void sign_all(void);
bool is_signed(int fd);
int level_option(int fd, int level, int name);
int is_called(int fd, bool peer, const union address *want);
int tcp_state_of(int fd);
/* Waits for what the other end says. */
int hears_soon(int at, const char *text);
int converse(const int fds[2]);
/* A filter for sockets that hear all of the machine: a number of two bytes stands at one of two places in a packet. */
int take_only(int from, int at, int or_at, int number);
/* Such a number, which is hardly that of somebody else who runs at the same time. */
int nobodys(void);
