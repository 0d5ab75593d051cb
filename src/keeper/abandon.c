/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call whose client has gone. Nothing stops the engine's threads as surely, and lets the tree go as soon, as the end of this process. What it wrote
 * can be removed only when none of them writes any more: by a child, which keeps others from the tree until then. fork(2), pidfd_open(2)
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/image.h"
#include "keeper/keeper.h"

/* Of the child's descriptors. */
enum { KEEPER = 3, DOOR, IMAGE, N_KEPT };

/* Nothing else of the keeper's: neither ends of the tree's pipes nor the lock on the image's directory. */
static bool keep_only(int keeper, int door, int image)
{
	const int kept[] = { keeper, door, image };
	int copies[3];

	for (int i = 0; i < 3; i++) /* above all of them, so that none is overwritten before it is copied */
		copies[i] = kept[i] < 0 ? -1 : fcntl(kept[i], F_DUPFD_CLOEXEC, 64);
	for (int i = 0; i < 3; i++) {
		close(KEEPER + i);
		if (copies[i] >= 0 && dup3(copies[i], KEEPER + i, O_CLOEXEC) < 0)
			return false;
	}
	return syscall(SYS_close_range, N_KEPT, ~0u, 0) == 0 && copies[0] >= 0 && (door < 0 || copies[1] >= 0);
}

static void await_end(int door)
{
	struct pollfd p[] = { { .fd = KEEPER, .events = POLLIN }, { .fd = door, .events = POLLIN } };

	while (!p[0].revents) {
		poll(p, 2, -1);
		if (p[1].revents)
			turn_away(DOOR);
	}
}

static void outlive(const struct keeper *k, int keeper)
{
	const struct job *j = &k->job;

	if (!keep_only(keeper, k->keeper_door, j->fds[REQUEST_DIR]))
		_exit(1);
	await_end(k->keeper_door < 0 ? -1 : DOOR);
	if (j->may_write)
		image_remove_unfinished(IMAGE, j->req.flags & SPORE_CHECKPOINT_NEW);
	if (k->keeper_door >= 0) {
		door_hide(DOOR_KEEPER, &k->id);
		turn_away(DOOR);
	}
	_exit(0);
}

/* Whether there is one. Without it, what was written stays, as when all of spore is killed. */
static bool leave_successor(const struct keeper *k)
{
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t child = self < 0 ? -1 : fork();

	if (child == 0)
		outlive(k, self);
	return child > 0;
}

void job_abandon(struct keeper *k)
{
	bool restores = k->job.req.call == CALL_RESTORE;
	bool leaves = !restores && (k->keeper_door >= 0 || k->job.may_write);

	if (!(leaves && leave_successor(k)) && k->keeper_door >= 0)
		door_hide(DOOR_KEEPER, &k->id);
	if (k->parent_door >= 0)
		door_hide(DOOR_PARENT, &k->id);
	_exit(1);
}
