/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this kernel offers: each probe is harmless, and tells an offer from its absence by the error alone. */
#include "cli/features.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/cgroup.h"
#include "kernel/peek.h"
#include "kernel/uapi.h"

static bool has_capabilities(void)
{
	static const int wanted[] = { CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!(data[wanted[i] / 32].effective & 1u << wanted[i] % 32))
			return false;
	return true;
}

/* Pid 1 is taken: EEXIST says that the kernel looked. */
static bool has_set_tid(void)
{
	pid_t tid = getpid();
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&tid, .set_tid_size = 1 };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return pid > 0 || errno == EEXIST;
}

static bool has_pidfd_getfd(void)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	_cleanup_fd_ int root = open("/", O_PATH | O_CLOEXEC);
	_cleanup_fd_ int copy = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, root, 0);

	return copy >= 0;
}

static bool has_vm_readv(void)
{
	char from = 1, to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 && to == 1;
}

static bool has_kcmp(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 0) == 0 || errno != ENOSYS;
}

static bool has_openat2(void)
{
	return syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) < 0 && errno != ENOSYS;
}

static bool has_prctl_mm_map(void)
{
	unsigned int size;

	return prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0;
}

static bool has_map_files(void)
{
	_cleanup_fd_ int fd = -1;
	char path[64];
	void *page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)page,
		(unsigned long)page + PAGE_SIZE);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	munmap(page, PAGE_SIZE);
	return fd >= 0;
}

/* On a child that is stopped: every request wants one. size: the request's third argument. */
static long ask_traced(long request, long size)
{
	char buf[64];
	pid_t pid = fork();
	long answer;

	if (pid == 0) {
		pause();
		_exit(0);
	}
	if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		return -ESRCH;
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	waitpid(pid, NULL, __WALL);
	answer = syscall(SYS_ptrace, request, pid, size, buf);
	if (answer < 0)
		answer = -errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
	return answer;
}

static bool has_rseq_configuration(void)
{
	return ask_traced(SPORE_PTRACE_GET_RSEQ_CONFIGURATION, 24) >= 0;
}

static bool has_dispatch_configuration(void)
{
	return ask_traced(SPORE_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, 32) >= 0;
}

static bool has_seccomp_filters(void)
{
	long answer = ask_traced(PTRACE_SECCOMP_GET_FILTER, 0);

	return answer >= 0 || answer == -EINVAL || answer == -ENOENT;
}

static bool has_time_namespace(void)
{
	return access("/proc/self/ns/time", F_OK) == 0;
}

static bool has_timerfd_ticks(void)
{
	uint64_t ticks = 1;
	_cleanup_fd_ int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	return fd >= 0 && ioctl(fd, _IOW('T', 0, uint64_t), &ticks) == 0;
}

/* _IOWR('f', 16, struct pm_scan_arg) */
static bool has_pagemap_scan(void)
{
	struct {
		uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, returned;
	} arg = { .size = sizeof(arg), .start = 0, .end = 0 };
	_cleanup_fd_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd >= 0 && (ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, sizeof(arg)), &arg) >= 0 || errno != ENOTTY);
}

static bool has_kernel_peek(void)
{
	struct kernel_peek *k = kernel_peek_new();
	bool has = k && kernel_peek_ready(k) == 0;

	kernel_peek_free(k);
	return has;
}

static bool has_userfaultfd(void)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	return fd >= 0;
}

/* Bit 55 of a page that was just written. */
static bool has_soft_dirty(void)
{
	volatile char *page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_cleanup_fd_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (page == MAP_FAILED)
		return false;
	page[0] = 1;
	if (fd >= 0 && pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE_SIZE * 8)) != sizeof(entry))
		entry = 0;
	munmap((void *)(uintptr_t)page, PAGE_SIZE);
	return entry >> 55 & 1;
}

static bool has_cgroup_freezer(void)
{
	char mount[PATH_MAX];

	return cgroup2_mount_point(mount, sizeof(mount)) == 0;
}

const struct feature features[] = {
	{ "capabilities", "5.9", "SYS_ADMIN, SYS_PTRACE and CHECKPOINT_RESTORE", NEEDED, has_capabilities },
	{ "clone3 set_tid", "5.5", "tasks get their pids back", NEEDED, has_set_tid },
	{ "pidfd_getfd", "5.6", "descriptors are looked at from outside", NEEDED, has_pidfd_getfd },
	{ "process_vm_readv", "3.2", "memory is read", NEEDED, has_vm_readv },
	{ "kcmp", "3.5", "what tasks share is found", NEEDED, has_kcmp },
	{ "openat2", "5.6", "paths within the tree's root", NEEDED, has_openat2 },
	{ "PR_SET_MM_MAP", "3.18", "argv, environ, auxv and brk", NEEDED, has_prctl_mm_map },
	{ "map_files", "4.3", "files that are mapped", NEEDED, has_map_files },
	{ "rseq by ptrace", "5.13", "restartable sequences", NEEDED, has_rseq_configuration },
	{ "seccomp by ptrace", "4.4", "seccomp filters", USED_IF_THERE, has_seccomp_filters },
	{ "syscall dispatch", "6.4", "syscall user dispatch", USED_IF_THERE, has_dispatch_configuration },
	{ "time namespace", "5.6", "clocks go on from where they were", USED_IF_THERE, has_time_namespace },
	{ "timerfd ticks", "3.17", "timers that have expired and were not read", USED_IF_THERE, has_timerfd_ticks },
	{ "cgroup v2", "4.5", "containers have a cgroup of their own", USED_IF_THERE, has_cgroup_freezer },
	{ "PAGEMAP_SCAN", "6.7", "pages in use are found quickly", USED_IF_THERE, has_pagemap_scan },
	{ "BPF and BTF", "5.19", "AIO, io_uring, userfaultfd and BPF maps; what sockets show nobody", USED_IF_THERE,
		has_kernel_peek },
	{ "userfaultfd", "4.3", "restores on demand (with Linux 6.6), incremental checkpoints", USED_IF_THERE,
		has_userfaultfd },
	{ "soft-dirty", "3.11", "for incremental checkpoints, where PAGEMAP_SCAN is missing", USED_IF_THERE,
		has_soft_dirty },
	{ 0 },
};
