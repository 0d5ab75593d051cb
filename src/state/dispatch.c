/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Syscall user dispatch (PR_SET_SYSCALL_USER_DISPATCH) on a kernel that has it and does not tell (before 6.4): refused, before anything is run in such a thread.
 * What a kernel tells, state/thread.c carries. prctl(2); include/linux/thread_info.h.
 */
#include "object/component.h"

#include <errno.h>

#include "state/kernel_view.h"
#include "state/owner.h"

#define DISPATCHED (1u << 5) /* SYSCALL_WORK_BIT_SYSCALL_USER_DISPATCH */

static bool is_untold(const struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stop.state == STOP_STOPPED && p->threads[i].stop.sud_untold)
			return true;
	return false;
}

/* 1: it is. */
static int is_dispatched(struct capture *c, uint64_t task, void *unused)
{
	uint64_t info, work = 0;
	int err = kernel_peek_address(c->kernel, task, "task_struct", "thread_info", &info);

	if (!err)
		err = kernel_peek_member(c->kernel, info, "thread_info", "syscall_work", &work);
	return err ? err : (work & DISPATCHED) != 0;
}

static int dispatch_look(struct capture *c)
{
	int found;

	if (!c->kernel || !is_untold(c->process) || kernel_peek_ready(c->kernel) < 0)
		return 0;
	found = kernel_each_task(c, c->process, is_dispatched, NULL);
	if (found)
		refused(c->ps, BLAME_PROCESS(c->process, .object = "system calls", .remedy = "use Linux 6.4 or newer"),
			found > 0
				? "a thread has them diverted (PR_SET_SYSCALL_USER_DISPATCH), and this kernel does not "
				  "tell how"
				: "it cannot be told whether they are diverted (PR_SET_SYSCALL_USER_DISPATCH)");
	return 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_dispatch = {
	.kind = {
		.name = "dispatch",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: system calls that are diverted where the kernel does not tell how are refused",
		.sources = "prctl(2); include/linux/thread_info.h",
	},
	.scope = SCOPE_PROCESS,
	.look = dispatch_look,
	.capture = capture_nothing,
};
