/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System V message queues: msgget(2), msgop(2), msgctl(2). */

#include "maker.h"

#include <sys/ipc.h>
#include <sys/msg.h>

static int id = -1;
static key_t key;
static struct msqid_ds before;

struct message {
	long type;
	char text[8000];
};
static struct message m;

static int make(void)
{
	key = 0x55000000 | (getpid() & 0xffffff);
	id = msgget(key, IPC_CREAT | IPC_EXCL | 0640);
	NEED(id >= 0);
	return 0;
}

static int send_one(long type, size_t size, uint64_t seed)
{
	m.type = type;
	fill(m.text, size, seed);
	SAME(msgsnd(id, &m, size, IPC_NOWAIT), 0);
	return 0;
}

static int receive(long wanted, long type, size_t size, uint64_t seed)
{
	SAME(msgrcv(id, &m, sizeof(m.text), wanted, IPC_NOWAIT), size);
	SAME(m.type, type);
	return check_fill(m.text, size, seed);
}

static int look(void)
{
	SAME(msgctl(id, IPC_STAT, &before), 0);
	return 0;
}

/* All but the times; that of 0 says never. */
static int same(void)
{
	struct msqid_ds now;

	SAME(msgctl(id, IPC_STAT, &now), 0);
	SAME(msgget(key, 0), id);
	SAME(now.msg_perm.uid, before.msg_perm.uid);
	SAME(now.msg_perm.gid, before.msg_perm.gid);
	SAME(now.msg_perm.cuid, before.msg_perm.cuid);
	SAME(now.msg_perm.cgid, before.msg_perm.cgid);
	SAME(now.msg_perm.mode, before.msg_perm.mode);
	SAME(now.msg_qnum, before.msg_qnum);
	SAME(now.__msg_cbytes, before.__msg_cbytes);
	SAME(now.msg_qbytes, before.msg_qbytes);
	SAME(now.msg_lspid, before.msg_lspid);
	SAME(now.msg_lrpid, before.msg_lrpid);
	SAME(now.msg_stime != 0, before.msg_stime != 0);
	SAME(now.msg_rtime != 0, before.msg_rtime != 0);
	return 0;
}

static int leave(void)
{
	SAME(msgctl(id, IPC_RMID, NULL), 0);
	return 0;
}

/* --- arg 0: messages; 1: all received; 2: never used; 3: of others, by children --- */

static int sends(struct maker_ctx *ctx)
{
	return send_one(9, 77, 4);
}

static int receives(struct maker_ctx *ctx)
{
	return receive(4, 4, 16, 5);
}

static int queue_make(struct maker_ctx *ctx)
{
	TRY(make());
	if (ctx->arg == 2)
		return look();
	TRY(send_one(3, 10, 1));
	TRY(send_one(1, 0, 2));
	TRY(send_one(3, 7990, 3));
	if (ctx->arg == 3) {
		TRY(send_one(4, 16, 5));
		TRY(kid_start(ctx, sends, NULL, NULL));
		TRY(kid_start(ctx, receives, NULL, NULL));
	}
	for (int i = 0; i < 3 && ctx->arg == 1; i++)
		CHECK(msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT) >= 0);
	return look();
}

static int queue_use(struct maker_ctx *ctx)
{
	TRY(same());
	if (ctx->arg == 0 || ctx->arg == 3) {
		TRY(receive(1, 1, 0, 2));
		TRY(receive(0, 3, 10, 1));
		TRY(receive(0, 3, 7990, 3));
	}
	if (ctx->arg == 3) {
		TRY(receive(0, 9, 77, 4));
		TRY(kids_finish(ctx));
	}
	SAME(msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT), -1);
	return leave();
}

/* --- by processes that have ended --- */

static int dead_make(struct maker_ctx *ctx)
{
	pid_t p;

	TRY(make());
	TRY(send_one(4, 16, 5));
	p = fork();
	if (p == 0)
		_exit(sends(ctx));
	TRY(reap_ok(p));
	p = fork();
	if (p == 0)
		_exit(receives(ctx));
	TRY(reap_ok(p));
	return look();
}

static int dead_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(receive(0, 9, 77, 4));
	return leave();
}

/* --- owner, mode and room; full --- */

static int make_as_another(void)
{
	CHECK(!setegid(1001) && !seteuid(1000));
	return msgget(key, IPC_CREAT | IPC_EXCL | 0640) < 0;
}

static int full_make(struct maker_ctx *ctx)
{
	pid_t p;

	key = 0x55000000 | (getpid() & 0xffffff);
	p = fork();
	if (p == 0)
		_exit(make_as_another());
	TRY(reap_ok(p));
	id = msgget(key, 0);
	CHECK(id >= 0);
	TRY(look());
	before.msg_perm.uid = 1002;
	before.msg_perm.gid = 1003;
	before.msg_perm.mode = 0451;
	before.msg_qbytes = 1000;
	SAME(msgctl(id, IPC_SET, &before), 0);
	for (int i = 0; i < 10; i++)
		TRY(send_one(i + 1, 100, (uint64_t)i));
	return look();
}

static int full_use(struct maker_ctx *ctx)
{
	TRY(same());
	m.type = 1;
	SAME(msgsnd(id, &m, 1, IPC_NOWAIT), -1);
	SAME(errno, EAGAIN);
	for (int i = 0; i < 10; i++)
		TRY(receive(0, i + 1, 100, (uint64_t)i));
	return leave();
}

/* --- a thread asleep in it; arg 1: to send --- */

static pthread_t thread;
static pid_t asleep;
static struct message own;

static void *waits(void *arg)
{
	asleep = tid_self();
	if (!arg)
		return (void *)(long)(msgrcv(id, &own, sizeof(own.text), 0, 0) == 5 ? 0 : 1);
	own.type = 8;
	fill(own.text, 7000, 8);
	return (void *)(long)(msgsnd(id, &own, 7000, 0) ? 1 : 0);
}

static int asleep_make(struct maker_ctx *ctx)
{
	TRY(make());
	for (int i = 0; i < 2 && ctx->arg; i++)
		TRY(send_one(1, 7500, 7));
	TRY(thread_start(&thread, waits, (void *)ctx->arg));
	CHECK(UNTIL(asleep));
	return until_blocked_in(asleep, ctx->arg ? SYS_msgsnd : SYS_msgrcv);
}

static int asleep_use(struct maker_ctx *ctx)
{
	void *failed;

	if (ctx->arg)
		TRY(receive(0, 1, 7500, 7));
	else
		TRY(send_one(2, 5, 6));
	SAME(pthread_join(thread, &failed), 0);
	CHECK(!failed);
	if (ctx->arg) {
		TRY(receive(0, 1, 7500, 7));
		TRY(receive(0, 8, 7000, 8));
	}
	return leave();
}

/* --- limits of the namespace --- */

static int write_limit(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	NEED(fd >= 0);
	NEED(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	return close(fd);
}

static int has_limit(const char *path, const char *value)
{
	CHECK(file_has(path, value));
	return 0;
}

static bool is_own;

/* Only of a namespace of one's own: the host's are not for a test to change. */
static int limits_make(struct maker_ctx *ctx)
{
	is_own = getpid() <= 2;
	if (!is_own)
		return 0;
	TRY(write_limit("/proc/sys/kernel/msgmnb", "50000"));
	TRY(write_limit("/proc/sys/kernel/sem", "300 4000 70 90"));
	TRY(write_limit("/proc/sys/kernel/shmmni", "77"));
	TRY(write_limit("/proc/sys/kernel/shm_rmid_forced", "1"));
	TRY(write_limit("/proc/sys/fs/mqueue/msg_max", "33"));
	TRY(make());
	SAME(msgctl(id, IPC_STAT, &before), 0);
	SAME(before.msg_qbytes, 50000);
	TRY(write_limit("/proc/sys/kernel/msgmnb", "20000"));
	return look();
}

static int limits_use(struct maker_ctx *ctx)
{
	if (!is_own)
		return 0;
	TRY(same());
	TRY(has_limit("/proc/sys/kernel/msgmnb", "20000"));
	TRY(has_limit("/proc/sys/kernel/sem", "4000"));
	TRY(has_limit("/proc/sys/kernel/shmmni", "77"));
	TRY(has_limit("/proc/sys/kernel/shm_rmid_forced", "1"));
	TRY(has_limit("/proc/sys/fs/mqueue/msg_max", "33"));
	return leave();
}

const struct maker makers_sysv_msg[] = {
	{ "queue", "messages of several types", queue_make, queue_use, 0, 0, NULL },
	{ "received", "a queue that was emptied", queue_make, queue_use, 0, 1, NULL },
	{ "unused", "one that was never used", queue_make, queue_use, 0, 2, NULL },
	{ "children", "one last used by children", queue_make, queue_use, 0, 3, NULL },
	{ "dead", "one last used by processes that have ended", dead_make, dead_use, MAKER_CONTAINER, 0, NULL },
	{ "full", "a full one, with another owner and room", full_make, full_use, 0, 0, NULL },
	{ "asleep", "a thread asleep in msgrcv", asleep_make, asleep_use, MAKER_NO_STOP, 0, NULL },
	{ "asleep-full", "a thread asleep in msgsnd", asleep_make, asleep_use, MAKER_NO_STOP, 1, NULL },
	{ "limits", "limits of a namespace of its own", limits_make, limits_use, MAKER_CONTAINER, 0, NULL },
	{ 0 },
};
