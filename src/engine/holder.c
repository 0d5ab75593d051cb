/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernel/procfs.h"

#define ZOMBIE_TIMEOUT_US 2000000
#define DYING_TIMEOUT_US  10000000 /* it only needs some processor time */
#define PAUSE_US	  10000

/* --- numbers --- */

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

bool numbers_have(const struct numbers *numbers, pid_t number)
{
	return bsearch(&number, numbers->list, numbers->n, sizeof(number), compare_pids) != NULL;
}

void numbers_settle(struct numbers *numbers)
{
	pid_t *list = numbers->list;
	size_t kept = 0;

	qsort(list, numbers->n, sizeof(*list), compare_pids);
	for (size_t i = 0; i < numbers->n; i++)
		if (list[i] > 0 && (!kept || list[i] != list[kept - 1]))
			list[kept++] = list[i];
	numbers->n = kept;
}

/*
 * Whether the kernel has something of that number, be it a task, a group or a session: just what keeps it from being given again. F_SETOWN looks no further than that
 * (find_vpid() in f_setown(), fs/fcntl.c), so that those who have it are looked for, among all processes of the machine, only if there are any.
 */
static bool is_used(int fd, pid_t number)
{
	return fcntl(fd, F_SETOWN, number) == 0 || errno != ESRCH;
}

static bool any_used(const struct numbers *numbers)
{
	_cleanup_fd_ int fd = eventfd(0, EFD_CLOEXEC);

	for (size_t i = 0; fd >= 0 && i < numbers->n; i++)
		if (is_used(fd, numbers->list[i]))
			return true;
	return fd < 0;
}

/* --- who has them --- */

static bool is_killed(int dir)
{
	struct proc_status st;
	bool killed;

	if (proc_status_read(dir, &st) < 0)
		return true;
	killed = (st.sig_pending | st.shared_pending) & 1ull << (SIGKILL - 1);
	proc_status_free(&st);
	return killed;
}

static void note_holder(struct holder *h, pid_t number, pid_t pid, int dir, const struct proc_stat *st)
{
	enum taken taken = st->state == 'Z' || st->state == 'X'	      ? BY_ZOMBIE
			   : st->flags & PF_EXITING || is_killed(dir) ? BY_DYING
								      : BY_LIVING;

	if (taken <= h->taken)
		return;
	h->taken = taken;
	h->number = number;
	h->pid = pid;
	snprintf(h->name, sizeof(h->name), "%s", st->comm);
}

/* /proc shows a thread too, if it is asked for. */
static void look_for_tasks(const struct numbers *numbers, struct holder *h)
{
	for (size_t i = 0; i < numbers->n && h->taken < BY_LIVING; i++) {
		_cleanup_fd_ int dir = procfs_open_pid(numbers->list[i]);
		struct proc_stat st;

		if (dir >= 0 && proc_stat_read(dir, &st) == 0)
			note_holder(h, numbers->list[i], numbers->list[i], dir, &st);
	}
}

/* A number is taken too while a group or a session has it. */
static void look_for_groups(const struct numbers *numbers, struct holder *h)
{
	_cleanup_dir_ DIR *proc = opendir("/proc");

	for (struct dirent *e; proc && h->taken < BY_LIVING && (e = readdir(proc));) {
		pid_t pid = (pid_t)atoi(e->d_name);
		_cleanup_fd_ int dir = pid > 0 ? procfs_open_pid(pid) : -1;
		struct proc_stat st;

		if (dir < 0 || proc_stat_read(dir, &st) < 0)
			continue;
		if (numbers_have(numbers, st.pgrp))
			note_holder(h, st.pgrp, pid, dir, &st);
		if (numbers_have(numbers, st.session))
			note_holder(h, st.session, pid, dir, &st);
	}
}

static struct holder look(const struct numbers *numbers)
{
	struct holder h = { 0 };

	if (!any_used(numbers))
		return h;
	look_for_tasks(numbers, &h);
	look_for_groups(numbers, &h);
	return h;
}

/* Whether it is time to look again. */
static bool is_waited_for(enum taken taken, uint64_t since)
{
	return taken != BY_LIVING && clock_us() < since + (taken == BY_ZOMBIE ? ZOMBIE_TIMEOUT_US : DYING_TIMEOUT_US);
}

struct holder holder_find(const struct numbers *numbers)
{
	uint64_t since = clock_us();

	for (;;) {
		struct holder h = look(numbers);

		if (h.taken == FREE || !is_waited_for(h.taken, since))
			return h;
		usleep(PAUSE_US);
	}
}

bool holder_yields(pid_t number, uint64_t *since, struct holder *holder)
{
	const struct numbers one = { &number, 1 };

	if (!*since)
		*since = clock_us();
	*holder = look(&one);
	holder->number = number;
	if (!is_waited_for(holder->taken, *since))
		return false;
	usleep(PAUSE_US);
	return true;
}

void holder_describe(const struct holder *h, char *text, size_t size)
{
	if (h->taken == FREE)
		snprintf(text, size, "%d is taken here, by nobody whom /proc shows", (int)h->number);
	else if (h->pid != h->number)
		snprintf(text, size, "%d is taken here (a group or session that process %d, %s, is in)", (int)h->number,
			(int)h->pid, h->name);
	else
		snprintf(text, size, "%d is taken here (%s%s)", (int)h->number, h->name,
			h->taken == BY_ZOMBIE  ? ", which has ended but was not waited for"
			: h->taken == BY_DYING ? ", which does not come to its end"
					       : "");
}
