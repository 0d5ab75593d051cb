/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/stub.h"
#include "base/cleanup.h"
#include "kernel/futex.h"
#include "kernel/uapi.h"
#include "remote/layout.h"
#include "remote/memory.h"
#include "remote/trace.h"

#define USER_CS_64    0x33
#define EFLAGS_PLAIN  0x202
#define RED_ZONE      128
#define FRAME_PADDING 56 /* puts a frame 8 bytes below a multiple of 64 */
#define HELLO_MS      10000

static struct area_head *head(const struct injection *in)
{
	return (struct area_head *)(in->area.local + PAGE_SIZE);
}

/* Syscall user dispatch would turn our calls into signals. */
static void dispatch_off(struct stop *s)
{
	struct sud_config off = { 0 };

	if (s->sud.mode && !s->sud_off)
		s->sud_off = !ptrace(SPORE_PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, s->tid, sizeof(off), &off);
}

/*
 * The registers for a frame. In a restartable sequence the frame leads to where the kernel would have led: the abort
 * handler. (Otherwise the section would go on, having been left.)
 */
static struct task_regs regs_for_frame(const struct stop *s)
{
	struct task_regs r = s->regs;
	int64_t call = stop_interrupted_call(s);
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;

	if (s->rseq_cs && !remote_read(s->tid, REMOTE(s->rseq_cs), &cs, sizeof(cs)) && r.gp.rip - cs.start < cs.length)
		r.gp.rip = cs.abort;
	/* A frame cannot hold what restart_syscall goes on from, but it can begin the call anew. */
	if (call >= 0)
		r.gp.orig_rax = (uint64_t)call;
	return r;
}

/* Has the process written to none of these pages, ever? */
static bool untouched(pid_t pid, uint64_t start, size_t size)
{
	uint64_t entry[4];
	size_t n = (start % PAGE_SIZE + size + PAGE_SIZE - 1) / PAGE_SIZE;
	char path[32];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || n > ARRAY_SIZE(entry))
		return false;
	if (pread(fd, entry, n * 8, (off_t)(start / PAGE_SIZE * 8)) != (ssize_t)(n * 8))
		return false;
	for (size_t i = 0; i < n; i++)
		if (entry[i] >> 62)
			return false;
	return true;
}

/*
 * Has the thread a seccomp filter? Suspended only for as long as spore lives, it might kill for the munmap. (Strict mode answers as
 * no filter does: EINVAL. EACCES, where spore is filtered itself, counts as yes.)
 */
static bool filtered(pid_t tid)
{
	return ptrace(PTRACE_SECCOMP_GET_FILTER, tid, 0, NULL) >= 0 || (errno != EINVAL && errno != ENOENT);
}

/* As an earlier injection leaves the place: two pages of zeros, which no stack in use has (it has return addresses). */
static bool all_zero(pid_t pid, uint64_t at)
{
	uint8_t bytes[2 * PAGE_SIZE];

	if (remote_read(pid, REMOTE(ALIGN_DOWN(at, PAGE_SIZE)), bytes, sizeof(bytes)) < 0)
		return false;
	return !bytes[0] && !memcmp(bytes, bytes + 1, sizeof(bytes) - 1);
}

/*
 * Where the frame of the first thread may lie. Below its stack pointer only if that is in the main thread's stack: what surrounds
 * the stack pointer of a coroutine or goroutine may be another one's stack. Else at the very bottom of the main stack, where
 * that was never touched but, maybe, by an earlier frame of ours.
 */
static uint64_t outer_place(const struct injection *in, const struct layout *l, size_t size)
{
	uint64_t rsp = in->first->regs.gp.rsp, at;
	uint8_t old[FRAME_HEAD];

	if (rsp >= l->stack_start && rsp < l->stack_end) {
		at = ALIGN_DOWN(rsp - RED_ZONE - size, (uint64_t)FRAME_ALIGN) - 8;
		return at >= l->stack_start ? at : 0;
	}
	at = l->stack_start + FRAME_PADDING;
	if (l->stack_end - l->stack_start < 8 * PAGE_SIZE)
		return 0;
	if (untouched(in->pid, at, size) || all_zero(in->pid, at))
		return at;
	if (remote_read(in->pid, REMOTE(at), old, sizeof(old)) < 0 || !frame_is_ours(old, at, in->gadgets.restorer))
		return 0;
	return at;
}

static int place_outer(struct injection *in, const struct layout *l)
{
	struct task_regs r = regs_for_frame(in->first);
	size_t size = frame_size(&r);
	_cleanup_free_ uint8_t *frame = NULL;

	in->outer = 0;
	if (!in->gadgets.syscall_ret || !in->gadgets.restorer)
		return 0;
	in->outer = outer_place(in, l, size);
	if (!in->outer)
		return 0;
	frame = malloc(size);
	if (!frame)
		return -ENOMEM;
	frame_build(frame, in->outer, &r, in->first->sigmask, in->gadgets.restorer);
	in->covered = malloc(size);
	in->covered_size = size;
	if (!in->covered)
		return -ENOMEM;
	if (remote_read(in->pid, REMOTE(in->outer), in->covered, size) < 0 ||
		remote_write(in->pid, REMOTE(in->outer), frame, size) < 0)
		in->outer = 0;
	return 0;
}

/* The frame goes when nothing borrowed is under way any more. */
static void uncover(struct injection *in)
{
	if (in->outer && in->first->state == STOP_STOPPED)
		remote_write(in->pid, REMOTE(in->outer), in->covered, in->covered_size);
	free(in->covered);
	in->covered = NULL;
	in->outer = 0;
}

/*
 * A call by an instruction of the program's own. With a frame it is closed: the task goes into the kernel for rt_sigreturn, which becomes
 * the call in there, and `syscall; ret` returns into the frame, so that the task finds back from any instruction should
 * spore die. Without one, for want of a place or of the instructions, there is a window of some ten microseconds in which it would not.
 * (What a window of one microsecond keeps: a seccomp filter that kills for the call, in force again when spore dies just then.)
 */
static int64_t borrowed_call(struct injection *in, long nr, const uint64_t arg[6])
{
	struct stop *s = in->first;
	struct user_regs_struct gp = s->regs.gp, approach;
	int64_t result;
	int r;

	trace_set_call(&gp, in->outer ? in->gadgets.syscall_ret : in->gadgets.syscall, nr, arg);
	gp.rsp = in->outer ? in->outer : gp.rsp;
	gp.eflags = EFLAGS_PLAIN;
	approach = gp;
	approach.rax = SYS_rt_sigreturn;
	approach.rsp = gp.rsp + 8;
	dispatch_off(s);
	s->regs_dirty = true;
	result = trace_call(s, in->outer ? &approach : &gp, &gp);
	if (s->state == STOP_GONE)
		return -ESRCH;
	r = trace_put_back(s);
	return r < 0 ? r : result;
}

static int64_t borrowed_munmap(struct injection *in, struct remote_addr at, size_t size)
{
	return borrowed_call(in, SYS_munmap, (uint64_t[6]){ at.v, size });
}

/* The same pages, seen from here. No descriptor ever exists in the task. */
static int map_here(pid_t pid, struct remote_addr at, size_t size, uint8_t **local)
{
	char path[96];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, at.v, at.v + size);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*local = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *local == MAP_FAILED ? -errno : 0;
}

static int adopt(struct injection *in, struct remote_addr base, size_t size, size_t n_slots)
{
	uint8_t *local = NULL;
	int r = map_here(in->pid, base, size, &local);

	if (r < 0)
		return r;
	r = area_adopt(&in->area, local, base, size, n_slots, n_slots * in->frame_room);
	if (r < 0) {
		munmap(local, size);
		in->area = (struct area){ .fd = -1 };
	}
	return r;
}

/* For a filtered task not in the stub, where its filter might kill for it if spore died. */
static int unlock_filtered(struct injection *in)
{
	int64_t r = borrowed_call(in, SYS_mprotect,
		(uint64_t[6]){ in->area.base.v + PAGE_SIZE, in->area.size - PAGE_SIZE, PROT_READ | PROT_WRITE });

	in->unlocked = !r;
	if (r < 0)
		area_free(&in->area);
	return (int)r;
}

/* Read and execute first, for a task may be forbidden (PR_SET_MDWE) to make executable what it could write. The stub's first call makes all but page 0 writable. */
static int map_area(struct injection *in, struct remote_addr base, size_t size, size_t n_slots)
{
	int64_t at = borrowed_call(in, SYS_mmap,
		(uint64_t[6]){ base.v, size, PROT_READ | PROT_EXEC,
			MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1ull, 0 });
	int r;

	if (at < 0 && at >= -4095)
		return (int)at;
	if ((uint64_t)at != base.v) {
		borrowed_munmap(in, REMOTE(at), size);
		return -EEXIST;
	}
	r = adopt(in, base, size, n_slots);
	if (!r && filtered(in->first->tid))
		r = unlock_filtered(in);
	if (r < 0)
		borrowed_munmap(in, base, size);
	return r;
}

int inject_begin(struct injection *in, pid_t pid, struct stop *first, const struct proc_maps *maps, size_t n_slots,
	size_t arena, struct gadget_cache *cache, struct problems *ps)
{
	struct layout l = { 0 };
	size_t size;
	int r;

	*in = (struct injection){ .pid = pid, .first = first, .area.fd = -1 };
	if (first->state != STOP_STOPPED)
		return failed(ps, BLAME(.pid = pid), -EINVAL, "task %d is not stopped", first->tid);
	if (first->regs.gp.cs != USER_CS_64)
		return refused(ps, BLAME(.pid = pid), "task %d runs 32-bit code", first->tid);
	in->frame_room = ALIGN_UP(FRAME_PADDING + frame_size_max(&first->regs), (size_t)FRAME_ALIGN);
	size = ALIGN_UP(area_size(n_slots, n_slots * in->frame_room, arena), LAYOUT_STEP);
	r = layout_of(&l, pid, maps, size, cache);
	if (r < 0)
		return failed(ps, BLAME(.pid = pid), r, "no room in its address space for %zu KiB", size / 1024);
	in->gadgets = l.gadgets;
	in->leftovers = l.in_window;
	if (!l.gadgets.syscall)
		return failed(ps, BLAME(.pid = pid), -ENOENT, "no system call instruction in its code");
	r = place_outer(in, &l);
	if (!r)
		r = map_area(in, REMOTE(l.free), size, n_slots);
	if (r < 0)
		uncover(in);
	if (r < 0)
		return failed(ps,
			BLAME(.pid = pid, .remedy = r == -EPERM
							    ? "/proc/PID/map_files wants CAP_CHECKPOINT_RESTORE in the "
							      "initial user namespace: run spore outside of this one"
							    : NULL),
			r, "cannot map %zu KiB of shared memory in it: %s", size / 1024, strerror(-r));
	return 0;
}

/* What the thread needs in order to leave without us. Written before it enters. */
static void prepare_slot(struct injection *in, struct stop *s, size_t i)
{
	struct slot *slot = area_slot(&in->area, i);
	uint8_t *frame = (uint8_t *)area_slot(&in->area, 0) + in->area.n_slots * sizeof(*slot) + i * in->frame_room +
			 FRAME_PADDING;
	struct task_regs r = regs_for_frame(s);
	bool filter = filtered(s->tid);

	frame_build(frame, area_remote(&in->area, frame).v, &r, s->sigmask, 0);
	slot->frame = area_remote(&in->area, frame).v;
	slot->outer = s == in->first && !filter ? in->outer : 0;
	slot->leave_rip = in->gadgets.syscall_ret;
	slot->flags = filter ? SLOT_ABANDON : 0;
	slot->tid = (uint32_t)s->tid;
	slot->state = SLOT_IDLE;
}

static struct user_regs_struct regs_for_stub(const struct injection *in, const struct stop *s, size_t i)
{
	struct user_regs_struct gp = s->regs.gp;

	/*
	 * The stub has no stack. A handler would need one, if spore died before the mask is set: the program's own, but below the frame if that is there too.
	 */
	if (s == in->first && in->outer)
		gp.rsp = in->outer;
	gp.rip = in->area.base.v + (in->unlocked ? STUB_ENTER : STUB_UNLOCK);
	gp.rbx = area_remote(&in->area, area_slot(&in->area, i)).v;
	gp.rax = SYS_mprotect;
	gp.rdi = in->area.base.v + PAGE_SIZE;
	gp.rsi = in->area.size - PAGE_SIZE;
	gp.rdx = PROT_READ | PROT_WRITE;
	gp.orig_rax = -1ull;
	gp.eflags = EFLAGS_PLAIN;
	return gp;
}

/* Into the stub. Registers before the mask: with them it can put its mask right by itself, if spore dies here. */
static int send(struct stop *s, const struct user_regs_struct *gp)
{
	int r = task_gp_set(s->tid, gp);

	if (!r)
		r = trace_sigmask_set(s->tid, ~0ull);
	if (!r && ptrace(PTRACE_CONT, s->tid, 0, 0) < 0)
		r = -errno;
	return r;
}

/* The first to enter makes the area writable, and the others must not write before that is done. */
static int unlock(struct injection *in, struct stop *s, struct slot *slot)
{
	struct batch none = { .area = &in->area };
	int r = batch_wait(&none, slot, HELLO_MS, stop_alive, s);

	in->unlocked = !r;
	if (r < 0)
		inject_leave(in, s);
	return r;
}

int inject_run(struct injection *in, struct stop *s, size_t i, struct batch *b)
{
	struct slot *slot = area_slot(&in->area, i);
	struct user_regs_struct gp;
	int r;

	if (s->state != STOP_STOPPED || !slot)
		return -EINVAL;
	if (s->regs.gp.cs != USER_CS_64 || FRAME_PADDING + frame_size(&s->regs) > in->frame_room)
		return -ENOTSUP;
	prepare_slot(in, s, i);
	r = b ? batch_submit(b, slot) : 0;
	if (r < 0)
		return r;
	if (!b && !in->unlocked) {
		slot->count = 0;
		slot->state = SLOT_RUN;
	}
	gp = regs_for_stub(in, s, i);
	dispatch_off(s);
	/* Counted before it enters and until after it has left: too many is safe, too few unmaps the area under a thread. */
	__atomic_add_fetch(&head(in)->inside, 1, __ATOMIC_SEQ_CST);
	s->regs_dirty = true;
	r = send(s, &gp);
	if (r < 0) {
		trace_put_back(s);
		__atomic_sub_fetch(&head(in)->inside, 1, __ATOMIC_SEQ_CST);
		return r;
	}
	s->state = STOP_RUNNING;
	return in->unlocked ? 0 : unlock(in, s, slot);
}

int inject_enter(struct injection *in, struct stop *s, size_t i)
{
	return inject_run(in, s, i, NULL);
}

/* A filtered task is stopped outside of any call (stub.S says why). Unless its batch hangs: then there is nothing to lose. */
static void park(struct injection *in, const struct stop *s)
{
	const struct timespec wakes_up = { 0, 20000 };

	for (size_t i = 0; i < in->area.n_slots; i++) {
		struct slot *slot = area_slot(&in->area, i);

		if (slot->tid != (uint32_t)s->tid || !(slot->flags & SLOT_ABANDON) || slot->state == SLOT_RUN)
			continue;
		__atomic_store_n(&slot->state, SLOT_PARK, __ATOMIC_SEQ_CST);
		futex_wake(&slot->state, 1);
		nanosleep(&wakes_up, NULL);
	}
}

void inject_call_back(struct injection *in, struct stop *s)
{
	if (s->state != STOP_RUNNING || s->called_back)
		return;
	park(in, s);
	s->called_back = !stop_interrupt(s);
}

int inject_leave(struct injection *in, struct stop *s)
{
	int r;

	if (s->state == STOP_STOPPED)
		return 0;
	inject_call_back(in, s);
	r = stop_bring_back(s);
	if (!r || s->state == STOP_GONE)
		__atomic_sub_fetch(&head(in)->inside, 1, __ATOMIC_SEQ_CST);
	return r;
}

void inject_end(struct injection *in)
{
	if (!in->area.local)
		return;
	inject_leave(in, in->first);
	if (in->first->state == STOP_STOPPED)
		borrowed_munmap(in, in->area.base, in->area.size);
	uncover(in);
	area_free(&in->area);
}

#define STUB_BEGINNING 32 /* bytes of it that tell it from any other code */

static bool is_shared_anonymous(const struct proc_map *m)
{
	return m->shared && !strncmp(m->name, "/dev/zero", 9);
}

/* The page with the stub, which nobody could ever write: a program's own memory there would begin with one that it could. */
static bool is_first_page(const struct proc_map *m)
{
	return !m->offset && !(m->start % LAYOUT_STEP) && m->prot == (PROT_READ | PROT_EXEC) && is_shared_anonymous(m);
}

/* Or with nothing yet. */
static bool begins_with_stub(pid_t pid, const struct proc_map *first)
{
	uint8_t head[STUB_BEGINNING] = { 0 };
	static const uint8_t nothing[STUB_BEGINNING];

	return remote_read(pid, REMOTE(first->start), head, sizeof(head)) == 0 &&
	       (!memcmp(head, spore_stub_start, sizeof(head)) || !memcmp(head, nothing, sizeof(head)));
}

bool inject_is_leftover(pid_t pid, const struct proc_maps *maps, const struct proc_map *m)
{
	if (!layout_is_ours(m->start, m->end) || !is_shared_anonymous(m))
		return false;
	for (size_t i = 0; i < maps->n; i++) {
		const struct proc_map *first = &maps->list[i];

		if (first->inode == m->inode && is_first_page(first) && first->start + m->offset == m->start)
			return begins_with_stub(pid, first);
	}
	return false;
}

static bool is_inside(const struct stop *s)
{
	_cleanup_fd_ int dir = -1;
	struct proc_maps maps = { 0 };
	uint64_t rip = s->regs.gp.rip;
	bool found = false;

	if (!layout_is_ours(rip, rip + 1))
		return false;
	dir = procfs_open_pid(s->tid);
	if (dir < 0 || proc_maps_read(dir, &maps) < 0)
		return false;
	for (size_t i = 0; i < maps.n && !found; i++)
		found = rip >= maps.list[i].start && rip < maps.list[i].end &&
			inject_is_leftover(s->tid, &maps, &maps.list[i]);
	proc_maps_free(&maps);
	return found;
}

int inject_let_out(struct stop *s)
{
	const struct timespec way_out = { 0, 50000 };
	int r;

	if (s->state != STOP_STOPPED || !is_inside(s))
		return 0;
	task_regs_free(&s->regs);
	s->state = STOP_SEIZED;
	if (ptrace(PTRACE_CONT, s->tid, 0, 0) < 0)
		return -errno;
	nanosleep(&way_out, NULL);
	r = stop_interrupt(s);
	return r < 0 ? r : -ETIMEDOUT;
}

int inject_remove_leftover(struct injection *in, uint64_t start, uint64_t end)
{
	struct batch b;
	bool inside = in->first->state == STOP_RUNNING;
	size_t used = in->area.used; /* there may be many of them, and the arena is small */
	struct slot *slot = area_slot(&in->area, 0);
	int r = 0;

	if (start < in->area.base.v + in->area.size && end > in->area.base.v)
		return -EINVAL;
	batch_init(&b, &in->area);
	batch_call(&b, "munmap of a mapping that a killed spore left", SYS_munmap, start, end - start);
	if (!inside)
		r = inject_enter(in, in->first, 0);
	if (!r)
		r = batch_submit(&b, slot);
	if (!r)
		r = batch_wait(&b, slot, HELLO_MS, stop_alive, in->first);
	if (!inside)
		inject_leave(in, in->first);
	in->area.used = used;
	batch_free(&b);
	return r;
}
