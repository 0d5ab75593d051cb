/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unix(7), SCM_RIGHTS. What comes in is checked here, so that the rest need not. */
#include "api/protocol.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(REQUEST_N_FDS * sizeof(int))];
};

static int send_message(int sock, const void *data, size_t size, const int *fds, size_t n_fds, int flags)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	return (size_t)n == size ? 0 : -EMSGSIZE;
}

/* How many descriptors came; they go to fds, which has room for REQUEST_N_FDS. */
static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		break;
	}
	return n;
}

static int receive_message(int sock, void *data, size_t size, int *fds, size_t *n_fds)
{
	struct iovec iov = { .iov_base = data, .iov_len = size };
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*n_fds = take_fds(&msg, fds);
	if (n == 0)
		return -ECONNRESET;
	return (size_t)n == size && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? 0 : -EPROTO;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
}

int request_send(int sock, const struct request *req, const int fds[REQUEST_N_FDS])
{
	struct request out = *req;
	int sent[REQUEST_N_FDS];
	size_t n = 0;

	out.version = PROTOCOL_VERSION;
	out.fds = 0;
	for (unsigned int i = 0; i < REQUEST_N_FDS; i++)
		if (fds[i] >= 0) {
			out.fds |= 1u << i;
			sent[n++] = fds[i];
		}
	return send_message(sock, &out, sizeof(out), sent, n, 0);
}

int request_receive(int sock, struct request *req, int fds[REQUEST_N_FDS])
{
	int got[REQUEST_N_FDS];
	size_t n = 0, used = 0;
	int r = receive_message(sock, req, sizeof(*req), got, &n);

	if (r == 0 && req->version != PROTOCOL_VERSION)
		r = -EPROTONOSUPPORT;
	if (r == 0 && ((req->fds >> REQUEST_N_FDS) || (size_t)__builtin_popcount(req->fds) != n))
		r = -EPROTO;
	if (r == 0 && !memchr(req->cgroup, '\0', sizeof(req->cgroup)))
		r = -EPROTO;
	if (r < 0) {
		close_all(got, n);
		return r;
	}
	for (unsigned int i = 0; i < REQUEST_N_FDS; i++)
		fds[i] = req->fds & (1u << i) ? got[used++] : -1;
	return 0;
}

void request_close(int fds[REQUEST_N_FDS])
{
	close_all(fds, REQUEST_N_FDS);
}

int reply_send(int sock, const struct reply *reply, int pidfd, bool block)
{
	struct reply out = *reply;

	out.version = PROTOCOL_VERSION;
	return send_message(sock, &out, sizeof(out), &pidfd, pidfd >= 0, block ? 0 : MSG_DONTWAIT);
}

/* Texts that a keeper of ours ended are ended; what another may send is too. */
static void end_texts(struct reply *reply)
{
	switch (reply->kind) {
	case REPLY_LOG:
		reply->log[sizeof(reply->log) - 1] = '\0';
		break;
	case REPLY_PROGRESS:
		reply->progress.phase[sizeof(reply->progress.phase) - 1] = '\0';
		break;
	case REPLY_PROBLEM:
		reply->problem.process[sizeof(reply->problem.process) - 1] = '\0';
		reply->problem.object[sizeof(reply->problem.object) - 1] = '\0';
		reply->problem.text[sizeof(reply->problem.text) - 1] = '\0';
		reply->problem.remedy[sizeof(reply->problem.remedy) - 1] = '\0';
		break;
	default:
		break;
	}
}

int reply_receive(int sock, struct reply *reply, int *pidfd)
{
	int got[REQUEST_N_FDS];
	size_t n = 0;
	int r = receive_message(sock, reply, sizeof(*reply), got, &n);

	if (r == 0 && reply->version != PROTOCOL_VERSION)
		r = -EPROTONOSUPPORT;
	if (r < 0 || n != 1 || !pidfd)
		close_all(got, n);
	else
		*pidfd = got[0];
	if (r == 0)
		end_texts(reply);
	return r;
}

int result_confirm(int sock)
{
	return send_message(sock, "", 1, NULL, 0, 0);
}

int result_await_confirmation(int sock)
{
	int none[REQUEST_N_FDS], r;
	size_t n = 0;
	char byte;

	do
		r = receive_message(sock, &byte, 1, none, &n);
	while (r == -EAGAIN); /* a client may be stopped for longer than the socket's timeout */
	close_all(none, n);
	return r;
}
