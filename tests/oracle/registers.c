/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers and extended state of threads at rest. */

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "oracle.h"

#define ERESTARTSYS	      512
#define ERESTARTNOINTR	      513
#define ERESTARTNOHAND	      514
#define ERESTART_RESTARTBLOCK 516
#define FLAG_RESUME	      0x10000 /* set and cleared by the kernel as it stops and resumes */
#define XSTATE_MAX	      16384
#define XSTATE_HEADER	      512
#define XSTATE_EXTENDED	      576
#define NT_386_IOPERM_	      0x201

bool registers_blocked(const struct user_regs_struct *r)
{
	if ((long)r->orig_rax < 0)
		return false;
	switch (-(long)r->rax) {
	case EINTR:
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		return true;
	default:
		return false;
	}
}

static const char *call_name(long nr, char buf[24])
{
	switch (nr) {
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
		return "sleep";
	case SYS_poll:
		return "poll";
	case SYS_futex:
		return "futex";
	default:
		snprintf(buf, 24, "%ld", nr);
		return buf;
	}
}

/* A call under restart_syscall: the program's own `mov $nr, %eax; syscall` may still tell which it was. */
static const char *restarted_name(struct stopped *s, char buf[24])
{
	unsigned char code[7];
	uint32_t nr;

	if (s->task->call_kind[0] && strcmp(s->task->call_kind, "restart"))
		return s->task->call_kind;
	if (!remote_read(s, s->regs.rip - 7, code, sizeof(code)) || code[0] != 0xb8)
		return "restart";
	memcpy(&nr, code + 1, sizeof(nr));
	return call_name(nr, buf);
}

/* The timeout of a call that gives up when it is stopped: to go on with what is left of it, it has to be begun anew with less. */
static int shortened_argument(const char *name)
{
	switch (atol(name)) {
	case SYS_rt_sigtimedwait:
		return 2;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		return 3;
	case SYS_io_getevents:
	case SYS_io_pgetevents:
		return 4;
	default:
		return -1;
	}
}

static void call_fact(struct oracle *o, const char *prefix, const char *name, const uint64_t args[6])
{
	int timeout = o->opt.strict ? -1 : shortened_argument(name);
	uint64_t a[6];

	memcpy(a, args, sizeof(a));
	/* A pointer is still one, a number of milliseconds still not "none" or "forever". */
	if (timeout >= 0)
		a[timeout] = (int32_t)a[timeout] < 0 && a[timeout] >> 32 == (uint32_t)-1 ? a[timeout] : a[timeout] != 0;
	fact(o, prefix, "in call", "%s(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx)", name, (unsigned long)a[0],
		(unsigned long)a[1], (unsigned long)a[2], (unsigned long)a[3], (unsigned long)a[4],
		(unsigned long)a[5]);
}

/* Without ptrace: what /proc tells of a blocked call. */
void outside_call(struct oracle *o, struct task *t)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/task/%d/syscall", t->proc->pid, t->tid);
	char prefix[48], buf[24];
	uint64_t a[6], sp, pc;
	int nr;

	if (!text || sscanf(text, "%d %lx %lx %lx %lx %lx %lx %lx %lx", &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5],
			     &sp, &pc) != 9)
		return;
	thread_prefix(t, prefix);
	call_fact(o, prefix, nr == SYS_restart_syscall ? t->call_kind : call_name(nr, buf), a);
	fact(o, prefix, "at", "rip %#lx rsp %#lx", (unsigned long)pc, (unsigned long)sp);
}

/* The machine as the program will find it. A call wound back to its start is the same as one that waits to be
 * restarted. */
static void general_facts(struct inside *in, struct stopped *s, const char *prefix)
{
	struct oracle *o = in->o;
	struct user_regs_struct r = s->regs;
	uint64_t args[6] = { r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9 };
	unsigned char code[2];
	char buf[24];
	bool restarts = s->task->blocked;

	if (restarts) {
		call_fact(o, prefix,
			r.orig_rax == SYS_restart_syscall ? restarted_name(s, buf) : call_name(r.orig_rax, buf), args);
	} else if (remote_read(s, r.rip, code, 2) && code[0] == 0x0f && code[1] == 0x05) {
		call_fact(o, prefix, r.rax == SYS_restart_syscall ? "restart" : call_name(r.rax, buf), args);
		r.rip += 2;
		restarts = true;
	}
	fact(o, prefix, "registers", "rip %#llx rsp %#llx rbp %#llx rbx %#llx r12 %#llx r13 %#llx r14 %#llx r15 %#llx",
		r.rip, r.rsp, r.rbp, r.rbx, r.r12, r.r13, r.r14, r.r15);
	/* A system call takes rax for its answer and clobbers rcx and r11. */
	if (!restarts)
		fact(o, prefix, "other registers",
			"rax %#llx rcx %#llx r11 %#llx rdi %#llx rsi %#llx rdx %#llx r10 %#llx r8 %#llx r9 "
			"%#llx",
			r.rax, r.rcx, r.r11, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9);
	fact(o, prefix, "flags", "%#llx", r.eflags & ~FLAG_RESUME);
	fact(o, prefix, "segments", "cs %#llx ss %#llx ds %#llx es %#llx fs %#llx base %#llx gs %#llx base %#llx", r.cs,
		r.ss, r.ds, r.es, r.fs, r.fs_base, r.gs, r.gs_base);
}

/*
 * The header's bit map says which components the processor holds in their initial state; their contents,
 * which ptrace fills in, are the same either way. Bytes 464 to 511 belong to software.
 */
static void extended_facts(struct oracle *o, const struct stopped *s, const char *prefix)
{
	_free_ unsigned char *area = calloc(1, XSTATE_MAX);
	struct iovec iov = { area, XSTATE_MAX };

	if (ptrace(PTRACE_GETREGSET, s->task->tid, (void *)NT_X86_XSTATE, &iov) == 0)
		fact(o, prefix, "extended state", "%zu bytes x87 %016lx mxcsr %08x xmm %016lx rest %016lx", iov.iov_len,
			(unsigned long)hash_bytes(area, 24, hash_bytes(area + 32, 128, 0)), *(uint32_t *)(area + 24),
			(unsigned long)hash_bytes(area + 160, 256, 0),
			(unsigned long)hash_bytes(area + XSTATE_EXTENDED,
				iov.iov_len > XSTATE_EXTENDED ? iov.iov_len - XSTATE_EXTENDED : 0, 0));
	iov.iov_len = XSTATE_MAX;
	if (ptrace(PTRACE_GETREGSET, s->task->tid, (void *)NT_386_IOPERM_, &iov) == 0 && iov.iov_len)
		fact(o, prefix, "io ports", "%016lx", (unsigned long)hash_bytes(area, iov.iov_len, 0));
}

/* The pointer may be left from a sequence long done; what counts is whether the thread is inside now. */
static void rseq_fact(struct inside *in, struct stopped *s, const char *prefix)
{
	uint64_t cs[4]; /* version and flags, start, length, abort */

	if (!s->rseq_cs || s->task->blocked || !remote_read(s, s->rseq_cs, cs, sizeof(cs)))
		return;
	if (s->regs.rip - cs[1] < cs[2])
		fact(in->o, prefix, "rseq section", "%#lx", (unsigned long)s->rseq_cs);
}

void registers_facts(struct inside *in, struct stopped *s)
{
	char prefix[48];

	if (!in->o->opt.still && !s->task->blocked && !s->group_stop)
		return;
	thread_prefix(s->task, prefix);
	general_facts(in, s, prefix);
	extended_facts(in->o, s, prefix);
	rseq_fact(in, s, prefix);
}
