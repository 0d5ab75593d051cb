/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watches on files: inotify(7). Neither a checkpoint nor a restore may make an event itself. */

#include "watch_place.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static int fd = -1, fd2 = -1, ep = -1;
static pthread_t thread;
static pid_t thread_tid;
static struct inotify_event got;

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

/* A fifo of which only the writing end is left, with something in it. arg: 1 some of it was read, and more than a page is left; 2 in packets; 3 only O_PATH is left, and nothing. */
static char much[3 * PAGE], seen[3 * PAGE];

static int inotify_fifo_make(struct maker_ctx *ctx)
{
	int reader;

	TRY(place_make(ctx));
	CHECK(!mkfifo(there("fifo"), 0600));
	reader = open(there("fifo"), O_RDONLY | O_NONBLOCK);
	fd2 = open(there("fifo"), ctx->arg == 3 ? O_PATH : O_WRONLY);
	CHECK(reader >= 0 && fd2 >= 0);
	fill(much, sizeof(much), 4);
	if (ctx->arg == 0)
		SAME(write(fd2, "unread", 6), 6);
	if (ctx->arg == 1) {
		SAME(write(fd2, much, sizeof(much)), sizeof(much));
		SAME(read(reader, seen, 100), 100);
	}
	if (ctx->arg == 2)
		CHECK(!fcntl(fd2, F_SETFL, O_DIRECT) && write(fd2, "one", 3) == 3 && write(fd2, "packet", 6) == 6);
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(!close(reader));
	SAME(inotify_add_watch(fd, place, IN_ALL_EVENTS), 1);
	return 0;
}

static int inotify_fifo_use(struct maker_ctx *ctx)
{
	int reader;

	TRY(silent(fd));
	reader = open(there("fifo"), O_RDONLY | O_NONBLOCK);
	CHECK(reader >= 0);
	if (ctx->arg == 0)
		CHECK(read(reader, seen, sizeof(seen)) == 6 && !memcmp(seen, "unread", 6));
	if (ctx->arg == 1) {
		SAME(read(reader, seen, sizeof(seen)), sizeof(much) - 100);
		CHECK(!memcmp(seen, much + 100, sizeof(much) - 100));
	}
	if (ctx->arg == 2) {
		CHECK(read(reader, seen, sizeof(seen)) == 3 && !memcmp(seen, "one", 3));
		CHECK(read(reader, seen, sizeof(seen)) == 6 && !memcmp(seen, "packet", 6));
	}
	if (ctx->arg == 3)
		return read(reader, seen, sizeof(seen)) != 0;
	SAME(read(reader, seen, sizeof(seen)), -1);
	SAME(write(fd2, "x", 1), 1);
	SAME(read(reader, seen, sizeof(seen)), 1);
	return 0;
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
	{ "inotify-fifo", "a watch over a fifo that nobody has open for reading", inotify_fifo_make, inotify_fifo_use,
		MAKER_RESTLESS, 0 },
	{ "inotify-fifo-much", "with several pages in it", inotify_fifo_make, inotify_fifo_use, MAKER_RESTLESS, 1 },
	{ "inotify-fifo-packets", "with packets", inotify_fifo_make, inotify_fifo_use, MAKER_RESTLESS, 2 },
	{ "inotify-fifo-path", "over one of which there is but O_PATH", inotify_fifo_make, inotify_fifo_use,
		MAKER_RESTLESS, 3 },
	{ "inotify-unread", "an inotify instance with events that nobody read", inotify_unread_make, inotify_unread_use,
		MAKER_MUST_REFUSE, 0, "inotify.*nobody has read" },
	{ 0 },
};
