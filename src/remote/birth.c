/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86_64/stub.h"
#include "base/cleanup.h"
#include "remote/trace.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

extern const unsigned char spore_seed_start[], spore_seed_end[];

int seed_open(void)
{
	size_t size = (size_t)(spore_seed_end - spore_seed_start);
	_cleanup_fd_ int fd = memfd_create("spore-seed", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before 6.3, where every memfd is executable */
		fd = memfd_create("spore-seed", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, spore_seed_start, size) != (ssize_t)size)
		return -EIO;
	return take_fd(&fd);
}

static void argument(char buf[static 80], const struct area *a, int area_fd, const struct slot *s, unsigned int entry)
{
	snprintf(buf, 80, "%x,%" PRIx64 ",%zx,%" PRIx64 ",%x", (unsigned int)area_fd, a->base.v, a->size,
		area_remote(a, s).v, entry);
}

void seed_argument(char buf[static 80], const struct area *a, int area_fd, const struct slot *s)
{
	argument(buf, a, area_fd, s, STUB_ENTER);
}

void batch_exec_seed(struct batch *b, int seed_fd, int area_fd, const struct slot *s)
{
	char text[80];
	uint64_t argv[3] = { 0 }, envp, empty;

	argument(text, b->area, area_fd, s, STUB_DONE);
	argv[0] = batch_string(b, "spore-seed").v;
	argv[1] = batch_string(b, text).v;
	envp = batch_copy(b, &argv[2], sizeof(argv[2])).v;
	empty = batch_string(b, "").v;
	batch_call(b, "exec of the seed", SYS_execveat, (uint64_t)seed_fd, empty, batch_copy(b, argv, sizeof(argv)).v,
		envp, AT_EMPTY_PATH);
}

void batch_clone(
	struct batch *b, const char *what, uint64_t flags, uint64_t exit_signal, pid_t number, struct slot *slot)
{
	struct remote_addr set_tid = batch_copy(b, &number, sizeof(number));
	struct clone_args args = {
		.flags = flags, .exit_signal = exit_signal, .set_tid = set_tid.v, .set_tid_size = 1
	};
	uint32_t op = batch_call(b, what, SYS_clone3, batch_copy(b, &args, sizeof(args)).v, sizeof(args));

	batch_expect(b, op, number);
	batch_birth(b, op, slot);
}

int64_t birth_last_call(pid_t tid, uint64_t syscall_insn, long nr, const uint64_t args[6])
{
	struct stop s = { .tid = tid, .state = STOP_STOPPED };
	struct user_regs_struct gp;
	uint64_t mask;
	int64_t result;
	int r;

	if (ptrace(PTRACE_GETREGS, tid, 0, &gp) < 0)
		return -errno;
	r = trace_sigmask_get(tid, &mask);
	if (r < 0)
		return r;
	trace_set_call(&gp, syscall_insn, nr, args);
	result = trace_call(&s, &gp, &gp);
	if (s.state != STOP_GONE)
		trace_sigmask_set(tid, mask);
	return result;
}
