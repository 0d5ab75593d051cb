/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "state/sleep.h"

#define NOTES "sleeps" /* -NAMESPACE-PID-STARTTIME: /run may serve several pid namespaces */
#define MOST  65536    /* of threads whose notes are read */

static int64_t monotonic_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void path_of(char path[static 96], pid_t pid, uint64_t starttime, const char *end)
{
	uint64_t ns = 0;

	process_pid_namespace(getpid(), &ns);
	snprintf(path, 96, RUN_DIR "/" NOTES "-%" PRIu64 "-%d-%" PRIu64 "%s", ns, pid, starttime, end);
}

void sleep_notes_free(struct sleep_notes *notes)
{
	free(notes->list);
	*notes = (struct sleep_notes){ 0 };
}

int sleep_notes_keep(struct sleep_notes *notes, const struct sleep_note *note)
{
	struct sleep_note *grown = reallocarray(notes->list, notes->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	notes->list = grown;
	notes->list[notes->n++] = *note;
	return 0;
}

int sleep_note_add(
	struct sleep_notes *notes, pid_t tid, const struct restart_state *s, const struct user_regs_struct *gp)
{
	return sleep_notes_keep(notes, &(const struct sleep_note){
					       .tid = tid,
					       .nr = s->nr,
					       .deadline = monotonic_now() + s->left,
					       .rip = gp->rip,
					       .rsp = gp->rsp,
					       .arguments = { gp->rdi, gp->rsi, gp->rdx, gp->r10 },
				       });
}

/* Only what root wrote: the numbers decide how long a program sleeps. */
static bool is_ours(int fd, struct stat *st)
{
	return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022);
}

static void load(int dir, const char *path, struct sleep_notes *notes)
{
	_cleanup_fd_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	size_t n;

	*notes = (struct sleep_notes){ 0 };
	if (fd < 0 || !is_ours(fd, &st))
		return;
	n = MIN((size_t)st.st_size / sizeof(*notes->list), (size_t)MOST);
	notes->list = calloc(n + 1, sizeof(*notes->list));
	if (notes->list && read(fd, notes->list, n * sizeof(*notes->list)) == (ssize_t)(n * sizeof(*notes->list)))
		notes->n = n;
}

void sleep_notes_load(pid_t pid, uint64_t starttime, struct sleep_notes *notes)
{
	char path[96];

	path_of(path, pid, starttime, "");
	load(AT_FDCWD, path, notes);
}

void sleep_notes_store(pid_t pid, uint64_t starttime, const struct sleep_notes *notes)
{
	_cleanup_fd_ int fd = -1;
	char path[96], temporary[96];
	size_t size = notes->n * sizeof(*notes->list);

	path_of(path, pid, starttime, "");
	if (!notes->n) {
		unlink(path);
		return;
	}
	path_of(temporary, pid, starttime, "~");
	mkdir(RUN_DIR, 0700);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (write(fd, notes->list, size) != (ssize_t)size || rename(temporary, path) < 0)
		unlink(temporary);
}

static bool all_past(int dir, const char *name)
{
	struct sleep_notes notes;
	int64_t now = monotonic_now();
	bool past = true;

	load(dir, name, &notes);
	for (size_t i = 0; i < notes.n; i++)
		past &= notes.list[i].deadline < now;
	sleep_notes_free(&notes);
	return past;
}

/* Of another namespace's pid nobody here can tell whose it is: its notes go when all those sleeps are over. */
static bool is_stale(int dir, const char *name, uint64_t own_ns)
{
	uint64_t ns, start, now;
	int pid, end = 0;

	if (sscanf(name, NOTES "-%" SCNu64 "-%d-%" SCNu64 "%n", &ns, &pid, &start, &end) != 3 ||
		(name[end] && strcmp(name + end, "~")))
		return false;
	if (ns == own_ns)
		return process_starttime_any(pid, &now) < 0 || now != start;
	return all_past(dir, name);
}

void sleep_notes_sweep(void)
{
	_cleanup_dir_ DIR *dir = NULL;
	uint64_t ns;
	int fd = open(RUN_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir || process_pid_namespace(getpid(), &ns) < 0)
		return;
	for (struct dirent *e; (e = readdir(dir));)
		if (strncmp(e->d_name, NOTES "-", strlen(NOTES "-")) == 0 && is_stale(fd, e->d_name, ns))
			unlinkat(fd, e->d_name, 0);
}
