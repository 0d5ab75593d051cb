/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V IPC. sysvipc(7), semctl(2); ipc/sem.c, ipc/namespace.c. Only looked at. Objects of the host's IPC
 * namespace are the host's and stay; those of the tree's own would be lost, and are refused. Adjustments of
 * semaphores at exit (SEM_UNDO) are looked for by semaphore_undo.c.
 */
#include "object/component.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "state/owner.h"

union semun {
	int val;
	struct seminfo *info;
};

struct ipc_counts {
	int semaphores, queues, segments;
	bool own_ns; /* the tree's, not spore's */
};

static struct ipc_counts count_here(void)
{
	struct ipc_counts n = { 0 };
	struct seminfo sem = { 0 };
	struct msginfo msg = { 0 };
	struct shm_info shm = { 0 };

	if (semctl(0, 0, SEM_INFO, (union semun){ .info = &sem }) >= 0)
		n.semaphores = sem.semusz;
	if (msgctl(0, MSG_INFO, (struct msqid_ds *)&msg) >= 0)
		n.queues = msg.msgpool;
	if (shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&shm) >= 0)
		n.segments = shm.used_ids;
	return n;
}

/* What is in the process's IPC namespace. setns changes this thread only, and is undone. */
static struct ipc_counts count_of(const struct process *p)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/ipc", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int its = openat(p->living_fd, "ns/ipc", O_RDONLY | O_CLOEXEC);
	struct stat a, b;
	struct ipc_counts n;

	if (own < 0 || its < 0 || fstat(own, &a) < 0 || fstat(its, &b) < 0 || a.st_ino == b.st_ino ||
		setns(its, CLONE_NEWIPC) < 0)
		return count_here();
	n = count_here();
	n.own_ns = true;
	setns(own, CLONE_NEWIPC);
	return n;
}

static void refuse_objects(struct capture *c, int n, const char *what)
{
	if (n)
		refused(c->ps, BLAME_PROCESS(c->process, .object = what, .remedy = "remove them (ipcrm)"),
			"%d in the tree's own IPC namespace", n);
}

static int sysv_look(struct capture *c)
{
	struct ipc_counts n = { 0 };

	if (c->process == c->tree->processes[0]) /* all others are in the same namespace, or refused for it */
		n = count_of(c->process);
	if (n.own_ns) {
		refuse_objects(c, n.semaphores, "System V semaphore sets");
		refuse_objects(c, n.queues, "System V message queues");
		refuse_objects(c, n.segments, "System V shared memory");
	}
	return 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_sysv = {
	.kind = {
		.name = "sysv",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: System V IPC objects of a tree's own are refused",
		.sources = "sysvipc(7), semctl(2); ipc/sem.c",
	},
	.scope = SCOPE_PROCESS,
	.look = sysv_look,
	.capture = capture_nothing,
};
