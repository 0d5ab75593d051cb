/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/first.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "init/moved.h"
#include "remote/birth.h"
#include "state/memory.h"
#include "state/timer_slack.h"

#define SEED_TIMEOUT_MS 20000
#define FD_INIT		(MOVED_FD_SOCKET + 1)
#define RSEQ_LEAST	32u
#define RSEQ_MOST	1024u

static_assert(MOVED_FD_BARE == BARE_FD_FIRST && MOVED_FD_SEED == BARE_FD_SEED, "they get each other's descriptors");

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

/* A bare task's, and, of spore-init, its socket and its program. */
static int place_descriptors(const struct first *f)
{
	const int from[] = { f->keeper_fd, f->restore->area.fd, f->seed_fd, f->moving ? f->moving->init_socket : -1,
		f->moving ? f->moving->program : -1 };
	const int n = f->moving ? FD_INIT + 1 : BARE_FD_FIRST;
	int high[ARRAY_SIZE(from)];

	for (int i = 0; i < n; i++) {
		high[i] = fcntl(from[i], F_DUPFD, n);
		if (high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < n; i++)
		if (dup2(high[i], i) < 0)
			return -errno;
	if (f->moving && fcntl(FD_INIT, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return syscall(SYS_close_range, n, ~0u, 0) < 0 ? -errno : 0;
}

static int enter_container(const struct first *f, const char **what)
{
	if (f->moving)
		return proc_mounts_renew(f->moving->mounts, what);
	return f->container ? container_setup(f->container, what) : 0;
}

/* The C library's area for restartable sequences goes with its memory, where the kernel would look for it. Newer libraries register larger ones. */
static int forget_rseq(void)
{
	uint8_t *area = (uint8_t *)__builtin_thread_pointer() + __rseq_offset;
	int r = __rseq_size ? -EINVAL : 0;

	for (unsigned int size = RSEQ_LEAST; r == -EINVAL && size <= RSEQ_MOST; size += RSEQ_LEAST)
		r = syscall(SYS_rseq, area, size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) < 0 ? -errno : 0;
	return r;
}

/* Instead of the seed: it has this process's memory until it makes its own. */
static int enter_stub(const struct first *f, const char **what)
{
	const struct area *a = &f->restore->area;
	int r;

	*what = "rseq";
	r = forget_rseq();
	*what = "mapping of the shared area";
	return r < 0 ? r : area_enter(a, BARE_FD_AREA, f->slot);
}

static void child_main(const struct first *f, struct report *report)
{
	static char name[] = "spore-seed";
	char *argv[] = { name, f->seed, NULL }, *envp[] = { NULL };
	const char *what = "signals";
	int r = 0;

	reset_signals();
	syscall(SYS_personality, f->personality);
	r = container_enter_time(f->clocks, &what);
	if (r == 0)
		r = enter_container(f, &what);
	if (r == 0) {
		what = "descriptors";
		r = place_descriptors(f);
	}
	if (r == 0 && f->stays)
		r = enter_stub(f, &what);
	if (r == 0) {
		what = f->moving ? "execveat of spore-init" : "execveat of the seed";
		syscall(SYS_execveat, f->moving ? FD_INIT : BARE_FD_SEED, "", f->moving ? f->moving->argv : argv, envp,
			AT_EMPTY_PATH);
		r = -errno;
	}
	report->error = r;
	for (size_t i = 0; what[i] && i + 1 < sizeof(report->what); i++)
		report->what[i] = what[i];
	_exit(127);
}

static uint64_t clone_flags(const struct first *f)
{
	if (f->container)
		return container_clone_flags(f->container);
	return f->new_pid_namespace ? CLONE_NEWPID : 0;
}

static pid_t clone_child(const struct first *f, struct report *report)
{
	pid_t number = f->moving ? 0 : f->number; /* 1, of itself */
	struct clone_args args = {
		.flags = clone_flags(f),
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
		child_main(f, report);
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

static int bring_up(const struct first *f, pid_t pid)
{
	int r = f->moving ? moving_go(f->moving, f->restore, pid) : 0;

	return r < 0 ? r : wait_for_seed(f, pid);
}

static void explain(const struct first *f, pid_t pid, int error, const struct report *report)
{
	struct problems *ps = f->restore->ps;

	if (ps->first_error || (f->moving && moving_explain(f->moving, f->restore)))
		return;
	if (pid == -EEXIST)
		return;
	if (pid < 0 && f->moving)
		failed(ps,
			BLAME(.pid = f->number, .object = "pid namespace",
				.remedy = "let spore make one, or restore once the tree can be in the host's"),
			pid, "a new one is needed (%s), and cannot be made: %s", f->moving->why, strerror(-pid));
	else if (pid < 0)
		failed(ps, BLAME(.pid = f->number), pid, "the first process cannot be made: %s", strerror(-pid));
	else
		failed(ps, BLAME(.pid = f->number), report->error ? report->error : error,
			"the first process failed at %s: %s", report->what[0] ? report->what : "the seed",
			strerror(report->error ? -report->error : -error));
}

pid_t first_start(struct first *f)
{
	struct report *report = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int r;

	if (report == MAP_FAILED)
		return failed(f->restore->ps, NULL, -errno, "out of memory");
	pid = clone_child(f, report);
	r = pid < 0 ? pid : bring_up(f, pid);
	if (r < 0)
		explain(f, pid, r, report);
	if (pid > 0 && r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	munmap(report, PAGE_SIZE);
	return r < 0 ? r : pid;
}
