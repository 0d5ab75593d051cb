/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tree: the namespaces and clocks of the whole tree. namespaces(7), time_namespaces(7), pid_namespaces(7); kernel/time/namespace.c; selftests/timens. */
#include "state/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/cleanup.h"
#include "container/proc_mounts.h"
#include "object/descriptions.h"

static const struct field tree_fields[] = {
	FIELD_REF(struct tree_state, root, "root", "process", REF_STRONG, "the process whose descendants the tree is"),
	FIELD_BOOL(struct tree_state, own_pid_namespace, "own_pid_namespace",
		"the root is pid 1 of a pid namespace of its own"),
	FIELD_BOOL(struct tree_state, container, "container", "in namespaces that spore made"),
	FIELD_STRING(struct tree_state, name, "name", "of the container"),
	FIELD_STRING(struct tree_state, hostname, "hostname", "of its uts namespace"),
	FIELD_STRING(struct tree_state, domainname, "domainname", "of its uts namespace"),
	FIELD_STRING(
		struct tree_state, directory, "directory", "its root directory on the host, if not the host's own"),
	FIELD_STRING(struct tree_state, network, "network", "host, none or the path of a network namespace"),
	FIELD_BOOL(struct tree_state, init, "init", "pid 1 is spore's reaping init"),
	FIELD_SINCE(2, BOOL, struct tree_state, shm_limited, "shm_limited", "its /dev/shm was given other limits"),
	FIELD_SINCE(2, UINT, struct tree_state, shm_size, "shm_size", "of these, bytes; 0: none"),
	FIELD_SINCE(2, UINT, struct tree_state, shm_inodes, "shm_inodes", "of these, files; 0: none"),
	FIELD_UINT(struct tree_state, monotonic_ns, "monotonic_ns", "CLOCK_MONOTONIC of the tree when it was saved"),
	FIELD_UINT(struct tree_state, boottime_ns, "boottime_ns", "CLOCK_BOOTTIME"),
	FIELD_UINT(struct tree_state, realtime_ns, "realtime_ns", "CLOCK_REALTIME, which a restore does not set"),
	FIELD_SINCE(3, BOOL, struct tree_state, leader_outside, "leader_outside",
		"the root's session is led by a living process outside of the tree"),
	FIELD_SINCE(3, BOOL, struct tree_state, parent_in_session, "parent_in_session",
		"and the root's parent, outside, is in it"),
	FIELD_END,
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* "monotonic  S  N" and "boottime S N": what a time namespace adds to the host's clocks. */
static int64_t offset_of(const char *text, const char *name)
{
	const char *line = text ? strstr(text, name) : NULL;
	long long s = 0, ns = 0;

	if (!line || sscanf(line + strlen(name), "%lld %lld", &s, &ns) != 2)
		return 0;
	return s * 1000000000ll + ns;
}

static void capture_clocks(struct capture *c, struct tree_state *s)
{
	_cleanup_fd_ int self = procfs_open_pid(getpid());
	_cleanup_free_ char *theirs = NULL, *ours = NULL;

	procfs_read(c->process->living_fd, "timens_offsets", &theirs, NULL);
	procfs_read(self, "timens_offsets", &ours, NULL);
	s->monotonic_ns =
		clock_ns(CLOCK_MONOTONIC) + (uint64_t)(offset_of(theirs, "monotonic") - offset_of(ours, "monotonic"));
	s->boottime_ns =
		clock_ns(CLOCK_BOOTTIME) + (uint64_t)(offset_of(theirs, "boottime") - offset_of(ours, "boottime"));
	s->realtime_ns = clock_ns(CLOCK_REALTIME);
}

static int copy_string(char **to, const char *from)
{
	*to = from && *from ? strdup(from) : NULL;
	return from && *from && !*to ? -ENOMEM : 0;
}

/* The names of the tree's uts namespace, which this thread visits for a moment. */
static int capture_names(struct capture *c, struct tree_state *s)
{
	_cleanup_fd_ int own = open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int theirs = openat(c->process->living_fd, "ns/uts", O_RDONLY | O_CLOEXEC);
	struct utsname names;
	int r;

	if (own < 0 || theirs < 0 || setns(theirs, CLONE_NEWUTS) < 0)
		return failed(
			c->ps, BLAME_PROCESS(c->process, .object = "uts namespace"), -errno, "cannot be entered: %m");
	r = uname(&names) < 0 ? -errno : 0;
	if (setns(own, CLONE_NEWUTS) < 0)
		return failed(c->ps, NULL, -errno, "cannot go back to the host's uts namespace: %m");
	if (r == 0)
		r = copy_string(&s->hostname, names.nodename);
	if (r == 0 && strcmp(names.domainname, "(none)"))
		r = copy_string(&s->domainname, names.domainname);
	return r;
}

static int look_at_mounts(struct capture *c)
{
	const struct container_spec *spec = &c->tree->container->spec;
	size_t before = c->ps->n_refused;
	int r = container_check_mounts(c->process->living_tid, spec, c->ps);

	if (spec->root)
		container_check_dev(c->process->pid, c->descriptions->root_fd, c->ps);
	return r == 0 && c->ps->n_refused > before ? -ENOTSUP : r;
}

static int capture_shm_limits(struct capture *c, struct tree_state *s)
{
	struct container_spec spec = { 0 };
	int r = c->descriptions->shm_fd < 0 ? 0 : container_shm_limits(c->descriptions->shm_fd, &spec);

	if (r < 0)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = "/dev/shm"), r, "its size cannot be told: %s",
			strerror(-r));
	s->shm_limited = spec.shm_limited;
	s->shm_size = spec.shm_size;
	s->shm_inodes = spec.shm_inodes;
	return 0;
}

/* Who leads the root's session, if nobody of the tree does: a restore has stand-ins for those. */
static void capture_session(struct capture *c, struct tree_state *s)
{
	const struct process *root = c->process;
	_cleanup_fd_ int leader = procfs_open_pid(root->stat.session), parent = procfs_open_pid(root->stat.ppid);
	struct proc_stat st;

	if (tree_find(c->tree, root->stat.session))
		return;
	s->leader_outside = leader >= 0 && proc_stat_read(leader, &st) == 0 && st.state != 'Z' && st.state != 'X';
	s->parent_in_session = parent >= 0 && proc_stat_read(parent, &st) == 0 && st.session == root->stat.session;
}

static int tree_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct container_spec *spec = c->tree->container ? &c->tree->container->spec : NULL;
	struct tree_state *s = state;
	int r;

	s->root = c->tree->processes[0]->id;
	s->own_pid_namespace = c->tree->own_pid_ns;
	capture_clocks(c, s);
	capture_session(c, s);
	if (!spec)
		return c->tree->moved ? proc_mounts_check(c->process->stat.ppid, c->ps) : 0;
	s->container = true;
	s->init = spec->init;
	r = look_at_mounts(c);
	if (r == 0)
		r = capture_names(c, s);
	if (r == 0)
		r = capture_shm_limits(c, s);
	if (r == 0)
		r = copy_string(&s->name, c->tree->container->name);
	if (r == 0)
		r = copy_string(&s->directory, spec->root);
	if (r == 0)
		r = copy_string(&s->network, spec->net);
	return r;
}

static int tree_look(struct capture *c)
{
	if (c->tree->container)
		look_at_mounts(c);
	else if (c->tree->moved)
		proc_mounts_check(c->process->stat.ppid, c->ps);
	return 0;
}

const struct tree_state *tree_state_of(const struct image *img)
{
	size_t n;
	struct record *rec = image_records(img, &component_tree.kind, &n);

	return n == 1 ? rec->state : NULL;
}

bool tree_brings(const struct restore *r, const char *path)
{
	const struct tree_state *s = tree_state_of(r->image);
	const struct container_spec spec = { .root = s ? s->directory : NULL };

	return s && s->container && container_brings(&spec, path);
}

int tree_open_before(const struct restore *r, const char *path, uint64_t flags)
{
	const struct tree_state *s = tree_state_of(r->image);
	char init[PATH_MAX];
	int fd;

	if (!s || !s->directory || strcmp(path, CONTAINER_INIT_IN_ROOT))
		return restore_open(r, path, flags, 0);
	fd = container_init_path(init, sizeof(init));
	if (fd < 0)
		return fd;
	fd = open(init, (int)flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

const struct component component_tree = {
	.kind = {
		.name = "tree",
		.version = 3,
		.size = sizeof(struct tree_state),
		.fields = tree_fields,
		.doc = "the tree as a whole: its root, namespaces and clocks",
		.sources = "namespaces(7), time_namespaces(7); kernel/time/namespace.c; selftests/timens",
		.critical = true,
	},
	.scope = SCOPE_TREE,
	.look = tree_look,
	.capture = tree_capture,
};
