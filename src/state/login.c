/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * login: as whom the user logged in of whom a process is descended. The audit system tells it in its records, getlogin(3) to programs. Its number of a
 * session has no setter: it is that of the restoring command, or new where the login uid is another. proc_pid_loginuid(5), pam_loginuid(8);
 * kernel/audit.c, fs/proc/base.c.
 */
#include "state/login.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "state/files.h"
#include "state/owner.h"

#define UNSET UINT32_MAX

struct login_state {
	object_id of;
	uint32_t uid;
};

static const struct field login_fields[] = {
	FIELD_REF(struct login_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_UINT(struct login_state, uid, "uid", "/proc/PID/loginuid"),
	FIELD_END,
};

/* A kernel without CONFIG_AUDIT has no such file, and nobody has logged in. */
static int read_uid(int dir_fd, const char *name, uint32_t *uid)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(dir_fd, name, &text, NULL);

	*uid = r < 0 ? UNSET : (uint32_t)strtoul(text, NULL, 10);
	return r == -ENOENT ? 0 : r;
}

static int login_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct process *p = c->process;
	struct login_state *s = state;
	int r = read_uid(p->proc_fd, "loginuid", &s->uid);

	if (r < 0)
		return failed(c->ps, BLAME_PROCESS(p, .object = "login uid"), r, "cannot be read");
	for (size_t i = 1; i < p->n_threads; i++) {
		uint32_t uid = UNSET;

		if (read_uid(p->threads[i].proc_fd, "loginuid", &uid) == 0 && uid != s->uid)
			return refused(c->ps, BLAME_PROCESS(p, .object = "login uid"),
				"thread %d has another than its leader", p->threads[i].tid);
	}
	s->of = p->id;
	return s->uid == UNSET ? CAPTURE_NOTHING : 0;
}

/* --- restore --- */

static uint32_t login_of(const struct restore *r, const struct new_process *p)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_login.kind, &n);
	uint32_t own;

	if (!p)
		return read_uid(AT_FDCWD, "/proc/thread-self/loginuid", &own) < 0 ? UNSET : own;
	for (size_t i = 0; i < n; i++) {
		const struct login_state *s = rec[i].state;

		if (s->of == p->id)
			return s->uid;
	}
	return UNSET;
}

static int write_own(void *text)
{
	_cleanup_fd_ int fd = open("/proc/thread-self/loginuid", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* It may be set once and for all, or by whom CAP_AUDIT_CONTROL allows it: a task of ours tries. */
static int may_become(uint32_t uid)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", uid);
	return call_in_child(write_own, text);
}

static int login_validate(struct restore *r, const struct record *rec)
{
	const struct login_state *s = rec->state;

	if (s->uid != login_of(r, NULL) && may_become(s->uid) < 0 && !capable_own(CAP_AUDIT_CONTROL))
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "login uid",
				.remedy = "give spore CAP_AUDIT_CONTROL"),
			"it is %u, which spore may not set", s->uid);
	return 0;
}

/* By a descriptor of the keeper's: there may be no /proc where the task is. */
int login_assume(struct build *b, const struct new_process *creator)
{
	uint32_t uid = login_of(b->restore, b->process), fetched;
	struct made *made;
	char text[16];
	char path[48];

	if (uid == login_of(b->restore, creator))
		return 0;
	if (may_become(uid) < 0)
		return changed(b->ps, BLAME(.pid = b->process->vpid, .object = "login uid"),
			"it was %d and cannot be set here: it is that of the restoring command", (int)uid);
	made = restore_made(b->restore, b->process->id);
	if (!made)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d/loginuid", b->process->pid);
	made->fd[0] = open(path, O_WRONLY | O_CLOEXEC);
	if (made->fd[0] < 0)
		return failed(b->ps, BLAME(.pid = b->process->vpid, .object = "login uid"), -errno, "cannot be set");
	snprintf(text, sizeof(text), "%u", uid);
	fetched = build_fetch(b, "login uid", made->fd[0]);
	batch_use(b->batch,
		batch_call(
			b->batch, "write of the login uid", SYS_write, 0, batch_string(b->batch, text).v, strlen(text)),
		0, fetched);
	batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fetched);
	return 0;
}

const struct component component_login = {
	.kind = {
		.name = "login",
		.version = 1,
		.size = sizeof(struct login_state),
		.fields = login_fields,
		.doc = "as whom the user of a process logged in, if anyone did",
		.sources = "proc_pid_loginuid(5), pam_loginuid(8); kernel/audit.c",
	},
	.scope = SCOPE_PROCESS,
	.zombies = true,
	.capture = login_capture,
	.validate = login_validate,
};
