/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As isolate/watchdog.c: nothing but system calls in the process. */
#include "lazy/survivor.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "lazy/space.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define UFFDS	(1u << 16)
#define TURN_MS 20

struct survivor_page {
	size_t n_roots;
	size_t size;
	_Atomic uint32_t n; /* may run past the room */
	_Atomic int uffd[UFFDS];
	struct doomed roots[];
};

/* --- the process --- */

/* Whoever needs a page that nobody can give any more gets SIGBUS, should it still live. */
static void answer(struct survivor_page *page, int uffd)
{
	struct uffd_msg m;

	while (read(uffd, &m, sizeof(m)) == sizeof(m)) {
		struct spore_uffdio_poison poison = { .len = 4096 };

		poison.start = m.arg.pagefault.address & ~4095ull;
		if (m.event == UFFD_EVENT_PAGEFAULT)
			ioctl(uffd, SPORE_UFFDIO_POISON, &poison);
		else if (m.event == UFFD_EVENT_FORK)
			survivor_note(&(struct survivor){ .page = page }, (int)m.arg.fork.ufd);
	}
}

/* Until no memory is left into which zeros could come. */
static void hold_until_dead(struct survivor_page *page)
{
	bool left = true;

	while (left) {
		uint32_t n = atomic_load(&page->n);

		left = n > UFFDS;
		for (uint32_t i = 0; i < n && i < UFFDS; i++) {
			int uffd = atomic_load(&page->uffd[i]);

			if (uffd < 0)
				continue;
			if (uffd_is_gone(uffd)) { /* or the number is something else's by now */
				atomic_store(&page->uffd[i], -1);
				continue;
			}
			answer(page, uffd);
			left = true;
		}
		if (left)
			poll(NULL, 0, TURN_MS);
	}
}

__attribute__((noreturn)) static void outlive(struct survivor_page *page, int keeper)
{
	struct pollfd p = { .fd = keeper, .events = POLLIN };

	syscall(SYS_setsid);
	syscall(SYS_prctl, PR_SET_NAME, "spore-survivor", 0, 0, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	end_tree(page->roots, page->n_roots);
	hold_until_dead(page);
	syscall(SYS_exit_group, 0);
	__builtin_unreachable();
}

/* --- in the keeper --- */

static struct survivor_page *make_page(const struct doomed *roots, size_t n)
{
	size_t size = sizeof(struct survivor_page) + n * sizeof(roots[0]);
	struct survivor_page *page =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	page->size = size;
	page->n_roots = n;
	memcpy(page->roots, roots, n * sizeof(roots[0]));
	return page;
}

int survivor_start(struct survivor *s, const struct doomed *roots, size_t n)
{
	struct survivor_page *page = make_page(roots, n);
	int pidfd = -1, keeper = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct clone_args args = { .flags = CLONE_PIDFD | CLONE_FILES, .pidfd = (uintptr_t)&pidfd };
	sigset_t all, before;
	long pid;

	if (!page || keeper < 0)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = syscall(SYS_clone3, &args, sizeof(args)); /* without an exit signal */
	if (pid == 0)
		outlive(page, keeper);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		int r = -errno;

		close(keeper);
		munmap(page, page->size);
		return r;
	}
	*s = (struct survivor){ .page = page, .pidfd = pidfd, .keeper = keeper };
	return 0;
}

void survivor_note(struct survivor *s, int uffd)
{
	uint32_t i;

	if (!s->page)
		return;
	i = atomic_fetch_add(&s->page->n, 1);
	if (i < UFFDS)
		atomic_store(&s->page->uffd[i], uffd);
}

void survivor_end(struct survivor *s)
{
	siginfo_t info;

	if (!s->page)
		return;
	syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)s->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	close_fd(&s->pidfd);
	close_fd(&s->keeper);
	munmap(s->page, s->page->size);
	*s = SURVIVOR_NONE;
}
