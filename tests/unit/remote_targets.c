/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote_targets.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON	     1
#endif

struct seen *seen_new(void)
{
	void *p = mmap(NULL, sizeof(struct seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

pid_t target_start(target *body, struct seen *seen)
{
	pid_t pid;

	memset(seen, 0, sizeof(*seen));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(seen);
		_exit(0);
	}
	for (int i = 0; i < 5000 && !seen->ready; i++)
		usleep(1000);
	usleep(2000);
	return pid;
}

void target_end(pid_t pid)
{
	kill(pid, SIGKILL);
	/* Threads that this process still traces have to be waited for as well, and first. */
	while (waitpid(pid, NULL, WNOHANG) == 0)
		if (waitpid(-1, NULL, __WALL | WNOHANG) <= 0)
			usleep(1000);
}

void target_spin(struct seen *s)
{
	s->ready = 1;
	for (;;)
		s->turns++;
}

/* Fills every vector register, and looks a while later whether all are as they were. 0: they are. */
static uint32_t avx_turn(const uint8_t *pattern)
{
	uint8_t bad;

	__asm__ volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
			 "	vmovdqu \\n(%[p]), %%ymm\\n\n"
			 ".endr\n"
			 "	mov $2000, %%ecx\n"
			 "1:	dec %%ecx\n"
			 "	jnz 1b\n"
			 "	xor %%ecx, %%ecx\n"
			 ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
			 "	vpcmpeqb \\n(%[p]), %%ymm\\n, %%ymm\\n\n"
			 ".endr\n"
			 "	vpcmpeqb (%[p]), %%ymm0, %%ymm0\n"
			 ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
			 "	vpand %%ymm\\n, %%ymm0, %%ymm0\n"
			 ".endr\n"
			 "	vpmovmskb %%ymm0, %%ecx\n"
			 "	cmp $-1, %%ecx\n"
			 "	setne %[bad]\n"
			 "	vzeroupper\n"
			 : [bad] "=r"(bad)
			 : [p] "r"(pattern)
			 : "ecx", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			 "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return bad;
}

static void avx_spin(struct seen *s, unsigned int seed)
{
	uint8_t pattern[64];
	sigset_t mask;

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(rand_r(&seed) >> 3);
	__atomic_add_fetch(&s->ready, 1, __ATOMIC_SEQ_CST);
	for (uint64_t i = 0;; i++) {
		if (avx_turn(pattern))
			__atomic_add_fetch(&s->wrong, 1, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&s->turns, 1, __ATOMIC_RELAXED);
		if (i % 64)
			continue;
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		if (sigismember(&mask, SIGUSR2) || !sigismember(&mask, SIGHUP))
			__atomic_add_fetch(&s->wrong, 1, __ATOMIC_SEQ_CST);
	}
}

static void block_hup(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGHUP);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

void target_avx(struct seen *s)
{
	block_hup();
	avx_spin(s, 1);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void target_nanosleep(struct seen *s)
{
	struct timespec t = { 0, 50000000 };

	s->ready = 1;
	for (;;) {
		int64_t start = now_us(), late;

		if (nanosleep(&t, NULL) < 0) {
			s->eintr++;
			continue;
		}
		late = now_us() - start - 50000;
		if (late < 0)
			s->wrong++;
		else if ((uint64_t)late > s->late_us)
			s->late_us = (uint64_t)late;
		s->turns++;
	}
}

void target_epoll(struct seen *s)
{
	int fd = epoll_create1(0);
	struct epoll_event e;

	s->ready = 1;
	for (;;) {
		int r = epoll_wait(fd, &e, 1, 20);

		if (r < 0 && errno != EINTR)
			s->wrong++;
		s->turns++;
	}
}

void target_stopped(struct seen *s)
{
	s->ready = 1;
	raise(SIGSTOP);
	for (;;)
		s->turns++;
}

static void *sleeper(void *arg)
{
	struct seen *s = arg;

	__atomic_add_fetch(&s->ready, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		usleep(20000);
		__atomic_add_fetch(&s->turns, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *avx_thread(void *arg)
{
	avx_spin(arg, (unsigned int)gettid());
	return NULL;
}

static void with_threads(struct seen *s, int n, void *(*body)(void *))
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 1; i < n; i++)
		pthread_create(&t, &attr, body, s);
	body(s);
}

void target_threads(struct seen *s)
{
	with_threads(s, 200, sleeper);
}

void target_avx_threads(struct seen *s)
{
	block_hup();
	with_threads(s, 6, avx_thread);
}

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void filtered(struct seen *s, bool maps)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_read),
		ALLOW(SYS_write),
		ALLOW(SYS_rt_sigreturn),
		ALLOW(SYS_restart_syscall),
		ALLOW(SYS_nanosleep),
		ALLOW(SYS_clock_nanosleep),
		ALLOW(SYS_exit_group),
		ALLOW(maps ? SYS_mmap : SYS_read),
		ALLOW(maps ? SYS_munmap : SYS_read),
		ALLOW(maps ? SYS_mprotect : SYS_read),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog p = { sizeof(f) / sizeof(f[0]), f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p))
		s->wrong++;
	s->ready = 1;
	for (;;) {
		usleep(200);
		s->turns++;
	}
}

/* Killed for mmap, munmap, futex and everything else that the list does not name. */
void target_seccomp(struct seen *s)
{
	filtered(s, false);
}

/* May map. When a tracer dies in the microsecond in which a borrowed mmap is about to begin, this one lives, the other does not. */
void target_seccomp_maps(struct seen *s)
{
	filtered(s, true);
}

static volatile char selector; /* a test program may have a global or two */
static struct seen *volatile dispatch_seen;

static void on_sigsys(int sig)
{
	selector = 0;
	dispatch_seen->done++;
}

/* Every system call of its own is turned into SIGSYS. Makes none until told to; then one, which must still be turned. */
void target_dispatch(struct seen *s)
{
	dispatch_seen = s;
	signal(SIGSYS, on_sigsys);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector))
		s->wrong++;
	selector = 1;
	s->ready = 1;
	while (!s->go)
		s->turns++;
	syscall(SYS_getppid);
	s->done += 0x100;
	for (;;)
		s->turns++;
}

/* A restartable sequence that must see one token from its start to its commit. */
static void rseq_turn(struct seen *s, struct rseq *r)
{
	uint64_t stale;

	__asm__ volatile("	.pushsection __rseq_test, \"aw\"\n"
			 "	.balign 32\n"
			 "7:	.long 0, 0\n"
			 "	.quad 1f, 2f-1f, 4f\n"
			 "	.popsection\n"
			 "3:	lea 7b(%%rip), %%rax\n"
			 "	mov %%rax, 8(%[r])\n"
			 "1:	mov %[token], %%rdx\n"
			 "	mov $300000, %%ecx\n"
			 "5:	dec %%ecx\n"
			 "	jnz 5b\n"
			 "	sub %[token], %%rdx\n"
			 "2:	jmp 6f\n"
			 "	.byte 0x0f, 0xb9, 0x3d\n"
			 "	.long 0x53053053\n"
			 "4:	jmp 3b\n"
			 "6:	mov %%rdx, %[stale]\n"
			 : [stale] "=r"(stale)
			 : [r] "r"(r), [token] "m"(s->token)
			 : "rax", "rcx", "rdx", "cc", "memory");
	if (stale)
		s->wrong++;
}

void target_rseq(struct seen *s)
{
	struct rseq *r = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	s->ready = 1;
	for (;;) {
		rseq_turn(s, r);
		s->turns++;
	}
}

static void on_usr1(int sig)
{
	for (;;) {
		for (volatile int i = 0; i < 100000; i++)
			;
		dispatch_seen->turns++;
	}
}

/* Inside a handler, on the alternate stack: rsp is nowhere near [stack]. */
void target_altstack(struct seen *s)
{
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_ONSTACK };

	dispatch_seen = s;
	s->altstack = (uint64_t)ss.ss_sp;
	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	s->ready = 1;
	raise(SIGUSR1);
}

/* Nothing that it could write may ever become executable. */
void target_mdwe(struct seen *s)
{
	prctl(65 /* PR_SET_MDWE */, 1 /* PR_MDWE_REFUSE_EXEC_GAIN */, 0, 0, 0);
	target_spin(s);
}

void target_busybox(struct seen *s)
{
	s->ready = 1;
	execlp("busybox", "busybox", "sh", "-c", "while :; do :; done", NULL);
	s->wrong++;
}

void target_vfork(struct seen *s)
{
	s->ready = 1;
	if (!vfork()) {
		struct timespec t = { 0, 300000000 };

		nanosleep(&t, NULL);
		_exit(0);
	}
	for (;;)
		s->turns++;
}
