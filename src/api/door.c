/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unix(7), SO_PEERCRED */
#include "api/door.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "kernel/cgroup.h"

int tree_id_of_pid(pid_t pid, struct tree_id *out)
{
	uint64_t start;
	int r = process_starttime_any(pid, &start);

	if (r == 0)
		snprintf(out->text, sizeof(out->text), "%d-%" PRIu64, (int)pid, start);
	return r;
}

int tree_id_of_cgroup(const char *path, struct tree_id *out)
{
	char mount[PATH_MAX], full[PATH_MAX * 2];
	struct stat st;
	int r = cgroup2_mount_point(mount, sizeof(mount));

	if (r < 0)
		return r;
	if (strncmp(path, mount, strlen(mount)) == 0)
		path += strlen(mount);
	snprintf(full, sizeof(full), "%s/%s", mount, path);
	if (stat(full, &st) < 0)
		return -errno;
	snprintf(out->text, sizeof(out->text), "cgroup-%" PRIu64, (uint64_t)st.st_ino);
	return 0;
}

static void door_path(enum door door, const struct tree_id *id, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(out->sun_path, sizeof(out->sun_path), RUN_DIR "/%s-%s.sock", door == DOOR_KEEPER ? "keeper" : "parent",
		id->text);
}

static int check_peer(int sock)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

int door_connect(enum door door, const struct tree_id *id)
{
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un path;
	int r;

	if (sock < 0)
		return -errno;
	door_path(door, id, &path);
	if (connect(sock, (struct sockaddr *)&path, sizeof(path)) < 0)
		return errno == ECONNREFUSED ? -ENOENT : errno == EAGAIN ? -EBUSY : -errno;
	if (fcntl(sock, F_SETFL, O_RDWR) < 0)
		return -errno;
	r = check_peer(sock);
	return r < 0 ? r : take_fd(&sock);
}

static bool answers(const char *name)
{
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un path = { .sun_family = AF_UNIX };

	snprintf(path.sun_path, sizeof(path.sun_path), RUN_DIR "/%.80s", name);
	return sock < 0 || connect(sock, (struct sockaddr *)&path, sizeof(path)) == 0 || errno != ECONNREFUSED;
}

/* The sockets of keepers that were killed and whose trees are gone: nobody would come to take their place. */
static void sweep(int dir)
{
	_cleanup_dir_ DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	for (struct dirent *de = d ? readdir(d) : NULL; de; de = readdir(d)) {
		uint64_t start, now;
		int pid, end = 0;

		if (sscanf(de->d_name, "%*[a-z]-%d-%" SCNu64 ".sock%n", &pid, &start, &end) != 2 || !end)
			continue;
		/* A pid may count in another namespace: whoever answers is not gone. */
		if ((process_starttime_any(pid, &now) < 0 || now != start) && !answers(de->d_name))
			unlinkat(dir, de->d_name, 0);
	}
}

/* The lock on the directory makes "is there one? else take its place" one step. */
int door_claim(enum door door, const struct tree_id *id)
{
	_cleanup_fd_ int lock = run_dir_open();
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un path;
	int other;

	if (lock < 0)
		return lock;
	if (sock < 0 || flock(lock, LOCK_EX) < 0)
		return -errno;
	other = door_connect(door, id);
	if (other >= 0) {
		close(other);
		return -EBUSY;
	}
	if (other != -ENOENT)
		return other;
	sweep(lock);
	door_path(door, id, &path);
	unlink(path.sun_path);
	if (bind(sock, (struct sockaddr *)&path, sizeof(path)) < 0 || listen(sock, 16) < 0)
		return -errno;
	return take_fd(&sock);
}

void door_hide(enum door door, const struct tree_id *id)
{
	struct sockaddr_un path;

	door_path(door, id, &path);
	unlink(path.sun_path);
}

void door_leave(enum door door, const struct tree_id *id, int *fd)
{
	if (*fd < 0)
		return;
	door_hide(door, id);
	close_fd(fd);
}

int door_accept(int fd)
{
	_cleanup_fd_ int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	int r;

	if (sock < 0)
		return -errno;
	r = check_peer(sock);
	return r < 0 ? r : take_fd(&sock);
}
