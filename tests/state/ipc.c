/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System V and POSIX IPC, refused where something of it is the tree's own. sysvipc(7), mq_overview(7). */

#include "maker.h"

#include <mqueue.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static int fd = -1;
static char *area;

/* Removed at once where that leaves it in use, so that nothing is left behind. */
static int id = -1;

static int shm_make(struct maker_ctx *ctx)
{
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	NEED(id >= 0);
	area = shmat(id, NULL, 0);
	CHECK(area != (void *)-1);
	area[0] = 's';
	return shmctl(id, IPC_RMID, NULL);
}

static int shm_use(struct maker_ctx *ctx)
{
	SAME(area[0], 's');
	return shmdt(area);
}

/* Which of how many semaphores, its value before, and what its process does to it. */
static const struct {
	int n, num, before, by;
} undos[] = {
	{ 1, 0, 0, 1 },
	{ 1, 0, 32767, -2 },
	{ 120, 70, 16000, 1 },
};

static int sem_make(struct maker_ctx *ctx)
{
	struct sembuf op = { (unsigned short)undos[ctx->arg].num, (short)undos[ctx->arg].by, SEM_UNDO };

	id = semget(IPC_PRIVATE, undos[ctx->arg].n, IPC_CREAT | 0600);
	NEED(id >= 0);
	CHECK(!semctl(id, op.sem_num, SETVAL, undos[ctx->arg].before));
	return semop(id, &op, 1);
}

static int sem_use(struct maker_ctx *ctx)
{
	SAME(semctl(id, undos[ctx->arg].num, GETVAL), undos[ctx->arg].before + undos[ctx->arg].by);
	return semctl(id, 0, IPC_RMID);
}

/* Used with SEM_UNDO, and put back: nothing is left to be done at exit. */
static int sem_settled_make(struct maker_ctx *ctx)
{
	struct sembuf ops[] = { { 1, -5, SEM_UNDO }, { 2, 7, SEM_UNDO }, { 1, 5, SEM_UNDO }, { 2, -7, SEM_UNDO },
		{ 0, 3, 0 } };

	id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	NEED(id >= 0);
	CHECK(!semctl(id, 1, SETVAL, 32767));
	CHECK(!semop(id, ops, 2));
	return semop(id, ops + 2, 3);
}

static int sem_settled_use(struct maker_ctx *ctx)
{
	SAME(semctl(id, 0, GETVAL), 3);
	SAME(semctl(id, 1, GETVAL), 32767);
	SAME(semctl(id, 2, GETVAL), 0);
	return semctl(id, 0, IPC_RMID);
}

/* A thread asleep in it is what can be seen of a queue from outside. */
static pthread_t thread;
static pid_t thread_tid;
static struct {
	long type;
	char text[16];
} message;

static void *receives(void *arg)
{
	thread_tid = tid_self();
	if (msgrcv(id, &message, sizeof(message.text), 0, 0) < 0)
		message.text[0] = '!';
	return NULL;
}

static int msg_make(struct maker_ctx *ctx)
{
	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	NEED(id >= 0);
	TRY(thread_start(&thread, receives, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_msgrcv);
}

static int msg_use(struct maker_ctx *ctx)
{
	struct {
		long type;
		char text[16];
	} m = { 1, "message" };

	CHECK(!msgsnd(id, &m, sizeof(m.text), 0));
	SAME(pthread_join(thread, NULL), 0);
	SAME(strcmp(message.text, "message"), 0);
	return msgctl(id, IPC_RMID, NULL);
}

static int mq_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	char name[64];

	snprintf(name, sizeof(name), "/spore-maker-%d", getpid());
	fd = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &a);
	NEED(fd >= 0);
	CHECK(!mq_unlink(name));
	return mq_send(fd, "queued", 6, 1);
}

/* One that nobody has open: of a container's own namespace, or the host's, where it stays. */
static const char *closed_queue(void)
{
	static char name[32];

	if (!*name)
		snprintf(name, sizeof(name), "/maker-%lx", (unsigned long)now_ns(CLOCK_REALTIME));
	return name;
}

static int mq_closed_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	mqd_t q = mq_open(closed_queue(), O_CREAT | O_EXCL | O_RDWR, 0600, &a);

	NEED(q >= 0);
	CHECK(!mq_send(q, "queued", 6, 1));
	return mq_close(q);
}

static int mq_closed_use(struct maker_ctx *ctx)
{
	mqd_t q = mq_open(closed_queue(), O_RDONLY | O_NONBLOCK);
	char c[16];

	mq_unlink(closed_queue());
	CHECK(q >= 0);
	SAME(mq_receive(q, c, sizeof(c), NULL), 6);
	return mq_close(q);
}

static int mq_use(struct maker_ctx *ctx)
{
	char c[16];

	SAME(mq_receive(fd, c, sizeof(c), NULL), 6);
	return 0;
}

const struct maker makers_ipc[] = {
	REFUSED("sysv-shm", "System V shared memory", shm_make, shm_use, 0, "sysv|system v"),
	REFUSED("sysv-sem", "a System V semaphore with an undo", sem_make, sem_use, 0, "system v semaphore"),
	REFUSED("sysv-sem-lowered", "one at its highest value, lowered with an undo", sem_make, sem_use, 1,
		"system v semaphore"),
	REFUSED("sysv-sem-set", "an undo of one in a large set", sem_make, sem_use, 2, "system v semaphore"),
	/* A set of the host's namespace stays; one of a container's own is refused, but not for an undo. */
	{ "sysv-sem-settled", "undos that cancel each other", sem_settled_make, sem_settled_use, MAKER_MAY_REFUSE, 0,
		"in the tree's own ipc namespace" },
	/* A queue of the host's namespace is not the tree's, and stays; one of a container's own is refused. */
	{ "sysv-msg", "a thread asleep in msgrcv", msg_make, msg_use, MAKER_MAY_REFUSE | MAKER_NO_STOP, 0,
		"msg|message" },
	{ "posix-mq-closed", "a POSIX message queue that nobody has open", mq_closed_make, mq_closed_use,
		MAKER_MAY_REFUSE, 0, "POSIX message queue /maker-" },
	REFUSED("posix-mq", "a POSIX message queue", mq_make, mq_use, 0, "mqueue|message queue"),
	{ 0 },
};
