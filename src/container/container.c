/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's namespaces, mounts and cgroup: namespaces(7), time_namespaces(7), cgroups(7), pivot_root(2).
 */
#include "container/container.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "container/mounts.h"
#include "kernel/cgroup.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

void container_spec_free(struct container_spec *spec)
{
	free(spec->name);
	free(spec->hostname);
	free(spec->domainname);
	free(spec->root);
	free(spec->net);
	free(spec->cgroup);
	*spec = (struct container_spec){ 0 };
}

/* The cgroup namespace is not here: its root is the cgroup of the task that makes it, so the first process
 * unshares it when it has moved. */
uint64_t container_clone_flags(const struct container_spec *spec)
{
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

	if (spec->pids_only)
		return CLONE_NEWPID | CLONE_NEWNS;
	if (spec->net && strcmp(spec->net, "none") == 0)
		flags |= CLONE_NEWNET;
	return flags;
}

/* Whole seconds rounded down, so that the nanoseconds are never negative. */
static int print_offset(char *buf, size_t size, const char *clock, int64_t ns)
{
	int64_t s = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		s--;
		rest += 1000000000;
	}
	return snprintf(buf, size, "%s %" PRId64 " %" PRId64 "\n", clock, s, rest);
}

/* Not in the process that makes it: before Linux 6.3, who is to have children with other clocks cannot make any that share its memory. */
int container_enter_time(const struct container_spec *spec, const char **what)
{
	_cleanup_fd_ int ns = -1;
	char text[128];
	int n, r;

	if (!spec->time_ns)
		return 0;
	*what = "the time namespace";
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	n = print_offset(text, sizeof(text), "monotonic", spec->monotonic_offset_ns);
	print_offset(text + n, sizeof(text) - (size_t)n, "boottime", spec->boottime_offset_ns);
	r = file_write_text(AT_FDCWD, "/proc/self/timens_offsets", text);
	if (r < 0)
		return r;
	ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	return ns < 0 || setns(ns, CLONE_NEWTIME) < 0 ? -errno : 0;
}

/* --- cgroup --- */

/* mkdir -p of mount + path. */
static int make_cgroup_path(const char *mount, const char *path)
{
	char full[PATH_MAX];
	size_t skip = strlen(mount) + 1;
	int n = snprintf(full, sizeof(full), "%s%s", mount, path);

	if (n < 0 || (size_t)n >= sizeof(full))
		return -ENAMETOOLONG;
	for (char *slash = strchr(full + skip, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		if (mkdir(full, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (!slash)
			return 0;
		*slash = '/';
	}
}

static char *cgroup_path(const struct container_spec *spec)
{
	char *path;

	if (spec->cgroup)
		return strdup(spec->cgroup);
	return asprintf(&path, "/spore/%s", spec->name) < 0 ? NULL : path;
}

static int refuse_populated(const char *path, struct problems *ps)
{
	bool populated = false;

	if (cgroup_has_processes(path, &populated) < 0 || !populated)
		return 0;
	return failed(ps, BLAME(.object = path, .remedy = "end it, or choose another name"), -EEXIST,
		"processes run in this cgroup already");
}

int container_make_cgroup(struct container_spec *spec, struct problems *ps)
{
	_cleanup_free_ char *path = NULL;
	char mount[PATH_MAX];
	int r;

	if (cgroup2_mount_point(mount, sizeof(mount)) < 0)
		return 0;
	path = cgroup_path(spec);
	if (!path)
		return -ENOMEM;
	r = make_cgroup_path(mount, path);
	if (r == -EACCES || r == -EPERM || r == -EROFS) {
		free(spec->cgroup);
		spec->cgroup = NULL;
		return 0;
	}
	if (r < 0)
		return failed(ps, BLAME(.object = path), r, "cannot make the cgroup: %s", strerror(-r));
	r = refuse_populated(path, ps);
	if (r < 0)
		return r;
	free(spec->cgroup);
	spec->cgroup = take_ptr(path);
	return 0;
}

/* Only the container's own, and /spore when it is empty: rmdir refuses a cgroup that holds something. */
int container_remove_cgroup(const struct container_spec *spec)
{
	char mount[PATH_MAX], full[PATH_MAX * 2];

	if (!spec->cgroup || cgroup2_mount_point(mount, sizeof(mount)) < 0)
		return 0;
	snprintf(full, sizeof(full), "%s%s", mount, spec->cgroup);
	return rmdir(full) < 0 && errno != ENOENT ? -errno : 0;
}

static int join_cgroup(const char *mount, const char *cgroup)
{
	char full[PATH_MAX];
	int n = snprintf(full, sizeof(full), "%s%s/cgroup.procs", mount, cgroup);

	return n < 0 || (size_t)n >= sizeof(full) ? -ENAMETOOLONG : file_write_text(AT_FDCWD, full, "0");
}

/* --- the first process --- */

int container_raise_loopback(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	_cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

static int enter_network(const char *net)
{
	_cleanup_fd_ int fd = -1;

	if (!net || strcmp(net, "host") == 0)
		return 0;
	if (strcmp(net, "none") == 0)
		return container_raise_loopback();
	fd = open(net, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int set_names(const struct container_spec *spec)
{
	if (spec->hostname && sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		return -errno;
	if (spec->domainname && setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
		return -errno;
	return 0;
}

#define JOIN_TRIES 10

static int enter_cgroup(const struct container_spec *spec)
{
	char mount[PATH_MAX];
	int r;

	if (!spec->cgroup)
		return 0;
	r = cgroup2_mount_point(mount, sizeof(mount));
	if (r < 0)
		return r;
	/* Whoever cleans up after an earlier container of that name may take it away before we are in it. */
	for (int i = 0; ((r = join_cgroup(mount, spec->cgroup)) == -ENOENT || r == -ENODEV) && i < JOIN_TRIES; i++)
		make_cgroup_path(mount, spec->cgroup);
	if (r < 0)
		return r;
	return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

int container_setup(const struct container_spec *spec, const char **what)
{
	int r;

	*what = "joining its cgroup";
	r = enter_cgroup(spec);
	if (r < 0)
		return r;
	*what = "entering its network namespace";
	r = enter_network(spec->net);
	if (r < 0)
		return r;
	*what = "setting its host name";
	r = set_names(spec);
	if (r < 0)
		return r;
	return container_mount_all(spec, what);
}

/* --- before it is made --- */

static void validate_cgroup(const struct container_spec *spec, struct problems *ps)
{
	_cleanup_free_ char *path = spec->name || spec->cgroup ? cgroup_path(spec) : NULL;
	char mount[PATH_MAX];

	if (path && cgroup2_mount_point(mount, sizeof(mount)) == 0)
		refuse_populated(path, ps);
}

static void validate_network(const struct container_spec *spec, struct problems *ps)
{
	_cleanup_fd_ int fd = -1;

	if (!spec->net || strcmp(spec->net, "host") == 0 || strcmp(spec->net, "none") == 0)
		return;
	fd = open(spec->net, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		refused(ps, BLAME(.object = spec->net, .remedy = "make it again (ip netns add)"),
			"the container's network namespace cannot be entered: %s", strerror(errno));
}

int container_validate(const struct container_spec *spec, struct problems *ps)
{
	size_t before = ps->n_refused + ps->n_failed;
	char path[PATH_MAX];
	struct stat st;

	if (spec->root && (stat(spec->root, &st) < 0 || !S_ISDIR(st.st_mode)))
		return refused(ps, BLAME(.object = spec->root, .remedy = "put it back"),
			"the container's root directory is missing");
	container_validate_points(spec, ps);
	validate_network(spec, ps);
	validate_cgroup(spec, ps);
	if (spec->init && container_init_path(path, sizeof(path)) < 0)
		refused(ps, BLAME(.object = "spore-init", .remedy = "install it, or name it in SPORE_INIT"),
			"the container's init was not found");
	return ps->n_refused + ps->n_failed > before ? -ENOTSUP : 0;
}
