/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system call by an instruction of the program's own, with nothing of ours mapped. Its frame lies outside of any area, on the main stack, and goes with
 * borrow_end. For inject.c, and for the one call of a task whose process runs on (remote/copy.h).
 */
#pragma once

#include "arch/x86_64/frame.h"
#include "remote/inject.h"
#include "remote/layout.h"

#define FRAME_PADDING 56 /* puts a frame 8 bytes below a multiple of 64 */
#define EFLAGS_PLAIN  0x202

/* In in->first, which is STOP_STOPPED; in->pid and in->gadgets are set. Finds a place for the frame, if there is one (in->outer). */
int borrow_begin(struct injection *in, const struct layout *l);
int64_t borrow_call(struct injection *in, long nr, const uint64_t arg[6]);
void borrow_end(struct injection *in);

void borrow_dispatch_off(struct stop *s);
/* The registers that a frame is to hold. */
struct task_regs borrow_frame_regs(const struct stop *s);
