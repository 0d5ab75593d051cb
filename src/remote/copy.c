/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/copy.h"

#include <errno.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "arch/x86_64/stub.h"
#include "remote/borrow.h"
#include "remote/memory.h"
#include "remote/trace.h"

#define TAKE_MS	   10000
#define TAKE_SLOT  0
#define CHILD_SLOT 1

#define EVENT(status) ((unsigned int)(status) >> 16)

/* A segment notes who attached and detached it last, and when; a fork and an exit do both. */
static bool is_left_out(const struct proc_map *m)
{
	return m->shared && !strncmp(m->name, "/SYSV", 5) && !strstr(m->flags, "dc");
}

static void advise_left_out(struct batch *b, const struct proc_maps *maps, int advice)
{
	for (size_t i = 0; i < maps->n; i++)
		if (is_left_out(&maps->list[i]))
			batch_may_fail(b, batch_call(b, "madvise", SYS_madvise, maps->list[i].start,
						  maps->list[i].end - maps->list[i].start, advice));
}

/* Its descriptors are the parent's own table, of which it lets go before anybody runs. Not the directory: an exec would take the program for one that is shared. */
static uint32_t add_fork(struct batch *b, struct slot *child)
{
	const struct clone_args args = { .flags = CLONE_FILES };
	uint32_t op = batch_call(b, "clone3", SYS_clone3, batch_copy(b, &args, sizeof(args)).v, sizeof(args));

	batch_may_fail(b, op); /* what follows is to be done all the same */
	batch_birth(b, op, child);
	return op;
}

/* The parent stops when its child is there, and tells its number as this process counts. 0: none was born */
static int await_birth(struct stop *parent, const struct slot *slot, pid_t *child)
{
	unsigned long number = 0;
	int status, r;

	for (int i = 0; i < TAKE_MS; i++) {
		r = trace_wait(parent, 1, &status);
		if (r == 0 && EVENT(status) == PTRACE_EVENT_CLONE &&
			ptrace(PTRACE_GETEVENTMSG, parent->tid, 0, &number) == 0)
			*child = (pid_t)number;
		if (r == 0 && ptrace(PTRACE_CONT, parent->tid, 0, EVENT(status) ? 0 : WSTOPSIG(status) & 0x7f) < 0)
			return -errno;
		if (r == -ESRCH || *child || __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == SLOT_DONE)
			return r == -ESRCH ? r : 0;
	}
	return -ETIMEDOUT;
}

/* A call of the child's, by the stub's own instruction. */
static int child_call(struct stop *child, struct injection *in, long nr, const uint64_t args[6])
{
	struct user_regs_struct gp = child->regs.gp;
	int64_t r;

	trace_set_call(&gp, in->area.base.v + STUB_UNLOCK, nr, args);
	gp.eflags = EFLAGS_PLAIN;
	r = trace_call(child, &gp, &gp);
	return r < 0 ? (int)r : 0;
}

static bool may_be_unmapped(const struct proc_map *m)
{
	return m->shared && !strstr(m->flags, "sl"); /* sealed: its parent cannot either */
}

/*
 * What else it shares with its parent would stay open or in use for as long as it lives, were the parent to unmap it: sockets of packet rings, io_uring, locks and
 * seals of files. Neighbours go in one call.
 */
static int unmap_shared(struct stop *child, struct injection *in, const struct proc_maps *maps)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < maps->n; i += n) {
		const struct proc_map *m = &maps->list[i];

		n = 1;
		if (!may_be_unmapped(m))
			continue;
		while (i + n < maps->n && may_be_unmapped(&m[n]) && m[n].start == m[n - 1].end)
			n++;
		r = child_call(child, in, SYS_munmap, (const uint64_t[6]){ m->start, m[n - 1].end - m->start });
	}
	return r;
}

/* A group of its own: the parent's is what it would be without it, for who signals it, waits for its end or leaves it by setsid(2). */
static int detach(struct stop *child, struct injection *in, const struct proc_maps *maps, struct remote_addr name)
{
	int r = child_call(child, in, SYS_close_range, (const uint64_t[6]){ 0, ~0u, CLOSE_RANGE_UNSHARE });

	if (r == 0)
		r = child_call(child, in, SYS_setsid, (const uint64_t[6]){ 0 });
	if (r == 0)
		r = child_call(child, in, SYS_prctl, (const uint64_t[6]){ PR_SET_NAME, name.v });
	return r == 0 ? unmap_shared(child, in, maps) : r;
}

/* Until it is known to die with this process, it would end by itself: it was born into the stub, which sees that spore is gone. */
static int hold(struct stop *child, struct injection *in, const struct proc_maps *maps, struct remote_addr name)
{
	int r = trace_event_stop(child, TRACE_PROMPT_MS);

	if (r == 0)
		r = stop_options(child, PTRACE_O_EXITKILL);
	if (r == 0)
		r = task_regs_get(child->tid, &child->regs);
	if (r == 0)
		child->state = STOP_STOPPED;
	if (r == 0)
		r = detach(child, in, maps, name);
	if (r == 0)
		r = task_gp_set(child->tid, &child->regs.gp);
	return r;
}

static int fork_in_stub(struct injection *in, struct batch *b, struct memory_copy *copy, uint32_t op)
{
	struct slot *slot = area_slot(&in->area, TAKE_SLOT);
	pid_t child = 0;
	int r = batch_submit(b, slot), done;

	if (r < 0)
		return r;
	r = await_birth(in->first, slot, &child);
	if (child)
		copy->stop = (struct stop){ .tid = child, .state = STOP_SEIZED };
	done = r == -ESRCH ? r : batch_wait(b, slot, TAKE_MS, stop_alive, in->first);
	if (r == 0)
		r = done;
	if (r == 0 && batch_result(b, op) < 0)
		r = (int)batch_result(b, op);
	if (r == 0)
		copy->vpid = (pid_t)batch_result(b, op);
	return r == 0 && !child ? -EIO : r;
}

int copy_take(struct injection *in, const struct proc_maps *maps, struct memory_copy *copy)
{
	struct batch b;
	struct remote_addr name;
	uint32_t op;
	int r;

	*copy = (struct memory_copy){ 0 };
	batch_init(&b, &in->area);
	name = batch_string(&b, COPY_NAME);
	advise_left_out(&b, maps, MADV_DONTFORK);
	op = add_fork(&b, area_slot(&in->area, CHILD_SLOT));
	advise_left_out(&b, maps, MADV_DOFORK);
	r = stop_options(in->first, PTRACE_O_TRACECLONE);
	if (r == 0)
		r = inject_enter(in, in->first, TAKE_SLOT);
	if (r == 0) {
		r = fork_in_stub(in, &b, copy, op);
		inject_leave(in, in->first);
	}
	stop_options(in->first, 0);
	if (r == 0)
		r = hold(&copy->stop, in, maps, name);
	if (r == 0 && in->outer) /* what the frame covers is the program's */
		r = remote_write(copy->stop.tid, REMOTE(in->outer), in->covered, in->covered_size);
	if (r < 0)
		copy_kill(copy);
	batch_free(&b);
	return r;
}

void copy_kill(struct memory_copy *copy)
{
	if (copy->stop.state == STOP_NONE)
		return;
	kill(copy->stop.tid, SIGKILL);
	while (waitpid(copy->stop.tid, NULL, __WALL) < 0 && errno == EINTR)
		;
	task_regs_free(&copy->stop.regs);
	copy->stop.state = STOP_NONE;
}

int copy_reap(struct stop *parent, const struct proc_maps *maps, pid_t vpid)
{
	struct injection in = { .pid = parent->tid, .first = parent, .area.fd = -1 };
	struct layout l = { 0 };
	int r = stop_runs_64_bit(parent) ? layout_of(&l, in.pid, maps, LAYOUT_STEP, NULL) : -ENOTSUP;
	int64_t result;

	in.gadgets = l.gadgets;
	if (r == 0 && !l.gadgets.syscall)
		r = -ENOENT;
	if (r == 0)
		r = borrow_begin(&in, &l);
	if (r < 0) {
		borrow_end(&in);
		return r;
	}
	result = borrow_call(&in, SYS_wait4, (const uint64_t[6]){ (uint64_t)vpid, 0, __WALL | WNOHANG });
	borrow_end(&in);
	return result == vpid ? 0 : result < 0 ? (int)result : -EAGAIN;
}
