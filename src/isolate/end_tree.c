/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pidfd_send_signal(2), /proc/PID/task/TID/children in proc_tid_children(5) */
#include "isolate/end_tree.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOM   (1u << 18) /* processes; those not there are never touched */
#define ROUNDS 8	  /* what is being born meanwhile is found by the next */

struct found {
	uint32_t n;
	pid_t pid[ROOM];
};

struct entry { /* of getdents64 */
	uint64_t ino;
	int64_t off;
	uint16_t size;
	uint8_t type;
	char name[];
};

static bool is_alive(const struct doomed *d)
{
	return syscall(SYS_pidfd_send_signal, d->pidfd, 0, NULL, 0) == 0;
}

static void add(struct found *f, pid_t pid)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->pid[i] == pid)
			return;
	if (pid > 1 && f->n < ROOM)
		f->pid[f->n++] = pid;
}

static char *put_number(char *out, unsigned int n)
{
	char digits[12], *d = digits;

	do
		*d++ = (char)('0' + n % 10);
	while (n /= 10);
	while (d > digits)
		*out++ = *--d;
	*out = 0;
	return out;
}

/* "1 22 333 " */
static void add_numbers(struct found *f, int fd)
{
	char text[4096];
	pid_t pid = 0;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != ' ') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			add(f, pid);
			pid = 0;
		}
}

/* In tasks: /proc/PID/task. */
static void add_children_of_task(struct found *f, int tasks, const char *tid)
{
	char path[32];
	int fd;

	strcpy(stpcpy(path, tid), "/children");
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	add_numbers(f, fd);
	close(fd);
}

static void add_children(struct found *f, pid_t pid)
{
	char path[48] = "/proc/", room[2048] __attribute__((aligned(8)));
	long n;
	int tasks;

	strcpy(put_number(path + strlen(path), (unsigned int)pid), "/task");
	tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tasks < 0)
		return;
	while ((n = syscall(SYS_getdents64, tasks, room, sizeof(room))) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(room + at);

			if (e->name[0] != '.' && strlen(e->name) < 12)
				add_children_of_task(f, tasks, e->name);
			at += e->size;
		}
	close(tasks);
}

/* Before the first is killed: the children of the dead are others'. */
static void find(struct found *f, const struct doomed *roots, size_t n)
{
	f->n = 0;
	for (size_t i = 0; i < n; i++)
		if (is_alive(&roots[i]))
			add(f, roots[i].pid);
	for (uint32_t i = 0; i < f->n; i++)
		add_children(f, f->pid[i]);
}

void end_tree(const struct doomed *roots, size_t n)
{
	struct found *f =
		mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (int round = 0; f != MAP_FAILED && round < ROUNDS; round++) {
		find(f, roots, n);
		for (uint32_t i = 0; i < f->n; i++)
			kill(f->pid[i], SIGKILL);
		if (!f->n)
			break;
		sched_yield();
	}
	for (size_t i = 0; i < n; i++)
		syscall(SYS_pidfd_send_signal, roots[i].pidfd, SIGKILL, NULL, 0);
	if (f != MAP_FAILED)
		munmap(f, sizeof(*f));
}
