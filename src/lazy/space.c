/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lazy/space.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/image.h"
#include "kernel/uapi.h"

#define FEATURES                                                                                                       \
	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |   \
		SPORE_UFFD_FEATURE_POISON)
#define NOBODYS 0x7fffffffe000ull /* the last page of an address space, which no program can map */

static int say_hello(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int space_probe(void)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : say_hello(fd);
}

/* --- beginning and end --- */

struct space *space_new(int uffd, struct layout *layout)
{
	struct space *s = calloc(1, sizeof(*s));
	pthread_rwlockattr_t attr;

	if (!s) {
		close(uffd);
		return NULL;
	}
	*s = (struct space){ .uffd = uffd, .held = { -1, -1 }, .pagemap = -1, .smaps = -1, .layout = *layout };
	*layout = (struct layout){ 0 };
	pthread_rwlockattr_init(&attr);
	/* Those that copy never wait for long, and would else never let events be read. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->map, NULL);
	return s;
}

int space_prepare(const struct space *s)
{
	return say_hello(s->uffd);
}

int space_register(struct space *s, uint64_t start, uint64_t size)
{
	struct uffdio_register r = { .range = { start, size }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(s->uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : layout_add(&s->layout, start, start + size);
}

void space_close(struct space *s)
{
	pthread_rwlock_wrlock(&s->lock);
	close_fd(&s->held[1]);
	close_fd(&s->held[0]);
	close_fd(&s->uffd);
	close_fd(&s->pagemap);
	close_fd(&s->smaps);
	layout_free(&s->layout);
	pthread_rwlock_unlock(&s->lock);
}

void space_free(struct space *s)
{
	space_close(s);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->map);
	free(s);
}

uint64_t space_missing(struct space *s)
{
	uint64_t n;

	pthread_mutex_lock(&s->map);
	n = s->layout.pieces.missing;
	pthread_mutex_unlock(&s->map);
	return n;
}

/* --- events --- */

/* What a fork wipes (MADV_WIPEONFORK, of which nobody tells) the child does not lack. */
static int wipe(struct layout *child, const struct space *parent)
{
	_cleanup_fd_ int fd = parent->smaps < 0 ? -1 : fcntl(parent->smaps, F_DUPFD_CLOEXEC, 0);
	_cleanup_file_ FILE *f = fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? NULL : fdopen(fd, "r");
	unsigned long long start = 0, end = 0, first, last;
	char line[512];

	if (!f)
		return parent->smaps < 0 ? 0 : -errno;
	take_fd(&fd);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &first, &last) == 2)
			start = first, end = last;
		else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " wf"))
			pieces_drop(&child->pieces, start, end);
	}
	return ferror(f) && errno != ESRCH ? -EIO : 0; /* its process has died since */
}

/* The fork waits for this to be read: the child has what its parent has, and lacks the same. */
static int add_child(struct space *s, int uffd, struct space_news *out)
{
	struct layout same;
	struct space *child;

	/* On failure the descriptor stays open, so that the child waits, until it is ended. */
	if (layout_copy(&same, &s->layout) < 0 || wipe(&same, s) < 0) {
		layout_free(&same);
		return -ENOMEM;
	}
	child = space_new(uffd, &same);
	if (!child)
		return -ENOMEM;
	child->child = true;
	out->children[out->n_children++] = child;
	return 0;
}

static int follow(struct space *s, const struct uffd_msg *m, struct space_news *out)
{
	switch (m->event) {
	case UFFD_EVENT_FORK:
		return add_child(s, (int)m->arg.fork.ufd, out);
	case UFFD_EVENT_UNMAP:
		return layout_unmapped(&s->layout, m->arg.remove.start, m->arg.remove.end);
	case UFFD_EVENT_REMOVE:
		pieces_drop(&s->layout.pieces, m->arg.remove.start, m->arg.remove.end);
		return 0;
	case UFFD_EVENT_REMAP:
		return layout_moved(&s->layout, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
	default:
		return 0;
	}
}

int space_read(struct space *s, struct space_news *out)
{
	struct uffd_msg list[ARRAY_SIZE(out->faults)];
	size_t n = 0;
	int r = 0;

	out->n_faults = out->n_children = 0;
	pthread_rwlock_wrlock(&s->lock);
	while (s->uffd >= 0 && n < ARRAY_SIZE(list)) {
		ssize_t got = read(s->uffd, &list[n], sizeof(list[0]));

		if (got == sizeof(list[0])) {
			int followed = follow(s, &list[n++], out);

			r = r < 0 ? r : followed;
		} else if (got >= 0 || errno != EINTR)
			break;
	}
	pthread_rwlock_unlock(&s->lock);
	for (size_t i = 0; i < n; i++)
		if (list[i].event == UFFD_EVENT_PAGEFAULT)
			out->faults[out->n_faults++] = ALIGN_DOWN(list[i].arg.pagefault.address, PAGE_SIZE);
	return r < 0 ? r : n == ARRAY_SIZE(list);
}

/* --- copying --- */

static void drop(struct space *s, uint64_t start, uint64_t pages)
{
	pthread_mutex_lock(&s->map);
	pieces_drop(&s->layout.pieces, start, start + pages * PAGE_SIZE);
	pthread_mutex_unlock(&s->map);
}

static void wake(const struct space *s, uint64_t address)
{
	struct uffdio_range range = { address, PAGE_SIZE };

	ioctl(s->uffd, UFFDIO_WAKE, &range);
}

/*
 * Nobody tells of MADV_GUARD_INSTALL, and a copy would take the place of the guard. Whoever has made one has given up what was there. Returns how many pages from
 * the first are none; 0: the first is one, and is dropped.
 */
static uint64_t before_guard(struct space *s, uint64_t start, uint64_t pages)
{
	struct page_region found;
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = start,
		.end = start + pages * PAGE_SIZE,
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.category_mask = SPORE_PAGE_IS_GUARD,
		.return_mask = SPORE_PAGE_IS_GUARD,
	};

	if (s->pagemap < 0 || ioctl(s->pagemap, PAGEMAP_SCAN, &scan) != 1)
		return pages;
	if (found.start > start)
		return (found.start - start) / PAGE_SIZE;
	drop(s, start, (MIN(found.end, scan.end) - start) / PAGE_SIZE);
	return 0;
}

/* What the kernel said to a copying, of which `done` bytes were made. */
static int note_copied(struct space *s, uint64_t start, int64_t done, int error)
{
	if (done > 0)
		drop(s, start, (uint64_t)done / PAGE_SIZE);
	if (done > 0 || error == 0)
		return 0;
	if (error == EEXIST) { /* it is there */
		wake(s, start);
		drop(s, start, 1);
		return 0;
	}
	return -error;
}

/*
 * Pages that follow one another may lie in several mappings, which one call does not cross: ENOENT. For a single page that says that no mapping with this userfaultfd is there:
 * it was unmapped, or moved a moment ago, since the call before it looks for the mapping sees only whether one had been moved by then. If so, a second call will see it.
 */
static int copy_stretch(struct space *s, const struct stretch *from, const uint8_t *bytes)
{
	uint64_t n = before_guard(s, from->start, from->pages);
	bool again = false;
	int r = 0;

	if (!n)
		return 0;
	for (;; again = n == 1, n = (n + 1) / 2) {
		struct uffdio_copy copy = { .dst = from->start, .src = (uintptr_t)bytes, .len = n * PAGE_SIZE };
		int error = ioctl(s->uffd, UFFDIO_COPY, &copy) < 0 ? errno : 0;

		if (error && copy.copy == 0)
			copy.copy = -error;
		r = note_copied(s, from->start, copy.copy, error);
		if (r != -ENOENT)
			return r;
		if (again) {
			drop(s, from->start, 1);
			return 0;
		}
	}
}

static bool find_stretch(
	struct space *s, const struct block *where, uint64_t start, uint64_t end, struct stretch *stretch)
{
	bool found;

	pthread_mutex_lock(&s->map);
	found = pieces_stretch(&s->layout.pieces, where, start, end, stretch);
	pthread_mutex_unlock(&s->map);
	return found;
}

/* One stretch at a time, so that events need not wait. 1: there was one */
static int copy_next(struct space *s, const struct loaded *block, uint64_t *start, uint64_t end)
{
	struct stretch stretch;
	int r = 0;

	pthread_rwlock_rdlock(&s->lock);
	if (s->layout.n_waiting)
		r = -EAGAIN;
	else if (s->uffd >= 0 && find_stretch(s, &block->where, *start, end, &stretch)) {
		r = copy_stretch(s, &stretch, block->bytes + stretch.at % PAGE_BLOCK * PAGE_SIZE);
		*start = stretch.start;
		r = r < 0 ? r : 1;
	}
	pthread_rwlock_unlock(&s->lock);
	return r;
}

int space_copy(struct space *s, const struct loaded *block, uint64_t start, uint64_t end)
{
	int r;

	while ((r = copy_next(s, block, &start, end)) > 0)
		;
	return r;
}

int space_zero(struct space *s, uint64_t address)
{
	struct uffdio_zeropage zero = { .range = { address, PAGE_SIZE } };
	int error = 0;

	pthread_rwlock_rdlock(&s->lock);
	if (s->layout.n_waiting)
		error = EAGAIN;
	else if (s->uffd >= 0 && ioctl(s->uffd, UFFDIO_ZEROPAGE, &zero) < 0)
		error = errno;
	if (error == EEXIST || error == ENOENT)
		wake(s, address);
	pthread_rwlock_unlock(&s->lock);
	return error == EEXIST || error == ENOENT ? 0 : -error;
}

void space_poison(struct space *s, uint64_t address)
{
	struct spore_uffdio_poison poison = { .start = address, .len = PAGE_SIZE };

	pthread_rwlock_rdlock(&s->lock);
	if (s->uffd >= 0)
		ioctl(s->uffd, SPORE_UFFDIO_POISON, &poison);
	pthread_rwlock_unlock(&s->lock);
}

/* Where nothing is mapped, an answer tells whether there is an address space at all. */
bool uffd_is_gone(int uffd)
{
	struct uffdio_zeropage zero = { .range = { NOBODYS, PAGE_SIZE } };

	return ioctl(uffd, UFFDIO_ZEROPAGE, &zero) < 0 && errno != EAGAIN && errno != ENOENT;
}

bool space_is_gone(struct space *s)
{
	bool gone;

	pthread_rwlock_rdlock(&s->lock);
	gone = s->uffd < 0 || uffd_is_gone(s->uffd);
	pthread_rwlock_unlock(&s->lock);
	return gone;
}
