/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#ifndef SPORE_LIBEXECDIR
#define SPORE_LIBEXECDIR "/usr/local/libexec/spore"
#endif

/* A leader that has ended before its threads shows as a zombie too. */
static int read_starttime(pid_t pid, uint64_t *out, bool *ended)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *after, state;
	long n_threads;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = file_read_all(AT_FDCWD, path, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	after = strrchr(text, ')'); /* the name may hold anything, also a bracket */
	if (!after || sscanf(after + 1,
			      " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %" SCNu64,
			      &state, &n_threads, out) != 3)
		return -ESRCH;
	*ended = state == 'X' || (state == 'Z' && n_threads < 2);
	return 0;
}

int process_starttime_any(pid_t pid, uint64_t *out)
{
	uint64_t start;
	bool ended;
	int r = read_starttime(pid, &start, &ended);

	if (r == 0)
		*out = start;
	return r;
}

int process_starttime(pid_t pid, uint64_t *out)
{
	uint64_t start;
	bool ended;
	int r = read_starttime(pid, &start, &ended);

	if (r < 0)
		return r;
	if (ended)
		return -ESRCH;
	*out = start;
	return 0;
}

pid_t pidfd_pid(int pidfd)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	r = file_read_all(AT_FDCWD, path, &text, NULL);
	if (r < 0)
		return r;
	line = strstr(text, "\nPid:");
	if (!line)
		return -EBADF;
	r = atoi(line + strlen("\nPid:"));
	return r > 0 ? r : -ESRCH;
}

void process_name(pid_t pid, char out[static 32])
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (file_read_all(AT_FDCWD, path, &text, NULL) < 0)
		snprintf(out, 32, "?");
	else
		snprintf(out, 32, "%.*s", (int)strcspn(text, "\n"), text);
}

int process_pid_namespace(pid_t pid, uint64_t *out)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	if (stat(path, &st) < 0)
		return -errno;
	*out = st.st_ino;
	return 0;
}

bool proc_is_ours(void)
{
	char text[16] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) > 0 && atoi(text) == getpid();
}

int run_dir_open(void)
{
	struct stat st;
	int fd;

	if (mkdir(RUN_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(RUN_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

/* out = directory of path + "/" + name, if that can be executed. */
static int beside(const char *path, const char *name, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	size_t dir = slash ? (size_t)(slash - path) : 0;

	if (!slash || dir + 1 + strlen(name) + 1 > size)
		return -ENOENT;
	memcpy(out, path, dir + 1);
	strcpy(out + dir + 1, name);
	return access(out, X_OK) == 0 ? 0 : -ENOENT;
}

int program_find(const char *variable, const char *name, char *out, size_t size)
{
	const char *given = variable ? getenv(variable) : NULL;
	char self[PATH_MAX];
	ssize_t n;
	Dl_info info;

	if (given && *given) {
		if (strlen(given) >= size || access(given, X_OK) < 0)
			return -ENOENT;
		strcpy(out, given);
		return 0;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n < 0 ? 0 : n] = '\0';
	if (beside(self, name, out, size) == 0)
		return 0;
	if (dladdr(__extension__(const void *) program_find, &info) && info.dli_fname &&
		beside(info.dli_fname, name, out, size) == 0)
		return 0;
	return beside(SPORE_LIBEXECDIR "/", name, out, size);
}
