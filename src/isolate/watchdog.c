/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pidfd_open(2), clone(2). The process is forked from a program with threads, and so makes nothing but system
 * calls, by hand: another thread may have held any lock of the C library.
 */
#include "isolate/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define WATCHDOG_ROOM (4u << 20) /* bytes; those not used are never touched */

#define UNMAKE_ROOM 8192

struct watchdog_page {
	_Atomic uint32_t committed;
	_Atomic uint32_t n_unmake; /* complete ones */
	struct unmake {
		int (*fn)(int id, const char *name);
		int id;
		char name[NAME_MAX + 1];
	} unmake[UNMAKE_ROOM];
	_Atomic uint32_t n; /* may run past the room */
	_Atomic int32_t pids[];
};
#define WATCHDOG_PIDS ((WATCHDOG_ROOM - sizeof(struct watchdog_page)) / sizeof(int32_t))

/* --- the process --- */

/* Decimal digits of n appended at out; returns their end. */
static char *put_number(char *out, unsigned int n)
{
	char digits[12], *d = digits;

	do
		*d++ = (char)('0' + n % 10);
	while (n /= 10);
	while (d > digits)
		*out++ = *--d;
	return out;
}

/* Reads the pids of a process's children (those of its leader: a task in the stub has no others) and adds
 * them. */
static void add_children(struct watchdog_page *page, pid_t pid)
{
	char path[64] = "/proc/", text[4096], *p;
	pid_t child = 0;
	ssize_t n;
	int fd;

	p = put_number(path + 6, (unsigned int)pid);
	p = stpcpy(p, "/task/");
	p = put_number(p, (unsigned int)pid);
	strcpy(p, "/children");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != ' ') {
				child = child * 10 + (text[i] - '0');
				continue;
			}
			uint32_t slot = atomic_fetch_add(&page->n, 1);

			if (slot < WATCHDOG_PIDS)
				atomic_store(&page->pids[slot], child);
			child = 0;
		}
	close(fd);
}

/*
 * Those in the stub end by themselves once they are awake. The kernel wakes one, who wakes the others, unless it is killed before:
 * hence first of all this.
 */
static void wake_all(uint32_t *own)
{
	syscall(SYS_futex, own, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/*
 * Everything noted, and what that has given birth to. Found before the first is killed, for the children of the dead are others'; and
 * nothing is stopped meanwhile, for who kills this process too would leave it so.
 */
static void kill_tree(struct watchdog_page *page)
{
	for (uint32_t i = 0; i < atomic_load(&page->n) && i < WATCHDOG_PIDS; i++)
		if (atomic_load(&page->pids[i]) > 1)
			add_children(page, atomic_load(&page->pids[i]));
	for (uint32_t i = 0; i < atomic_load(&page->n) && i < WATCHDOG_PIDS; i++)
		if (atomic_load(&page->pids[i]) > 1)
			kill(atomic_load(&page->pids[i]), SIGKILL);
}

static void unmake_all(struct watchdog_page *page)
{
	for (uint32_t i = atomic_load(&page->n_unmake); i-- > 0;)
		page->unmake[i].fn(page->unmake[i].id, page->unmake[i].name);
}

__attribute__((noreturn)) static void watch(struct watchdog_page *page, uint32_t *own, int keeper)
{
	struct pollfd p = { .fd = keeper, .events = POLLIN };

	syscall(SYS_setsid);
	syscall(SYS_prctl, PR_SET_NAME, "spore-watchdog", 0, 0, 0);
	if (keeper > 0)
		syscall(SYS_close_range, 0, keeper - 1, 0);
	syscall(SYS_close_range, keeper + 1, ~0u, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (!atomic_load(&page->committed)) {
		wake_all(own);
		kill_tree(page);
		unmake_all(page);
	}
	syscall(SYS_exit_group, 0);
	__builtin_unreachable();
}

/* --- in the keeper --- */

int watchdog_start(struct watchdog *w, uint32_t *own)
{
	_cleanup_fd_ int keeper = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct watchdog_page *page;
	int pidfd = -1;
	struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd };
	sigset_t all, before;
	long pid;

	if (keeper < 0)
		return -errno;
	page = mmap(NULL, WATCHDOG_ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = syscall(SYS_clone3, &args, sizeof(args)); /* without an exit signal */
	if (pid == 0)
		watch(page, own, keeper);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		int r = -errno;

		munmap(page, WATCHDOG_ROOM);
		return r;
	}
	*w = (struct watchdog){ .page = page, .pidfd = pidfd };
	return 0;
}

void watchdog_add(struct watchdog *w, pid_t pid)
{
	uint32_t slot = atomic_fetch_add(&w->page->n, 1);

	if (slot < WATCHDOG_PIDS)
		atomic_store(&w->page->pids[slot], pid);
}

/* By the thread that makes the tree. */
int watchdog_unmake(struct watchdog *w, int (*fn)(int id, const char *name), int id, const char *name)
{
	uint32_t n = atomic_load(&w->page->n_unmake);

	if (n == UNMAKE_ROOM)
		return -ENOSPC;
	w->page->unmake[n].fn = fn;
	w->page->unmake[n].id = id;
	snprintf(w->page->unmake[n].name, sizeof(w->page->unmake[n].name), "%s", name);
	atomic_store(&w->page->n_unmake, n + 1);
	return 0;
}

void watchdog_commit(struct watchdog *w)
{
	atomic_store(&w->page->committed, 1);
}

void watchdog_end(struct watchdog *w)
{
	siginfo_t info;

	if (!w->page)
		return;
	syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	if (!atomic_load(&w->page->committed))
		unmake_all(w->page);
	close_fd(&w->pidfd);
	munmap(w->page, WATCHDOG_ROOM);
	*w = WATCHDOG_NONE;
}
