/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/moved.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "container/container.h"
#include "init/moved.h"
#include "state/terminal.h"

#define UP_TIMEOUT_MS 20000

static void set_arguments(struct moving *m, const struct plan *plan, char *seed)
{
	static char name[] = "spore-init", mode[] = "--moved";
	const struct move *move = &plan->move;
	const long long numbers[] = { plan->r->processes[0]->vpid, move->attendant, move->session, move->last,
		move->flags };
	size_t n = 0;

	m->argv[n++] = name;
	m->argv[n++] = mode;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		snprintf(m->numbers[i], sizeof(m->numbers[i]), "%lld", numbers[i]);
		m->argv[n++] = m->numbers[i];
	}
	m->argv[n++] = seed;
	m->argv[n] = NULL;
}

int moving_prepare(struct moving *m, const struct plan *plan, char *seed)
{
	struct problems *ps = plan->r->ps;
	char path[PATH_MAX];
	int sockets[2];

	if (container_init_path(path, sizeof(path)) < 0)
		return failed(
			ps, BLAME(.object = "spore-init", .remedy = "install it beside spore"), -ENOENT, "not found");
	m->program = open(path, O_PATH | O_CLOEXEC);
	if (m->program < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return failed(ps, BLAME(.object = "spore-init"), -errno, "%m");
	m->socket = sockets[0];
	m->init_socket = sockets[1];
	set_arguments(m, plan, seed);
	m->why = plan->move.why;
	return proc_mounts_find(&m->mounts, ps);
}

void moving_free(struct moving *m)
{
	close_fd(&m->socket);
	close_fd(&m->init_socket);
	close_fd(&m->program);
	proc_mounts_free(m->mounts);
	*m = MOVING_NONE;
}

static int explain(struct restore *r, const struct moved_word *word)
{
	return failed(r->ps, BLAME(.pid = r->processes[0]->vpid, .object = "pid namespace"), -word->value,
		"spore-init failed at %.*s: %s", (int)sizeof(word->what), word->what, strerror(word->value));
}

static int hear_up(struct moving *m, struct restore *r)
{
	struct pollfd p = { .fd = m->socket, .events = POLLIN };
	struct moved_word word;

	if (poll(&p, 1, UP_TIMEOUT_MS) != 1)
		return -ETIMEDOUT;
	if (recv(m->socket, &word, sizeof(word), MSG_DONTWAIT) != sizeof(word))
		return -ECHILD;
	return word.kind == MOVED_UP ? 0 : explain(r, &word);
}

static int send_go(const struct moving *m, int terminal)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte = 0;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

	if (terminal >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
		};
		memcpy(CMSG_DATA(&control.align), &terminal, sizeof(terminal));
	}
	return sendmsg(m->socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int moving_go(struct moving *m, struct restore *r, pid_t init)
{
	char path[32];
	int error, terminal;

	close_fd(&m->init_socket); /* its end is seen */
	error = hear_up(m, r);
	if (error < 0)
		return error;
	snprintf(path, sizeof(path), "/proc/%d/root", init);
	r->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->root_fd < 0)
		return -errno;
	terminal = terminal_of_session(r, r->processes[0]->id);
	if (terminal < 0 && terminal != -ENOENT)
		return terminal;
	return send_go(m, terminal);
}

bool moving_explain(struct moving *m, struct restore *r)
{
	struct moved_word word;

	if (recv(m->socket, &word, sizeof(word), MSG_DONTWAIT) != sizeof(word) || word.kind != MOVED_FAILED)
		return false;
	explain(r, &word);
	return true;
}

/* Its number there; 0: it is in another pid namespace, or gone. */
static pid_t number_there(pid_t pid, uint64_t namespace)
{
	_cleanup_fd_ int dir = -1;
	struct proc_status st;
	uint64_t its;

	if (process_pid_namespace(pid, &its) < 0 || its != namespace)
		return 0;
	dir = procfs_open_pid(pid);
	if (dir < 0 || proc_status_read(dir, &st) < 0)
		return 0;
	pid = st.pid_in_ns;
	proc_status_free(&st);
	return pid;
}

pid_t moving_find_root(pid_t init, pid_t number)
{
	_cleanup_dir_ DIR *proc = opendir("/proc");
	uint64_t namespace;

	if (!proc || process_pid_namespace(init, &namespace) < 0)
		return -ESRCH;
	for (struct dirent *e; (e = readdir(proc));) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && number_there(pid, namespace) == number)
			return pid;
	}
	return -ESRCH;
}
