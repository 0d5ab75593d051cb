/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readers of /proc text. The parsers are pure functions over a buffer; the readers take an O_PATH descriptor of /proc/PID or /proc/PID/task/TID. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads a whole file below dir_fd into an allocated, NUL-terminated buffer. 0 or negative errno. */
int procfs_read(int dir_fd, const char *name, char **text, size_t *size);
/* The same for a text that is not kept: into the caller's room, or where that is too small, to the heap. free() heap. */
struct proc_text {
	const char *text;
	size_t size;
	char *heap; /* NULL: it is in the room */
};
int procfs_read_into(int dir_fd, const char *name, char *room, size_t size, struct proc_text *out);
/* Reads a link's text into an allocated string. */
int procfs_link(int dir_fd, const char *name, char **target);
/* O_PATH descriptor of /proc/PID, /proc/PID/task/TID */
int procfs_open_pid(pid_t pid);
int procfs_open_task(pid_t pid, pid_t tid);

struct proc_stat { /* proc(5), /proc/PID/stat */
	char comm[64];
	char state;
	pid_t ppid, pgrp, session;
	int tty_nr;
	pid_t tpgid;
	unsigned int flags; /* PF_* */
	uint64_t utime, stime;
	long priority, nice;
	uint64_t starttime;
	uint64_t startcode, endcode, startstack;
	int exit_signal;
	unsigned int rt_priority, policy;
	uint64_t start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end;
	int exit_code;
};
#define PF_FORKNOEXEC  0x00000040
#define PF_EXITING     0x00000004
#define PF_KTHREAD     0x00200000
#define PF_IO_WORKER   0x00000010
#define PF_USER_WORKER 0x00004000
int proc_stat_parse(const char *text, struct proc_stat *out);
int proc_stat_read(int dir_fd, struct proc_stat *out);

struct proc_status { /* /proc/PID/status */
	mode_t umask;
	pid_t tgid, tracer;
	pid_t pid_in_ns;			 /* last number of NSpid */
	pid_t tgid_in_ns, pgid_in_ns, sid_in_ns; /* last of NStgid, NSpgid, NSsid */
	int ns_depth;				 /* how many numbers NSpid has */
	uid_t uid[4];				 /* real, effective, saved, file system */
	gid_t gid[4];
	uint64_t *groups;
	size_t n_groups;
	uint64_t sig_pending, shared_pending, sig_blocked, sig_ignored, sig_caught;
	uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
	bool no_new_privs;
	int seccomp, seccomp_filters;
	unsigned int threads;
	bool thp_enabled;
};
int proc_status_parse(const char *text, struct proc_status *out);
int proc_status_read(int dir_fd, struct proc_status *out);
int proc_status_copy(const struct proc_status *from, struct proc_status *to);
void proc_status_free(struct proc_status *s);

struct proc_map { /* a line of /proc/PID/maps */
	uint64_t start, end;
	int prot; /* PROT_* */
	bool shared;
	uint64_t offset;
	unsigned int dev_major, dev_minor;
	uint64_t inode;
	char *name;	   /* allocated; "" for none. Octal escapes undone. */
	const char *flags; /* VmFlags, where smaps was read; else "". Lives as long as the name */
	unsigned int pkey; /* protection key, where smaps was read */
	bool deleted;	   /* the name ended in " (deleted)", which is cut off */
};
struct proc_maps {
	struct proc_map *list;
	size_t n;
};
/* Parses a whole maps or smaps file; the names are allocated too. On failure *out is as it was. */
int proc_maps_parse(const char *text, bool with_flags, struct proc_maps *out);
int proc_maps_read(int dir_fd, struct proc_maps *out);
int proc_smaps_read(int dir_fd, struct proc_maps *out); /* with the flags */
void proc_maps_free(struct proc_maps *maps);

/* Numbers of a directory such as /proc/PID/task or /proc/PID/fd, sorted. */
int procfs_numbers(int dir_fd, const char *name, int **numbers, size_t *n);
int procfs_numbers_of(int fd, int **numbers, size_t *n); /* of one that is open, and at its start */

/* Every process of a /proc directory with its parent (0: none, or in another pid namespace), as one pass over it finds them. */
struct proc_parent {
	pid_t pid, parent;
};
int procfs_parents(int proc_fd, struct proc_parent **list, size_t *n);

/* The value after "key:" at the start of a line of text (fdinfo, status), blanks skipped; NULL if there is none. Not NUL-terminated at the line's end. */
const char *proc_value(const char *text, const char *key);
int proc_value_u64(const char *text, const char *key, int base, uint64_t *out); /* -ENOENT, -EINVAL */
