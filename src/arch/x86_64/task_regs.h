/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a stopped task's processor state is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct task_regs {
	struct user_regs_struct
		gp;	 /* NT_PRSTATUS: as ptrace gives it at the stop, orig_rax and the -ERESTART codes included */
	uint8_t *xstate; /* NT_X86_XSTATE */
	size_t xstate_size;
};

void task_regs_free(struct task_regs *r);

/* ptrace calls for the thread that seized tid. 0 or negative errno. */
int task_regs_get(pid_t tid, struct task_regs *r);
int task_regs_set(pid_t tid, const struct task_regs *r); /* general and extended */
int task_gp_set(pid_t tid, const struct user_regs_struct *gp);
