/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pinning PID ADDRESS: writes "pinned" to the memory of another process, when there is something to be read from standard input. From a moment before it says "ready" until then it
 * holds that page: process_vm_writev(2) has pinned it, and waits for its own memory, which is under a userfaultfd. 77: this kernel does not let it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#define PAGE 4096

struct target {
	pid_t pid;
	struct iovec here, there;
	ssize_t written;
};

static void *write_there(void *arg)
{
	struct target *t = arg;

	t->written = process_vm_writev(t->pid, &t->here, 1, &t->there, 1, 0);
	return NULL;
}

static int watch(void *area)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register what = { .range = { (uintptr_t)area, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	return fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &what) < 0 ? -1 : fd;
}

static int fill(int fd, const struct uffd_msg *fault)
{
	static _Alignas(PAGE) char page[PAGE] = "pinned";
	struct uffdio_copy copy = {
		.dst = fault->arg.pagefault.address & ~(PAGE - 1ull), .src = (uintptr_t)page, .len = PAGE
	};

	return ioctl(fd, UFFDIO_COPY, &copy);
}

int main(int argc, char **argv)
{
	void *area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct target t = { .here = { area, 6 } };
	struct uffd_msg fault;
	pthread_t thread;
	char byte;
	int fd = area == MAP_FAILED || argc != 3 ? -1 : watch(area);

	if (fd < 0)
		return 77;
	t.pid = atoi(argv[1]);
	t.there = (struct iovec){ (void *)(uintptr_t)strtoull(argv[2], NULL, 0), 6 };
	if (pthread_create(&thread, NULL, write_there, &t) != 0 || read(fd, &fault, sizeof(fault)) != sizeof(fault))
		return 1;
	puts("ready");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1 || fill(fd, &fault) < 0)
		return 1;
	pthread_join(thread, NULL);
	return t.written == 6 ? 0 : 1;
}
