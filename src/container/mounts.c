/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's mounts: one table, from which they are made and by which those of a process are checked.
 * mount(2), devpts and tmpfs of the kernel's Documentation/filesystems, mount_namespaces(7).
 */
#include "container/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "container/container.h"
#include "kernel/mountinfo.h"

#define SHM "/dev/shm"

enum when {
	ALWAYS = 1,
	OWN_ROOT = 2, /* only under a root directory of its own */
	IF_THERE = 4, /* only where the mount point exists */
	ONLY_INIT = 8,
};

struct own_mount {
	const char *point;
	const char *fstype; /* NULL: a bind mount of source */
	const char *source;
	unsigned long flags;
	const char *data;
	const char *options; /* as mountinfo shows them */
	unsigned int when;
	const char *what;
};

/* In this order: a later one may stand on an earlier one. */
static const struct own_mount own_mounts[] = {
	{ "/proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, "rw,nosuid,nodev,noexec,relatime", ALWAYS,
		"mounting /proc" },
	{ "/sys", "sysfs", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
		"ro,nosuid,nodev,noexec,relatime", OWN_ROOT | IF_THERE, "mounting /sys" },
	{ "/dev", "tmpfs", "dev", MS_NOSUID, "mode=755,size=1m", "rw,nosuid,relatime", OWN_ROOT, "mounting /dev" },
	{ "/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5",
		"rw,nosuid,noexec,relatime", ALWAYS, "mounting /dev/pts" },
	{ "/dev/ptmx", NULL, "/dev/pts/ptmx", 0, NULL, "rw,nosuid,noexec,relatime", IF_THERE,
		"binding /dev/ptmx to /dev/pts/ptmx" },
	{ SHM, "tmpfs", "shm", MS_NOSUID | MS_NODEV, "mode=1777", "rw,nosuid,nodev,relatime", IF_THERE,
		"mounting /dev/shm" },
	{ "/dev/mqueue", "mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, "rw,nosuid,nodev,noexec,relatime",
		IF_THERE, "mounting /dev/mqueue" },
	{ CONTAINER_INIT_IN_ROOT, NULL, NULL, 0, NULL, NULL, OWN_ROOT | ONLY_INIT, "binding the container's init" },
};

/* Is path the directory or below it? Returns what follows ("" or "/…"), NULL if not. */
static const char *below(const char *path, const char *dir)
{
	size_t n = strcmp(dir, "/") ? strlen(dir) : 0;

	if (strncmp(path, dir, n) || (path[n] && path[n] != '/'))
		return NULL;
	return path + n;
}

int container_init_path(char *out, size_t size)
{
	return program_find("SPORE_INIT", "spore-init", out, size);
}

/* --- making them --- */

static int under(char out[static PATH_MAX], const char *root, const char *path)
{
	size_t a = root ? strlen(root) : 0, b = strlen(path);

	if (a + b + 1 > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(out, root ? root : "", a);
	memcpy(out + a, path, b + 1);
	return 0;
}

static int make_node(const char *root, const char *path, mode_t mode, dev_t dev)
{
	char full[PATH_MAX];
	int r = under(full, root, path);

	if (r < 0)
		return r;
	if (S_ISDIR(mode) ? mkdir(full, mode & 07777) < 0 : mknod(full, mode, dev) < 0)
		return -errno;
	return chmod(full, mode & 07777) < 0 ? -errno : 0; /* whatever the umask */
}

/* What a fresh /dev must hold. */
static const struct dev_node {
	const char *path;
	mode_t mode;
	unsigned int major, minor;
} dev_nodes[] = {
	{ "/dev/null", S_IFCHR | 0666, 1, 3 },
	{ "/dev/zero", S_IFCHR | 0666, 1, 5 },
	{ "/dev/full", S_IFCHR | 0666, 1, 7 },
	{ "/dev/random", S_IFCHR | 0666, 1, 8 },
	{ "/dev/urandom", S_IFCHR | 0666, 1, 9 },
	{ "/dev/tty", S_IFCHR | 0666, 5, 0 },
	{ "/dev/pts", S_IFDIR | 0755, 0, 0 },
	{ "/dev/shm", S_IFDIR | 0755, 0, 0 },
	{ "/dev/mqueue", S_IFDIR | 0755, 0, 0 },
	{ "/dev/ptmx", S_IFREG | 0666, 0, 0 },
	{ CONTAINER_INIT_IN_ROOT, S_IFREG | 0755, 0, 0 },
};
static const char *const dev_links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

static int populate_dev(const char *root)
{
	char full[PATH_MAX];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(dev_nodes); i++) {
		r = make_node(
			root, dev_nodes[i].path, dev_nodes[i].mode, makedev(dev_nodes[i].major, dev_nodes[i].minor));
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dev_links); i++) {
		r = under(full, root, dev_links[i][1]);
		if (r < 0)
			return r;
		if (symlink(dev_links[i][0], full) < 0)
			return -errno;
	}
	return 0;
}

static int bind_one(const struct own_mount *m, const char *root, const char *point)
{
	char source[PATH_MAX];
	int r;

	if (m->source)
		r = under(source, root, m->source);
	else
		r = container_init_path(source, sizeof(source));
	if (r < 0)
		return r;
	return mount(source, point, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/* Only /dev/shm may have other limits than the table says. */
static const char *mount_data(const struct own_mount *m, const struct container_spec *spec, char out[static 128])
{
	if (strcmp(m->point, SHM) || !spec->shm_limited)
		return m->data;
	snprintf(out, 128, "%s,size=%" PRIu64 ",nr_inodes=%" PRIu64, m->data, spec->shm_size, spec->shm_inodes);
	return out;
}

static int mount_one(const struct own_mount *m, const struct container_spec *spec)
{
	const char *root = spec->root;
	char point[PATH_MAX], data[128];
	struct stat st;
	int r;

	if (((m->when & OWN_ROOT) && !root) || ((m->when & ONLY_INIT) && !spec->init))
		return 0;
	r = under(point, root, m->point);
	if (r < 0)
		return r;
	/* A symbolic link (/dev/ptmx -> pts/ptmx, /dev/shm -> /run/shm) leads to the right place, or to one
	 * that is the host's affair. */
	if ((m->when & IF_THERE) && (lstat(point, &st) < 0 || S_ISLNK(st.st_mode)))
		return 0;
	if (!m->fstype)
		return bind_one(m, root, point);
	if (mount(m->source, point, m->fstype, m->flags, mount_data(m, spec, data)) < 0)
		return -errno;
	return strcmp(m->point, "/dev") == 0 ? populate_dev(root) : 0;
}

static int change_root(const char *root)
{
	if (chdir(root) < 0)
		return -errno;
	/* Onto itself: the old root then lies over the new one, and is taken away. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

int container_mount_all(const struct container_spec *spec, const char **what)
{
	const char *root = spec->root;
	int r;

	*what = "making its mounts private";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	*what = "binding its root directory";
	if (root && mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++) {
		*what = own_mounts[i].what;
		r = mount_one(&own_mounts[i], spec);
		if (r < 0)
			return r;
	}
	*what = "changing its root directory";
	return root ? change_root(root) : 0;
}

void container_validate_points(const struct container_spec *spec, struct problems *ps)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++) {
		const struct own_mount *m = &own_mounts[i];
		char point[PATH_MAX];
		struct stat st;

		/* What is below a /dev of its own is made there. */
		if (m->when & IF_THERE || !m->fstype || (m->when & OWN_ROOT && !spec->root) ||
			(spec->root && strncmp(m->point, "/dev/", 5) == 0))
			continue;
		if (under(point, spec->root, m->point) < 0 || stat(point, &st) < 0 || !S_ISDIR(st.st_mode))
			refused(ps, BLAME(.object = m->point, .remedy = "make the directory"),
				"it is not under %s, and the container has to mount there",
				spec->root ? spec->root : "/");
	}
}

bool container_brings(const struct container_spec *spec, const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++)
		if (!(own_mounts[i].when & OWN_ROOT && !spec->root) && below(path, own_mounts[i].point))
			return true;
	return false;
}

static bool is_usual_in_dev(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(dev_nodes); i++)
		if (strcmp(dev_nodes[i].path + strlen("/dev/"), name) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(dev_links); i++)
		if (strcmp(dev_links[i][1] + strlen("/dev/"), name) == 0)
			return true;
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void container_check_dev(pid_t pid, int root_fd, struct problems *ps)
{
	int fd = openat(root_fd, "dev", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	_cleanup_dir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char name[32];

	process_name(pid, name);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char object[192];

		if (is_usual_in_dev(e->d_name))
			continue;
		snprintf(object, sizeof(object), "/dev/%.170s", e->d_name);
		refused(ps, BLAME(.pid = pid, .process = name, .object = object, .remedy = "remove it"),
			"a file that was made in the container's own /dev cannot be carried");
	}
}

/* --- /dev/shm --- */

static bool is_mount_root(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, 0, &st) == 0 && st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

int container_open_shm(int root_fd)
{
	_cleanup_fd_ int fd = openat(root_fd, &SHM[1], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st, hosts;
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (fs.f_type != TMPFS_MAGIC || !is_mount_root(fd))
		return -ENOENT;
	return stat(SHM, &hosts) == 0 && hosts.st_dev == st.st_dev ? -ENOENT : take_fd(&fd);
}

/* A tmpfs as mounted with no option, which nobody sees. */
static int open_fresh_tmpfs(void)
{
	_cleanup_fd_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mounted;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mounted = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return mounted < 0 ? -errno : mounted;
}

int container_shm_limits(int shm_fd, struct container_spec *spec)
{
	_cleanup_fd_ int fresh = open_fresh_tmpfs();
	struct statfs its, usual;

	if (fresh < 0)
		return fresh;
	if (fstatfs(shm_fd, &its) < 0 || fstatfs(fresh, &usual) < 0)
		return -errno;
	spec->shm_limited = its.f_blocks != usual.f_blocks || its.f_files != usual.f_files;
	spec->shm_size = spec->shm_limited ? its.f_blocks * (uint64_t)its.f_bsize : 0;
	spec->shm_inodes = spec->shm_limited ? its.f_files : 0;
	return 0;
}

/* --- checking them --- */

/* One of the host's mounts as a process whose root is `root` would have it: the one that holds root becomes
 * "/", those below keep their rest. */
static int seen_from(const struct mount_entry *host, const char *root, bool holds_root, struct mount_entry *out)
{
	const char *rest = below(host->point, root);
	const char *inner = holds_root ? below(root, host->point) : "";
	bool top = strcmp(host->root, "/") == 0 && *inner == '/';

	*out = (struct mount_entry){ .major = host->major, .minor = host->minor };
	out->point = strdup(holds_root ? "/" : (*rest ? rest : "/"));
	if (asprintf(&out->root, "%s%s", top ? "" : host->root, inner) < 0)
		out->root = NULL;
	out->options = strdup(host->options);
	out->fstype = strdup(host->fstype);
	return out->point && out->root && out->options && out->fstype ? 0 : -ENOMEM;
}

/* What a child of this process would find before container_setup. */
static int expected_from_host(const char *root, struct mount_table *out)
{
	_cleanup_(mount_table_free)
	struct mount_table host = { 0 };
	size_t holder = 0, longest = 0;
	int r = mountinfo_read("/proc/self/mountinfo", &host);

	if (r < 0 || !root) {
		*out = host;
		host = (struct mount_table){ 0 };
		return r;
	}
	for (size_t i = 0; i < host.n; i++)
		if (below(root, host.list[i].point) && strlen(host.list[i].point) >= longest) {
			longest = strlen(host.list[i].point);
			holder = i;
		}
	out->list = calloc(MAX(host.n, (size_t)1), sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (size_t i = 0; i < host.n && r == 0; i++) {
		if (i != holder && (!below(host.list[i].point, root) || strcmp(host.list[i].point, root) == 0))
			continue;
		r = seen_from(&host.list[i], root, i == holder, &out->list[out->n++]);
	}
	return r;
}

static bool same_mount(const struct mount_entry *a, const struct mount_entry *b)
{
	return a->major == b->major && a->minor == b->minor && strcmp(a->point, b->point) == 0 &&
	       strcmp(a->root, b->root) == 0 && strcmp(a->options, b->options) == 0 &&
	       strcmp(a->fstype, b->fstype) == 0;
}

/* What the limits of a tmpfs look like is carried; how it is to be swapped, or to use huge pages, is not. */
static bool usual_tmpfs(const struct mount_entry *m)
{
	static const char *const strange[] = { "huge=", "mpol=", "noswap", "quota", "casefold" };

	for (size_t i = 0; i < ARRAY_SIZE(strange); i++)
		if (strstr(m->super, strange[i]))
			return false;
	return strncmp(m->super, "rw", 2) == 0;
}

static bool is_own_mount(const struct mount_entry *m, const struct own_mount *own, const struct container_spec *spec)
{
	if (((own->when & OWN_ROOT) && !spec->root) || strcmp(m->point, own->point))
		return false;
	if (own->options && strcmp(m->options, own->options))
		return false;
	if (own->fstype)
		return strcmp(m->fstype, own->fstype) == 0 && strcmp(m->root, "/") == 0 &&
		       (strcmp(m->fstype, "tmpfs") != 0 || usual_tmpfs(m));
	return own->when & ONLY_INIT || (strcmp(m->fstype, "devpts") == 0 && strcmp(m->root, "/ptmx") == 0);
}

/* Each of a table's entries may explain one mount. */
struct explained {
	bool own[ARRAY_SIZE(own_mounts)];
	bool *host;
};

static bool explain(const struct mount_entry *m, const struct container_spec *spec, const struct mount_table *host,
	struct explained *by)
{
	for (size_t i = 0; i < host->n; i++)
		if (!by->host[i] && same_mount(m, &host->list[i]))
			return by->host[i] = true;
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++)
		if (!by->own[i] && is_own_mount(m, &own_mounts[i], spec))
			return by->own[i] = true;
	return false;
}

static void refuse_mount(pid_t pid, const struct mount_entry *m, const char *text, struct problems *ps)
{
	char object[192], name[32];

	process_name(pid, name);
	snprintf(object, sizeof(object), "mount %s (%s)", m->point, m->fstype);
	refused(ps, BLAME(.pid = pid, .process = name, .object = object, .remedy = "unmount it"), "%s", text);
}

/* Whether mount_one would make it: the points in a /dev of the container's own are always there. */
static bool is_wanted(const struct own_mount *m, const struct container_spec *spec)
{
	char point[PATH_MAX];
	struct stat st;

	if (((m->when & OWN_ROOT) && !spec->root) || ((m->when & ONLY_INIT) && !spec->init))
		return false;
	if (!(m->when & IF_THERE) || (spec->root && below(m->point, "/dev")))
		return true;
	return under(point, spec->root, m->point) == 0 && lstat(point, &st) == 0 && !S_ISLNK(st.st_mode);
}

static void report_missing(pid_t pid, const struct container_spec *spec, const struct mount_table *host,
	const struct explained *by, struct problems *ps)
{
	char object[192], name[32];

	process_name(pid, name);
	for (size_t i = 0; i < host->n; i++)
		if (!by->host[i]) {
			snprintf(object, sizeof(object), "mount %s (%s)", host->list[i].point, host->list[i].fstype);
			changed(ps, BLAME(.pid = pid, .process = name, .object = object),
				"not in the container, but a restored one will have it from the host");
		}
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++)
		if (!by->own[i] && is_wanted(&own_mounts[i], spec)) {
			snprintf(object, sizeof(object), "mount %s", own_mounts[i].point);
			refused(ps, BLAME(.pid = pid, .process = name, .object = object),
				"the container has unmounted it");
		}
}

int container_check_mounts(pid_t pid, const struct container_spec *spec, struct problems *ps)
{
	_cleanup_(mount_table_free)
	struct mount_table host = { 0 }, have = { 0 };
	_cleanup_free_ bool *host_seen = NULL;
	struct explained by = { 0 };
	size_t before = ps->n_refused;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	r = mountinfo_read(path, &have);
	if (r == 0)
		r = expected_from_host(spec->root, &host);
	if (r < 0)
		return failed(ps, BLAME(.pid = pid), r, "cannot read its mounts: %s", strerror(-r));
	by.host = host_seen = calloc(host.n + 1, sizeof(bool));
	if (!host_seen)
		return -ENOMEM;
	for (size_t i = 0; i < have.n; i++) {
		if (have.list[i].propagates)
			refuse_mount(pid, &have.list[i], "a mount that is shared cannot be carried yet", ps);
		else if (!explain(&have.list[i], spec, &host, &by))
			refuse_mount(pid, &have.list[i],
				"a mount that this machine does not have: made inside, or since unmounted outside", ps);
	}
	report_missing(pid, spec, &host, &by, ps);
	return ps->n_refused > before ? -ENOTSUP : 0;
}
