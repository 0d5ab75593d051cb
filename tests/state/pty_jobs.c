/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose terminal it is: sessions with jobs, and tasks asleep or stopped in a read of it. credentials(7), tty(4). */

#include "pty_pair.h"

#include <sys/ioctl.h>
#include <termios.h>

static int master = -1, slave = -1;
static pid_t kid;

/* A session with a controlling terminal, its shell in the background and a job in the foreground. */

static volatile sig_atomic_t interrupted, resized, hungup;

static void on_signal(int sig)
{
	if (sig == SIGINT)
		interrupted++;
	if (sig == SIGWINCH)
		resized++;
	if (sig == SIGHUP)
		hungup++;
}

static int job_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGINT, on_signal) != SIG_ERR);
	CHECK(signal(SIGWINCH, on_signal) != SIG_ERR);
	return 0;
}

static int job_use(struct maker_ctx *ctx)
{
	CHECK(UNTIL(interrupted == 1));
	CHECK(UNTIL(resized == 1));
	SAME(write(STDOUT_FILENO, "job\n", 4), 4);
	SAME(tcgetpgrp(STDIN_FILENO), getpgrp());
	shared(ctx)->flag[1] = 1;
	return 0;
}

static int shell_make(struct maker_ctx *ctx)
{
	CHECK(setsid() > 0);
	CHECK(!ioctl(slave, TIOCSCTTY, 0));
	for (int i = 0; i < 3; i++)
		CHECK(dup2(slave, i) == i);
	close(master);
	close(slave);
	CHECK(signal(SIGTTOU, SIG_IGN) != SIG_ERR);
	CHECK(signal(SIGINT, on_signal) != SIG_ERR);
	CHECK(signal(SIGHUP, on_signal) != SIG_ERR);
	TRY(kid_start(ctx, job_make, job_use, &kid));
	CHECK(!setpgid(kid, kid));
	return tcsetpgrp(STDIN_FILENO, kid);
}

static int shell_use(struct maker_ctx *ctx)
{
	int tty;

	SAME(tcgetpgrp(STDIN_FILENO), kid);
	SAME(tcgetsid(STDIN_FILENO), getpid());
	TRY(kids_finish(ctx));
	SAME(interrupted, 0);
	CHECK(!tcsetpgrp(STDIN_FILENO, getpgrp()));
	tty = open("/dev/tty", O_RDWR);
	CHECK(tty >= 0);
	SAME(write(tty, "shell\n", 6), 6);
	CHECK(UNTIL(shared(ctx)->flag[2]));
	CHECK(UNTIL(hungup == 1));
	return 0;
}

static int session_make(struct maker_ctx *ctx)
{
	struct winsize w = { .ws_row = 10, .ws_col = 20 };

	TRY(open_pair(&master, &slave));
	CHECK(!ioctl(master, TIOCSWINSZ, &w));
	TRY(kid_start(ctx, shell_make, shell_use, NULL));
	return close(slave);
}

static int session_use(struct maker_ctx *ctx)
{
	struct winsize w = { .ws_row = 11, .ws_col = 21 };
	struct maker_shared *s = shared(ctx);
	char c[256] = "";
	ssize_t n = 0;

	SAME(write(master, "\003", 1), 1);
	CHECK(!ioctl(master, TIOCSWINSZ, &w));
	let_go(&s->go);
	while (!strstr(c, "shell\r\n")) {
		ssize_t r = read(master, c + n, sizeof(c) - 1 - (size_t)n);

		CHECK(r > 0);
		n += r;
	}
	CHECK(strstr(c, "job\r\n"));
	CHECK(!close(master));
	s->flag[2] = 1;
	return kids_finish(ctx);
}

/* A process stopped because it read its terminal from the background. */
static int background_kid(struct maker_ctx *ctx)
{
	char c;

	shared(ctx)->up++;
	CHECK(read(STDIN_FILENO, &c, 1) == 1);
	SAME(c, 'z');
	return 0;
}

static int front_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	CHECK(setsid() > 0);
	CHECK(!ioctl(slave, TIOCSCTTY, 0));
	CHECK(dup2(slave, 0) == 0);
	close(master);
	close(slave);
	CHECK(signal(SIGTTOU, SIG_IGN) != SIG_ERR);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		setpgid(0, 0);
		_exit(background_kid(ctx));
	}
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOWAIT));
	SAME(si.si_status, SIGTTIN);
	return 0;
}

static int front_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED));
	SAME(si.si_status, SIGTTIN);
	CHECK(!tcsetpgrp(STDIN_FILENO, kid));
	CHECK(!kill(kid, SIGCONT));
	return reap_ok(kid);
}

static int background_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	TRY(kid_start(ctx, front_make, front_use, NULL));
	return close(slave);
}

static int background_use(struct maker_ctx *ctx)
{
	SAME(write(master, "z\n", 2), 2);
	return kids_finish(ctx);
}

/* A thread asleep in read, canonical or raw. arg: raw */

static pthread_t thread;
static pid_t thread_tid;
static char thread_got[16];

static void *reads(void *arg)
{
	thread_tid = tid_self();
	if (read(slave, thread_got, sizeof(thread_got)) < 0)
		thread_got[0] = '!';
	return NULL;
}

static int reading_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	if (ctx->arg)
		TRY(raw(slave));
	TRY(thread_start(&thread, reads, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_read);
}

static int reading_use(struct maker_ctx *ctx)
{
	SAME(write(master, "hello\n", ctx->arg ? 5 : 6), ctx->arg ? 5 : 6);
	SAME(pthread_join(thread, NULL), 0);
	CHECK(!memcmp(thread_got, "hello", 5));
	return 0;
}

/* A session's terminal opened as /dev/tty. */

static int slave2;

static int dev_tty_kid_make(struct maker_ctx *ctx)
{
	CHECK(setsid() > 0);
	CHECK(!ioctl(slave, TIOCSCTTY, 0));
	slave2 = open("/dev/tty", O_RDWR | O_NOCTTY);
	CHECK(slave2 >= 0);
	return close(master);
}

static int dev_tty_kid_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!fstat(slave2, &st));
	SAME(st.st_rdev, 0x500);
	SAME(write(slave2, "by name\n", 8), 8);
	return 0;
}

static int dev_tty_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
	TRY(kid_start(ctx, dev_tty_kid_make, dev_tty_kid_use, NULL));
	return close(slave);
}

static int dev_tty_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return got(master, "by name\r\n");
}

const struct maker makers_pty_jobs[] = {
	ROW("dev-tty", "a terminal opened as /dev/tty", dev_tty),
	ROW("session", "a session on its terminal, a job in the foreground", session),
	{ "background", "a job stopped for reading in the background", background_make, background_use, MAKER_NO_STOP },
	{ "reading", "a thread asleep in read", reading_make, reading_use, 0, 0 },
	{ "reading-raw", "the same in raw mode", reading_make, reading_use, 0, 1 },
	{ 0 },
};
