/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"
#include "state/files.h"
#include "state/kernel_view.h"
#include "state/tcp_look.h"
#include "state/unix_early.h"
#include "state/unix_unseen.h"

static int number_of(int fd, int option)
{
	int value = 0;
	socklen_t size = sizeof(value);

	getsockopt(fd, SOL_SOCKET, option, &value, &size);
	return value;
}

static int by_inode(const void *a, const void *b)
{
	const struct socket_look *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

struct socket_look *socket_find(const struct descriptions *d, uint64_t ino)
{
	const struct socket_look key = { .ino = ino };
	const struct sockets *s = d->sockets;

	return s && s->n ? bsearch(&key, s->list, s->n, sizeof(key), by_inode) : NULL;
}

/* Once, when there is one. */
static int find_places(struct capture *c)
{
	struct sockets *s = c->descriptions->sockets;

	if (s->n)
		return 0;
	s->places = socket_places_new(c->kernel);
	if (s->places || !c->writer)
		return 0;
	return changed(c->ps, BLAME(.object = "sockets", .remedy = KERNEL_VIEW_REMEDY),
		"what no interface shows of them cannot be read here, and is as of new ones (docs/coverage.md, tcp, "
		"udp, unix)");
}

static int add_socket(struct capture *c, struct description *d)
{
	struct sockets *s = c->descriptions->sockets;
	struct socket_look *new;
	struct file_look *f = (struct file_look *)d->look;
	int fd = file_dup(c, f);

	if (fd < 0)
		return 0; /* it went away */
	find_places(c);
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct socket_look *grown = reallocarray(s->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->list = grown;
		s->room = room;
	}
	d->family = number_of(fd, SO_DOMAIN);
	d->type = number_of(fd, SO_TYPE);
	d->protocol = number_of(fd, SO_PROTOCOL);
	new = &s->list[s->n++];
	*new = (struct socket_look){ .description = d, .ino = f->ino, .family = d->family, .type = d->type };
	socket_hidden_read(s->places, fd, d->family, d->type, d->protocol, &new->hidden);
	close_fd(&f->dup);
	return 0;
}

/* --- in flight --- */

static int add_in_flight(struct capture *c, struct file_look *f)
{
	_cleanup_fd_ int dir = open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *at;
	int err = dir < 0 ? -errno : fdinfo_of_dup(f->fd, &f->info);

	if (!err)
		err = fdinfo_parse(f->info, f);
	f->cloexec = false; /* of our own descriptor */
	if (!err)
		err = description_find(c->descriptions, c->identities, f, gettid(), file_look_closely, dir);
	if (err)
		return failed(c->ps, BLAME_FILE(f->carrier), err, "a descriptor in its queue cannot be read: %s",
			strerror(-err));
	at = f->info;
	if (f->description->look == f && fdinfo_next(&at, "lock"))
		refused(c->ps, BLAME_FILE(f), "a lock on a file that is open nowhere but in flight");
	return 0;
}

static int own_pid_ns(const struct capture *c, int *out)
{
	const struct process *root = c->tree->processes[0];
	struct stat ours, theirs;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", root->pid);
	if (stat("/proc/self/ns/pid", &ours) < 0 || stat(path, &theirs) < 0)
		return -errno;
	if (ours.st_ino == theirs.st_ino)
		return 0;
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? -errno : 0;
}

static int find_in_flight(struct capture *c, const struct file_look *f, const struct socket_queue *q,
	struct file_look **list, size_t *n_list)
{
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < q->n; i++)
		n += q->list[i].n_fds;
	*list = calloc(n + 1, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (size_t i = 0; i < q->n; i++)
		for (size_t k = 0; k < q->list[i].n_fds; k++)
			(*list)[(*n_list)++] = (struct file_look){
				.process = f->process, .fd = q->list[i].fds[k], .dup = -1, .carrier = f
			};
	for (size_t i = 0; i < *n_list && !err; i++)
		err = add_in_flight(c, &(*list)[i]);
	return err;
}

static int first_size(int fd)
{
	int size = 0;

	return ioctl(fd, SIOCINQ, &size) < 0 ? 0 : size;
}

static int read_queue(struct capture *c, struct socket_look *s)
{
	struct file_look *f = (struct file_look *)s->description->look;
	_cleanup_fd_ int ns = -1;
	int fd = file_dup(c, f), err = own_pid_ns(c, &ns);

	if (fd < 0 || err)
		return fd < 0 ? fd : err;
	err = socket_queue_read(fd, s->type, ns, &s->queue);
	if (err == -EUCLEAN && s->hidden.known)
		err = unix_read_behind_error(c, &s->hidden, &s->queue) ? -EUCLEAN : 0;
	else if (err == -EUCLEAN && first_size(fd) == 0)
		err = 0;
	if (s->type == SOCK_STREAM && (!err || err == -ENOTSUP) && unix_place_mark(c, &s->hidden, &s->queue) == 0)
		err = 0;
	if (err == -ENOTSUP)
		return refused(c->ps, BLAME_FILE(f), "where its out-of-band byte stands cannot be told");
	if (err == -EUCLEAN)
		return refused(c->ps, BLAME_FILE(f), "an error (SO_ERROR) is to be told before what is in its queue");
	if (err)
		return failed(c->ps, BLAME_FILE(f), err, "its queue cannot be read: %s", strerror(-err));
	if (s->type == SOCK_STREAM && unix_hides_mark(c, &s->hidden, &s->queue))
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read on"),
			"where the mark of an out-of-band byte stands that was taken cannot be told");
	s->ends_at_mark = s->type == SOCK_STREAM && unix_ends_at_mark(c, &s->hidden);
	if (s->type != SOCK_STREAM && unix_add_empty(c, &s->hidden, &s->queue) < 0)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read it"),
			"an empty message in its queue, which was looked at before (MSG_PEEK), cannot be read");
	return find_in_flight(c, f, &s->queue, &s->in_flight, &s->n_in_flight);
}

/* Of a listener, i says which of n connections; else n is 0. */
static int read_early(struct capture *c, struct socket_look *s, size_t i, size_t n, const struct socket_early **out)
{
	struct file_look *f = (struct file_look *)s->description->look;
	struct socket_early *e = calloc(1, sizeof(*e));
	int fd = file_dup(c, f), err = fd < 0 ? fd : 0;

	*out = NULL;
	if (!e)
		return -ENOMEM;
	e->next = s->early;
	s->early = e;
	if (!err)
		err = n ? unix_early_read_waiting(c, fd, i, n, &e->queue) : unix_early_read(c, fd, &e->queue);
	if (err)
		return refused(c->ps,
			BLAME_FILE(f, .passing = true, .remedy = "let the program that listens accept it"),
			err == -ENOENT
				? "a descriptor that nobody else has was sent on a connection that is not accepted yet"
				: "what was sent on a connection that is not accepted yet cannot be read");
	err = find_in_flight(c, f, &e->queue, &e->in_flight, &e->n_in_flight);
	if (!err)
		*out = e;
	return err;
}

int socket_read_early(struct capture *c, struct socket_look *s, const struct socket_early **out)
{
	return read_early(c, s, 0, 0, out);
}

int socket_read_closed(
	struct capture *c, struct socket_look *listener, size_t i, size_t n, const struct socket_early **out)
{
	return read_early(c, listener, i, n, out);
}

int socket_read_queue(struct capture *c, struct socket_look *s)
{
	if (s->is_read || s->family != AF_UNIX)
		return 0;
	s->is_read = true;
	return read_queue(c, s);
}

static bool carries_descriptors(const struct socket_look *s)
{
	uint64_t n;

	return s->family == AF_UNIX && !proc_value_u64(s->description->look->info, "scm_fds", 10, &n) && n;
}

/* --- all --- */

/* What is found in a queue may be a socket with a queue of its own: the list of descriptions grows meanwhile. */
static int collect(struct capture *c)
{
	struct process *before = c->process;
	int err = 0;

	for (struct description *d = c->descriptions->first; d && !err; d = d->next) {
		if (!S_ISSOCK(d->look->mode) || d->look->flags & O_PATH)
			continue;
		c->process = d->look->process;
		err = add_socket(c, d);
		if (!err && d->family && c->writer &&
			carries_descriptors(&c->descriptions->sockets->list[c->descriptions->sockets->n - 1]))
			err = socket_read_queue(c, &c->descriptions->sockets->list[c->descriptions->sockets->n - 1]);
	}
	c->process = before;
	return err;
}

static void find_waiting(struct descriptions *d)
{
	for (size_t i = 0; i < d->sockets->n; i++) {
		const struct unix_diag *listener = d->sockets->list[i].diag;

		for (size_t k = 0; listener && k < listener->n_waiting; k++) {
			struct socket_look *s = socket_find(d, listener->waiting[k]);

			if (s)
				s->waits = true;
		}
	}
}

int sockets_find(struct capture *c)
{
	struct sockets *s = calloc(1, sizeof(*s));
	bool unix_sockets = false;
	int err;

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->view_lock, NULL);
	c->descriptions->sockets = s;
	err = collect(c);
	if (err || !s->n)
		return err;
	qsort(s->list, s->n, sizeof(*s->list), by_inode);
	for (size_t i = 0; i < s->n; i++)
		unix_sockets |= s->list[i].family == AF_UNIX;
	err = unix_sockets ? unix_diag_read(tree_living(c->tree), &s->diags) : 0;
	if (!err)
		err = tcp_look(c);
	if (err == -ESRCH || (err == -ENOENT && !c->writer))
		return -ESRCH;
	if (err)
		return c->ps->first_error
			       ? err
			       : failed(c->ps, NULL, err,
					 "the kernel does not tell how sockets are connected (CONFIG_UNIX_DIAG, "
					 "CONFIG_INET_DIAG): %s",
					 strerror(-err));
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].family == AF_UNIX)
			s->list[i].diag = unix_diag_find(&s->diags, s->list[i].ino);
	find_waiting(c->descriptions);
	return 0;
}

int sockets_view(struct capture *c, struct socket_view **out)
{
	struct sockets *s = c->descriptions->sockets;
	int err;

	pthread_mutex_lock(&s->view_lock);
	if (!s->view && !s->view_error)
		s->view_error = socket_view_open(c->kernel, &s->view);
	*out = s->view;
	err = s->view_error;
	pthread_mutex_unlock(&s->view_lock);
	return err;
}

int sockets_view_received(struct capture *c, int fd, bool headers, struct socket_buffers *out)
{
	struct socket_view *v = NULL;
	uint64_t sock = 0;
	int err = sockets_view(c, &v);

	if (!err)
		err = socket_view_find(v, fd, &sock);
	return err ? err : socket_view_queue(v, sock, QUEUE_RECEIVED, headers, out);
}

static void free_in_flight(struct file_look *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].link);
		free(list[i].info);
		close_fd(&list[i].dup);
	}
	free(list);
}

static void free_early(struct socket_early *e)
{
	while (e) {
		struct socket_early *next = e->next;

		free_in_flight(e->in_flight, e->n_in_flight);
		socket_queue_free(&e->queue);
		free(e);
		e = next;
	}
}

void sockets_free(struct sockets *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		free_in_flight(s->list[i].in_flight, s->list[i].n_in_flight);
		free_early(s->list[i].early);
		tcp_look_free(s->list[i].tcp);
		socket_queue_free(&s->list[i].queue);
	}
	free(s->list);
	socket_view_free(s->view);
	socket_places_free(s->places);
	pthread_mutex_destroy(&s->view_lock);
	unix_diag_free(&s->diags);
	inet_diag_free(&s->inet);
	tcp_orphans_free(s->orphans);
	free(s);
}
