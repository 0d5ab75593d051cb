/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/x86_64/restart.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/macro.h"
#include "remote/memory.h"

#define INTERRUPTED ((uint64_t)-4)   /* EINTR */
#define NO_HANDLER  ((uint64_t)-514) /* ERESTARTNOHAND */
#define BLOCK	    ((uint64_t)-516) /* ERESTART_RESTARTBLOCK */
#define RED_ZONE    128
#define NS_PER_MS   1000000ll
#define NS_PER_S    1000000000ll
#define LONGEST_S   (INT64_MAX / NS_PER_S / 2)
#define NO_ARGUMENT -1

enum form { NONE, MILLISECONDS, TIMESPEC, TIMEVAL };

/* Calls that answer EINTR to a mere stop, and where their timeout is. Those of sockets do so only under
 * SO_RCVTIMEO or SO_SNDTIMEO, select and its kin where they cannot write back what is left. */
static const struct timed_call {
	int16_t nr;
	int8_t argument; /* that holds the timeout */
	uint8_t form;
	int8_t remainder; /* argument: where the kernel writes what is left */
	bool interrupted; /* gives up with EINTR */
} calls[] = {
	{ SYS_nanosleep, 0, TIMESPEC, 1, false },
	{ SYS_clock_nanosleep, 2, TIMESPEC, 3, false },
	{ SYS_poll, 2, MILLISECONDS, NO_ARGUMENT, false },
	{ SYS_futex, 3, TIMESPEC, NO_ARGUMENT, false },
	{ SYS_epoll_wait, 3, MILLISECONDS, NO_ARGUMENT, true },
	{ SYS_epoll_pwait, 3, MILLISECONDS, NO_ARGUMENT, true },
	{ SYS_epoll_pwait2, 3, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_rt_sigtimedwait, 2, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_semop, 0, NONE, NO_ARGUMENT, true },
	{ SYS_semtimedop, 3, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_io_getevents, 4, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_io_pgetevents, 4, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_io_uring_enter, 0, NONE, NO_ARGUMENT, true },
	{ SYS_select, 4, TIMEVAL, NO_ARGUMENT, true },
	{ SYS_pselect6, 4, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_ppoll, 2, TIMESPEC, NO_ARGUMENT, true },
	{ SYS_read, 0, NONE, NO_ARGUMENT, true },
	{ SYS_readv, 0, NONE, NO_ARGUMENT, true },
	{ SYS_write, 0, NONE, NO_ARGUMENT, true },
	{ SYS_writev, 0, NONE, NO_ARGUMENT, true },
	{ SYS_recvfrom, 0, NONE, NO_ARGUMENT, true },
	{ SYS_recvmsg, 0, NONE, NO_ARGUMENT, true },
	{ SYS_recvmmsg, 0, NONE, NO_ARGUMENT, true },
	{ SYS_sendto, 0, NONE, NO_ARGUMENT, true },
	{ SYS_sendmsg, 0, NONE, NO_ARGUMENT, true },
	{ SYS_sendmmsg, 0, NONE, NO_ARGUMENT, true },
	{ SYS_accept, 0, NONE, NO_ARGUMENT, true },
	{ SYS_accept4, 0, NONE, NO_ARGUMENT, true },
	{ SYS_connect, 0, NONE, NO_ARGUMENT, true },
	{ SYS_fallocate, 0, NONE, NO_ARGUMENT, true },
};

static const struct timed_call *call_of(int64_t nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

static __typeof__(((struct user_regs_struct *)0)->rdi) *argument_of(struct user_regs_struct *gp, int i)
{
	return i == 0	? &gp->rdi
	       : i == 1 ? &gp->rsi
	       : i == 2 ? &gp->rdx
	       : i == 3 ? &gp->r10
	       : i == 4 ? &gp->r8
			: &gp->r9;
}

static uint64_t argument(const struct user_regs_struct *gp, int i)
{
	struct user_regs_struct copy = *gp;

	return *argument_of(&copy, i);
}

bool restart_is_interrupted(const struct user_regs_struct *gp)
{
	const struct timed_call *call = call_of((int64_t)gp->orig_rax);

	return gp->rax == INTERRUPTED && call && call->interrupted;
}

bool restart_is_block(const struct user_regs_struct *gp)
{
	return gp->rax == BLOCK && (int64_t)gp->orig_rax >= 0;
}

/* A nanosleep that goes on leaves no name of its own on the stack: every function of its is one of the
 * scheduler's, which are left out. */
int restart_nr_of_stack(const char *stack, uint64_t first, uint64_t second)
{
	if (strstr(stack, "futex"))
		return SYS_futex;
	if (strstr(stack, "poll"))
		return SYS_poll;
	if (!strstr(stack, "sleep") && strncmp(stack, "[<0>] do_syscall_64", 19) != 0)
		return RESTART_NR_UNKNOWN;
	/* clock_nanosleep begins with a clock, a small number or, for CPU clocks, a negative one, and flags;
	 * nanosleep with two pointers. */
	return (int32_t)first < 16 && (first < 16 || first >> 32 == 0) && second < 2 ? SYS_clock_nanosleep
										     : SYS_nanosleep;
}

int restart_nr_of_code(pid_t tid, const struct user_regs_struct *gp)
{
	uint8_t code[7]; /* mov $nr, %eax; syscall */
	int32_t nr;
	const struct timed_call *call;

	if (remote_read(tid, REMOTE(gp->rip - sizeof(code)), code, sizeof(code)) < 0 || code[0] != 0xb8 ||
		code[5] != 0x0f || code[6] != 0x05)
		return RESTART_NR_UNKNOWN;
	memcpy(&nr, code + 1, sizeof(nr));
	call = call_of(nr);
	return call && !call->interrupted ? nr : RESTART_NR_UNKNOWN;
}

static int64_t read_time(pid_t tid, uint64_t at, enum form form)
{
	int64_t t[2];

	if (!at || remote_read(tid, REMOTE(at), t, sizeof(t)) < 0 || t[0] < 0 || t[0] > LONGEST_S || t[1] < 0)
		return -1;
	return t[0] * NS_PER_S + (form == TIMEVAL ? t[1] * 1000 : t[1]);
}

/* Is the timeout a moment, not a span? */
static bool is_absolute(int nr, const struct user_regs_struct *gp)
{
	if (nr == SYS_clock_nanosleep)
		return gp->rsi & TIMER_ABSTIME;
	return nr == SYS_futex && (gp->rsi & (unsigned int)FUTEX_CMD_MASK) != FUTEX_WAIT;
}

int64_t restart_timeout(pid_t tid, int nr, const struct user_regs_struct *gp)
{
	const struct timed_call *call = call_of(nr);
	int32_t ms;

	if (!call || call->form == NONE || is_absolute(nr, gp))
		return -1;
	if (call->form != MILLISECONDS)
		return read_time(tid, argument(gp, call->argument), call->form);
	ms = (int32_t)argument(gp, call->argument);
	return ms < 0 ? -1 : ms * NS_PER_MS;
}

int64_t restart_remainder(pid_t tid, int nr, const struct user_regs_struct *gp)
{
	const struct timed_call *call = call_of(nr);

	if (!call || call->remainder == NO_ARGUMENT || is_absolute(nr, gp))
		return -1;
	return read_time(tid, argument(gp, call->remainder), TIMESPEC);
}

static int64_t round_up_ms(int64_t ns)
{
	return MIN((ns + NS_PER_MS - 1) / NS_PER_MS, (int64_t)INT32_MAX);
}

/* Nothing of the program's is there: what lies below the red zone is free for a signal frame at any moment.
 */
static int write_time(pid_t tid, struct user_regs_struct *gp, const struct timed_call *call, int64_t ns)
{
	uint64_t at = ALIGN_DOWN(gp->rsp - RED_ZONE - 64, 16ull);
	int64_t t[2] = { ns / NS_PER_S, ns % NS_PER_S };
	int r;

	if (call->form == TIMEVAL)
		t[1] = (t[1] + 999) / 1000;
	r = remote_write(tid, REMOTE(at), t, sizeof(t));
	if (r == 0)
		*argument_of(gp, call->argument) = at;
	return r;
}

void restart_wind_back(pid_t tid, struct user_regs_struct *gp, int64_t left)
{
	const struct timed_call *call = call_of((int64_t)gp->orig_rax);

	gp->rax = NO_HANDLER;
	if (!call || left < 0)
		return;
	if (call->form == MILLISECONDS)
		*argument_of(gp, call->argument) = (uint64_t)round_up_ms(left);
	else if (call->form != NONE)
		write_time(tid, gp, call, left); /* if it cannot be written, it waits for all of it: late, not early */
}

/* --- a new task --- */

bool restart_needs_rearm(const struct restart_state *s)
{
	const struct timed_call *call = call_of(s->nr);

	return s->block && s->left >= 0 && call && call->form != NONE && !call->interrupted;
}

uint32_t restart_rearm(struct batch *b, const struct restart_state *s, const struct user_regs_struct *gp)
{
	const struct timed_call *call = call_of(s->nr);
	uint64_t args[6] = { gp->rdi, gp->rsi, gp->rdx, gp->r10, gp->r8, gp->r9 };
	const int64_t t[2] = { s->left / NS_PER_S, s->left % NS_PER_S };
	uint32_t op;

	if (call->form == MILLISECONDS)
		args[call->argument] = (uint64_t)round_up_ms(s->left);
	else
		args[call->argument] = batch_copy(b, t, sizeof(t)).v;
	op = batch_add(b, "the sleep that was interrupted", s->nr, args);
	batch_may_fail(b, op);
	return op;
}

bool restart_is_armed(const struct restart_state *s, const struct user_regs_struct *now)
{
	return now->rax == BLOCK && ((int64_t)now->orig_rax == s->nr || now->orig_rax == RESTART_NR_UNKNOWN);
}

void restart_resume(const struct restart_state *s, struct user_regs_struct *gp, bool armed, const int64_t *result)
{
	if (!s->block)
		return;
	if (armed) {
		gp->orig_rax = (uint64_t)s->nr;
		gp->rax = BLOCK;
	} else if (result || s->nr == RESTART_NR_UNKNOWN) {
		/* What cannot be gone on with ends as if a signal had come. */
		gp->orig_rax = (uint64_t)-1;
		gp->rax = result ? (uint64_t)*result : INTERRUPTED;
	} else {
		gp->orig_rax = (uint64_t)s->nr;
		gp->rax = NO_HANDLER;
	}
}
