/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/epoll_targets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"

#define FEW 64 /* targets: kcmp's walk through them is shorter than the making of a child */

/* --- the list --- */

static int parse(const struct file_look *f, struct epoll_watches *w)
{
	const char *at = f->info, *value;
	size_t room = 0;

	while ((value = fdinfo_next(&at, "tfd"))) {
		int err;

		if (w->n == room) {
			struct epoll_watch *grown = reallocarray(w->list, room ? 2 * room : 16, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			w->list = grown;
			room = room ? 2 * room : 16;
		}
		w->list[w->n] = (struct epoll_watch){ 0 };
		err = fdinfo_epoll_parse(value, &w->list[w->n].info);
		if (err)
			return err;
		w->n++;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct epoll_watch *x = *(struct epoll_watch *const *)a, *y = *(struct epoll_watch *const *)b;

	return x->info.fd != y->info.fd ? (x->info.fd < y->info.fd ? -1 : 1) : (x > y) - (x < y);
}

static int count_repeated(struct epoll_watches *w)
{
	_cleanup_free_ struct epoll_watch **sorted = calloc(w->n + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < w->n; i++)
		sorted[i] = &w->list[i];
	qsort(sorted, w->n, sizeof(*sorted), by_number);
	for (size_t i = 1; i < w->n; i++)
		if (sorted[i]->info.fd == sorted[i - 1]->info.fd) {
			sorted[i]->nth = sorted[i - 1]->nth + 1;
			sorted[i]->repeated = sorted[i - 1]->repeated = true;
		}
	return 0;
}

/* --- many --- */

struct adding {
	struct epoll_watches *watches;
	int epoll, process; /* the latter a pidfd */
};

/* If it is not there, it is for a moment, for hang-ups alone. */
static bool is_there(int epoll, int fd)
{
	struct epoll_event nothing = { 0 };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &nothing) < 0)
		return errno == EEXIST;
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	return false;
}

/* The kernel knows a target by its number too: each comes to its own. */
static bool stands(const struct adding *a, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, a->process, number, 0);

	if (fd < 0)
		return false;
	if (fd != number) {
		int moved = dup2(fd, number);

		close(fd);
		if (moved < 0)
			return false;
	}
	return is_there(a->epoll, number);
}

static int add_each(void *arg)
{
	struct adding *a = arg;
	struct epoll_watches *w = a->watches;
	int above = 0;

	for (size_t i = 0; i < w->n; i++)
		above = MAX(above, w->list[i].info.fd + 1);
	a->epoll = fcntl(a->epoll, F_DUPFD_CLOEXEC, above);
	a->process = fcntl(a->process, F_DUPFD_CLOEXEC, above);
	if (a->epoll < 0 || a->process < 0)
		return -errno;
	for (size_t i = 0; i < w->n; i++)
		w->list[i].stands = !w->list[i].repeated && stands(a, w->list[i].info.fd);
	return 0;
}

/* --- each --- */

struct target {
	const struct epoll_watches *all;
	const struct epoll_watch *watch;
};

static int order(const struct description *d, void *arg)
{
	const struct target *t = arg;
	const struct file_look *epoll = t->all->epoll;
	struct kcmp_epoll_slot slot = {
		.efd = (uint32_t)epoll->fd, .tfd = (uint32_t)t->watch->info.fd, .toff = t->watch->nth
	};
	long r = syscall(SYS_kcmp, d->tid, epoll->description->tid, KCMP_EPOLL_TFD, d->look->fd, &slot);

	return r == 0 ? 0 : r == 1 ? 1 : -1;
}

/* What the number stands for now. */
static const struct file_look *at_number(const struct epoll_watches *all, int fd)
{
	return all->epoll->carrier ? NULL : process_file(all->epoll->process, fd);
}

object_id epoll_watch_file(struct capture *c, const struct epoll_watches *all, const struct epoll_watch *w)
{
	const struct file_look *now = at_number(all, w->info.fd);
	struct target t = { all, w };
	const struct description *d;

	if (now && (w->stands || !order(now->description, &t)))
		return now->file;
	d = descriptions_search(c->descriptions, w->info.ino, order, &t);
	return d ? d->file : 0;
}

int epoll_watches_read(struct capture *c, const struct file_look *f, struct epoll_watches *out)
{
	struct adding a = { .watches = out };
	int err = parse(f, out);

	out->epoll = f->description->look;
	if (!err)
		err = count_repeated(out);
	if (err || out->n <= FEW || out->epoll->carrier)
		return err;
	a.epoll = file_dup(c, f);
	a.process = process_pidfd(out->epoll->process);
	if (a.epoll < 0 || a.process < 0)
		return MIN(a.epoll, a.process);
	call_with_own_descriptors(add_each, &a); /* where that failed kcmp tells */
	return 0;
}

void epoll_watches_free(struct epoll_watches *w)
{
	free(w->list);
	*w = (struct epoll_watches){ 0 };
}
