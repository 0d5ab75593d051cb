/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parent of a restored root. Its status is kept until somebody asks, or until who restored it is gone. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "init/moved.h"
#include "keeper/keeper.h"

#define INIT_END_MS 200

void parent_adopt(struct keeper *k, int client)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);
	int door;

	struct engine_child child;

	engine_take_child(k->engine, &child);
	k->child = child.pid;
	k->init_socket = child.init_socket;
	k->root_fd = (int)syscall(SYS_pidfd_open, k->tree_pid, 0);
	if (k->restorer_fd < 0 && getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
		k->restorer_fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (tree_id_of_pid(k->tree_pid, &k->id) < 0)
		return;
	door = door_claim(DOOR_PARENT, &k->id);
	if (door >= 0)
		k->parent_door = door;
}

static void drop_gone_waiters(struct keeper *k)
{
	size_t kept = 0;

	for (size_t i = 0; i < k->n_waiters; i++) {
		struct pollfd p = { .fd = k->waiters[i] };

		if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
			close(k->waiters[i]);
		else
			k->waiters[kept++] = k->waiters[i];
	}
	k->n_waiters = kept;
}

void parent_add_waiter(struct keeper *k, int sock)
{
	int *grown;

	drop_gone_waiters(k);
	grown = k->child ? reallocarray(k->waiters, k->n_waiters + 1, sizeof(int)) : NULL;
	if (!grown) {
		report_result(sock, k->child ? -ENOMEM : -ECHILD);
		close(sock);
		return;
	}
	k->waiters = grown;
	k->waiters[k->n_waiters++] = sock;
	if (k->child_ended)
		parent_end(k);
}

/*
 * An init ends when nothing of the tree is left, and that may be long after the root: then the system's init reaps it. The root is reaped as
 * soon as the socket is closed.
 */
static void reap_child(struct keeper *k)
{
	_cleanup_fd_ int init = k->init_socket < 0 ? -1 : (int)syscall(SYS_pidfd_open, k->child, 0);
	struct pollfd p = { .fd = init, .events = POLLIN };
	bool is_init = k->init_socket >= 0;

	close_fd(&k->init_socket);
	if (is_init && poll(&p, 1, INIT_END_MS) != 1)
		return;
	while (waitpid(k->child, NULL, __WALL) < 0 && errno == EINTR)
		;
}

void parent_end(struct keeper *k)
{
	struct reply reply = { .kind = REPLY_RESULT };

	reap_child(k);
	fill_note(k);
	reply.wait_status = k->child_status;
	for (size_t i = 0; i < k->n_waiters; i++) {
		report_problems(k->waiters[i], &k->fill_ps);
		reply_send(k->waiters[i], &reply, -1, true);
		close(k->waiters[i]);
	}
	k->n_waiters = 0;
	free(k->waiters);
	k->waiters = NULL;
	k->child = 0;
	door_leave(DOOR_PARENT, &k->id, &k->parent_door);
}

/* An init that died without a word was killed, and its tree with it. */
static void hear_status(struct keeper *k)
{
	struct moved_word word;
	ssize_t n;

	while ((n = recv(k->init_socket, &word, sizeof(word), 0)) < 0 && errno == EINTR)
		;
	k->child_status = n == sizeof(word) && word.kind == MOVED_ENDED ? word.value : SIGKILL;
}

void parent_note_status(struct keeper *k)
{
	siginfo_t info = { 0 };

	if (k->init_socket >= 0) {
		hear_status(k);
		return;
	}
	while (waitid(P_PID, (id_t)k->child, &info, WEXITED | WNOWAIT | __WALL) < 0)
		if (errno != EINTR)
			return;
	if (info.si_code == CLD_EXITED)
		k->child_status = (info.si_status & 0xff) << 8;
	else
		k->child_status = info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

void parent_child_ended(struct keeper *k)
{
	struct pollfd restorer = { .fd = k->restorer_fd, .events = POLLIN };

	k->child_ended = true;
	drop_gone_waiters(k);
	if (k->n_waiters || k->restorer_fd < 0 || poll(&restorer, 1, 0) == 1)
		parent_end(k);
}
