/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A component: one kind of kernel state. One source file in src/state/, with one constant table of this type, named in src/state/components.c. Nothing
 * anywhere else knows the type. docs/adding-an-object.md shows how to add one.
 *
 * A component's records belong to the tree, to each process, to each thread (the state's first member is then `object_id of`, the owner, and its first field
 * FIELD_REF(..., of, "of", "process" or "thread", REF_STRONG)), or stand behind open files.
 *
 * Checkpoint, for each owner:  [stop] -> look (refuse early) -> ask (queue remote calls) -> capture (fill the state).
 * Restore:                     validate (nothing is built yet) -> the stages, in order.
 */
#pragma once

#include "image/image.h"
#include "kernel/capability.h"
#include "object/tree.h"
#include "remote/batch.h"

enum scope {
	SCOPE_TREE,
	SCOPE_PROCESS, /* not for zombies, unless .zombies */
	SCOPE_THREAD,
	SCOPE_BACKING, /* what an open file description stands on: a pipe, a file, an eventfd */
	SCOPE_OTHER,   /* records that another component adds itself */
};

/* The stages of a restore. The batches of one stage run in all tasks in parallel; a stage begins when the one before has ended everywhere. */
enum stage {
	STAGE_NAMESPACES, /* SCOPE_TREE only, in the keeper: batch is NULL */
	STAGE_BIRTH,	  /* the engine's own: memory, processes, threads */
	STAGE_CREATE,	  /* in the keeper: batch is NULL */
	STAGE_CONNECT,	  /* descriptors go to their numbers */
	STAGE_ATTACH,	  /* locks, registrations, working directories: what needs descriptors in place */
	STAGE_ARM,	  /* timers, signal actions, pending signals: with every signal blocked, still as root */
	STAGE_IDENTITY,	  /* limits, credentials, and at the very end what forbids: seccomp */
	STAGE_COUNT,
};

/* --- checkpoint --- */

struct capture {
	struct tree *tree;
	struct process
		*process;      /* SCOPE_PROCESS, SCOPE_THREAD, SCOPE_BACKING (the one whose descriptor is looked at) */
	struct thread *thread; /* SCOPE_THREAD */
	struct problems *ps;
	struct image_writer *writer;
	struct identities *identities;
	struct descriptions *descriptions; /* of this look or stop: object/descriptions.h */
	struct witnesses *witnesses;	   /* of this stop: state/witness.h; NULL in a look */
	struct outside_ends *ends;	   /* to be filled: state/outside_holders.h; NULL: not asked for */
	struct kernel_peek *kernel;	   /* of this stop: kernel/peek.h; NULL in a look */
};

#define CAPTURE_NOTHING 1 /* from capture: there is nothing to save, and a restore without the record is right */

/* --- restore --- */

struct new_thread {
	struct new_process *process;
	object_id id;
	pid_t vtid;
	pid_t tid;		     /* in the keeper's pid namespace, once born */
	const struct record *record; /* of kind "thread" */
	struct slot *slot;
	struct stop stop;
	struct batch batch; /* of the stage under way */
	bool asleep;	    /* its last batch is the sleep that it was saved in */
	bool is_parent;	    /* it gives birth to processes, and so is born before them */
};

struct new_process {
	struct restore *restore;
	struct new_process *parent;
	object_id id;
	pid_t vpid;
	pid_t pid;
	const struct record *record; /* of kind "process" */
	bool zombie;
	struct new_thread *threads; /* [0] is the leader */
	size_t n_threads;
	int keeper_fd; /* the number, in this task, of its pidfd of the keeper; -1 once it is closed (after STAGE_ATTACH) */
	int max_fd;  /* highest descriptor that the process is to have */
	void *birth; /* the engine's plan for its birth */
};

/* Of the keeper and its machine. */
struct own_facts {
	bool vdso_known, limits_known, capabilities_known;
	uint64_t vdso_hash, vdso_pages;
	long nr_open;			     /* fs.nr_open; 0: not to be read */
	long oom_score_adj, coredump_filter; /* what every new task has from birth */
	struct capability_sets capabilities;
	long n_cpus;		  /* that the machine may ever have; 0: not read yet */
	uint64_t listening[1024]; /* a bit for each port at which a TCP socket of the image listens */
	int port_low, port_high;  /* net.ipv4.ip_local_port_range of the new tree's network; 0: not read yet */
};

struct restore {
	struct image *image;
	struct problems *ps;
	struct area area;
	struct new_process **processes; /* parents before children; [0] is the root */
	size_t n_processes;
	pid_t root_pid;
	int root_fd;		   /* O_PATH of the new tree's root directory, for openat2 with RESOLVE_IN_ROOT */
	uint32_t flags;		   /* SPORE_RESTORE_* */
	bool lazy;		   /* pages may come when the tree runs: SPORE_RESTORE_LAZY, where that can be */
	bool streamed;		   /* the image is a stream: the pages of processes come in its order */
	struct watchdog *watchdog; /* isolate/watchdog.h: removes what would outlive a tree that is not completed */
	int stdio[3];		   /* outside streams, -1: none */
	int terminal;
	int64_t clock_shift_ns; /* what the tree's CLOCK_MONOTONIC lost: 0 in a time namespace; else new minus old. Added to absolute monotonic times */
	struct made *made;	    /* see restore_made() */
	const struct record **uses; /* see restore_uses() */
	size_t n_uses;
	struct mapped_file *mapped; /* backings opened for mapping: memory_fetch.c */
	size_t n_mapped;
	const struct parking *parking; /* of a clone: state/memory_parked.h; NULL: it is none, or nothing is shared */
	const char *clone;	       /* of a clone: its name if it is a container; NULL: it is none */
	struct own_facts own;	       /* what is the same for every process, read once */
};

/* What a build function gets. */
struct build {
	struct restore *restore;
	struct new_process *process;
	struct new_thread *thread; /* for SCOPE_PROCESS: the leader */
	struct batch *batch;
	struct problems *ps;
};

/* --- files (SCOPE_BACKING) --- */

/* The record of an open file description, kind "file" (src/state/file.c). */
struct file_state {
	object_id backing; /* what it stands on, a record of a SCOPE_BACKING component */
	uint64_t flags;	   /* F_GETFL */
	int64_t pos;
	int64_t owner;	     /* F_GETOWN_EX: vpid, 0 none */
	uint64_t owner_type; /* F_OWNER_* */
	uint64_t owner_uid, owner_euid;
	uint64_t signal;		  /* F_GETSIG */
	bool random, sequential, noreuse; /* posix_fadvise(2) */
};

#define ROUND_ABANDON (~0u)

/* Who makes the calls of a round. */
struct callers {
	/* To queue calls of a thread: each once in a round, and filled before the next is asked for. NULL: out of memory. */
	struct build *(*add)(struct callers *c, struct new_thread *t);
	void *state; /* what the component keeps from round to round; NULL at first */
};

struct component {
	struct record_kind kind;
	enum scope scope;
	bool zombies; /* SCOPE_PROCESS: also for zombies, which are captured without a batch, and built (STAGE_IDENTITY) just before they end */

	/* Before any task is asked: what can be seen from outside to be out of scope is refused here (refused(ps, ...), and return 0 so that the rest is looked at too). May be NULL. */
	int (*look)(struct capture *c);
	/* The same at each thread but the leader, from any of the workers: not by ptrace. May be NULL. */
	int (*look_thread)(struct capture *c);
	/* Inside the stop: queues remote calls of this process's leader (SCOPE_PROCESS) or this thread. scratch: scratch_size zeroed bytes kept until capture. */
	size_t scratch_size;
	void (*ask)(struct capture *c, struct batch *b, void *scratch);
	/* Fills state (zeroed, kind.size bytes); what it allocates belongs to the state. b, scratch: as ask left them, with results. 0, CAPTURE_NOTHING or negative errno. */
	int (*capture)(struct capture *c, const struct batch *b, void *scratch, void *state);

	/* Before anything is built: is what this needs here? Adds problems. */
	int (*validate)(struct restore *r, const struct record *rec);
	/* One for each stage in which there is something to do. Process components before thread components, in the order of the table. */
	int (*build[STAGE_COUNT])(struct build *b, const void *state);
	/* In the keeper, when all tasks are stopped and run no call of spore's any more: what running such calls would use up. */
	int (*held)(struct restore *r, const void *state);

	/* SCOPE_BACKING. */
	bool (*matches)(const struct file_look *f);
	bool by_description; /* identity: each open file description has its own (eventfd); else all of one inode share one (a pipe) */
	uint64_t (*number)(const struct file_look *f); /* where neither is: by the kernel's own number for the object */
	int (*capture_file)(struct capture *c, const struct file_look *f, void *state);
	/* In the keeper: opens the description and returns a descriptor. Several descriptions may stand on one backing: restore_made(r, rec->id) keeps what the first made. */
	int (*open)(struct restore *r, const struct record *rec, const struct file_state *file);
	/*
	 * In the keeper, once every description was opened and before any is filled: calls whose caller the kernel notes, and which a process of the tree
	 * therefore makes (listen, connect). Once for the component, not for each record: queues them by callers->add, and answers 1 to be called again,
	 * with n + 1, when these have been made; 0: done. After a failure elsewhere it is called once more, with ROUND_ABANDON.
	 */
	int (*round)(struct restore *r, struct callers *callers, unsigned int n);
	/* In the keeper, after every description was opened: contents of queues. fd: one descriptor of it. */
	int (*fill)(struct restore *r, const struct record *rec);
	/* In the keeper, when every task is held and all else that the restore opened is closed: what would notice the restore's own work. */
	int (*watch)(struct restore *r, const struct record *rec);
	/* In the keeper, for records of any scope, when STAGE_ATTACH is over and zombies have ended: what the making of the tree itself leaves a trace in. */
	int (*settle)(struct restore *r, const struct record *rec);
	/* In a task that has the description at number fd (STAGE_ATTACH): what must be done from inside. Once for each description. */
	int (*attach)(struct build *b, const struct record *rec, const struct file_state *file, int fd);
};

extern const struct component *const components[];     /* src/state/components.c; NULL-terminated */
extern const struct record_kind *const record_kinds[]; /* of all of them; NULL-terminated */
const struct component *component_of(const struct record_kind *k);

/* --- what components may call (src/object/) --- */

/* An id for the object of that kind with that kernel identity: the same for the same key. *is_new (may be NULL) tells the first time. Thread-safe. */
object_id identity_of(struct identities *ids, const char *kind, uint64_t a, uint64_t b, uint64_t c, bool *is_new);

/* The look's descriptor in the keeper (opened by pidfd_getfd on first use; closed with the look). */
int file_dup(struct capture *c, const struct file_look *f);
/* What stands at that number; NULL: nothing. */
const struct file_look *process_file(const struct process *p, int fd);
/* A pidfd, which is the process's own: of a thread that lives. Or negative errno. */
int process_pidfd(struct process *p);
/* "fd 5 (pipe:[123])" in a static-size buffer, for problems. */
struct object_name {
	char s[192];
};
struct object_name file_name(const struct file_look *f);

/* A state of the image by id and kind; NULL: no such. */
const void *restore_state(const struct restore *r, object_id id, const char *kind);
struct new_process *restore_process(const struct restore *r, object_id id);
struct new_process *restore_vpid(const struct restore *r, pid_t vpid);

/* What the keeper made of a record: descriptors kept open until the end of the restore. fd[i] is -1 until set. */
struct made {
	int fd[2];
	void *data;
	bool mapping_validated;
};
struct made *restore_made(struct restore *r, object_id id);
struct made *restore_made_of(struct restore *r, const void *state); /* the record whose state it is; NULL: none */
/* The open file descriptions (kind "file") that stand on a backing, in the order of the image. */
const struct record *const *restore_uses(const struct restore *r, object_id backing, size_t *n);
/* Finds those of all; r->image is there. 0 or -ENOMEM. */
int restore_find_uses(struct restore *r);
/* Opens a path of the tree's root directory in the keeper (openat2, RESOLVE_IN_ROOT). */
int restore_open(const struct restore *r, const char *path, uint64_t flags, uint64_t mode);
/* The keeper's descriptor of an open file description (kind "file"), opened when first asked for. */
int restore_file(struct restore *r, object_id file);

/* Queues, in a task, the fetching of a keeper's descriptor; the result of the operation returned is the new number there. */
uint32_t build_fetch(struct build *b, const char *what, int keeper_fd);
