/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls that are filtered, forbidden or diverted. seccomp(2),
 * Documentation/admin-guide/syscall-user-dispatch. */

#include "maker.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static pid_t kid;

/* A filter of one rule: this call is answered so, all others are allowed. */
static int forbid(long nr, uint32_t action, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { 4, f };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

static int mode(void)
{
	return (int)proc_number("/proc/self/status", "Seccomp", 10);
}

static int filter_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!forbid(SYS_sethostname, SECCOMP_RET_ERRNO | 77, 0));
	return 0;
}

static int filter_use(struct maker_ctx *ctx)
{
	SAME(mode(), 2);
	SAME(sethostname("x", 1), -1);
	SAME(errno, 77);
	return 0;
}

/* Without no_new_privs, by privilege. */
static int privileged_make(struct maker_ctx *ctx)
{
	CHECK(!forbid(SYS_sethostname, SECCOMP_RET_ERRNO | 77, SECCOMP_FILTER_FLAG_LOG));
	return 0;
}

static int privileged_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	return filter_use(ctx);
}

/* Three filters: of those that match the strictest wins, of equals the last. */
static int filters_make(struct maker_ctx *ctx)
{
	CHECK(!forbid(SYS_sethostname, SECCOMP_RET_ERRNO | 11, 0));
	CHECK(!forbid(SYS_setdomainname, SECCOMP_RET_TRAP, 0));
	CHECK(!forbid(SYS_sethostname, SECCOMP_RET_ERRNO | 22, SECCOMP_FILTER_FLAG_SPEC_ALLOW));
	return 0;
}

static volatile int trapped;

static void on_sys(int sig, siginfo_t *si, void *uc)
{
	trapped = si->si_syscall;
}

static int filters_use(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };

	SAME(proc_number("/proc/self/status", "Seccomp_filters", 10), 3);
	SAME(sethostname("x", 1), -1);
	SAME(errno, 22);
	CHECK(!sigaction(SIGSYS, &sa, NULL));
	syscall(SYS_setdomainname, "x", 1);
	SAME(trapped, SYS_setdomainname);
	return 0;
}

/* A tree that inherits a filter and adds one each. */

static int adds(struct maker_ctx *ctx)
{
	CHECK(!forbid(SYS_setdomainname, SECCOMP_RET_ERRNO | 33, 0));
	return 0;
}

static int added(struct maker_ctx *ctx)
{
	SAME(proc_number("/proc/self/status", "Seccomp_filters", 10), 2);
	SAME(sethostname("x", 1), -1);
	SAME(errno, 77);
	SAME(syscall(SYS_setdomainname, "x", 1), -1);
	SAME(errno, 33);
	return 0;
}

static int inherited_make(struct maker_ctx *ctx)
{
	TRY(filter_make(ctx));
	TRY(kid_start(ctx, adds, added, NULL));
	return kid_start(ctx, NULL, filter_use, NULL);
}

static int inherited_use(struct maker_ctx *ctx)
{
	SAME(proc_number("/proc/self/status", "Seccomp_filters", 10), 1);
	TRY(filter_use(ctx));
	return kids_finish(ctx);
}

/* One thread under a filter, another not; and all of them by TSYNC. arg: TSYNC */

static _Atomic int up, go, answer;
static pthread_t thread;

static void *unfiltered(void *arg)
{
	up = 1;
	wait_for(&go);
	answer = syscall(SYS_setdomainname, NULL, -1) == -1 ? errno : 0;
	return NULL;
}

static int threads_make(struct maker_ctx *ctx)
{
	TRY(thread_start(&thread, unfiltered, NULL));
	CHECK(UNTIL(up));
	CHECK(!forbid(SYS_setdomainname, SECCOMP_RET_ERRNO | 44, ctx->arg ? SECCOMP_FILTER_FLAG_TSYNC : 0));
	return 0;
}

static int threads_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_setdomainname, NULL, -1), -1);
	SAME(errno, 44);
	/* Another of all threads can be had only where they have this one in common. */
	if (ctx->arg)
		SAME(forbid(SYS_swapoff, SECCOMP_RET_ERRNO | 45, SECCOMP_FILTER_FLAG_TSYNC), 0);
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	SAME(answer, ctx->arg ? 44 : EINVAL);
	return 0;
}

/* Filters that would kill what a restore might be tempted to do inside the process. arg: the call. */

static int deadly_kid(struct maker_ctx *ctx)
{
	static const long calls[] = { SYS_munmap, SYS_mmap, SYS_mprotect, SYS_prctl, SYS_ptrace, SYS_socket,
		SYS_connect, SYS_sendmsg, SYS_recvmsg, SYS_kill, SYS_tgkill, SYS_clone, SYS_openat, SYS_rt_sigreturn };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i] != SYS_prctl || ctx->arg)
			CHECK(!forbid(calls[i], SECCOMP_RET_KILL_PROCESS, 0));
	return 0;
}

static int deadly_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, deadly_kid, NULL, &kid);
}

static int deadly_use(struct maker_ctx *ctx)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", kid);
	SAME(proc_number(path, "Seccomp", 10), 2);
	SAME(proc_number(path, "Seccomp_filters", 10), 13);
	return kids_finish(ctx);
}

/* Strict mode: read, write, _exit and sigreturn only. */

static int to_kid[2], from_kid[2];

static _Noreturn void strict_kid(void)
{
	char c;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0))
		syscall(SYS_exit, 1);
	syscall(SYS_write, from_kid[1], "r", 1);
	if (syscall(SYS_read, to_kid[0], &c, 1) == 1)
		syscall(SYS_write, from_kid[1], &c, 1);
	for (;;)
		syscall(SYS_exit, 3);
}

static int strict_make(struct maker_ctx *ctx)
{
	char c;

	CHECK(!pipe(to_kid) && !pipe(from_kid));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		strict_kid();
	SAME(read(from_kid[0], &c, 1), 1);
	return 0;
}

static int strict_use(struct maker_ctx *ctx)
{
	char c = 'q', path[64];
	int status;

	snprintf(path, sizeof(path), "/proc/%d/status", kid);
	SAME(proc_number(path, "Seccomp", 10), 1);
	SAME(write(to_kid[1], &c, 1), 1);
	c = 0;
	SAME(read(from_kid[0], &c, 1), 1);
	SAME(c, 'q');
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, 3 << 8);
	return 0;
}

/* Syscall user dispatch: calls from outside one range become SIGSYS while a byte says so. arg: the byte. */

static volatile char selector;
static volatile int dispatched;

static void on_dispatch(int sig, siginfo_t *si, void *uc)
{
	selector = 0;
	dispatched = si->si_syscall;
}

static int dispatch_make(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = on_dispatch, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGSYS, &sa, NULL));
	NEED(!prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector));
	return 0;
}

/* The same, but for one range of code, which holds a call of its own. */

long exempt_call(long nr);
extern const char exempt_end[];
__asm__(".text\n"
	".type exempt_call, @function\n"
	"exempt_call:\n"
	"	mov %rdi, %rax\n	syscall\n	ret\n"
	"exempt_end:\n");

static int dispatch_range_make(struct maker_ctx *ctx)
{
	struct sigaction sa = { .sa_sigaction = on_dispatch, .sa_flags = SA_SIGINFO };
	uintptr_t start = (uintptr_t)exempt_call;

	CHECK(!sigaction(SIGSYS, &sa, NULL));
	NEED(!prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, start, (uintptr_t)exempt_end - start, &selector));
	return 0;
}

static int dispatch_range_use(struct maker_ctx *ctx)
{
	selector = 1;
	long pid = exempt_call(SYS_getpid);
	int seen = dispatched;

	selector = 0;
	SAME(seen, 0);
	SAME(pid, getpid());
	selector = 1;
	syscall(SYS_getppid);
	SAME(dispatched, SYS_getppid);
	CHECK(!prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0));
	return 0;
}

static int dispatch_use(struct maker_ctx *ctx)
{
	selector = 1;
	syscall(SYS_getppid);
	SAME(dispatched, SYS_getppid);
	CHECK(!prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0));
	return 0;
}

/* The byte set, all calls diverted but those of the C library's text: a child that spins. */

static struct maker_shared *page;

static int diverted_kid(struct maker_ctx *ctx)
{
	TRY(dispatch_make(ctx));
	page = shared(ctx);
	selector = 1;
	page->up++;
	while (!page->go)
		__asm__ volatile("pause");
	syscall(SYS_getppid);
	SAME(dispatched, SYS_getppid);
	return 0;
}

static int diverted_make(struct maker_ctx *ctx)
{
	shared(ctx);
	kid = fork();
	CHECK(kid >= 0);
	if (!kid)
		_exit(diverted_kid(ctx));
	ctx->kids[ctx->n_kids++] = kid;
	return kid_up(ctx, 0, kid);
}

const struct maker makers_seccomp[] = {
	ROW("filter", "a filter", filter),
	ROW("privileged", "a filter without no_new_privs, with a log flag", privileged),
	ROW("filters", "three filters", filters),
	ROW("inherited", "filters of a tree", inherited),
	{ "one-thread", "a filter of one thread", threads_make, threads_use, 0, 0 },
	{ "tsync", "a filter of all threads", threads_make, threads_use, 0, 1 },
	ROW("deadly", "filters that kill at mmap, munmap, openat and others", deadly),
	ROW("strict", "strict mode", strict),
	ROW("dispatch", "syscall user dispatch, off by its byte", dispatch),
	ROW("dispatch-range", "the same, but for one range of code", dispatch_range),
	{ "dispatch-on", "syscall user dispatch, on", diverted_make },
	{ 0 },
};
