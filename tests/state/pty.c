/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pseudo-terminals with both ends inside: settings, size, numbers, owners, and what is left when one end is closed. pty(7). */

#include "pty_pair.h"

#include <pty.h>
#include <termios.h>

static int master = -1, slave = -1;

/* Its echo, its line editing and its size work on. */
static int plain_make(struct maker_ctx *ctx)
{
	struct winsize w = { 33, 101, 400, 300 };

	TRY(open_pair(&master, &slave));
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

	TRY(open_pair(&master, &slave));
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

static int exclusive_make(struct maker_ctx *ctx)
{
	TRY(open_pair(&master, &slave));
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

	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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

	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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

	TRY(open_pair(&master, &slave));
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
	TRY(open_pair(&master, &slave));
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

/* Columns are counted, for tabs become blanks and are erased. arg: of which case. */
static const struct {
	const char *prompt, *typed, *echo, *back;
	const char *erased, *tab; /* afterwards */
} columns[] = {
	{ "abc", "", "", "", "", "     |" },
	{ "ab", "x\t", "x     ", "", "\b\b\b\b\b", "     |" },
	{ "0123456789", "x\t", "x     ", "\b\b\b\b\b\b\b\b\b", "\b\b\b\b\b", "      |" },
};

static int columns_make(struct maker_ctx *ctx)
{
	struct termios t;

	TRY(open_pair(&master, &slave));
	CHECK(!tcgetattr(slave, &t));
	t.c_oflag |= OPOST | XTABS;
	CHECK(!tcsetattr(slave, TCSANOW, &t));
	CHECK(write(slave, columns[ctx->arg].prompt, strlen(columns[ctx->arg].prompt)) > 0);
	TRY(got(master, columns[ctx->arg].prompt));
	SAME(write(master, columns[ctx->arg].typed, strlen(columns[ctx->arg].typed)), strlen(columns[ctx->arg].typed));
	TRY(got(master, columns[ctx->arg].echo));
	SAME(write(slave, columns[ctx->arg].back, strlen(columns[ctx->arg].back)), strlen(columns[ctx->arg].back));
	return got(master, columns[ctx->arg].back);
}

static int columns_use(struct maker_ctx *ctx)
{
	SAME(readable(master), 0);
	if (*columns[ctx->arg].erased)
		SAME(write(master, "\177", 1), 1);
	TRY(got(master, columns[ctx->arg].erased));
	SAME(write(slave, "\t|", 2), 2);
	return got(master, columns[ctx->arg].tab);
}

const struct maker makers_pty[] = {
	ROW_ARG("columns", "a column that tabs are counted from", columns, 0),
	ROW_ARG("columns-typed", "a line being typed that has tabs in it", columns, 1),
	ROW_ARG("columns-before", "a column before that line", columns, 2),
	{ "line", "a line discipline of its own", line_make, line_use, MAKER_MUST_REFUSE, 0, "disc" },
	ROW("owned", "a slave of another user and group", owned),
	ROW("plain", "a pair with a size", plain),
	ROW("settings", "every setting unusual", settings),
	ROW("speed", "speeds that have no name", speed),
	ROW("other-ptmx", "a master opened as /dev/pts/ptmx", other_ptmx),
	ROW("hung-up-second", "a slave without a master that is not the first", hungup_second),
	ROW("second", "a pair whose number is not the first that is free", second),
	ROW("exclusive", "exclusive use", exclusive),
	{ "locked-modes", "modes that only the privileged may change", fixed_make, fixed_use, MAKER_MUST_REFUSE, 0,
		"locked modes" },
	ROW("locked", "a master whose slave is locked", locked),
	ROW("hung-up", "a slave without a master", hungup),
	ROW("no-slave", "a master whose slave was closed, output inside", slaveless),
	ROW("two", "two pairs and their names", two),
	{ 0 },
};
