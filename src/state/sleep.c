/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/sleep.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/cleanup.h"

#define SELF	 "/proc/thread-self"
#define TRIES	 3
#define NS_PER_S 1000000000ll
#define UNSURE                                                                                                         \
	1000000ll /* what the start of a sleep, read from outside, may be off by: a sleep may end late, and never early */
#define ROUNDED	   2500000ll /* at most so much was added to a timeout */
#define SWITCHES   "\nnr_voluntary_switches"
#define EXEC_START "se.exec_start"

const struct field restart_fields[] = {
	FIELD_BOOL(struct restart_state, block, "block",
		"interrupted in a sleep that the kernel would go on with by itself (-516)"),
	FIELD_INT(struct restart_state, nr, "nr", "the system call; 219: not known"),
	FIELD_INT(struct restart_state, left, "left_ns",
		"until it would have ended; -1: no timeout, or one that is a moment"),
	FIELD_END,
};

static int64_t monotonic_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* --- the scheduler's view: /proc/PID/task/TID/sched --- */

static const char *sched_value(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	at = at ? strchr(at, ':') : NULL;
	return at ? at + 1 : NULL;
}

/* exec_start is when the task last got or left a CPU, in milliseconds with six decimals. */
static int sched_read(int dir_fd, const char *name, int64_t *exec_start, int64_t *switches)
{
	_cleanup_free_ char *text = NULL;
	const char *start, *count;
	long long ms, ns;
	size_t size;
	int r = procfs_read(dir_fd, name, &text, &size);

	if (r < 0)
		return r;
	start = sched_value(text, EXEC_START);
	count = sched_value(text, SWITCHES);
	if (!start || !count || sscanf(start, " %lld.%6lld", &ms, &ns) != 2)
		return -EINVAL;
	*exec_start = ms * 1000000 + ns;
	*switches = strtoll(count, NULL, 10);
	return 0;
}

/* The processor is field 39 of stat, the 37th after the name. */
static int last_cpu(int proc_fd)
{
	_cleanup_free_ char *text = NULL;
	const char *at;
	size_t size;

	if (procfs_read(proc_fd, "stat", &text, &size) < 0)
		return -1;
	at = strrchr(text, ')');
	for (int i = 0; at && i < 37; i++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at) : -1;
}

/*
 * This thread's own exec_start is at most the time of the reading, and after a sleep not much less: the
 * largest of a few is the best. The error makes sleeps look shorter than they were, never longer.
 */
static int measure(int64_t *ahead)
{
	const struct timespec nap = { .tv_nsec = 1000 };
	int64_t best = INT64_MIN, start, ignored;

	for (int i = 0; i < TRIES; i++) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		if (sched_read(AT_FDCWD, SELF "/sched", &start, &ignored) < 0)
			return -ENOENT;
		start -= monotonic_now();
		best = MAX(best, start);
	}
	*ahead = best;
	return 0;
}

/* The clocks of two CPUs may differ, by the time that interrupts and the hypervisor took: so it is measured
 * on the task's own. */
static int clock_ahead(struct sleep_clock *clock, int cpu, int64_t *ahead)
{
	cpu_set_t own, one;
	int r;

	if (cpu < 0 || (size_t)cpu >= ARRAY_SIZE(clock->cpu))
		return -EINVAL;
	if (!clock->cpu[cpu].known) {
		CPU_ZERO(&one);
		CPU_SET((size_t)cpu, &one);
		if (sched_getaffinity(0, sizeof(own), &own) < 0 || sched_setaffinity(0, sizeof(one), &one) < 0)
			return -errno;
		r = measure(&clock->cpu[cpu].ahead);
		sched_setaffinity(0, sizeof(own), &own);
		if (r < 0)
			return r;
		clock->cpu[cpu].known = true;
	}
	*ahead = clock->cpu[cpu].ahead;
	return 0;
}

/* --- before the stop --- */

/* Of the calls that have a span for a timeout, those whose remainder the kernel does not write back. */
static bool counts_from_start(int nr)
{
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_poll || nr == SYS_futex ||
	       nr == SYS_epoll_wait || nr == SYS_epoll_pwait || nr == SYS_epoll_pwait2 || nr == SYS_rt_sigtimedwait ||
	       nr == SYS_semtimedop || nr == SYS_io_getevents || nr == SYS_io_pgetevents;
}

static bool worth_looking(int nr, const unsigned long long args[6])
{
	if (nr == SYS_futex)
		return args[3] != 0;
	if (nr == SYS_nanosleep)
		return args[1] == 0;
	if (nr == SYS_clock_nanosleep)
		return args[3] == 0;
	return counts_from_start(nr);
}

static int nr_from_stack(int proc_fd, const unsigned long long args[6])
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	return procfs_read(proc_fd, "stack", &text, &size) < 0 ? RESTART_NR_UNKNOWN
							       : restart_nr_of_stack(text, args[0], args[1]);
}

void sleep_look(int proc_fd, struct sleep_clock *clock, struct sleep_seen *seen)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long args[6];
	size_t size;
	int nr;

	*seen = (struct sleep_seen){ 0 };
	/* "running", or the number of the call and its arguments. */
	if (procfs_read(proc_fd, "syscall", &text, &size) < 0 ||
		sscanf(text, "%d %llx %llx %llx %llx %llx %llx", &nr, &args[0], &args[1], &args[2], &args[3], &args[4],
			&args[5]) != 7)
		return;
	if (nr == RESTART_NR_UNKNOWN)
		seen->nr = nr_from_stack(proc_fd, args);
	if (!worth_looking(nr, args) || sched_read(proc_fd, "sched", &seen->start, &seen->switches) < 0)
		return;
	seen->nr = nr;
	seen->cpu = last_cpu(proc_fd);
	if (seen->cpu >= 0 && (size_t)seen->cpu < ARRAY_SIZE(clock->cpu))
		clock->cpu[seen->cpu].known = false;
}

void sleep_date(struct sleep_clock *clock, struct sleep_seen *seen)
{
	int64_t ahead = 0;

	if (seen->start && clock_ahead(clock, seen->cpu, &ahead) == 0)
		seen->since = seen->start - ahead;
}

/* --- after it --- */

/* Since when the task slept in this very call: it has slept without a break if the stop was the one thing
 * that it went to sleep for since. */
static int64_t slept_since(int proc_fd, const struct sleep_seen *seen, int nr)
{
	int64_t start, switches;

	if (!seen->since || seen->nr != nr || sched_read(proc_fd, "sched", &start, &switches) < 0)
		return 0;
	return switches <= seen->switches + 1 ? seen->since : 0;
}

static int64_t left_since(int64_t timeout, int64_t since, int64_t now)
{
	return since && now > since ? MIN(MAX(timeout - (now - since), (int64_t)0) + UNSURE, timeout) : timeout;
}

static bool is_of(const struct sleep_note *note, pid_t tid, const struct user_regs_struct *gp)
{
	return note->tid == tid && note->rip == gp->rip && note->rsp == gp->rsp && note->arguments[0] == gp->rdi &&
	       note->arguments[1] == gp->rsi && note->arguments[2] == gp->rdx && note->arguments[3] == gp->r10;
}

static const struct sleep_note *find_note(
	const struct sleep_notes *notes, pid_t tid, const struct user_regs_struct *gp, int64_t now)
{
	for (size_t i = 0; notes && i < notes->n; i++)
		if (is_of(&notes->list[i], tid, gp) && notes->list[i].deadline > now)
			return &notes->list[i];
	return NULL;
}

/* A sleep at -516. The second stop of one shows restart_syscall instead of the call. */
static void settle_block(const struct stop *s, int proc_fd, const struct sleep_seen *seen,
	const struct sleep_notes *before, struct restart_state *out)
{
	const struct user_regs_struct *gp = &s->regs.gp;
	int64_t now = monotonic_now(), timeout;
	const struct sleep_note *note = find_note(before, s->tid, gp, now);
	bool again = gp->orig_rax == RESTART_NR_UNKNOWN;

	out->block = true;
	out->nr = !again ? (int32_t)gp->orig_rax : note ? note->nr : restart_nr_of_code(s->tid, gp);
	if (out->nr == RESTART_NR_UNKNOWN && seen->nr)
		out->nr = seen->nr;
	out->left = restart_remainder(s->tid, out->nr, gp);
	if (out->left >= 0)
		return;
	timeout = restart_timeout(s->tid, out->nr, gp);
	if (timeout < 0)
		return;
	if (!again)
		out->left = left_since(timeout, slept_since(proc_fd, seen, out->nr), now);
	else
		out->left = note ? MIN(note->deadline - now, timeout) : timeout;
}

/*
 * What is left of a call that has to begin anew. A timeout in milliseconds was rounded up when it last did:
 * the note says by how much, lest many stops add up.
 */
static int64_t left_of_interrupted(
	const struct stop *s, int proc_fd, const struct sleep_seen *seen, const struct sleep_notes *before, int64_t now)
{
	const struct user_regs_struct *gp = &s->regs.gp;
	int64_t timeout = restart_timeout(s->tid, (int)gp->orig_rax, gp), since, left;
	const struct sleep_note *note = find_note(before, s->tid, gp, now);

	since = timeout > 0 ? slept_since(proc_fd, seen, (int)gp->orig_rax) : 0;
	if (!since)
		return -1;
	left = left_since(timeout, since, now);
	if (note && note->deadline - now < left && left - (note->deadline - now) < ROUNDED)
		left = note->deadline - now;
	return left;
}

static void settle_interrupted(struct stop *s, int proc_fd, const struct sleep_seen *seen,
	const struct sleep_notes *before, struct sleep_notes *after)
{
	int64_t now = monotonic_now();
	struct restart_state st = { .nr = (int32_t)s->regs.gp.orig_rax };

	st.left = left_of_interrupted(s, proc_fd, seen, before, now);
	restart_wind_back(s->tid, &s->regs.gp, st.left);
	/* In the task too, so that it holds if spore dies now. */
	task_gp_set(s->tid, &s->regs.gp);
	if (after && st.left >= 0)
		sleep_note_add(after, s->tid, &st, &s->regs.gp);
}

void sleep_wind_back(const struct stop *s)
{
	struct user_regs_struct gp = s->regs.gp;

	if (!restart_is_interrupted(&gp))
		return;
	restart_wind_back(s->tid, &gp, -1);
	task_gp_set(s->tid, &gp);
}

void sleep_settle(struct stop *s, int proc_fd, const struct sleep_seen *seen, const struct sleep_notes *before,
	struct sleep_notes *after, struct restart_state *out)
{
	*out = (struct restart_state){ .left = -1 };
	if (restart_is_interrupted(&s->regs.gp)) {
		settle_interrupted(s, proc_fd, seen, before, after);
		return;
	}
	if (!restart_is_block(&s->regs.gp))
		return;
	settle_block(s, proc_fd, seen, before, out);
	if (after && out->left >= 0 && restart_remainder(s->tid, out->nr, &s->regs.gp) < 0)
		sleep_note_add(after, s->tid, out, &s->regs.gp);
}
