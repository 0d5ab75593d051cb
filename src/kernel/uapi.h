/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernel constants newer than the machine's headers. Those that the headers have are checked to be equal. */
#pragma once

#include <fcntl.h>
#include <linux/types.h>
#include <sys/ptrace.h>

#define SPORE_PTRACE_GET_RSEQ_CONFIGURATION	      0x420f
#define SPORE_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG 0x4210
#define SPORE_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211

/* linux/eventpoll.h, Linux 6.9 */
struct spore_epoll_params {
	__u32 busy_poll_usecs;
	__u16 busy_poll_budget;
	__u8 prefer_busy_poll, pad;
};
#define SPORE_EPIOCSPARAMS _IOW(0x8A, 0x01, struct spore_epoll_params)
#define SPORE_EPIOCGPARAMS _IOR(0x8A, 0x02, struct spore_epoll_params)

#define SPORE_PIDFD_THREAD O_EXCL /* Linux 6.9 */

/* Linux 6.6: enum bpf_attach_type */
#define SPORE_BPF_TCX_INGRESS 46
#define SPORE_BPF_TCX_EGRESS  47

/* Linux 6.15 */
#define SPORE_PR_TIMER_CREATE_RESTORE_IDS     77
#define SPORE_PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define SPORE_PR_TIMER_CREATE_RESTORE_IDS_ON  1
#define SPORE_PR_TIMER_CREATE_RESTORE_IDS_GET 2

/* prctl(2) that linux/prctl.h of 6.1 lacks */
#define SPORE_PR_SET_MDWE		    65 /* 6.3 */
#define SPORE_PR_GET_MDWE		    66
#define SPORE_PR_SET_MEMORY_MERGE	    67 /* 6.4 */
#define SPORE_PR_GET_MEMORY_MERGE	    68
#define SPORE_PR_THP_DISABLE_EXCEPT_ADVISED (1 << 1) /* 6.18 */
#define SPORE_PR_FUTEX_HASH		    78	     /* 6.16 */
#define SPORE_PR_FUTEX_HASH_SET_SLOTS	    1
#define SPORE_PR_FUTEX_HASH_GET_SLOTS	    2
#define SPORE_MEMBARRIER_GET_REGISTRATIONS  (1 << 9) /* 6.3 */
/* PAGEMAP_SCAN, Linux 6.7 */
#ifndef PAGEMAP_SCAN
struct page_region {
	__u64 start, end, categories;
};
struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN	_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_FILE	(1 << 2)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PAGE_IS_PFNZERO (1 << 5)
#endif
/* PAGEMAP_SCAN's, Linux 6.7, and what it goes with: linux/fs.h, linux/userfaultfd.h */
#define SPORE_PAGE_IS_WRITTEN	    (1 << 1)
#define SPORE_PM_SCAN_WP_MATCHING   (1 << 0)
#define SPORE_PM_SCAN_CHECK_WPASYNC (1 << 1)
#define SPORE_UFFD_FEATURE_WP_ASYNC (1 << 15)
#define SPORE_UFFD_USER_MODE_ONLY   1	     /* 5.11 */
#define SPORE_PAGE_IS_GUARD	    (1 << 8) /* Linux 6.15; older kernels refuse the bit with EINVAL */

/* linux/userfaultfd.h, Linux 6.6 */
struct spore_uffdio_poison {
	__u64 start, len, mode;
	__s64 updated;
};
#define SPORE_UFFD_FEATURE_POISON (1 << 14)
#define SPORE_UFFDIO_POISON	  _IOWR(0xAA, 0x08, struct spore_uffdio_poison)

#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

#define SPORE_AT_HANDLE_FID	 0x200 /* name_to_handle_at, Linux 6.5 */
#define SPORE_MADV_GUARD_INSTALL 102
#define SPORE_SYS_mseal		 462
#define SPORE_MAP_DROPPABLE	 0x08

/* arch_prctl(2) on x86-64, newer than asm/prctl.h of 6.1 or not in it */
#define SPORE_ARCH_GET_CPUID	     0x1011
#define SPORE_ARCH_SET_CPUID	     0x1012
#define SPORE_ARCH_GET_XCOMP_SUPP    0x1021
#define SPORE_ARCH_GET_XCOMP_PERM    0x1022
#define SPORE_ARCH_REQ_XCOMP_PERM    0x1023
#define SPORE_ARCH_GET_UNTAG_MASK    0x4001
#define SPORE_ARCH_SHSTK_STATUS	     0x5005
#define SPORE_NT_386_IOPERM	     0x201
#define SPORE_PTRACE_GET_THREAD_AREA 25
