/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of spore.h. Each finds the keeper of its tree, or starts one, and asks it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <spore.h>

#include "api/client.h"
#include "api/options.h"
#include "api/spawn.h"
#include "base/cleanup.h"
#include "base/macro.h"
#include "base/process.h"

#define _cleanup_target_ _cleanup_(target_close)
#define NO_FDS                                                                                                         \
	{                                                                                                              \
		-1, -1, -1, -1, -1, -1                                                                                 \
	}

/* What every call needs, named where the kernel would only say "not permitted" or mean another process. */
static int look_around(const struct spore_listener *listener)
{
	_cleanup_fd_ int dir = -1;

	if (!proc_is_ours()) {
		listener_problem(listener, -ESRCH, 0, PROC_NOT_OURS, PROC_NOT_OURS_REMEDY);
		return -ESRCH;
	}
	dir = run_dir_open();
	if (dir == -EPERM)
		listener_problem(listener, dir, 0, RUN_DIR " is another user's, or others may enter it",
			"as root: chown 0 " RUN_DIR " && chmod 700 " RUN_DIR);
	else if (dir == -EACCES || dir == -EROFS)
		listener_problem(listener, dir, 0, RUN_DIR " cannot be made or opened",
			"run it as root, where /run can be written");
	return dir < 0 ? dir : 0;
}

static int spawn(const struct spore_listener *listener)
{
	int sock = keeper_spawn();

	if (sock == -ENOENT)
		listener_problem(listener, sock, 0, "the program spore-keeper was not found",
			"install it, or name it in SPORE_KEEPER");
	else if (sock < 0)
		listener_problem(listener, sock, 0, "cannot start a keeper", NULL);
	return sock;
}

/* The keeper that holds the tree, or else a new one. */
static int keeper_of(const struct target_tree *t, const struct spore_listener *listener)
{
	int sock = door_connect(DOOR_KEEPER, &t->id);

	if (sock != -ENOENT)
		return sock;
	return spawn(listener);
}

static void fill_target(struct request *req, int fds[REQUEST_N_FDS], const struct target_tree *t)
{
	fds[REQUEST_PIDFD] = t->pidfd;
	snprintf(req->cgroup, sizeof(req->cgroup), "%s", t->cgroup);
}

/* isolate and check: they differ in the call alone. */
static int ask_about(uint32_t call, pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	_cleanup_target_ struct target_tree t = TARGET_NONE;
	_cleanup_fd_ int sock = -1;
	int fds[REQUEST_N_FDS] = NO_FDS;
	struct spore_isolate_options o;
	struct request req = { .call = call };
	struct reply reply;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	if (o.reserved)
		return -EINVAL;
	r = look_around(o.listener);
	if (r == 0)
		r = target_open(pid, o.cgroup, &t);
	if (r < 0)
		return r;
	sock = keeper_of(&t, o.listener);
	if (sock < 0)
		return sock;
	req.timeout_ms = o.timeout_ms;
	fill_target(&req, fds, &t);
	return client_call(sock, &req, fds, o.listener, &reply, NULL);
}

SPORE_API int spore_isolate_with(pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	return ask_about(CALL_ISOLATE, pid, options, size);
}

SPORE_API int spore_check_with(pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	return ask_about(CALL_CHECK, pid, options, size);
}

SPORE_API int spore_checkpoint_with(
	int old_dir_fd, int new_dir_fd, pid_t pid, const struct spore_checkpoint_options *options, size_t size)
{
	_cleanup_target_ struct target_tree t = TARGET_NONE;
	_cleanup_fd_ int sock = -1;
	int fds[REQUEST_N_FDS] = NO_FDS;
	struct spore_checkpoint_options o;
	struct request req = { .call = CALL_CHECKPOINT };
	struct reply reply;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	if (o.flags & ~(SPORE_CHECKPOINT_KILL | SPORE_CHECKPOINT_FORCE))
		return -EINVAL;
	if (old_dir_fd != -1) {
		listener_problem(
			o.listener, -EOPNOTSUPP, pid, "incremental checkpoints are not there yet", "make a full one");
		return -EOPNOTSUPP;
	}
	r = look_around(o.listener);
	if (r == 0)
		r = target_open(pid, o.cgroup, &t);
	if (r < 0)
		return r;
	sock = keeper_of(&t, o.listener);
	if (sock < 0)
		return sock;
	req.flags = o.flags;
	req.timeout_ms = o.timeout_ms;
	fill_target(&req, fds, &t);
	fds[REQUEST_DIR] = new_dir_fd;
	r = client_call(sock, &req, fds, o.listener, &reply, NULL);
	if (r == 0 && o.result)
		*o.result = reply.checkpoint;
	return r;
}

SPORE_API int spore_unisolate_with(pid_t pid, const struct spore_unisolate_options *options, size_t size)
{
	_cleanup_target_ struct target_tree t = TARGET_NONE;
	_cleanup_fd_ int sock = -1;
	int fds[REQUEST_N_FDS] = NO_FDS;
	struct spore_unisolate_options o;
	struct request req = { .call = CALL_UNISOLATE };
	struct reply reply;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	r = look_around(o.listener);
	if (r == 0)
		r = target_open(pid, o.cgroup, &t);
	if (r < 0)
		return r;
	sock = door_connect(DOOR_KEEPER, &t.id);
	if (sock == -ENOENT) {
		listener_problem(o.listener, -ESRCH, pid, "it is not isolated", NULL);
		return -ESRCH;
	}
	if (sock < 0)
		return sock;
	fill_target(&req, fds, &t);
	return client_call(sock, &req, fds, o.listener, &reply, NULL);
}

static int check_restore_options(const struct spore_restore_options *o, pid_t old_pid)
{
	if ((o->flags & ~(SPORE_RESTORE_CHANGED_FILES | SPORE_RESTORE_RUN)) || o->reserved)
		return -EINVAL;
	if (old_pid == 0)
		return 0;
	listener_problem(o->listener, -EOPNOTSUPP, old_pid, "incremental restores are not there yet",
		"end the tree and restore it anew");
	return -EOPNOTSUPP;
}

SPORE_API int spore_check_image_with(int dir_fd, const struct spore_restore_options *options, size_t size)
{
	_cleanup_fd_ int sock = -1;
	int fds[REQUEST_N_FDS] = NO_FDS;
	struct spore_restore_options o;
	struct request req = { .call = CALL_CHECK_IMAGE };
	struct reply reply;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r == 0)
		r = check_restore_options(&o, 0);
	if (r == 0)
		r = look_around(o.listener);
	if (r < 0)
		return r;
	sock = spawn(o.listener);
	if (sock < 0)
		return sock;
	req.flags = o.flags;
	fds[REQUEST_DIR] = dir_fd;
	return client_call(sock, &req, fds, o.listener, &reply, NULL);
}

SPORE_API pid_t spore_restore_with(int dir_fd, pid_t old_pid, const struct spore_restore_options *options, size_t size)
{
	_cleanup_fd_ int sock = -1;
	_cleanup_fd_ int root = -1;
	int fds[REQUEST_N_FDS] = NO_FDS;
	struct spore_restore_options o;
	struct request req = { .call = CALL_RESTORE };
	struct spore_restore_result result;
	struct reply reply;
	pid_t pid = 0;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r == 0)
		r = check_restore_options(&o, old_pid);
	if (r == 0)
		r = look_around(o.listener);
	if (r < 0)
		return r;
	sock = spawn(o.listener);
	if (sock < 0)
		return sock;
	req.flags = o.flags;
	fds[REQUEST_DIR] = dir_fd;
	for (int i = 0; o.has_stdio && i < 3; i++)
		fds[REQUEST_STDIN + i] = o.stdio[i];
	if (o.has_terminal)
		fds[REQUEST_TERMINAL] = o.terminal;
	r = client_call(sock, &req, fds, o.listener, &reply, &root);
	result = reply.restore;
	if (r == 0)
		pid = root < 0 ? -EPROTO : pidfd_pid(root); /* now: once let go, it may end */
	if (r == 0 && pid < 0)
		r = pid;
	if (r == 0)
		r = result_confirm(sock);
	if (r == 0 && (o.flags & SPORE_RESTORE_RUN))
		r = client_result(sock, o.listener, &reply, NULL);
	if (r < 0)
		return r;
	if (o.result)
		*o.result = result;
	return pid;
}

SPORE_API int spore_wait(pid_t pid, int *status)
{
	_cleanup_fd_ int sock = -1;
	const int fds[REQUEST_N_FDS] = NO_FDS;
	struct request req = { .call = CALL_WAIT };
	struct tree_id id;
	struct reply reply;
	int r;

	if (pid <= 0 || tree_id_of_pid(pid, &id) < 0)
		return -ECHILD;
	sock = door_connect(DOOR_PARENT, &id);
	if (sock < 0)
		return sock == -ENOENT ? -ECHILD : sock;
	r = client_call(sock, &req, fds, NULL, &reply, NULL);
	if (r == 0 && status)
		*status = reply.wait_status;
	return r;
}

/* --- plain forms
 * -------------------------------------------------------------------------------------------------- */

SPORE_API int spore_isolate(pid_t pid)
{
	return spore_isolate_with(pid, NULL, 0);
}

SPORE_API int spore_checkpoint(int old_dir_fd, int new_dir_fd, pid_t pid)
{
	return spore_checkpoint_with(old_dir_fd, new_dir_fd, pid, NULL, 0);
}

SPORE_API int spore_unisolate(pid_t pid)
{
	return spore_unisolate_with(pid, NULL, 0);
}

SPORE_API pid_t spore_restore(int dir_fd, pid_t old_pid)
{
	return spore_restore_with(dir_fd, old_pid, NULL, 0);
}
