/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding a tree where the kernel does not list children (CONFIG_PROC_CHILDREN): by the parents that all of /proc names. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/halt.h"
#include "engine/members.h"
#include "unit.h"

/* --- one pass over a directory --- */

static void put(int dir, const char *pid, const char *stat)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/stat", pid);
	CHECK(mkdirat(dir, pid, 0700) == 0);
	fd = openat(dir, path, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0 && write(fd, stat, strlen(stat)) == (ssize_t)strlen(stat));
	close(fd);
}

#define STOP_MS 30000 /* a busy machine takes its time */

#define STAT(pid, name, parent)                                                                                        \
	pid " (" name ") S " parent                                                                                    \
	    " 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"

static void a_pass(void)
{
	char path[] = "/tmp/spore-children-XXXXXX", command[64];
	struct proc_parent *list = NULL;
	size_t n = 0;
	int dir;

	CHECK(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY);
	put(dir, "20", STAT("20", "plain", "3"));
	put(dir, "4", STAT("4", "a) S 99 (b", "20"));
	put(dir, "self", STAT("5", "no number", "1"));
	CHECK(mkdirat(dir, "7", 0700) == 0); /* gone since the directory was read */
	CHECK(procfs_parents(dir, &list, &n) == 0);
	CHECK(n == 2 && list[0].pid == 4 && list[0].parent == 20 && list[1].pid == 20 && list[1].parent == 3);
	free(list);
	put(dir, "8", "8 (cut");
	CHECK(procfs_parents(dir, &list, &n) < 0);
	close(dir);
	snprintf(command, sizeof(command), "rm -r %s", path);
	CHECK(system(command) == 0);
}

/* --- a tree that does not stand still --- */

/* Forks whose parent ends at once: a subreaper's, and autoreaped ones. */
static void churn(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		if (fork() == 0) {
			if (fork() == 0) {
				usleep(300);
				_exit(0);
			}
			_exit(0);
		}
		usleep(200);
	}
}

static void root(int *ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			if (fork() == 0)
				churn();
			churn();
		}
	if (fork() == 0) { /* one zombie that nobody takes */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGCHLD, SIG_DFL);
		if (fork() == 0)
			_exit(5);
		for (;;)
			pause();
	}
	*ready = 1;
	for (;;)
		pause();
}

/* Below pid, by the kernel's lists: every task is stopped by us and known to the tree. */
static size_t count_stopped(const struct tree *t, pid_t pid)
{
	char path[64], text[65536];
	size_t count = 1;
	ssize_t n;
	int fd;

	CHECK(tree_find(t, pid));
	CHECK(tree_find(t, pid)->zombie || tree_find(t, pid)->threads[0].stop.state == STOP_STOPPED);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	CHECK(n >= 0);
	text[n] = '\0';
	for (char *c = text, *end; strtol(c, &end, 10) > 0; c = end)
		count += count_stopped(t, (pid_t)strtol(c, NULL, 10));
	return count;
}

static void stop_once(pid_t pid, struct workers *w, bool scan)
{
	struct problems ps;
	struct tree *t;

	problems_init(&ps);
	CHECK(tree_new(pid, NULL, &ps, &t) == 0);
	t->scan |= scan;
	CHECK(tree_stop(t, w, STOP_MS, &ps) == 0 && !ps.n);
	CHECK(count_stopped(t, pid) == t->n_processes);
	CHECK(t->n_processes >= 9);
	tree_release(t, w);
	tree_free(t);
	problems_free(&ps);
}

static void kill_all(pid_t pid, struct workers *w)
{
	struct problems ps;
	struct tree *t;

	problems_init(&ps);
	CHECK(tree_new(pid, NULL, &ps, &t) == 0);
	t->scan = true;
	CHECK(tree_stop(t, w, STOP_MS, &ps) == 0);
	for (size_t i = t->n_processes; i-- > 0;)
		kill(t->processes[i]->pid, SIGKILL);
	tree_release(t, w);
	tree_free(t);
	problems_free(&ps);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	int *ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct workers *w;
	pid_t pid;

	a_pass();
#ifdef __SANITIZE_ADDRESS__
	return 0; /* a fork takes so long there that there is no catching up with a tree of them */
#endif
	if (geteuid() != 0 || access("/proc/thread-self/children", F_OK) < 0) {
		printf("the rest needs root, and a kernel that lists children to compare with\n");
		return 77;
	}
	CHECK(workers_new(&w) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		root(ready);
	while (!*(volatile int *)ready)
		usleep(1000);
	usleep(100000);
	for (int i = 0; i < 12; i++)
		stop_once(pid, w, i % 2 == 0);
	kill_all(pid, w);
	workers_free(w);
	return 0;
}
