/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a tree's pipes, terminals and sockets end: inside, outside, or nowhere. What the root has for its
 * standard streams may be the outside's; anything else that crosses the tree's border is refused, for its
 * other end would not come back.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "state/external.h"
#include "state/outside_holders.h"
#include "state/sockets.h"

#define MAJOR_PTMX 5

bool is_terminal_device(uint64_t rdev)
{
	unsigned int m = major(rdev);

	return m == 4 || (m == 5 && minor(rdev) == 1) || (m >= 136 && m <= 143) || m == 204 || m == 229;
}

/* --- pipes --- */

static bool holds_end(const struct capture *c, const struct file_look *of, bool writes)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, of->ino); d; d = d->same_ino) {
		uint64_t mode = d->look->flags & O_ACCMODE;

		if (d->look->dev != of->dev || d->look->flags & O_PATH)
			continue;
		if (mode == O_RDWR || (mode == O_WRONLY) == writes)
			return true;
	}
	return false;
}

/* The other end of a pipe that the tree does not hold: is it closed? A fifo's reader whom no writer has met
 * gets no hang-up; tee(2) tells. */
static bool other_end_closed(struct capture *c, struct file_look *f)
{
	struct pollfd p = { .fd = file_dup(c, f) };
	int scratch[2];
	ssize_t n;

	if (p.fd < 0)
		return true; /* it went away */
	poll(&p, 1, 0);
	if (p.revents & (POLLHUP | POLLERR))
		return true;
	if (f->link[0] != '/' || (f->flags & O_ACCMODE) != O_RDONLY || pipe2(scratch, O_CLOEXEC) < 0)
		return false;
	n = tee(p.fd, scratch[1], 1, SPLICE_F_NONBLOCK);
	close(scratch[0]);
	close(scratch[1]);
	return !n;
}

static bool pipe_crosses(struct capture *c, struct file_look *f)
{
	uint64_t mode = f->flags & O_ACCMODE;

	if (f->flags & O_PATH || mode == O_RDWR || holds_end(c, f, mode == O_RDONLY))
		return false;
	return !other_end_closed(c, f);
}

/* --- terminals --- */

/* A pty is the tree's own if the tree holds its master, or if it is hung up: then nobody does. */
static bool terminal_crosses(struct capture *c, struct file_look *f)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t index;

	if (major(f->rdev) >= 136 && major(f->rdev) <= 143 && f->dev == c->descriptions->devpts.st_dev)
		for (const struct description *d = c->descriptions->first; d; d = d->next)
			if (d->look->rdev == makedev(MAJOR_PTMX, 2) &&
				!proc_value_u64(d->look->info, "tty-index", 10, &index) &&
				index == minor(f->rdev) + 256u * (major(f->rdev) - 136))
				return false;
	p.fd = file_dup(c, f);
	return p.fd >= 0 && poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

/* --- sockets --- */

static bool socket_crosses(struct capture *c, struct file_look *f)
{
	const struct socket_look *s = socket_find(c->descriptions, f->ino);

	return !s || !s->diag || !socket_find(c->descriptions, s->diag->peer);
}

/* --- the root's streams --- */

static uint8_t streams_of(const struct process *root, const struct file_look *f)
{
	uint8_t streams = 0;

	for (size_t i = 0; i < root->n_files && root->files[i].fd < 3; i++)
		if (root->files[i].ino == f->ino && root->files[i].dev == f->dev)
			streams |= (uint8_t)(1u << root->files[i].fd);
	return streams;
}

static bool is_terminal_of(const struct process *root, const struct file_look *f)
{
	return root->stat.tty_nr && (uint64_t)root->stat.tty_nr == (minor(f->rdev) & 0xff) +
									   ((uint64_t)major(f->rdev) << 8) +
									   ((minor(f->rdev) >> 8) << 20);
}

static void judge(struct capture *c, struct description *d)
{
	struct process *root = c->tree->processes[0];
	struct file_look *f = (struct file_look *)d->look;
	bool terminal = S_ISCHR(f->mode) && is_terminal_device(f->rdev), crosses = false;

	if (f->flags & O_PATH)
		return;
	if (S_ISFIFO(f->mode))
		crosses = pipe_crosses(c, f);
	else if (terminal)
		crosses = terminal_crosses(c, f);
	else if (S_ISSOCK(f->mode) && streams_of(root, f))
		crosses = socket_crosses(c, f);
	if (!crosses)
		return;
	d->streams = streams_of(root, f);
	d->external = d->streams || (terminal && is_terminal_of(root, f));
	d->crosses = !d->external;
}

int outside_find(struct capture *c)
{
	struct process *before = c->process;

	for (struct description *d = c->descriptions->first; d; d = d->next) {
		c->process = d->look->process;
		judge(c, d);
		if (!S_ISREG(d->look->mode))
			close_fd(&((struct file_look *)d->look)->dup);
	}
	c->process = before;
	return c->ends ? outside_ends_note(c) : 0;
}
