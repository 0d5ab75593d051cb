/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clone(2) makes two processes share: descriptor table, directory and umask, memory, I/O context. */

#include "maker.h"

#include <sched.h>
#include <sys/prctl.h>

static pid_t kid;

/* Processes that share more than a file system: arg is the clone flags. */

static struct maker_ctx *clone_ctx;
static _Alignas(64) char clone_stack[64 * 1024];
static int far_fd = -1;

static int clone_body(void *arg)
{
	struct maker_shared *s = clone_ctx->shared;

	s->up++;
	wait_for(&s->go);
	if (clone_ctx->arg & CLONE_FILES)
		far_fd = open("/dev/zero", O_RDONLY);
	s->value[0] = far_fd;
	if (clone_ctx->arg & CLONE_FS) {
		umask(0123);
		if (chdir("/proc"))
			return 1;
	}
	if (clone_ctx->arg & CLONE_SIGHAND)
		signal(SIGUSR2, SIG_IGN);
	return 0;
}

static int shares_make(struct maker_ctx *ctx)
{
	shared(ctx);
	clone_ctx = ctx;
	kid = clone(clone_body, clone_stack + sizeof(clone_stack), (int)ctx->arg | SIGCHLD, NULL);
	CHECK(kid > 0);
	return kid_up(ctx, 0, kid);
}

/* CLONE_IO: one I/O priority for two. arg: siblings, whose parent is gone. */

#define IO_PRIORITY(level) (2 << 13 | (level))

static int io_priority(void)
{
	return (int)syscall(SYS_ioprio_get, 1, 0);
}

static int set_io_priority(int level)
{
	return (int)syscall(SYS_ioprio_set, 1, 0, IO_PRIORITY(level));
}

static int io_fork(struct maker_ctx *ctx, int flags, maker_step *make, maker_step *use, pid_t *pid)
{
	int before = shared(ctx)->up;

	*pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	CHECK(*pid >= 0);
	if (!*pid)
		kid_live(ctx, make, use);
	return kid_up(ctx, before, *pid);
}

static pid_t io_kid;

static int io_copy_use(struct maker_ctx *ctx)
{
	SAME(io_priority(), IO_PRIORITY(5));
	return 0;
}

static int io_sharer_make(struct maker_ctx *ctx)
{
	return io_fork(ctx, 0, NULL, io_copy_use, &io_kid);
}

static int io_sharer_use(struct maker_ctx *ctx)
{
	TRY(reap_ok(io_kid));
	CHECK(UNTIL(io_priority() == IO_PRIORITY(2)));
	return 0;
}

static int io_make(struct maker_ctx *ctx)
{
	CHECK(!set_io_priority(5));
	return io_fork(ctx, CLONE_IO, io_sharer_make, io_sharer_use, &kid);
}

static int io_use(struct maker_ctx *ctx)
{
	SAME(io_priority(), IO_PRIORITY(5));
	CHECK(!set_io_priority(2));
	let_go(&shared(ctx)->go);
	return reap_ok(kid);
}

static int io_siblings_make(struct maker_ctx *ctx)
{
	pid_t other;

	shared(ctx);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	io_kid = fork();
	CHECK(io_kid >= 0);
	if (!io_kid)
		_exit(set_io_priority(5) || io_fork(ctx, CLONE_IO, NULL, NULL, &other) ||
			io_fork(ctx, CLONE_IO, NULL, NULL, &other));
	return reap_ok(io_kid);
}

static int io_siblings_use(struct maker_ctx *ctx)
{
	int status;

	let_go(&shared(ctx)->go);
	for (int i = 0; i < 2; i++) {
		CHECK(wait(&status) > 0);
		SAME(status, 0);
	}
	return 0;
}

/* CLONE_FS between relatives: arg is CLONE_PARENT for a child and a child of its parent's that it made; 0 for two whose maker is gone. Another was born between. */

static int fs_relatives_make(struct maker_ctx *ctx)
{
	const int to_parent = (int)ctx->arg;
	pid_t other;

	TRY(to_parent ? 0 : io_fork(ctx, CLONE_FS, NULL, NULL, &other));
	TRY(io_fork(ctx, to_parent, NULL, NULL, &other));
	return io_fork(ctx, to_parent | CLONE_FS, NULL, NULL, &other);
}

static int fs_make(struct maker_ctx *ctx)
{
	shared(ctx);
	if (ctx->arg)
		return kid_start(ctx, fs_relatives_make, NULL, NULL);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(fs_relatives_make(ctx));
	return reap_ok(kid);
}

static int fs_use(struct maker_ctx *ctx)
{
	int status;

	let_go(&shared(ctx)->go);
	for (int i = 0; i < 3; i++) {
		CHECK(wait(&status) > 0);
		SAME(status, 0);
	}
	return 0;
}

static int shares_use(struct maker_ctx *ctx)
{
	struct sigaction sa;
	char cwd[64] = "";

	let_go(&shared(ctx)->go);
	TRY(reap_ok(kid));
	if (ctx->arg & CLONE_FILES) {
		char c = 1;

		CHECK(shared(ctx)->value[0] >= 0);
		SAME(read((int)shared(ctx)->value[0], &c, 1), 1);
		SAME(c, 0);
	}
	if (ctx->arg & CLONE_VM)
		SAME(far_fd, shared(ctx)->value[0]);
	if (ctx->arg & CLONE_FS) {
		CHECK(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, "/proc"));
		SAME(umask(0), 0123);
	}
	if (ctx->arg & CLONE_SIGHAND) {
		CHECK(!sigaction(SIGUSR2, NULL, &sa));
		CHECK(sa.sa_handler == SIG_IGN);
	}
	return 0;
}

/* Many with one descriptor table, and each with memory and a mapped file of its own. */

enum { SHARERS = 8, SHARER_PAGES = 60 };

static pid_t sharers[SHARERS];
static int sharer;
static char *sharer_memory, *sharer_file;

static int sharer_make(struct maker_ctx *ctx)
{
	char name[16], text[100];
	int f;

	snprintf(name, sizeof(name), "sharer%d", sharer);
	fill(text, sizeof(text), (uint64_t)sharer);
	f = new_file(ctx, name, text, sizeof(text), O_RDONLY);
	CHECK(f >= 0);
	sharer_file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, f, 0);
	sharer_memory = mmap(NULL, SHARER_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(sharer_file != MAP_FAILED && sharer_memory != MAP_FAILED);
	fill(sharer_memory, SHARER_PAGES * PAGE, (uint64_t)sharer + 100);
	return close(f);
}

static int sharer_use(struct maker_ctx *ctx)
{
	TRY(check_fill(sharer_file, 100, (uint64_t)sharer));
	return check_fill(sharer_memory, SHARER_PAGES * PAGE, (uint64_t)sharer + 100);
}

static int sharers_make(struct maker_ctx *ctx)
{
	for (sharer = 0; sharer < SHARERS; sharer++)
		TRY(io_fork(ctx, CLONE_FILES, sharer_make, sharer_use, &sharers[sharer]));
	return 0;
}

static int sharers_use(struct maker_ctx *ctx)
{
	let_go(&shared(ctx)->go);
	for (int i = 0; i < SHARERS; i++)
		TRY(reap_ok(sharers[i]));
	return 0;
}

const struct maker makers_sharing[] = {
	{ "io", "two processes with one I/O context, a third with a copy", io_make, io_use },
	{ "io-siblings", "two whose parent with the same is gone", io_siblings_make, io_siblings_use, MAKER_MUST_REFUSE,
		0, "I/O context" },
	{ "files", "two processes with one descriptor table", shares_make, shares_use, 0, CLONE_FILES },
	{ "files-many", "a parent and eight children with one descriptor table", sharers_make, sharers_use },
	{ "fs", "two processes with one directory and umask", shares_make, shares_use, MAKER_MUST_REFUSE, CLONE_FS,
		"CLONE_FS" },
	{ "fs-nephew", "a child and one that it made for its parent, with one directory", fs_make, fs_use,
		MAKER_MUST_REFUSE, CLONE_PARENT, "CLONE_FS" },
	{ "fs-orphans", "two whose parent with the same directory is gone", fs_make, fs_use, MAKER_MUST_REFUSE, 0,
		"CLONE_FS" },
	{ "vm", "two processes with one memory", shares_make, shares_use, MAKER_MUST_REFUSE | MAKER_BUSY, CLONE_VM,
		"CLONE_VM" },
	{ "all", "two processes with one memory, table, directory and handlers", shares_make, shares_use,
		MAKER_MUST_REFUSE | MAKER_BUSY, CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND, "CLONE_VM" },
	{ 0 },
};
