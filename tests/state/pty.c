/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pseudo-terminals with both ends inside: settings, size, what was typed and printed, who is in the
 * foreground. pty(7). */

#include "maker.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master = -1, slave = -1;
static pid_t kid;

static int open_pair(void)
{
	CHECK(!openpty(&master, &slave, NULL, NULL, NULL));
	return 0;
}

static int raw(int f)
{
	struct termios t;

	CHECK(!tcgetattr(f, &t));
	cfmakeraw(&t);
	CHECK(!tcsetattr(f, TCSANOW, &t));
	return 0;
}

static int got(int f, const char *want)
{
	char c[512] = "";
	ssize_t n = read(f, c, sizeof(c) - 1);

	SAME(n, strlen(want));
	CHECK(!memcmp(c, want, (size_t)n));
	return 0;
}

static int none(int f)
{
	struct pollfd p = { .fd = f, .events = POLLIN };

	SAME(poll(&p, 1, 0), 0);
	return 0;
}

/* Its echo, its line editing and its size work on. */

static int plain_make(struct maker_ctx *ctx)
{
	struct winsize w = { 33, 101, 400, 300 };

	TRY(open_pair());
	CHECK(!ioctl(master, TIOCSWINSZ, &w));
	return 0;
}

static int plain_use(struct maker_ctx *ctx)
{
	struct winsize w;

	CHECK(!ioctl(slave, TIOCGWINSZ, &w));
	SAME(w.ws_row, 33);
	SAME(w.ws_col, 101);
	SAME(w.ws_xpixel, 400);
	SAME(w.ws_ypixel, 300);
	CHECK(isatty(slave));
	SAME(write(master, "typo\177\177o\n", 8), 8);
	TRY(got(slave, "tyo\n"));
	TRY(got(master, "typo\b \b\b \bo\r\n"));
	SAME(write(slave, "out\n", 4), 4);
	return got(master, "out\r\n");
}

/* Every setting other than usual. */

static void unusual(struct termios *t)
{
	t->c_iflag = INLCR | IGNBRK | IXANY | IUTF8;
	t->c_oflag = OPOST | OCRNL | TAB3;
	t->c_cflag = (t->c_cflag & ~(tcflag_t)CBAUD) | B9600 | CSTOPB | PARENB;
	t->c_line = 3; /* a number that the kernel keeps and nobody heeds */
	t->c_lflag = ICANON | ECHOCTL | NOFLSH | TOSTOP;
	for (int i = 0; i < 17; i++)
		t->c_cc[i] = (cc_t)(i + 100);
}

static int settings_make(struct maker_ctx *ctx)
{
	struct termios t;

	TRY(open_pair());
	CHECK(!tcgetattr(slave, &t));
	unusual(&t);
	CHECK(!tcsetattr(slave, TCSANOW, &t));
	return 0;
}

static int settings_use(struct maker_ctx *ctx)
{
	struct termios t, want;

	CHECK(!tcgetattr(slave, &t));
	want = t;
	unusual(&want);
	SAME(t.c_iflag, want.c_iflag);
	SAME(t.c_oflag, want.c_oflag);
	SAME(t.c_lflag, want.c_lflag);
	SAME(t.c_line, 3);
	SAME(t.c_cflag & (CBAUD | CSTOPB), B9600 | CSTOPB);
	CHECK(!memcmp(t.c_cc, want.c_cc, 17));
	return 0;
}

/* Typed and not read: whole lines, the beginning of a line, raw bytes. */

static int typed_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(master, "one\ntwo\n", 8), 8);
	return got(master, "one\r\ntwo\r\n");
}

static int typed_use(struct maker_ctx *ctx)
{
	TRY(none(master));
	TRY(got(slave, "one\n"));
	TRY(got(slave, "two\n"));
	return none(slave);
}

static int partial_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(master, "whole\nhal", 9), 9);
	return got(master, "whole\r\nhal");
}

static int partial_use(struct maker_ctx *ctx)
{
	TRY(got(slave, "whole\n"));
	TRY(none(slave));
	SAME(write(master, "x\177f\n", 4), 4);
	return got(slave, "half\n");
}

static int raw_typed_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	TRY(raw(slave));
	SAME(write(master, "\003raw\r\0\377bytes", 13), 13);
	return none(master);
}

static int raw_typed_use(struct maker_ctx *ctx)
{
	char c[64];

	SAME(read(slave, c, sizeof(c)), 13);
	CHECK(!memcmp(c, "\003raw\r\0\377bytes", 13));
	return none(slave);
}

/* An end of file that waits to be read. */
static int eof_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(master, "tail\004", 5), 5);
	return 0;
}

static int eof_use(struct maker_ctx *ctx)
{
	char c[64];

	TRY(got(slave, "tail"));
	SAME(write(master, "\004", 1), 1);
	SAME(read(slave, c, sizeof(c)), 0);
	return 0;
}

/* Printed and not read. */
static int printed_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(slave, "printed\n", 8), 8);
	return 0;
}

static int printed_use(struct maker_ctx *ctx)
{
	TRY(got(master, "printed\r\n"));
	return none(master);
}

/* Output held by the terminal. */
static int held_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	return tcflow(slave, TCOOFF);
}

static int held_use(struct maker_ctx *ctx)
{
	CHECK(!fcntl(slave, F_SETFL, O_NONBLOCK));
	SAME(write(slave, "x", 1), -1);
	SAME(errno, EAGAIN);
	CHECK(!tcflow(slave, TCOON));
	SAME(write(slave, "x", 1), 1);
	return got(master, "x");
}

/* Packet mode, exclusive use, a slave that is still locked. */
static int packet_make(struct maker_ctx *ctx)
{
	int on = 1;

	TRY(open_pair());
	CHECK(!ioctl(master, TIOCPKT, &on));
	return 0;
}

static int packet_use(struct maker_ctx *ctx)
{
	char c[16] = "";

	SAME(write(slave, "p", 1), 1);
	SAME(read(master, c, sizeof(c)), 2);
	SAME(c[0], TIOCPKT_DATA);
	SAME(c[1], 'p');
	CHECK(!tcflush(slave, TCOFLUSH));
	SAME(read(master, c, sizeof(c)), 1);
	CHECK(c[0] & TIOCPKT_FLUSHWRITE);
	return 0;
}

static int packet_status_make(struct maker_ctx *ctx)
{
	TRY(packet_make(ctx));
	return tcflush(slave, TCIFLUSH);
}

static int packet_status_use(struct maker_ctx *ctx)
{
	char c[16] = "";

	SAME(read(master, c, sizeof(c)), 1);
	SAME(c[0], TIOCPKT_FLUSHREAD);
	return packet_use(ctx);
}

/* Typed before anybody opened the slave: its master sees no end. arg: 1 the slave is locked still, 2 a ^S is the last of it. */
static int unopened_make(struct maker_ctx *ctx)
{
	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0);
	if (ctx->arg != 1)
		CHECK(!unlockpt(master));
	SAME(write(master, "line\npart", 9), 9);
	CHECK(UNTIL(poll(&(struct pollfd){ .fd = master, .events = POLLIN }, 1, 0) == 1));
	if (ctx->arg == 2) {
		SAME(write(master, "\023", 1), 1);
		nap(50);
	}
	return 0;
}

static int unopened_use(struct maker_ctx *ctx)
{
	struct pollfd p = { .fd = master, .events = POLLIN | POLLOUT };
	int flags = O_RDWR | O_NOCTTY, locked = 0;

	SAME(poll(&p, 1, 0), 1);
	SAME(p.revents, POLLIN | POLLOUT);
	TRY(got(master, "line\r\npart"));
	TRY(none(master));
	CHECK(!ioctl(master, TIOCGPTLCK, &locked));
	SAME(locked, ctx->arg == 1);
	if (locked) {
		SAME(ioctl(master, TIOCGPTPEER, flags), -1);
		SAME(errno, EIO);
		CHECK(!unlockpt(master));
	}
	slave = ioctl(master, TIOCGPTPEER, flags);
	CHECK(slave >= 0);
	TRY(got(slave, "line\n"));
	if (ctx->arg == 2) {
		p = (struct pollfd){ .fd = slave, .events = POLLOUT };
		SAME(poll(&p, 1, 0), 0);
		SAME(write(master, "\021", 1), 1);
		CHECK(UNTIL(poll(&p, 1, 0) == 1));
	}
	SAME(write(master, "ial\n", 4), 4);
	TRY(got(slave, "partial\n"));
	SAME(write(slave, "x", 1), 1);
	return 0;
}

static int exclusive_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	return ioctl(slave, TIOCEXCL);
}

static int exclusive_use(struct maker_ctx *ctx)
{
	int on = 0;

	CHECK(!ioctl(slave, TIOCGEXCL, &on));
	SAME(on, 1);
	return 0;
}

static int fixed_make(struct maker_ctx *ctx)
{
	struct termios fixed = { .c_lflag = ECHO };

	TRY(open_pair());
	return ioctl(slave, TIOCSLCKTRMIOS, &fixed);
}

static int fixed_use(struct maker_ctx *ctx)
{
	struct termios fixed = { 0 };

	CHECK(!ioctl(slave, TIOCGLCKTRMIOS, &fixed));
	SAME(fixed.c_lflag, ECHO);
	return 0;
}

static int locked_make(struct maker_ctx *ctx)
{
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(master >= 0);
	return 0;
}

static int locked_use(struct maker_ctx *ctx)
{
	char name[64];

	CHECK(!ptsname_r(master, name, sizeof(name)));
	SAME(open(name, O_RDWR | O_NOCTTY), -1);
	SAME(errno, EIO);
	CHECK(!unlockpt(master));
	slave = open(name, O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	SAME(write(slave, "y", 1), 1);
	return got(master, "y");
}

/* One end only. */
static int hungup_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	return close(master);
}

static int hungup_use(struct maker_ctx *ctx)
{
	char c;

	SAME(read(slave, &c, 1), 0);
	SAME(write(slave, &c, 1), -1);
	SAME(errno, EIO);
	return 0;
}

static int slaveless_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(slave, "last words", 10), 10);
	return close(slave);
}

static int slaveless_use(struct maker_ctx *ctx)
{
	char c[64];

	TRY(got(master, "last words"));
	SAME(read(master, c, sizeof(c)), -1);
	SAME(errno, EIO);
	return 0;
}

/* Two pairs: who is who, and their names. */
static char names[2][64];
static int other_master, other_slave;

static int two_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	CHECK(!openpty(&other_master, &other_slave, NULL, NULL, NULL));
	CHECK(!ptsname_r(master, names[0], 64) && !ptsname_r(other_master, names[1], 64));
	return 0;
}

static int two_use(struct maker_ctx *ctx)
{
	char name[64];
	struct stat a, b;

	CHECK(!ttyname_r(slave, name, sizeof(name)));
	SAME(strcmp(name, names[0]), 0);
	CHECK(!ttyname_r(other_slave, name, sizeof(name)));
	SAME(strcmp(name, names[1]), 0);
	CHECK(!stat(names[0], &a) && !fstat(slave, &b));
	SAME(a.st_rdev, b.st_rdev);
	SAME(write(slave, "first", 5), 5);
	SAME(write(other_slave, "second", 6), 6);
	TRY(got(master, "first"));
	return got(other_master, "second");
}

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

	TRY(open_pair());
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
	TRY(open_pair());
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
	TRY(open_pair());
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

/* Output stopped by a key, which only a key starts. */
static int key_held_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	SAME(write(master, "\023", 1), 1);
	return 0;
}

static int key_held_use(struct maker_ctx *ctx)
{
	CHECK(!fcntl(slave, F_SETFL, O_NONBLOCK));
	SAME(write(slave, "x", 1), -1);
	SAME(errno, EAGAIN);
	SAME(write(master, "\021", 1), 1);
	CHECK(UNTIL(write(slave, "x", 1) == 1));
	return got(master, "x");
}

/* A speed that has no name: struct termios2 of asm/termbits.h, which the C library's header excludes. */

struct any_speed {
	tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
	cc_t c_line, c_cc[19];
	speed_t c_ispeed, c_ospeed;
};
#define GET_ANY_SPEED _IOR('T', 0x2a, struct any_speed)
#define SET_ANY_SPEED _IOW('T', 0x2b, struct any_speed)
#define ANY	      0010000 /* BOTHER */
#define INPUT	      16      /* IBSHIFT */

static int speed_make(struct maker_ctx *ctx)
{
	struct any_speed t;

	TRY(open_pair());
	CHECK(!ioctl(slave, GET_ANY_SPEED, &t));
	t.c_cflag = (t.c_cflag & ~(tcflag_t)(CBAUD | CBAUD << INPUT)) | ANY | ANY << INPUT;
	t.c_ispeed = 23456;
	t.c_ospeed = 12345;
	return ioctl(slave, SET_ANY_SPEED, &t);
}

static int speed_use(struct maker_ctx *ctx)
{
	struct any_speed t;

	CHECK(!ioctl(slave, GET_ANY_SPEED, &t));
	SAME(t.c_ispeed, 23456);
	SAME(t.c_ospeed, 12345);
	return 0;
}

/* A master opened through the file system of the terminals themselves. */
static int other_ptmx_make(struct maker_ctx *ctx)
{
	int locked = 0;

	master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY);
	NEED(master >= 0);
	return ioctl(master, TIOCSPTLCK, &locked);
}

static int other_ptmx_use(struct maker_ctx *ctx)
{
	char path[64], to[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", master);
	CHECK(readlink(path, to, sizeof(to) - 1) > 0);
	SAME(strcmp(to, "/dev/pts/ptmx"), 0);
	return 0;
}

/* The second of two, so that its number is not the first. */

static unsigned long hungup_device;

static int hungup_second_make(struct maker_ctx *ctx)
{
	struct stat st;
	int first, first_slave;

	CHECK(!openpty(&first, &first_slave, NULL, NULL, NULL));
	TRY(open_pair());
	close(first);
	close(first_slave);
	CHECK(!fstat(slave, &st));
	hungup_device = st.st_rdev;
	return close(master);
}

static int hungup_second_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!fstat(slave, &st));
	SAME(st.st_rdev, hungup_device);
	return 0;
}

/* The second of two, the first closed: its number is not the lowest that is free. */

static unsigned int second_number;

static int second_make(struct maker_ctx *ctx)
{
	int first, first_slave;

	CHECK(!openpty(&first, &first_slave, NULL, NULL, NULL));
	TRY(open_pair());
	close(first);
	close(first_slave);
	return ioctl(master, TIOCGPTN, &second_number);
}

static int second_use(struct maker_ctx *ctx)
{
	unsigned int number = 0;

	CHECK(!ioctl(master, TIOCGPTN, &number));
	SAME(number, second_number);
	return 0;
}

/* A line discipline other than the usual. */

#ifndef N_NULL
#define N_NULL 27
#endif

static int line_make(struct maker_ctx *ctx)
{
	int line = N_NULL;

	TRY(open_pair());
	NEED(!ioctl(slave, TIOCSETD, &line));
	return 0;
}

static int line_use(struct maker_ctx *ctx)
{
	int line = 0;

	CHECK(!ioctl(slave, TIOCGETD, &line));
	SAME(line, N_NULL);
	return 0;
}

static int owned_make(struct maker_ctx *ctx)
{
	TRY(open_pair());
	CHECK(!fchown(slave, 1005, 1006));
	return fchmod(slave, 0604);
}

static int owned_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!fstat(slave, &st));
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	SAME(st.st_mode & 07777, 0604);
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
	TRY(open_pair());
	TRY(kid_start(ctx, dev_tty_kid_make, dev_tty_kid_use, NULL));
	return close(slave);
}

static int dev_tty_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return got(master, "by name\r\n");
}

const struct maker makers_pty[] = {
	{ "line", "a line discipline of its own", line_make, line_use, MAKER_MAY_REFUSE, 0, "disc" },
	ROW("owned", "a slave of another user and group", owned),
	ROW("dev-tty", "a terminal opened as /dev/tty", dev_tty),
	ROW("plain", "a pair with a size", plain),
	ROW("settings", "every setting unusual", settings),
	ROW("typed", "two lines typed and not read", typed),
	ROW("typed-partly", "a line and the beginning of another", partial),
	ROW("typed-raw", "bytes typed in raw mode", raw_typed),
	ROW("end-of-file", "a line ended by ^D", eof),
	ROW("printed", "output not read", printed),
	ROW("held", "output held by tcflow", held),
	ROW("held-by-key", "output held by ^S typed", key_held),
	ROW("speed", "speeds that have no name", speed),
	ROW("other-ptmx", "a master opened as /dev/pts/ptmx", other_ptmx),
	ROW("hung-up-second", "a slave without a master that is not the first", hungup_second),
	ROW("second", "a pair whose number is not the first that is free", second),
	ROW("packet", "packet mode", packet),
	{ "packet-status", "packet mode, a status not read", packet_status_make, packet_status_use, MAKER_MUST_REFUSE,
		0, "packet mode" },
	{ "never-opened", "typed before the slave was first opened", unopened_make, unopened_use },
	{ "never-opened-locked", "the same with a slave that is locked", unopened_make, unopened_use, 0, 1 },
	{ "never-opened-held", "the same with output held", unopened_make, unopened_use, 0, 2 },
	ROW("exclusive", "exclusive use", exclusive),
	{ "locked-modes", "modes that only the privileged may change", fixed_make, fixed_use, MAKER_MUST_REFUSE, 0,
		"locked modes" },
	ROW("locked", "a master whose slave is locked", locked),
	ROW("hung-up", "a slave without a master", hungup),
	ROW("no-slave", "a master whose slave was closed, output inside", slaveless),
	ROW("two", "two pairs and their names", two),
	ROW("session", "a session on its terminal, a job in the foreground", session),
	{ "background", "a job stopped for reading in the background", background_make, background_use, MAKER_NO_STOP },
	{ "reading", "a thread asleep in read", reading_make, reading_use, 0, 0 },
	{ "reading-raw", "the same in raw mode", reading_make, reading_use, 0, 1 },
	{ 0 },
};
