/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/first.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "remote/birth.h"
#include "state/memory.h"
#include "state/timer_slack.h"

#define SEED_TIMEOUT_MS 20000

/* What the child could not do, told through shared memory. */
struct report {
	int error;
	char what[96];
};

/* Everything here runs in a fork of a program with threads: system calls only. */
static void reset_signals(void)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} dfl = { 0 };
	unsigned long all = ~0ul;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	for (int sig = 1; sig <= 64; sig++)
		syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(all));
}

static int place_descriptors(const struct first *f)
{
	const int from[] = { f->keeper_fd, f->restore->area.fd, f->seed_fd };
	int high[3];

	for (int i = 0; i < 3; i++) {
		high[i] = fcntl(from[i], F_DUPFD, 3);
		if (high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++)
		if (dup2(high[i], i) < 0)
			return -errno;
	return syscall(SYS_close_range, 3, ~0u, 0) < 0 ? -errno : 0;
}

static void child_main(const struct first *f, char *argument, struct report *report)
{
	static char name[] = "spore-seed";
	char *argv[] = { name, argument, NULL }, *envp[] = { NULL };
	const char *what = "signals";
	int r = 0;

	reset_signals();
	if (f->container)
		r = container_setup(f->container, &what);
	if (r == 0) {
		what = "descriptors";
		r = place_descriptors(f);
	}
	if (r == 0) {
		what = "execveat of the seed";
		syscall(SYS_execveat, BARE_FD_SEED, "", argv, envp, AT_EMPTY_PATH);
		r = -errno;
	}
	report->error = r;
	for (size_t i = 0; what[i] && i + 1 < sizeof(report->what); i++)
		report->what[i] = what[i];
	_exit(127);
}

static pid_t clone_child(const struct first *f, char *argument, struct report *report)
{
	pid_t number = f->number;
	struct clone_args args = {
		.flags = f->container ? container_clone_flags(f->container) : 0,
		.exit_signal = SIGCHLD,
		.set_tid = number ? (uintptr_t)&number : 0,
		.set_tid_size = number ? 1 : 0,
	};
	struct timer_slack_own before;
	int r = timer_slack_wear_here(
		timer_slack_default(f->restore, f->restore->processes[0]->threads[0].id), &before);
	long pid = r < 0 ? r : syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0 && r == 0)
		r = -errno;
	if (pid == 0)
		child_main(f, argument, report);
	timer_slack_take_off_here(&before);
	return pid < 0 ? r : (pid_t)pid;
}

static bool not_ended(void *arg)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid;
}

/* An empty batch: answered as soon as the seed has come up. */
static int wait_for_seed(const struct first *f, pid_t pid)
{
	struct batch b;
	int r;

	batch_init(&b, &f->restore->area);
	r = batch_submit(&b, f->slot);
	if (r == 0)
		r = batch_wait(&b, f->slot, SEED_TIMEOUT_MS, not_ended, &pid);
	batch_free(&b);
	return r;
}

pid_t first_start(struct first *f)
{
	struct problems *ps = f->restore->ps;
	struct report *report = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char argument[80];
	pid_t pid;
	int r;

	if (report == MAP_FAILED)
		return failed(ps, NULL, -errno, "out of memory");
	seed_argument(argument, &f->restore->area, BARE_FD_AREA, f->slot);
	pid = clone_child(f, argument, report);
	r = pid < 0 ? pid : wait_for_seed(f, pid);
	if (pid == -EEXIST)
		failed(ps,
			BLAME(.pid = f->number,
				.remedy = "end the process that has the number, or restore in another pid namespace"),
			pid, "its pid is taken");
	else if (pid < 0)
		failed(ps, BLAME(.pid = f->number), pid, "the first process cannot be made: %s", strerror(-pid));
	else if (r < 0)
		failed(ps, BLAME(.pid = f->number), report->error ? report->error : r,
			"the first process failed at %s: %s", report->what[0] ? report->what : "the seed",
			strerror(report->error ? -report->error : -r));
	if (pid > 0 && r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	munmap(report, PAGE_SIZE);
	return r < 0 ? r : pid;
}
