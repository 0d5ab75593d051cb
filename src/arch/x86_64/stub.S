/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stub: the only code that spore ever runs inside another process. Position independent, without a stack: all it
 * has is its slot (rbx) and the area around it.
 *
 *   rbx  the slot             r12  address of the word `own`
 *   r13  the operation        r14  operations in the batch      rbp  index of the operation
 *
 * `own` holds the thread id of a thread of spore, and is in that thread's robust list: when spore dies, however it dies,
 * the kernel sets FUTEX_OWNER_DIED in it and wakes one waiter. The bit is tested before each wait, for spore may have
 * died before the stub was entered at all; and whoever sees it wakes the others.
 *
 * No int3, no hardware breakpoint, no stop: nothing here needs spore to be alive.
 */
#include "arch/x86_64/stub.h"

#define SLOT_RUN  1
#define SLOT_DONE 2
#define SLOT_PARK 3

#define OP_MAY_FAIL 1
#define OP_EXPECT   2
#define OP_BIRTH    4
#define OP_LOAD     8

#define SLOT_ABANDON 1

#define FUTEX_OWNER_DIED 0x40000000
#define FUTEX_WAIT       0
#define FUTEX_WAKE       1
#define INT_MAX          0x7fffffff

#define SYS_mprotect     10
#define SYS_munmap       11
#define SYS_rt_sigreturn 15
#define SYS_futex        202
#define SYS_exit_group   231
#define SYS_pselect6     270
#define SYS_futex_waitv  449

#define EINTR  4
#define EAGAIN 11

	.section .rodata.spore_stub, "a", @progbits
	.balign 64
	.globl spore_stub_start, spore_stub_end
	.hidden spore_stub_start, spore_stub_end
spore_stub_start:
	jmp	.Lenter

	.org	spore_stub_start + STUB_UNLOCK, 0xcc
	syscall
	test	%rax, %rax
	jz	.Lenter
	jmp	.Llocked

	.org	spore_stub_start + STUB_DONE, 0xcc
	movl	$-1, STUB_SLOT_FAILED(%rbx)
	mov	STUB_SLOT_OWN(%rbx), %r12
	jmp	.Lanswer

.Lenter:
	mov	STUB_SLOT_OWN(%rbx), %r12
.Lwait:
	mov	(%r12), %ecx
	test	$FUTEX_OWNER_DIED, %ecx
	jnz	.Ldied
	mov	STUB_SLOT_STATE(%rbx), %eax
	cmp	$SLOT_RUN, %eax
	je	.Lrun
	cmp	$SLOT_PARK, %eax
	je	.Lpark

	/* Both words at once: a batch, or the end of spore. */
	mov	%rax, STUB_SLOT_WAIT(%rbx)
	mov	%rcx, STUB_SLOT_WAIT+24(%rbx)
	lea	STUB_SLOT_WAIT(%rbx), %rdi
	mov	$2, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$SYS_futex_waitv, %eax
	syscall
	test	%rax, %rax
	jns	.Lwait
	cmp	$-EAGAIN, %rax
	je	.Lwait
	cmp	$-EINTR, %rax
	je	.Lwait

	/*
	 * A kernel before 5.16, which has no futex_waitv: look every millisecond. By pselect6, because a futex wait with a timeout,
	 * once stopped, overwrites the restart block of the sleep that the task may be in the middle of.
	 */
	movq	$0, STUB_SLOT_NAP(%rbx)
	movq	$1000000, STUB_SLOT_NAP+8(%rbx)
	xor	%edi, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	lea	STUB_SLOT_NAP(%rbx), %r8
	xor	%r9d, %r9d
	mov	$SYS_pselect6, %eax
	syscall
	jmp	.Lwait

	/*
	 * About to be stopped, and filtered: not in a system call, for the kernel would restart that if spore died during the
	 * stop, without a look at `own`, and the filter might kill for it.
	 */
.Lpark:
	pause
	jmp	.Lwait

.Lrun:
	mov	STUB_SLOT_OPS(%rbx), %r13
	mov	STUB_SLOT_COUNT(%rbx), %r14
	xor	%ebp, %ebp

.Lop:
	cmp	%r14, %rbp
	jae	.Ldone
	/* Whoever must not go on alone looks before each step; the others finish what they began, then leave. */
	testl	$SLOT_ABANDON, STUB_SLOT_FLAGS(%rbx)
	jz	.Larguments
	testl	$FUTEX_OWNER_DIED, (%r12)
	jnz	.Ldied

.Larguments:
	.macro argument i, register
	mov	STUB_OP_ARG+8*\i(%r13), \register
	movzbl	STUB_OP_FROM+\i(%r13), %eax
	test	%eax, %eax
	jz	1f
	imul	$-STUB_OP_SIZE, %rax, %rax
	mov	STUB_OP_RESULT(%r13,%rax), \register
1:
	.endm
	argument 0, %rdi
	argument 1, %rsi
	argument 2, %rdx
	argument 3, %r10
	argument 4, %r8
	argument 5, %r9
	testl	$OP_LOAD, STUB_OP_FLAGS(%r13)
	jz	1f
	mov	(%rdi), %rax
	mov	STUB_OP_FLAGS(%r13), %ecx
	jmp	.Lresult
1:
	/* A newborn may get to run long after this batch has ended, when its operations have made room for others: its slot goes with it in a register. */
	xor	%r15d, %r15d
	testl	$OP_BIRTH, STUB_OP_FLAGS(%r13)
	jz	1f
	mov	STUB_OP_CHILD(%r13), %r15
1:	mov	STUB_OP_NR(%r13), %rax
	syscall
	test	%rax, %rax
	jnz	1f
	test	%r15, %r15
	jz	1f
	/* The newborn: it has this task's registers, and from here a slot of its own. */
	mov	%r15, %rbx
	jmp	.Lenter
1:	mov	STUB_OP_FLAGS(%r13), %ecx

.Lresult:
	mov	%rax, STUB_OP_RESULT(%r13)
	test	$OP_EXPECT, %ecx
	jz	.Lerror
	cmp	STUB_OP_EXPECT(%r13), %rax
	jne	.Ldone
	jmp	.Lnext
.Lerror:
	cmp	$-4096, %rax
	jbe	.Lnext
	test	$OP_MAY_FAIL, %ecx
	jz	.Ldone
.Lnext:
	add	$STUB_OP_SIZE, %r13
	inc	%rbp
	jmp	.Lop

.Ldone:
	mov	%ebp, STUB_SLOT_FAILED(%rbx)
.Lanswer:
	movl	$SLOT_DONE, STUB_SLOT_STATE(%rbx)
	testl	$FUTEX_OWNER_DIED, (%r12)
	jnz	.Ldied
	mov	%rbx, %rdi
	mov	$FUTEX_WAKE, %esi
	mov	$INT_MAX, %edx
	mov	$SYS_futex, %eax
	syscall
	jmp	.Lwait

	/* The area could not be made writable: nothing to do but wait for the end, touching nothing. */
.Llocked:
	mov	STUB_SLOT_OWN(%rbx), %r12
1:	mov	(%r12), %edx
	test	$FUTEX_OWNER_DIED, %edx
	jnz	.Ldied
	mov	%r12, %rdi
	mov	$FUTEX_WAIT, %esi
	xor	%r10d, %r10d
	mov	$SYS_futex, %eax
	syscall
	jmp	1b

.Ldied:
	lea	spore_stub_start(%rip), %r13
	mov	STUB_HEAD_INSIDE(%r13), %ebp
	mov	STUB_SLOT_FRAME(%rbx), %r14
	test	%r14, %r14
	jz	1f
	cmp	$1, %ebp
	jbe	2f /* nobody else: one system call less that a seccomp filter could object to */
1:	mov	%r12, %rdi
	mov	$FUTEX_WAKE, %esi
	mov	$INT_MAX, %edx
	mov	$SYS_futex, %eax
	syscall
	test	%r14, %r14
	jz	.Lexit
2:	cmp	$1, %ebp
	jne	.Lsigreturn
	mov	STUB_SLOT_OUTER(%rbx), %rax
	test	%rax, %rax
	jz	.Lsigreturn
	/* Alone in here, and with a frame outside: unmap the area from code of the program's own, whose ret finds the frame. */
	mov	%rax, %rsp
	mov	STUB_SLOT_LEAVE_RIP(%rbx), %rdx
	mov	%r13, %rdi
	mov	STUB_HEAD_SIZE(%r13), %rsi
	mov	$SYS_munmap, %eax
	jmp	*%rdx

.Lsigreturn:
	lea	8(%r14), %rsp /* as if the frame's first word, the return address, had been popped */
	mov	$SYS_rt_sigreturn, %eax
	syscall
	ud2

.Lexit:
	mov	$137, %edi
	mov	$SYS_exit_group, %eax
	syscall
	ud2
spore_stub_end:

	.section .note.GNU-stack, "", @progbits
