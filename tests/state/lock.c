/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks on files: whom they exclude, who waits. flock(2), fcntl(2): record locks, OFD locks, leases. */

#include "maker.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>

enum kind { FLOCK, POSIX, OFD };

static int fd = -1, far_end[2];
static pid_t kid;

static int open_file(struct maker_ctx *ctx)
{
	fd = open(in_dir(ctx, "locked"), O_CREAT | O_RDWR, 0644);
	CHECK(fd >= 0);
	return 0;
}

/* Locks bytes 10 to 29, or all by flock. */
static int lock(int f, int kind, bool exclusive, bool wait, off_t start, off_t len)
{
	struct flock l = {
		.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len
	};

	if (kind == FLOCK)
		return flock(f, (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
	return fcntl(f, kind == OFD ? (wait ? F_OFD_SETLKW : F_OFD_SETLK) : (wait ? F_SETLKW : F_SETLK), &l);
}

static int unlock(int f, int kind)
{
	struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	return kind == FLOCK ? flock(f, LOCK_UN) : fcntl(f, kind == OFD ? F_OFD_SETLK : F_SETLK, &l);
}

/* May somebody else lock it? Asked in a process and by an open of its own. */
static int others(struct maker_ctx *ctx, int kind, bool shared_ok, bool exclusive_ok)
{
	int status;
	pid_t p = fork();

	CHECK(p >= 0);
	if (!p) {
		int f = open(in_dir(ctx, "locked"), O_RDWR);
		bool s = !lock(f, kind, false, false, 10, 20);
		bool e;

		unlock(f, kind);
		e = !lock(f, kind, true, false, 10, 20);
		_exit(f < 0 ? 99 : (s ? 1 : 0) | (e ? 2 : 0));
	}
	SAME(waitpid(p, &status, 0), p);
	SAME(WEXITSTATUS(status), (shared_ok ? 1 : 0) | (exclusive_ok ? 2 : 0));
	return 0;
}

/* arg: kind, +16 if exclusive */

static int held_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	CHECK(!lock(fd, (int)ctx->arg & 15, ctx->arg & 16, false, 10, 20));
	return 0;
}

static int held_use(struct maker_ctx *ctx)
{
	int kind = (int)ctx->arg & 15;

	TRY(others(ctx, kind, !(ctx->arg & 16), false));
	CHECK(!unlock(fd, kind));
	return others(ctx, kind, true, true);
}

/* Held by one process, waited for by another. */

static int waiter(struct maker_ctx *ctx)
{
	int f;

	close(fd);
	f = open(in_dir(ctx, "locked"), O_RDWR);
	shared(ctx)->value[0] = getpid();
	shared(ctx)->up++;
	CHECK(!lock(f, (int)ctx->arg & 15, true, true, 10, 20));
	SAME(shared(ctx)->flag[0], 1);
	return 0;
}

static int waited_make(struct maker_ctx *ctx)
{
	static const long calls[] = { SYS_flock, SYS_fcntl, SYS_fcntl };

	TRY(held_make(ctx));
	shared(ctx);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(waiter(ctx));
	TRY(kid_up(ctx, 0, kid));
	return until_blocked_in(kid, calls[ctx->arg & 15]);
}

static int waited_use(struct maker_ctx *ctx)
{
	SAME(waitpid(kid, NULL, WNOHANG), 0);
	shared(ctx)->flag[0] = 1;
	CHECK(!unlock(fd, (int)ctx->arg & 15));
	return reap_ok(kid);
}

/* Held through a descriptor that a child has too: it ends with the last of them (flock, OFD). arg: kind */

static int closes(struct maker_ctx *ctx)
{
	TRY(others(ctx, (int)ctx->arg, false, false));
	return close(fd);
}

/* Whom fdinfo names for the first lock, or 0. */
static int setter(void)
{
	char path[40], line[128];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (!pid && fgets(line, sizeof(line), f))
		sscanf(line, "lock: %*d: %*s %*s %*s %d", &pid);
	fclose(f);
	return pid;
}

static int closes_parents(struct maker_ctx *ctx)
{
	SAME(setter(), (ctx->arg & 15) == OFD ? -1 : getppid());
	return closes(ctx);
}

static int inherited_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	CHECK(!lock(fd, (int)ctx->arg, true, false, 10, 20));
	TRY(kid_start(ctx, NULL, closes_parents, NULL));
	return close(fd);
}

static int inherited_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return others(ctx, (int)ctx->arg, true, true);
}

/* Set by a child that shares its parent's descriptors (CLONE_FILES). arg: kind */

static int locks(struct maker_ctx *ctx)
{
	CHECK(!lock(fd, (int)ctx->arg, true, false, 10, 20));
	return 0;
}

static int table_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	shared(ctx);
	kid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_FILES, 0, 0, 0, 0);
	CHECK(kid >= 0);
	if (!kid)
		kid_live(ctx, locks, closes);
	ctx->kids[ctx->n_kids++] = kid;
	return kid_up(ctx, 0, kid);
}

static int table_use(struct maker_ctx *ctx)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1 };

	if (ctx->arg == POSIX) { /* one's own excludes nobody */
		CHECK(!fcntl(fd, F_GETLK, &l));
		SAME(l.l_type, F_UNLCK);
	}
	TRY(kids_finish(ctx));
	SAME(fcntl(fd, F_GETFD), -1);
	return others(ctx, (int)ctx->arg, true, true);
}

/* A child's record lock is its own: its parent, with the same descriptor, is excluded. */

static int locks_own(struct maker_ctx *ctx)
{
	CHECK(!lock(fd, POSIX, true, false, 10, 20));
	return 0;
}

static int own_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	CHECK(!lock(fd, POSIX, true, false, 100, 20));
	return kid_start(ctx, locks_own, NULL, &kid);
}

static int own_use(struct maker_ctx *ctx)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1 };

	CHECK(!fcntl(fd, F_GETLK, &l));
	SAME(l.l_type, F_WRLCK);
	SAME(l.l_pid, kid);
	SAME(l.l_start, 10);
	SAME(l.l_len, 20);
	SAME(lock(fd, POSIX, true, false, 10, 1), -1);
	TRY(kids_finish(ctx));
	CHECK(!lock(fd, POSIX, true, false, 10, 1));
	return 0;
}

/* Many ranges of both types, one to the end of time. arg: POSIX or OFD */

static int ranges_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	for (int i = 0; i < 20; i++)
		CHECK(!lock(fd, (int)ctx->arg, i & 1, false, i * 10, 5));
	CHECK(!lock(fd, (int)ctx->arg, true, false, 1ll << 40, 0));
	return 0;
}

static int ranges_use(struct maker_ctx *ctx)
{
	int status;
	pid_t p = fork();

	CHECK(p >= 0);
	if (!p) {
		int f = open(in_dir(ctx, "locked"), O_RDWR), wrong = 0;

		for (int i = 0; i < 20; i++) {
			wrong += lock(f, OFD, false, false, i * 10, 5) != (i & 1 ? -1 : 0);
			wrong += lock(f, OFD, true, false, i * 10, 5) != -1;
			wrong += lock(f, OFD, true, false, i * 10 + 5, 5) != 0;
		}
		wrong += lock(f, OFD, true, false, 1ll << 50, 1) != -1;
		wrong += lock(f, OFD, true, false, (1ll << 40) - 1, 1) != 0;
		_exit(wrong);
	}
	SAME(waitpid(p, &status, 0), p);
	SAME(status, 0);
	return 0;
}

/* Two shared holders. */
static int holds_too(struct maker_ctx *ctx)
{
	close(fd);
	TRY(open_file(ctx));
	CHECK(!lock(fd, (int)ctx->arg, false, false, 10, 20));
	return 0;
}

static int both_make(struct maker_ctx *ctx)
{
	TRY(holds_too(ctx));
	return kid_start(ctx, holds_too, NULL, NULL);
}

static int both_use(struct maker_ctx *ctx)
{
	TRY(others(ctx, (int)ctx->arg, true, false));
	SAME(lock(fd, (int)ctx->arg, true, false, 10, 20), -1);
	TRY(kids_finish(ctx));
	CHECK(!lock(fd, (int)ctx->arg, true, false, 10, 20));
	return 0;
}

/* On an unlinked file, by two opens of one process. */
static int unlinked_make(struct maker_ctx *ctx)
{
	TRY(open_file(ctx));
	far_end[0] = open(ctx->path, O_RDWR);
	CHECK(!flock(fd, LOCK_EX));
	return unlink(ctx->path);
}

static int unlinked_use(struct maker_ctx *ctx)
{
	SAME(flock(far_end[0], LOCK_EX | LOCK_NB), -1);
	CHECK(!close(fd));
	CHECK(!flock(far_end[0], LOCK_EX | LOCK_NB));
	return 0;
}

/* The open file stays as long as it is mapped, and its lock with it. */
static void *mapping;

enum { MAPPED_START = 100, MAPPED_LENGTH = 50 }; /* of the OFD lock */

/* For reading: an exclusive one alone is in the way. */
static int lock_far_range(off_t start, off_t length)
{
	struct flock l = { .l_type = F_RDLCK, .l_start = start, .l_len = length };

	return fcntl(far_end[0], F_OFD_SETLK, &l);
}

static int lock_far_end(const struct maker_ctx *ctx)
{
	return ctx->arg == OFD ? lock_far_range(MAPPED_START, MAPPED_LENGTH) : flock(far_end[0], LOCK_SH | LOCK_NB);
}

static int mapped_make(struct maker_ctx *ctx)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = MAPPED_START, .l_len = MAPPED_LENGTH };

	TRY(open_file(ctx));
	far_end[0] = open(ctx->path, O_RDWR);
	CHECK(!ftruncate(fd, PAGE));
	mapping = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(mapping != MAP_FAILED);
	CHECK(!(ctx->arg == OFD ? fcntl(fd, F_OFD_SETLK, &l) : flock(fd, LOCK_EX)));
	CHECK(!close(fd));
	NEED(lock_far_end(ctx) < 0); /* not on overlayfs, which maps a file below it */
	return 0;
}

static int mapped_twice_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, far_end[0], 0) != MAP_FAILED);
	return 0;
}

static int mapped_use(struct maker_ctx *ctx)
{
	SAME(lock_far_end(ctx), -1);
	if (ctx->arg == OFD) {
		CHECK(!lock_far_range(0, MAPPED_START));
		CHECK(!lock_far_range(MAPPED_START + MAPPED_LENGTH, 0));
	}
	CHECK(!munmap(mapping, PAGE));
	return lock_far_end(ctx);
}

/* A lease: its holder is told before somebody opens the file. */

static char leased[700];
static pid_t broken_by;

static volatile sig_atomic_t told;

static void tell(int sig)
{
	told++;
}

static int lease_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGIO, tell) != SIG_ERR);
	fd = open(in_dir(ctx, "locked"), O_CREAT | O_RDONLY, 0644);
	NEED(!fcntl(fd, F_SETLEASE, F_RDLCK));
	return 0;
}

static int lease_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETLEASE), F_RDLCK);
	SAME(open(in_dir(ctx, "locked"), O_WRONLY | O_NONBLOCK), -1);
	SAME(errno, EWOULDBLOCK);
	CHECK(UNTIL(told == 1));
	CHECK(!fcntl(fd, F_SETLEASE, F_UNLCK));
	CHECK(open(in_dir(ctx, "locked"), O_WRONLY | O_NONBLOCK) >= 0);
	return 0;
}

/* For writing: not even a look at the file may break it. arg: it is mapped too. */
static int lease_write_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGIO, tell) != SIG_ERR);
	fd = open(in_dir(ctx, "locked"), O_CREAT | O_RDWR, 0644);
	SAME(write(fd, "contents", 8), 8);
	NEED(!fcntl(fd, F_SETLEASE, F_WRLCK));
	if (ctx->arg)
		CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	return 0;
}

static int lease_write_use(struct maker_ctx *ctx)
{
	SAME(told, 0);
	SAME(fcntl(fd, F_GETLEASE), F_WRLCK);
	SAME(open(in_dir(ctx, "locked"), O_RDONLY | O_NONBLOCK), -1);
	SAME(errno, EWOULDBLOCK);
	CHECK(UNTIL(told == 1));
	CHECK(!fcntl(fd, F_SETLEASE, F_UNLCK));
	CHECK(open(in_dir(ctx, "locked"), O_RDONLY | O_NONBLOCK) >= 0);
	return 0;
}

/* Being broken: its holder has been told, and has not answered. arg: how it is open, 16: one for writing, 32: broken by who only reads. */
static int breaks(long arg)
{
	SAME(open(leased, (arg & 32 ? O_RDONLY : O_WRONLY) | O_NONBLOCK), -1);
	SAME(errno, EWOULDBLOCK);
	return 0;
}

static int lease_breaking_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGIO, tell) != SIG_ERR);
	snprintf(leased, sizeof(leased), "%s", in_dir(ctx, "locked"));
	fd = open(leased, O_CREAT | (int)(ctx->arg & O_ACCMODE), 0644);
	NEED(!fcntl(fd, F_SETLEASE, ctx->arg & 16 ? F_WRLCK : F_RDLCK));
	TRY(breaks(ctx->arg));
	CHECK(UNTIL(told == 1));
	return 0;
}

static int lease_breaking_use(struct maker_ctx *ctx)
{
	const int left = ctx->arg & 32 ? F_RDLCK : F_UNLCK;
	int reads;

	SAME(fcntl(fd, F_GETLEASE), left);
	SAME(fcntl(fd, F_GETOWN), getpid());
	TRY(breaks(ctx->arg));
	/* one for reading is not in the way of who reads */
	reads = open(leased, O_RDONLY | O_NONBLOCK);
	CHECK(ctx->arg & 16 ? reads < 0 : reads >= 0 && !close(reads));
	SAME(told, 1);
	CHECK(!fcntl(fd, F_SETLEASE, left));
	reads = open(leased, O_RDONLY | O_NONBLOCK);
	CHECK(reads >= 0 && !close(reads));
	if (left == F_RDLCK) {
		TRY(breaks(0));
		CHECK(UNTIL(told == 2));
	}
	return 0;
}

/* Who breaks it sleeps. */

static int lease_waited_make(struct maker_ctx *ctx)
{
	pid_t p;

	CHECK(signal(SIGIO, tell) != SIG_ERR);
	snprintf(leased, sizeof(leased), "%s", in_dir(ctx, "locked"));
	fd = open(leased, O_CREAT | O_RDONLY, 0644);
	NEED(!fcntl(fd, F_SETLEASE, F_RDLCK));
	p = fork();
	if (!p)
		_exit(open(leased, O_WRONLY) < 0);
	broken_by = p;
	CHECK(UNTIL(told == 1));
	return until_blocked_in(p, SYS_openat);
}

static int lease_waited_use(struct maker_ctx *ctx)
{
	int status;

	SAME(waitpid(broken_by, &status, WNOHANG), 0);
	SAME(told, 1);
	CHECK(!fcntl(fd, F_SETLEASE, F_UNLCK));
	TRY(reap_ok(broken_by));
	SAME(told, 1);
	return 0;
}

/* Set by a child that shares its parent's descriptors. */
static int lease_table_kid(struct maker_ctx *ctx)
{
	CHECK(signal(SIGIO, tell) != SIG_ERR);
	NEED(!fcntl(fd, F_SETLEASE, F_WRLCK));
	TRY(breaks(0));
	CHECK(UNTIL(told == 1));
	return 0;
}

static int lease_table_kid_use(struct maker_ctx *ctx)
{
	SAME(told, 1);
	SAME(fcntl(fd, F_GETLEASE), F_UNLCK);
	SAME(fcntl(fd, F_GETOWN), getpid());
	TRY(breaks(0));
	SAME(told, 1);
	return fcntl(fd, F_SETLEASE, F_UNLCK);
}

static int lease_table_make(struct maker_ctx *ctx)
{
	snprintf(leased, sizeof(leased), "%s", in_dir(ctx, "locked"));
	fd = open(leased, O_CREAT | O_RDWR, 0644);
	CHECK(fd >= 0);
	shared(ctx);
	kid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_FILES, 0, 0, 0, 0);
	CHECK(kid >= 0);
	if (!kid)
		kid_live(ctx, lease_table_kid, lease_table_kid_use);
	ctx->kids[ctx->n_kids++] = kid;
	return kid_up(ctx, 0, kid);
}

static int lease_table_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(fcntl(fd, F_GETLEASE), F_UNLCK);
	return close(fd);
}

/* Nobody is told. */
static int lease_nobody_make(struct maker_ctx *ctx)
{
	TRY(lease_make(ctx));
	return fcntl(fd, F_SETOWN, 0);
}

static int lease_nobody_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETLEASE), F_RDLCK);
	SAME(fcntl(fd, F_GETOWN), 0);
	return 0;
}

#define EXCLUSIVE 16
#define HELD(name, what, arg)                                                                                          \
	{                                                                                                              \
		name, what, held_make, held_use, 0, arg                                                                \
	}
#define WAITED(name, what, kind)                                                                                       \
	{                                                                                                              \
		name, what, waited_make, waited_use, 0, (kind) | EXCLUSIVE                                             \
	}

const struct maker makers_lock[] = {
	HELD("flock-shared", "flock, shared", FLOCK),
	HELD("flock-exclusive", "flock, exclusive", FLOCK | EXCLUSIVE),
	WAITED("flock-waited", "flock, waited for by another process", FLOCK),
	{ "flock-inherited", "flock through a child's descriptor", inherited_make, inherited_use, 0, FLOCK },
	{ "flock-table", "flock by a child that shares the descriptor table", table_make, table_use, 0, FLOCK },
	{ "flock-both", "flock shared by two processes", both_make, both_use, 0, FLOCK },
	{ "flock-unlinked", "flock on an unlinked file", unlinked_make, unlinked_use },
	{ "flock-mapped", "flock that only a mapping of the file still holds", mapped_make, mapped_use, 0, FLOCK },
	{ "ofd-mapped", "an OFD lock that only a mapping of the file still holds", mapped_make, mapped_use, 0, OFD },
	{ "flock-mapped-twice", "flock that one of two mappings still holds", mapped_twice_make, mapped_use,
		MAKER_MUST_REFUSE, FLOCK, "one of several mappings" },
	HELD("posix-shared", "a record lock, shared", POSIX),
	HELD("posix-exclusive", "a record lock, exclusive", POSIX | EXCLUSIVE),
	WAITED("posix-waited", "a record lock, waited for", POSIX),
	{ "posix-own", "record locks of a parent and a child on one descriptor", own_make, own_use },
	{ "posix-ranges", "record locks on twenty ranges", ranges_make, ranges_use, 0, POSIX },
	{ "posix-table", "a record lock by a child that shares the descriptor table", table_make, table_use, 0, POSIX },
	{ "posix-both", "a record lock shared by two processes", both_make, both_use, 0, POSIX },
	HELD("ofd-shared", "an OFD lock, shared", OFD),
	HELD("ofd-exclusive", "an OFD lock, exclusive", OFD | EXCLUSIVE),
	WAITED("ofd-waited", "an OFD lock, waited for", OFD),
	{ "ofd-inherited", "an OFD lock through a child's descriptor", inherited_make, inherited_use, 0, OFD },
	{ "ofd-ranges", "OFD locks on twenty ranges", ranges_make, ranges_use, 0, OFD },
	{ "ofd-table", "an OFD lock by a child that shares the descriptor table", table_make, table_use, 0, OFD },
	{ "ofd-both", "an OFD lock shared by two processes", both_make, both_use, 0, OFD },
	{ "lease", "a lease", lease_make, lease_use },
	{ "lease-write", "a lease for writing", lease_write_make, lease_write_use, 0, 0 },
	/* The oracle reads what is mapped: that would break it. */
	{ "lease-write-mapped", "a lease for writing, of a mapped file", lease_write_make, lease_write_use,
		MAKER_MUST_REFUSE | MAKER_RESTLESS, 1, "lease for writing" },
	{ "lease-nobody", "a lease without an owner", lease_nobody_make, lease_nobody_use },
	{ "lease-breaking", "a lease that is being broken", lease_breaking_make, lease_breaking_use, 0, O_RDONLY },
	{ "lease-breaking-write", "one for writing", lease_breaking_make, lease_breaking_use, 0, O_RDWR | 16 },
	{ "lease-breaking-only", "one for writing, of who only reads", lease_breaking_make, lease_breaking_use, 0,
		O_RDONLY | 16 },
	{ "lease-breaking-down", "one for writing, that is to be one for reading", lease_breaking_make,
		lease_breaking_use, 0, O_RDONLY | 16 | 32 },
	{ "lease-breaking-table", "of a child that shares its parent's descriptors", lease_table_make,
		lease_table_use },
	{ "lease-waited", "and who breaks it sleeps", lease_waited_make, lease_waited_use, MAKER_NO_STOP },
	{ 0 },
};
