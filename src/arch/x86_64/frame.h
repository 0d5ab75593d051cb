/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An rt_sigframe: what rt_sigreturn takes a task's registers, mask and extended state from. With it in place a task finds
 * its way back without anyone's help.
 */
#pragma once

#include "arch/x86_64/task_regs.h"

/* The frame starts 8 bytes below a multiple of this. */
#define FRAME_ALIGN 64

size_t frame_size(const struct task_regs *r);
/* No task of the same machine needs more. */
size_t frame_size_max(const struct task_regs *r);
/*
 * Builds in buf (frame_size bytes) the frame that will lie at remote address `at`. `restorer` is what a `ret` at the frame
 * jumps to: code that calls rt_sigreturn (0 where rt_sigreturn is called directly, with rsp = at + 8).
 */
void frame_build(uint8_t *buf, uint64_t at, const struct task_regs *r, uint64_t sigmask, uint64_t restorer);

/* Is this, at that address, the head of a frame built here? */
#define FRAME_HEAD 312
bool frame_is_ours(const uint8_t head[FRAME_HEAD], uint64_t at, uint64_t restorer);

/* The registers with which the interrupted system call starts anew, as the kernel would make them when no signal is handled. */
struct user_regs_struct gp_restarted(const struct user_regs_struct *gp);
