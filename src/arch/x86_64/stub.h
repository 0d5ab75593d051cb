/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layout that stub.S and seed.S share with C: area.c asserts that these are the offsets of struct op and struct slot. */
#pragma once

#define STUB_OP_NR     0
#define STUB_OP_ARG    8
#define STUB_OP_RESULT 56
#define STUB_OP_FLAGS  64
#define STUB_OP_FROM   68
#define STUB_OP_EXPECT 80
#define STUB_OP_CHILD  88
#define STUB_OP_SIZE   96

#define STUB_SLOT_STATE	    0
#define STUB_SLOT_FAILED    4
#define STUB_SLOT_OPS	    8
#define STUB_SLOT_COUNT	    16
#define STUB_SLOT_FRAME	    24
#define STUB_SLOT_OUTER	    32
#define STUB_SLOT_LEAVE_RIP 40
#define STUB_SLOT_FLAGS	    48
#define STUB_SLOT_NAP	    56
#define STUB_SLOT_WAIT	    72
#define STUB_SLOT_OWN	    104 /* address of the `own` word: second member of the second waiter */
#define STUB_SLOT_SIZE	    128

#define STUB_HEAD	 4096 /* from the stub's start */
#define STUB_HEAD_INSIDE (STUB_HEAD + 0)
#define STUB_HEAD_SIZE	 (STUB_HEAD + 8)

/* Where to enter the stub, from its start. In each, rbx is the address of the slot. */
#define STUB_ENTER  0  /* wait for a batch */
#define STUB_UNLOCK 16 /* first do the system call that the registers hold (mprotect of what is not code) */
#define STUB_DONE   32 /* first declare the slot's batch done, all of it */

#ifndef __ASSEMBLER__
#include <stdint.h>

extern const unsigned char spore_stub_start[], spore_stub_end[];

/* Goes on in the stub, mapped where it is entered, for ever: in a process whose own memory then is of no more use. */
static inline __attribute__((noreturn)) void stub_go(const void *entry, uint64_t slot)
{
	__asm__ volatile("mov %0, %%rbx\n\tjmp *%1" : : "r"(slot), "r"(entry) : "rbx", "memory");
	__builtin_unreachable();
}
#endif
