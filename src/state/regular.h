/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regular files and directories, by path: what descriptors and mappings need of them. */
#pragma once

#include "state/contents.h"
#include "state/file_layout.h"
#include "state/inode_marks.h"
#include "state/xattrs.h"

struct regular_state {
	char *path; /* in the tree's root; of a file that has no name any more: the last one */
	uint64_t mode;
	uint64_t size;
	int64_t mtime_s;
	uint64_t mtime_ns;
	uint64_t uid, gid;
	object_id renamed;    /* this name was removed, but in a container's /dev/shm the file has another */
	char *other;	      /* this name was removed, but the file has that one */
	bool unlinked;	      /* no name: the contents are in the image */
	bool pseudo;	      /* of /proc, /sys or a cgroup: the kernel makes the contents */
	struct blob build_id; /* an ELF file's */
	struct blob hash;     /* XXH3, 128 bits, of a small file's contents */
	struct inode_marks marks;
	bool allocated;
	struct file_layout layout;
	struct xattr *xattrs; /* of a file without a name, as its contents */
	size_t n_xattrs;
	struct extent *extents;
	size_t n_extents;
};

/* Saves the inode behind fd (any descriptor of it, O_PATH too), known to the tree as `link` (which
 * /proc/PID/fd or map_files say). */
int regular_capture(
	struct capture *c, const struct blame *who, const char *link, int fd, uint64_t flags, struct regular_state *s);

/* Is the file still what a descriptor with these flags and offset needs? */
int regular_validate_use(struct restore *r, const struct record *rec, const struct file_state *file);
/* Is it still what was mapped? */
int regular_validate_mapping(struct restore *r, const struct record *rec);

/* The file opened anew with these flags. Descriptor or negative errno, named. */
int regular_open(struct restore *r, const struct record *rec, uint64_t flags);

/* src/state/regular_restore.c; the component's */
int regular_validate(struct restore *r, const struct record *rec);
int regular_open_file(struct restore *r, const struct record *rec, const struct file_state *file);
int regular_fill(struct restore *r, const struct record *rec);

/* src/state/regular_names.c: finds s->other. fd: any descriptor of it. -ENOENT: none was found. */
int regular_find_other_name(struct capture *c, int fd, struct regular_state *s);
/* The name that it has. */
const char *regular_name(const struct regular_state *s);
/* Opens what has s->other, by the removed name if that can be. Descriptor or negative errno. */
int regular_open_other(struct restore *r, const struct regular_state *s, uint64_t flags);

/* src/state/fingerprint.c */
#define HASHED_SIZE (256ul << 10)			       /* files up to this size have a hash */
int fingerprint_hash(int fd, uint64_t size, struct blob *out); /* -ENODATA: too large, or nothing to read */
int fingerprint_build_id(int fd, struct blob *out);	       /* -ENODATA: no ELF file, or it has none */
/* The build-id among the notes of an ELF64 file's beginning. A pure function. */
int build_id_parse(const uint8_t *elf, size_t size, const uint8_t **id, size_t *id_size);
bool blob_equal(const struct blob *a, const struct blob *b);
