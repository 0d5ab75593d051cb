/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a processor holds for a task: registers of all kinds, segment bases, restartable sequences. x86-64. */

#include "maker.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdalign.h>
#include <sys/auxv.h>
#include <sys/io.h>
#include <sys/prctl.h>
#include <sys/rseq.h>

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

/* Tables that a process may write: a descriptor in the LDT, one in the GDT; ports. */

static uint32_t ldt_word = 0x600df00d;

static int ldt_make(struct maker_ctx *ctx)
{
	struct user_desc d = { .entry_number = 3, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1 };

	NEED(!syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)));
	return 0;
}

static int ldt_use(struct maker_ctx *ctx)
{
	char table[8 * 8] = "";

	CHECK(syscall(SYS_modify_ldt, 0, table, sizeof(table)) >= 32);
	CHECK(table[3 * 8 + 5] & 0x80); /* present */
	return ldt_word != 0x600df00d;
}

static int gdt_make(struct maker_ctx *ctx)
{
	struct user_desc d = {
		.entry_number = (unsigned)-1, .base_addr = 0x12345000, .limit = 0xfff, .seg_32bit = 1, .useable = 1
	};

	NEED(!syscall(SYS_set_thread_area, &d));
	shared(ctx)->value[0] = d.entry_number;
	return 0;
}

static int gdt_use(struct maker_ctx *ctx)
{
	struct user_desc d = { .entry_number = (unsigned)shared(ctx)->value[0] };

	CHECK(!syscall(SYS_get_thread_area, &d));
	SAME(d.base_addr, 0x12345000);
	SAME(d.limit, 0xfff);
	return 0;
}

static int ioport_make(struct maker_ctx *ctx)
{
	NEED(!ioperm(0x80, 1, 1));
	return 0;
}

static int ioport_use(struct maker_ctx *ctx)
{
	outb(0, 0x80); /* a fault where it was lost */
	return 0;
}

static sigjmp_buf escape;

static void on_segv(int sig)
{
	siglongjmp(escape, 1);
}

static bool port_faults(void)
{
	signal(SIGSEGV, on_segv);
	if (sigsetjmp(escape, 1))
		return true;
	outb(0, 0x80);
	return false;
}

/* Every port: of a task that may have them again, of one that may not, and a child that gave them up. */

static int iopl_user_make(struct maker_ctx *ctx)
{
	CHECK(!setuid(1000));
	return prctl(PR_SET_DUMPABLE, 1);
}

static int iopl_user_use(struct maker_ctx *ctx)
{
	CHECK(!port_faults());
	CHECK(!iopl(3));
	CHECK(!iopl(0));
	SAME(iopl(3), -1);
	return 0;
}

static int iopl_none_make(struct maker_ctx *ctx)
{
	return iopl(0);
}

static int iopl_none_use(struct maker_ctx *ctx)
{
	CHECK(port_faults());
	return iopl(3); /* its capability is there still */
}

static int iopl_make(struct maker_ctx *ctx)
{
	NEED(!iopl(3));
	TRY(kid_start(ctx, iopl_user_make, iopl_user_use, NULL));
	return kid_start(ctx, iopl_none_make, iopl_none_use, NULL);
}

static int iopl_use(struct maker_ctx *ctx)
{
	CHECK(!port_faults());
	return kids_finish(ctx);
}

/* A processor that does not tell the time. */

static int tsc_make(struct maker_ctx *ctx)
{
	NEED(!prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	return 0;
}

/* The clock is read by a system call meanwhile; the vDSO would fault too. */
static int tsc_use(struct maker_ctx *ctx)
{
	int mode = 0, faulted;
	uint32_t lo, hi;

	CHECK(!prctl(PR_GET_TSC, &mode));
	SAME(mode, PR_TSC_SIGSEGV);
	CHECK(signal(SIGSEGV, on_segv) != SIG_ERR);
	faulted = sigsetjmp(escape, 1);
	if (!faulted)
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	SAME(faulted, 1);
	CHECK(!prctl(PR_SET_TSC, PR_TSC_ENABLE));
	return 0;
}

static int tsc_kid_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, tsc_make, tsc_use, NULL);
}

/* Protection keys. */

static char *keyed;
static int pkey;

static int pkey_make(struct maker_ctx *ctx)
{
	keyed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(keyed != MAP_FAILED);
	keyed[0] = 'p';
	pkey = pkey_alloc(0, PKEY_DISABLE_WRITE);
	NEED(pkey > 0);
	CHECK(!pkey_mprotect(keyed, PAGE, PROT_READ | PROT_WRITE, pkey));
	return 0;
}

static int pkey_use(struct maker_ctx *ctx)
{
	volatile int faulted;

	SAME(keyed[0], 'p');
	SAME(pkey_get(pkey), PKEY_DISABLE_WRITE);
	CHECK(signal(SIGSEGV, on_segv) != SIG_ERR);
	faulted = sigsetjmp(escape, 1);
	if (!faulted)
		*(volatile char *)keyed = 'q';
	SAME(faulted, 1);
	CHECK(!pkey_set(pkey, 0));
	*(volatile char *)keyed = 'q';
	CHECK(!pkey_free(pkey));
	return 0;
}

/* Loops that are nearly always inside the vDSO, inside a system call, or between the two. arg: which. */

static _Atomic uint64_t turns;
static _Atomic int backwards;
static int loop_kind;

static void *run_loop(void *arg)
{
	int64_t last = 0, now;
	char c;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	started = 1;
	while (!go) {
		switch (loop_kind) {
		case 0:
			now = now_ns(CLOCK_MONOTONIC);
			if (now < last)
				backwards++;
			last = now;
			break;
		case 1:
			syscall(SYS_getppid);
			break;
		case 2:
			if (read(zero, &c, 1) != 1)
				backwards++;
			break;
		case 3:
			sched_yield();
			break;
		}
		turns++;
	}
	close(zero);
	return NULL;
}

static int loop_make(struct maker_ctx *ctx)
{
	loop_kind = (int)ctx->arg;
	return start(run_loop);
}

static int loop_use(struct maker_ctx *ctx)
{
	uint64_t was = turns;

	CHECK(UNTIL(turns > was + 1000));
	TRY(join());
	SAME(backwards, 0);
	return 0;
}

/* Restartable sequences: the registration of each thread, and one that never leaves its section until it is
 * told. */

struct sequence {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

static _Atomic int64_t attempt_began;
static _Atomic int aborts, commits;
static _Atomic uint64_t *_Atomic section_word;

static struct rseq *my_rseq(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void *run_rseq(void *arg)
{
	_Atomic uint64_t *section = (void *)((char *)my_rseq() + offsetof(struct rseq, rseq_cs));
	int committed = 0;

	section_word = section;
	while (!committed) {
		attempt_began = now_ns(CLOCK_MONOTONIC);
		started = 1;
		__asm__ goto volatile(".pushsection .data.rel.rseq_sections, \"aw\"\n"
				      ".balign 32\n"
				      "77: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n"
				      ".popsection\n"
				      "lea 77b(%%rip), %%rax\n"
				      "mov %%rax, (%[section])\n"
				      "1: cmpl $0, %[go]\n je 1b\n"
				      "incl %[commits]\n"
				      "2: jmp 5f\n"
				      ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
				      "4: jmp %l[aborted]\n"
				      "5:\n"
				      :
				      : [section] "r"(section), [go] "m"(go), [commits] "m"(commits)
				      : "memory", "cc", "rax"
				      : aborted);
		*section = 0;
		committed = 1;
		continue;
	aborted:
		aborts++;
	}
	return NULL;
}

static int64_t ready_at;

static int rseq_make(struct maker_ctx *ctx)
{
	NEED(__rseq_size > 0);
	TRY(start(run_rseq));
	ready_at = now_ns(CLOCK_MONOTONIC);
	return 0;
}

static int rseq_use(struct maker_ctx *ctx)
{
	/* It is in the section, and so the word names it: but where the kernel was never told that it was there, and it could not abort. */
	CHECK(UNTIL(*section_word));
	TRY(join());
	SAME(commits, 1);
	/* The attempt that came through must not be one that was begun before it was stopped. */
	if (ctx->stopped) {
		CHECK(attempt_began >= ready_at);
		CHECK(aborts > 0);
	}
	return 0;
}

static int rseq_registered_make(struct maker_ctx *ctx)
{
	NEED(__rseq_size > 0);
	return 0;
}

static int rseq_registered_use(struct maker_ctx *ctx)
{
	struct rseq *r = my_rseq();
	cpu_set_t one;

	for (int cpu = 0; cpu < 2 && cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK(!sched_setaffinity(0, sizeof(one), &one));
		SAME(*(volatile uint32_t *)&r->cpu_id, cpu);
	}
	SAME(syscall(SYS_rseq, r, __rseq_size < 32 ? 32 : __rseq_size, 0, 0x53053053), -1);
	CHECK(errno == EBUSY || errno == EINVAL); /* registered already */
	CHECK(!syscall(SYS_rseq, r, __rseq_size < 32 ? 32 : __rseq_size, 1, 0x53053053));
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

/* The CPUID instruction made to fault, and leave to use a state of the processor that is not for everyone. */

static int cpuid_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_arch_prctl, 0x1012 /* ARCH_SET_CPUID */, 0));
	return 0;
}

static int cpuid_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_arch_prctl, 0x1011 /* ARCH_GET_CPUID */), 0);
	return 0;
}

#define TILES 18 /* AMX: XTILEDATA */

static int tiles_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILES));
	return 0;
}

static int tiles_use(struct maker_ctx *ctx)
{
	uint64_t permitted = 0;

	CHECK(!syscall(SYS_arch_prctl, 0x1022 /* ARCH_GET_XCOMP_PERM */, &permitted));
	CHECK(permitted >> TILES & 1);
	return 0;
}

const struct maker makers_cpu[] = {
	{ "segments", "segment selectors that programs leave alone", segments_make, segments_use },
	{ "cpuid", "a CPUID instruction that faults", cpuid_make, cpuid_use },
	{ "tiles", "leave to use the tile registers", tiles_make, tiles_use },
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
	{ "ldt", "an entry in the local descriptor table", ldt_make, ldt_use, MAKER_MAY_REFUSE },
	{ "gdt", "a thread area in the global descriptor table", gdt_make, gdt_use, MAKER_MAY_REFUSE },
	{ "ioperm", "leave to use a port", ioport_make, ioport_use, MAKER_MAY_REFUSE },
	{ "iopl", "leave to use every port", iopl_make, iopl_use, MAKER_MAY_REFUSE, 0, "I/O ports" },
	{ "tsc", "no leave to read the time stamp counter", tsc_kid_make, NULL, MAKER_MAY_REFUSE },
	{ "pkey", "a protection key", pkey_make, pkey_use, MAKER_MAY_REFUSE },
	{ "loop-vdso", "a thread that reads the clock", loop_make, loop_use, 0, 0 },
	{ "loop-getppid", "a thread that calls getppid", loop_make, loop_use, 0, 1 },
	{ "loop-read", "a thread that reads /dev/zero", loop_make, loop_use, 0, 2 },
	{ "loop-yield", "a thread that yields", loop_make, loop_use, 0, 3 },
	ROW("rseq", "a thread inside a restartable sequence", rseq),
	ROW("rseq-registered", "a registered rseq area", rseq_registered),
	{ 0 },
};
