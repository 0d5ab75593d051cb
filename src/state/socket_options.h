/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of level SOL_SOCKET, which sockets of every family have: socket(7); net/core/sock.c. One list says how each is called, read, set
 * and written; a family's own levels can have lists of the same shape.
 *
 * X(member, constant, shape, when, "doc"). Every value is one number: OPTION_ABSENT where the kernel, or this kind of socket, has no such option.
 */
#pragma once

#include <sys/socket.h>

#include "base/problem.h"
#include "image/field.h"

/* Newer than the machine's headers. */
#define SPORE_SO_RCVMARK     75 /* 6.3 */
#define SPORE_SO_PASSPIDFD   76 /* 6.5 */
#define SPORE_SO_PEERPIDFD   77
#define SPORE_SO_RCVPRIORITY 82 /* 6.14 */
#define SPORE_SO_PASSRIGHTS  83 /* 6.16 */
#define SPORE_SO_INQ	     84 /* 6.17 */

#define OPTION_ABSENT INT64_MIN

enum option_shape {
	OPTION_INT,
	OPTION_SNDBUF, /* read doubled; set beyond the limit of users by another constant */
	OPTION_RCVBUF,
	OPTION_LONG,
	OPTION_LINGER, /* seconds, and bit 32 if on */
	OPTION_TIME,   /* microseconds */
	OPTION_PAIR,   /* two numbers: the second in the upper 32 bits */
};

/* The late ones change what filling a queue or connecting does. */
enum option_when { OPTION_EARLY, OPTION_LATE };

/* The order is that in which they are set: of the timestamps each kind excludes another. */
#define SOCKET_OPTIONS(X)                                                                                              \
	X(debug, SO_DEBUG, OPTION_INT, OPTION_EARLY, "SO_DEBUG")                                                       \
	X(reuseaddr, SO_REUSEADDR, OPTION_INT, OPTION_EARLY, "SO_REUSEADDR")                                           \
	X(reuseport, SO_REUSEPORT, OPTION_INT, OPTION_EARLY, "SO_REUSEPORT")                                           \
	X(dontroute, SO_DONTROUTE, OPTION_INT, OPTION_EARLY, "SO_DONTROUTE")                                           \
	X(broadcast, SO_BROADCAST, OPTION_INT, OPTION_EARLY, "SO_BROADCAST")                                           \
	X(keepalive, SO_KEEPALIVE, OPTION_INT, OPTION_LATE, "SO_KEEPALIVE")                                            \
	X(oobinline, SO_OOBINLINE, OPTION_INT, OPTION_LATE, "SO_OOBINLINE")                                            \
	X(no_check, SO_NO_CHECK, OPTION_INT, OPTION_EARLY, "SO_NO_CHECK")                                              \
	X(priority, SO_PRIORITY, OPTION_INT, OPTION_LATE, "SO_PRIORITY")                                               \
	X(mark, SO_MARK, OPTION_INT, OPTION_EARLY, "SO_MARK")                                                          \
	X(linger, SO_LINGER, OPTION_LINGER, OPTION_LATE, "SO_LINGER: seconds, and bit 32 if it is on")                 \
	X(sndbuf, SO_SNDBUF, OPTION_SNDBUF, OPTION_LATE, "SO_SNDBUF, as it is read: doubled")                          \
	X(rcvbuf, SO_RCVBUF, OPTION_RCVBUF, OPTION_LATE, "SO_RCVBUF, as it is read: doubled")                          \
	X(buf_lock, SO_BUF_LOCK, OPTION_INT, OPTION_LATE, "SO_BUF_LOCK: which of these two the program has set")       \
	X(rcvlowat, SO_RCVLOWAT, OPTION_INT, OPTION_LATE, "SO_RCVLOWAT")                                               \
	X(rcvtimeo, SO_RCVTIMEO_NEW, OPTION_TIME, OPTION_LATE, "SO_RCVTIMEO, microseconds")                            \
	X(sndtimeo, SO_SNDTIMEO_NEW, OPTION_TIME, OPTION_LATE, "SO_SNDTIMEO, microseconds")                            \
	X(timestamping, SO_TIMESTAMPING_OLD, OPTION_PAIR, OPTION_LATE, "SO_TIMESTAMPING_OLD: flags; above, the clock") \
	X(timestamping_new, SO_TIMESTAMPING_NEW, OPTION_PAIR, OPTION_LATE, "SO_TIMESTAMPING_NEW: the same")            \
	X(timestamp, SO_TIMESTAMP_OLD, OPTION_INT, OPTION_LATE, "SO_TIMESTAMP_OLD")                                    \
	X(timestampns, SO_TIMESTAMPNS_OLD, OPTION_INT, OPTION_LATE, "SO_TIMESTAMPNS_OLD")                              \
	X(timestamp_new, SO_TIMESTAMP_NEW, OPTION_INT, OPTION_LATE, "SO_TIMESTAMP_NEW")                                \
	X(timestampns_new, SO_TIMESTAMPNS_NEW, OPTION_INT, OPTION_LATE, "SO_TIMESTAMPNS_NEW")                          \
	X(rxq_ovfl, SO_RXQ_OVFL, OPTION_INT, OPTION_LATE, "SO_RXQ_OVFL")                                               \
	X(wifi_status, SO_WIFI_STATUS, OPTION_INT, OPTION_LATE, "SO_WIFI_STATUS")                                      \
	X(nofcs, SO_NOFCS, OPTION_INT, OPTION_LATE, "SO_NOFCS")                                                        \
	X(select_err_queue, SO_SELECT_ERR_QUEUE, OPTION_INT, OPTION_LATE, "SO_SELECT_ERR_QUEUE")                       \
	X(prefer_busy_poll, SO_PREFER_BUSY_POLL, OPTION_INT, OPTION_LATE, "SO_PREFER_BUSY_POLL")                       \
	X(busy_poll, SO_BUSY_POLL, OPTION_INT, OPTION_LATE, "SO_BUSY_POLL")                                            \
	X(max_pacing_rate, SO_MAX_PACING_RATE, OPTION_LONG, OPTION_LATE, "SO_MAX_PACING_RATE; -1: none")               \
	X(incoming_cpu, SO_INCOMING_CPU, OPTION_INT, OPTION_LATE, "SO_INCOMING_CPU")                                   \
	X(zerocopy, SO_ZEROCOPY, OPTION_INT, OPTION_EARLY, "SO_ZEROCOPY")                                              \
	X(txtime, SO_TXTIME, OPTION_PAIR, OPTION_LATE, "SO_TXTIME: clock; above, flags")                               \
	X(reserve_mem, SO_RESERVE_MEM, OPTION_INT, OPTION_LATE, "SO_RESERVE_MEM")                                      \
	X(txrehash, SO_TXREHASH, OPTION_INT, OPTION_EARLY, "SO_TXREHASH")                                              \
	X(rcvmark, SPORE_SO_RCVMARK, OPTION_INT, OPTION_LATE, "SO_RCVMARK")                                            \
	X(rcvpriority, SPORE_SO_RCVPRIORITY, OPTION_INT, OPTION_LATE, "SO_RCVPRIORITY")                                \
	X(passcred, SO_PASSCRED, OPTION_INT, OPTION_LATE, "SO_PASSCRED")                                               \
	X(passsec, SO_PASSSEC, OPTION_INT, OPTION_LATE, "SO_PASSSEC")                                                  \
	X(passpidfd, SPORE_SO_PASSPIDFD, OPTION_INT, OPTION_LATE, "SO_PASSPIDFD")                                      \
	X(passrights, SPORE_SO_PASSRIGHTS, OPTION_INT, OPTION_LATE, "SO_PASSRIGHTS")                                   \
	X(peek_off, SO_PEEK_OFF, OPTION_INT, OPTION_LATE, "SO_PEEK_OFF; -1: off")                                      \
	X(lock_filter, SO_LOCK_FILTER, OPTION_INT, OPTION_LATE, "SO_LOCK_FILTER")

#define SOCKET_OPTION_MEMBER(member, ...) int64_t member;
struct socket_options {
	SOCKET_OPTIONS(SOCKET_OPTION_MEMBER)
	uint64_t
		busy_poll_budget; /* SO_BUSY_POLL_BUDGET, which nobody can be asked for: state/socket_hidden.h; 0: not set */
	char *device;		  /* SO_BINDTODEVICE */
	struct blob filter;	  /* SO_ATTACH_FILTER: instructions of classic BPF */
};

extern const struct field socket_options_fields[];

/* One option of a list. */
struct socket_option {
	int level, name;
	enum option_shape shape;
	enum option_when when;
	size_t offset; /* of its int64_t */
	const char *doc;
};
#define SOCKET_OPTION_ROW(type, level_, member, name_, shape_, when_, doc_)                                            \
	{ .level = level_,                                                                                             \
		.name = name_,                                                                                         \
		.shape = shape_,                                                                                       \
		.when = when_,                                                                                         \
		.offset = offsetof(type, member),                                                                      \
		.doc = doc_ },

/* Of a list of n, into and from the struct at `values`. */
void options_read(int fd, const struct socket_option *list, size_t n, void *values);
/* Sets what is not as it should be. NULL, or the doc of the option that cannot be set, with errno. */
const char *options_write(
	int fd, const struct socket_option *list, size_t n, const void *values, enum option_when when);

/* Of level SOL_SOCKET. Capture: -ENOTSUP (and *what says why) for what cannot be carried. Nothing is changed on the socket. */
int socket_options_read(int fd, struct socket_options *o, const char **what);
int socket_options_write(
	struct problems *ps, const struct blame *who, int fd, const struct socket_options *o, enum option_when when);
/* The one that the program has attached, if any, in the place of what is there. */
int socket_filter_write(int fd, const struct blob *filter);
