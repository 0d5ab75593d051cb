/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/area.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86_64/stub.h"
#include "base/macro.h"
#include "kernel/futex.h"

#define AREA_SLOTS (3 * PAGE_SIZE)

#define SAME(type, member, offset) static_assert(offsetof(type, member) == (offset), #member " is known to stub.S")
SAME(struct op, nr, STUB_OP_NR);
SAME(struct op, arg, STUB_OP_ARG);
SAME(struct op, result, STUB_OP_RESULT);
SAME(struct op, flags, STUB_OP_FLAGS);
SAME(struct op, from, STUB_OP_FROM);
SAME(struct op, expect, STUB_OP_EXPECT);
SAME(struct op, child, STUB_OP_CHILD);
static_assert(sizeof(struct op) == STUB_OP_SIZE, "the size of an operation is known to stub.S");
SAME(struct slot, state, STUB_SLOT_STATE);
SAME(struct slot, failed, STUB_SLOT_FAILED);
SAME(struct slot, ops, STUB_SLOT_OPS);
SAME(struct slot, count, STUB_SLOT_COUNT);
SAME(struct slot, frame, STUB_SLOT_FRAME);
SAME(struct slot, outer, STUB_SLOT_OUTER);
SAME(struct slot, leave_rip, STUB_SLOT_LEAVE_RIP);
SAME(struct slot, flags, STUB_SLOT_FLAGS);
SAME(struct slot, nap, STUB_SLOT_NAP);
SAME(struct slot, wait, STUB_SLOT_WAIT);
SAME(struct slot, wait[1].uaddr, STUB_SLOT_OWN);
static_assert(sizeof(struct slot) == STUB_SLOT_SIZE, "the size of a slot is known to stub.S");
SAME(struct area_head, inside, STUB_HEAD_INSIDE - STUB_HEAD);
SAME(struct area_head, size, STUB_HEAD_SIZE - STUB_HEAD);

/* The lowest bit of a link says that the word at its end is a priority-inheritance lock. */
static struct robust_list *link_target(const struct robust_list *link)
{
	return (struct robust_list *)((uintptr_t)link & ~(uintptr_t)1);
}

/* The C library's own entries are linked backward too. */
static void set_back_link(const struct robust_list_head *head, struct robust_list *link, struct robust_list *back)
{
	struct robust_list *target = link_target(link);

	if (target != &head->list)
		((struct robust_list **)target)[-1] = back;
}

/*
 * The C library registered a robust list for this thread, and the kernel takes only one: so the area's word joins that
 * list, in the shape that the C library gives its own entries (a link forward; before it, one back, which it writes when
 * a mutex is put in front). The word lies at the list's fixed offset from the entry, which is negative and small: the
 * entry opens page 2, the word ends page 1.
 */
static int own_thread(struct area *a)
{
	struct robust_list_head *head;
	struct robust_list *entry;
	size_t size;

	if (syscall(SYS_get_robust_list, 0, &head, &size) < 0)
		return -errno;
	if (!head || size != sizeof(*head) || head->futex_offset >= 0 || head->futex_offset < -1024)
		return -ENOTSUP;
	if (mmap(a->local + 2 * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0) == MAP_FAILED)
		return -errno;
	entry = (struct robust_list *)(a->local + 2 * PAGE_SIZE);
	a->own = (uint32_t *)((uint8_t *)entry + head->futex_offset);
	*a->own = (uint32_t)gettid() | FUTEX_WAITERS;
	entry->next = head->list.next;
	set_back_link(head, entry, &head->list);
	/* The kernel walks the list when this thread dies, which may be between any two of these. */
	__atomic_store_n(&head->list.next, entry, __ATOMIC_RELEASE);
	set_back_link(head, entry->next, entry);
	a->entry = entry;
	return 0;
}

static void disown_thread(struct area *a)
{
	struct robust_list_head *head;
	struct robust_list *entry = a->entry, *at;
	size_t size;

	if (!entry || syscall(SYS_get_robust_list, 0, &head, &size) < 0)
		return;
	for (at = &head->list; at->next != entry; at = link_target(at->next))
		if (link_target(at->next) == &head->list)
			return;
	__atomic_store_n(&at->next, entry->next, __ATOMIC_RELEASE);
	set_back_link(head, entry->next, at);
	a->entry = NULL;
}

static void slot_init(struct area *a, struct slot *s)
{
	s->flags = SLOT_ABANDON;
	s->wait[0].uaddr = area_remote(a, &s->state).v;
	s->wait[0].flags = s->wait[1].flags = FUTEX_32;
	s->wait[1].uaddr = area_remote(a, a->own).v;
}

size_t area_size(size_t n_slots, size_t gap, size_t arena)
{
	return ALIGN_UP(AREA_SLOTS + ALIGN_UP(n_slots * sizeof(struct slot), 64) + gap + arena, PAGE_SIZE);
}

int area_adopt(struct area *a, uint8_t *local, struct remote_addr base, size_t size, size_t n_slots, size_t gap)
{
	struct area_head *head = (struct area_head *)(local + PAGE_SIZE);
	int r;

	if (size % PAGE_SIZE || base.v % PAGE_SIZE || area_size(n_slots, gap, 0) > size)
		return -EINVAL;
	*a = (struct area){
		.local = local, .size = size, .base = base, .slot_offset = AREA_SLOTS, .n_slots = n_slots, .fd = -1
	};
	a->arena_offset = area_size(n_slots, gap, 0);
	r = own_thread(a);
	if (r < 0)
		return r;
	pthread_mutex_init(&a->lock, NULL);
	head->size = size;
	for (size_t i = 0; i < n_slots; i++)
		slot_init(a, area_slot(a, i));
	memcpy(local, spore_stub_start, (size_t)(spore_stub_end - spore_stub_start));
	return 0;
}

int area_create(struct area *a, struct remote_addr base, size_t size, size_t n_slots)
{
	uint8_t *local = MAP_FAILED;
	int r, fd;

	*a = (struct area){ .fd = -1 };
	fd = memfd_create("spore-area", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		goto failed;
	local = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (local == MAP_FAILED)
		goto failed;
	errno = 0;
	r = area_adopt(a, local, base, size, n_slots, 0);
	if (r < 0) {
		errno = -r;
		goto failed;
	}
	a->fd = fd;
	return 0;
failed:
	r = -errno;
	if (local != MAP_FAILED)
		munmap(local, size);
	close(fd);
	*a = (struct area){ .fd = -1 };
	return r;
}

int area_enter(const struct area *a, int fd, const struct slot *s)
{
	const int flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
	uint8_t *base = (uint8_t *)a->base.v;

	if (mmap(base, STUB_HEAD, PROT_READ | PROT_EXEC, flags, fd, 0) != base ||
		mmap(base + STUB_HEAD, a->size - STUB_HEAD, PROT_READ | PROT_WRITE, flags, fd, STUB_HEAD) !=
			base + STUB_HEAD)
		return errno ? -errno : -EEXIST;
	stub_go(base + STUB_ENTER, area_remote(a, s).v);
}

void area_abandon(const struct area *a)
{
	__atomic_or_fetch(a->own, FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
	futex_wake(a->own, INT_MAX);
}

void area_free(struct area *a)
{
	if (!a->local)
		return;
	disown_thread(a);
	if (!a->entry) {
		munmap(a->local, a->size);
	} else {
		/* Freed by a thread that does not own it: the owner's list still leads here, and must not break off. */
		munmap(a->local, PAGE_SIZE);
		munmap(a->local + AREA_SLOTS, a->size - AREA_SLOTS);
	}
	if (a->fd >= 0)
		close(a->fd);
	pthread_mutex_destroy(&a->lock);
	*a = (struct area){ .fd = -1 };
}

struct slot *area_slot(const struct area *a, size_t i)
{
	return i < a->n_slots ? (struct slot *)(a->local + a->slot_offset) + i : NULL;
}

struct remote_addr area_remote(const struct area *a, const void *local)
{
	return REMOTE(a->base.v + (uint64_t)((const uint8_t *)local - a->local));
}

void *area_alloc(struct area *a, size_t size)
{
	size_t room = a->size - a->arena_offset, from;

	if (size > room)
		return NULL;
	size = ALIGN_UP(size, 16ul);
	pthread_mutex_lock(&a->lock);
	from = a->used;
	if (size > room - from) {
		pthread_mutex_unlock(&a->lock);
		return NULL;
	}
	a->used = from + size;
	if (from < a->high)
		memset(a->local + a->arena_offset + from, 0, MIN(size, a->high - from));
	a->high = MAX(a->high, a->used);
	pthread_mutex_unlock(&a->lock);
	return a->local + a->arena_offset + from;
}

void area_reset(struct area *a)
{
	pthread_mutex_lock(&a->lock);
	a->used = 0;
	pthread_mutex_unlock(&a->lock);
}
