/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a mark, as fdinfo shows it, to a path. The kernel shows a file handle, which open_by_handle_at(2) opens on most file systems, and which leads to
 * a path if the name is in its cache; else the file system is searched, for a bounded time. Nothing is opened so that a watch would tell.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernel/mountinfo.h"
#include "state/files.h"
#include "state/watched.h"

#define SEARCH_US 3000000

static bool same(const struct fdinfo_mark *a, const struct fdinfo_mark *b)
{
	return a->ino == b->ino && a->major == b->major && a->minor == b->minor && a->handle_size == b->handle_size &&
	       a->handle_type == b->handle_type && !memcmp(a->handle, b->handle, a->handle_size);
}

int mark_of(int fd, struct fdinfo_mark *out)
{
	_cleanup_fd_ int own = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_free_ char *info = NULL;
	const char *at, *value;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (own < 0 || inotify_add_watch(own, path, IN_DELETE_SELF) < 0)
		return -errno;
	if (fdinfo_of_dup(own, &info) < 0)
		return -EBADMSG;
	at = info;
	value = fdinfo_next_line(&at, "inotify ");
	return value ? fdinfo_mark_parse(value, out) : -EBADMSG;
}

bool mark_is_on(const struct fdinfo_mark *mark, int fd)
{
	struct fdinfo_mark its = { 0 };

	return mark_of(fd, &its) == 0 && same(mark, &its);
}

static bool leads_to(const struct capture *c, const char *path, const struct fdinfo_mark *mark)
{
	_cleanup_fd_ int fd = path[0] == '/' ? tree_open(c, path, O_PATH | O_NOFOLLOW) : -1;

	return fd >= 0 && mark_is_on(mark, fd);
}

/* --- by what is known --- */

static char *path_of(const struct capture *c, int fd, const struct fdinfo_mark *mark)
{
	_cleanup_fd_ int dir = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *path = NULL;
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	if (dir < 0 || procfs_link(dir, name, &path) < 0)
		return NULL;
	return leads_to(c, path, mark) ? take_ptr(path) : NULL;
}

static char *by_handle(const struct capture *c, const char *mount, const char *near, const struct fdinfo_mark *mark)
{
	_cleanup_fd_ int point = tree_open(c, mount, O_PATH), opened = point < 0 ? -1 : reopen_unseen(c, point),
			 fd = -1;
	_cleanup_free_ struct file_handle *h = malloc(sizeof(*h) + mark->handle_size);

	if (opened < 0 || !h || !mark->handle_size)
		return NULL;
	h->handle_bytes = (unsigned int)mark->handle_size;
	h->handle_type = mark->handle_type;
	memcpy(h->f_handle, mark->handle, mark->handle_size);
	fd = open_by_handle_at(opened, h, O_PATH | O_CLOEXEC);
	return fd < 0 ? NULL : path_of(c, fd, mark);
}

static char *by_descriptor(const struct capture *c, const struct fdinfo_mark *mark)
{
	for (const struct description *d = descriptions_of_ino(c->descriptions, mark->ino); d; d = d->same_ino)
		if (leads_to(c, d->look->link, mark))
			return strdup(d->look->link);
	return NULL;
}

/* --- by searching --- */

struct search {
	const struct capture *c;
	const struct fdinfo_mark *mark;
	dev_t device;
	char **directories;
	size_t n, room, next;
	char *found;
};

static void search_later(struct search *s, const char *directory, const char *name)
{
	char *path = NULL;

	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 256;
		char **grown = reallocarray(s->directories, room, sizeof(*grown));

		if (!grown)
			return;
		s->directories = grown;
		s->room = room;
	}
	if (asprintf(&path, "%s%s%s", directory, strcmp(directory, "/") && *name ? "/" : "", name) >= 0)
		s->directories[s->n++] = path;
}

static void look_at_entry(struct search *s, const char *directory, const struct dirent *e)
{
	_cleanup_free_ char *path = NULL;

	if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
		return;
	if (e->d_ino == s->mark->ino &&
		asprintf(&path, "%s%s%s", directory, strcmp(directory, "/") ? "/" : "", e->d_name) >= 0 &&
		leads_to(s->c, path, s->mark))
		s->found = take_ptr(path);
	else if (e->d_type == DT_DIR)
		search_later(s, directory, e->d_name);
}

static void search_directory(struct search *s, const char *directory)
{
	_cleanup_fd_ int fd = tree_open(s->c, directory, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	_cleanup_dir_ DIR *dir = NULL;
	struct stat st;
	int opened;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != s->device)
		return;
	opened = reopen_unseen(s->c, fd);
	dir = opened < 0 ? NULL : fdopendir(opened);
	for (const struct dirent *e; dir && !s->found && (e = readdir(dir));)
		look_at_entry(s, directory, e);
}

/* Where it is likely, and where the processes work, first. */
static void begin_search(struct search *s, const char *mount, const char *near)
{
	if (near)
		search_later(s, near, "");
	for (size_t i = 0; i < s->c->tree->n_processes; i++) {
		_cleanup_free_ char *cwd = NULL;

		if (procfs_link(s->c->tree->processes[i]->living_fd, "cwd", &cwd) == 0 && strcmp(cwd, "/") != 0)
			search_later(s, cwd, "");
	}
	search_later(s, mount, "");
}

static char *by_search(const struct capture *c, const char *mount, const char *near, const struct fdinfo_mark *mark)
{
	struct search s = { .c = c, .mark = mark };
	uint64_t end = clock_us() + SEARCH_US;
	struct stat st;

	if (tree_stat(c, mount, &st) < 0 || !S_ISDIR(st.st_mode))
		return NULL;
	s.device = st.st_dev;
	begin_search(&s, mount, near);
	while (s.next < s.n && !s.found && clock_us() < end)
		search_directory(&s, s.directories[s.next++]);
	for (size_t i = 0; i < s.n; i++)
		free(s.directories[i]);
	free(s.directories);
	return s.found;
}

/* --- all --- */

typedef char *find_fn(const struct capture *c, const char *mount, const char *near, const struct fdinfo_mark *mark);

static uint64_t mount_of(const struct capture *c, const char *path)
{
	_cleanup_fd_ int fd = tree_open(c, path, O_PATH);
	struct statx st;

	return fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) == 0 ? st.stx_mnt_id : 0;
}

/* The mount of a likely place first: a file may be there by several. */
static char *on_each_mount(const struct capture *c, const struct mount_table *mounts, const char *near,
	const struct fdinfo_mark *mark, find_fn *find)
{
	uint64_t likely = near ? mount_of(c, near) : 0;
	char *path = NULL;

	for (int pass = 0; pass < 2 && !path; pass++)
		for (size_t i = 0; i < mounts->n && !path; i++) {
			const struct mount_entry *m = &mounts->list[i];

			if (m->major == mark->major && m->minor == mark->minor && ((uint64_t)m->id == likely) == !pass)
				path = find(c, m->point, near, mark);
		}
	return path;
}

/* Not if another is mounted over it. */
static bool mount_at(const struct capture *c, const struct mount_entry *m)
{
	return mount_of(c, m->point) == (uint64_t)m->id;
}

char *watched_mount(struct capture *c, const struct fdinfo_mark *mark)
{
	struct mount_table mounts = { 0 };
	char name[64], *path = NULL;

	snprintf(name, sizeof(name), "/proc/%d/mountinfo", c->tree->processes[0]->living_tid);
	if (mountinfo_read(name, &mounts) < 0)
		return NULL;
	for (size_t i = 0; i < mounts.n; i++) {
		const struct mount_entry *m = &mounts.list[i];

		if (mark->on == MARK_MOUNT ? m->id != mark->mount : m->major != mark->major || m->minor != mark->minor)
			continue;
		free(path);
		path = mount_at(c, m) ? strdup(m->point) : NULL;
		if (path)
			break;
	}
	mount_table_free(&mounts);
	return path;
}

char *watched_find(struct capture *c, const struct fdinfo_mark *mark, const char *near)
{
	struct mount_table mounts = { 0 };
	char name[64], *path = NULL;

	snprintf(name, sizeof(name), "/proc/%d/mountinfo", c->tree->processes[0]->living_tid);
	if (mountinfo_read(name, &mounts) < 0)
		return NULL;
	path = on_each_mount(c, &mounts, near, mark, by_handle);
	if (!path)
		path = by_descriptor(c, mark);
	if (!path)
		path = on_each_mount(c, &mounts, near, mark, by_search);
	mount_table_free(&mounts);
	return path;
}
