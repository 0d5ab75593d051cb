/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a task asked of an x86 processor: faulting instructions, tables, ports, tiles, keys. arch_prctl(2), modify_ldt(2), ioperm(2), iopl(2), pkeys(7). */

#include "maker.h"

#include <asm/ldt.h>
#include <setjmp.h>
#include <sys/io.h>
#include <sys/prctl.h>

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

const struct maker makers_x86[] = {
	{ "cpuid", "a CPUID instruction that faults", cpuid_make, cpuid_use },
	{ "tiles", "leave to use the tile registers", tiles_make, tiles_use },
	{ "ldt", "an entry in the local descriptor table", ldt_make, ldt_use, MAKER_MUST_REFUSE, 0, "LDT" },
	{ "gdt", "a thread area in the global descriptor table", gdt_make, gdt_use, MAKER_MUST_REFUSE, 0,
		"thread area" },
	{ "ioperm", "leave to use a port", ioport_make, ioport_use, MAKER_MUST_REFUSE, 0, "I/O ports" },
	{ "iopl", "leave to use every port", iopl_make, iopl_use, MAKER_MAY_REFUSE, 0, "I/O ports" },
	{ "tsc", "no leave to read the time stamp counter", tsc_kid_make, NULL },
	{ "pkey", "a protection key", pkey_make, pkey_use, MAKER_MUST_REFUSE, 0, "protection key" },
	{ 0 },
};
