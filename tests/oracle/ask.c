/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The questions that only the process itself can ask the kernel. */

#include <asm/prctl.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "oracle.h"

#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif
#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_GET_IO_FLUSHER
#define PR_GET_IO_FLUSHER 58
#endif
#define PR_TIMER_CREATE_RESTORE_IDS	77
#define PR_TIMER_CREATE_RESTORE_IDS_GET 2
#define MEMBARRIER_GET_REGISTRATIONS	(1 << 9)
#define ARCH_GET_XCOMP_PERM_		0x1022
#define ARCH_SHSTK_STATUS_		0x5005
#define KEYCTL_SET_REQKEY_KEYRING	14
#define NSIGNALS			64
#define LONGEST_FILTER			4096

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

static long call(struct inside *in, struct stopped *s, long nr, uint64_t a, uint64_t b, uint64_t c)
{
	return remote_call(in, s, nr, a, b, c, 0, 0);
}

static void answer_fact(struct inside *in, const char *prefix, const char *key, long answer)
{
	if (answer < 0)
		fact(in->o, prefix, key, "error %ld", -answer);
	else
		fact(in->o, prefix, key, "%#lx", answer);
}

static void sigaction_facts(struct inside *in, struct stopped *s)
{
	struct kernel_sigaction acts[NSIGNALS];
	long done = 0;
	char key[32];

	/* 64 answers of 32 bytes fit into half of the page. */
	for (int sig = 1; sig <= NSIGNALS && done >= 0; sig++)
		done = remote_call(in, s, SYS_rt_sigaction, sig, 0, in->scratch + (sig - 1) * sizeof(*acts), 8, 0);
	if (done < 0 || !remote_read(s, in->scratch, acts, sizeof(acts))) {
		fact(in->o, in->p->prefix, "signal", "unknown");
		return;
	}
	for (int sig = 1; sig <= NSIGNALS; sig++) {
		const struct kernel_sigaction *act = &acts[sig - 1];

		if (!act->handler && !act->flags && !act->restorer && !act->mask)
			continue;
		snprintf(key, sizeof(key), "signal %d", sig);
		fact(in->o, in->p->prefix, key, "handler %#lx flags %#lx restorer %#lx mask %016lx",
			(unsigned long)act->handler, (unsigned long)act->flags, (unsigned long)act->restorer,
			(unsigned long)act->mask);
	}
}

/* A remaining time passes by itself; that there is some does not. */
static void left_fact(
	struct inside *in, const char *key, long interval_s, long interval_ns, long left_s, long left_ns, long overrun)
{
	if (in->o->opt.times)
		fact(in->o, in->p->prefix, key, "interval %ld.%09ld left %ld.%09ld overrun %ld", interval_s,
			interval_ns, left_s, left_ns, overrun);
	else
		fact(in->o, in->p->prefix, key, "interval %ld.%09ld %s overrun %ld", interval_s, interval_ns,
			left_s || left_ns ? "armed" : "not armed", overrun);
}

static void itimer_facts(struct inside *in, struct stopped *s)
{
	static const char *const names[] = { "itimer real", "itimer virtual", "itimer prof" };

	for (int which = 0; which < 3; which++) {
		long v[4];

		if (call(in, s, SYS_getitimer, which, in->scratch, 0) == 0 && remote_read(s, in->scratch, v, sizeof(v)))
			left_fact(in, names[which], v[0], v[1] * 1000, v[2], v[3] * 1000, 0);
	}
}

static void posix_timer_facts(struct inside *in, struct stopped *s)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/timers", in->p->pid);
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char key[48];
		long v[4];
		int id;

		if (sscanf(line, "ID: %d", &id) != 1)
			continue;
		snprintf(key, sizeof(key), "timer %d", id);
		if (call(in, s, SYS_timer_gettime, id, in->scratch, 0) == 0 &&
			remote_read(s, in->scratch, v, sizeof(v)))
			left_fact(in, key, v[0], v[1], v[2], v[3], call(in, s, SYS_timer_getoverrun, id, 0, 0));
	}
}

static void ldt_fact(struct inside *in, struct stopped *s)
{
	unsigned char ldt[PAGE];
	long n = call(in, s, SYS_modify_ldt, 0, in->scratch, PAGE);

	if (n > 0 && remote_read(s, in->scratch, ldt, n))
		fact(in->o, in->p->prefix, "ldt", "%ld bytes %016lx", n, (unsigned long)hash_bytes(ldt, n, 0));
	else
		answer_fact(in, in->p->prefix, "ldt", n);
}

/* An int or long that the kernel writes to the page; the call itself only says whether. */
static void written_fact(struct inside *in, struct stopped *s, const char *prefix, const char *key, long nr, uint64_t a,
	uint64_t b, size_t size)
{
	uint64_t value = 0;
	long done = call(in, s, nr, a, b, 0);

	if (done < 0 || !remote_read(s, in->scratch, &value, size))
		answer_fact(in, prefix, key, done);
	else
		fact(in->o, prefix, key, "%#lx", (unsigned long)value);
}

void ask_process(struct inside *in, struct stopped *s)
{
	const char *prefix = in->p->prefix;

	sigaction_facts(in, s);
	itimer_facts(in, s);
	posix_timer_facts(in, s);
	answer_fact(in, prefix, "dumpable", call(in, s, SYS_prctl, PR_GET_DUMPABLE, 0, 0));
	answer_fact(in, prefix, "thp disable", call(in, s, SYS_prctl, PR_GET_THP_DISABLE, 0, 0));
	answer_fact(in, prefix, "mdwe", call(in, s, SYS_prctl, PR_GET_MDWE, 0, 0));
	answer_fact(in, prefix, "memory merge", call(in, s, SYS_prctl, PR_GET_MEMORY_MERGE, 0, 0));
	answer_fact(in, prefix, "timer ids by request",
		call(in, s, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0));
	answer_fact(in, prefix, "membarrier", call(in, s, SYS_membarrier, MEMBARRIER_GET_REGISTRATIONS, 0, 0));
	answer_fact(in, prefix, "brk", call(in, s, SYS_brk, 0, 0, 0));
	written_fact(in, s, prefix, "child subreaper", SYS_prctl, PR_GET_CHILD_SUBREAPER, in->scratch, 4);
	written_fact(in, s, prefix, "xstate permissions", SYS_arch_prctl, ARCH_GET_XCOMP_PERM_, in->scratch, 8);
	ldt_fact(in, s);
	signals_pending(in, s, true, prefix);
}

/* A timer's own number for the signal is the kernel's affair; the rest of a siginfo is what the program will
 * see. */
static void siginfo_fact(struct oracle *o, const char *prefix, const char *key, const siginfo_t *info)
{
	char hex[2 * sizeof(*info) + 1];
	const unsigned char *bytes = (const unsigned char *)info;
	size_t len = sizeof(*info);

	if (info->si_code == SI_TIMER) {
		fact(o, prefix, key, "%d from timer %d overrun %d value %p", info->si_signo, info->si_timerid,
			info->si_overrun, info->si_ptr);
		return;
	}
	while (len > 12 && !bytes[len - 1])
		len--;
	for (size_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	fact(o, prefix, key, "%d code %d: %s", info->si_signo, info->si_code, hex);
}

void signals_pending(struct inside *in, struct stopped *s, bool shared, const char *prefix)
{
	struct __ptrace_peeksiginfo_args args = { .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 1 };
	siginfo_t info;
	char key[40];

	while (ptrace(PTRACE_PEEKSIGINFO, s->task->tid, &args, &info) == 1) {
		snprintf(key, sizeof(key), "pending %s%lu", shared ? "shared " : "", (unsigned long)args.off);
		siginfo_fact(in->o, prefix, key, &info);
		args.off++;
	}
}

static void altstack_fact(struct inside *in, struct stopped *s, const char *prefix)
{
	stack_t st;

	if (call(in, s, SYS_sigaltstack, 0, in->scratch, 0) == 0 && remote_read(s, in->scratch, &st, sizeof(st)))
		fact(in->o, prefix, "alternate stack", "%p size %zu flags %#x", st.ss_sp, st.ss_size, st.ss_flags);
}

static void memory_policy_fact(struct inside *in, struct stopped *s, const char *prefix)
{
	uint64_t nodes[16];
	long done = remote_call(in, s, SYS_get_mempolicy, in->scratch, in->scratch + 8, 960, 0, 0);
	int mode;

	if (done < 0 || !remote_read(s, in->scratch, &mode, sizeof(mode)) ||
		!remote_read(s, in->scratch + 8, nodes, 120)) {
		answer_fact(in, prefix, "memory policy", done);
		return;
	}
	fact(in->o, prefix, "memory policy", "%#x nodes %016lx", mode, (unsigned long)hash_bytes(nodes, 120, 0));
}

static void seccomp_facts(struct oracle *o, const struct stopped *s, const char *prefix)
{
	struct sock_filter filter[LONGEST_FILTER];
	char key[40];

	for (unsigned long i = 0;; i++) {
		struct __ptrace_seccomp_metadata meta = { .filter_off = i };
		long n = ptrace(PTRACE_SECCOMP_GET_FILTER, s->task->tid, (void *)i, filter);

		if (n <= 0)
			break;
		ptrace(PTRACE_SECCOMP_GET_METADATA, s->task->tid, sizeof(meta), &meta);
		snprintf(key, sizeof(key), "seccomp filter %lu", i);
		fact(o, prefix, key, "%ld instructions %016lx flags %#lx", n,
			(unsigned long)hash_bytes(filter, n * sizeof(*filter), 0), (unsigned long)meta.flags);
	}
}

static void descriptor_facts(struct oracle *o, const struct stopped *s, const char *prefix)
{
	unsigned desc[4];
	char key[32];

	for (long i = 12; i <= 14; i++) {
		if (ptrace(PTRACE_GET_THREAD_AREA, s->task->tid, (void *)i, desc) < 0)
			continue;
		snprintf(key, sizeof(key), "tls segment %ld", i);
		if (desc[1] || desc[2])
			fact(o, prefix, key, "base %#x limit %#x flags %#x", desc[1], desc[2], desc[3]);
	}
}

static void ptrace_facts(struct oracle *o, const struct stopped *s, const char *prefix)
{
	struct __ptrace_rseq_configuration rseq = { 0 };

	fact(o, prefix, "signal mask", "%016lx", (unsigned long)s->mask);
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, s->task->tid, sizeof(rseq), &rseq) > 0)
		fact(o, prefix, "rseq", "%#lx size %u signature %#x flags %u", (unsigned long)rseq.rseq_abi_pointer,
			rseq.rseq_abi_size, rseq.signature, rseq.flags);
	fact(o, prefix, "syscall user dispatch", "mode %lu selector %#lx offset %#lx length %#lx",
		(unsigned long)s->dispatch.mode, (unsigned long)s->dispatch.selector, (unsigned long)s->dispatch.offset,
		(unsigned long)s->dispatch.len);
	seccomp_facts(o, s, prefix);
	descriptor_facts(o, s, prefix);
}

void ask_thread(struct inside *in, struct stopped *s)
{
	char prefix[48];

	thread_prefix(s->task, prefix);
	ptrace_facts(in->o, s, prefix);
	signals_pending(in, s, false, prefix);
	registers_facts(in, s);
	altstack_fact(in, s, prefix);
	memory_policy_fact(in, s, prefix);
	answer_fact(in, prefix, "securebits", call(in, s, SYS_prctl, PR_GET_SECUREBITS, 0, 0));
	answer_fact(in, prefix, "request keyring", call(in, s, SYS_keyctl, KEYCTL_SET_REQKEY_KEYRING, -1, 0));
	answer_fact(in, prefix, "keep capabilities", call(in, s, SYS_prctl, PR_GET_KEEPCAPS, 0, 0));
	answer_fact(in, prefix, "io flusher", call(in, s, SYS_prctl, PR_GET_IO_FLUSHER, 0, 0));
	answer_fact(in, prefix, "machine check kill", call(in, s, SYS_prctl, PR_MCE_KILL_GET, 0, 0));
	answer_fact(in, prefix, "cpuid", call(in, s, SYS_arch_prctl, ARCH_GET_CPUID, 0, 0));
	answer_fact(in, prefix, "indirect branches",
		call(in, s, SYS_prctl, PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0));
	answer_fact(
		in, prefix, "store bypass", call(in, s, SYS_prctl, PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0));
	written_fact(in, s, prefix, "parent death signal", SYS_prctl, PR_GET_PDEATHSIG, in->scratch, 4);
	written_fact(in, s, prefix, "tsc", SYS_prctl, PR_GET_TSC, in->scratch, 4);
	written_fact(in, s, prefix, "clear_child_tid", SYS_prctl, PR_GET_TID_ADDRESS, in->scratch, 8);
	written_fact(in, s, prefix, "shadow stack", SYS_arch_prctl, ARCH_SHSTK_STATUS_, in->scratch, 8);
}
