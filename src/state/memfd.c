/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of memory: memfd_create(2), with its seals; and the one behind a shared anonymous mapping (mmap(2)).
 * mm/memfd.c, mm/shmem.c; tools/testing/selftests/memfd.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "state/contents.h"
#include "state/hugetlb.h"
#include "state/inode_marks.h"
#include "state/xattrs.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#define SPORE_MFD_NOEXEC_SEAL 0x0008
#define SPORE_MFD_EXEC	      0x0010

struct memfd_state {
	char *name;
	uint64_t size;
	uint64_t seals;
	uint64_t mode, uid, gid;
	int64_t mtime_s;
	uint64_t mtime_ns;
	struct inode_marks marks;
	bool allocated;
	uint64_t huge_page, huge_pages; /* of hugetlbfs: their size, and how many it has */
	struct xattr *xattrs;
	size_t n_xattrs;
	struct extent *extents;
	size_t n_extents;
};

/* What a memfd and shared anonymous memory have in common. */
#define INODE_FIELDS                                                                                                   \
	FIELD_UINT(struct memfd_state, size, "size", "bytes"),                                                         \
		FIELD_OCTAL(struct memfd_state, mode, "mode", "permissions"),                                          \
		FIELD_UINT(struct memfd_state, uid, "uid", "owner"),                                                   \
		FIELD_UINT(struct memfd_state, gid, "gid", "group"),                                                   \
		FIELD_INT(struct memfd_state, mtime_s, "mtime", "last modification, seconds since 1970"),              \
		FIELD_UINT(struct memfd_state, mtime_ns, "mtime_ns", "and nanoseconds"),                               \
		FIELD_SINCE(2, STRUCT, struct memfd_state, marks, "marks", inode_marks_fields,                         \
			"time of access, attributes, hint"),                                                           \
		FIELD_LIST(struct memfd_state, xattrs, n_xattrs, "xattrs", xattr_fields, "extended attributes"),       \
		FIELD_SINCE(2, BOOL, struct memfd_state, allocated, "allocated",                                       \
			"holes too have memory of their own (fallocate)"),                                             \
		FIELD_SINCE(3, UINT, struct memfd_state, huge_page, "huge_page",                                       \
			"MFD_HUGETLB, MAP_HUGETLB: the size of its pages; 0: not of these"),                           \
		FIELD_SINCE(3, UINT, struct memfd_state, huge_pages, "huge_pages", "of these: how many it has"),       \
		FIELD_LIST(struct memfd_state, extents, n_extents, "extents", extent_fields, "contents")

static const struct field memfd_fields[] = {
	FIELD_STRING(struct memfd_state, name, "name", "as given to memfd_create"),
	FIELD_HEX(struct memfd_state, seals, "seals", "F_GET_SEALS"),
	INODE_FIELDS,
	FIELD_END,
};

static const struct field shmem_fields[] = {
	INODE_FIELDS,
	FIELD_END,
};

#define MEMFD_PREFIX "/memfd:"
#define DELETED	     " (deleted)"

static bool memfd_matches(const struct file_look *f)
{
	return S_ISREG(f->mode) && !strncmp(f->link, MEMFD_PREFIX, strlen(MEMFD_PREFIX)) && !f->nlink;
}

static bool shmem_matches(const struct file_look *f)
{
	return S_ISREG(f->mode) && !f->nlink &&
	       (!strcmp(f->link, "/dev/zero" DELETED) || !strcmp(f->link, "/anon_hugepage" DELETED));
}

/* --- checkpoint --- */

static void capture_room(
	const struct capture *c, const struct file_look *f, const struct stat *st, struct memfd_state *s)
{
	struct contents_room room = contents_room(st, s->extents, s->n_extents);

	if (s->huge_page) {
		s->huge_pages = (uint64_t)st->st_blocks * 512 / s->huge_page;
		return;
	}
	s->allocated = room.all;
	if (room.elsewhere && st->st_blksize == (blksize_t)PAGE_SIZE) /* a huge page has more than was asked for */
		changed(c->ps, BLAME_FILE(f),
			"%" PRIu64 " bytes that it has reserved (fallocate), and not used, are reserved no more",
			room.elsewhere);
}

static int capture_inode(struct capture *c, const struct file_look *f, struct memfd_state *s)
{
	int fd = file_dup(c, f), err = 0;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	s->huge_page = hugetlb_page_size(fd);
	s->size = (uint64_t)st.st_size;
	s->mode = st.st_mode & 07777;
	s->mtime_s = st.st_mtim.tv_sec;
	s->mtime_ns = (uint64_t)st.st_mtim.tv_nsec;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	inode_marks_read(c, fd, &s->marks);
	if (c->writer)
		err = xattrs_read_fd(fd, &s->xattrs, &s->n_xattrs);
	if (c->writer && !err && !s->huge_page)
		err = contents_save(c, fd, &s->extents, &s->n_extents);
	else if (c->writer && !err && st.st_blocks)
		err = contents_save_touched(c, fd, &s->extents, &s->n_extents);
	if (c->writer && !err)
		capture_room(c, f, &st, s);
	return err ? failed(c->ps, BLAME_FILE(f), err, "the contents cannot be saved: %s", strerror(-err)) : 0;
}

static int memfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct memfd_state *s = state;
	size_t prefix = strlen(MEMFD_PREFIX), cut = strlen(DELETED), len = strlen(f->link);
	int seals, fd = file_dup(c, f);
	_cleanup_fd_ int own = -1;

	if (fd < 0)
		return fd;
	if (f->flags & O_PATH) {
		own = reopen(fd, O_RDONLY);
		fd = own;
	}
	seals = fcntl(fd, F_GET_SEALS);
	s->seals = seals < 0 ? F_SEAL_SEAL : (uint64_t)seals;
	s->name = strndup(f->link + prefix, len - prefix - (len >= prefix + cut ? cut : 0));
	return s->name ? capture_inode(c, f, s) : -ENOMEM;
}

static int shmem_capture(struct capture *c, const struct file_look *f, void *state)
{
	return capture_inode(c, f, state);
}

/* --- restore --- */

static int give_contents(struct restore *r, int fd, const struct memfd_state *s)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = s->mtime_s, .tv_nsec = (long)(s->mtime_ns % 1000000000) } };
	int err = contents_restore_mapped(
		r, fd, s->huge_page, s->extents, s->n_extents, s->size, s->name ? s->name : "shared memory");

	if (err)
		return err;
	if (s->huge_page)
		hugetlb_allocate(fd, s->size, s->huge_page, s->huge_pages);
	if (s->allocated)
		contents_reserve(r, fd, s->size, s->name ? s->name : "shared memory");
	err = xattrs_write_fd(fd, s->xattrs, s->n_xattrs);
	if (err)
		changed(r->ps, BLAME(.object = s->name), "its extended attributes cannot be set here: %s",
			strerror(-err));
	return fchown(fd, (uid_t)s->uid, (gid_t)s->gid) < 0 || fchmod(fd, s->mode & 07777) < 0 ||
			       futimens(fd, times) < 0
		       ? -errno
		       : 0;
}

/* F_SEAL_EXEC can be had only at the start together with a mode that is not executable. Kernels before 6.3
 * know neither flag. */
static int make_memfd(struct restore *r, const struct memfd_state *s)
{
	unsigned int kind = s->seals & F_SEAL_EXEC ? SPORE_MFD_NOEXEC_SEAL : SPORE_MFD_EXEC;
	unsigned int pages = s->huge_page ? MFD_HUGETLB | hugetlb_size_flags(s->huge_page) : 0;
	const char *name = s->name ? s->name : "";
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kind | pages);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | pages);
	return fd < 0 ? -errno : fd;
}

/* The kernel makes the file behind a shared anonymous mapping, and keeps it while a descriptor of map_files
 * does. */
static int make_shmem(const struct memfd_state *s)
{
	size_t size = ALIGN_UP(s->size ? s->size : 1, s->huge_page ? s->huge_page : PAGE_SIZE);
	int pages = s->huge_page ? MAP_HUGETLB | (int)hugetlb_size_flags(s->huge_page) : 0;
	char path[64];
	void *at;
	int fd;

	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | pages, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + size);
	fd = open(path, O_RDWR | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	munmap(at, size);
	return fd;
}

/* Writers that map it come after the seals: F_SEAL_WRITE and its like are set when every task has its
 * mappings (fill). */
static int open_inode(struct restore *r, const struct record *rec, const struct file_state *file, bool anonymous)
{
	const struct memfd_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);
	_cleanup_fd_ int fd = -1;
	int err;

	if (!made)
		return -ENOMEM;
	if (made->fd[0] < 0) {
		fd = anonymous ? make_shmem(s) : make_memfd(r, s);
		if (fd < 0)
			return failed(
				r->ps, BLAME(.object = s->name), fd, "memory for it cannot be had: %s", strerror(-fd));
		err = give_contents(r, fd, s);
		if (err)
			return err;
		made->fd[0] = take_fd(&fd);
	}
	/* memfd_create's own description is none that was opened for writing, which would keep an executable from being that (deny_write_access). */
	if ((file->flags & (O_ACCMODE | O_PATH)) == O_RDWR && !made->data) {
		made->data = calloc(1, 1);
		fd = made->data ? fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0) : -1;
		return fd < 0 ? -errno : file_settle(take_fd(&fd), file);
	}
	return file_settle(reopen(made->fd[0], file->flags), file);
}

uint64_t memfd_huge_page(const struct record *rec, uint64_t *size, uint64_t *pages)
{
	const struct memfd_state *s = rec->state;

	*size = s->size;
	*pages = s->huge_pages;
	return s->huge_page;
}

static int memfd_validate(struct restore *r, const struct record *rec)
{
	const struct memfd_state *s = rec->state;

	return s->huge_page ? hugetlb_validate(r, rec, s->huge_page) : 0;
}

static int memfd_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	return open_inode(r, rec, file, false);
}

static int shmem_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	return open_inode(r, rec, file, true);
}

static int shmem_fill(struct restore *r, const struct record *rec)
{
	const struct memfd_state *s = rec->state;
	const struct made *made = restore_made(r, rec->id);

	if (made && made->fd[0] >= 0)
		inode_marks_write(r, s->name ? s->name : "shared memory", made->fd[0], &s->marks);
	return 0;
}

static int memfd_fill(struct restore *r, const struct record *rec)
{
	const struct memfd_state *s = rec->state;
	const struct made *made = restore_made(r, rec->id);

	if (!made || made->fd[0] < 0)
		return 0;
	if (fcntl(made->fd[0], F_ADD_SEALS, (int)s->seals) < 0)
		return failed(r->ps, BLAME(.object = s->name), -errno, "its seals cannot be set: %s", strerror(errno));
	return shmem_fill(r, rec);
}

const struct component component_memfd = {
	.kind = { .name = "memfd",
		.version = 3,
		.size = sizeof(struct memfd_state),
		.fields = memfd_fields,
		.doc = "a file of memory without a name in any directory",
		.sources = "memfd_create(2); mm/memfd.c; tools/testing/selftests/memfd" },
	.scope = SCOPE_BACKING,
	.matches = memfd_matches,
	.capture_file = memfd_capture,
	.validate = memfd_validate,
	.open = memfd_open,
	.fill = memfd_fill,
};

const struct component component_shmem = {
	.kind = { .name = "shmem",
		.version = 3,
		.size = sizeof(struct memfd_state),
		.fields = shmem_fields,
		.doc = "the memory of shared anonymous mappings",
		.sources = "mmap(2) MAP_SHARED | MAP_ANONYMOUS; mm/shmem.c" },
	.scope = SCOPE_BACKING,
	.matches = shmem_matches,
	.capture_file = shmem_capture,
	.validate = memfd_validate,
	.open = shmem_open,
	.fill = shmem_fill,
};
