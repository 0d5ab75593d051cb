/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of an image's directory. Private to the image layer. */
#pragma once

#include "base/cleanup.h"
#include "image/image.h"

#define MANIFEST     "manifest"
#define MANIFEST_TMP "manifest.tmp"
#define NAME_ROOM    48

/* --- what the directory's own records hold --- */

struct manifest_file {
	char name[NAME_ROOM];
	uint64_t size;
	bool pages;	      /* page_blocks has its checksums */
	uint8_t checksum[16]; /* XXH3, 128 bits, canonical (big endian) */
};

struct manifest {
	uint8_t image_id[16];
	struct manifest_file *files;
	size_t n_files;
};

/* The checksums (XXH3, 64 bits) of a page file: one for every PAGE_BLOCK pages, the last block may be
 * shorter. Of a compressed one also of what lies in the file, and how much that is. */
struct page_blocks {
	uint64_t file, pages;
	uint64_t *checksums;
	size_t n_checksums;
	char compression[16]; /* empty: none */
	uint64_t *stored, *stored_checksums;
	size_t n_stored, n_stored_checksums;
};

extern const struct record_kind page_blocks_kind, manifest_kind, manifest_end_kind, touched_kind;

int head_fill(struct image_head *head);
/* With an id of its own, no parent, and the other's instant. */
int head_copy(struct image_head *head, const struct image_head *other);

/* The whole file: a manifest record and the record that seals it. */
int manifest_encode(const struct manifest *m, struct bytes *out);
int manifest_decode(const uint8_t *data, size_t size, struct manifest *m, const char **why);
void manifest_free(struct manifest *m);

/* --- the directory as a whole --- */

/* Opens it anew for a writer, with a lock that keeps others out while it is open; what is there, and may go, goes. */
int directory_take(int dir_fd, bool force, struct problems *ps, int *out);

/* Removes the files of an image, whole or not. */
void directory_clear(int dir_fd);

/* --- names --- */

/* "NAME.cbor" of a kind: its name. */
bool kind_file_name(const char *file, char kind[static 32]);
/* "pages-N": N. */
bool page_file_name(const char *file, unsigned int *number);

/* --- bytes --- */

int write_at(int fd, const void *data, size_t size, uint64_t offset);
/* -ENODATA when the file ends before. */
int read_at(int fd, void *data, size_t size, uint64_t offset);
void checksum_128(const void *data, size_t size, uint8_t out[static 16]);
uint64_t checksum_64(const void *data, size_t size);

/* Words for a file that could not be written or read, or whose contents are wrong; return the error. */
int file_failed(struct problems *ps, int dir_fd, const char *name, int error, const char *what);
/* About the directory itself. */
int directory_failed(struct problems *ps, int dir_fd, const char *remedy, int error, const char *what);
int file_damaged(struct problems *ps, int dir_fd, const char *name, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* --- a page file being written, within a writer --- */

struct stream_writer;

struct page_writer *page_writer_next(const struct page_writer *p);
/* Gives back what was reserved and closes the last block. Fills what the manifest and page_blocks are to say. The lists stay the writer's.
 */
int page_writer_finish(struct page_writer *p, struct manifest_file *file, struct page_blocks *blocks);
int page_writer_sync(struct page_writer *p);
void page_writer_free(struct page_writer *p);
uint64_t page_writer_held(const struct page_writer *p); /* pages that are yet to be compressed */
/* What is there goes to a stream. */
int page_writer_send(struct page_writer *p, struct stream_writer *s);
/* What page files ask of their writer. */
int writer_page_file(struct image_writer *w, struct page_writer *p, unsigned int *number, struct page_writer **next);
int writer_open_file(struct image_writer *w, const char *name, int *fd);
bool writer_compresses(const struct image_writer *w);
bool writer_holds(const struct image_writer *w); /* image_hold */
int writer_failed(struct image_writer *w, const char *name, int error, const char *what);
/* Bytes of the image, and what they take in its files; which may become less. */
void writer_count(struct image_writer *w, size_t bytes, int64_t stored);
/* Whole records of a kind, as they are. */
int writer_add_bytes(struct image_writer *w, const char *kind, const struct bytes *b);
/* Like image_create, of an image without a parent that holds the state of another: its head is that one's but for the ids, and it is compressed if that one is. */
int writer_create_like(
	int dir_fd, const struct image_head *other, bool force, struct problems *ps, struct image_writer **out);
uint64_t writer_kept(const struct image_writer *w); /* what was counted */
