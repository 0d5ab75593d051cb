/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel keeps of a terminal, and would only show by giving it away: what stands in its queues, whether its output was stopped, the status in packet
 * mode. struct tty_struct, struct n_tty_data, struct tty_buffer: drivers/tty/n_tty.c, drivers/tty/pty.c, drivers/tty/tty_buffer.c.
 */
#pragma once

#include "kernel/peek.h"
#include "state/pty.h"

/* What cannot be carried. */
struct pty_view {
	bool echoes; /* of what was typed; not printed yet */
	bool quotes; /* ^V was typed, and not what it quotes */
};

/* Fills status, stopped, held, master_held, exclusive, output and input of s. 0 or negative errno: s is as it was. */
int pty_view_read(struct kernel_peek *kernel, int master, struct pty_state *s, struct pty_view *v);
