/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes: who is whose child, what is dead, what is stopped, what is shared. clone(2), wait(2), prctl(2).
 */

#include "maker.h"

#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static pid_t kid;

/* Three levels, two children each. */

static int leaf_use(struct maker_ctx *ctx)
{
	SAME(getppid(), (pid_t)ctx->arg);
	return 0;
}

static int branch_make(struct maker_ctx *ctx)
{
	ctx->arg = getpid();
	TRY(kid_start(ctx, NULL, leaf_use, NULL));
	return kid_start(ctx, NULL, leaf_use, NULL);
}

static int tree_make(struct maker_ctx *ctx)
{
	TRY(kid_start(ctx, branch_make, kids_finish, NULL));
	return kid_start(ctx, branch_make, kids_finish, NULL);
}

static int chain_make(struct maker_ctx *ctx)
{
	return --ctx->arg ? kid_start(ctx, chain_make, kids_finish, NULL) : 0;
}

static int chain_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(shared(ctx)->up, 9);
	return 0;
}

static int many_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 100; i++)
		TRY(kid_start(ctx, NULL, NULL, NULL));
	return 0;
}

/* A grandchild whose parent is gone: it belongs to the nearest subreaper, or to init. */

static int orphan_use(struct maker_ctx *ctx)
{
	SAME(getppid(), shared(ctx)->value[0]);
	shared(ctx)->flag[0] = 1;
	return 0;
}

static int orphan_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	int before = s->up, status;
	pid_t middle;

	if (ctx->arg)
		CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	middle = fork();
	CHECK(middle >= 0);
	if (!middle) {
		pid_t p = fork();

		if (p)
			_exit(p < 0);
		while (getppid() == (pid_t)s->value[1] || !s->value[1])
			nap(2);
		s->value[0] = getppid();
		s->value[2] = getpid();
		kid_live(ctx, NULL, orphan_use);
	}
	s->value[1] = middle;
	SAME(waitpid(middle, &status, 0), middle);
	SAME(status, 0);
	return kid_up(ctx, before, 0);
}

static int orphan_of_ours_use(struct maker_ctx *ctx)
{
	int on = 0;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 1);
	SAME(shared(ctx)->value[0], getpid());
	let_go(&shared(ctx)->go);
	return reap_ok((pid_t)shared(ctx)->value[2]);
}

/* One that was forked by a program that has ended, not by the one that is its parent now: it has that program's memory. */

static int fifo_of(struct maker_ctx *ctx, char path[600], const char *name)
{
	snprintf(path, 600, "%s/%s", ctx->dir, name);
	return 0;
}

static int other_program_make(struct maker_ctx *ctx)
{
	char script[2000], fifo[600], answer[600];
	int status;
	pid_t pid;

	fifo_of(ctx, fifo, "fifo");
	fifo_of(ctx, answer, "answer");
	CHECK(!mkfifo(fifo, 0600));
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	snprintf(script, sizeof(script), "{ read x < %s; echo $x > %s; } & echo $! > %s", fifo, answer, answer);
	pid = fork();
	if (!pid)
		execl("/bin/sh", "sh", "-c", script, NULL);
	SAME(waitpid(pid, &status, 0), pid);
	SAME(status, 0);
	return 0;
}

static int other_program_use(struct maker_ctx *ctx)
{
	char path[600], text[32] = "";
	int fd, status;

	fifo_of(ctx, path, "fifo");
	fd = open(path, O_WRONLY);
	SAME(write(fd, "hello\n", 6), 6);
	CHECK(wait(&status) > 0);
	SAME(status, 0);
	fifo_of(ctx, path, "answer");
	fd = open(path, O_RDONLY);
	SAME(read(fd, text, sizeof(text)), 6);
	CHECK(!strcmp(text, "hello\n"));
	return 0;
}

static int orphan_of_init_use(struct maker_ctx *ctx)
{
	let_go(&shared(ctx)->go);
	CHECK(UNTIL(shared(ctx)->flag[0]));
	CHECK(UNTIL(kill((pid_t)shared(ctx)->value[2], 0) && errno == ESRCH));
	return 0;
}

static int subreaper_kid_make(struct maker_ctx *ctx)
{
	ctx->arg = 1;
	return kid_start(ctx, orphan_make, orphan_of_ours_use, NULL);
}

/* The subreaper flag is not inherited: a child's child goes past it. */
static int not_subreaper_kid(struct maker_ctx *ctx)
{
	int on = 1;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 0);
	return 0;
}

static int subreaper_own_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	return kid_start(ctx, NULL, not_subreaper_kid, NULL);
}

static int subreaper_own_use(struct maker_ctx *ctx)
{
	int on = 0;

	CHECK(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	SAME(on, 1);
	return kids_finish(ctx);
}

/* Zombies: arg is the wait status. */

static pid_t zombie(long status)
{
	pid_t p = fork();
	siginfo_t si;

	if (!p) {
		if (WIFEXITED(status))
			_exit(WEXITSTATUS(status));
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
		pause();
	}
	if (p > 0)
		waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT);
	return p;
}

static int zombie_make(struct maker_ctx *ctx)
{
	kid = zombie(ctx->arg);
	CHECK(kid > 0);
	return 0;
}

static int zombie_use(struct maker_ctx *ctx)
{
	int status;

	SAME(task_state(kid), 'Z');
	SAME(waitpid(-1, &status, 0), kid);
	SAME(status, ctx->arg);
	SAME(waitpid(-1, &status, 0), -1);
	SAME(errno, ECHILD);
	return 0;
}

/* A zombie of another user and group than its parent: its status and the siginfo of its end tell. */
static int zombie_other_make(struct maker_ctx *ctx)
{
	const gid_t groups[] = { 7, 3001 };
	siginfo_t si = { 0 };

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(prctl(PR_CAPBSET_DROP, 21) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || setgroups(2, groups) ||
			setresgid(2001, 2002, 2003) || setresuid(1001, 1002, 1003));
	return waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT);
}

static int zombie_other_use(struct maker_ctx *ctx)
{
	char path[64];
	siginfo_t si = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", kid);
	CHECK(file_has(path, "1001\t1002\t1003\t1002"));
	CHECK(file_has(path, "2001\t2002\t2003\t2002"));
	CHECK(file_has(path, "7 3001"));
	SAME(proc_number(path, "NoNewPrivs", 10), 1);
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED));
	SAME(si.si_uid, 1001);
	SAME(si.si_status, 0);
	return 0;
}

/* A zombie as it was scheduled: arg is the policy. */
static int zombie_scheduled_make(struct maker_ctx *ctx)
{
	struct sched_param param = { .sched_priority = ctx->arg == SCHED_FIFO ? 4 : 0 };
	cpu_set_t cpus;
	siginfo_t si = { 0 };

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(setpriority(PRIO_PROCESS, 0, 7) || sched_setaffinity(0, sizeof(cpus), &cpus) ||
			sched_setscheduler(0, (int)ctx->arg, &param));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT));
	NEED(si.si_status == 0);
	return 0;
}

static int zombie_scheduled_use(struct maker_ctx *ctx)
{
	struct sched_param param = { 0 };
	cpu_set_t cpus;

	SAME(sched_getscheduler(kid), ctx->arg);
	CHECK(!sched_getparam(kid, &param));
	SAME(param.sched_priority, ctx->arg == SCHED_FIFO ? 4 : 0);
	SAME(getpriority(PRIO_PROCESS, (id_t)kid), 7);
	CHECK(!sched_getaffinity(kid, sizeof(cpus), &cpus));
	SAME(CPU_COUNT(&cpus), 1);
	return reap_ok(kid);
}

/* A zombie that dumped core: a machine that pipes them away may refuse to say so twice. */
static int zombie_core_make(struct maker_ctx *ctx)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	siginfo_t si = { 0 };

	CHECK(!chdir(ctx->dir));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		if (!setrlimit(RLIMIT_CORE, &limit))
			kill(getpid(), SIGABRT);
		pause();
	}
	CHECK(!waitid(P_PID, (id_t)kid, &si, WEXITED | WNOWAIT));
	NEED(si.si_code == CLD_DUMPED);
	unlink("core");
	return 0;
}

static int zombie_core_use(struct maker_ctx *ctx)
{
	int status;

	CHECK(access("core", F_OK) < 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGABRT | 0x80);
	return 0;
}

static pid_t zombies[20];

static int zombies_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < 20; i++)
		CHECK((zombies[i] = zombie(i << 8)) > 0);
	return 0;
}

static int zombies_use(struct maker_ctx *ctx)
{
	int status;

	for (int i = 19; i >= 0; i--) {
		SAME(waitpid(zombies[i], &status, 0), zombies[i]);
		SAME(status, i << 8);
	}
	return 0;
}

/* A zombie below a living child: only that child may reap it. */
static int zombie_below_make(struct maker_ctx *ctx)
{
	ctx->arg = 0x2a00;
	return kid_start(ctx, zombie_make, zombie_use, NULL);
}

/* Stopped and continued children: arg is the signal. */

static _Noreturn void idle_forever(void)
{
	for (;;)
		pause();
}

static int idle_child(void)
{
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		idle_forever();
	return 0;
}

static int stopped_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(idle_child());
	CHECK(!setpgid(kid, kid)); /* SIGTSTP does not stop a process of an orphaned group */
	CHECK(!kill(kid, (int)ctx->arg));
	return waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOWAIT);
}

static int end_child(void)
{
	int status;

	CHECK(!kill(kid, SIGTERM));
	CHECK(!kill(kid, SIGCONT));
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGTERM);
	return 0;
}

static int stopped_unreported_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(task_state(kid), 'T');
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOHANG));
	SAME(si.si_pid, kid);
	SAME(si.si_code, CLD_STOPPED);
	SAME(si.si_status, ctx->arg);
	return end_child();
}

static int stopped_reported_make(struct maker_ctx *ctx)
{
	int status;

	TRY(stopped_make(ctx));
	SAME(waitpid(kid, &status, WUNTRACED), kid);
	return 0;
}

static int stopped_reported_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	SAME(task_state(kid), 'T');
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED | WNOHANG));
	SAME(si.si_pid, 0);
	CHECK(!kill(kid, SIGCONT));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WCONTINUED));
	SAME(si.si_code, CLD_CONTINUED);
	CHECK(UNTIL(task_state(kid) == 'S'));
	return end_child();
}

static int continued_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(stopped_reported_make(ctx));
	CHECK(!kill(kid, SIGCONT));
	return waitid(P_PID, (id_t)kid, &si, WCONTINUED | WNOWAIT);
}

static int continued_use(struct maker_ctx *ctx)
{
	siginfo_t si = { 0 };

	CHECK(!waitid(P_PID, (id_t)kid, &si, WCONTINUED | WNOHANG));
	SAME(si.si_pid, kid);
	SAME(si.si_code, CLD_CONTINUED);
	return end_child();
}

/* Stopped with a signal pending: it is handled when the process goes on. */

static volatile sig_atomic_t handled;

static void on_usr1(int sig)
{
	handled++;
}

static int handled_once(struct maker_ctx *ctx)
{
	shared(ctx)->flag[0] = handled;
	return 0;
}

static int catch_usr1(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	return 0;
}

static int stopped_pending_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	TRY(kid_start(ctx, catch_usr1, handled_once, &kid));
	CHECK(!kill(kid, SIGSTOP));
	CHECK(!waitid(P_PID, (id_t)kid, &si, WSTOPPED));
	return kill(kid, SIGUSR1);
}

static int stopped_pending_use(struct maker_ctx *ctx)
{
	CHECK(!kill(kid, SIGCONT));
	TRY(kids_finish(ctx));
	SAME(shared(ctx)->flag[0], 1);
	return 0;
}

/* A parent may setpgid a child until that has called exec. */

static int execed_make(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "exit-now"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		execl("/proc/self/exe", "a-name-of-its-own", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	return until_blocked_in(kid, SYS_openat);
}

static int execed_use(struct maker_ctx *ctx)
{
	int status;

	SAME(setpgid(kid, kid), -1);
	SAME(errno, EACCES);
	CHECK(open(ctx->path, O_RDWR) >= 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, 5 << 8);
	return 0;
}

static int in_own_group(struct maker_ctx *ctx)
{
	CHECK(UNTIL(getpgrp() == getpid()));
	return 0;
}

static int unexeced_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, NULL, in_own_group, &kid);
}

static int unexeced_use(struct maker_ctx *ctx)
{
	CHECK(!setpgid(kid, kid));
	return kids_finish(ctx);
}

/* A parent inside vfork: its child has its memory until it calls exec or ends. arg: for how many
 * milliseconds, 0: until told. */

static int in_vfork(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);
	long ms = ctx->arg;
	pid_t p;
	int status;

	s->up++;
	do {
		p = vfork();
		if (!p) {
			struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

			s->flag[0] = 1;
			if (ms)
				nanosleep(&t, NULL);
			else
				wait_for(&s->go);
			_exit(6);
		}
		CHECK(p > 0);
		SAME(waitpid(p, &status, 0), p);
		SAME(status, 6 << 8);
	} while (!s->go);
	return 0;
}

static int vfork_make(struct maker_ctx *ctx)
{
	struct maker_shared *s = shared(ctx);

	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(in_vfork(ctx));
	ctx->kids[ctx->n_kids++] = kid;
	CHECK(UNTIL(s->flag[0]));
	return 0;
}

/* Processes that share more than a file system: arg is the clone flags. */

static struct maker_ctx *clone_ctx;
static _Alignas(64) char clone_stack[64 * 1024];
static int far_fd = -1;

static int clone_body(void *arg)
{
	struct maker_shared *s = clone_ctx->shared;

	s->up++;
	wait_for(&s->go);
	if (clone_ctx->arg & CLONE_FILES)
		far_fd = open("/dev/zero", O_RDONLY);
	s->value[0] = far_fd;
	if (clone_ctx->arg & CLONE_FS) {
		umask(0123);
		if (chdir("/proc"))
			return 1;
	}
	if (clone_ctx->arg & CLONE_SIGHAND)
		signal(SIGUSR2, SIG_IGN);
	return 0;
}

static int shares_make(struct maker_ctx *ctx)
{
	shared(ctx);
	clone_ctx = ctx;
	kid = clone(clone_body, clone_stack + sizeof(clone_stack), (int)ctx->arg | SIGCHLD, NULL);
	CHECK(kid > 0);
	return kid_up(ctx, 0, kid);
}

/* CLONE_IO: one I/O priority for two. arg: siblings, whose parent is gone. */

#define IO_PRIORITY(level) (2 << 13 | (level))

static int io_priority(void)
{
	return (int)syscall(SYS_ioprio_get, 1, 0);
}

static int set_io_priority(int level)
{
	return (int)syscall(SYS_ioprio_set, 1, 0, IO_PRIORITY(level));
}

static int io_fork(struct maker_ctx *ctx, int flags, maker_step *make, maker_step *use, pid_t *pid)
{
	int before = shared(ctx)->up;

	*pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	CHECK(*pid >= 0);
	if (!*pid)
		kid_live(ctx, make, use);
	return kid_up(ctx, before, *pid);
}

static pid_t io_kid;

static int io_copy_use(struct maker_ctx *ctx)
{
	SAME(io_priority(), IO_PRIORITY(5));
	return 0;
}

static int io_sharer_make(struct maker_ctx *ctx)
{
	return io_fork(ctx, 0, NULL, io_copy_use, &io_kid);
}

static int io_sharer_use(struct maker_ctx *ctx)
{
	TRY(reap_ok(io_kid));
	CHECK(UNTIL(io_priority() == IO_PRIORITY(2)));
	return 0;
}

static int io_make(struct maker_ctx *ctx)
{
	CHECK(!set_io_priority(5));
	return io_fork(ctx, CLONE_IO, io_sharer_make, io_sharer_use, &kid);
}

static int io_use(struct maker_ctx *ctx)
{
	SAME(io_priority(), IO_PRIORITY(5));
	CHECK(!set_io_priority(2));
	let_go(&shared(ctx)->go);
	return reap_ok(kid);
}

static int io_siblings_make(struct maker_ctx *ctx)
{
	pid_t other;

	shared(ctx);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	io_kid = fork();
	CHECK(io_kid >= 0);
	if (!io_kid)
		_exit(set_io_priority(5) || io_fork(ctx, CLONE_IO, NULL, NULL, &other) ||
			io_fork(ctx, CLONE_IO, NULL, NULL, &other));
	return reap_ok(io_kid);
}

static int io_siblings_use(struct maker_ctx *ctx)
{
	int status;

	let_go(&shared(ctx)->go);
	for (int i = 0; i < 2; i++) {
		CHECK(wait(&status) > 0);
		SAME(status, 0);
	}
	return 0;
}

/* CLONE_FS between relatives: arg is CLONE_PARENT for a child and a child of its parent's that it made; 0 for two whose maker is gone. Another was born between. */

static int fs_relatives_make(struct maker_ctx *ctx)
{
	const int to_parent = (int)ctx->arg;
	pid_t other;

	TRY(to_parent ? 0 : io_fork(ctx, CLONE_FS, NULL, NULL, &other));
	TRY(io_fork(ctx, to_parent, NULL, NULL, &other));
	return io_fork(ctx, to_parent | CLONE_FS, NULL, NULL, &other);
}

static int fs_make(struct maker_ctx *ctx)
{
	shared(ctx);
	if (ctx->arg)
		return kid_start(ctx, fs_relatives_make, NULL, NULL);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(fs_relatives_make(ctx));
	return reap_ok(kid);
}

static int fs_use(struct maker_ctx *ctx)
{
	int status;

	let_go(&shared(ctx)->go);
	for (int i = 0; i < 3; i++) {
		CHECK(wait(&status) > 0);
		SAME(status, 0);
	}
	return 0;
}

static int shares_use(struct maker_ctx *ctx)
{
	struct sigaction sa;
	char cwd[64] = "";

	let_go(&shared(ctx)->go);
	TRY(reap_ok(kid));
	if (ctx->arg & CLONE_FILES) {
		char c = 1;

		CHECK(shared(ctx)->value[0] >= 0);
		SAME(read((int)shared(ctx)->value[0], &c, 1), 1);
		SAME(c, 0);
	}
	if (ctx->arg & CLONE_VM)
		SAME(far_fd, shared(ctx)->value[0]);
	if (ctx->arg & CLONE_FS) {
		CHECK(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, "/proc"));
		SAME(umask(0), 0123);
	}
	if (ctx->arg & CLONE_SIGHAND) {
		CHECK(!sigaction(SIGUSR2, NULL, &sa));
		CHECK(sa.sa_handler == SIG_IGN);
	}
	return 0;
}

/* Many with one descriptor table, and each with memory and a mapped file of its own. */

enum { SHARERS = 8, SHARER_PAGES = 60 };

static pid_t sharers[SHARERS];
static int sharer;
static char *sharer_memory, *sharer_file;

static int sharer_make(struct maker_ctx *ctx)
{
	char name[16], text[100];
	int f;

	snprintf(name, sizeof(name), "sharer%d", sharer);
	fill(text, sizeof(text), (uint64_t)sharer);
	f = new_file(ctx, name, text, sizeof(text), O_RDONLY);
	CHECK(f >= 0);
	sharer_file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, f, 0);
	sharer_memory = mmap(NULL, SHARER_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(sharer_file != MAP_FAILED && sharer_memory != MAP_FAILED);
	fill(sharer_memory, SHARER_PAGES * PAGE, (uint64_t)sharer + 100);
	return close(f);
}

static int sharer_use(struct maker_ctx *ctx)
{
	TRY(check_fill(sharer_file, 100, (uint64_t)sharer));
	return check_fill(sharer_memory, SHARER_PAGES * PAGE, (uint64_t)sharer + 100);
}

static int sharers_make(struct maker_ctx *ctx)
{
	for (sharer = 0; sharer < SHARERS; sharer++)
		TRY(io_fork(ctx, CLONE_FILES, sharer_make, sharer_use, &sharers[sharer]));
	return 0;
}

static int sharers_use(struct maker_ctx *ctx)
{
	let_go(&shared(ctx)->go);
	for (int i = 0; i < SHARERS; i++)
		TRY(reap_ok(sharers[i]));
	return 0;
}

/* A child that tells of its end by another signal, or by none: arg is the signal. */

static int exit_signal_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	shared(ctx);
	kid = (pid_t)syscall(SYS_clone, ctx->arg, NULL, NULL, NULL, 0);
	CHECK(kid >= 0);
	if (!kid)
		kid_live(ctx, NULL, NULL);
	return kid_up(ctx, 0, kid);
}

static int exit_signal_use(struct maker_ctx *ctx)
{
	int status;

	SAME(waitpid(-1, &status, WNOHANG), -1);
	SAME(errno, ECHILD);
	let_go(&shared(ctx)->go);
	SAME(waitpid(kid, &status, __WCLONE), kid);
	SAME(status, 0);
	SAME(handled, ctx->arg == SIGUSR1);
	return 0;
}

/* A child of a thread that is not the first: it is told of that thread's end, and waited for by that thread alone (__WNOTHREAD). arg: it calls exec. */

static pthread_t bearer;
static _Atomic int bearer_ends;
static int bearer_answer;

static int mortal_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGTERM));
	return 0;
}

static int execed_mortal_start(struct maker_ctx *ctx)
{
	CHECK(!mkfifo(in_dir(ctx, "never"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execl("/proc/self/exe", "a-name-of-its-own", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	return until_blocked_in(kid, SYS_openat);
}

static void *bears(void *arg)
{
	struct maker_ctx *ctx = arg;

	bearer_answer = ctx->arg ? execed_mortal_start(ctx) : kid_start(ctx, mortal_make, NULL, &kid);
	let_go(&shared(ctx)->flag[0]);
	wait_for(&bearer_ends);
	return NULL;
}

static int bearer_make(struct maker_ctx *ctx)
{
	shared(ctx);
	TRY(thread_start(&bearer, bears, ctx));
	wait_for(&shared(ctx)->flag[0]);
	return bearer_answer;
}

static int bearer_use(struct maker_ctx *ctx)
{
	int status = 0;

	SAME(waitpid(kid, &status, WNOHANG | __WNOTHREAD), -1);
	SAME(errno, ECHILD);
	SAME(waitpid(kid, &status, WNOHANG), 0);
	let_go(&bearer_ends);
	SAME(pthread_join(bearer, NULL), 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, SIGTERM);
	return 0;
}

const struct maker makers_task[] = {
	{ "tree", "two children with two children each", tree_make },
	{ "chain", "ten generations", chain_make, chain_use, 0, 10 },
	{ "many", "a hundred children", many_make, NULL, MAKER_SLOW },
	{ "subreaper", "a subreaper and a child, which is none", subreaper_own_make, subreaper_own_use },
	{ "orphan-subreaper", "a grandchild handed to its subreaper", orphan_make, orphan_of_ours_use, 0, 1 },
	{ "orphan-inner-subreaper", "the same, further down", subreaper_kid_make },
	{ "orphan-init", "a grandchild handed to init", orphan_make, orphan_of_init_use, MAKER_CONTAINER },
	{ "zombie-exit", "a zombie that exited with 7", zombie_make, zombie_use, 0, 7 << 8 },
	{ "zombie-batch", "a zombie of the batch policy, nice, on one CPU", zombie_scheduled_make, zombie_scheduled_use,
		0, SCHED_BATCH },
	{ "zombie-fifo", "a zombie of a real-time policy", zombie_scheduled_make, zombie_scheduled_use, 0, SCHED_FIFO },
	{ "zombie-exit-0", "a zombie that exited with 0", zombie_make, zombie_use, 0, 0 },
	{ "zombie-term", "a zombie killed by SIGTERM", zombie_make, zombie_use, 0, SIGTERM },
	{ "zombie-kill", "a zombie killed by SIGKILL", zombie_make, zombie_use, 0, SIGKILL },
	{ "zombie-many", "twenty zombies", zombies_make, zombies_use },
	{ "zombie-identity", "a zombie of other users and groups", zombie_other_make, zombie_other_use },
	{ "zombie-core", "a zombie that dumped core", zombie_core_make, zombie_core_use },
	{ "zombie-below", "a zombie of a child", zombie_below_make },
	{ "stopped-sigstop", "a stopped child, not waited for", stopped_make, stopped_unreported_use, MAKER_NO_STOP,
		SIGSTOP },
	{ "stopped-sigtstp", "the same by SIGTSTP", stopped_make, stopped_unreported_use, MAKER_NO_STOP, SIGTSTP },
	{ "stopped-waited", "a stopped child, waited for", stopped_reported_make, stopped_reported_use, MAKER_NO_STOP,
		SIGSTOP },
	{ "continued", "a continued child, not waited for", continued_make, continued_use, MAKER_NO_STOP, SIGSTOP },
	{ "stopped-pending", "a stopped child with a signal pending", stopped_pending_make, stopped_pending_use,
		MAKER_NO_STOP },
	{ "other-program", "a child that another program forked, which has ended", other_program_make,
		other_program_use },
	{ "unexeced", "a child that never called exec", unexeced_make, unexeced_use },
	{ "execed", "a child that called exec", execed_make, execed_use },
	{ "vfork-brief", "a parent often inside vfork, for 200 ms", vfork_make, NULL, MAKER_RESTLESS, 200 },
	{ "vfork-long", "a parent inside vfork for as long as it takes", vfork_make, NULL, MAKER_MAY_REFUSE, 0,
		"vfork" },
	{ "shares-io", "two processes with one I/O context, a third with a copy", io_make, io_use },
	{ "shares-io-siblings", "two whose parent with the same is gone", io_siblings_make, io_siblings_use,
		MAKER_MUST_REFUSE, 0, "I/O context" },
	{ "shares-files", "two processes with one descriptor table", shares_make, shares_use, MAKER_MAY_REFUSE,
		CLONE_FILES },
	{ "shares-files-many", "a parent and eight children with one descriptor table", sharers_make, sharers_use },
	{ "shares-fs", "two processes with one directory and umask", shares_make, shares_use, MAKER_MAY_REFUSE,
		CLONE_FS },
	{ "shares-fs-nephew", "a child and one that it made for its parent, with one directory", fs_make, fs_use,
		MAKER_MUST_REFUSE, CLONE_PARENT, "CLONE_FS" },
	{ "shares-fs-orphans", "two whose parent with the same directory is gone", fs_make, fs_use, MAKER_MUST_REFUSE,
		0, "CLONE_FS" },
	{ "shares-vm", "two processes with one memory", shares_make, shares_use, MAKER_MAY_REFUSE | MAKER_BUSY,
		CLONE_VM },
	{ "shares-all", "two processes with one memory, table, directory and handlers", shares_make, shares_use,
		MAKER_MAY_REFUSE | MAKER_BUSY, CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND },
	{ "thread-parent", "a child of a thread that is not the first", bearer_make, bearer_use },
	{ "thread-parent-execed", "one that called exec", bearer_make, bearer_use, 0, 1 },
	{ "exit-signal-usr1", "a child whose end is told by SIGUSR1", exit_signal_make, exit_signal_use, 0, SIGUSR1 },
	{ "exit-signal-none", "a child whose end is not told", exit_signal_make, exit_signal_use, 0, 0 },
	{ 0 },
};
