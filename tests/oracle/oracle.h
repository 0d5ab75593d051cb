/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spore-oracle prints what user space can observe of a process tree, so that two runs can be compared byte
 * for byte. It shares nothing with spore's own sources: what one of the two forgets, the other has to notice.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/user.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define PAGE	      4096UL

struct options {
	bool outside; /* nothing that needs ptrace */
	bool still;   /* the caller vouches that nothing moves: registers and memory of every task */
	bool times;   /* exact remaining times of timers */
	bool sharing; /* pages shared by fork */
	bool memory;  /* contents of mappings and files */
	bool strict;  /* also what kernels keep as a side effect (VmFlags ac, uw) */
};

/* Maps a pair of numbers to a small number: by first appearance (ordinals), or to a value of the caller's. */
struct table {
	struct entry {
		uint64_t a, b, value;
		bool used;
	} * slots;
	size_t size, count;
};

struct proc;

struct task {
	struct proc *proc;
	pid_t tid, inner;
	char state;   /* of /proc/PID/stat, before the oracle touched it */
	bool blocked; /* in a system call that a stop interrupts and a restart resumes */
	bool gone;
	int call; /* the system call it was in, before the stop; -1 none */
	char call_kind[12];
	uint64_t rseq; /* the kernel writes there whenever it likes */
	unsigned rseq_size;
	uint64_t files, fs; /* sharing classes */
};

struct proc {
	pid_t pid, inner, parent;
	char state;
	bool still; /* no task of it ran: registers and memory are at rest */
	struct task *tasks;
	size_t ntasks;
	char prefix[32];
};

struct oracle {
	FILE *out;
	struct options opt;
	pid_t root;
	size_t level; /* which field of NSpid counts: that of the root's pid namespace */
	struct proc *procs;
	size_t nprocs;
	struct table inner;   /* outside id -> inner id, tasks and process groups and sessions */
	struct table members; /* tids of the tree */
	struct table objects; /* (device, inode) of what has no name -> ordinal */
	struct table namespaces;
	struct table ttys;
	struct {
		bool expired, armed;
	} timer; /* of the timerfd whose lines are being told */
	struct table eventfds;
	struct table outside_pipes; /* pipe inodes that somebody outside the tree holds too */
	struct table contents;	    /* hashes of file ranges already read */
	struct table shared_pages;
	struct table pty_masters; /* indexes of ptys whose master the tree holds */
	bool outside_pipes_known;
	pid_t blank; /* a child that never did I/O or semaphores, to tell "none" by kcmp */
};

/* text.c */
void fact(struct oracle *o, const char *prefix, const char *key, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
char *slurp(const char *path, size_t *len);
char *slurpf(size_t *len, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *link_target(const char *path);
const char *line_value(const char *text, const char *name, char *buf, size_t size);
char *escape(const char *bytes, size_t len);
uint64_t hash_bytes(const void *bytes, size_t len, uint64_t seed);
bool table_get(const struct table *t, uint64_t a, uint64_t b, uint64_t *value);
void table_set(struct table *t, uint64_t a, uint64_t b, uint64_t value);
uint64_t table_add(struct table *t, uint64_t a, uint64_t b, uint64_t value);
uint64_t ordinal(struct table *t, uint64_t a, uint64_t b);
void table_free(struct table *t);
void free_pointer(void *p);
void close_fd(int *fd);
void close_file(FILE **f);
#define _cleanup_(f) __attribute__((cleanup(f)))
#define _free_	     _cleanup_(free_pointer)
#define _close_	     _cleanup_(close_fd)

/* tree.c */
int tree_find(struct oracle *o);
void tree_free(struct oracle *o);
const char *name_of(struct oracle *o, long outer, char buf[32]);
pid_t live_tid(const struct proc *p);
bool in_tree(struct oracle *o, pid_t tid);
char *stat_field(char *stat, unsigned n);

/* process.c */
void process_facts(struct oracle *o, struct proc *p);
void zombie_facts(struct oracle *o, struct proc *p);
void tree_facts(struct oracle *o);
char *target_name(struct oracle *o, const char *target, uint64_t dev, uint64_t ino);

/* shm.c */
void shm_facts(struct oracle *o);

/* ipc.c */
void ipc_facts(struct oracle *o);
bool mqueue_facts(struct oracle *o, const char *prefix, int fd); /* false: it is none */

/* thread.c */
void thread_facts(struct oracle *o, struct task *t);
void thread_prefix(const struct task *t, char buf[48]);

/* inside.c */
struct inside {
	struct oracle *o;
	struct proc *p;
	uint64_t syscall_at;   /* a `syscall` instruction in the target */
	uint64_t scratch;      /* a page of the target's to take answers */
	bool scratch_borrowed; /* it is stack, with `saved` to be put back */
	unsigned char saved[PAGE];
	struct stopped {
		struct task *task;
		struct user_regs_struct regs;
		uint64_t mask;
		uint64_t rseq_cs;
		bool held, group_stop, wind_back;
		bool dispatched; /* syscall user dispatch was on */
		struct dispatch {
			uint64_t mode, selector, offset, len;
		} dispatch;
	} * stopped;
};

void inside_facts(struct oracle *o, struct proc *p);
long remote_call(
	struct inside *in, struct stopped *s, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);
bool remote_read(struct stopped *s, uint64_t at, void *buf, size_t len);

/* ask.c */
void ask_process(struct inside *in, struct stopped *s);
void ask_thread(struct inside *in, struct stopped *s);
void signals_pending(struct inside *in, struct stopped *s, bool shared, const char *prefix);

/* registers.c */
bool registers_blocked(const struct user_regs_struct *r);
void registers_facts(struct inside *in, struct stopped *s);
void outside_call(struct oracle *o, struct task *t);

/* memory.c */
void memory_facts(struct oracle *o, struct proc *p);

/* contents.c */
struct mapping {
	uint64_t start, end, offset, dev, ino, anonymous; /* anonymous: kB of pages of its own, with swap */
	char perms[5];
	char flags[200];
	char *name;
};

struct contents {
	bool known;
	bool unreadable;
	uint64_t sum, guards;
};

void contents_of(struct oracle *o, struct proc *p, const struct mapping *m, struct contents *c);
bool contents_of_fd(int fd, uint64_t start, uint64_t end, uint64_t *sum);

/* sharing.c */
void sharing_classes(struct oracle *o);
void page_sharing(struct oracle *o);

/* files.c */
void files_facts(struct oracle *o);

/* filetypes.c */
struct file {
	struct task *task; /* one who holds it, and under which number */
	int fd;
	uint64_t class;	 /* kcmp's */
	uint64_t number; /* ordinal of the open file description */
	bool printed;
};

struct files {
	struct file *list;
	size_t count;
};

void file_type_facts(struct oracle *o, const struct file *f, const char *prefix, int dup, const char *target);
void epoll_line(const struct files *all, const struct file *f, const char *line, unsigned nth, char *buf, size_t size);

/* bpf.c */
void bpf_map_facts(struct oracle *o, const char *prefix, int dup);
void bpf_btf_facts(struct oracle *o, const char *prefix, int dup);

/* sockets.c */
void socket_facts(struct oracle *o, const char *prefix, int dup);
void ring_facts(struct oracle *o, const char *prefix, int dup); /* of a packet socket */

/* signatures.c */
void signature_facts(struct oracle *o, const char *prefix, int dup);

#endif
