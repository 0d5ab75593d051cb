/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers of all kinds, in loops that make no call: general, vector, x87, segments and their bases. x86-64. */

#include "maker.h"

#include <asm/prctl.h>
#include <stdalign.h>
#include <sys/auxv.h>

static pthread_t thread;
static _Atomic int started, go;
static pid_t thread_tid;

static int start(void *(*run)(void *))
{
	TRY(thread_start(&thread, run, NULL));
	CHECK(UNTIL(started));
	nap(5);
	return 0;
}

static int join(void)
{
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

/* All general registers and the direction flag, in a loop that makes no call. */

static uint64_t general[14], general_after[15];

void spin_general(_Atomic int *flag, const uint64_t *in, uint64_t *out);
__asm__(".text\n"
	".type spin_general, @function\n"
	"spin_general:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push "
	"%r15\n	push %rdx\n"
	"	mov %rdi, %rax\n"
	"	mov 0(%rsi), %rbx\n	mov 8(%rsi), %rcx\n	mov 16(%rsi), %rdx\n	mov 24(%rsi), %rdi\n"
	"	mov 32(%rsi), %rbp\n	mov 40(%rsi), %r8\n	mov 48(%rsi), %r9\n	mov 56(%rsi), %r10\n"
	"	mov 64(%rsi), %r11\n	mov 72(%rsi), %r12\n	mov 80(%rsi), %r13\n	mov 88(%rsi), %r14\n"
	"	mov 96(%rsi), %r15\n	mov 104(%rsi), %rsi\n"
	"	std\n"
	"1:	cmpl $0, (%rax)\n	je 1b\n"
	"	pushf\n	cld\n"
	"	mov 8(%rsp), %rax\n"
	"	mov %rbx, 0(%rax)\n	mov %rcx, 8(%rax)\n	mov %rdx, 16(%rax)\n	mov %rdi, 24(%rax)\n"
	"	mov %rbp, 32(%rax)\n	mov %r8, 40(%rax)\n	mov %r9, 48(%rax)\n	mov %r10, 56(%rax)\n"
	"	mov %r11, 64(%rax)\n	mov %r12, 72(%rax)\n	mov %r13, 80(%rax)\n	mov %r14, 88(%rax)\n"
	"	mov %r15, 96(%rax)\n	mov %rsi, 104(%rax)\n"
	"	pop %rcx\n	mov %rcx, 112(%rax)\n"
	"	pop %rdx\n	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop "
	"%rbp\n	pop %rbx\n"
	"	ret\n");

static void *run_general(void *arg)
{
	started = 1;
	spin_general(&go, general, general_after);
	return NULL;
}

static int general_make(struct maker_ctx *ctx)
{
	fill(general, sizeof(general), 1);
	return start(run_general);
}

static int general_use(struct maker_ctx *ctx)
{
	TRY(join());
	for (int i = 0; i < 14; i++)
		SAME(general_after[i], general[i]);
	SAME(general_after[14] >> 10 & 1, 1);
	return 0;
}

/* Vector registers. The loop neither calls nor lets the compiler come between. arg: asleep in a system call
 * rather than spinning. */

static alignas(64) char vectors[32 * 64], vectors_after[32 * 64];
static _Atomic int asleep;
static uint64_t masks[8], masks_after[8];

#define ALL16(X)    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define HIGH16(X)   X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define ALL8(X)	    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define XMM(n)	    "movaps " #n "*64(%[in]), %%xmm" #n "\n"
#define XMM_OUT(n)  "movaps %%xmm" #n ", " #n "*64(%[out])\n"
#define YMM(n)	    "vmovaps " #n "*64(%[in]), %%ymm" #n "\n"
#define YMM_OUT(n)  "vmovaps %%ymm" #n ", " #n "*64(%[out])\n"
#define ZMM(n)	    "vmovaps " #n "*64(%[in]), %%zmm" #n "\n"
#define ZMM_OUT(n)  "vmovaps %%zmm" #n ", " #n "*64(%[out])\n"
#define KREG(n)	    "kmovq " #n "*8(%[kin]), %%k" #n "\n"
#define KREG_OUT(n) "kmovq %%k" #n ", " #n "*8(%[kout])\n"
#define CLOBBER(n)  , "xmm" #n
/* Waits for go: by spinning, or by futex(&go, FUTEX_WAIT, 0) with everything still in the registers. */
#define WAIT                                                                                                           \
	"1: cmpl $0, %[go]\n jne 3f\n cmpl $0, %[asleep]\n je 1b\n"                                                    \
	"mov $202, %%eax\n lea %[go], %%rdi\n xor %%esi, %%esi\n xor %%edx, %%edx\n xor %%r10d, %%r10d\n "             \
	"syscall\n jmp 1b\n"                                                                                           \
	"3:\n"
#define WITH(in_, out_)                                                                                                \
	__asm__ volatile(in_ WAIT out_                                                                                 \
			 :                                                                                             \
			 : [go] "m"(go), [asleep] "m"(asleep), [in] "r"(vectors), [out] "r"(vectors_after),            \
			 [kin] "r"(masks), [kout] "r"(masks_after)                                                     \
			 : "memory", "cc", "rax", "rdi", "rsi", "rdx", "rcx", "r10", "r11" ALL16(CLOBBER))

static void *run_xmm(void *arg)
{
	thread_tid = tid_self();
	started = 1;
	WITH(ALL16(XMM), ALL16(XMM_OUT));
	return NULL;
}

static void *run_ymm(void *arg)
{
	thread_tid = tid_self();
	started = 1;
	WITH(ALL16(YMM), ALL16(YMM_OUT) "vzeroupper\n");
	return NULL;
}

static void *run_zmm(void *arg)
{
	thread_tid = tid_self();
	started = 1;
	WITH(ALL16(ZMM) HIGH16(ZMM) ALL8(KREG), ALL16(ZMM_OUT) HIGH16(ZMM_OUT) ALL8(KREG_OUT) "vzeroupper\n");
	return NULL;
}

static int vector_make(struct maker_ctx *ctx, void *(*run)(void *))
{
	fill(vectors, sizeof(vectors), 2);
	fill(masks, sizeof(masks), 3);
	asleep = (int)ctx->arg;
	TRY(start(run));
	return asleep ? until_blocked_in(thread_tid, SYS_futex) : 0;
}

static int vector_use(struct maker_ctx *ctx, int registers, size_t width)
{
	TRY(join());
	for (int i = 0; i < registers; i++)
		if (memcmp(vectors + i * 64, vectors_after + i * 64, width))
			SAME(i, -1);
	return 0;
}

static int xmm_make(struct maker_ctx *ctx)
{
	return vector_make(ctx, run_xmm);
}

static int xmm_use(struct maker_ctx *ctx)
{
	return vector_use(ctx, 16, 16);
}

static int ymm_make(struct maker_ctx *ctx)
{
	NEED(__builtin_cpu_supports("avx"));
	return vector_make(ctx, run_ymm);
}

static int ymm_use(struct maker_ctx *ctx)
{
	return vector_use(ctx, 16, 32);
}

static int zmm_make(struct maker_ctx *ctx)
{
	NEED(__builtin_cpu_supports("avx512bw"));
	return vector_make(ctx, run_zmm);
}

static int zmm_use(struct maker_ctx *ctx)
{
	TRY(vector_use(ctx, 32, 64));
	for (int i = 0; i < 8; i++)
		SAME(masks_after[i], masks[i]);
	return 0;
}

/* The x87 stack, full, with a status that tells of a division by zero. */

static long double x87_after[8];
static unsigned short x87_status, x87_control;

static void *run_x87(void *arg)
{
	static const unsigned short control = 0x0e3f; /* double precision... rounds to zero, all masked */

	started = 1;
	__asm__ volatile("fninit\n fldcw %[control]\n"
			 "fld1\n fldz\n fdivrp\n fstp %%st(0)\n" /* leaves the flag */
			 "fldpi\n fldl2e\n fldl2t\n fldlg2\n fldln2\n fld1\n fldz\n fldpi\n"
			 "1: cmpl $0, %[go]\n je 1b\n"
			 "fnstsw %[status]\n fnstcw %[got]\n"
			 "fstpt 0(%[out])\n fstpt 16(%[out])\n fstpt 32(%[out])\n fstpt 48(%[out])\n"
			 "fstpt 64(%[out])\n fstpt 80(%[out])\n fstpt 96(%[out])\n fstpt 112(%[out])\n fninit\n"
			 : [status] "=m"(x87_status), [got] "=m"(x87_control)
			 : [go] "m"(go), [out] "r"(x87_after), [control] "m"(control)
			 : "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	return NULL;
}

static int x87_make(struct maker_ctx *ctx)
{
	return start(run_x87);
}

static int x87_use(struct maker_ctx *ctx)
{
	TRY(join());
	SAME(x87_control, 0x0e3f | 0x40);
	SAME(x87_status >> 2 & 1, 1); /* ZE */
	CHECK(x87_after[0] > 3.14159L && x87_after[0] < 3.1416L);
	CHECK(x87_after[1] == 0 && x87_after[2] == 1);
	CHECK(x87_after[3] > 0.69314L && x87_after[3] < 0.69315L);
	CHECK(x87_after[0] == x87_after[7]);
	return 0;
}

/* Control words that change how a program calculates. */
static int control_make(struct maker_ctx *ctx)
{
	unsigned short cw = 0x077f; /* rounds down */
	unsigned mxcsr = 0xffa1;    /* rounds to zero, flushes to zero, denormals are zeros, invalid and inexact seen */

	__asm__ volatile("fldcw %0\n ldmxcsr %1\n" : : "m"(cw), "m"(mxcsr));
	return 0;
}

static int control_use(struct maker_ctx *ctx)
{
	unsigned short cw = 0;
	unsigned mxcsr = 0;

	__asm__ volatile("fnstcw %0\n stmxcsr %1\n" : "=m"(cw), "=m"(mxcsr));
	SAME(cw, 0x077f);
	SAME(mxcsr & 0xffc0, 0xff80);
	CHECK(mxcsr & 1);
	return 0;
}

/* Segment bases. */

static uint64_t gs_word = 0x1122334455667788;

static int gs_make(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, &gs_word));
	return 0;
}

static int gs_use(struct maker_ctx *ctx)
{
	unsigned long base = 0;
	uint64_t word;

	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
	SAME(base, (uintptr_t)&gs_word);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(word));
	SAME(word, gs_word);
	return 0;
}

static unsigned long fs_base;

static int fs_make(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_base));
	return 0;
}

static int fs_use(struct maker_ctx *ctx)
{
	unsigned long base = 0;

	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
	SAME(base, fs_base);
	return 0;
}

/* Segment registers that are not what they are in almost every program. Loading FS takes the base from the descriptor, which is 0. */

static uint32_t segments[4], segments_after[4];

static void *run_segments(void *arg)
{
	uint32_t selector = 0x2b; /* of user data, flat */

	started = 1;
	__asm__ volatile("mov %[s], %%ds\n mov %[s], %%es\n mov %[s], %%gs\n"
			 "rdfsbase %%rax\n mov %[s], %%fs\n wrfsbase %%rax\n"
			 "mov %%ds, 0(%[in])\n mov %%es, 4(%[in])\n mov %%fs, 8(%[in])\n mov %%gs, 12(%[in])\n"
			 "1: cmpl $0, %[go]\n je 1b\n"
			 "mov %%ds, 0(%[out])\n mov %%es, 4(%[out])\n mov %%fs, 8(%[out])\n mov %%gs, 12(%[out])\n"
			 "xor %%eax, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n mov %%eax, %%gs\n"
			 :
			 : [s] "r"(selector), [go] "m"(go), [in] "r"(segments), [out] "r"(segments_after)
			 : "memory", "cc", "rax");
	return NULL;
}

static int segments_make(struct maker_ctx *ctx)
{
	NEED(getauxval(AT_HWCAP2) & 2); /* FSGSBASE */
	return start(run_segments);
}

static int segments_use(struct maker_ctx *ctx)
{
	TRY(join());
	for (int i = 0; i < 4; i++) {
		SAME(segments[i] & 0xffff, 0x2b);
		SAME(segments_after[i], segments[i]);
	}
	return 0;
}

const struct maker makers_registers[] = {
	{ "segments", "segment selectors that programs leave alone", segments_make, segments_use },
	ROW("general", "all general registers and the direction flag", general),
	{ "xmm", "SSE registers of a spinning thread", xmm_make, xmm_use, 0, 0 },
	{ "xmm-asleep", "SSE registers of a sleeping thread", xmm_make, xmm_use, 0, 1 },
	{ "ymm", "AVX registers of a spinning thread", ymm_make, ymm_use, 0, 0 },
	{ "ymm-asleep", "AVX registers of a sleeping thread", ymm_make, ymm_use, 0, 1 },
	{ "zmm", "AVX-512 registers of a spinning thread", zmm_make, zmm_use, 0, 0 },
	{ "zmm-asleep", "AVX-512 registers of a sleeping thread", zmm_make, zmm_use, 0, 1 },
	ROW("x87", "a full x87 stack", x87),
	ROW("control", "rounding and flushing by x87 and SSE control words", control),
	ROW("gs-base", "a GS base", gs),
	ROW("fs-base", "the FS base", fs),
	{ 0 },
};
