/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What spore wants to know of a process before it touches it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Field 22 of /proc/PID/stat, in clock ticks since boot: with the pid, the identity of a process. -ESRCH; a
 * zombie counts as gone. */
int process_starttime(pid_t pid, uint64_t *out);
/* The same, for a zombie too. */
int process_starttime_any(pid_t pid, uint64_t *out);
/* The pid behind a pidfd, as this process counts. -ESRCH it has been reaped. */
pid_t pidfd_pid(int pidfd);
/* Its name (comm), or "?" */
void process_name(pid_t pid, char out[static 32]);
/* The inode of its pid namespace (where its own pid counts). */
int process_pid_namespace(pid_t pid, uint64_t *out);

/* Does /proc show the pid namespace that this process is in? Every number read there would else be another process's. */
bool proc_is_ours(void);
#define PROC_NOT_OURS	     "/proc shows the processes of another pid namespace"
#define PROC_NOT_OURS_REMEDY "mount that of this one: `unshare --mount-proc`, or `mount -t proc proc /proc`"

/* The directory for what must outlive one command: /run/spore, 0700, made if missing. A descriptor or
 * negative errno; -EPERM if it is not the caller's alone. */
#define RUN_DIR "/run/spore"
int run_dir_open(void);

/*
 * Finds one of spore's own programs: the environment variable of that name (NULL: none), beside the running
 * executable, beside the file that holds this code (libspore.so), in the build's libexec directory. Makes
 * system calls only. 0 or -ENOENT.
 */
int program_find(const char *variable, const char *name, char *out, size_t size);
