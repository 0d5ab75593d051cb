/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing a stream. Whoever reads it may be slow, or gone: nothing waits without asking whether it still should. pipe(7), poll(2) */
#include "image/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define PIPE_BYTES (1 << 20)
#define ASK_MS	   100
#define STRETCHES  (PAGE_BLOCK / 2 + 2)

struct stream_out {
	int fd;
	bool socket, regular;
	bool (*cancelled)(const void *data);
	const void *data;
	pthread_mutex_t lock;
	bool begun;
	uint64_t number;
	_Atomic uint64_t bytes;
	int error; /* the first; nothing is written after it */
};

/* A pipe has flags of its own for each who opens it: that it does not block is nobody else's concern. */
static int open_pipe(int fd)
{
	char path[32];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (own >= 0)
		fcntl(own, F_SETPIPE_SZ, PIPE_BYTES); /* or as large as it is */
	return own;
}

static int open_own(struct stream_out *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (isatty(fd))
		return -ENOTTY;
	s->socket = S_ISSOCK(st.st_mode);
	s->regular = S_ISREG(st.st_mode);
	s->fd = S_ISFIFO(st.st_mode) ? open_pipe(fd) : -1;
	if (s->fd < 0)
		s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return s->fd < 0 ? -errno : 0;
}

int stream_out_new(int fd, bool (*cancelled)(const void *data), const void *data, struct stream_out **out)
{
	struct stream_out *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct stream_out){ .fd = -1, .cancelled = cancelled, .data = data };
	pthread_mutex_init(&s->lock, NULL);
	r = open_own(s, fd);
	if (r < 0) {
		stream_out_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void stream_out_free(struct stream_out *s)
{
	if (!s)
		return;
	close_fd(&s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

uint64_t stream_out_bytes(const struct stream_out *s)
{
	return s->bytes;
}

int stream_out_error(struct stream_out *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->error;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* --- bytes --- */

/* The signal of a write that nobody reads goes to this thread, and nobody is to see it. */
static ssize_t write_quietly(int fd, const struct iovec *iov, int n)
{
	const struct timespec now = { 0 };
	sigset_t pipe, before, pending;
	bool was_pending;
	ssize_t written;
	int error;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
	written = writev(fd, iov, n);
	error = errno;
	if (written < 0 && error == EPIPE && !was_pending)
		sigtimedwait(&pipe, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return written;
}

static ssize_t write_some(struct stream_out *s, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };

	return s->socket ? sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) : write_quietly(s->fd, iov, (int)n);
}

static int await_room(struct stream_out *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };

	while (poll(&p, 1, ASK_MS) <= 0)
		if (s->cancelled && s->cancelled(s->data))
			return -ECANCELED;
	return 0;
}

/* The part of iov that was not written. */
static size_t drop_written(struct iovec **iov, size_t n, size_t written)
{
	while (n && written >= (*iov)->iov_len) {
		written -= (*iov)->iov_len;
		++*iov;
		n--;
	}
	if (n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + written;
		(*iov)->iov_len -= written;
	}
	return n;
}

static int write_all(struct stream_out *s, struct iovec *iov, size_t n)
{
	while (n) {
		ssize_t written = write_some(s, iov, n);
		int r = written < 0 && errno != EINTR && errno != EAGAIN ? -errno : 0;

		if (written < 0 && errno == EAGAIN)
			r = await_room(s);
		if (r < 0)
			return r;
		if (written > 0) {
			s->bytes += (uint64_t)written;
			n = drop_written(&iov, n, (size_t)written);
		}
	}
	return 0;
}

/* --- frames --- */

static int write_frame(struct stream_out *s, struct frame *f, const struct iovec *bytes, size_t n)
{
	_cleanup_(bytes_free)
	struct bytes head = { 0 };
	struct iovec iov[STRETCHES + 1];
	int r;

	if (n > STRETCHES)
		return -EINVAL;
	f->number = s->number;
	r = s->begun ? 0 : bytes_append(&head, STREAM_MAGIC, STREAM_MAGIC_SIZE);
	if (r >= 0)
		r = frame_encode(f, &head);
	if (r < 0)
		return r;
	iov[0] = (struct iovec){ head.data, head.size };
	if (n)
		memcpy(iov + 1, bytes, n * sizeof(*bytes));
	s->begun = true;
	s->number++;
	return write_all(s, iov, n + 1);
}

int stream_out_frame(struct stream_out *s, struct frame *f, const struct iovec *bytes, size_t n)
{
	int r;

	pthread_mutex_lock(&s->lock);
	if (!s->error)
		s->error = write_frame(s, f, bytes, n);
	r = s->error;
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int write_piece(struct stream_out *s, struct frame *f, const uint8_t *data)
{
	struct iovec iov = { (void *)data, f->size };

	f->checksum = checksum_64(data, f->size);
	return stream_out_frame(s, f, &iov, f->size ? 1 : 0);
}

int stream_out_file(struct stream_out *s, const char *name, int fd, uint64_t size)
{
	_cleanup_free_ uint8_t *buffer = malloc(BLOCK_BYTES);
	struct frame f = { .what = FRAME_MEMBER };
	int r = buffer ? 0 : -ENOMEM;

	snprintf(f.name, sizeof(f.name), "%s", name);
	do {
		f.size = MIN(size - f.at, BLOCK_BYTES);
		if (r == 0)
			r = read_at(fd, buffer, f.size, f.at);
		if (r == 0)
			r = write_piece(s, &f, buffer);
		f.at += f.size;
	} while (r == 0 && f.at < size); /* one without bytes is a file too */
	return r;
}

int stream_out_bytes_of(struct stream_out *s, const char *name, const uint8_t *data, uint64_t size)
{
	struct frame f = { .what = FRAME_MEMBER };
	int r;

	snprintf(f.name, sizeof(f.name), "%s", name);
	do {
		f.size = MIN(size - f.at, BLOCK_BYTES);
		r = write_piece(s, &f, data + f.at);
		f.at += f.size;
	} while (r == 0 && f.at < size);
	return r;
}

int stream_out_end(struct stream_out *s)
{
	struct frame f = { .what = FRAME_END };
	int r = stream_out_frame(s, &f, NULL, 0);

	return r == 0 && s->regular && fsync(s->fd) < 0 ? -errno : r;
}
