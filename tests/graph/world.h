/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random graphs of processes and objects. A seed gives a list of steps: a process opens, duplicates, shares, uses, passes or closes something, forks, ends.
 * Every process of the tree goes through the same list with the same model of the whole tree; the one whose turn it is does the step for real, and what
 * it sees must be what the model says. So each process knows at any time what every descriptor should be, after a restore as well as before.
 *
 * The model needs nothing real: `spore-graph --count` goes through seeds without doing anything, and tells what they contain.
 */
#pragma once

#include "../state/maker.h"

enum {
	MAX_PROCESSES = 20,
	MAX_OBJECTS = 256,
	MAX_DESCRIPTIONS = 320,
	FIRST_FD = 10,
	MAX_FD = 90,
	MAX_MAPS = 24,
	MAX_WATCHED = 24,
	MAX_POSTED = 6,
	MAX_WAITING = 4,
	MAX_PLACES = 6, /* bytes of a file that are looked at, or locked: at multiples of 512 */
	MAX_RECORDS = 5,
};

enum kind {
	K_FILE,
	K_UNLINKED,
	K_LEASED,
	K_DIRECTORY,
	K_PATH,
	K_DEVICE,
	K_PROC,
	K_NAMESPACE,
	K_MEMFD,
	K_POSIX_SHM,
	K_PIPE,
	K_FIFO,
	K_PTY,
	K_EVENTFD,
	K_TIMERFD,
	K_SIGNALFD,
	K_EPOLL,
	K_PIDFD,
	K_INOTIFY,
	K_FANOTIFY,
	K_MQUEUE,
	K_STREAM,
	K_DGRAM,
	K_SEQPACKET,
	K_POST,
	K_LISTENER,
	K_TCP,
	K_TCP_LISTENER,
	K_UDP,
	K_RAW,
	K_NETLINK,
	/* without descriptors */
	K_ANONYMOUS,
	K_SYSV_SHM,
	K_SYSV_SEM,
	K_SYSV_MSG,
	K_COUNT,
};

enum lock_sort { LOCK_NONE, LOCK_POSIX, LOCK_OFD, LOCK_FLOCK, LOCK_SORTS };

/* What a description stands on, or a mapping, or a number of IPC. */
struct object {
	enum kind kind;
	int number;		       /* of a pidfd: the process; of others: which of several sorts */
	uint64_t value[8];	       /* the kind's own */
	uint64_t written[2], taken[2]; /* of what flows: bytes, or records, so far, by direction */
	bool shut[2];		       /* of what flows: that end says no more */
	int locked_by;		       /* the description that has a flock on it; -1 */
	int locker;		       /* the process that set it */
	struct byte_lock {
		enum lock_sort sort;
		int owner;  /* a table, or a description */
		int by;	    /* the description that it was set through */
		int locker; /* the process that set it */
	} bytes[MAX_PLACES];
	int n_posted[2]; /* of a post: the descriptions on their way to each end */
	int posted[2][MAX_POSTED];
	int n_waiting; /* of a listener: connections that were not accepted yet; their objects */
	int waiting[MAX_WAITING];
	int n_watched; /* of an epoll */
	struct watched {
		int fd, description;
		uint32_t events;
	} watched[MAX_WATCHED];
	uint32_t users;		   /* of IPC: the processes that have used it, as bits */
	int last;		   /* of a semaphore: who changed it */
	short undo[MAX_PROCESSES]; /* of a semaphore: what their ends add to it */
	bool gone;		   /* of IPC: removed */
};

struct description {
	int object;  /* -1: nobody holds it any more */
	int end;     /* of a pair: which */
	int holders; /* descriptors, and messages that it is in */
	int64_t position;
	int flags; /* O_NONBLOCK, O_APPEND */
	bool leased;
	int owner; /* of a lease: the process that set it; -1 */
	bool forked, taken, passed, reopened, twice;
};

struct table {
	int users;
	struct {
		int description; /* -1: free */
		bool cloexec;
	} fd[MAX_FD];
};

struct map {
	int object; /* -1: none */
	bool inherited;
};

struct process {
	bool alive;
	int parent, children, table;
	struct map maps[MAX_MAPS];
};

/* Seen by all. */
struct common {
	_Atomic int turn; /* the step that is due */
	_Atomic int go;	  /* after the restore */
	_Atomic int failed;
	_Atomic int pids[MAX_PROCESSES];
	_Atomic int ids[MAX_OBJECTS]; /* of System V IPC */
};

struct world {
	uint64_t random;
	int me; /* -1: nobody: the model alone */
	int step;
	int n_processes, n_objects, n_descriptions;
	struct process processes[MAX_PROCESSES];
	struct table tables[MAX_PROCESSES];
	struct object objects[MAX_OBJECTS];
	struct description descriptions[MAX_DESCRIPTIONS];
	bool refusable; /* something was lost that leaves an error for another to be told */
	struct common *common;
	struct maker_ctx *ctx;
};

/* --- the model (model.c) --- */

uint64_t draw(struct world *w, uint64_t below);
/* Does this process do the step, or only follow it? */
bool is_real(const struct world *w, int process);

void world_init(struct world *w, uint64_t seed, struct maker_ctx *ctx, struct common *common);
struct table *table_of(struct world *w, int process);
int object_index(const struct world *w, const struct object *o);
/* Does anybody hold a description of that object and end? */
bool end_is_held(const struct world *w, int object, int end);
int any_process(struct world *w);
/* A random descriptor of the process; -1: it has none. */
int any_fd(struct world *w, int process);
int any_free_fd(struct world *w, int process);
int any_of_kind(struct world *w, int process, enum kind kind);

/* A new object, not counted yet (n_objects); NULL: no room. */
struct object *new_object(struct world *w, enum kind kind);
int new_description(struct world *w, int object, int end, int flags);
bool room_for_descriptions(const struct world *w, int n);
void hold(struct world *w, struct table *t, int fd, int description, bool cloexec);
void drop(struct world *w, struct table *t, int fd);
/* One holder less, that was no descriptor. */
void let_one_go(struct world *w, int description);
/* A descriptor of that object was closed: it takes all POSIX locks of the table with it. */
void drop_posix_locks(struct world *w, const struct table *t, int object);
/* Messages that it is in. */
int times_in_flight(const struct world *w, int description);
/* After the last user of a table has ended. */
void drop_all(struct world *w, struct table *t);
/* May this descriptor be closed, this table end? Not, if that leaves what a checkpoint refuses (docs/coverage.md): an error that a socket has to tell, a lock on what is only in flight. */
bool may_drop(const struct world *w, const struct table *t, int fd);
bool may_drop_all(const struct world *w, const struct table *t);
/* An end of the process would leave what no restore can bring back: a lock, a lease or a semaphore's change by somebody who is gone. */
bool must_live(const struct world *w, int process);
/* System V IPC notes its number: as a zombie's it would be lost (docs/coverage.md). */
bool is_noted(const struct world *w, int process);

/* --- kinds (kinds.c and kind_*.c) --- */

enum traits {
	HAS_FD = 1 << 0,     /* descriptors refer to it */
	POLLS = 1 << 1,	     /* an epoll takes it */
	NAMED = 1 << 2,	     /* it can be opened again by its name */
	REOPENS = 1 << 3,    /* ... or through /proc/self/fd */
	MAPS = 1 << 4,	     /* it can be mapped, shared with others */
	MANY_MAPS = 1 << 5,  /* one process can have it twice without a descriptor */
	BY_ID = 1 << 6,	     /* a number leads to it */
	INHERITS = 1 << 7,   /* a child has what its parent had of it */
	END_1_ONLY = 1 << 8, /* NAMED and REOPENS hold of end 1 alone */
};

struct kind_ops {
	const char *name;
	int ends; /* descriptors that make returns: 0, 1, or 2 */
	unsigned traits;
	/* Chooses the object's parameters and, if real, makes it: fd[] are its descriptors. Flags of the descriptions into flags[]. Returns 0, or a maker's failure. */
	int (*make)(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2]);
	/* Looks whether it is what the model says, and changes it. fd: -1 if not real; d: NULL if it has no descriptors. May be NULL. */
	int (*touch)(struct world *w, int process, struct description *d, struct object *o, int fd);
	int open_flags; /* for opening it again */
};
extern const struct kind_ops kinds[K_COUNT];

/* The path of what belongs to that object; good until the next. */
const char *numbered(struct world *w, const char *what, int number);
/* A name that no other graph has, beginning with a slash. */
const char *unique_name(struct world *w, int number, char name[64]);
uint32_t unique_number(const struct world *w);
/* A client of that listener, not blocking; -1. */
int dial(struct world *w, const struct object *listener);

typedef int kind_make(struct world *w, int process, struct object *o, bool real, int fd[2], int flags[2]);
typedef int kind_touch(struct world *w, int process, struct description *d, struct object *o, int fd);
kind_make file_make, unlinked_make, leased_make, directory_make, path_make, device_make, proc_make, namespace_make,
	memfd_make, posix_shm_make; /* kind_file.c */
kind_touch file_touch, leased_touch, memfd_touch, directory_touch, path_touch, device_touch, proc_touch,
	namespace_touch;
kind_make pipe_make, fifo_make, pty_make, stream_make, dgram_make, seqpacket_make, post_make,
	mqueue_make; /* kind_flow.c */
kind_touch pipe_touch, both_ways_touch, records_touch, mqueue_touch;
kind_make listener_make, tcp_make, tcp_listener_make, udp_make, raw_make, netlink_make; /* kind_net.c */
kind_touch raw_touch, netlink_touch;
kind_make eventfd_make, timerfd_make, signalfd_make, pidfd_make, epoll_make, inotify_make,
	fanotify_make; /* kind_event.c */
kind_touch eventfd_touch, timerfd_touch, signalfd_touch, pidfd_touch, epoll_touch, inotify_touch, fanotify_touch;
kind_make anonymous_make, sysv_shm_make, sysv_sem_make, sysv_msg_make; /* kind_ipc.c */
kind_touch anonymous_touch, sysv_shm_touch, sysv_sem_touch, sysv_msg_touch;

/* Locks by fcntl of a byte, by POSIX or of the open file description; locks by flock (lock.c). */
kind_touch byte_lock_touch, flock_touch;

/* Of what can be mapped, by its byte at that place. */
void *map_address(int slot);
bool is_mapped(const struct world *w, int object);
/* That slot of the process shows it now. */
void set_map(struct world *w, int process, int slot, int object);
/* A process that has used a semaphore ends. */
void undo_at_end(struct world *w, int process);
/* System V IPC outlives its processes. */
void remove_ipc(const struct world *w, const struct object *o);

/* --- steps (steps.c, step_*.c) --- */

/* Where it was made, it goes to the number that the model chose. */
int move_fd(int from, int to, bool cloexec);

typedef int step_run(struct world *w, int process);
step_run step_post, step_accept, step_shut, step_map, step_use_map, step_unmap, step_ipc;

/* The next step. In a process that it makes, w->me is another afterwards. */
int world_step(struct world *w);
/* Until all steps before the next one are done; the process whose turn it was says so. */
int world_wait(const struct world *w);
/* What outlives its processes is removed. */
void world_clean(struct world *w);

/* --- what seeds contain (count.c) --- */

struct histogram;
struct histogram *histogram_new(void);
void histogram_add(struct histogram *h, const struct world *w);
/* Prints it; status 1 if a cell is empty that could be filled. */
int histogram_print(const struct histogram *h);
