/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The area: memory that spore shares with the tasks it runs calls in. It holds the stub's code, one slot for each task,
 * and an arena from which batches take their operations, arguments and results. The same bytes are seen at `local` by
 * spore and at `base` by every task, so a remote address is the local one shifted.
 *
 *   page 0      the stub (src/arch/x86_64/stub.S), read and execute in the tasks
 *   page 1      struct area_head: the word that tells the tasks that spore lives (a robust futex)
 *   then        slots, 64 bytes aligned
 *   then        the arena
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
	uint32_t flags;   /* OP_* */
	uint8_t from[6];  /* 0: arg[i] is literal; n: argument i is the result of the operation n places back */
	uint8_t pad[6];
	int64_t expect;    /* OP_EXPECT: any other result stops the batch */
	uint64_t child;    /* OP_BIRTH: remote address of the slot in which the newborn (result 0) goes on */
}; /* 96 bytes: static_assert in area.c */

#define OP_MAY_FAIL (1u << 0) /* a negative result does not stop the batch */
#define OP_EXPECT   (1u << 1)
#define OP_BIRTH    (1u << 2) /* clone3 or vfork-like: in the child, go on at the slot `child` */

/* Where one task takes its batches. Futex words are private to the pair (task, spore). */
struct slot {
	uint32_t state;   /* SLOT_*: a futex word, written by spore to give and by the stub to answer */
	uint32_t failed;  /* index of the operation that stopped the batch, or count */
	uint64_t ops;     /* remote address of the first struct op */
	uint64_t count;
	uint64_t frame;   /* remote address of the rt_sigframe to leave by when spore dies; 0: leave by exit_group */
	uint64_t leave_rip; /* where to jump in order to leave (a `syscall; ret`), with rax = leave_nr */
	uint64_t pad[3];
} __attribute__((aligned(64)));

#define SLOT_IDLE 0 /* the stub waits here */
#define SLOT_RUN  1 /* a batch is ready */
#define SLOT_DONE 2 /* the batch ended: all, or stopped at `failed` */

struct area {
	uint8_t *local;
	size_t size;
	struct remote_addr base;
	size_t slot_offset;
	size_t n_slots;
	pthread_mutex_t lock; /* guards used */
	size_t arena_offset;
	size_t used; /* of the arena */
	int fd;      /* the memfd behind it, for restore; -1 in a checkpoint */
};

/* A memfd of `size` bytes with the stub in place, to be mapped at `base` by the tasks. 0 or negative errno. */
int area_create(struct area *a, struct remote_addr base, size_t size, size_t n_slots);
void area_free(struct area *a);

struct slot *area_slot(struct area *a, size_t i);
struct remote_addr area_remote(const struct area *a, const void *local);
void *area_alloc(struct area *a, size_t size); /* zeroed, 16-byte aligned; NULL when the arena is full */
void area_reset(struct area *a);               /* forgets every allocation: no batch may be under way */
