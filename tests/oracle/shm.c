/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every file in a /dev/shm that is not ours: only one in a mount namespace of the tree's own belongs to it. */

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oracle.h"

static void xattr_facts(struct oracle *o, const char *key, const char *path)
{
	static char names[65536], value[65536];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		ssize_t size = lgetxattr(path, name, value, sizeof(value));
		_free_ char *text = size < 0 ? NULL : escape(value, size);

		fact(o, "shm", key, "xattr %s=%s", name, text ? text : "?");
	}
}

static void contents_facts(struct oracle *o, const char *key, const char *path, const struct stat *st)
{
	_close_ int fd = open(path, O_RDONLY | O_NOATIME | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	unsigned attributes = 0;
	uint64_t sum;

	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &attributes) == 0)
		fact(o, "shm", key, "attributes %x", attributes);
	if (fd >= 0 && S_ISREG(st->st_mode) && o->opt.memory && contents_of_fd(fd, 0, st->st_size, &sum))
		fact(o, "shm", key, "contents %016lx", (unsigned long)sum);
}

static void entry_facts(struct oracle *o, const char *path, const char *name)
{
	_free_ char *key = escape(name, strlen(name));
	char target[4096];
	struct stat st;
	ssize_t n;

	if (lstat(path, &st) < 0 || !key)
		return;
	fact(o, "shm", key, "%06o %u:%u links %lu file %lu", st.st_mode, st.st_uid, st.st_gid,
		(unsigned long)st.st_nlink, (unsigned long)ordinal(&o->objects, st.st_dev, st.st_ino));
	fact(o, "shm", key, "accessed %ld.%09ld modified %ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec,
		st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (S_ISREG(st.st_mode) && o->opt.memory)
		fact(o, "shm", key, "size %ld blocks %ld", (long)st.st_size, (long)st.st_blocks);
	if (S_ISLNK(st.st_mode) && (n = readlink(path, target, sizeof(target))) > 0) {
		_free_ char *text = escape(target, n);

		fact(o, "shm", key, "target %s", text);
		utimensat(AT_FDCWD, path, (struct timespec[]){ st.st_atim, { .tv_nsec = UTIME_OMIT } },
			AT_SYMLINK_NOFOLLOW);
	}
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		contents_facts(o, key, path, &st);
	xattr_facts(o, key, path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As scandir(3), but the directory does not show that it was read. */
static int scan_quietly(const char *path, char ***out)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOATIME | O_NOFOLLOW | O_CLOEXEC), n = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char **list = NULL;

	for (struct dirent *e; dir && (e = readdir(dir));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			list = reallocarray(list, n + 1, sizeof(*list));
			list[n++] = strdup(e->d_name);
		}
	if (dir)
		closedir(dir);
	if (n)
		qsort(list, n, sizeof(*list), by_name);
	*out = list;
	return n;
}

static void directory_facts(struct oracle *o, const char *path, const char *name)
{
	char **list;
	int n;

	entry_facts(o, path, name);
	n = scan_quietly(path, &list);
	for (int i = 0; i < n; i++) {
		_free_ char *below = NULL;
		_free_ char *shown = NULL;
		struct stat st;

		if (asprintf(&below, "%s/%s", path, list[i]) < 0 || asprintf(&shown, "%s/%s", name, list[i]) < 0)
			abort();
		if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
			directory_facts(o, below, shown);
		else
			entry_facts(o, below, shown);
		free(list[i]);
	}
	free(list);
}

void shm_facts(struct oracle *o)
{
	struct stat own, its;
	struct statfs fs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/dev/shm", o->root);
	if (stat(path, &its) < 0 || statfs(path, &fs) < 0 || (stat("/dev/shm", &own) == 0 && own.st_dev == its.st_dev))
		return;
	fact(o, "shm", "room", "%lu blocks %lu files", (unsigned long)fs.f_blocks, (unsigned long)fs.f_files);
	directory_facts(o, path, "");
}
