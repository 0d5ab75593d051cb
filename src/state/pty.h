/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pseudoterminals: what the master's, the slave's and the controlling terminal's components share. pty(7),
 * ioctl_tty(2); drivers/tty/pty.c, drivers/tty/n_tty.c */
#pragma once

#include <asm/ioctls.h>
#include <sys/ioctl.h>

#include "state/files.h"

/* termios2 of <asm/termbits.h>, which does not go together with <termios.h>. */
struct terminal_modes {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[19];
	uint32_t ispeed, ospeed;
};
_Static_assert(sizeof(struct terminal_modes) == 44, "struct termios2");
#define TERMINAL_GET _IOR('T', 0x2A, struct terminal_modes)
#define TERMINAL_SET _IOW('T', 0x2B, struct terminal_modes)

enum slave_side { SLAVE_NEVER_OPENED, SLAVE_OPEN, SLAVE_CLOSED };

struct pty_state {
	char *path; /* of ptmx */
	uint64_t index;
	struct terminal_modes modes;
	struct blob cc;
	uint64_t rows, columns, xpixel, ypixel;
	bool packet, locked, exclusive, stopped, held;
	bool master_held; /* what is typed; by tcflow(TCOOFF) of the master */
	uint64_t status;  /* of packet mode: TIOCPKT_* */
	uint64_t slave;	  /* enum slave_side */
	uint64_t slave_mode, slave_uid, slave_gid;
	uint64_t column, line_column; /* struct n_tty_data: column, canon_column */
	struct blob output;	      /* written by the slave, not read by the master */
	struct blob input;	      /* written to the master, not read by the slave */
};

#define DEV_TTY	 0x500ull /* makedev(5, 0) */
#define DEV_PTMX 0x502ull

/* Is it a slave, in the tree's own devpts? Then its index. */
bool pty_index(const struct capture *c, const struct file_look *f, uint64_t *index);
/* The description of the master of that index that the tree holds; NULL: none. */
const struct description *pty_master_of(const struct capture *c, uint64_t index);
/* A description of the slave; NULL: the tree has none. */
const struct description *pty_slave_of(const struct capture *c, uint64_t index);

/* What a master and a slave hold back, taken out and put back, into s->output and s->input (allocated). slave: negative if nobody has it, and s->slave then
 * says whether anybody had; whether its output is stopped (s->stopped) is then looked at too. */
int pty_queues_read(int master, int slave, struct pty_state *s);
/* Closes the last descriptor of a slave as if it had never been opened. The master is unlocked afterwards. */
void pty_close_unseen(int master, int slave);
int pty_queues_write(
	int master, int slave, const struct blob *output, const struct blob *input, const struct terminal_modes *modes);

/* Of a new one, before anything is in its queues. */
int pty_columns_set(int master, int slave, const struct pty_state *s, const struct terminal_modes *m);

/* --- pty_status.c --- */

/* Are ^S and ^Q what stops and starts output? In packet mode the master is told when that changes. */
bool pty_flows(const struct terminal_modes *m);
/* Why a status that was not read cannot be carried; NULL: it can. */
const char *pty_status_hindrance(const struct pty_state *s);
bool pty_status_possible(const struct pty_state *s);
/* In packet mode, with these modes and empty queues: the status again, but for TIOCPKT_STOP, which stopping brings. */
int pty_status_cause(int slave, const struct pty_state *s, const struct terminal_modes *m);

/* In the keeper: the master of a record, opened when first asked for, and a slave of it that the keeper
 * holds. Descriptors of restore_made. */
int pty_restore_master(struct restore *r, const struct record *rec, uint64_t flags);
int pty_restore_slave(struct restore *r, const struct record *rec);
/* A new pty of that index, if it can be had, unlocked. */
int pty_allocate(struct restore *r, const char *ptmx, uint64_t index, uint64_t flags);
