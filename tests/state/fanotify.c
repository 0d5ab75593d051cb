/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fanotify(7): marks on files, directories, mounts and file systems. Neither a checkpoint nor a restore may make an event itself. */

#include "watch_place.h"

#include <sys/fanotify.h>
#include <sys/prctl.h>

static int fd = -1, fd2 = -1;

/* Events with a descriptor. arg: O_* of those. */

static int fanotify_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	TRY(touch("file"));
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, (unsigned int)ctx->arg);
	NEED(fd >= 0);
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, place));
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY | FAN_CLOSE_WRITE, AT_FDCWD, there("file")));
	return 0;
}

static int fanotify_expect(int f, uint64_t mask, int *with)
{
	char space[256] __attribute__((aligned(8)));
	struct fanotify_event_metadata *e = (void *)space;

	SAME(read(f, space, sizeof(space)), (ssize_t)e->event_len);
	SAME(e->mask, mask);
	*with = e->fd;
	return 0;
}

static int change(const char *name)
{
	int f = open(there(name), O_WRONLY);

	SAME(write(f, "x", 1), 1);
	return close(f);
}

static int fanotify_use(struct maker_ctx *ctx)
{
	struct stat a, b;
	int with, f;

	TRY(silent(fd));
	f = open(there("file"), O_RDONLY);
	TRY(fanotify_expect(fd, FAN_OPEN, &with));
	CHECK(with >= 0 && !fstat(f, &a) && !fstat(with, &b));
	SAME(a.st_ino, b.st_ino);
	SAME(fcntl(with, F_GETFL) & (O_ACCMODE | O_APPEND), ctx->arg & (O_ACCMODE | O_APPEND));
	SAME(fcntl(with, F_GETFD), ctx->arg & O_CLOEXEC ? FD_CLOEXEC : 0);
	CHECK(!close(with) && !close(f));
	TRY(change("file"));
	TRY(fanotify_expect(fd, FAN_OPEN | FAN_MODIFY | FAN_CLOSE_WRITE, &with));
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	return 0;
}

/* Events with names, and exceptions. arg: made without privileges. */

static int fanotify_names_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	TRY(touch("file"));
	TRY(touch("quiet"));
	CHECK(!mkdir(there("sub"), 0777) && !chmod(place, 0777));
	if (ctx->arg)
		CHECK(!chown(place, 1000, 1000) && !chown(there("file"), 1000, 1000) && !setresuid(1000, 1000, 1000));
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_DFID_NAME, O_RDONLY);
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	NEED(fd >= 0);
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_ONDIR, AT_FDCWD, place));
	CHECK(open(there("file"), O_RDONLY | O_CLOEXEC) >=
		0); /* it stays in the kernel's memory, else its mark may go */
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD | 0x200 /* EVICTABLE */, FAN_ATTRIB, AT_FDCWD, there("file")));
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY | FAN_EVENT_ON_CHILD, AT_FDCWD, there("sub")));
	CHECK(!fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_MODIFY,
		AT_FDCWD, there("quiet")));
	NEED(!fanotify_mark(fd, FAN_MARK_ADD | 0x400 /* IGNORE */ | FAN_MARK_IGNORED_SURV_MODIFY,
		FAN_DELETE | FAN_ONDIR, AT_FDCWD, there("sub")));
	return 0;
}

static int fanotify_names_use(struct maker_ctx *ctx)
{
	char space[256] __attribute__((aligned(8)));
	struct fanotify_event_metadata *e = (void *)space;
	struct fanotify_event_info_fid *name = (void *)(e + 1);
	pid_t child;

	TRY(silent(fd));
	child = fork();
	if (!child)
		_exit(mkdir(there("new"), 0755));
	TRY(reap_ok(child));
	SAME(read(fd, space, sizeof(space)), (ssize_t)e->event_len);
	SAME(e->mask, FAN_CREATE | FAN_ONDIR);
	SAME(e->fd, FAN_NOFD);
	SAME(e->pid, ctx->arg ? 0 : child); /* whoever is not privileged is not told */
	SAME(name->hdr.info_type, FAN_EVENT_INFO_TYPE_DFID_NAME);
	CHECK(!chmod(there("file"), 0600));
	SAME(read(fd, space, sizeof(space)), (ssize_t)e->event_len);
	SAME(e->mask, FAN_ATTRIB);
	return 0;
}

static int fanotify_unprivileged_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, fanotify_names_make, fanotify_names_use, NULL);
}

/* On the mount of /dev/shm (arg 0) or the file system of /dev/pts (arg 1), of the one thing that nobody does there. */

static int fanotify_mount_make(struct maker_ctx *ctx)
{
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_TID, O_RDONLY);
	NEED(fd >= 0);
	NEED(!fanotify_mark(fd, FAN_MARK_ADD | (ctx->arg ? FAN_MARK_FILESYSTEM : FAN_MARK_MOUNT), FAN_OPEN_EXEC,
		AT_FDCWD, ctx->arg ? "/dev/pts" : "/dev/shm"));
	return 0;
}

static int fanotify_mount_use(struct maker_ctx *ctx)
{
	int with, status;
	pid_t child;

	TRY(silent(fd));
	if (ctx->arg)
		return fanotify_mark(fd, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC, AT_FDCWD, "/dev/pts");
	snprintf(place, sizeof(place), "/dev/shm");
	TRY(program_copy());
	child = fork();
	if (!child) {
		execl(there("program"), "program", "0", NULL);
		_exit(77);
	}
	SAME(waitpid(child, &status, 0), child);
	CHECK(!unlink(there("program")));
	if (WEXITSTATUS(status) == 77) /* it may not be executed there: then the mark is what the oracle saw */
		return silent(fd);
	TRY(fanotify_expect(fd, FAN_OPEN_EXEC, &with));
	return close(with);
}

static int fanotify_unread_make(struct maker_ctx *ctx)
{
	TRY(fanotify_make(ctx));
	return change("file");
}

static int fanotify_unread_use(struct maker_ctx *ctx)
{
	int with;

	return fanotify_expect(fd, FAN_OPEN | FAN_MODIFY | FAN_CLOSE_WRITE, &with);
}

/* Asked for leave. */
static int fanotify_guard_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	TRY(touch("file"));
	fd2 = open(there("file"), O_RDONLY);
	fd = fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, O_RDONLY);
	NEED(fd >= 0);
	return fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, there("file"));
}

const struct maker makers_fanotify[] = {
	{ "marks", "marks on a directory and a file", fanotify_make, fanotify_use, 0, O_RDONLY },
	{ "write", "events with descriptors to write", fanotify_make, fanotify_use, 0, O_RDWR | O_APPEND | O_CLOEXEC },
	{ "names", "events with names, and exceptions", fanotify_names_make, fanotify_names_use, 0, 0 },
	{ "unprivileged", "the same, made without privileges", fanotify_unprivileged_make, NULL, 0, 1 },
	{ "mount", "a mark on a mount", fanotify_mount_make, fanotify_mount_use, 0, 0 },
	{ "file-system", "a mark on a file system", fanotify_mount_make, fanotify_mount_use, 0, 1 },
	{ "unread", "a group with events that nobody read", fanotify_unread_make, fanotify_unread_use,
		MAKER_MUST_REFUSE, O_RDONLY, "fanotify.*nobody has read" },
	{ "guard", "a group that is asked for leave", fanotify_guard_make, NULL, MAKER_MUST_REFUSE, 0,
		"asked for leave" },
	{ 0 },
};
