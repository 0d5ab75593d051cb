/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libspore and a keeper say to each other over a SOCK_SEQPACKET socket: one request, with descriptors,
 * then replies until REPLY_RESULT. A connection is good for one request. Both ends are of one version: a
 * keeper that meets another answers -EPROTONOSUPPORT.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <spore.h>

#define PROTOCOL_VERSION 2

enum call {
	CALL_ISOLATE = 1,
	CALL_CHECKPOINT,
	CALL_UNISOLATE,
	CALL_RESTORE,
	CALL_WAIT,
	CALL_CHECK,
	CALL_CHECK_IMAGE,
	CALL_MERGE,
};

/* Descriptors that come with a request, in this order; those there are stand as bits in request.fds. */
enum request_fd {
	REQUEST_PIDFD,	/* the tree's root */
	REQUEST_DIR,	/* of the image */
	REQUEST_PARENT, /* of the older image that a checkpoint is made against, or of the one to be merged */
	REQUEST_STDIN,
	REQUEST_STDOUT,
	REQUEST_STDERR,
	REQUEST_TERMINAL,
	REQUEST_N_FDS,
};

struct request {
	uint32_t version;
	uint32_t call;
	uint32_t flags;
	uint32_t timeout_ms;
	uint32_t compression; /* enum spore_compression */
	uint32_t fds;
	uint32_t clones;       /* of a restore: how many; asked of a keeper for several alone */
	char cgroup[PATH_MAX]; /* "": the tree of a process */
};

enum reply_kind {
	REPLY_LOG = 1,
	REPLY_PROBLEM,
	REPLY_PROGRESS,
	REPLY_CLONE,  /* one of several trees, in their order; its root's pidfd comes with it */
	REPLY_RESULT, /* the last; after a restore the root's pidfd comes with it */
};

struct reply_progress {
	char phase[64];
	uint64_t done, total;
};

struct reply {
	uint32_t version;
	uint32_t kind;
	int32_t result; /* 0 or negative errno */
	union {
		char log[1024];
		struct spore_problem problem;
		struct reply_progress progress;
		struct spore_checkpoint_result checkpoint;
		struct spore_restore_result restore;
		struct spore_merge_result merge;
		int32_t wait_status;
	};
};

/* Each sends or receives one message. 0 or negative errno; -ECONNRESET: the other end has gone. */
int request_send(int sock, const struct request *req, const int fds[REQUEST_N_FDS]);
/* fds: those not there are -1; the others are the caller's, close-on-exec. */
int request_receive(int sock, struct request *req, int fds[REQUEST_N_FDS]);
void request_close(int fds[REQUEST_N_FDS]);
/* block: false drops the message when the other end is slow (-EAGAIN). pidfd: -1, or one to send. */
int reply_send(int sock, const struct reply *reply, int pidfd, bool block);
int reply_receive(int sock, struct reply *reply, int *pidfd);

/*
 * After the result of a restore: the client has it. Until then the tree dies with either; then it is let go, if it was to run, and
 * another result says that it does.
 */
int result_confirm(int sock);
/* Waits for that. -ECONNRESET: the client died first. */
int result_await_confirmation(int sock);
