/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is to be told when a message comes to an empty queue. mq_notify(3); ipc/mqueue.c; selftests/mqueue. The value that the signal brings is shown to
 * nobody. Where the kernel cannot be looked at (mqueue_view.h) the process, with every signal blocked, sends itself a message, takes the signal, and asks to be told again, all in one batch, which it runs to
 * its end even if spore dies. Messages that are in the queue are taken out and put back meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "state/kernel_view.h"
#include "state/mqueue.h"
#include "state/mqueue_view.h"
#include "state/owner.h"

#define TIMEOUT_MS 10000

struct notification {
	object_id queue;
	int64_t fd;
	uint64_t how, signo, value;
	struct blob cookie; /* SIGEV_THREAD: what is told, */
	int64_t socket;	    /* by a netlink socket that the process has open as this */
};

struct notify_state {
	object_id of;
	struct notification *list;
	size_t n;
};

static const struct field notification_fields[] = {
	FIELD_REF(struct notification, queue, "queue", "mqueue", REF_STRONG, "of which queue"),
	FIELD_INT(struct notification, fd, "fd", "a descriptor of it that the process has"),
	FIELD_UINT(struct notification, how, "how", "SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2"),
	FIELD_UINT(struct notification, signo, "signo", "the signal"),
	FIELD_HEX(struct notification, value, "value", "that it brings"),
	FIELD_SINCE(2, BLOB, struct notification, cookie, "cookie", "of SIGEV_THREAD: what is told, 32 bytes"),
	FIELD_SINCE(2, INT, struct notification, socket, "socket",
		"of SIGEV_THREAD: the descriptor of a netlink socket, which is told"),
	FIELD_END,
};

static const struct field notify_fields[] = {
	FIELD_REF(struct notify_state, of, "of", "process", REF_STRONG, "who is to be told"),
	FIELD_LIST(struct notify_state, list, n, "list", notification_fields, "of which queues"),
	FIELD_END,
};

/* --- the value --- */

/* In the arena. The signal's information is written so that its value is where the kernel looks for the event's; the rest of the event is then copied behind it. */
struct asked {
	union {
		siginfo_t info;
		struct {
			uint8_t before[24];
			uint64_t value;
			int32_t signo, how;
		} event;
	} u;
	uint64_t set;
	struct timespec now;
	struct iovec to, from;
	int32_t signo_and_how[2];
	char path[40];
};
_Static_assert(offsetof(siginfo_t, si_value) == 24, "where the event's value is to be");

struct asking {
	struct capture *c;
	struct batch b;
	struct asked *at;
	uint64_t remote; /* address of *at in the process */
	uint32_t queue;	 /* the operation that opened it */
};

static uint64_t field_of(const struct asking *a, const void *member)
{
	return a->remote + (uint64_t)((const uint8_t *)member - (const uint8_t *)a->at);
}

static void ask_receive(struct asking *a, uint64_t room, size_t size)
{
	uint32_t op =
		batch_call(&a->b, "mq_timedreceive", SYS_mq_timedreceive, 0, room, size, 0, field_of(a, &a->at->now));

	batch_use(&a->b, op, 0, a->queue);
}

static void ask_send(struct asking *a, const struct mqueue_message *m)
{
	uint32_t op = batch_call(&a->b, "mq_timedsend", SYS_mq_timedsend, 0,
		m->text.size ? batch_copy(&a->b, m->text.data, m->text.size).v : a->remote, m->text.size, m->priority,
		field_of(a, &a->at->now));

	batch_use(&a->b, op, 0, a->queue);
}

/* Operations refer to one another over at most 255 places. */
#define MESSAGES_MAX 100

static void ask_all(struct asking *a, int fd, const struct mqueue_notice *notice, size_t size,
	const struct mqueue_message *list, size_t n)
{
	static const struct mqueue_message dummy = { 0 };
	struct asked *at = a->at;
	uint64_t room = batch_room(&a->b, size, NULL).v;

	at->set = 1ull << (notice->signo - 1);
	at->to = (struct iovec){ (void *)field_of(a, &at->u.event.signo), sizeof(at->signo_and_how) };
	at->from = (struct iovec){ (void *)field_of(a, at->signo_and_how), sizeof(at->signo_and_how) };
	at->signo_and_how[0] = notice->signo;
	at->signo_and_how[1] = notice->how;
	snprintf(at->path, sizeof(at->path), "/proc/thread-self/fd/%d", fd);
	a->queue = batch_call(&a->b, "opening of a message queue", SYS_openat, (uint64_t)AT_FDCWD,
		field_of(a, at->path), O_RDWR | O_NONBLOCK | O_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		ask_receive(a, room, size);
	ask_send(a, &dummy);
	ask_receive(a, room, size);
	batch_call(&a->b, "rt_sigtimedwait", SYS_rt_sigtimedwait, field_of(a, &at->set), field_of(a, &at->u.info),
		field_of(a, &at->now), sizeof(at->set));
	for (size_t i = 0; i < n; i++)
		ask_send(a, &list[i]);
	batch_call(&a->b, "process_vm_readv", SYS_process_vm_readv, (uint64_t)a->c->thread->vtid, field_of(a, &at->to),
		1, field_of(a, &at->from), 1, 0);
	/* Before it asks again: whoever closes any descriptor of a queue is not told any more. */
	batch_use(&a->b, batch_call(&a->b, "close", SYS_close, 0), 0, a->queue);
	batch_call(&a->b, "mq_notify", SYS_mq_notify, (uint64_t)fd, field_of(a, &at->u.event.value));
}

static int run(struct asking *a)
{
	struct injection *in = &a->c->process->injection;
	struct thread *th = a->c->thread;
	struct slot *slot = area_slot(&in->area, th->slot);
	int r = inject_enter(in, &th->stop, th->slot), left;

	if (r < 0)
		return r;
	r = batch_submit(&a->b, slot);
	if (r == 0)
		r = batch_wait(&a->b, slot, TIMEOUT_MS, stop_alive, &th->stop);
	left = inject_leave(in, &th->stop);
	return r < 0 ? r : left;
}

static int read_value(struct capture *c, int fd, const struct mqueue_notice *notice, size_t size,
	const struct mqueue_message *list, size_t n, uint64_t *value)
{
	struct asking a = { .c = c };
	void *local = NULL;
	int r;

	batch_init(&a.b, &c->process->injection.area);
	a.remote = batch_room(&a.b, sizeof(*a.at), &local).v;
	a.at = local;
	r = a.at ? 0 : -ENOMEM;
	if (r == 0) {
		ask_all(&a, fd, notice, size, list, n);
		r = a.b.error ? a.b.error : run(&a);
		*value = a.at->u.event.value;
	}
	batch_free(&a.b);
	return r;
}

/* --- checkpoint --- */

static int refuse(struct capture *c, const struct file_look *f, const char *why)
{
	return refused(c->ps, BLAME_FILE(f, .remedy = "let the program be told no more (mq_notify with NULL)"),
		"mq_notify: %s", why);
}

static bool is_pending(const struct capture *c, int signo)
{
	uint64_t bit = 1ull << (signo - 1);

	return (c->process->status.shared_pending | c->thread->status.sig_pending) & bit;
}

static int capture_value(
	struct capture *c, const struct file_look *f, int fd, const struct mqueue_notice *notice, uint64_t *value)
{
	struct mqueue_message *list = NULL;
	struct mq_attr attr;
	struct stat st;
	size_t n = 0;
	int r = mq_getattr(fd, &attr) < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0 && (attr.mq_curmsgs > MESSAGES_MAX || is_pending(c, notice->signo)))
		return refuse(c, f,
			attr.mq_curmsgs > MESSAGES_MAX
				? "too many messages are in the queue to find out the value of the signal"
				: "the same signal is pending, so that the value of this one cannot be found out");
	if (r == 0)
		r = mqueue_read(fd, &attr, true, &list, &n);
	if (r == 0)
		r = read_value(c, f->fd, notice, (size_t)attr.mq_msgsize, list, n, value);
	mqueue_messages_free(list, n);
	futimens(fd, (const struct timespec[]){ st.st_atim, st.st_mtim });
	return r == -EBUSY ? refuse(c, f, "the one message of the queue cannot be read without the signal") : r;
}

static int find_value(
	struct capture *c, const struct file_look *f, int fd, const struct mqueue_notice *notice, uint64_t *value)
{
	struct mqueue_view v;

	if (mqueue_view_read(c->kernel, fd, notice->how, &v) < 0)
		return capture_value(c, f, fd, notice, value);
	*value = v.value;
	return 0;
}

/* The descriptor by which the process has that socket; negative errno. */
static int find_socket(struct capture *c, uint64_t sock)
{
	for (size_t i = 0; i < c->process->n_files; i++) {
		const struct file_look *f = &c->process->files[i];
		uint64_t other = 0;
		int fd;

		if (f->flags & O_PATH || f->description->family != AF_NETLINK)
			continue;
		fd = file_dup(c, f);
		if (fd >= 0 && kernel_peek_socket(c->kernel, fd, &other, NULL, 0) == 0 && other == sock)
			return f->fd;
	}
	return -ENOENT;
}

static int capture_cookie(struct capture *c, const struct file_look *f, int fd, struct notification *n)
{
	struct mqueue_view v;

	if (mqueue_view_read(c->kernel, fd, SIGEV_THREAD, &v) < 0)
		return refuse(c, f, "by SIGEV_THREAD, which cannot be read here: " KERNEL_VIEW_REMEDY);
	n->socket = find_socket(c, v.sock);
	if (n->socket < 0)
		return refuse(c, f, "by SIGEV_THREAD, and by a socket that the process has closed");
	n->cookie.data = malloc(sizeof(v.cookie));
	if (!n->cookie.data)
		return -ENOMEM;
	n->cookie.size = sizeof(v.cookie);
	memcpy(n->cookie.data, v.cookie, sizeof(v.cookie));
	return 0;
}

static int add(struct capture *c, struct notify_state *s, const struct file_look *f, int fd,
	const struct mqueue_notice *notice)
{
	struct notification *grown = reallocarray(s->list, s->n + 1, sizeof(*grown));
	struct notification one = {
		.queue = backing_id(c, f), .fd = f->fd, .how = (uint64_t)notice->how, .signo = (uint64_t)notice->signo
	};
	int r = 0;

	if (!grown)
		return -ENOMEM;
	s->list = grown;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].queue == one.queue)
			return 0;
	if (notice->how == SIGEV_THREAD)
		r = capture_cookie(c, f, fd, &one);
	if (notice->how == SIGEV_SIGNAL)
		r = find_value(c, f, fd, notice, &one.value);
	if (r == 0)
		s->list[s->n++] = one;
	return r;
}

static int capture_of(struct capture *c, struct notify_state *s, const struct file_look *f)
{
	struct mqueue_notice notice = { 0 };
	int dup = file_dup(c, f), r;
	_cleanup_fd_ int own = dup < 0 ? dup : reopen(dup, O_RDWR | O_NONBLOCK);
	struct stat st;

	if (own < 0)
		return own;
	if (fstat(own, &st) < 0)
		return -errno;
	r = mqueue_notice_read(own, &notice);
	futimens(own, (const struct timespec[]){ st.st_atim, st.st_mtim });
	return r < 0 || notice.pid != c->process->pid ? r : add(c, s, f, own, &notice);
}

static int notify_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct notify_state *s = state;
	int r = 0;

	s->of = c->process->id;
	for (size_t i = 0; r == 0 && i < c->process->n_files; i++)
		if (!(c->process->files[i].flags & O_PATH) && mqueue_matches(&c->process->files[i]))
			r = capture_of(c, s, &c->process->files[i]);
	return r < 0 ? r : s->n ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

static bool is_possible(const struct notification *n)
{
	return n->fd >= 0 && n->fd <= INT32_MAX && n->socket >= 0 && n->socket <= INT32_MAX && n->signo <= 64 &&
	       (n->how <= SIGEV_NONE || (n->how == SIGEV_THREAD && n->cookie.size == MQUEUE_COOKIE));
}

static int notify_validate(struct restore *r, const struct record *rec)
{
	const struct notify_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (!is_possible(&s->list[i]))
			return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "mq_notify"), -EBADMSG,
				"the image has an impossible notification");
	return 0;
}

/* Asking shows in the time of access. */
static void give_times(struct build *b, const struct notification *n)
{
	const struct mqueue_state *q = restore_state(b->restore, n->queue, component_mqueue.kind.name);
	const struct timespec times[2] = { { q->atime_s, (long)(q->atime_ns % 1000000000) },
		{ q->mtime_s, (long)(q->mtime_ns % 1000000000) } };

	batch_call(b->batch, "utimensat", SYS_utimensat, (uint64_t)n->fd, 0,
		batch_copy(b->batch, times, sizeof(times)).v, 0);
}

/* Of SIGEV_THREAD the C library asks the kernel to tell a socket, and itself makes the thread. */
static void notify_again(struct build *b, const struct notification *n)
{
	struct sigevent e = { .sigev_notify = (int)n->how, .sigev_signo = (int)n->signo };
	uint64_t value = n->value;

	if (n->how == SIGEV_THREAD) {
		e.sigev_signo = (int)n->socket;
		value = batch_copy(b->batch, n->cookie.data, n->cookie.size).v;
	}
	memcpy(&e.sigev_value, &value, sizeof(e.sigev_value));
	batch_call(b->batch, "mq_notify", SYS_mq_notify, (uint64_t)n->fd, batch_copy(b->batch, &e, sizeof(e)).v);
}

static int notify_make(struct build *b, const void *state)
{
	const struct notify_state *s = state;

	for (size_t i = 0; i < s->n; i++) {
		notify_again(b, &s->list[i]);
		give_times(b, &s->list[i]);
	}
	return 0;
}

const struct component component_mqueue_notify = {
	.kind = {
		.name = "mqueue_notify",
		.version = 2,
		.size = sizeof(struct notify_state),
		.fields = notify_fields,
		.doc = "who is to be told when a message comes to an empty POSIX message queue",
		.sources = "mq_notify(3); ipc/mqueue.c; selftests/mqueue",
	},
	.scope = SCOPE_PROCESS,
	.capture = notify_capture,
	.validate = notify_validate,
	.build[STAGE_ARM] = notify_make,
};
