/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which descriptors are one open file: of many that only kcmp can tell apart, with a binary search for each and no more. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "object/identity.h"
#include "state/files.h"
#include "unit.h"

enum { MOVED = 50, FIRST = 100, MANY = 2000, TWICE = 500, OWN = 100, SEARCH = 12 /* the steps among 2100 */ };

static long compared;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* The linker lets all of spore's calls go through this. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	compared += number == SYS_kcmp;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void make_at(int number)
{
	int fd = eventfd(0, 0);

	CHECK(fd >= 0 && dup2(fd, number) == number);
	close(fd);
}

/* All that its parent has, but that one in two was made anew. */
static pid_t make_child(void)
{
	int up[2];
	char c;
	pid_t pid;

	CHECK(pipe(up) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < OWN; i++)
			make_at(FIRST + 2 * i);
		CHECK(write(up[1], "", 1) == 1);
		for (;;)
			pause();
	}
	CHECK(read(up[0], &c, 1) == 1);
	close(up[0]);
	close(up[1]);
	return pid;
}

static void look(struct capture *c, struct process *p, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	*p = (struct process){ .tree = c->tree, .pid = pid, .living_tid = pid, .pid_fd = -1 };
	p->proc_fd = p->living_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	c->process = p;
	CHECK(p->proc_fd >= 0 && files_look(c) == 0);
}

static object_id file_at(const struct process *p, int number)
{
	const struct file_look *f = process_file(p, number);

	CHECK(f && f->file && f->fd == number);
	return f->file;
}

static void check_shared(const struct process *parent, const struct process *child)
{
	for (int i = 0; i < MANY; i++) {
		object_id file = file_at(parent, FIRST + i);
		bool own = i < 2 * OWN && i % 2 == 0;

		CHECK(!i || file != file_at(parent, FIRST + i - 1));
		CHECK((file_at(child, FIRST + i) == file) == !own);
		CHECK(i >= TWICE || file_at(parent, FIRST + MANY + i) == file);
		CHECK(i >= TWICE || file_at(child, FIRST + MANY + i) == file);
	}
	CHECK(!process_file(parent, FIRST + MANY + TWICE));
}

/* As somebody outside of a stopped tree may, who has the same description. */
static void move(void)
{
	CHECK(lseek(MOVED, 1, SEEK_SET) == 1 && fcntl(MOVED, F_SETFL, O_NONBLOCK | O_APPEND) == 0);
}

int main(void)
{
	struct process parent, child;
	struct problems ps = { 0 };
	struct process *processes[] = { &parent, &child };
	struct tree tree = { .root_pid = getpid(), .processes = processes };
	struct capture c = { .tree = &tree, .ps = &ps, .identities = identities_new() };
	struct rlimit room = { 4096, 4096 };
	pid_t pid;
	int moved;

	CHECK(c.identities && setrlimit(RLIMIT_NOFILE, &room) == 0);
	CHECK(descriptions_new(&tree, &c.descriptions) == 0);
	for (int i = 0; i < MANY; i++)
		make_at(FIRST + i);
	for (int i = 0; i < TWICE; i++)
		CHECK(dup2(FIRST + i, FIRST + MANY + i) > 0);
	CHECK((moved = memfd_create("moved", 0)) >= 0 && dup2(moved, MOVED) == MOVED && close(moved) == 0);
	pid = make_child();
	look(&c, &parent, getpid());
	move();
	look(&c, &child, pid);
	CHECK(file_at(&parent, MOVED) == file_at(&child, MOVED));
	check_shared(&parent, &child);
	CHECK(compared > 0 && compared < (long)(parent.n_files + child.n_files) * SEARCH);
	printf("%zu descriptors, %ld comparisons\n", parent.n_files + child.n_files, compared);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	files_look_free(&parent);
	files_look_free(&child);
	descriptions_free(c.descriptions);
	identities_free(c.identities);
	return 0;
}
