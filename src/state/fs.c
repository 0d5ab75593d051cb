/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process has of the file system apart from descriptors: working directory, root directory, umask.
 * chdir(2), chroot(2), umask(2); fs/fs_struct.c, include/linux/fs_struct.h.
 */
#include "object/component.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/sched.h"
#include "state/directory.h"
#include "state/owner.h"

struct fs_state {
	object_id of;
	object_id cwd, root;
	uint32_t umask;
};

static const struct field fs_fields[] = {
	FIELD_REF(struct fs_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_REF(struct fs_state, cwd, "cwd", "directory", REF_STRONG, "working directory"),
	FIELD_REF(struct fs_state, root, "root", "directory", REF_STRONG, "root directory; absent: the tree's own"),
	FIELD_OCTAL(struct fs_state, umask, "umask", "permissions that new files do not get"),
	FIELD_END,
};

/* unshare(CLONE_FS) in a thread. */
static int fs_look(struct capture *c)
{
	const struct process *p = c->process;

	for (size_t i = 1; i < p->n_threads; i++) {
		if (kernel_kcmp(owner_alive(p)->tid, p->threads[i].tid, KCMP_FS) <= 0)
			continue;
		refused(c->ps, BLAME_PROCESS(p, .object = "working directory"),
			"thread %d has a working directory of its own (unshare(CLONE_FS))", p->threads[i].tid);
		break;
	}
	return 0;
}

static int fs_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	_cleanup_free_ char *root = NULL;
	struct fs_state *s = state;
	int r;

	s->of = c->process->id;
	s->umask = c->thread->status.umask;
	r = directory_capture(c, "cwd", &s->cwd);
	if (r == 0)
		r = procfs_link(c->thread->proc_fd, "root", &root);
	if (r == 0 && strcmp(root, "/") != 0)
		r = directory_capture(c, "root", &s->root);
	return r;
}

/* --- restore --- */

static int enter(struct build *b, object_id directory, const char *what, bool as_root)
{
	int fd = directory_fd(b->restore, directory);
	const char *path = directory_path(b->restore, directory);
	uint32_t fetched;

	if (fd < 0)
		return failed(b->ps, BLAME(.pid = b->process->vpid, .object = path), fd, "cannot open it as %s", what);
	fetched = build_fetch(b, what, fd);
	batch_use(b->batch, batch_call(b->batch, "fchdir", SYS_fchdir, 0), 0, fetched);
	if (as_root)
		batch_call(b->batch, "chroot", SYS_chroot, batch_string(b->batch, ".").v);
	batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fetched);
	return 0;
}

static int fs_attach(struct build *b, const void *state)
{
	const struct fs_state *s = state;
	int r = s->root ? enter(b, s->root, "root directory", true) : 0;

	if (r == 0 && s->cwd)
		r = enter(b, s->cwd, "working directory", false);
	batch_call(b->batch, "umask", SYS_umask, s->umask);
	return r;
}

const struct component component_fs = {
	.kind = {
		.name = "fs",
		.version = 1,
		.size = sizeof(struct fs_state),
		.fields = fs_fields,
		.doc = "working directory, root directory, umask",
		.sources = "chdir(2), chroot(2), umask(2); fs/fs_struct.c",
	},
	.scope = SCOPE_PROCESS,
	.look = fs_look,
	.capture = fs_capture,
	.build = { [STAGE_ATTACH] = fs_attach },
};
