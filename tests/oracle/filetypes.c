/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each kind of open file description tells beyond fdinfo, asked on a duplicate of it. */

#include <asm/termbits.h>
#include <asm/ioctls.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oracle.h"

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif
#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#endif
#define PTY_SLAVE_MAJOR 136

/* Where a watched descriptor leads now; its number may be closed, or mean another file by now. */
static bool watched_file(
	const struct files *all, const struct file *epoll, int number, unsigned offset, uint64_t *found)
{
	struct kcmp_epoll_slot slot = { .efd = epoll->fd, .tfd = number, .toff = offset };

	for (size_t i = 0; i < all->count; i++) {
		const struct file *f = &all->list[i];

		if (f->task->proc != epoll->task->proc || f->fd != number)
			continue;
		if (syscall(SYS_kcmp, f->task->tid, epoll->task->tid, KCMP_EPOLL_TFD, f->fd, &slot) == 0) {
			*found = f->number;
			return true;
		}
	}
	for (size_t i = 0; i < all->count; i++) {
		const struct file *f = &all->list[i];
		long order = syscall(SYS_kcmp, f->task->tid, epoll->task->tid, KCMP_EPOLL_TFD, f->fd, &slot);

		if (order == 0) {
			*found = f->number;
			return true;
		}
		if (order < 0)
			return false;
	}
	return false;
}

void epoll_line(const struct files *all, const struct file *f, const char *line, unsigned nth, char *buf, size_t size)
{
	unsigned events;
	uint64_t data, found;
	int number;

	if (sscanf(line, "tfd: %d events: %x data: %lx", &number, &events, &data) != 3)
		snprintf(buf, size, "%s", line);
	else if (watched_file(all, f, number, nth, &found))
		snprintf(buf, size, "%d (file #%lu) events %#x data %#lx", number, (unsigned long)found, events,
			(unsigned long)data);
	else
		snprintf(buf, size, "%d (a file not in the tree) events %#x data %#lx", number, events,
			(unsigned long)data);
}

static void owner_facts(struct oracle *o, const char *prefix, int dup)
{
	struct f_owner_ex owner = { 0 };
	unsigned uids[2] = { 0 };
	char name[32];
	int sig = fcntl(dup, F_GETSIG), lease = fcntl(dup, F_GETLEASE);
	uint64_t hint = 0;

	if (fcntl(dup, F_GETOWN_EX, &owner) == 0 && owner.pid)
		fact(o, prefix, "owner", "type %d %s", owner.type, name_of(o, owner.pid, name));
	if (fcntl(dup, F_GETOWNER_UIDS, uids) == 0 && (uids[0] || uids[1]))
		fact(o, prefix, "owner uids", "%u %u", uids[0], uids[1]);
	if (sig > 0)
		fact(o, prefix, "signal", "%d", sig);
	if (lease >= 0 && lease != F_UNLCK)
		fact(o, prefix, "lease", "%d", lease);
	if (fcntl(dup, F_GET_RW_HINT, &hint) == 0 && hint)
		fact(o, prefix, "write hint", "%lu", (unsigned long)hint);
}

static void status_facts(struct oracle *o, const char *prefix, const struct stat *st)
{
	fact(o, prefix, "mode", "%#o uid %u gid %u", st->st_mode, st->st_uid, st->st_gid);
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		fact(o, prefix, "links", "%lu", (unsigned long)st->st_nlink);
	if (S_ISREG(st->st_mode))
		fact(o, prefix, "size", "%ld", (long)st->st_size);
	if ((S_ISCHR(st->st_mode) && major(st->st_rdev) != PTY_SLAVE_MAJOR) || S_ISBLK(st->st_mode))
		fact(o, prefix, "device", "%u:%u", major(st->st_rdev), minor(st->st_rdev));
}

/* A description of the oracle's own, to read by: the tree's may be for writing only, and its position is the
 * tree's. */
static int open_again(int dup)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dup);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
}

/* Whose times, attributes and contents the file system keeps for nobody else. */
static void attribute_facts(struct oracle *o, const char *prefix, int dup, const struct stat *st)
{
	char names[4096], value[4096], key[300];
	ssize_t len = flistxattr(dup, names, sizeof(names));
	unsigned int attributes = 0;

	fact(o, prefix, "modified", "%ld.%09ld", (long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec);
	fact(o, prefix, "accessed", "%ld.%09ld", (long)st->st_atim.tv_sec, (long)st->st_atim.tv_nsec);
	if (ioctl(dup, FS_IOC_GETFLAGS, &attributes) == 0)
		fact(o, prefix, "attributes", "%#x", attributes);
	for (ssize_t at = 0; at < len; at += strlen(names + at) + 1) {
		ssize_t n = fgetxattr(dup, names + at, value, sizeof(value));

		snprintf(key, sizeof(key), "attribute %.255s", names + at);
		fact(o, prefix, key, "%016lx", n < 0 ? 0UL : (unsigned long)hash_bytes(value, n, 0));
	}
}

/* A file that has no name has its contents from nowhere else. */
static void unnamed_facts(struct oracle *o, const char *prefix, int dup, const struct stat *st)
{
	int seals = fcntl(dup, F_GET_SEALS);
	uint64_t sum;
	_close_ int fd = -1;

	attribute_facts(o, prefix, dup, st);
	if (seals >= 0)
		fact(o, prefix, "seals", "%#x", seals);
	fact(o, prefix, "room", "%s",
		(uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size ? "all of it" : "has holes");
	if (!o->opt.memory)
		return;
	fd = open_again(dup);
	if (contents_of_fd(fd, 0, st->st_size, &sum))
		fact(o, prefix, "contents", "%016lx", (unsigned long)sum);
	else
		fact(o, prefix, "contents", "unreadable");
}

static void note_outside(struct oracle *o, const char *pid)
{
	char path[600];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		unsigned long ino;
		_free_ char *target = NULL;

		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, e->d_name);
		target = link_target(path);
		if (target && sscanf(target, "pipe:[%lu]", &ino) == 1)
			table_set(&o->outside_pipes, ino, 0, 1);
	}
	if (dir)
		closedir(dir);
}

/* A pipe that leads outside is the outside's: what is in it, and how big it is, changes hands with a restore.
 */
static bool leads_outside(struct oracle *o, const struct stat *st)
{
	struct dirent *e;
	DIR *dir;

	if (!o->outside_pipes_known) {
		o->outside_pipes_known = true;
		dir = opendir("/proc");
		while (dir && (e = readdir(dir))) {
			pid_t pid = atoi(e->d_name);

			if (pid > 0 && pid != getpid() && pid != o->blank && !in_tree(o, pid))
				note_outside(o, e->d_name);
		}
		if (dir)
			closedir(dir);
	}
	return table_get(&o->outside_pipes, st->st_ino, 0, NULL);
}

/* tee(2) copies what is in the pipe without taking it; packets stay packets, so each read counts with its
 * length. */
static void pipe_contents(struct oracle *o, const char *prefix, int dup, int size)
{
	bool readable = (fcntl(dup, F_GETFL) & O_ACCMODE) != O_WRONLY;
	_close_ int from = readable ? fcntl(dup, F_DUPFD_CLOEXEC, 0) : open_again(dup);
	int own[2];
	unsigned char *buf = malloc(size);
	uint64_t hash = 0;
	size_t total = 0;
	ssize_t n;

	if (!buf || pipe2(own, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(buf);
		return;
	}
	fcntl(own[1], F_SETPIPE_SZ, size);
	if (tee(from, own[1], size, SPLICE_F_NONBLOCK) < 0 && errno != EAGAIN)
		fact(o, prefix, "contents", "error %d", errno);
	while ((n = read(own[0], buf, size)) > 0) {
		hash = hash_bytes(buf, n, hash + n);
		total += n;
	}
	fact(o, prefix, "contents", "%zu bytes %016lx", total, (unsigned long)hash);
	close(own[0]);
	close(own[1]);
	free(buf);
}

static void pipe_facts(struct oracle *o, const char *prefix, int dup, const struct stat *st)
{
	int size = fcntl(dup, F_GETPIPE_SZ);

	if (leads_outside(o, st)) {
		fact(o, prefix, "pipe", "leads outside");
		return;
	}
	fact(o, prefix, "pipe size", "%d", size);
	if (size > 0)
		pipe_contents(o, prefix, dup, size);
}

static void termios_facts(struct oracle *o, const char *prefix, const struct termios2 *t)
{
	char cc[2 * NCCS + 1];

	for (int i = 0; i < NCCS; i++)
		sprintf(cc + 2 * i, "%02x", t->c_cc[i]);
	fact(o, prefix, "termios", "i %#x o %#x c %#x l %#x line %u cc %s speed %u %u", t->c_iflag, t->c_oflag,
		t->c_cflag, t->c_lflag, t->c_line, cc, t->c_ispeed, t->c_ospeed);
}

static void terminal_number(struct oracle *o, const char *prefix, const char *key, int dup, unsigned long request)
{
	int value = 0;

	if (ioctl(dup, request, &value) == 0)
		fact(o, prefix, key, "%d", value);
}

static void terminal_id(struct oracle *o, const char *prefix, const char *key, int dup, unsigned long request)
{
	char name[32];
	pid_t id = 0;

	if (ioctl(dup, request, &id) == 0)
		fact(o, prefix, key, "%s", name_of(o, id, name));
}

static void terminal_facts(
	struct oracle *o, const char *prefix, int dup, const struct stat *st, const struct termios2 *t)
{
	struct winsize size = { 0 };
	int number;
	bool master = ioctl(dup, TIOCGPTN, &number) == 0;
	bool outside = !master && major(st->st_rdev) >= PTY_SLAVE_MAJOR && major(st->st_rdev) < PTY_SLAVE_MAJOR + 8 &&
		       !table_get(&o->pty_masters, minor(st->st_rdev), 0, NULL);

	termios_facts(o, prefix, t);
	if (outside) {
		fact(o, prefix, "terminal", "led from outside");
		return;
	}
	if (ioctl(dup, TIOCGWINSZ, &size) == 0)
		fact(o, prefix, "window", "%u %u %u %u", size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel);
	terminal_number(o, prefix, "pty", dup, TIOCGPTN);
	terminal_number(o, prefix, "packet mode", dup, TIOCGPKT);
	terminal_number(o, prefix, "locked", dup, TIOCGPTLCK);
	terminal_number(o, prefix, "exclusive", dup, TIOCGEXCL);
	terminal_number(o, prefix, "line discipline", dup, TIOCGETD);
	/* What was written just now lies in a buffer of the driver's, and poll hands it on. */
	poll(&(struct pollfd){ .fd = dup, .events = POLLIN }, 1, 0);
	terminal_number(o, prefix, "readable bytes", dup, FIONREAD);
	terminal_number(o, prefix, "unsent bytes", dup, TIOCOUTQ);
	terminal_id(o, prefix, "foreground group", dup, TIOCGPGRP);
	terminal_id(o, prefix, "session", dup, TIOCGSID);
}

/* linux/pidfd.h since 6.15; the machine's headers are older. */
struct pidfd_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
	uint32_t coredump_mask, coredump_signal;
};

/* All pidfds of one process have one inode; fdinfo tells which process, as long as there is one. */
static void pidfd_facts(struct oracle *o, const char *prefix, int dup, const struct stat *st)
{
	struct pidfd_info info = { .mask = 1 << 3 };
	struct pollfd p = { .fd = dup, .events = POLLIN };

	fact(o, prefix, "process", "#%lu", (unsigned long)ordinal(&o->objects, st->st_dev, st->st_ino));
	poll(&p, 1, 0);
	fact(o, prefix, "polls", "%#x", p.revents);
	if (ioctl(dup, _IOWR(0xff, 11, struct pidfd_info), &info) == 0 && info.mask & 1 << 3)
		fact(o, prefix, "ended with", "%#x", info.exit_code);
}

/* EPIOCGPARAMS of linux/eventpoll.h, since 6.9 */
static void epoll_facts(struct oracle *o, const char *prefix, int dup)
{
	uint32_t params[2] = { 0 };

	if (ioctl(dup, _IOR(0x8a, 2, params), params) == 0)
		fact(o, prefix, "busy polling", "%u us, budget and preference %#x", params[0], params[1]);
}

void file_type_facts(struct oracle *o, const struct file *f, const char *prefix, int dup, const char *target)
{
	struct termios2 termios;
	struct stat st;

	(void)f;
	if (dup < 0 || fstat(dup, &st) < 0) {
		fact(o, prefix, "borrowed", "no: error %d", errno);
		return;
	}
	status_facts(o, prefix, &st);
	if (fcntl(dup, F_GETFL) & O_PATH)
		return;
	owner_facts(o, prefix, dup);
	if (mqueue_facts(o, prefix, dup))
		return;
	if (!strcmp(target, "anon_inode:[pidfd]"))
		pidfd_facts(o, prefix, dup, &st);
	else if (!strcmp(target, "anon_inode:[eventpoll]"))
		epoll_facts(o, prefix, dup);
	else if (!strcmp(target, "anon_inode:bpf-map"))
		bpf_map_facts(o, prefix, dup);
	else if (!strcmp(target, "anon_inode:btf"))
		bpf_btf_facts(o, prefix, dup);
	else if (S_ISREG(st.st_mode) && (st.st_nlink == 0 || !strncmp(target, "/memfd:", 7)))
		unnamed_facts(o, prefix, dup, &st);
	else if (S_ISSOCK(st.st_mode))
		socket_facts(o, prefix, dup);
	else if (S_ISFIFO(st.st_mode))
		pipe_facts(o, prefix, dup, &st);
	else if (S_ISCHR(st.st_mode) && ioctl(dup, TCGETS2, &termios) == 0)
		terminal_facts(o, prefix, dup, &st, &termios);
	else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		terminal_number(o, prefix, "readable bytes", dup, FIONREAD);
}
