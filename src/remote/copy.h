/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copy of the memory of a stopped process, as it is at this moment: a child, forked inside the stub, which shares its pages until one of both writes. It
 * never runs an instruction of the program's: it stays in the ptrace stop that it was born into, holds no descriptor, and the kernel kills it when spore
 * dies. Its parent gets no signal and no wait(2) but one with __WCLONE or __WALL sees it (exit signal 0). fork(2), clone(2), ptrace(2) PTRACE_O_TRACECLONE,
 * PTRACE_O_EXITKILL
 *
 * What fork leaves out is not in it (MADV_DONTFORK, MADV_WIPEONFORK), nor are System V segments, which note who detached them last. All by the thread that seized the parent.
 */
#pragma once

#include "remote/inject.h"

#define COPY_NAME "spore-copy" /* of the child, by which the next spore knows one that has lost its spore: a zombie */

struct memory_copy {
	struct stop stop; /* of the child; STOP_NONE: there is none */
	pid_t vpid;	  /* its number in the pid namespace of its parent */
};

/* in: an area with two slots at least, no thread inside; in->first will be its parent. -EAGAIN, -ENOMEM: this process may not have one more, or there is no room */
int copy_take(struct injection *in, const struct proc_maps *maps, struct memory_copy *copy);
/* Ends it, which takes a while where it is large. */
void copy_kill(struct memory_copy *copy);
/*
 * Then it is a zombie, which only its parent can wait for: so any stopped thread of the parent is made to, without any mapping, for others of its threads may run.
 * -ECHILD: it is gone already. -EAGAIN: who traces it has not waited for it yet. -ENOTSUP: that thread runs 32-bit code (an exec)
 */
int copy_reap(struct stop *parent, const struct proc_maps *maps, pid_t vpid);
