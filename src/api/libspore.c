/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of spore.h. Each finds the keeper of its tree, or starts one, and asks it. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
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

#define UNWANTED_MS 10000 /* for the root of a tree to die */

/* One call: what is asked, of whom, and the answer. */
struct exchange {
	struct target_tree tree;
	int sock;
	int fds[REQUEST_N_FDS];
	struct request req;
	struct reply reply;
};
#define EXCHANGE(kind)                                                                                                 \
	{                                                                                                              \
		.tree = TARGET_NONE, .sock = -1, .fds = { [0 ... REQUEST_N_FDS - 1] = -1 }, .req = {.call = (kind) }   \
	}
#define _cleanup_exchange_ _cleanup_(exchange_close)

static void exchange_close(struct exchange *c)
{
	target_close(&c->tree);
	close_fd(&c->sock);
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

static int spawn(const char *purpose, const struct spore_listener *listener)
{
	int sock = keeper_spawn(purpose);

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
	return spawn("look", listener);
}

/* The tree that the call is about. */
static int exchange_aim(struct exchange *c, pid_t pid, const char *cgroup, const struct spore_listener *listener)
{
	int r = look_around(listener);

	if (r == 0)
		r = target_open(pid, cgroup, &c->tree);
	if (r < 0)
		return r;
	c->fds[REQUEST_PIDFD] = c->tree.pidfd;
	snprintf(c->req.cgroup, sizeof(c->req.cgroup), "%s", c->tree.cgroup);
	return 0;
}

static int exchange_send(struct exchange *c, const struct spore_listener *listener, int *pidfd)
{
	return client_call(c->sock, &c->req, c->fds, listener, &c->reply, pidfd);
}

/* What a tree lacks still cannot be saved. A tree that is not one that was restored has no such keeper. */
static void await_pages(const struct tree_id *id)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_WAIT);

	c.req.flags = SPORE_WAIT_PAGES;
	c.sock = door_connect(DOOR_PARENT, id);
	if (c.sock >= 0)
		exchange_send(&c, NULL, NULL);
}

static int exchange_keeper(struct exchange *c, const struct spore_listener *listener)
{
	await_pages(&c->tree.id);
	c->sock = keeper_of(&c->tree, listener);
	return c->sock < 0 ? c->sock : 0;
}

/* isolate and check: they differ in the call alone. */
static int ask_about(uint32_t kind, pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(kind);
	struct spore_isolate_options o;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	if (o.flags & ~(kind == CALL_CHECK ? SPORE_CHECKPOINT_STRICT : 0))
		return -EINVAL;
	c.req.flags = o.flags;
	c.req.timeout_ms = o.timeout_ms;
	r = exchange_aim(&c, pid, o.cgroup, o.listener);
	if (r == 0)
		r = exchange_keeper(&c, o.listener);
	return r < 0 ? r : exchange_send(&c, o.listener, NULL);
}

SPORE_API int spore_isolate_with(pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	return ask_about(CALL_ISOLATE, pid, options, size);
}

SPORE_API int spore_check_with(pid_t pid, const struct spore_isolate_options *options, size_t size)
{
	return ask_about(CALL_CHECK, pid, options, size);
}

#define CHECKPOINT_OPTIONS_FIRST offsetof(struct spore_checkpoint_options, compression)

/* The options and the result grew together. */
static size_t checkpoint_result_size(size_t options_size)
{
	return options_size > CHECKPOINT_OPTIONS_FIRST ? sizeof(struct spore_checkpoint_result)
						       : offsetof(struct spore_checkpoint_result, stored_bytes);
}

SPORE_API int spore_checkpoint_with(
	int old_dir_fd, int new_dir_fd, pid_t pid, const struct spore_checkpoint_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_CHECKPOINT);
	struct spore_checkpoint_options o;
	int r = options_copy(&o, sizeof(o), CHECKPOINT_OPTIONS_FIRST, options, size);

	if (r < 0)
		return r;
	if (o.compression > SPORE_COMPRESSION_ZSTD || o.reserved ||
		o.flags & ~(SPORE_CHECKPOINT_KILL | SPORE_CHECKPOINT_FORCE | SPORE_CHECKPOINT_NEW |
				  SPORE_CHECKPOINT_STRICT | SPORE_CHECKPOINT_TRACK))
		return -EINVAL;
	if (old_dir_fd < -1) /* what an open that failed left, most likely */
		return -EBADF;
	c.req.flags = o.flags;
	c.req.timeout_ms = o.timeout_ms;
	c.req.compression = o.compression;
	c.fds[REQUEST_DIR] = new_dir_fd;
	c.fds[REQUEST_PARENT] = old_dir_fd;
	r = exchange_aim(&c, pid, o.cgroup, o.listener);
	if (r == 0)
		r = exchange_keeper(&c, o.listener);
	if (r == 0)
		r = exchange_send(&c, o.listener, NULL);
	if (r == 0 && o.result)
		memcpy(o.result, &c.reply.checkpoint, checkpoint_result_size(size));
	return r;
}

SPORE_API int spore_unisolate_with(pid_t pid, const struct spore_unisolate_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_UNISOLATE);
	struct spore_unisolate_options o;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r == 0)
		r = exchange_aim(&c, pid, o.cgroup, o.listener);
	if (r < 0)
		return r;
	c.sock = door_connect(DOOR_KEEPER, &c.tree.id);
	if (c.sock == -ENOENT) {
		listener_problem(o.listener, -ESRCH, pid, "it is not isolated", NULL);
		return -ESRCH;
	}
	return c.sock < 0 ? c.sock : exchange_send(&c, o.listener, NULL);
}

/* Of several trees at once. */
static int check_clones(const struct spore_restore_options *o)
{
	const char *what =
		o->flags & SPORE_RESTORE_LAZY
			? "clones cannot be restored on demand: a page that comes later would be one tree's alone"
		: o->has_terminal ? "several trees cannot have one terminal"
				  : NULL;

	if (o->clones > SPORE_CLONES_MOST)
		return -EINVAL;
	if (o->clones <= 1 || !what)
		return 0;
	listener_problem(o->listener, -EOPNOTSUPP, 0, what,
		o->flags & SPORE_RESTORE_LAZY ? "restore them without SPORE_RESTORE_LAZY (--lazy)"
					      : "restore them detached (-d)");
	return -EOPNOTSUPP;
}

static int check_restore_options(const struct spore_restore_options *o, pid_t old_pid)
{
	if ((o->flags & ~(SPORE_RESTORE_CHANGED_FILES | SPORE_RESTORE_RUN | SPORE_RESTORE_LAZY)) || o->reserved ||
		o->reserved_too)
		return -EINVAL;
	if (old_pid == 0)
		return check_clones(o);
	listener_problem(o->listener, -EOPNOTSUPP, old_pid, "incremental restores are not there yet",
		"end the tree and restore it anew");
	return -EOPNOTSUPP;
}

/* What a restore and the check of an image begin with: a keeper that knows of the image. o: a copy of the options. */
static int exchange_image(struct exchange *c, int dir_fd, pid_t old_pid, struct spore_restore_options *o,
	const struct spore_restore_options *options, size_t size)
{
	int r = options_copy(o, sizeof(*o), offsetof(struct spore_restore_options, built), options, size);

	if (r == 0)
		r = check_restore_options(o, old_pid);
	if (r == 0)
		r = look_around(o->listener);
	if (r < 0)
		return r;
	c->req.flags = o->flags;
	c->fds[REQUEST_DIR] = dir_fd;
	if (o->clones > 1)
		c->req.clones = o->clones;
	c->sock = spawn(c->req.clones ? "clones" : NULL, o->listener);
	return c->sock < 0 ? c->sock : 0;
}

SPORE_API int spore_check_image_with(int dir_fd, const struct spore_restore_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_CHECK_IMAGE);
	struct spore_restore_options o;
	struct spore_restore_options asked;
	int r = options_copy(&asked, sizeof(asked), offsetof(struct spore_restore_options, built), options, size);

	asked.clones = 0; /* what is in the way of one */
	if (r == 0)
		r = exchange_image(&c, dir_fd, 0, &o, &asked, sizeof(asked));
	return r < 0 ? r : exchange_send(&c, o.listener, NULL);
}

SPORE_API int spore_merge_with(int dir_fd, int out_dir_fd, const struct spore_merge_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_MERGE);
	struct spore_merge_options o;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	if ((o.flags & ~(SPORE_MERGE_FORCE | SPORE_MERGE_NEW)) || o.reserved)
		return -EINVAL;
	c.req.flags = o.flags;
	c.fds[REQUEST_PARENT] = dir_fd;
	c.fds[REQUEST_DIR] = out_dir_fd;
	c.sock = spawn(NULL, o.listener);
	r = c.sock < 0 ? c.sock : exchange_send(&c, o.listener, NULL);
	if (r == 0 && o.result)
		*o.result = c.reply.merge;
	return r;
}

/* --- restore --- */

static int ask_one(const struct spore_restore_options *o, const struct clone_built *b)
{
	return o->built ? o->built(o->built_data, b->pid, &b->result) : 0;
}

/* The caller's last word. Of a tree that it does not want nothing is left when this returns, as far as waiting can see to it. */
static int ask_caller(
	struct exchange *c, const struct spore_restore_options *o, const struct clone_built *list, uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = ask_one(o, &list[i]);
	if (r >= 0)
		return 0;
	close_fd(&c->sock); /* which ends the keeper, and that the tree */
	for (uint32_t i = 0; i < n; i++) {
		struct pollfd end = { .fd = list[i].root, .events = POLLIN };

		poll(&end, 1, UNWANTED_MS);
	}
	return r;
}

static int ask_for_one(struct exchange *c, const struct spore_restore_options *o, struct clone_built *only)
{
	int r = exchange_send(c, o->listener, &only->root);

	only->result = c->reply.restore;
	return r == 0 && only->root < 0 ? -EPROTO : r;
}

static int ask_for_several(
	struct exchange *c, const struct spore_restore_options *o, struct clone_built *list, uint32_t n)
{
	int r = request_send(c->sock, &c->req, c->fds);

	return r < 0 ? r : client_clones(c->sock, o->listener, list, n);
}

/* Now: once let go, they may end. */
static int find_pids(struct clone_built *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		list[i].pid = pidfd_pid(list[i].root);
		if (list[i].pid < 0)
			return list[i].pid;
	}
	return 0;
}

static int restore_all(struct exchange *c, const struct spore_restore_options *o, struct clone_built *list, uint32_t n)
{
	int r = c->req.clones ? ask_for_several(c, o, list, n) : ask_for_one(c, o, list);

	if (r == 0)
		r = find_pids(list, n);
	if (r == 0)
		r = ask_caller(c, o, list, n);
	if (r == 0)
		r = result_confirm(c->sock);
	if (r == 0 && (o->flags & SPORE_RESTORE_RUN))
		r = client_result(c->sock, o->listener, &c->reply, NULL);
	return r;
}

static void hand_out(const struct spore_restore_options *o, const struct clone_built *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (o->result)
			o->result[i] = list[i].result;
		if (o->pids)
			o->pids[i] = list[i].pid;
	}
}

SPORE_API pid_t spore_restore_with(int dir_fd, pid_t old_pid, const struct spore_restore_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_RESTORE);
	_cleanup_free_ struct clone_built *list = NULL;
	struct spore_restore_options o;
	int r = exchange_image(&c, dir_fd, old_pid, &o, options, size);
	uint32_t n;
	pid_t first;

	if (r < 0)
		return r;
	n = MAX(o.clones, 1u);
	list = calloc(n, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		list[i].root = -1;
	for (int i = 0; o.has_stdio && i < 3; i++)
		c.fds[REQUEST_STDIN + i] = o.stdio[i];
	if (o.has_terminal)
		c.fds[REQUEST_TERMINAL] = o.terminal;
	r = restore_all(&c, &o, list, n);
	if (r == 0)
		hand_out(&o, list, n);
	first = list[0].pid;
	for (uint32_t i = 0; i < n; i++)
		close_fd(&list[i].root);
	return r < 0 ? r : first;
}

SPORE_API int spore_wait_with(pid_t pid, int *status, const struct spore_wait_options *options, size_t size)
{
	_cleanup_exchange_ struct exchange c = EXCHANGE(CALL_WAIT);
	struct spore_wait_options o;
	struct tree_id id;
	int r = options_copy(&o, sizeof(o), sizeof(o), options, size);

	if (r < 0)
		return r;
	if ((o.flags & ~SPORE_WAIT_PAGES) || o.reserved)
		return -EINVAL;
	c.req.flags = o.flags;
	if (pid <= 0 || tree_id_of_pid(pid, &id) < 0)
		return -ECHILD;
	c.sock = door_connect(DOOR_PARENT, &id);
	if (c.sock < 0)
		return c.sock == -ENOENT ? -ECHILD : c.sock;
	r = exchange_send(&c, o.listener, NULL);
	if (r == 0 && status && !(o.flags & SPORE_WAIT_PAGES))
		*status = c.reply.wait_status;
	return r;
}

/* --- plain forms --- */

SPORE_API int spore_wait(pid_t pid, int *status)
{
	return spore_wait_with(pid, status, NULL, 0);
}

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

SPORE_API int spore_merge(int dir_fd, int out_dir_fd)
{
	return spore_merge_with(dir_fd, out_dir_fd, NULL, 0);
}

SPORE_API pid_t spore_restore(int dir_fd, pid_t old_pid)
{
	return spore_restore_with(dir_fd, old_pid, NULL, 0);
}
