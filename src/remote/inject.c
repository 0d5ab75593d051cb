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
#include "remote/borrow.h"
#include "remote/memory.h"
#include "remote/trace.h"

#define HELLO_MS 10000

static struct area_head *head(const struct injection *in)
{
	return (struct area_head *)(in->area.local + PAGE_SIZE);
}

/*
 * Has the thread a seccomp filter? Suspended only for as long as spore lives, it might kill for the munmap. (Strict mode answers as
 * no filter does: EINVAL. EACCES, where spore is filtered itself, counts as yes.)
 */
static bool filtered(pid_t tid)
{
	return ptrace(PTRACE_SECCOMP_GET_FILTER, tid, 0, NULL) >= 0 || (errno != EINVAL && errno != ENOENT);
}

static int64_t borrowed_munmap(struct injection *in, struct remote_addr at, size_t size)
{
	return borrow_call(in, SYS_munmap, (uint64_t[6]){ at.v, size });
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
	int64_t r = borrow_call(in, SYS_mprotect,
		(uint64_t[6]){ in->area.base.v + PAGE_SIZE, in->area.size - PAGE_SIZE, PROT_READ | PROT_WRITE });

	in->unlocked = !r;
	if (r < 0)
		area_free(&in->area);
	return (int)r;
}

/* Read and execute first, for a task may be forbidden (PR_SET_MDWE) to make executable what it could write. The stub's first call makes all but page 0 writable. */
static int map_area(struct injection *in, struct remote_addr base, size_t size, size_t n_slots)
{
	int64_t at = borrow_call(in, SYS_mmap,
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
	if (!stop_runs_64_bit(first))
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
	r = borrow_begin(in, &l);
	if (!r)
		r = map_area(in, REMOTE(l.free), size, n_slots);
	if (r < 0)
		borrow_end(in);
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
	struct task_regs r = borrow_frame_regs(s);
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
	if (!stop_runs_64_bit(s) || FRAME_PADDING + frame_size(&s->regs) > in->frame_room)
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
	borrow_dispatch_off(s);
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
	borrow_end(in);
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
