/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a security module calls a task (SELinux, AppArmor, Smack), and what it is to call what the task makes next: /proc/PID/attr, lsm(7);
 * security/security.c, fs/proc/base.c. A restored task has the label of the restoring command, so any other than that is refused. Only looked at.
 */
#include "object/component.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/owner.h"

static const char *const labels[] = { "attr/current", "attr/exec", "attr/fscreate", "attr/keycreate", "attr/sockcreate",
	"attr/apparmor/current", "attr/apparmor/exec", "attr/smack/current" };

/* NULL: no module of this machine has such a thing, or the task is gone. */
static char *label_of(int task_fd, const char *which)
{
	char *text = NULL;

	return procfs_read(task_fd, which, &text, NULL) == 0 ? text : NULL;
}

static void compare(struct capture *c, int task_fd, int own_fd, pid_t tid, const char *which)
{
	_cleanup_free_ char *own = label_of(own_fd, which), *its = own ? label_of(task_fd, which) : NULL;
	char object[64];

	if (!its || !strcmp(own, its))
		return;
	snprintf(object, sizeof(object), "%s of thread %d", which, tid);
	refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "run spore under the same label"),
		"a security module calls it \"%.*s\", and spore \"%.*s\": a restore would lose that",
		(int)strcspn(its, "\n"), its, (int)strcspn(own, "\n"), own);
}

static int compare_all(struct capture *c, int task_fd, pid_t tid)
{
	_cleanup_fd_ int own = -1;
	_cleanup_free_ char *any = NULL;
	int r;

	if (c->tree->unlabeled)
		return 0;
	own = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = own < 0 ? -errno : procfs_read(own, labels[0], &any, NULL);
	c->tree->unlabeled = r == -EINVAL || r == -ENOENT;
	for (size_t i = 0; any && i < ARRAY_SIZE(labels); i++)
		compare(c, task_fd, own, tid, labels[i]);
	return 0;
}

static int security_label_look(struct capture *c)
{
	return compare_all(c, c->process->living_fd, c->process->living_tid);
}

static int security_label_look_thread(struct capture *c)
{
	return compare_all(c, c->thread->proc_fd, c->thread->tid);
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_security_label = {
	.kind = {
		.name = "security_label",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: a task that a security module labels otherwise than spore is refused",
		.sources = "proc_pid_attr(5), lsm(7); security/security.c",
	},
	.scope = SCOPE_PROCESS,
	.look = security_label_look,
	.look_thread = security_label_look_thread,
	.capture = capture_nothing,
};
