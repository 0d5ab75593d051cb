/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of one maker: it makes its state, says that it is ready, waits for leave to go on, uses the state, and gives its verdict. */

#include "life.h"

#include <sys/random.h>

/* The file comes to be whole, or not at all. */
static int write_whole(const char *path, const char *text)
{
	char tmp[700];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) || rename(tmp, path))
		return -1;
	return 0;
}

static int verdict(const struct maker_ctx *ctx, const char *how, const char *nonce, const char *given)
{
	char text[2300];

	snprintf(text, sizeof(text), "%s %s %s %s\n", how, nonce, given, maker_text());
	return write_whole(ctx->log, text);
}

/*
 * Asleep in the open of a fifo that has no writer yet: holds nothing and changes nothing. Then a byte says
 * what happened meanwhile: '0': nothing.
 */
static int wait_for_go(struct maker_ctx *ctx)
{
	char what = 0;
	int fd = open(ctx->go, O_RDONLY | O_CLOEXEC);

	if (read(fd, &what, 1) != 1)
		return -1;
	ctx->stopped = what != '0';
	return close(fd);
}

/* What every process may expect, whatever its subject. */
static int same_life(pid_t pid, int64_t mono, int64_t boot, int64_t real)
{
	SAME(getpid(), pid);
	SAME(tid_self(), pid);
	CHECK(now_ms(CLOCK_MONOTONIC) >= mono);
	CHECK(now_ms(CLOCK_BOOTTIME) >= boot);
	CHECK(now_ms(CLOCK_MONOTONIC) - mono <= now_ms(CLOCK_REALTIME) - real + 500);
	CHECK(now_ms(CLOCK_BOOTTIME) - boot <= now_ms(CLOCK_REALTIME) - real + 500);
	return 0;
}

static int live(const struct maker *m, struct maker_ctx *ctx)
{
	int64_t mono = now_ms(CLOCK_MONOTONIC), boot = now_ms(CLOCK_BOOTTIME), real = now_ms(CLOCK_REALTIME);
	const char *given = getenv("MAKER_NONCE");
	char *nonce = malloc(40), *copy = strdup(given ? given : "none"), text[128];
	pid_t pid = getpid();
	uint64_t random = 0;
	int r;

	if (!nonce || !copy || getrandom(&random, sizeof(random), 0) != sizeof(random))
		return 1;
	snprintf(nonce, 40, "%016llx", (unsigned long long)random);
	r = m->make(ctx);
	if (r) {
		verdict(ctx, r == MAKER_SKIP ? "skip" : "make", nonce, copy);
		return r;
	}
	snprintf(text, sizeof(text), "%d %s\n", pid, nonce);
	if (write_whole(ctx->ready, text))
		return 1;
	r = wait_for_go(ctx) ? maker_fail(__FILE__, __LINE__, "wait_for_go") : 0;
	if (!r)
		r = same_life(pid, mono, boot, real);
	if (!r)
		r = m->use ? m->use(ctx) : kids_finish(ctx);
	if (!r)
		r = same_life(pid, mono, boot, real);
	if (verdict(ctx, r ? "fail" : "ok", nonce, copy))
		r = 1;
	return r;
}

int maker_life(int argc, char **argv, const struct maker *(*find)(const char *name))
{
	static struct maker_ctx ctx;
	const struct maker *m = argc == 5 ? find(argv[1]) : NULL;
	const char *slash = argc == 5 ? strrchr(argv[3], '/') : NULL, *delay = getenv("MAKER_DELAY_MS");

	if (!m || !slash) {
		fprintf(stderr, "usage: %s --list | GROUP/NAME READYFILE GOFILE LOG\n", argv[0]);
		return 2;
	}
	snprintf(ctx.dir, sizeof(ctx.dir), "%.*s", (int)(slash - argv[3]), argv[3]);
	snprintf(ctx.ready, sizeof(ctx.ready), "%s", argv[2]);
	snprintf(ctx.go, sizeof(ctx.go), "%s", argv[3]);
	snprintf(ctx.log, sizeof(ctx.log), "%s", argv[4]);
	ctx.delay_ms = delay ? atoi(delay) : 400;
	ctx.arg = m->arg;
	return live(m, &ctx);
}
