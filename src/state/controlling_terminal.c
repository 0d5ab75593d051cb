/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controlling terminal of a session, and its foreground process group: setsid(2), tty_ioctl(4) TIOCSCTTY,
 * TIOCSPGRP, TIOCNOTTY; drivers/tty/tty_jobctrl.c. The record is that of the session's leader; of the root,
 * if its session is led from outside; and of a process that gave its terminal up.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "state/external.h"
#include "state/pty.h"
#include "state/terminal.h"

struct controlling_terminal_state {
	object_id of;
	object_id terminal; /* 0: given up */
	int64_t foreground; /* process group in the tree's pid namespace; 0: none of the tree's */
};

static const struct field controlling_terminal_fields[] = {
	FIELD_REF(struct controlling_terminal_state, of, "of", "process", REF_STRONG,
		"the session's leader, or the root"),
	FIELD_REF(struct controlling_terminal_state, terminal, "terminal", NULL, REF_LATE,
		"a pty or external; none: the process gave it up"),
	FIELD_INT(struct controlling_terminal_state, foreground, "foreground",
		"foreground process group; 0: none of the tree's"),
	FIELD_END,
};

/* --- checkpoint --- */

static dev_t device_of(int tty_nr)
{
	unsigned int n = (unsigned int)tty_nr;

	return makedev((n >> 8) & 0xfff, (n & 0xff) | ((n >> 12) & 0xfff00));
}

/* Indices are unique in one devpts only; the session tells a pty of the tree from one of the outside with the
 * same number. */
static bool is_session_of(const struct description *master, pid_t session)
{
	_cleanup_fd_ int fd = description_dup(master);
	pid_t of = 0;

	return fd >= 0 && !ioctl(fd, TIOCGSID, &of) && of == session;
}

static const struct description *outside_terminal(const struct capture *c, uint64_t device)
{
	for (const struct description *d = c->descriptions->first; d; d = d->next)
		if (d->external && S_ISCHR(d->look->mode) && d->look->rdev == device)
			return d;
	return NULL;
}

int terminal_backing(struct capture *c, uint64_t device, pid_t session, object_id *out)
{
	unsigned int m = major(device);
	const struct description *d = NULL;

	if (m >= 136 && m <= 143)
		d = pty_master_of(c, minor(device) + 256ull * (m - 136));
	if (d && session && !is_session_of(d, session))
		d = NULL;
	if (!d)
		d = outside_terminal(c, device);
	if (d) {
		*out = backing_id(c, d->look);
		return 0;
	}
	return external_save_terminal(c, device, out);
}

static const struct process *leader_of(const struct tree *t, const struct process *p)
{
	return tree_find(t, p->stat.session);
}

static bool says_something(const struct tree *t, const struct process *p)
{
	const struct process *leader = leader_of(t, p);

	if (p->stat.tty_nr)
		return leader == p || (!leader && p == t->processes[0]);
	return leader && leader != p && leader->stat.tty_nr;
}

/* A restore gives a terminal to leaders, and to a stand-in for that of the root's session. */
static int controlling_terminal_look(struct capture *c)
{
	const struct process *p = c->process;
	char object[32];

	if (!p->stat.tty_nr || leader_of(c->tree, p) || p->stat.session == c->tree->processes[0]->stat.session)
		return 0;
	snprintf(object, sizeof(object), "session %d", p->status.sid_in_ns);
	return refused(c->ps,
		       BLAME_PROCESS(p, .object = object,
			       .remedy = "save the tree of that session's leader, or end the process"),
		       "it has the terminal of a session that is led from outside of the tree, and that is not the "
		       "root's"),
	       0;
}

static int controlling_terminal_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct controlling_terminal_state *s = state;
	const struct process *p = c->process;

	if (!says_something(c->tree, p))
		return CAPTURE_NOTHING;
	s->of = p->id;
	if (!p->stat.tty_nr)
		return 0;
	s->foreground = p->stat.tpgid > 0 ? group_in_tree(c->tree, p->stat.tpgid) : 0;
	return terminal_backing(c, device_of(p->stat.tty_nr), p->stat.session, &s->terminal);
}

/* --- restore --- */

static const struct controlling_terminal_state *state_of(const struct restore *r, object_id process)
{
	size_t n;
	const struct record *recs = image_records(r->image, &component_controlling_terminal.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct controlling_terminal_state *s = recs[i].state;

		if (s->of == process)
			return s;
	}
	return NULL;
}

int terminal_descriptor(struct restore *r, object_id backing)
{
	const struct record *rec = image_find(r->image, backing);

	if (rec && rec->kind == &component_pty.kind)
		return pty_restore_slave(r, rec);
	if (rec && rec->kind == &component_external.kind)
		return r->terminal >= 0 ? r->terminal : -ENOENT;
	return failed(r->ps, BLAME(.object = "terminal"), -EBADMSG, "the image has a terminal that is none");
}

bool terminal_is_wanted(const struct restore *r, object_id process)
{
	const struct controlling_terminal_state *s = state_of(r, process);

	return s && s->terminal;
}

int terminal_of_session(struct restore *r, object_id process)
{
	const struct controlling_terminal_state *s = state_of(r, process);
	int fd, err;

	if (!s || !s->terminal)
		return -ENOENT;
	fd = terminal_descriptor(r, s->terminal);
	err = fd < 0 ? fd : terminal_open_aliases(r, s->terminal);
	return err < 0 ? err : fd;
}

int terminal_acquire(struct build *b, object_id process)
{
	int keeper_fd = terminal_of_session(b->restore, process);
	uint32_t fd;

	if (keeper_fd < 0)
		return keeper_fd == -ENOENT ? 0 : keeper_fd;
	fd = build_fetch(b, "fetching the terminal", keeper_fd);
	batch_use(b->batch, batch_call(b->batch, "TIOCSCTTY", SYS_ioctl, 0, TIOCSCTTY, 0), 0, fd);
	batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fd);
	return 0;
}

/* Any descriptor of the terminal will do, and every task that has one can open /dev/tty. */
static uint32_t open_own(struct build *b)
{
	uint64_t flags = O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;

	return batch_call(b->batch, "opening /dev/tty", SYS_openat, (uint64_t)AT_FDCWD,
		batch_string(b->batch, "/dev/tty").v, flags);
}

/* Signals are blocked: the kernel lets a background process through. */
static int controlling_terminal_attach(struct build *b, const void *state)
{
	const struct controlling_terminal_state *s = state;
	pid_t group = (pid_t)s->foreground;
	uint32_t fd, op;

	if (s->terminal && (!group || terminal_descriptor(b->restore, s->terminal) < 0))
		return 0;
	fd = open_own(b);
	if (s->terminal)
		op = batch_call(
			b->batch, "TIOCSPGRP", SYS_ioctl, 0, TIOCSPGRP, batch_copy(b->batch, &group, sizeof(group)).v);
	else
		op = batch_call(b->batch, "TIOCNOTTY", SYS_ioctl, 0, TIOCNOTTY);
	batch_use(b->batch, op, 0, fd);
	/* A group whose last member has ended is nobody's: the terminal then has none. */
	if (s->terminal)
		batch_may_fail(b->batch, op);
	batch_use(b->batch, batch_call(b->batch, "close", SYS_close, 0), 0, fd);
	return 0;
}

const struct component component_controlling_terminal = {
	.kind = { .name = "controlling_terminal",
		.version = 1,
		.size = sizeof(struct controlling_terminal_state),
		.fields = controlling_terminal_fields,
		.doc = "the controlling terminal of a session, and its foreground process group",
		.sources = "setsid(2), ioctl_tty(2); drivers/tty/tty_jobctrl.c" },
	.scope = SCOPE_PROCESS,
	.look = controlling_terminal_look,
	.capture = controlling_terminal_capture,
	.build = { [STAGE_ATTACH] = controlling_terminal_attach },
};
