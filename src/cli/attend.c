/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pty(7), signalfd(2), pidfd_send_signal(2) */
#include "cli/attend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"

/* --- the terminal --- */

static void copy_size(const struct terminal *t)
{
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(t->master, TIOCSWINSZ, &size);
}

int terminal_open(struct terminal *t)
{
	_cleanup_fd_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_fd_ int slave = -1;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	*t = (struct terminal){ .master = take_fd(&master), .slave = take_fd(&slave) };
	copy_size(t);
	if (tcgetattr(STDIN_FILENO, &t->saved) == 0)
		tcsetattr(t->slave, TCSANOW, &t->saved);
	return 0;
}

void terminal_take(struct terminal *t)
{
	struct termios raw;

	if (t->master < 0 || tcgetattr(STDIN_FILENO, &t->saved) < 0)
		return;
	copy_size(t);
	raw = t->saved;
	cfmakeraw(&raw);
	t->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void terminal_close(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
	t->raw = false;
	close_fd(&t->slave);
	close_fd(&t->master);
}

/* --- the relay --- */

/* Bytes on their way. A source that has ended is -1. */
struct channel {
	int from, to;
	size_t start, end;
	char buf[16384];
};

static bool channel_empty(const struct channel *c)
{
	return c->start == c->end;
}

static void channel_read(struct channel *c)
{
	ssize_t n = read(c->from, c->buf, sizeof(c->buf));

	if (n > 0) {
		c->start = 0;
		c->end = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		c->from = -1; /* a master says EIO when no slave is open */
	}
}

static void channel_write(struct channel *c)
{
	ssize_t n = write(c->to, c->buf + c->start, c->end - c->start);

	if (n > 0)
		c->start += (size_t)n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		c->start = c->end; /* nobody reads any more */
}

/* The end of a pipe on standard input is the end-of-file character of a terminal. */
static void send_end_of_file(struct channel *in, const struct terminal *t)
{
	struct termios now;

	if (tcgetattr(t->master, &now) == 0 && (now.c_lflag & ICANON)) {
		in->buf[0] = (char)now.c_cc[VEOF];
		in->start = 0;
		in->end = 1;
	}
}

/* --- signals --- */

void attend_block(sigset_t *passed, sigset_t *before)
{
	static const int wanted[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH };

	sigemptyset(passed);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		struct sigaction now;

		if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(passed, wanted[i]);
	}
	sigprocmask(SIG_BLOCK, passed, before);
}

static void pass_signal(int signal_fd, int pidfd, const struct terminal *t)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH && t->master >= 0)
		copy_size(t);
	else
		syscall(SYS_pidfd_send_signal, pidfd, (int)info.ssi_signo, NULL, 0);
}

/* --- the loop --- */

enum { ENDED, SIGNALS, MASTER, IN, OUT, N_POLLS };

/* What is left in the pty after the root has ended. */
static void drain(struct channel *out)
{
	while (out->from >= 0 || !channel_empty(out)) {
		if (!channel_empty(out)) {
			channel_write(out);
			continue;
		}
		channel_read(out);
		if (channel_empty(out))
			return;
	}
}

static void relay(struct pollfd *p, struct channel *in, struct channel *out, const struct terminal *t)
{
	bool had_input = in->from >= 0;

	if (channel_empty(in) && (p[IN].revents & (POLLIN | POLLHUP | POLLERR)))
		channel_read(in);
	if (had_input && in->from < 0)
		send_end_of_file(in, t);
	if (!channel_empty(in) && (p[MASTER].revents & POLLOUT))
		channel_write(in);
	if (channel_empty(out) && (p[MASTER].revents & (POLLIN | POLLHUP)))
		channel_read(out);
	else if (!channel_empty(out) && (p[OUT].revents & (POLLOUT | POLLHUP | POLLERR)))
		channel_write(out);
}

int attend(int pidfd, struct terminal *t, const sigset_t *passed)
{
	_cleanup_fd_ int signal_fd = signalfd(-1, passed, SFD_CLOEXEC);
	struct channel in = { .from = t->master >= 0 ? STDIN_FILENO : -1, .to = t->master };
	struct channel out = { .from = t->master, .to = STDOUT_FILENO };
	void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);

	if (signal_fd < 0)
		return -errno;
	for (;;) {
		short to_master = channel_empty(&in) ? 0 : POLLOUT;
		short from_master = channel_empty(&out) ? POLLIN : 0;
		struct pollfd p[N_POLLS] = {
			[ENDED] = { .fd = pidfd, .events = POLLIN },
			[SIGNALS] = { .fd = signal_fd, .events = POLLIN },
			[MASTER] = { .fd = to_master || from_master ? out.from : -1,
				.events = to_master | from_master },
			[IN] = { .fd = channel_empty(&in) ? in.from : -1, .events = POLLIN },
			[OUT] = { .fd = channel_empty(&out) ? -1 : out.to, .events = POLLOUT },
		};

		if (poll(p, N_POLLS, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[SIGNALS].revents)
			pass_signal(signal_fd, pidfd, t);
		relay(p, &in, &out, t);
		if (p[ENDED].revents)
			break;
	}
	drain(&out);
	signal(SIGPIPE, pipe_before);
	return 0;
}

int attend_all(const int *pidfds, size_t n, const sigset_t *passed)
{
	_cleanup_fd_ int signal_fd = signalfd(-1, passed, SFD_CLOEXEC);
	_cleanup_free_ struct pollfd *p = calloc(n + 1, sizeof(*p));
	struct signalfd_siginfo info;
	size_t left = n;

	if (signal_fd < 0 || !p)
		return signal_fd < 0 ? -errno : -ENOMEM;
	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = pidfds[i], .events = POLLIN };
	p[n] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
	while (left) {
		if (poll(p, n + 1, -1) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (p[n].revents && read(signal_fd, &info, sizeof(info)) == sizeof(info))
			for (size_t i = 0; i < n; i++)
				if (p[i].fd >= 0)
					syscall(SYS_pidfd_send_signal, p[i].fd, (int)info.ssi_signo, NULL, 0);
		for (size_t i = 0; i < n; i++)
			if (p[i].fd >= 0 && p[i].revents) {
				p[i].fd = -1;
				left--;
			}
	}
	return 0;
}
