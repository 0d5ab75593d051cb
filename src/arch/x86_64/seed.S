/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seed: a whole program that maps the area and enters the stub. argv[1] is "fd,base,size,slot,entry", in hex (seed_argument).
 * No C library, for an exec of this costs a quarter of that of a static glibc program, and there is nothing here to be undone.
 */
#include "arch/x86_64/stub.h"

#define SYS_mmap       9
#define SYS_exit_group 231

#define PROT_READ           1
#define PROT_WRITE          2
#define PROT_EXEC           4
#define MAP_SHARED          0x01
#define MAP_FIXED_NOREPLACE 0x100000

	.text
	.globl _start
_start:
	cmpq	$2, (%rsp)
	jb	.Lfail
	mov	16(%rsp), %rsi
	call	.Lhex
	mov	%rax, %r12 /* descriptor */
	call	.Lhex
	mov	%rax, %r13 /* base */
	call	.Lhex
	mov	%rax, %r14 /* size */
	call	.Lhex
	mov	%rax, %rbx /* slot */
	call	.Lhex
	mov	%rax, %r15 /* entry */

	mov	%r13, %rdi
	mov	$STUB_HEAD, %esi
	mov	$(PROT_READ | PROT_EXEC), %edx
	xor	%r9d, %r9d
	call	.Lmap
	lea	STUB_HEAD(%r13), %rdi
	lea	-STUB_HEAD(%r14), %rsi
	mov	$(PROT_READ | PROT_WRITE), %edx
	mov	$STUB_HEAD, %r9d
	call	.Lmap
	lea	(%r13,%r15), %rax
	jmp	*%rax

	/* rdi, rsi, rdx, r9: address, size, protection, offset in the area's descriptor */
.Lmap:
	mov	$(MAP_SHARED | MAP_FIXED_NOREPLACE), %r10d
	mov	%r12, %r8
	mov	$SYS_mmap, %eax
	mov	%rdi, %rbp
	syscall
	cmp	%rbp, %rax
	jne	.Lfail
	ret

	/* The number at rsi, up to a character that is no lower-case hex digit, which is skipped. */
.Lhex:
	xor	%eax, %eax
1:	movzbl	(%rsi), %ecx
	test	%ecx, %ecx
	jz	3f
	inc	%rsi
	lea	-'0'(%rcx), %edx
	cmp	$10, %edx
	jb	2f
	lea	-'a'(%rcx), %edx
	cmp	$6, %edx
	jae	3f
	add	$10, %edx
2:	shl	$4, %rax
	or	%rdx, %rax
	jmp	1b
3:	ret

.Lfail:
	mov	$127, %edi
	mov	$SYS_exit_group, %eax
	syscall
	ud2

	.section .note.GNU-stack, "", @progbits
