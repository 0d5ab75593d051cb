/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/netlink_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/mqueue_view.h"
#include "state/sock_diag.h"
#include "state/socket_base.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define SOL_NETLINK_ 270
#define LARGEST	     (64ul << 20)
#define GROUPS	     32 /* that a sender can name */
#define NO_PORT	     INT32_MAX

/* ipc/mqueue.c */
#define NOTIFY_WOKENUP 1
#define NOTIFY_REMOVED 2

static const struct field message_fields[] = {
	FIELD_BLOB(struct netlink_message, data, "data", "its bytes"),
	FIELD_UINT(struct netlink_message, port, "port", "nl_pid of the sender"),
	FIELD_UINT(struct netlink_message, group, "group", "that it was sent to; 0: none"),
	FIELD_UINT(struct netlink_message, pid, "pid", "of the sender, as its pid namespace counts"),
	FIELD_UINT(struct netlink_message, uid, "uid", "of the sender"),
	FIELD_UINT(struct netlink_message, gid, "gid", "of the sender"),
	FIELD_END,
};

const struct field netlink_queue_fields[] = {
	FIELD_LIST(struct netlink_queue, list, n, "list", message_fields, "in their order"),
	FIELD_END,
};

/* --- checkpoint --- */

/* Where the kernel keeps it: struct netlink_skb_parms. */
struct places {
	uint64_t pid, uid, gid, port, group, nsid_is_set;
};

static int find_places(struct kernel_peek *k, struct places *p)
{
	static const char type[] = "netlink_skb_parms", who[] = "scm_creds";
	uint64_t creds = 0;
	int err = kernel_peek_address(k, 0, type, "creds", &creds);

	if (!err)
		err = kernel_peek_address(k, creds, who, "pid", &p->pid);
	if (!err)
		err = kernel_peek_address(k, creds, who, "uid", &p->uid);
	if (!err)
		err = kernel_peek_address(k, creds, who, "gid", &p->gid);
	if (!err)
		err = kernel_peek_address(k, 0, type, "portid", &p->port);
	if (!err)
		err = kernel_peek_address(k, 0, type, "dst_group", &p->group);
	if (!err)
		err = kernel_peek_address(k, 0, type, "nsid_is_set", &p->nsid_is_set);
	return err;
}

static uint32_t number_at(const struct socket_buffer *b, uint64_t at)
{
	uint32_t value = 0;

	if (at + sizeof(value) <= sizeof(b->cb))
		memcpy(&value, b->cb + at, sizeof(value));
	return value;
}

/*
 * A message of the kernel, from port 0, can be had once more if it looks like what mq_notify(3) with SIGEV_THREAD has it tell a socket: the program's own
 * bytes, but for the last, which says why.
 */
static bool is_of_mqueue(const struct netlink_message *m)
{
	return !m->port && !m->group && !m->pid && !m->uid && !m->gid && m->data.size == MQUEUE_COOKIE &&
	       (m->data.data[MQUEUE_COOKIE - 1] == NOTIFY_WOKENUP || m->data.data[MQUEUE_COOKIE - 1] == NOTIFY_REMOVED);
}

/* NULL: it can be sent once more. */
static const char *keep(const struct places *at, struct socket_buffer *b, bool all_nsid, struct netlink_message *m)
{
	*m = (struct netlink_message){
		.data = { .data = b->data, .size = b->size },
		.port = number_at(b, at->port),
		.group = number_at(b, at->group),
		.pid = number_at(b, at->pid),
		.uid = number_at(b, at->uid),
		.gid = number_at(b, at->gid),
	};
	b->data = NULL;
	if (is_of_mqueue(m))
		return NULL;
	if (!m->port)
		return ", messages of the kernel, which nobody else can send";
	if (all_nsid && (m->group || b->cb[MIN(at->nsid_is_set, sizeof(b->cb) - 1)]))
		return ", messages that tell of a network namespace (NETLINK_LISTEN_ALL_NSID)";
	return !m->pid || m->group > GROUPS || m->data.size > LARGEST ? ", messages that nobody else can send" : NULL;
}

/* A notification of the kernel's, or an answer: it drops these, too, when there is no room for them. */
static bool is_lost(const struct netlink_reading *r, struct netlink_message *m)
{
	if (!r->may_lose || m->port || is_of_mqueue(m))
		return false;
	free(m->data.data);
	return true;
}

static const char *keep_all(
	const struct places *at, struct socket_buffers *b, struct netlink_reading *r, struct netlink_queue *q)
{
	for (size_t i = 0; i < b->n; i++) {
		const char *why = keep(at, &b->list[i], r->all_nsid, &q->list[q->n]);

		if (is_lost(r, &q->list[q->n])) {
			r->lost++;
			continue;
		}
		q->n++;
		if (why)
			return why;
	}
	return NULL;
}

static int read_all(struct capture *c, int fd, struct netlink_reading *r, struct netlink_queue *q, const char **why)
{
	struct socket_buffers b = { 0 };
	struct socket_view *v = NULL;
	struct places at = { 0 };
	uint64_t sock = 0, dumping = 0;
	int err = sockets_view(c, &v);

	if (!err)
		err = socket_view_find(v, fd, &sock);
	if (!err)
		err = kernel_peek_member(c->kernel, sock, "netlink_sock", "cb_running", &dumping);
	if (!err)
		err = find_places(c->kernel, &at);
	if (!err)
		err = socket_view_queue(v, sock, QUEUE_RECEIVED, false, &b);
	if (!err && dumping && !r->may_lose)
		*why = ", an answer of the kernel that is not complete yet";
	q->list = err ? NULL : calloc(b.n + 1, sizeof(*q->list));
	if (q->list && !*why)
		*why = keep_all(&at, &b, r, q);
	socket_buffers_free(&b);
	return !err && !q->list ? -ENOMEM : err;
}

int netlink_queue_capture(
	struct capture *c, const struct file_look *f, int fd, struct netlink_reading *r, struct netlink_queue *q)
{
	const char *why = NULL;
	int err = read_all(c, fd, r, q, &why);

	if (err == -ENOMEM)
		return err;
	if (err)
		why = ", and that this kernel does not let be read (CAP_BPF, CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)";
	return why ? refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read it"),
			     "what it was sent and has not been read%s", why)
		   : 0;
}

bool netlink_queue_valid(const struct netlink_queue *q, bool bound)
{
	for (size_t i = 0; i < q->n; i++) {
		const struct netlink_message *m = &q->list[i];

		if (is_of_mqueue(m))
			continue;
		if (!bound || !m->port || m->port > UINT32_MAX || m->group > GROUPS || m->data.size > LARGEST ||
			!m->pid || m->pid > INT32_MAX || m->uid > UINT32_MAX || m->gid > UINT32_MAX)
			return false;
	}
	return true;
}

/* --- restore: one message, by a process with that number --- */

struct sending {
	int fd;
	const struct netlink_message *m;
	struct sockaddr_nl to;
};

/* Who has that number may name it; so may, with privilege, everybody else, as long as somebody has it. */
static int send_as(const struct sending *s)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control = { .align = { .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_CREDENTIALS,
			      .cmsg_len = CMSG_LEN(sizeof(struct ucred)) } };
	const struct ucred creds = { (pid_t)s->m->pid, (uid_t)s->m->uid, (gid_t)s->m->gid };
	struct iovec iov = { s->m->data.data, s->m->data.size };
	struct msghdr msg = { .msg_name = (void *)&s->to,
		.msg_namelen = sizeof(s->to),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.align), &creds, sizeof(creds));
	if (sendmsg(s->fd, &msg, MSG_DONTWAIT) >= 0)
		return 0;
	return errno == ECONNREFUSED && s->to.nl_groups ? 0 : -errno; /* the group has got it, and nobody else was to */
}

static int send_in_namespace(void *arg)
{
	const struct sending *s = arg;
	pid_t number = (pid_t)s->m->pid, child;
	struct clone_args args = { .set_tid = (uintptr_t)&number, .set_tid_size = 1 };
	int err = send_as(s), status = 0;

	if (err != -ESRCH)
		return err;
	child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (child < 0)
		return -errno;
	if (!child)
		syscall(SYS_exit_group, -send_as(s));
	while (syscall(SYS_wait4, child, &status, __WALL, NULL) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static int send_once(struct restore *r, struct sending *s)
{
	_cleanup_fd_ int ns = -1;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", r->root_pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	return ns < 0 ? -errno : call_in_pid_ns(ns, send_in_namespace, s);
}

/* --- to a group --- */

/*
 * Of others who listen to the group nobody gets it: it comes from a network namespace apart, of which only this socket is to hear (NETLINK_LISTEN_ALL_NSID).
 */
static int enter_apart(int *own)
{
	int apart;

	*own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*own < 0 || unshare(CLONE_NEWNET) < 0)
		return -errno;
	apart = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return apart < 0 ? -errno : apart;
}

/* Without a number there nothing is heard of it. */
static int introduce(struct restore *r, int apart)
{
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g __attribute__((aligned(4)));
		struct {
			struct rtattr a;
			int32_t value;
		} fd, nsid;
	} ask = {
		.h = { sizeof(ask), RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1, 0 },
		.fd = { { sizeof(ask.fd), NETNSA_FD }, apart },
		.nsid = { { sizeof(ask.nsid), NETNSA_NSID }, NETNSA_NSID_NOT_ASSIGNED },
	};
	_cleanup_fd_ int fd = socket_in(r->root_pid, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char room[256];
	} answer;

	if (fd < 0)
		return fd;
	if (send(fd, &ask, sizeof(ask), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		return -errno;
	return answer.h.nlmsg_type == NLMSG_ERROR ? answer.e.error : -EPROTO;
}

static int make_apart(struct netlink_filling *f)
{
	_cleanup_fd_ int own = -1, apart = -1;
	int err;

	if (f->apart >= 0)
		return 0;
	apart = enter_apart(&own);
	if (own >= 0 && setns(own, CLONE_NEWNET) < 0)
		abort(); /* see socket_in */
	err = apart < 0 ? apart : introduce(f->r, apart);
	if (!err)
		f->apart = take_fd(&apart);
	return err;
}

static int socket_apart(struct netlink_filling *f, int protocol)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int err = make_apart(f), fd;

	if (err || own < 0)
		return err ? err : -errno;
	if (setns(f->apart, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		fd = -errno;
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

static int listen_to(int fd, uint64_t group, bool on)
{
	const int number = (int)group, all = on;

	if (setsockopt(fd, SOL_NETLINK_, NETLINK_LISTEN_ALL_NSID, &all, sizeof(all)) < 0 ||
		setsockopt(fd, SOL_NETLINK_, on ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &number,
			sizeof(number)) < 0)
		return -errno;
	return 0;
}

/* --- by the kernel, of a message queue that nobody else sees --- */

struct telling {
	int fd;
	uint8_t *cookie;
};

static int tell_by_queue(void *arg)
{
	static const char name[] = "spore";
	const struct telling *t = arg;
	struct sigevent e = { .sigev_notify = SIGEV_THREAD, .sigev_signo = t->fd, .sigev_value.sival_ptr = t->cookie };
	const bool wake = t->cookie[MQUEUE_COOKIE - 1] == NOTIFY_WOKENUP;
	long queue, r;

	if (unshare(CLONE_NEWIPC) < 0)
		return -errno;
	queue = syscall(SYS_mq_open, name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
	if (queue < 0 || syscall(SYS_mq_notify, queue, &e) < 0)
		return -errno;
	r = wake ? syscall(SYS_mq_timedsend, queue, "", 0, 0, NULL) : syscall(SYS_mq_notify, queue, NULL);
	return r < 0 ? -errno : 0;
}

/* --- all --- */

static int bind_to(int fd, uint64_t port)
{
	const struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = (uint32_t)port };

	return bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

static int put_of_program(
	struct netlink_filling *f, const struct netlink_receiver *to, int sender, const struct netlink_message *m)
{
	struct sending s = { .fd = sender, .m = m, .to = { .nl_family = AF_NETLINK, .nl_pid = to->port } };
	_cleanup_fd_ int own = -1;
	const unsigned int before = socket_queued(to->fd);
	int err = 0;

	if (m->group) {
		s.to.nl_pid = NO_PORT;
		s.to.nl_groups = 1u << (m->group - 1);
	}
	if (m->group || sender < 0) {
		s.fd = own = m->group ? socket_apart(f, to->protocol)
				      : socket_in(f->r->root_pid, AF_NETLINK, SOCK_RAW, to->protocol);
		err = own < 0 ? own : bind_to(own, m->port);
	}
	if (!err)
		err = socket_hear_only(to->fd, m->data.data, m->data.size);
	if (!err && m->group)
		err = listen_to(to->fd, m->group, true);
	if (!err)
		err = send_once(f->r, &s);
	if (!err && m->group)
		err = listen_to(to->fd, m->group, false);
	if (!err)
		err = socket_await(to->fd, before);
	return err ? err : socket_close_ears(to->fd);
}

int netlink_queue_put(
	struct netlink_filling *f, const struct netlink_receiver *to, int sender, const struct netlink_message *m)
{
	struct telling t = { to->fd, m->data.data };

	return m->port ? put_of_program(f, to, sender, m) : call_with_own_descriptors(tell_by_queue, &t);
}

void netlink_filling_end(struct netlink_filling *f)
{
	close_fd(&f->apart);
}
