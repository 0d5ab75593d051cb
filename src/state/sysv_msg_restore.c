/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making queues again, and filling them when all are born: the last message is sent by who sent it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/stand_in.h"
#include "state/sysv_msg.h"

#define WHO(s, ...) BLAME(.object = sysv_name(&sysv_msg_kind, &(s)->o).s, __VA_ARGS__)

static int remove_queue(int id, const char *unused)
{
	return msgctl(id, IPC_RMID, NULL) < 0 ? -errno : 0;
}

static int stat_queue(int id, struct sysv_object *out)
{
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	*out = sysv_object_of(id, &ds.msg_perm, ds.msg_ctime);
	return 0;
}

const struct sysv_kind sysv_msg_kind = {
	.what = "System V message queue",
	.next_id = "kernel/msg_next_id",
	.letter = 'q',
	.get = SYS_msgget,
	.remove = remove_queue,
	.stat = stat_queue,
};

/* --- validate --- */

static bool is_sound(const struct sysv_msg_state *s)
{
	if (s->o.id > INT32_MAX || s->o.key > UINT32_MAX || s->o.mode > 0777 || s->last_send > INT32_MAX ||
		s->last_receive > INT32_MAX)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].type < 1 || s->list[i].text.size > INT32_MAX)
			return false;
	return true;
}

int sysv_msg_validate(struct restore *r, const struct record *rec)
{
	const struct sysv_msg_state *s = rec->state;

	if (!is_sound(s))
		return failed(r->ps, WHO(s), -EBADMSG, "the image has an impossible message queue");
	return sysv_is_own(r) ? 0 : sysv_found(r, &sysv_msg_kind, &s->o);
}

/* --- making it --- */

static int set(const struct sysv_msg_state *s)
{
	struct msqid_ds ds;

	if (msgctl((int)s->o.id, IPC_STAT, &ds) < 0)
		return -errno;
	if (ds.msg_perm.uid == s->o.uid && ds.msg_perm.gid == s->o.gid && (ds.msg_perm.mode & 0777) == s->o.mode &&
		ds.msg_qbytes == s->room)
		return 0;
	ds.msg_perm.uid = (uid_t)s->o.uid;
	ds.msg_perm.gid = (gid_t)s->o.gid;
	ds.msg_perm.mode = (mode_t)s->o.mode;
	ds.msg_qbytes = s->room;
	return msgctl((int)s->o.id, IPC_SET, &ds) < 0 ? -errno : 0;
}

/* More than the namespace's limit asks for CAP_SYS_RESOURCE: or for a moment in which the limit is higher, where it is the tree's own. */
static int set_with_room(const struct sysv_msg_state *s, bool own)
{
	_cleanup_free_ char *limit = NULL;
	char wanted[24];
	int error = set(s);

	if (error != -EPERM || !own || ipc_sysctl_read("kernel/msgmnb", &limit) < 0)
		return error;
	snprintf(wanted, sizeof(wanted), "%" PRIu64, s->room);
	error = ipc_sysctl_write("kernel/msgmnb", wanted);
	if (error == 0)
		error = set(s);
	ipc_sysctl_write("kernel/msgmnb", limit);
	return error;
}

/* One that a killed tree left is emptied, once that tree is known to be made. */
static int empty(struct restore *r, const struct sysv_msg_state *s)
{
	struct msqid_ds ds;
	_cleanup_free_ void *buffer = NULL;

	if (msgctl((int)s->o.id, IPC_STAT, &ds) < 0)
		return -errno;
	if (!ds.msg_qnum)
		return 0;
	if (!s->received)
		changed(r->ps, WHO(s),
			"the time at which something was received from it: it had messages that are not the saved "
			"ones");
	buffer = malloc(sizeof(long) + ds.__msg_cbytes);
	if (!buffer)
		return -ENOMEM;
	while (msgrcv((int)s->o.id, buffer, ds.__msg_cbytes, 0, IPC_NOWAIT) >= 0)
		;
	return errno == ENOMSG ? 0 : -errno;
}

static int make(struct restore *r, const struct sysv_msg_state *s, bool own)
{
	int error;

	if (!own && sysv_found(r, &sysv_msg_kind, &s->o) == 1)
		return 0;
	error = sysv_create(r, &sysv_msg_kind, &s->o, 0, 0, !own);
	return error < 0 ? error : set_with_room(s, own);
}

int sysv_msg_make(struct build *b, const void *state)
{
	const struct sysv_msg_state *s = state;
	struct ipc_place place;
	int error = sysv_enter(b->restore, &place);

	if (error < 0)
		return error;
	error = make(b->restore, s, place.foreign);
	ipc_leave(&place);
	if (error < 0 && !b->ps->first_error)
		failed(b->ps, WHO(s), error, "cannot be made again: %s", strerror(-error));
	return error;
}

/* --- messages --- */

static int tell(struct restore *r, const struct sysv_msg_state *s, uint64_t pid, int error)
{
	return error == -EEXIST ? changed(r->ps, WHO(s), "who used it last: %" PRIu64 " is another's number here", pid)
				: error;
}

static int send_as(struct restore *r, const struct sysv_msg_state *s, uint64_t pid, const struct sysv_message *m)
{
	size_t size = sizeof(long) + m->text.size;
	_cleanup_free_ uint8_t *buffer = malloc(size);
	struct acted_call call = { .what = "msgsnd",
		.nr = SYS_msgsnd,
		.args = { s->o.id, 0, m->text.size, IPC_NOWAIT },
		.data = buffer,
		.size = size,
		.data_arg = 1 };
	int error;

	if (!buffer)
		return -ENOMEM;
	memcpy(buffer, &m->type, sizeof(long));
	if (m->text.size)
		memcpy(buffer + sizeof(long), m->text.data, m->text.size);
	error = act_as(r, (pid_t)pid, &call, 1);
	if (error == -EEXIST) {
		tell(r, s, pid, error);
		error = act_as(r, 0, &call, 1);
	}
	return error;
}

static int receive_as(struct restore *r, const struct sysv_msg_state *s, uint64_t pid)
{
	long room = 0;
	struct acted_call call = { .what = "msgrcv",
		.nr = SYS_msgrcv,
		.args = { s->o.id, 0, 0, 0, IPC_NOWAIT },
		.data = &room,
		.size = sizeof(room),
		.data_arg = 1 };
	int error = act_as(r, (pid_t)pid, &call, 1);

	if (error == -EEXIST) {
		tell(r, s, pid, error);
		error = act_as(r, 0, &call, 1);
	}
	return error;
}

/* Before the first: an empty one, sent and received by who did so last. */
static int leave_traces(struct restore *r, const struct sysv_msg_state *s)
{
	const struct sysv_message nothing = { .type = 1 };
	int error = 0;

	if (s->received || (s->sent && !s->n)) {
		error = send_as(r, s, s->last_send, &nothing);
		if (error == 0)
			error = receive_as(r, s, s->last_receive);
	}
	return error;
}

static int send_all(const struct sysv_msg_state *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t size = s->list[i].text.size;
		_cleanup_free_ uint8_t *buffer = malloc(sizeof(long) + size);

		if (!buffer)
			return -ENOMEM;
		memcpy(buffer, &s->list[i].type, sizeof(long));
		if (size)
			memcpy(buffer + sizeof(long), s->list[i].text.data, size);
		if (msgsnd((int)s->o.id, buffer, size, IPC_NOWAIT) < 0)
			return -errno;
	}
	return 0;
}

/* A copy of the message at that place is the same? */
static bool has_message(const struct sysv_msg_state *s, size_t at, const struct sysv_message *m)
{
	_cleanup_free_ long *buffer = malloc(sizeof(long) + m->text.size);

	return buffer &&
	       msgrcv((int)s->o.id, buffer, m->text.size, (long)at, MSG_COPY | IPC_NOWAIT) == (ssize_t)m->text.size &&
	       *buffer == m->type && (!m->text.size || !memcmp(buffer + 1, m->text.data, m->text.size));
}

/* Nobody has used the one that a killed tree left: touching it would show. */
static bool is_as_saved(const struct sysv_msg_state *s, const struct msqid_ds *ds)
{
	bool same = ds->msg_qnum == s->n && (ds->msg_stime != 0) == s->sent && (ds->msg_rtime != 0) == s->received;

	for (size_t i = 0; same && i < s->n; i++)
		same = has_message(s, i, &s->list[i]);
	return same;
}

static int tell_untouched(struct restore *r, const struct sysv_msg_state *s)
{
	if ((s->last_send || s->last_receive) && is_numbered_elsewhere(r))
		changed(r->ps, WHO(s), "who used it last has a number of the host's, and shows as 0");
	return 0;
}

static int refill(struct restore *r, const struct sysv_msg_state *s)
{
	struct ipc_place place;
	struct msqid_ds ds;
	int error = sysv_enter(r, &place);

	if (error < 0)
		return error;
	if (msgctl((int)s->o.id, IPC_STAT, &ds) == 0 && !place.foreign && is_as_saved(s, &ds)) {
		ipc_leave(&place);
		return tell_untouched(r, s);
	}
	error = empty(r, s);
	if (error == 0)
		error = leave_traces(r, s);
	if (error == 0 && s->n)
		error = send_all(s, s->n - 1);
	ipc_leave(&place);
	if (error == 0 && s->n)
		error = send_as(r, s, s->last_send, &s->list[s->n - 1]);
	return error;
}

int sysv_msg_settle(struct restore *r, const struct record *rec)
{
	const struct sysv_msg_state *s = rec->state;
	int error = refill(r, s);

	return error < 0 ? failed(r->ps, WHO(s), error, "its messages cannot be put back: %s", strerror(-error)) : 0;
}
