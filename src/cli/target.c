/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whom a user means: a pid, a name given to run, or a cgroup's path. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "cli/cli.h"
#include "container/container.h"
#include "kernel/cgroup.h"

void target_free(struct target *t)
{
	free(t->cgroup);
	*t = (struct target){ 0 };
}

static bool is_number(const char *word)
{
	return *word && word[strspn(word, "0123456789")] == '\0';
}

static int find_pid(const char *command, const char *word, struct target *out)
{
	struct container_entry e = { 0 };
	uint64_t start;
	long pid = strtol(word, NULL, 10);

	if (pid <= 0 || pid > INT_MAX || process_starttime((pid_t)pid, &start) < 0) {
		say_error(command, "%s: %s", word,
			pid > 0 && pid <= INT_MAX && process_starttime_any((pid_t)pid, &start) == 0
				? "it has ended, and only waits for its parent to take its status (a zombie); name its "
				  "parent"
				: "no such process");
		return STATUS_FAILED;
	}
	out->pid = (pid_t)pid;
	if (container_find(out->pid, &e) == 0) {
		out->container = true;
		container_spec_free(&e.spec);
	}
	return STATUS_DONE;
}

/* An absolute path under the mount point, or one that counts from there. */
static int find_cgroup(const char *word, struct target *out)
{
	char mount[PATH_MAX], full[PATH_MAX * 2];
	struct stat st;

	if (cgroup2_mount_point(mount, sizeof(mount)) < 0)
		return -ENOENT;
	if (strncmp(word, mount, strlen(mount)) == 0 && word[strlen(mount)] == '/')
		word += strlen(mount);
	snprintf(full, sizeof(full), "%s/%s/cgroup.procs", mount, word);
	if (stat(full, &st) < 0)
		return -ENOENT;
	if (asprintf(&out->cgroup, "%s%s", *word == '/' ? "" : "/", word) < 0)
		return -ENOMEM;
	return 0;
}

bool is_cgroup(const char *word)
{
	struct target t = { 0 };
	bool found = find_cgroup(word, &t) == 0;

	target_free(&t);
	return found;
}

int target_find(const char *command, const char *word, struct target *out)
{
	struct container_entry e = { 0 };

	*out = (struct target){ 0 };
	if (!proc_is_ours()) {
		say_error(command, "%s; %s", PROC_NOT_OURS, PROC_NOT_OURS_REMEDY);
		return STATUS_FAILED;
	}
	if (is_number(word))
		return find_pid(command, word, out);
	if (!strchr(word, '/') && container_find_name(word, &e) == 0) {
		out->pid = e.pid;
		out->container = true;
		container_spec_free(&e.spec);
		return STATUS_DONE;
	}
	if (find_cgroup(word, out) == 0)
		return STATUS_DONE;
	say_error(command, "%s: no process, container or cgroup of that name; `spore list` shows the containers", word);
	return STATUS_FAILED;
}

void exit_like(int wait_status)
{
	if (WIFSIGNALED(wait_status)) {
		int sig = WTERMSIG(wait_status);
		struct rlimit none = { 0 };
		sigset_t set;

		setrlimit(RLIMIT_CORE, &none); /* one core file is enough */
		signal(sig, SIG_DFL);
		sigemptyset(&set);
		sigaddset(&set, sig);
		fflush(NULL);
		raise(sig);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		exit(128 + sig);
	}
	exit(WEXITSTATUS(wait_status));
}
