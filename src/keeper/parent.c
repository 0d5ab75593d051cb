/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parent of a restored root. Its status is kept until somebody asks, or until who restored it is gone. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "engine/container.h"
#include "keeper/keeper.h"

/* The engine has entered what it rebuilt as a container; any other tree stands in the register under its pid.
 */
static void enter_register(pid_t pid)
{
	struct container_entry e = { 0 };
	struct problems ps;

	if (container_find(pid, &e) == 0) {
		container_spec_free(&e.spec);
		return;
	}
	e.pid = pid;
	e.restored = true;
	snprintf(e.name, sizeof(e.name), "restored-%d", (int)pid);
	problems_init(&ps);
	if (process_starttime(pid, &e.starttime) == 0)
		container_register(&e, &ps); /* without it the tree is no worse, only not listed */
	problems_free(&ps);
}

void parent_adopt(struct keeper *k, int client)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);
	int door;

	k->child = k->tree_pid;
	k->root_fd = (int)syscall(SYS_pidfd_open, k->child, 0);
	if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
		k->restorer_fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	enter_register(k->child);
	if (tree_id_of_pid(k->child, &k->id) < 0)
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

void parent_end(struct keeper *k)
{
	struct reply reply = { .kind = REPLY_RESULT };
	int status = 0;

	while (waitpid(k->child, &status, __WALL) < 0 && errno == EINTR)
		;
	reply.wait_status = status;
	for (size_t i = 0; i < k->n_waiters; i++) {
		reply_send(k->waiters[i], &reply, -1, true);
		close(k->waiters[i]);
	}
	k->n_waiters = 0;
	free(k->waiters);
	k->waiters = NULL;
	k->child = 0;
	door_leave(DOOR_PARENT, &k->id, &k->parent_door);
}

void parent_child_ended(struct keeper *k)
{
	struct pollfd restorer = { .fd = k->restorer_fd, .events = POLLIN };

	k->child_ended = true;
	drop_gone_waiters(k);
	if (k->n_waiters || k->restorer_fd < 0 || poll(&restorer, 1, 0) == 1)
		parent_end(k);
}
