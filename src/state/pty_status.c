/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a master in packet mode is told of its slave, and has not read: ioctl_tty(2) TIOCPKT. Nobody can set it: what it tells of is done once more, before
 * anything is in the queues. drivers/tty/pty.c; n_tty_packet_mode_flush() in drivers/tty/n_tty.c.
 */
#include <errno.h>
#include <termios.h>

#include "state/pty.h"

#define XON  021
#define XOFF 023

/* As pty_set_termios() looks at it. */
bool pty_flows(const struct terminal_modes *m)
{
	return m->iflag & IXON && m->cc[VSTOP] == XOFF && m->cc[VSTART] == XON;
}

/* Stopped output stays stopped: that needs IXON. */
static struct terminal_modes with_flow(const struct terminal_modes *m, bool flow)
{
	struct terminal_modes with = *m;

	with.iflag |= IXON;
	with.cc[VSTART] = XON;
	with.cc[VSTOP] = flow ? XOFF : 1;
	with.lflag &= ~(uint32_t)EXTPROC;
	return with;
}

static int change_modes(int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	struct terminal_modes other = *m;

	if (s->status & (TIOCPKT_DOSTOP | TIOCPKT_NOSTOP))
		other = with_flow(m, !pty_flows(m));
	if (s->status & TIOCPKT_IOCTL)
		other.lflag |= EXTPROC;
	return ioctl(slave, TERMINAL_SET, &other) < 0 || ioctl(slave, TERMINAL_SET, m) < 0 ? -errno : 0;
}

const char *pty_status_hindrance(const struct pty_state *s)
{
	if (!s->status)
		return NULL;
	if (s->modes.lflag & EXTPROC && !(s->status & TIOCPKT_IOCTL))
		return "with EXTPROC";
	/* before that is told of, the output is stopped, and then takes no more than the line buffer */
	return s->stopped && !(s->status & TIOCPKT_STOP) && s->output.size ? "whose output is stopped, and was not read"
									   : NULL;
}

bool pty_status_possible(const struct pty_state *s)
{
	const uint64_t known = TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE | TIOCPKT_STOP | TIOCPKT_START | TIOCPKT_NOSTOP |
			       TIOCPKT_DOSTOP | TIOCPKT_IOCTL;

	return !(s->status & ~known) && (!s->status || s->packet) && !(s->status & TIOCPKT_START && s->stopped);
}

int pty_status_cause(int slave, const struct pty_state *s, const struct terminal_modes *m)
{
	if (s->status & TIOCPKT_FLUSHREAD && ioctl(slave, TCFLSH, TCIFLUSH) < 0)
		return -errno;
	if (s->status & TIOCPKT_FLUSHWRITE && ioctl(slave, TCFLSH, TCOFLUSH) < 0)
		return -errno;
	if (s->status & TIOCPKT_START && (ioctl(slave, TCXONC, TCOOFF) < 0 || ioctl(slave, TCXONC, TCOON) < 0))
		return -errno;
	return s->status & (TIOCPKT_DOSTOP | TIOCPKT_NOSTOP | TIOCPKT_IOCTL) ? change_modes(slave, s, m) : 0;
}
