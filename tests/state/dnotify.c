/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories that tell of changes by a signal: fcntl(2) F_NOTIFY. Neither a checkpoint nor a restore may be told of. */

#include "watch_place.h"

#include <sys/inotify.h>

enum { F_SETSIG_ = 10 };

static int fd = -1, fd2 = -1, file = -1;
static volatile sig_atomic_t told, told_fd;

static void tell(int sig, siginfo_t *si, void *uc)
{
	told++;
	told_fd = si->si_fd;
}

/* Every time when it is made, and at once: nobody else is told by that signal. */
static int is_told(int times, int by)
{
	CHECK(UNTIL(told == times));
	SAME(told_fd, by);
	return 0;
}

static int signal_of(int sig)
{
	struct sigaction sa = { .sa_sigaction = tell, .sa_flags = SA_SIGINFO };

	return sigaction(sig, &sa, NULL);
}

static int directory(void)
{
	int d = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return d >= 0 && !fcntl(d, F_SETSIG_, SIGRTMIN + 3) ? d : -1;
}

/* One change alone. */
static int made(const char *name)
{
	return open(there(name), O_CREAT | O_EXCL | O_WRONLY, 0644);
}

/* The kernel may be built without, or have it switched off. */
static int watch_make(struct maker_ctx *ctx)
{
	TRY(place_make(ctx));
	CHECK(!signal_of(SIGRTMIN + 3) && !signal_of(SIGIO));
	file = create("open");
	fd = directory();
	CHECK(file >= 0 && fd >= 0);
	NEED(!fcntl(fd, F_NOTIFY, ctx->arg));
	return 0;
}

static int all_use(struct maker_ctx *ctx)
{
	char c;

	SAME(told, 0);
	SAME(fcntl(fd, F_GETOWN), getpid());
	CHECK(!close(made("new")));
	TRY(is_told(1, fd));
	SAME(write(file, "more", 4), 4);
	TRY(is_told(2, fd));
	SAME(pread(file, &c, 1, 0), 1);
	TRY(is_told(3, fd));
	CHECK(!fchmod(file, 0640));
	TRY(is_told(4, fd));
	CHECK(!unlink(there("new")));
	TRY(is_told(5, fd));
	CHECK(!fcntl(fd, F_NOTIFY, 0));
	CHECK(!close(made("new")));
	SAME(told, 5);
	return 0;
}

/* Renaming within it and no other change; once, and then no more. */
static int rename_use(struct maker_ctx *ctx)
{
	char from[600];

	snprintf(from, sizeof(from), "%s", there("open"));
	CHECK(!close(made("new")));
	SAME(told, 0);
	CHECK(!rename(from, there("renamed")));
	TRY(is_told(1, fd));
	CHECK(!rename(there("renamed"), from));
	SAME(told, 1);
	return 0;
}

/* By a duplicate, and by another description, of which the first is closed; beside watches of inotify. */
static int several_make(struct maker_ctx *ctx)
{
	int first, notify;

	TRY(watch_make(ctx));
	first = fd;
	fd = fcntl(first, F_DUPFD_CLOEXEC, 100);
	CHECK(fd == 100 && !close(first) && !fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	fd2 = directory();
	CHECK(fd2 >= 0 && !fcntl(fd2, F_NOTIFY, DN_DELETE | DN_ATTRIB | DN_MULTISHOT));
	notify = inotify_init1(IN_CLOEXEC);
	return inotify_add_watch(notify, place, IN_CREATE) != 1 || directory() < 0;
}

static int several_use(struct maker_ctx *ctx)
{
	SAME(told, 0);
	CHECK(!close(made("new")));
	TRY(is_told(1, fd));
	CHECK(!fchmod(file, 0640));
	TRY(is_told(2, fd2));
	CHECK(!unlink(there("new")));
	TRY(is_told(3, fd2));
	CHECK(!close(fd2) && !fchmod(file, 0600));
	SAME(told, 3);
	return 0;
}

/* A child asks by the description that it has inherited: both are told at the owner, each with its own number. */
static int heir_make(struct maker_ctx *ctx)
{
	fd2 = fcntl(fd, F_DUPFD_CLOEXEC, 50);
	return fd2 != 50 || fcntl(fd2, F_NOTIFY, DN_DELETE | DN_MULTISHOT);
}

static int heirs_make(struct maker_ctx *ctx)
{
	TRY(watch_make(ctx));
	return kid_start(ctx, heir_make, NULL, NULL);
}

static int heirs_use(struct maker_ctx *ctx)
{
	CHECK(!close(made("new")));
	TRY(is_told(1, fd));
	CHECK(!unlink(there("new")));
	TRY(is_told(2, 50));
	TRY(kids_finish(ctx));
	CHECK(!close(made("new")) && !unlink(there("new")));
	SAME(told, 3);
	return 0;
}

/* The owner was taken away, and comes back. */
static int nobody_make(struct maker_ctx *ctx)
{
	TRY(watch_make(ctx));
	return fcntl(fd, F_SETOWN, 0);
}

static int nobody_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETOWN), 0);
	CHECK(!close(made("new")));
	SAME(told, 0);
	CHECK(!fcntl(fd, F_SETOWN, getpid()) && !close(made("other")));
	return is_told(1, fd);
}

/* It has an owner, and tells nobody; of another of its kind. */
static int silent_make(struct maker_ctx *ctx)
{
	TRY(watch_make(ctx));
	CHECK(!fcntl(fd, F_NOTIFY, 0));
	fd2 = directory();
	return fd2 < 0 || fcntl(fd2, F_SETOWN, getpid());
}

static int silent_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETOWN), getpid());
	SAME(fcntl(fd2, F_GETOWN), getpid());
	CHECK(!close(made("new")));
	SAME(told, 0);
	CHECK(!fcntl(fd2, F_NOTIFY, DN_CREATE) && !close(made("other")));
	return is_told(1, fd2);
}

#define NOTIFY(name, what, make, use, events)                                                                          \
	{                                                                                                              \
		name, what, make, use, 0, events, NULL                                                                 \
	}

const struct maker makers_dnotify[] = {
	NOTIFY("all", "a directory that tells of every change by a signal", watch_make, all_use,
		DN_ACCESS | DN_MODIFY | DN_CREATE | DN_DELETE | DN_RENAME | DN_ATTRIB | DN_MULTISHOT),
	NOTIFY("once", "of one change, once", watch_make, rename_use, DN_RENAME),
	NOTIFY("several", "by a duplicate, and by another description", several_make, several_use,
		DN_MODIFY | DN_MULTISHOT),
	NOTIFY("heirs", "asked for by a child, too, through what it has inherited", heirs_make, heirs_use,
		DN_CREATE | DN_MULTISHOT),
	NOTIFY("nobody", "one whose owner was taken away", nobody_make, nobody_use, DN_CREATE | DN_MULTISHOT),
	NOTIFY("silent", "one that has an owner and tells nobody any more", silent_make, silent_use, DN_CREATE),
	{ 0 },
};
