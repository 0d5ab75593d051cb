/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptors of a tree, as /proc/PID/fd and fdinfo show them: proc_pid_fd(5), proc_pid_fdinfo(5). A
 * descriptor whose description another process was already found to hold costs one fdinfo and a few kcmp.
 */
#include "state/files.h"

#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"

/* A leader that has exited has given up its descriptors: any living thread shows the table of all. */
static const struct thread *living_thread(const struct process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].stat.state != 'Z' && p->threads[i].stat.state != 'X')
			return &p->threads[i];
	return p->threads;
}

int file_look_closely(struct file_look *f, int dir)
{
	char name[16];
	struct stat st;
	int err;

	snprintf(name, sizeof(name), "%d", f->fd);
	err = procfs_link(dir, name, &f->link);
	if (err)
		return err;
	if (fstatat(dir, name, &st, 0) < 0)
		return -errno;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->mode = st.st_mode;
	f->rdev = st.st_rdev;
	f->size = (uint64_t)st.st_size;
	f->nlink = st.st_nlink;
	return 0;
}

static void look_free(struct file_look *f)
{
	free(f->link);
	free(f->info);
	close_fd(&f->dup);
}

static int look_at(struct capture *c, struct file_look *f, pid_t tid, int fd_dir, int info_dir)
{
	char name[16];
	size_t size;
	int err;

	snprintf(name, sizeof(name), "%d", f->fd);
	err = procfs_read(info_dir, name, &f->info, &size);
	if (!err)
		err = fdinfo_parse(f->info, f);
	if (!err)
		err = description_find(c->descriptions, c->identities, f, tid, file_look_closely, fd_dir);
	return err;
}

static int look_at_all(struct capture *c, const int *numbers, size_t n, pid_t tid, int fd_dir, int info_dir)
{
	struct process *p = c->process;

	p->files = calloc(n ? n : 1, sizeof(*p->files));
	if (!p->files)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct file_look *f = &p->files[p->n_files];
		int err;

		*f = (struct file_look){ .process = p, .fd = numbers[i], .dup = -1 };
		err = look_at(c, f, tid, fd_dir, info_dir);
		if (!err) {
			p->n_files++;
			continue;
		}
		look_free(f);
		/* In a tree that runs, descriptors and processes go away while they are looked at. */
		if (err != -ENOENT && err != -ESRCH)
			return failed(c->ps, BLAME_PROCESS(p), err, "descriptor %d cannot be read: %s", numbers[i],
				strerror(-err));
	}
	return 0;
}

int files_look(struct capture *c)
{
	struct process *p = c->process;
	const struct thread *t = living_thread(p);
	int base = t && t != p->threads ? t->proc_fd : p->proc_fd;
	_cleanup_fd_ int fd_dir = -1, info_dir = -1;
	_cleanup_free_ int *numbers = NULL;
	size_t n = 0;
	int err;

	if (p->zombie)
		return 0;
	fd_dir = openat(base, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	info_dir = openat(base, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd_dir < 0 || info_dir < 0)
		err = -errno;
	else
		err = procfs_numbers_of(fd_dir, &numbers, &n);
	if (err)
		return err == -ENOENT || err == -ESRCH ? 0
						       : failed(c->ps, BLAME_PROCESS(p), err,
								 "its descriptors cannot be read: %s", strerror(-err));
	return look_at_all(c, numbers, n, t ? t->tid : p->pid, fd_dir, info_dir);
}

void files_look_free(struct process *p)
{
	for (size_t i = 0; i < p->n_files; i++)
		look_free(&p->files[i]);
	free(p->files);
	p->files = NULL;
	p->n_files = 0;
}
