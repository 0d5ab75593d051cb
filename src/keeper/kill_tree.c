/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "keeper/keeper.h"

struct pids {
	pid_t *list;
	size_t n;
};

static void add(struct pids *p, pid_t pid)
{
	pid_t *grown;

	for (size_t i = 0; i < p->n; i++)
		if (p->list[i] == pid)
			return;
	grown = reallocarray(p->list, p->n + 1, sizeof(pid_t));
	if (!grown)
		return;
	p->list = grown;
	p->list[p->n++] = pid;
}

static void add_children_of_thread(struct pids *p, pid_t pid, const char *tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *end;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid, tid);
	if (file_read_all(AT_FDCWD, path, &text, NULL) < 0)
		return;
	for (char *word = text;; word = end) {
		long child = strtol(word, &end, 10);

		if (end == word)
			return;
		add(p, (pid_t)child);
	}
}

static void add_children(struct pids *p, pid_t pid)
{
	_cleanup_dir_ DIR *tasks = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	for (struct dirent *de = tasks ? readdir(tasks) : NULL; de; de = readdir(tasks))
		if (de->d_name[0] != '.')
			add_children_of_thread(p, pid, de->d_name);
}

/* Stopped first, from the root down: what is stopped has no more children. */
void kill_tree(pid_t root)
{
	struct pids p = { 0 };

	add(&p, root);
	for (size_t i = 0; i < p.n; i++) {
		kill(p.list[i], SIGSTOP);
		add_children(&p, p.list[i]);
	}
	for (size_t i = 0; i < p.n; i++)
		kill(p.list[i], SIGKILL);
	free(p.list);
}
