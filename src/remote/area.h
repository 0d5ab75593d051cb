/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The area: memory that spore shares with the tasks it runs calls in. It holds the stub's code, one slot for each task,
 * and an arena from which batches take their operations, arguments and results. The same bytes are seen at `local` by
 * spore and at `base` by every task, so a remote address is the local one shifted.
 *
 *   page 0      the stub (src/arch/x86_64/stub.S), read and execute in the tasks
 *   page 1      struct area_head; at its end the word `own` that tells the tasks that spore lives (a robust futex)
 *   page 2      not shared: in spore it holds the entry of the robust list, where no task can reach it
 *   then        slots, 64 bytes aligned
 *   then        in a checkpoint, a signal frame for each slot
 *   then        the arena
 *
 * `own` names the thread that called area_create, through that thread's robust list: it must be the same thread that calls
 * area_free, and it must live on until then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

/* An address in another process. A type of its own, so that it cannot be dereferenced by mistake. */
struct remote_addr {
	uint64_t v;
};

#define REMOTE(x) ((struct remote_addr){ (uint64_t)(x) })

/* One operation: a system call, its arguments and its result. The layout is known to stub.S. */
struct op {
	int64_t nr;
	uint64_t arg[6];
	int64_t result;
	uint32_t flags;	 /* OP_* */
	uint8_t from[6]; /* 0: arg[i] is literal; n: argument i is the result of the operation n places back */
	uint8_t pad[6];
	int64_t expect; /* OP_EXPECT: any other result stops the batch */
	uint64_t child; /* OP_BIRTH: remote address of the slot in which the newborn (result 0) goes on */
};			/* 96 bytes: static_assert in area.c */

#define OP_MAY_FAIL (1u << 0) /* a negative result does not stop the batch */
#define OP_EXPECT   (1u << 1)
#define OP_BIRTH    (1u << 2) /* clone3 or vfork-like: in the child, go on at the slot `child` */
#define OP_LOAD	    (1u << 3) /* no call: the result is the word at the address that argument 0 is */

/* Where one task takes its batches. The layout is known to stub.S. */
struct slot {
	uint32_t state;	 /* SLOT_*: a futex word, written by spore to give and by the stub to answer */
	uint32_t failed; /* index of the operation that stopped the batch, or count or more: none */
	uint64_t ops;	 /* remote address of the first struct op */
	uint64_t count;
	uint64_t frame; /* remote address of the rt_sigframe to leave by when spore dies; 0: leave by exit_group */
	uint64_t
		outer; /* the same frame outside the area, 0: none; whoever is alone in the area unmaps it through this */
	uint64_t leave_rip; /* a `syscall; ret` outside the area, for that munmap */
	uint32_t flags;	    /* SLOT_ABANDON */
	uint32_t tid;	    /* whose it is, in a checkpoint */
	uint64_t nap[2];    /* of the stub */
	struct {
		uint64_t val, uaddr;
		uint32_t flags, reserved;
	} wait[2];		/* struct futex_waitv: the state, and `own` */
} __attribute__((aligned(64))); /* 128 bytes */

#define SLOT_ABANDON (1u << 0) /* when spore has died: do not even finish the batch that is under way */

#define SLOT_IDLE 0 /* the stub waits here */
#define SLOT_RUN  1 /* a batch is ready */
#define SLOT_DONE 2 /* the batch ended: all, or stopped at `failed` */
#define SLOT_PARK 3 /* the stub spins without a system call, for it is about to be stopped */

struct area_head {
	uint32_t inside; /* tasks that borrow the stub and have a frame to leave by */
	uint32_t pad;
	uint64_t size; /* of the area */
};

struct area {
	uint8_t *local;
	size_t size;
	struct remote_addr base;
	size_t slot_offset;
	size_t n_slots;
	pthread_mutex_t lock; /* guards used */
	size_t arena_offset;
	size_t used;   /* of the arena */
	size_t high;   /* how far it was ever used: beyond that it is zero */
	uint32_t *own; /* the word that the kernel marks when spore dies */
	void *entry;   /* that puts it into the robust list */
	int fd;	       /* the memfd behind it, for restore; -1 in a checkpoint */
};

/* A memfd of `size` bytes with the stub in place, to be mapped at `base` by the tasks. 0 or negative errno. */
int area_create(struct area *a, struct remote_addr base, size_t size, size_t n_slots);
/* The same over memory that is mapped already (at local, shared, to be unmapped by area_free), with `gap` bytes between slots and arena. */
int area_adopt(struct area *a, uint8_t *local, struct remote_addr base, size_t size, size_t n_slots, size_t gap);
/*
 * In a fork of the process that created it: maps it from that descriptor where the tasks have it, and goes on in that slot. Returns only a negative errno. Makes nothing
 * but system calls.
 */
int area_enter(const struct area *a, int fd, const struct slot *s);
/* How large an area must be. */
size_t area_size(size_t n_slots, size_t gap, size_t arena);
void area_free(struct area *a);
/* Bare tasks that use it end, as if spore had died; for good. */
void area_abandon(const struct area *a);

struct slot *area_slot(const struct area *a, size_t i);
struct remote_addr area_remote(const struct area *a, const void *local);
void *area_alloc(struct area *a, size_t size); /* zeroed, 16-byte aligned; NULL when the arena is full */
void area_reset(struct area *a);	       /* forgets every allocation: no batch may be under way */
