/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making rings of io_uring again, in the keeper. The kernel counts what it has taken and given from 0, and nobody can set that: so as many requests are carried out
 * that do nothing, and completions given that nobody asked for (IORING_OP_MSG_RING, from another ring). Then what was in the memory of the ring is put into it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/io_uring.h"

#define ENTRIES_MAX 65536
#define BLOB_MAX    (64ull << 20)
#define SLOTS_MAX   (1u << 20)

/* A ring of ours while it is being wound on. */
struct wound {
	int fd;
	struct io_uring_params p;
	uint8_t *rings, *sqes;
	size_t rings_size, sqes_size;
	uint32_t stride; /* of requests */
};

static uint32_t *word(const struct wound *w, uint32_t offset)
{
	return (uint32_t *)(void *)(w->rings + offset);
}

static void wound_free(struct wound *w)
{
	if (w->rings)
		munmap(w->rings, w->rings_size);
	if (w->sqes)
		munmap(w->sqes, w->sqes_size);
	close_fd(&w->fd);
}

static void *map_of(int fd, size_t size, off_t offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	return at == MAP_FAILED ? NULL : at;
}

static int make(struct wound *w, uint32_t sq_entries, uint32_t cq_entries, uint32_t flags)
{
	*w = (struct wound){ .p = { .flags = flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries } };
	w->stride = flags & IORING_SETUP_SQE128 ? 128 : 64;
	w->fd = (int)syscall(SYS_io_uring_setup, sq_entries, &w->p);
	if (w->fd < 0)
		return -errno;
	w->rings_size = w->p.cq_off.cqes + w->p.cq_entries * (flags & IORING_SETUP_CQE32 ? 32ul : 16ul);
	if (!(flags & IO_URING_NO_SQARRAY))
		w->rings_size = MAX(w->rings_size, w->p.sq_off.array + w->p.sq_entries * sizeof(uint32_t));
	w->rings_size = ALIGN_UP(w->rings_size, PAGE_SIZE);
	w->sqes_size = ALIGN_UP((size_t)w->p.sq_entries * w->stride, PAGE_SIZE);
	w->rings = map_of(w->fd, w->rings_size, IORING_OFF_SQ_RING);
	w->sqes = map_of(w->fd, w->sqes_size, IORING_OFF_SQES);
	for (uint32_t i = 0; w->rings && !(flags & IO_URING_NO_SQARRAY) && i < w->p.sq_entries; i++)
		word(w, w->p.sq_off.array)[i] = i;
	return w->rings && w->sqes ? 0 : -errno;
}

/* Submits the next n requests, which are in their places, and waits for none. */
static int submit(struct wound *w, uint32_t n)
{
	uint32_t *tail = word(w, w->p.sq_off.tail);

	__atomic_store_n(tail, *tail + n, __ATOMIC_RELEASE);
	while (n) {
		long done = syscall(SYS_io_uring_enter, w->fd, n, 0, 0, NULL, 0);

		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		n -= (uint32_t)done;
	}
	return 0;
}

static struct io_uring_sqe *request(const struct wound *w, uint32_t i)
{
	struct io_uring_sqe *sqe = (void *)(w->sqes + (size_t)(i & (w->p.sq_entries - 1)) * w->stride);

	memset(sqe, 0, w->stride);
	return sqe;
}

/* The head follows what is given, but not beyond where it is to be: what was not taken keeps its place. */
static void take(struct wound *w, uint64_t head)
{
	uint32_t given = __atomic_load_n(word(w, w->p.cq_off.tail), __ATOMIC_ACQUIRE);

	__atomic_store_n(word(w, w->p.cq_off.head), (uint32_t)MIN((uint64_t)given, head), __ATOMIC_RELEASE);
}

/* n requests that do nothing. */
static int pass_nothing(struct wound *w, uint64_t n, uint8_t flags, uint64_t head)
{
	int r = 0;

	for (uint32_t some; r == 0 && n; n -= some) {
		some = (uint32_t)MIN(n, (uint64_t)w->p.sq_entries);
		for (uint32_t i = 0; i < some; i++)
			request(w, *word(w, w->p.sq_off.tail) + i)->flags = flags;
		r = submit(w, some);
		take(w, head);
	}
	return r;
}

/* n completions that no request of it asked for. */
static int pass_messages(struct wound *w, uint64_t n, uint64_t head)
{
	struct wound other;
	int r = make(&other, 64, 128, 0);

	for (uint32_t some; r == 0 && n; n -= some) {
		some = (uint32_t)MIN(n, (uint64_t)MIN(other.p.sq_entries, w->p.cq_entries));
		for (uint32_t i = 0; i < some; i++) {
			struct io_uring_sqe *sqe = request(&other, *word(&other, other.p.sq_off.tail) + i);

			sqe->opcode = IORING_OP_MSG_RING;
			sqe->fd = w->fd;
		}
		r = submit(&other, some);
		take(&other, UINT64_MAX);
		take(w, head);
	}
	wound_free(&other);
	return r;
}

static uint32_t saved_word(const struct io_uring_state *s, uint32_t offset)
{
	uint32_t value;

	memcpy(&value, s->rings.data + offset, sizeof(value));
	return value;
}

static int wind(struct wound *w, const struct io_uring_state *s)
{
	uint64_t head = saved_word(s, w->p.cq_off.head);
	uint64_t silent = s->sq_head > s->cq_tail ? s->sq_head - s->cq_tail : s->drain_disabled;
	int r = pass_nothing(w, silent, IOSQE_CQE_SKIP_SUCCESS, head);

	if (r == 0)
		r = pass_nothing(w, s->sq_head - silent, 0, head);
	if (r == 0 && s->cq_tail > s->sq_head - silent)
		r = pass_messages(w, s->cq_tail - (s->sq_head - silent), head);
	if (r == 0 && (*word(w, w->p.sq_off.head) != s->sq_head || *word(w, w->p.cq_off.tail) != s->cq_tail))
		r = -EPROTO;
	return r;
}

/* --- a ring of the image --- */

static bool is_power_of_2(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool is_possible(const struct io_uring_state *s)
{
	uint64_t last = 0;

	for (size_t i = 0; i < s->n_files; i++) {
		if (s->files[i].slot >= s->slots || (i && s->files[i].slot <= last))
			return false;
		last = s->files[i].slot;
	}
	return !(s->flags & ~(uint64_t)IO_URING_CARRIED) && is_power_of_2(s->sq_entries) &&
	       is_power_of_2(s->cq_entries) && s->sq_entries <= ENTRIES_MAX && s->cq_entries <= 2 * ENTRIES_MAX &&
	       s->sq_entries <= s->cq_entries && s->sq_head <= IO_URING_REQUESTS_MAX &&
	       s->cq_tail <= IO_URING_REQUESTS_MAX && s->rings.size >= sizeof(struct io_uring_params) &&
	       s->rings.size <= BLOB_MAX && s->sqes.size <= BLOB_MAX && s->slots <= SLOTS_MAX &&
	       (s->sq_head <= s->cq_tail || s->drain_disabled) && (s->sq_head || !s->drain_disabled);
}

int io_uring_validate(struct restore *r, const struct record *rec)
{
	return is_possible(rec->state)
		       ? 0
		       : failed(r->ps, BLAME(.object = "io_uring"), -EBADMSG, "the image has an impossible one");
}

/* A program knows where in the rings everything is. */
static bool is_laid_out_alike(const struct wound *w, const struct io_uring_state *s)
{
	return w->p.sq_entries == s->sq_entries && w->p.cq_entries == s->cq_entries && w->rings_size == s->rings.size &&
	       w->sqes_size == s->sqes.size && w->p.cq_off.cqes == s->cqes &&
	       (s->flags & IO_URING_NO_SQARRAY || w->p.sq_off.array == s->array);
}

static int build_ring(struct restore *r, const struct io_uring_state *s, struct wound *w)
{
	uint32_t flags = (uint32_t)(s->flags & ~(uint64_t)IORING_SETUP_CLAMP);
	int err = make(w, (uint32_t)s->sq_entries, (uint32_t)s->cq_entries, flags);

	if (err)
		return failed(r->ps, BLAME(.object = "io_uring", .remedy = "look at kernel.io_uring_disabled"), err,
			"cannot be made: %s", strerror(-err));
	if (!is_laid_out_alike(w, s))
		return refused(r->ps,
			BLAME(.object = "io_uring", .remedy = "restore it on the kernel on which it was saved"),
			"this kernel lays out its rings otherwise");
	err = wind(w, s);
	if (err)
		return failed(r->ps, BLAME(.object = "io_uring"), err, "cannot be brought to where it was: %s",
			strerror(-err));
	memcpy(w->rings, s->rings.data, s->rings.size);
	memcpy(w->sqes, s->sqes.data, s->sqes.size);
	return 0;
}

/* Made once, when it is first mapped or opened: all descriptors and mappings are of one open file. */
int io_uring_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	struct wound w = { .fd = -1 };
	int err = made->fd[0] < 0 ? build_ring(r, rec->state, &w) : 0, fd;

	if (!err && made->fd[0] < 0)
		made->fd[0] = take_fd(&w.fd);
	wound_free(&w);
	if (err)
		return err;
	fd = fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : file_settle(fd, file);
}

int io_uring_fill(struct restore *r, const struct record *rec)
{
	const struct io_uring_state *s = rec->state;
	_cleanup_free_ int *fds = s->slots ? malloc(s->slots * sizeof(*fds)) : NULL;
	int fd = restore_made(r, rec->id)->fd[0];

	if (!s->slots || fd < 0)
		return 0;
	if (!fds)
		return -ENOMEM;
	memset(fds, 0xff, s->slots * sizeof(*fds));
	for (size_t i = 0; i < s->n_files; i++) {
		fds[s->files[i].slot] = restore_file(r, s->files[i].file);
		if (fds[s->files[i].slot] < 0)
			return fds[s->files[i].slot];
	}
	return syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES, fds, s->slots) < 0 ? -errno : 0;
}
