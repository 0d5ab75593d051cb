/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watches on files: inotify(7). Neither a checkpoint nor a restore may make an event itself. */

#include "maker.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static int fd = -1, fd2 = -1, ep = -1;
static char place[700]; /* a directory for this alone: the driver works in the maker's own */
static pthread_t thread;
static pid_t thread_tid;
static struct inotify_event got;

/* The path of a file there; good until the next call. */
static const char *there(const char *name)
{
	static char path[800];

	snprintf(path, sizeof(path), "%s/%s", place, name);
	return path;
}

static int place_make(struct maker_ctx *ctx)
{
	snprintf(place, sizeof(place), "%s/place", ctx->dir);
	CHECK(!mkdir(place, 0755));
	return 0;
}

static int create(const char *name)
{
	int f = open(there(name), O_CREAT | O_EXCL | O_RDWR, 0644);

	CHECK(f >= 0);
	SAME(write(f, "contents", 8), 8);
	return f;
}

static int touch(const char *name)
{
	int f = create(name);

	return f < 0 ? f : close(f);
}

static int silent(int f)
{
	int n = -1;

	CHECK(!ioctl(f, FIONREAD, &n));
	SAME(n, 0);
	return 0;
}

/* The next event, which is there already. name: NULL: none. */
static int expect(int f, int wd, uint32_t mask, const char *name)
{
	char space[512] __attribute__((aligned(8)));
	struct inotify_event *e = (void *)space;

	SAME(read(f, space, sizeof(*e) + (name ? 16 : 0)), (ssize_t)(sizeof(*e) + (name ? 16 : 0)));
	SAME(e->wd, wd);
	SAME(e->mask, mask);
	if (name)
		CHECK(!strcmp(e->name, name));
	return 0;
}

/* A directory, with a file open in it and more. */

static int inotify_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	fd2 = create("open");
	CHECK(fd2 >= 0);
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	CHECK(fd >= 0);
	SAME(inotify_add_watch(fd, place, IN_ALL_EVENTS), 1);
	return 0;
}

static int inotify_use(struct maker_ctx *ctx)
{
	TRY(silent(fd));
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
	SAME(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	TRY(touch("new"));
	TRY(expect(fd, 1, IN_CREATE, "new"));
	TRY(expect(fd, 1, IN_OPEN, "new"));
	TRY(expect(fd, 1, IN_MODIFY, "new"));
	TRY(expect(fd, 1, IN_CLOSE_WRITE, "new"));
	SAME(write(fd2, "more", 4), 4);
	TRY(expect(fd, 1, IN_MODIFY, "open"));
	CHECK(!close(fd2));
	TRY(expect(fd, 1, IN_CLOSE_WRITE, "open"));
	SAME(inotify_add_watch(fd, there("new"), IN_OPEN), 2);
	return silent(fd);
}

/* No event for what a checkpoint has to read: mapped files, files without a name; and all of it comes back as it was. */

static char *mapped;
static pid_t kid;

static int program_copy(void)
{
	char text[4096];
	int from = open("/bin/sleep", O_RDONLY), to = open(there("program"), O_CREAT | O_WRONLY, 0755);
	ssize_t n;

	CHECK(from >= 0 && to >= 0);
	while ((n = read(from, text, sizeof(text))) > 0)
		SAME(write(to, text, (size_t)n), n);
	return close(from) || close(to);
}

/* A program of which nobody else has the executable. */
static int program_start(void)
{
	char path[64];

	TRY(program_copy());
	kid = fork();
	if (!kid) {
		execl(there("program"), "program", "1000", NULL);
		_exit(1);
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", kid);
	CHECK(UNTIL(file_has(path, "program")));
	return until_blocked_in(kid, SYS_clock_nanosleep);
}

static int inotify_read_make(struct maker_ctx *ctx)
{
	int f;

	TRY(place_make(ctx));
	TRY(program_start());
	fd2 = create("gone");
	f = create("mapped");
	mapped = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, f, 0);
	CHECK(fd2 >= 0 && mapped != MAP_FAILED && !close(f));
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(fd >= 0 && !unlink(there("gone")));
	SAME(inotify_add_watch(fd, place, IN_ALL_EVENTS), 1);
	SAME(inotify_add_watch(fd, there("mapped"), IN_ALL_EVENTS), 2);
	SAME(inotify_add_watch(fd, there("program"), IN_ALL_EVENTS), 3);
	return 0;
}

static int inotify_read_use(struct maker_ctx *ctx)
{
	char text[16];

	TRY(silent(fd));
	CHECK(!memcmp(mapped, "contents", 8));
	SAME(pread(fd2, text, 16, 0), 8);
	CHECK(!memcmp(text, "contents", 8));
	CHECK(!kill(kid, SIGKILL));
	SAME(waitpid(kid, NULL, 0), kid);
	return 0;
}

/* Several, of which some were removed; the last made is not the highest in every sense. */

static int inotify_many_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(fd >= 0);
	for (int i = 1; i <= 40; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		TRY(touch(name));
		SAME(inotify_add_watch(fd, there(name), i % 2 ? IN_MODIFY : IN_ATTRIB | IN_MODIFY), i);
	}
	for (int i = 1; i < 40; i += 3) {
		struct inotify_event e;

		CHECK(!inotify_rm_watch(fd, i));
		SAME(read(fd, &e, sizeof(e)), sizeof(e));
	}
	return 0;
}

static int inotify_many_use(struct maker_ctx *ctx)
{
	TRY(silent(fd));
	for (int i = 1; i <= 40; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		CHECK(!chmod(there(name), 0600));
		CHECK(!truncate(there(name), 3));
		if (i % 3 == 1 && i < 40) {
			TRY(silent(fd));
			continue;
		}
		if (i % 2 == 0)
			TRY(expect(fd, i, IN_ATTRIB, NULL));
		TRY(expect(fd, i, IN_MODIFY, NULL));
	}
	SAME(inotify_add_watch(fd, place, IN_OPEN), 41);
	SAME(inotify_rm_watch(fd, 1), -1);
	SAME(errno, EINVAL);
	return 0;
}

/* IN_ONESHOT, IN_EXCL_UNLINK; two instances on one file. */

static int inotify_flags_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	TRY(touch("once"));
	fd = inotify_init1(IN_NONBLOCK);
	fd2 = inotify_init1(IN_NONBLOCK);
	CHECK(fd >= 0 && fd2 >= 0);
	SAME(inotify_add_watch(fd, there("once"), IN_MODIFY | IN_ONESHOT), 1);
	SAME(inotify_add_watch(fd, place, IN_MODIFY | IN_EXCL_UNLINK | IN_ONLYDIR), 2);
	SAME(inotify_add_watch(fd2, place, IN_MODIFY), 1);
	return 0;
}

static int inotify_flags_use(struct maker_ctx *ctx)
{
	int f = open(there("once"), O_RDWR);

	CHECK(f >= 0);
	SAME(write(f, "x", 1), 1);
	TRY(expect(fd, 2, IN_MODIFY, "once"));
	TRY(expect(fd, 1, IN_MODIFY, NULL));
	TRY(expect(fd, 1, IN_IGNORED, NULL));
	TRY(expect(fd2, 1, IN_MODIFY, "once"));
	CHECK(!unlink(there("once")));
	SAME(write(f, "x", 1), 1);
	TRY(silent(fd));
	return expect(fd2, 1, IN_MODIFY, "once");
}

/* A file and a directory without a name, watched and open. */

static int inotify_nameless_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	fd2 = create("gone");
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(fd2 >= 0 && fd >= 0 && !unlink(there("gone")));
	snprintf(place, sizeof(place), "/proc/self/fd/%d", fd2);
	SAME(inotify_add_watch(fd, place, IN_MODIFY | IN_DELETE_SELF), 1);
	return 0;
}

static int inotify_nameless_use(struct maker_ctx *ctx)
{
	TRY(silent(fd));
	SAME(write(fd2, "more", 4), 4);
	TRY(expect(fd, 1, IN_MODIFY, NULL));
	CHECK(!close(fd2));
	TRY(expect(fd, 1, IN_DELETE_SELF, NULL));
	return expect(fd, 1, IN_IGNORED, NULL);
}

/* A file whose name the kernel has forgotten: it has to be looked for. */
static int inotify_forgotten_make(struct maker_ctx *ctx)
{
	static const char drop[] = "2";
	int f;

	TRY(place_make(ctx));
	CHECK(!mkdir(there("sub"), 0755));
	TRY(touch("sub/file"));
	fd = inotify_init1(IN_NONBLOCK);
	SAME(inotify_add_watch(fd, there("sub/file"), IN_MODIFY), 1);
	SAME(inotify_add_watch(fd, there("sub"), IN_OPEN | IN_ACCESS | IN_CREATE), 2);
	CHECK(!chdir(place));
	f = open("/proc/sys/vm/drop_caches", O_WRONLY);
	NEED(f >= 0 && write(f, drop, 1) == 1);
	return close(f);
}

static int inotify_forgotten_use(struct maker_ctx *ctx)
{
	TRY(silent(fd));
	CHECK(!truncate("sub/file", 1));
	TRY(expect(fd, 1, IN_MODIFY, NULL));
	TRY(touch("sub/new"));
	return expect(fd, 2, IN_CREATE, "new");
}

/* Asleep in its read; inside an epoll, edge-triggered. */

static void *reads(void *arg)
{
	char space[512] __attribute__((aligned(8)));

	thread_tid = tid_self();
	if (read(fd, space, sizeof(space)) > 0)
		memcpy(&got, space, sizeof(got));
	return NULL;
}

static int inotify_reading_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	fd = inotify_init();
	SAME(inotify_add_watch(fd, place, IN_CREATE), 1);
	TRY(thread_start(&thread, reads, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int inotify_reading_use(struct maker_ctx *ctx)
{
	TRY(touch("new"));
	SAME(pthread_join(thread, NULL), 0);
	SAME(got.wd, 1);
	SAME(got.mask, IN_CREATE);
	return 0;
}

static int inotify_epoll_make(struct maker_ctx *ctx)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = 12 };

	TRY(inotify_make(ctx));
	ep = epoll_create1(0);
	CHECK(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	return 0;
}

static int inotify_epoll_use(struct maker_ctx *ctx)
{
	struct epoll_event e = { 0 };

	SAME(epoll_wait(ep, &e, 1, 0), 0);
	TRY(touch("new"));
	SAME(epoll_wait(ep, &e, 1, 0), 1);
	SAME(e.data.u64, 12);
	return expect(fd, 1, IN_CREATE, "new");
}

static int inotify_kid(struct maker_ctx *ctx)
{
	return touch("of-kid");
}

static int inotify_shared_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	fd = inotify_init1(IN_NONBLOCK);
	SAME(inotify_add_watch(fd, place, IN_CREATE), 1);
	return kid_start(ctx, NULL, inotify_kid, NULL);
}

static int inotify_shared_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return expect(fd, 1, IN_CREATE, "of-kid");
}

static int inotify_empty_make(struct maker_ctx *ctx)
{
	fd = inotify_init();
	CHECK(fd >= 0);
	return 0;
}

static int inotify_empty_use(struct maker_ctx *ctx)
{
	TRY(silent(fd));
	SAME(inotify_add_watch(fd, ctx->dir, IN_CREATE), 1);
	return 0;
}

/* Events that nobody has read. */
static int inotify_unread_make(struct maker_ctx *ctx)
{
	TRY(inotify_make(ctx));
	return touch("new");
}

static int inotify_unread_use(struct maker_ctx *ctx)
{
	return expect(fd, 1, IN_CREATE, "new");
}

/* A fifo of which only the writing end is left, with something in it. */
static int inotify_fifo_make(struct maker_ctx *ctx)
{
	int reader;

	TRY(place_make(ctx));
	CHECK(!mkfifo(there("fifo"), 0600));
	reader = open(there("fifo"), O_RDONLY | O_NONBLOCK);
	fd2 = open(there("fifo"), O_WRONLY);
	SAME(write(fd2, "unread", 6), 6);
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(!close(reader));
	SAME(inotify_add_watch(fd, place, IN_ALL_EVENTS), 1);
	return 0;
}

static int inotify_fifo_use(struct maker_ctx *ctx)
{
	return silent(fd);
}

/* fanotify: events with a descriptor. arg: O_* of those. */

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

const struct maker makers_watch[] = {
	ROW("inotify", "a watch on a directory with a file open in it", inotify),
	{ "inotify-read", "watches on what a checkpoint has to read", inotify_read_make, inotify_read_use,
		MAKER_RESTLESS },
	ROW("inotify-many", "forty watches, of which some were removed", inotify_many),
	ROW("inotify-flags", "IN_ONESHOT, IN_EXCL_UNLINK, two instances on a directory", inotify_flags),
	{ "inotify-nameless", "a watch on a file without a name", inotify_nameless_make, inotify_nameless_use },
	ROW("inotify-forgotten", "a watch on a file whose name is not in the kernel's cache", inotify_forgotten),
	ROW("inotify-reading", "a thread asleep in its read", inotify_reading),
	ROW("inotify-epoll", "an inotify instance in an epoll", inotify_epoll),
	ROW("inotify-shared", "an inotify instance of two processes", inotify_shared),
	ROW("inotify-empty", "an inotify instance without a watch", inotify_empty),
	{ "inotify-fifo", "a watch over a fifo that has to be opened to be read", inotify_fifo_make, inotify_fifo_use,
		MAKER_MUST_REFUSE | MAKER_RESTLESS, 0, "fifo that has to be opened" },
	{ "inotify-unread", "an inotify instance with events that nobody read", inotify_unread_make, inotify_unread_use,
		MAKER_MUST_REFUSE, 0, "inotify.*nobody has read" },
	{ "fanotify", "marks on a directory and a file", fanotify_make, fanotify_use, 0, O_RDONLY },
	{ "fanotify-write", "events with descriptors to write", fanotify_make, fanotify_use, 0,
		O_RDWR | O_APPEND | O_CLOEXEC },
	{ "fanotify-names", "events with names, and exceptions", fanotify_names_make, fanotify_names_use, 0, 0 },
	{ "fanotify-unprivileged", "the same, made without privileges", fanotify_unprivileged_make, NULL, 0, 1 },
	{ "fanotify-mount", "a mark on a mount", fanotify_mount_make, fanotify_mount_use, 0, 0 },
	{ "fanotify-file-system", "a mark on a file system", fanotify_mount_make, fanotify_mount_use, 0, 1 },
	{ "fanotify-unread", "a group with events that nobody read", fanotify_unread_make, fanotify_unread_use,
		MAKER_MUST_REFUSE, O_RDONLY, "fanotify.*nobody has read" },
	{ "fanotify-guard", "a group that is asked for leave", fanotify_guard_make, NULL, MAKER_MUST_REFUSE, 0,
		"asked for leave" },
	{ 0 },
};
