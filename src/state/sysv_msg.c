/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System V message queues. msgget(2), msgop(2) MSG_COPY, msgctl(2), sysvipc(7); ipc/msg.c; selftests/ipc. One record for each queue. */
#include "state/sysv_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>

#include "base/cleanup.h"
#include "state/stand_in.h"

static const struct field message_fields[] = {
	FIELD_INT(struct sysv_message, type, "type", "as msgsnd gave it"),
	FIELD_BLOB(struct sysv_message, text, "text", ""),
	FIELD_END,
};

static const struct field sysv_msg_fields[] = {
	SYSV_FIELDS(struct sysv_msg_state),
	FIELD_UINT(struct sysv_msg_state, room, "room", "bytes that it holds at most (msg_qbytes)"),
	FIELD_BOOL(struct sysv_msg_state, sent, "sent", "something was sent to it once"),
	FIELD_BOOL(struct sysv_msg_state, received, "received", "something was received from it once"),
	FIELD_UINT(struct sysv_msg_state, last_send, "last_send", "the last process that did, if it was of the tree"),
	FIELD_UINT(struct sysv_msg_state, last_receive, "last_receive", "the last process that did"),
	FIELD_LIST(struct sysv_msg_state, list, n, "messages", message_fields, "in their order"),
	FIELD_END,
};

/* --- checkpoint --- */

struct queue {
	int id;
	struct msqid_ds ds;
};

/* As the caller's pid namespace counts. */
static int stat_queue(void *arg)
{
	struct queue *q = arg;

	return msgctl(q->id, IPC_STAT, &q->ds) < 0 ? -errno : 0;
}

static bool is_ours(const struct tree *t, pid_t pid)
{
	return !pid || tree_find(t, pid);
}

/* In the host's namespace: the last to send and to receive are of the tree. */
static bool is_trees(const struct tree *t, const struct msqid_ds *ds)
{
	return (ds->msg_lspid || ds->msg_lrpid) && is_ours(t, ds->msg_lspid) && is_ours(t, ds->msg_lrpid);
}

/* A copy of the message at that place: nothing shows that it was read. */
static int read_message(int id, size_t at, size_t room, struct sysv_message *m)
{
	_cleanup_free_ struct {
		long type;
		uint8_t text[];
	} *buffer = malloc(sizeof(long) + room);
	ssize_t n;

	if (!buffer)
		return -ENOMEM;
	n = msgrcv(id, buffer, room, (long)at, MSG_COPY | IPC_NOWAIT);
	if (n < 0)
		return -errno;
	m->type = buffer->type;
	m->text.data = malloc((size_t)n + 1);
	if (!m->text.data)
		return -ENOMEM;
	memcpy(m->text.data, buffer->text, (size_t)n);
	m->text.size = (size_t)n;
	return 0;
}

static int read_messages(struct capture *c, const struct msqid_ds *ds, struct sysv_msg_state *s)
{
	int r = 0;

	s->list = calloc(ds->msg_qnum + 1, sizeof(*s->list));
	if (!s->list)
		return -ENOMEM;
	for (; r == 0 && s->n < ds->msg_qnum; s->n++)
		r = read_message((int)s->o.id, s->n, ds->__msg_cbytes, &s->list[s->n]);
	if (r == -ENOSYS)
		return refused(c->ps,
			BLAME_PROCESS(c->process, .object = sysv_name(&sysv_msg_kind, &s->o).s,
				.remedy = "use a kernel with CONFIG_CHECKPOINT_RESTORE, or let the queue be empty"),
			"this kernel cannot copy messages (MSG_COPY)");
	return r;
}

static int give_numbers(struct capture *c, const struct queue *here, struct sysv_msg_state *s, bool own)
{
	struct queue inside = { .id = here->id };
	int r = 0;

	s->last_send = (uint64_t)sysv_vpid(c->tree, here->ds.msg_lspid);
	s->last_receive = (uint64_t)sysv_vpid(c->tree, here->ds.msg_lrpid);
	if (!own || (is_ours(c->tree, here->ds.msg_lspid) && is_ours(c->tree, here->ds.msg_lrpid)))
		return 0;
	/* Those who have ended have a number only inside. */
	r = stand_in_shared(c->tree->processes[0]->living_fd, stat_queue, &inside, sizeof(inside));
	s->last_send = (uint64_t)inside.ds.msg_lspid;
	s->last_receive = (uint64_t)inside.ds.msg_lrpid;
	return r;
}

static int save_queue(struct capture *c, const struct queue *q, bool own)
{
	struct sysv_msg_state s = {
		.o = sysv_object_of(q->id, &q->ds.msg_perm, q->ds.msg_ctime),
		.room = q->ds.msg_qbytes,
		.sent = q->ds.msg_stime != 0,
		.received = q->ds.msg_rtime != 0,
	};
	int r = give_numbers(c, q, &s, own);

	if (r == 0)
		r = read_messages(c, &q->ds, &s);
	if (r == 0)
		r = image_add(c->writer, &component_sysv_msg.kind,
			identity_of(c->identities, "sysv_msg", s.o.id, 0, 0, NULL), &s);
	r = problems_told(c->ps, r);
	if (r < 0)
		failed(c->ps, BLAME_PROCESS(c->process, .object = sysv_name(&sysv_msg_kind, &s.o).s), r,
			"cannot be saved: %s", strerror(-r));
	fields_free(sysv_msg_fields, &s);
	return r;
}

static int save_queues(struct capture *c, bool own)
{
	struct msginfo used = { 0 };
	int last = msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&used), r = 0;

	for (int i = 0; r == 0 && used.msgpool && i <= last; i++) {
		struct queue q;

		q.id = msgctl(i, MSG_STAT_ANY, &q.ds);
		if (q.id >= 0 && (own || is_trees(c->tree, &q.ds)))
			r = save_queue(c, &q, own);
	}
	return r;
}

static int sysv_msg_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct ipc_place place;
	int r = ipc_enter(c->tree->processes[0]->living_fd, &place);

	if (r < 0)
		return r;
	r = save_queues(c, place.foreign);
	ipc_leave(&place);
	return r < 0 ? r : CAPTURE_NOTHING;
}

const struct component component_sysv_msg = {
	.kind = {
		.name = "sysv_msg",
		.version = 1,
		.size = sizeof(struct sysv_msg_state),
		.fields = sysv_msg_fields,
		.doc = "a System V message queue",
		.sources = "msgget(2), msgop(2), msgctl(2), sysvipc(7); ipc/msg.c; selftests/ipc",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.capture = sysv_msg_capture,
	.validate = sysv_msg_validate,
	.build[STAGE_NAMESPACES] = sysv_msg_make,
	.settle = sysv_msg_settle,
};
