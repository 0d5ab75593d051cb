/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Namespaces. namespaces(7); kernel/nsproxy.c; selftests/nsfs. Only looked at: all tasks of a tree are in the
 * same ones, and those are the host's (spore's own) or what `spore run` and a restore make. Any other is
 * refused by name.
 */
#include "object/component.h"

#include <assert.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/kernel_view.h"
#include "state/owner.h"

#define THREADS_FEW 8 /* as many are looked at one by one */

#define OF_CONTAINER 1u	 /* may be the tree's own where a container was made */
#define OF_PID_NS    2u	 /* may be the tree's own where its root is pid 1 */
#define OF_NETWORK   4u	 /* may be the tree's own where the container was given one */
#define OF_THREAD    8u	 /* a thread may have another than its leader */
#define OF_MOVED     32u /* may be the tree's own where an earlier restore moved it */
#define OF_TASK	     64u /* a task's own, not of its struct nsproxy */
#define OF_ANY	     16u /* a restore makes one that serves as well: the clocks are in the tree's record */

static const struct kind_of_ns {
	const char *name;
	unsigned int flags;
	const char *must_equal; /* the namespace that children are born into is to be the process's own */
} kinds[] = {
	{ "user", OF_TASK, NULL },
	{ "mnt", OF_CONTAINER | OF_MOVED | OF_THREAD, NULL },
	{ "pid", OF_CONTAINER | OF_MOVED | OF_PID_NS | OF_TASK, NULL },
	{ "pid_for_children", OF_CONTAINER | OF_MOVED | OF_PID_NS, "pid" },
	{ "ipc", OF_CONTAINER | OF_THREAD, NULL },
	{ "uts", OF_CONTAINER | OF_THREAD, NULL },
	{ "net", OF_NETWORK | OF_THREAD, NULL },
	{ "cgroup", OF_CONTAINER | OF_THREAD, NULL },
	{ "time", OF_ANY, NULL },
	{ "time_for_children", OF_ANY, "time" },
};

/* The inode of a namespace is its name, and its link says it: "uts:[4026531838]". 0: this kernel has no such, or the task is gone. */
static ino_t ns_of(int proc_fd, const char *name)
{
	char path[40], link[64];
	const char *number;
	ssize_t n;

	snprintf(path, sizeof(path), "ns/%s", name);
	n = readlinkat(proc_fd, path, link, sizeof(link) - 1);
	if (n < 0)
		return 0;
	link[n] = '\0';
	number = strchr(link, '[');
	return number ? strtoul(number + 1, NULL, 10) : 0;
}

static bool may_differ_from_host(const struct tree *t, const struct kind_of_ns *k)
{
	const struct container_entry *container = t->container;

	if (k->flags & OF_ANY || (k->flags & OF_PID_NS && t->own_pid_ns) || (k->flags & OF_MOVED && t->moved))
		return true;
	if (k->flags & OF_NETWORK)
		return container && container->spec.net && strcmp(container->spec.net, "host") != 0;
	return k->flags & OF_CONTAINER && container;
}

static int refuse_ns(struct capture *c, const struct kind_of_ns *k, const char *text)
{
	char object[48];

	snprintf(object, sizeof(object), "%s namespace", k->name);
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "start the tree with spore run"),
		"%s", text);
}

static void look_at_root(struct capture *c, int self_fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind_of_ns *k = &kinds[i];
		ino_t its = ns_of(owner_alive(c->process)->proc_fd, k->name);

		/* A child of spore's may be born into other namespaces than spore's own: each thread is looked at for that. */
		if (!k->must_equal && its != ns_of(self_fd, k->name) && !may_differ_from_host(c->tree, k))
			refuse_ns(c, k, its ? "it is neither the host's nor one that spore made" : "it cannot be told");
	}
}

static_assert(sizeof(((struct tree *)0)->namespaces) / sizeof(uint64_t) == ARRAY_SIZE(kinds), "one for each kind");

static ino_t roots_ns(struct tree *t, size_t kind)
{
	if (!t->namespaces[kind])
		t->namespaces[kind] = ns_of(owner_alive(t->processes[0])->proc_fd, kinds[kind].name);
	return t->namespaces[kind];
}

/* One struct nsproxy holds all but the user namespace, and the pid namespace that a task's own number is of: who has the same is in the same ones. */
static bool shares_with_root(struct capture *c)
{
	return c->process->nsproxy && c->process->nsproxy == c->tree->processes[0]->nsproxy;
}

/* shares: all that is not OF_TASK. */
static void look_at_other(struct capture *c, bool shares)
{
	int its_fd = owner_alive(c->process)->proc_fd;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		ino_t its, roots;

		if (shares && !(kinds[i].flags & OF_TASK))
			continue;
		its = ns_of(its_fd, kinds[i].name);
		roots = roots_ns(c->tree, i);
		if (its && roots && its != roots)
			refuse_ns(c, &kinds[i], "it is another than that of the tree's root");
	}
}

/* A pid namespace that nobody was born into yet has no link. Nor has anything of a thread that has ended, but for the pid namespace. */
static bool bears_elsewhere(int proc_fd, const struct kind_of_ns *k)
{
	ino_t born = ns_of(proc_fd, k->name);
	char path[40];
	struct stat st;

	snprintf(path, sizeof(path), "ns/%s", k->name);
	return ns_of(proc_fd, "uts") && born != ns_of(proc_fd, k->must_equal) &&
	       (born || fstatat(proc_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0);
}

static void look_at_thread(struct capture *c, const struct thread *th)
{
	int own_fd = owner_alive(c->process)->proc_fd;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		ino_t its = kinds[i].flags & OF_THREAD && th->proc_fd != own_fd ? ns_of(th->proc_fd, kinds[i].name) : 0;

		/* What has ended has none. */
		if (its && its != roots_ns(c->tree, i) && its != ns_of(own_fd, kinds[i].name))
			refuse_ns(c, &kinds[i], "a thread has another than its process");
		if (kinds[i].must_equal && bears_elsewhere(th->proc_fd, &kinds[i]))
			refuse_ns(c, &kinds[i], "its children would be born into another than its own");
	}
}

/* All threads of a process are in one user namespace, and in one pid namespace. */
static bool threads_share(struct capture *c)
{
	return c->process->n_threads > THREADS_FEW && c->writer && c->kernel &&
	       kernel_tasks_share(c, c->process, "nsproxy");
}

static int namespaces_look_thread(struct capture *c)
{
	if (!c->process->same_namespaces)
		look_at_thread(c, c->thread);
	return 0;
}

static int namespaces_look(struct capture *c)
{
	const struct process *root = c->tree->processes[0];
	bool shares = c->process != root && shares_with_root(c);
	int self_fd;

	if (c->process == root) {
		self_fd = procfs_open_pid(getpid());
		if (self_fd < 0)
			return self_fd;
		look_at_root(c, self_fd);
		close(self_fd);
	} else {
		look_at_other(c, shares);
	}
	if (!shares) /* else what was seen of the root, and of its children, holds for this one's too */
		look_at_thread(c, owner_alive(c->process));
	c->process->same_namespaces = threads_share(c);
	return 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_namespaces = {
	.kind = {
		.name = "namespaces",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: other namespaces than the host's and a container's are refused",
		.sources = "namespaces(7); kernel/nsproxy.c; selftests/nsfs",
	},
	.scope = SCOPE_PROCESS,
	.look = namespaces_look,
	.look_thread = namespaces_look_thread,
	.capture = capture_nothing,
};
