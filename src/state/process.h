/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records that the engine itself builds on: processes and threads. */
#pragma once

#include "object/component.h"

struct process_state {
	uint64_t pid;		 /* in the pid namespace of the tree's root, as all pids */
	object_id parent;	 /* 0: the root */
	object_id parent_thread; /* 0: the parent's leader */
	uint64_t group, session; /* 0: outside of that namespace */
	bool executed;		 /* has called exec since it was forked: setpgid by its parent fails */
	uint64_t exit_signal;	 /* what its parent gets when it ends */
	bool zombie;
	uint64_t exit_code; /* of a zombie, as wait(2) has it */
	uint64_t stopped;   /* the signal by which job control stopped it; 0: runs */
	bool stop_reported; /* its parent has waited for that */
	char *name;
};

struct regs_state {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags,
		rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};

struct thread_state {
	object_id of; /* the process */
	uint64_t tid;
	bool exited; /* a leader that has ended before its threads */
	char name[16];
	struct regs_state regs;
	struct blob xstate;
	uint64_t blocked;
	uint64_t rseq, rseq_size, rseq_signature, rseq_cs;
	uint64_t dispatch_mode, dispatch_selector, dispatch_offset, dispatch_len;
	uint64_t robust_list, robust_list_len;
	uint64_t clear_child_tid;
	struct restart_state restart;
};

extern const struct component component_process, component_thread;

int process_save(struct capture *c);
