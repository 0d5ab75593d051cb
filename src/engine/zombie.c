/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a zombie. That it dumped core is a bit of its status that the kernel sets only for one that does: so it dumps, a few bytes, into a tmpfs that
 * nothing else sees. That needs a core_pattern that is relative to the working directory: no other may be used, since it would tell the machine of a crash.
 * core(5), wait(2); fs/coredump.c, kernel/signal.c.
 */
#include "engine/zombie.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/tasks.h"
#include "kernel/procfs.h"

#define CORE_BIT   0x80
#define CORE_BYTES 4096

static bool core_pattern_is_relative(void)
{
	_cleanup_free_ char *text = NULL;

	return procfs_read(AT_FDCWD, "/proc/sys/kernel/core_pattern", &text, NULL) == 0 && *text && *text != '\n' &&
	       *text != '|' && *text != '@' && !strchr(text, '/');
}

/* A mount that is attached nowhere. */
static int hidden_directory(void)
{
	_cleanup_fd_ int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "1777", 0) < 0 ||
		syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

static bool may_dump(void)
{
	struct rlimit own = { 0, 0 };

	return core_pattern_is_relative() && getrlimit(RLIMIT_CORE, &own) == 0 && own.rlim_max >= CORE_BYTES;
}

/* One small core file, in that directory, or none. */
static void add_limit(struct batch *b, bool dumps)
{
	const struct rlimit limit = { dumps ? CORE_BYTES : 0, dumps ? CORE_BYTES : 0 };

	batch_call(b, "prlimit", SYS_prlimit64, 0, RLIMIT_CORE, batch_copy(b, &limit, sizeof(limit)).v, 0);
}

int zombie_prepare(struct build *b)
{
	const struct process_state *s = process_of(b->process);
	const bool dumped = s->exit_code & CORE_BIT;
	int directory = dumped && may_dump() ? hidden_directory() : -1;

	if (directory >= 0) {
		uint32_t fetched = build_fetch(b, "directory for a core dump", directory);

		batch_use(b->batch, batch_call(b->batch, "fchdir", SYS_fchdir, 0), 0, fetched);
	} else if (dumped) {
		changed(b->ps, BLAME(.pid = b->process->vpid, .process = s->name, .object = "core bit"),
			"its status no longer says that it dumped core: this machine lets only a real crash say so "
			"(core_pattern, or the limit of core files)");
	}
	add_limit(b->batch, directory >= 0);
	return directory;
}

int zombie_end(struct plan *plan, struct new_process *p)
{
	const struct process_state *s = process_of(p);
	uint64_t signal = s->exit_code & 0x7f, none = 0;
	struct batch b;
	int r;

	batch_init(&b, &plan->r->area);
	if (s->name)
		batch_call(&b, "prctl(PR_SET_NAME)", SYS_prctl, PR_SET_NAME, batch_string(&b, s->name).v);
	if (signal) {
		batch_call(&b, "kill", SYS_kill, s->pid, signal);
		batch_call(&b, "rt_sigprocmask", SYS_rt_sigprocmask, SIG_SETMASK, batch_copy(&b, &none, sizeof(none)).v,
			0, sizeof(none));
	} else {
		batch_call(&b, "exit", SYS_exit_group, s->exit_code >> 8);
	}
	r = batch_submit(&b, p->threads[0].slot);
	batch_free(&b);
	return r < 0 ? failed(plan->r->ps, BLAME(.pid = p->vpid), r, "cannot be made a zombie") : 0;
}
