/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lazy/filling.h"

#define MEMORY_TRIES 1000 /* of 10 ms */

/* --- the end --- */

static void tell(struct filler *f)
{
	eventfd_write(f->event_fd, 1);
}

/* For the first reason, which is told, whichever thread finds it. */
static void end_all(struct filler *f, struct problems *why)
{
	bool first;

	pthread_mutex_lock(&f->why);
	first = !f->failed;
	if (first)
		problems_move(&f->ps, why);
	f->failed = true;
	pthread_mutex_unlock(&f->why);
	problems_free(why);
	if (!first)
		return;
	tell(f);
	end_tree(f->roots, f->n_roots);
	f->ended = true;
	eventfd_write(f->wake_fd, 1); /* who answers faults now waits for the end */
}

void filling_fail(struct filler *f, int error, const char *what)
{
	struct problems why;

	problems_init(&why);
	failed(&why, NULL, error, "%s: %s; the restored tree was ended, since it would have gone on with wrong memory",
		what, strerror(-error));
	end_all(f, &why);
}

static bool is_done(struct filler *f, struct space *s)
{
	return s->uffd < 0 || (!s->streaming && (space_missing(s) == 0 || (f->failed && space_is_gone(s))));
}

void filling_look_for_end(struct filler *f)
{
	bool all = !f->hearing;

	for (struct space *s = f->spaces; s; s = s->next) {
		if (!is_done(f, s))
			all = false;
		else if (s->uffd >= 0)
			space_close(s);
	}
	if (all && !atomic_exchange(&f->over, true)) {
		pthread_cond_broadcast(&f->turn);
		tell(f);
	}
}

static void forget(struct filler *f, struct space *s)
{
	pthread_rwlock_wrlock(&s->lock);
	pieces_drop(&s->layout.pieces, 0, UINT64_MAX);
	pthread_rwlock_unlock(&s->lock);
}

/* --- one block --- */

int filling_load(struct filler *f, struct loaded *to, const struct block *where)
{
	struct problems why;
	int r;

	if (to->valid && to->where.file == where->file && to->where.number == where->number)
		return 0;
	to->valid = false;
	problems_init(&why);
	r = page_file_load(f->image, where->file, where->number, to->bytes, &why);
	if (r < 0) {
		failed(&why, NULL, r,
			"the restored tree was ended: it would have gone on with memory that is not the image's");
		end_all(f, &why);
		return r;
	}
	problems_free(&why);
	to->where = *where;
	to->valid = true;
	return 0;
}

/* 0: done with, or given up; -EAGAIN: later */
int filling_judge(struct filler *f, struct space *s, int r)
{
	if (r == -ENOMEM && atomic_fetch_add(&f->out_of_memory, 1) < MEMORY_TRIES) {
		usleep(10000);
		return -EAGAIN;
	}
	if (r == 0)
		atomic_store(&f->out_of_memory, 0);
	if (r == -ESRCH)
		forget(f, s);
	else if (r < 0 && r != -EAGAIN)
		filling_fail(f, r, "a page cannot be given to the restored tree");
	return r == -EAGAIN ? r : 0;
}

int filling_watch(struct filler *f, struct space *s)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

	return epoll_ctl(f->epoll, EPOLL_CTL_ADD, s->uffd, &e) < 0 ? -errno : 0;
}

void filler_add(struct filler *f, struct space *s)
{
	pthread_mutex_lock(&f->lock);
	survivor_note(&f->survivor, s->uffd);
	*f->last = s;
	f->last = &s->next;
	pthread_cond_broadcast(&f->turn);
	pthread_mutex_unlock(&f->lock);
}

/* --- all --- */

int filler_new(struct image *img, struct filler **out)
{
	struct filler *f = calloc(1, sizeof(*f));
	struct epoll_event wake = { .events = EPOLLIN };

	if (!f)
		return -ENOMEM;
	f->image = image_keep(img);
	wanted_init(&f->wanted, img); /* without it, one order is as good as another */
	f->survivor = SURVIVOR_NONE;
	f->deadman = DEADMAN_NONE;
	f->last = &f->spaces;
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	problems_init(&f->ps);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->why, NULL);
	pthread_cond_init(&f->turn, NULL);
	*out = f;
	return epoll_ctl(f->epoll, EPOLL_CTL_ADD, f->wake_fd, &wake) < 0 || f->event_fd < 0 ? -errno : 0;
}

int filler_start(struct filler *f)
{
	struct answering *a = answering_new(f);
	int r = a ? 0 : -ENOMEM;

	for (struct space *s = f->spaces; s && r == 0; s = s->next)
		r = filling_watch(f, s);
	if (r == 0) {
		r = -pthread_create(&f->faults, NULL, filling_answer, a);
		f->answers = r == 0;
	}
	if (r < 0)
		answering_free(a);
	return r;
}

int filler_secure(struct filler *f, struct deadman *deadman, struct doomed *roots, size_t n)
{
	int r = 0;

	f->deadman = *deadman;
	*deadman = DEADMAN_NONE;
	f->roots = roots;
	f->n_roots = n;
	for (struct space *s = f->spaces; s && r == 0; s = s->next)
		r = deadman_hold(s->uffd, s->held);
	pthread_mutex_lock(&f->lock);
	if (r == 0)
		r = survivor_start(&f->survivor, roots, n);
	for (struct space *s = f->spaces; s && r == 0; s = s->next)
		survivor_note(&f->survivor, s->uffd);
	pthread_mutex_unlock(&f->lock);
	return r;
}

void filler_stream(struct filler *f)
{
	unsigned int cpus = 1;
	cpu_set_t set;

	pthread_mutex_lock(&f->lock);
	wanted_find(&f->wanted, f->spaces);
	pthread_mutex_unlock(&f->lock);
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = MIN((unsigned int)CPU_COUNT(&set), STREAMS_MOST);
	while (f->n_streams < cpus && pthread_create(&f->streams[f->n_streams], NULL, filling_stream, f) == 0)
		f->n_streams++;
	if (!f->n_streams)
		filling_fail(f, -EAGAIN, "no thread to read the image");
}

int filler_event(const struct filler *f)
{
	return f->event_fd;
}

bool filler_is_over(struct filler *f)
{
	eventfd_t n;

	eventfd_read(f->event_fd, &n);
	return f->over;
}

bool filler_problems(struct filler *f, struct problems *to)
{
	bool any;

	pthread_mutex_lock(&f->why);
	any = f->failed;
	if (any)
		problems_move(to, &f->ps);
	pthread_mutex_unlock(&f->why);
	return any;
}

static void stop_threads(struct filler *f)
{
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_broadcast(&f->turn);
	pthread_mutex_unlock(&f->lock);
	eventfd_write(f->wake_fd, 1);
	if (f->answers)
		pthread_join(f->faults, NULL);
	while (f->n_streams)
		pthread_join(f->streams[--f->n_streams], NULL);
}

void filler_free(struct filler *f)
{
	if (!f)
		return;
	stop_threads(f);
	if (!f->failed)
		wanted_keep(&f->wanted, f->image);
	wanted_free(&f->wanted);
	while (f->spaces) {
		struct space *s = f->spaces;

		f->spaces = s->next;
		space_free(s);
	}
	/* In this order: who is disarmed must not be ended. */
	survivor_end(&f->survivor);
	deadman_disarm(&f->deadman);
	for (size_t i = 0; i < f->n_roots; i++)
		close_fd(&f->roots[i].pidfd);
	free(f->roots);
	close_fd(&f->epoll);
	close_fd(&f->wake_fd);
	close_fd(&f->event_fd);
	image_free(f->image);
	problems_free(&f->ps);
	free(f);
}
