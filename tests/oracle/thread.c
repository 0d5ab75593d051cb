/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be told of a single thread without stopping it: most of a process's state belongs to threads. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"

#define IOPRIO_WHO_PROCESS 1

struct sched_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

void thread_prefix(const struct task *t, char buf[48])
{
	snprintf(buf, 48, "%d/thread %d", t->proc->inner, t->inner);
}

static void status_facts(struct oracle *o, const struct task *t, const char *prefix)
{
	static const char *const lines[] = { "Name", "Umask", "Uid", "Gid", "Groups", "SigPnd", "SigBlk", "CapInh",
		"CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
		"Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed_list", "Mems_allowed_list",
		"x86_Thread_features", "x86_Thread_features_locked" };
	_free_ char *status = slurpf(NULL, "/proc/%d/task/%d/status", t->proc->pid, t->tid);
	char value[4096];

	for (size_t i = 0; status && i < ARRAY_SIZE(lines); i++)
		if (line_value(status, lines[i], value, sizeof(value)))
			fact(o, prefix, lines[i], "%s", value);
}

static void scheduling_facts(struct oracle *o, const struct task *t, const char *prefix)
{
	struct sched_attributes a = { 0 };

	if (syscall(SYS_sched_getattr, t->tid, &a, sizeof(a), 0) == 0)
		fact(o, prefix, "scheduling",
			"policy %u flags %#lx nice %d priority %u runtime %lu deadline %lu "
			"period %lu clamp %u %u",
			a.policy, (unsigned long)a.flags, a.nice, a.priority, (unsigned long)a.runtime,
			(unsigned long)a.deadline, (unsigned long)a.period, a.util_min, a.util_max);
	fact(o, prefix, "io priority", "%#lx", syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, t->tid));
}

static void text_fact(struct oracle *o, const struct task *t, const char *prefix, const char *what)
{
	/* Some of these are files of /proc/TID only, not of /proc/PID/task/TID. */
	_free_ char *text = slurpf(NULL, "/proc/%d/%s", t->tid, what);

	if (text)
		fact(o, prefix, what, "%.*s", (int)strcspn(text, "\n"), text);
}

static void directory_fact(struct oracle *o, const struct task *t, const char *prefix, const char *what)
{
	char path[64];
	_free_ char *target = NULL;
	_free_ char *name = NULL;
	_free_ char *text = NULL;
	struct stat st = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", t->proc->pid, t->tid, what);
	target = link_target(path);
	stat(path, &st);
	name = target_name(o, target ? target : "(none)", st.st_dev, st.st_ino);
	text = escape(name, strlen(name));
	fact(o, prefix, what, "%s", text);
}

static void robust_list_fact(struct oracle *o, const struct task *t, const char *prefix)
{
	void *head = NULL;
	size_t len = 0;

	if (syscall(SYS_get_robust_list, t->tid, &head, &len) == 0)
		fact(o, prefix, "robust list", "%p length %zu", head, len);
	else
		fact(o, prefix, "robust list", "error %d", errno);
}

/*
 * The number of a call that is being restarted is lost to restart_syscall; the kernel stack tells which of
 * the few that restart this way it is. Only three exist, and two of them differ by nothing that the caller
 * could see.
 */
static const char *restarted_kind(const struct task *t)
{
	_free_ char *stack = slurpf(NULL, "/proc/%d/task/%d/stack", t->proc->pid, t->tid);

	if (stack && strstr(stack, "nanosleep"))
		return "sleep";
	if (stack && strstr(stack, "poll"))
		return "poll";
	if (stack && strstr(stack, "futex"))
		return "futex";
	/* nanosleep's own functions are left out of the stack as the scheduler's. */
	if (stack && !strncmp(stack, "[<0>] do_syscall_64", 19))
		return "sleep";
	return "restart";
}

/* Before the oracle stops anybody: which system call is it in? */
static void look_at_call(struct task *t)
{
	_free_ char *text = slurpf(NULL, "/proc/%d/task/%d/syscall", t->proc->pid, t->tid);

	t->call = text && strncmp(text, "running", 7) ? atoi(text) : -1;
	if (t->call == SYS_restart_syscall)
		strcpy(t->call_kind, restarted_kind(t));
}

void thread_facts(struct oracle *o, struct task *t)
{
	static const char *const texts[] = { "timerslack_ns", "loginuid", "personality", "attr/current", "attr/exec" };
	char prefix[48];

	thread_prefix(t, prefix);
	status_facts(o, t, prefix);
	scheduling_facts(o, t, prefix);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		text_fact(o, t, prefix, texts[i]);
	directory_fact(o, t, prefix, "cwd");
	directory_fact(o, t, prefix, "root");
	robust_list_fact(o, t, prefix);
	look_at_call(t);
}
