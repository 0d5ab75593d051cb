/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rings of io_uring. Checkpoint: io_uring.c says what a ring is and refuses what cannot be carried, io_uring_capture.c saves it, io_uring_view.c finds it in the
 * kernel's structures. Restore: io_uring_restore.c makes rings, io_uring_round.c goes through what the tree's own tasks have to do, io_uring_register.c gives back
 * what was registered, io_uring_wind.c brings the counters to where they were.
 */
#pragma once

#include <linux/io_uring.h>

#include "object/component.h"
#include "state/io_uring_identity.h"

/* Newer than some headers. */
#define IO_URING_NO_MMAP	 (1u << 14) /* IORING_SETUP_NO_MMAP, 6.5 */
#define IO_URING_NO_SQARRAY	 (1u << 16) /* IORING_SETUP_NO_SQARRAY, 6.6 */
#define IO_URING_HYBRID_IOPOLL	 (1u << 17) /* IORING_SETUP_HYBRID_IOPOLL, 6.13 */
#define IO_URING_CQE_MIXED	 (1u << 18) /* IORING_SETUP_CQE_MIXED, 6.18 */
#define IO_URING_REGISTER_NAPI	 27	    /* 6.9 */
#define IO_URING_REGISTER_CLOCK	 29	    /* 6.12 */
#define IO_URING_REGISTER_REGION 34	    /* IORING_REGISTER_MEM_REGION, 6.13 */

/* Flags of rings that can be made again as they were. */
#define IO_URING_CARRIED                                                                                               \
	(IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IO_URING_NO_MMAP | IORING_SETUP_IOPOLL | IORING_SETUP_CQSIZE |    \
		IORING_SETUP_CLAMP | IORING_SETUP_ATTACH_WQ | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL |      \
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQE128 | IORING_SETUP_CQE32 |     \
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IO_URING_NO_SQARRAY |                        \
		IO_URING_HYBRID_IOPOLL | IO_URING_CQE_MIXED)

/* A restored ring carries out as many requests that do nothing: of these each takes a second. */
#define IO_URING_A_SECOND (8ull << 20)

struct io_uring_file {
	uint64_t slot;
	object_id file;
	uint64_t tag;
};

struct io_uring_buffer {
	uint64_t slot, address, size, tag;
	object_id process; /* whose memory it is */
};

struct io_uring_personality {
	uint64_t number;
	struct credentials_state who;
};

/* Of a ring that a thread of the kernel's polls. */
struct io_uring_poller {
	uint64_t group; /* those that share the thread */
	uint64_t idle;	/* milliseconds, until it goes to sleep */
	int64_t cpu;	/* the only one that it runs on; -1: any */
	int64_t nice;
	uint64_t workers; /* that it may have for all but files */
	struct blob cpus; /* where those may run; empty: as usual */
	struct credentials_state who;
};

struct io_uring_user {
	object_id thread;
};

/* A ring of buffers in a process's memory (ring_entries is not 0), or neighbours of a list that the kernel keeps, in its order. */
struct io_uring_provided {
	uint64_t group;
	uint64_t address;
	uint64_t size, number,
		count; /* of a list: of each buffer, of the first, and how many; none: the list is empty */
	uint64_t ring_entries, taken;
	bool incremental; /* taken in pieces */
	object_id process;
};

/* Memory in which waits find their arguments (IORING_REGISTER_MEM_REGION). */
struct io_uring_region {
	uint64_t address, size;
	bool wait_arguments;
	object_id process;
};

struct io_uring_restrictions {
	bool registered;
	uint64_t register_ops, sqe_ops; /* bits */
	uint64_t flags_allowed, flags_required;
};

struct io_uring_napi {
	bool registered;
	uint64_t timeout; /* microseconds */
	bool prefer_busy_poll;
	uint64_t tracking; /* IO_URING_NAPI_TRACKING_* */
};

struct io_uring_state {
	uint64_t flags; /* IORING_SETUP_* */
	uint64_t sq_entries, cq_entries;
	uint64_t sq_head, cq_tail; /* the kernel's own */
	bool drain_disabled;	   /* a request asked for no completion: none may wait for all others any more */
	uint64_t array, cqes;	   /* where in the rings these begin */
	struct blob rings, sqes;   /* what is in the memory that it shares with the program */
	uint64_t slots;		   /* of registered files */
	struct io_uring_file *files;
	size_t n_files;
	uint64_t alloc_start, alloc_end, alloc_next; /* among the slots: where the kernel chooses from */
	struct io_uring_user *users;		     /* threads that have used it */
	size_t n_users;
	object_id submitter; /* the thread that alone may submit */
	bool submitter_ended;
	uint64_t buffer_slots;
	struct io_uring_buffer *buffers;
	size_t n_buffers;
	struct io_uring_region region;
	struct io_uring_provided *provided;
	size_t n_provided;
	struct io_uring_personality *personalities;
	size_t n_personalities;
	uint64_t next_personality;
	object_id process;	    /* that has to make it: whose thread polls it, or in whose memory it is */
	uint64_t rings_at, sqes_at; /* there */
	struct io_uring_poller poller;
	object_id eventfd;
	bool eventfd_async;
	struct io_uring_restrictions restrictions;
	uint64_t clock; /* 0: CLOCK_MONOTONIC */
	struct io_uring_napi napi;
	bool workers_limited;
	uint64_t workers_bounded, workers_unbounded;
};

extern const struct component component_io_uring;

/* --- checkpoint: io_uring_capture.c */
int io_uring_capture(struct capture *c, const struct file_look *f, void *state);

/* --- restore: io_uring_restore.c, io_uring_round.c */
int io_uring_validate(struct restore *r, const struct record *rec);
int io_uring_open(struct restore *r, const struct record *rec, const struct file_state *file);
int io_uring_round(struct restore *r, struct callers *callers, unsigned int n);

/* A ring that is being made again, in the keeper. */
struct ring_made {
	const struct io_uring_state *s;
	int fd;
	struct io_uring_params p; /* where in its memory everything is */
	uint8_t *rings, *sqes;
	size_t rings_size, sqes_size;
	uint32_t stride;	    /* of requests */
	pid_t pid;		    /* NO_MMAP: whose memory it is in, where rings and sqes are its contents to be, */
	uint64_t rings_at, sqes_at; /* and these its places */
};

/* A ring of these entries and flags, mapped. 0 or negative errno. */
int ring_make(struct ring_made *g, uint32_t sq_entries, uint32_t cq_entries, uint32_t flags);
void ring_unmake(struct ring_made *g); /* closes it, if g->fd was not taken */
int ring_map(struct ring_made *g, uint32_t flags);
void ring_number(const struct ring_made *g); /* each place of the submissions names the request of that number */
uint32_t ring_flags(const struct io_uring_state *s); /* to make one with */

static inline uint32_t *ring_word(const struct ring_made *g, uint32_t offset)
{
	return (uint32_t *)(void *)(g->rings + offset);
}

/* --- io_uring_register.c: what can be registered while it is not enabled yet, by anybody. 0 or negative errno. */
int ring_register(struct restore *r, const struct ring_made *g);

/* What a process has to do with its own memory. */
bool ring_has_memory_of(const struct io_uring_state *s, const struct new_process *p);
void ring_queue_memory(struct build *b, const struct ring_made *g);

/* In a task: the ring's descriptor for a while. Operations can use it up to RING_SEGMENT behind. */
#define RING_SEGMENT 200
uint32_t ring_fetch(struct build *b, const struct ring_made *g);
void ring_drop(struct build *b, uint32_t fetched);

/* --- io_uring_late.c: those that only a process of the tree can make */
bool io_uring_is_late(const struct io_uring_state *s);
/* Queues the making, or when that has been, its end. 1: there was something to do; 0, or negative errno. */
int io_uring_late_make(struct restore *r, struct callers *callers);
int io_uring_late_fetch(struct restore *r, struct callers *callers);
/* Until then: what keeps its number, and how it will be laid out. */
int ring_stand_in(struct ring_made *g, const struct io_uring_state *s);
/* Writes what is at that place in g->rings or g->sqes to where the ring has it, or reads it from there: where these are not the ring's own memory, mapped. */
void ring_push(const struct ring_made *g, void *at, size_t size);
void ring_pull(const struct ring_made *g, void *at, size_t size);

/* --- io_uring_provided.c */
bool provided_is_possible(const struct io_uring_state *s);
void provided_queue(struct build *b, const struct io_uring_provided *p, uint32_t fetched);
bool provided_request(const struct io_uring_state *s, uint64_t n, int zeros, struct io_uring_sqe *out);

/* Contents of rings of buffers, while others stand there to be taken: each NULL, if none are. */
struct lent {
	void **contents;
};

/* byte: where whoever submits the requests has one to spare. 0 or negative errno. */
int provided_lend(struct restore *r, const struct io_uring_state *s, uint64_t byte, struct lent *lent);
int provided_give_back(struct restore *r, const struct io_uring_state *s, struct lent *lent);

/* --- io_uring_wind.c */

/* What is left to be done until its counters are where they were. */
struct winding {
	uint64_t silent;   /* requests that ask for no completion, */
	uint64_t plain;	   /* those that get one, */
	uint64_t messages; /* and completions that no request of it asked for */
	uint64_t given;	   /* completions so far, */
	uint64_t posted;   /* not counting those whose places the keeper does not know to be free yet */
	uint64_t head;	   /* up to here the program had taken them */
	uint32_t turn;	   /* requests at a time */
	uint64_t provided; /* of the plain ones so many have been what provides buffers, and takes them */
	uint32_t some;	   /* of those, in the turn that is prepared */
	int zeros;	   /* what these read: /dev/zero, in who submits them */
};

/* By how much submissions are ahead of completions. */
int32_t ring_ahead(const struct io_uring_state *s);
/* 0, or -EBADMSG: the program has taken what was not given. */
int wind_begin(struct winding *w, const struct ring_made *g);
bool wind_is_done(const struct winding *w);
void wind_silently(const struct ring_made *g); /* it is nothing to tell the program of */
/* All of it, in the calling task. 0 or negative errno. */
int wind(struct winding *w, struct ring_made *g);
/* Some of it, in the task that alone may submit: the keeper's part, and then what that task is to run. head_at: where it has the word that tells what it took; 0: nowhere. */
int wind_prepare(struct winding *w, struct ring_made *g);
void wind_queue(struct winding *w, const struct ring_made *g, struct build *b, uint64_t head_at);
/* Looks whether all is where it was; then its memory gets what was in it. */
int wind_end(struct ring_made *g);
