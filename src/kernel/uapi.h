/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernel constants newer than the machine's headers. Those that the headers have are checked to be equal. */
#pragma once

#include <linux/types.h>
#include <sys/ptrace.h>

#define SPORE_PTRACE_GET_RSEQ_CONFIGURATION                0x420f
#define SPORE_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG      0x4210
#define SPORE_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG      0x4211
