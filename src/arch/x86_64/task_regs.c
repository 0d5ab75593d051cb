/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/x86_64/task_regs.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSTATE_ROOM 16384 /* with AMX it is 11008 bytes; doubled while that is not enough */

void task_regs_free(struct task_regs *r)
{
	free(r->xstate);
	*r = (struct task_regs){ 0 };
}

/* The kernel fills what fits and says how much that was: a full buffer may have been too small. */
static int xstate_get(pid_t tid, uint8_t **xstate, size_t *size)
{
	for (size_t room = *size && *xstate ? *size + 8 : XSTATE_ROOM;; room *= 2) {
		uint8_t *grown = realloc(*xstate, room);
		struct iovec iov = { grown, room };

		if (!grown)
			return -ENOMEM;
		*xstate = grown;
		if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov) < 0)
			return -errno;
		*size = iov.iov_len;
		if (iov.iov_len < room)
			return 0;
	}
}

int task_regs_get(pid_t tid, struct task_regs *r)
{
	uint8_t *fitted;
	int e;

	if (ptrace(PTRACE_GETREGS, tid, 0, &r->gp) < 0)
		return -errno;
	e = xstate_get(tid, &r->xstate, &r->xstate_size);
	if (e < 0)
		return e;
	fitted = realloc(r->xstate, r->xstate_size + 8);
	if (fitted)
		r->xstate = fitted;
	return 0;
}

int task_gp_set(pid_t tid, const struct user_regs_struct *gp)
{
	return ptrace(PTRACE_SETREGS, tid, 0, gp) < 0 ? -errno : 0;
}

int task_regs_set(pid_t tid, const struct task_regs *r)
{
	struct iovec iov = { r->xstate, r->xstate_size };

	if (r->xstate_size && ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov) < 0)
		return -errno;
	return task_gp_set(tid, &r->gp);
}
