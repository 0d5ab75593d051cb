/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers have in common. */

#include "maker.h"

#include <poll.h>
#include <limits.h>
#include <linux/futex.h>

static struct maker_shared own; /* of a maker without children */
static struct maker_shared *report = &own;

int maker_fail(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	if (!report->text[0])
		snprintf(report->text, sizeof(report->text), "%s:%d: not so: %s (errno: %s)", base ? base + 1 : file,
			line, what, strerror(errno));
	return 1;
}

int maker_differ(const char *file, int line, const char *a, long long av, const char *b, long long bv)
{
	const char *base = strrchr(file, '/');

	if (!report->text[0])
		snprintf(report->text, sizeof(report->text), "%s:%d: %s is %lld (0x%llx), and %s is %lld (0x%llx)",
			base ? base + 1 : file, line, a, av, (unsigned long long)av, b, bv, (unsigned long long)bv);
	return 1;
}

int maker_skip(const char *what)
{
	if (!report->text[0])
		snprintf(report->text, sizeof(report->text), "this machine has not: %s (errno: %s)", what,
			strerror(errno));
	return MAKER_SKIP;
}

void nap(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

void wait_for(_Atomic int *word)
{
	while (!*word)
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

void let_go(_Atomic int *word)
{
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int64_t now_ms(clockid_t clock)
{
	return now_ns(clock) / 1000000;
}

pid_t tid_self(void)
{
	return (pid_t)syscall(SYS_gettid);
}

const char *in_dir(struct maker_ctx *ctx, const char *name)
{
	snprintf(ctx->path, sizeof(ctx->path), "%s/%s", ctx->dir, name);
	return ctx->path;
}

int new_file(struct maker_ctx *ctx, const char *name, const void *contents, size_t len, int flags)
{
	int f = open(in_dir(ctx, name), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);

	if (f < 0 || write(f, contents, len) != (ssize_t)len || close(f))
		return -1;
	return open(ctx->path, flags);
}

struct maker_shared *shared(struct maker_ctx *ctx)
{
	if (!ctx->shared) {
		ctx->shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (ctx->shared == MAP_FAILED)
			abort();
		memcpy(ctx->shared->text, report->text, sizeof(report->text));
		report = ctx->shared;
	}
	return report;
}

_Noreturn void kid_live(struct maker_ctx *ctx, maker_step *make, maker_step *use)
{
	int r;

	ctx->n_kids = 0;
	r = make ? make(ctx) : 0;
	if (r)
		_exit(r);
	ctx->shared->up++;
	wait_for(&ctx->shared->go);
	r = use ? use(ctx) : 0;
	_exit(r);
}

int kid_up(struct maker_ctx *ctx, int before, pid_t pid)
{
	for (int i = 0; i < 5000 && ctx->shared->up <= before; i++) {
		siginfo_t si = { 0 };

		if (pid > 0 && !waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) && si.si_pid) {
			if (si.si_code == CLD_EXITED && si.si_status == MAKER_SKIP)
				return MAKER_SKIP;
			CHECK(!"a child ended before it was ready");
		}
		nap(2);
	}
	CHECK(ctx->shared->up > before);
	return 0;
}

int kid_start(struct maker_ctx *ctx, maker_step *make, maker_step *use, pid_t *pid)
{
	int before = (shared(ctx), ctx->shared->up);
	pid_t p = fork();

	CHECK(p >= 0);
	if (!p)
		kid_live(ctx, make, use);
	if (pid)
		*pid = p;
	CHECK(ctx->n_kids < MAX_KIDS);
	ctx->kids[ctx->n_kids++] = p;
	return kid_up(ctx, before, p);
}

int reap_ok(pid_t pid)
{
	int status;

	SAME(waitpid(pid, &status, __WALL), pid);
	SAME(status, 0);
	return 0;
}

int kids_finish(struct maker_ctx *ctx)
{
	int r = 0;

	let_go(&shared(ctx)->go);
	for (int i = 0; i < ctx->n_kids; i++)
		r |= reap_ok(ctx->kids[i]);
	ctx->n_kids = 0;
	return r;
}

int thread_start(pthread_t *t, void *(*run)(void *), void *arg)
{
	SAME(pthread_create(t, NULL, run, arg), 0);
	return 0;
}

int until_blocked_in(pid_t tid, long nr)
{
	char path[64], line[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	for (int i = 0; i < 5000; i++) {
		FILE *f = fopen(path, "re");
		bool got = f && fgets(line, sizeof(line), f);

		if (f)
			fclose(f);
		if (got && line[0] >= '0' && line[0] <= '9' && (atol(line) == nr || atol(line) == SYS_restart_syscall))
			return 0;
		nap(2);
	}
	CHECK(!"the task does not sleep in its call");
	return 0;
}

char task_state(pid_t pid)
{
	char path[64], text[512];
	size_t n;
	FILE *f;
	char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	return p && p[1] ? p[2] : 0;
}

long long proc_number(const char *path, const char *name, int base)
{
	FILE *f = fopen(path, "re");
	size_t len = strlen(name);
	long long v = -1;
	char line[512];

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, len) || line[len] != ':')
			continue;
		v = (long long)strtoull(line + len + 1, NULL, base);
		break;
	}
	fclose(f);
	return v;
}

int readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0);
}

bool file_has(const char *path, const char *word)
{
	FILE *f = fopen(path, "re");
	bool found = false;
	char line[1024];

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, word) != NULL;
	fclose(f);
	return found;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void fill(void *p, size_t len, uint64_t seed)
{
	uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		w[i] = mix(seed * 0x9e3779b97f4a7c15u + i + 1);
}

int check_fill(const void *p, size_t len, uint64_t seed)
{
	const uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		if (w[i] != mix(seed * 0x9e3779b97f4a7c15u + i + 1))
			SAME(i * 8, -1); /* the offset of the first difference */
	return 0;
}

const char *maker_text(void)
{
	return report->text;
}
