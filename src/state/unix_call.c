/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * socketpair, listen, connect and sendmsg, as the one whom the kernel is to note: SO_PEERCRED, SO_PEERGROUPS and SO_PEERPIDFD name the process that
 * made the call, with its effective ids. A process of the tree does it itself; for one that has ended somebody else takes its number for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "state/unix.h"

#define HEADER offsetof(struct sockaddr_un, sun_path)

static struct sockaddr_un address_of(const struct unix_call *call, unsigned int *size)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, call->name, MIN(call->name_size, sizeof(a.sun_path)));
	*size = (unsigned int)(HEADER + call->name_size);
	return a;
}

/* --- by a process of the tree --- */

static int take_identity(struct batch *b, const struct unix_identity *who)
{
	_cleanup_free_ gid_t *groups = calloc(who->n_groups + 1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	for (size_t i = 0; i < who->n_groups; i++)
		groups[i] = (gid_t)who->groups[i];
	/* those that the process is to have are set at the end */
	batch_call(b, "setgroups", SYS_setgroups, who->n_groups,
		batch_copy(b, groups, (who->n_groups + 1) * sizeof(*groups)).v);
	if (who->gid != getegid())
		batch_call(b, "setresgid", SYS_setresgid, -1ull, who->gid, -1ull);
	if (who->uid != geteuid()) {
		batch_call(b, "setresuid", SYS_setresuid, -1ull, who->uid, -1ull);
		batch_may_fail(b, batch_call(b, "setfsuid", SYS_setfsuid, geteuid()));
	}
	return 0;
}

static void drop_identity(struct batch *b, const struct unix_identity *who)
{
	if (who->uid != geteuid())
		batch_call(b, "setresuid", SYS_setresuid, -1ull, geteuid(), -1ull);
	if (who->gid != getegid())
		batch_call(b, "setresgid", SYS_setresgid, -1ull, getegid(), -1ull);
}

static void queue_connect(struct build *build, const struct unix_call *call, uint32_t fetched)
{
	struct batch *b = build->batch;
	unsigned int size;
	struct sockaddr_un a = address_of(call, &size);
	uint32_t dir;

	if (call->dir >= 0) {
		dir = build_fetch(build, "fetching a directory", call->dir);
		batch_use(b, batch_call(b, "fchdir", SYS_fchdir, 0), 0, dir);
		batch_use(b, batch_call(b, "close", SYS_close, 0), 0, dir);
	}
	batch_use(b, batch_call(b, "connect", SYS_connect, 0, batch_copy(b, &a, sizeof(a)).v, size), 0, fetched);
	if (call->dir >= 0)
		batch_call(b, "chdir", SYS_chdir, batch_string(b, "/").v);
}

static int queue_call(struct build *build, struct unix_call *call)
{
	struct batch *b = build->batch;
	uint32_t fetched = 0;
	void *local;
	int err = 0;

	if (call->kind != UNIX_CALL_PAIR)
		fetched = build_fetch(build, "fetching a socket", call->fd);
	if (call->who)
		err = take_identity(b, call->who);
	switch (call->kind) {
	case UNIX_CALL_PAIR:
		batch_call(b, "socketpair", SYS_socketpair, AF_UNIX, (uint64_t)call->type | SOCK_CLOEXEC, 0,
			batch_room(b, 2 * sizeof(int), &local).v);
		call->remote_pair = local;
		break;
	case UNIX_CALL_LISTEN:
		batch_use(b, batch_call(b, "listen", SYS_listen, 0, (uint64_t)call->backlog), 0, fetched);
		break;
	case UNIX_CALL_CONNECT:
		queue_connect(build, call, fetched);
		break;
	default:
		return -EINVAL;
	}
	if (call->who)
		drop_identity(b, call->who);
	if (call->kind != UNIX_CALL_PAIR)
		batch_use(b, batch_call(b, "close", SYS_close, 0), 0, fetched);
	return err;
}

int unix_call_fetch(struct unix_call *call)
{
	_cleanup_fd_ int pidfd = -1;

	if (call->kind != UNIX_CALL_PAIR || !call->by)
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, call->by->pid, 0);
	for (int i = 0; i < 2 && pidfd >= 0; i++) {
		call->pair[i] = (int)syscall(SYS_pidfd_getfd, pidfd, call->remote_pair[i], 0);
		if (call->pair[i] < 0)
			return -errno;
	}
	return pidfd < 0 ? -errno : 0;
}

/* --- by a short-lived one --- */

/* For the children: what they need, found before. */
struct acting {
	struct unix_call *call;
	struct sockaddr_un address;
	unsigned int address_size;
	const gid_t *groups;
	bool other_number;
	int net; /* PAIR: the network namespace */
};

/* Their numbers are known before, since what the child writes to memory may not be seen. */
static long make_pair(const struct acting *a)
{
	int pair[2];

	if (syscall(SYS_socketpair, AF_UNIX, a->call->type | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_dup3, pair[i], a->call->pair[i], O_CLOEXEC) < 0 || syscall(SYS_close, pair[i]) < 0)
			return -1;
	return 0;
}

/* It names itself, by whatever number it has. */
static long send_message(const struct unix_call *call)
{
	const pid_t own = (pid_t)syscall(SYS_getpid);

	for (struct cmsghdr *h = CMSG_FIRSTHDR(call->message); h; h = CMSG_NXTHDR((struct msghdr *)call->message, h))
		if (h->cmsg_type == SCM_CREDENTIALS)
			memcpy(CMSG_DATA(h), &own, sizeof(own));
	return syscall(SYS_sendmsg, call->fd, call->message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int make_call(const struct acting *a)
{
	struct unix_call *call = a->call;
	long r = -1;

	switch (call->kind) {
	case UNIX_CALL_PAIR:
		r = make_pair(a);
		break;
	case UNIX_CALL_LISTEN:
		r = syscall(SYS_listen, call->fd, call->backlog);
		break;
	case UNIX_CALL_CONNECT:
		if (call->dir >= 0 && syscall(SYS_fchdir, call->dir) < 0)
			break;
		r = syscall(SYS_connect, call->fd, &a->address, a->address_size);
		break;
	case UNIX_CALL_SEND:
		r = send_message(call);
		break;
	}
	return r < 0 ? -errno : 0;
}

static int act(struct acting *a)
{
	const struct unix_identity *who = a->call->who;
	uid_t own = (uid_t)syscall(SYS_geteuid);

	if (a->call->kind == UNIX_CALL_PAIR && syscall(SYS_setns, a->net, CLONE_NEWNET) < 0)
		return -errno;
	if (!who)
		return make_call(a);
	if (syscall(SYS_setgroups, who->n_groups, a->groups) < 0 ||
		syscall(SYS_setresgid, -1, (gid_t)who->gid, -1) < 0 ||
		syscall(SYS_setresuid, -1, (uid_t)who->uid, -1) < 0)
		return -errno;
	syscall(SYS_setfsuid, own);
	return make_call(a);
}

/*
 * With the number of one that has ended, if nobody has it now. The new process shares descriptors, not memory: it goes on by itself from here. What it
 * answers is its exit status.
 */
static int act_with_number(void *arg)
{
	struct acting *a = arg;
	pid_t number = (pid_t)(a->call->who ? a->call->who->pid : 0);
	struct clone_args args = { .flags = CLONE_FILES, .set_tid = (uintptr_t)&number, .set_tid_size = 1 };
	int status = 0;
	pid_t child;

	if (number <= 0)
		return act(a);
	child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (child < 0) {
		a->other_number = true;
		return act(a);
	}
	if (!child)
		syscall(SYS_exit_group, -act(a));
	while (syscall(SYS_wait4, child, &status, __WALL, NULL) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static int ns_of(const struct restore *r, const char *name)
{
	char path[48];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", r->root_pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int unix_call_now(struct restore *r, struct unix_call *call)
{
	_cleanup_free_ gid_t *groups = calloc((call->who ? call->who->n_groups : 0) + 1, sizeof(*groups));
	struct acting a = { .call = call, .groups = groups };
	_cleanup_fd_ int ns = call->who ? ns_of(r, "pid") : -1, net = -1;
	int err;

	if (!groups || (call->who && ns < 0))
		return groups ? ns : -ENOMEM;
	for (size_t i = 0; call->who && i < call->who->n_groups; i++)
		groups[i] = (gid_t)call->who->groups[i];
	if (call->kind == UNIX_CALL_PAIR) {
		net = a.net = ns_of(r, "net");
		for (int i = 0; i < 2; i++)
			call->pair[i] = fcntl(net, F_DUPFD_CLOEXEC, 0);
		if (call->pair[1] < 0)
			return net < 0 ? net : -errno;
	}
	if (call->kind == UNIX_CALL_CONNECT)
		a.address = address_of(call, &a.address_size);
	err = call->who ? call_in_pid_ns(ns, act_with_number, &a) : call_in_child(act_with_number, &a);
	if (!err && a.other_number)
		changed(r->ps, BLAME(.pid = (pid_t)call->who->pid),
			"a unix socket named this process, which had ended, as its peer; its number is taken, and "
			"another is "
			"shown");
	return err;
}

/* --- all --- */

static int by_process(const void *a, const void *b)
{
	const struct unix_call *const *x = a, *const *y = b;

	if ((*x)->by != (*y)->by)
		return (*x)->by->vpid < (*y)->by->vpid ? -1 : 1;
	return *x < *y ? -1 : *x > *y; /* in their order */
}

static int queue_all(struct callers *callers, struct unix_call **list, size_t n)
{
	struct build *b = NULL;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		if (!i || list[i]->by != list[i - 1]->by)
			b = callers->add(callers, &list[i]->by->threads[0]);
		err = b ? queue_call(b, list[i]) : -ENOMEM;
	}
	return err;
}

int unix_calls_run(struct restore *r, struct callers *callers, struct unix_call *calls, size_t n,
	int (*made)(void *arg, struct unix_call *call), void *arg)
{
	_cleanup_free_ struct unix_call **list = calloc(n + 1, sizeof(struct unix_call *));
	size_t queued = 0;
	int err = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n && !err; i++) {
		struct unix_call *call = &calls[i];

		call->by = call->who ? restore_vpid(r, (pid_t)call->who->pid) : NULL;
		if (call->by) {
			list[queued++] = call;
			continue;
		}
		err = unix_call_now(r, call);
		if (!err)
			err = made(arg, call);
	}
	if (err || !queued)
		return err;
	qsort(list, queued, sizeof(*list), by_process);
	err = queue_all(callers, list, queued);
	return err ? err : 1;
}
