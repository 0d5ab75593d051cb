/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image: a directory that is complete or does not exist. `head` is written first, `manifest` last, and its rename into place is
 * the commit. The manifest names every file with its length and checksum (XXH3, 128 bits), and ends with a checksum of its own.
 */
#pragma once

#include "image/record.h"

#define IMAGE_FORMAT		1
#define IMAGE_FORMAT_COMPRESSED 2   /* what reads only the other cannot read the page files */
#define PAGE_BLOCK		256 /* pages to a checksum */

struct image_head {
	uint8_t id[16];
	uint8_t parent_id[16]; /* zero: none */
	uint64_t format;
	uint64_t created; /* seconds since 1970 */
	char *spore_version;
	char *kernel; /* uname -r */
	char *machine;
	char *cpu_features;  /* flags of the CPU that tasks may have found, as /proc/cpuinfo has them */
	uint64_t xfeatures;  /* XCR0 */
	uint8_t instant[16]; /* of a merged image: the id of the one whose tree it holds; zero: its own */
};

/* The id of the image that was made when the tree was in that state: its own, unless it was merged. */
const uint8_t *image_instant(const struct image_head *head);

extern const struct record_kind image_head_kind;
extern const struct record_kind
	*const image_kinds[]; /* the image layer's own, NULL-terminated; for the format reference */

/* --- writing --- */

struct image;
struct image_writer;

/* Takes an empty directory (or, with force, one that holds an image or the rest of one: its manifest goes first, then its files).
 * -EEXIST, -ENOTEMPTY; -EBUSY while another writer is at it; -EINVAL it is one of the parent's chain. dir_fd stays the caller's; parent (NULL: none) and ps must
 * outlive the writer. */
int image_create(int dir_fd, const struct image *parent, bool force, struct problems *ps, struct image_writer **out);
/* The same; the page files are compressed (enum spore_compression). -EOPNOTSUPP: this build cannot */
int image_create_compressed(int dir_fd, const struct image *parent, bool force, uint32_t compression,
	struct problems *ps, struct image_writer **out);
/* While it holds, pages are written as they are, since that takes less time. While no page file is written to. */
void image_hold(struct image_writer *w, bool hold);
size_t image_count_held(struct image_writer *w); /* page files */
/* One page file after the other of which pages were held, to be compressed (by its writer it is anyway, as soon as more is appended); NULL: no more. */
struct page_writer *image_next_held(struct image_writer *w);
int page_writer_compress(struct page_writer *p);
/* A record will name pages of this page file, of the parent's chain. From any thread. */
void image_refer(struct image_writer *w, uint64_t page_file);
/* What image_create will say of the directory, which stays as it is. */
int image_may_create(int dir_fd, bool force, struct problems *ps);
/* A writer that checks what it gets and keeps nothing: to see whether a tree can be saved. It is never committed. */
int image_create_trial(struct problems *ps, struct image_writer **out);
bool image_is_trial(const struct image_writer *w);
/*
 * For one that ended without image_writer_free, when image_may_create had allowed it: removes what it wrote, and then, if asked, the directory. A whole
 * image stays (the older one that was not yet replaced, or the new one), and so does what somebody else is writing there.
 */
void image_remove_unfinished(int dir_fd, bool directory_too);
/* Removes an image, or the rest of one, with its directory. From the first step on it is none. -EBUSY: somebody writes there */
int image_remove(int dir_fd);
/*
 * One stream of bytes instead (image/stream.h), to a descriptor that is no directory. Until image_stream_begin what it gets is kept in memory, and nothing is
 * written. cancelled (may be NULL): asked while nobody reads.
 */
int image_create_stream(
	int fd, bool (*cancelled)(const void *data), const void *data, struct problems *ps, struct image_writer **out);
bool image_is_stream(const struct image_writer *w);
/* The page file for the pages of processes, when all others are open: for image_stream_block. */
int image_stream_file(struct image_writer *w, uint64_t pages, unsigned int *number);
/* All records have been added. The first blocks come before the others: processes are forked from what is in them. */
int image_stream_begin(struct image_writer *w, uint64_t first_blocks);
/* A block of that page file, each once. Pages of zeros are left out, but for those that keep (a bool for each page; NULL: none) says. How many were written. From any thread. */
int image_stream_block(struct image_writer *w, uint64_t block, const uint8_t *pages, const bool *keep);
/* Adds a record to its component's file. From any thread. The first error of any of these calls is that of image_commit too. */
int image_add(struct image_writer *w, const struct record_kind *k, object_id id, const void *state);
/* Page files, one for each worker, appended to from one thread at a time. Returns the page number within the file of the first page appended, or negative errno. */
struct page_writer;
int page_writer_open(struct image_writer *w, struct page_writer **out); /* gets the next free number */
unsigned int page_writer_number(const struct page_writer *p);
int64_t page_writer_append(struct page_writer *p, const void *pages, size_t n);
/* The id of the image that it writes. */
const uint8_t *image_writer_id(const struct image_writer *w);
uint64_t image_bytes(const struct image_writer *w);	   /* so far */
uint64_t image_stored_bytes(const struct image_writer *w); /* what they take in its files */
/* Writes what is buffered, syncs, writes the manifest and renames it into place. */
int image_commit(struct image_writer *w);
/* Without a commit before: removes what was written. Takes NULL. */
void image_writer_free(struct image_writer *w);

/* --- reading --- */

struct record {
	const struct record_kind *kind;
	object_id id;
	void *state;
};

struct image {
	struct image_head head;
	int dir_fd;
	struct record *
		records; /* of the caller's kinds, sorted by kind (in the order of the table of kinds), then as written */
	size_t n_records;
	unsigned int
		n_page_files; /* of the whole chain; some of the older ones may not be needed any more, and have no pages here */
	struct image_private *private;
	_Atomic unsigned int kept; /* by others than who opened it */
};

/* Reads the manifest, checks every file's length and, page files aside, its checksum; decodes all records by the NULL-terminated table of kinds
 * (the built-in kinds of the image layer are added); checks that ids are unique and every reference names a record of its kind. dir_fd is dup'ed. */
int image_open(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out);
/*
 * The same of a stream, as far as the blocks of the page file that the pages of processes lie in: they are read from it by image_read_block, and are in no file. What
 * else there is of page files is kept in memory.
 */
int image_open_stream(int fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out);
/* Of a stream: the number of that page file, if it has one, and its blocks that come before the others. */
bool image_streamed_file(const struct image *img, unsigned int *number, uint64_t *first_blocks);
/* The next block, its zeros too: its number, how many pages it has, and for each whether it was there (the others are zero). From any thread. 1; 0: there are no more */
struct image_block {
	uint64_t number;
	size_t pages;
	bool there[PAGE_BLOCK];
};
int image_read_block(const struct image *img, struct image_block *block, uint8_t *pages, struct problems *ps);
/* When no thread reads any more: has all come, and is it what the manifest says? */
int image_end_stream(const struct image *img, struct problems *ps);
/* A stream into an empty directory, as image_create takes it. */
int image_receive(int fd, int dir_fd, bool force, struct problems *ps);
/* Reads the records of these kinds and nothing else: what they refer to is not looked for. */
int image_open_kinds(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out);
/* The same, and the page files: of an older image, against which another is made. */
int image_open_parent(int dir_fd, const struct record_kind *const kinds[], struct problems *ps, struct image **out);
void image_free(struct image *img); /* once for image_open, and once for each image_keep */
struct image *image_keep(struct image *img);

/* The records of one kind: first, and how many. */
struct record *image_records(const struct image *img, const struct record_kind *k, size_t *n);
struct record *image_find(const struct image *img, object_id id); /* NULL */

int page_file_fd(const struct image *img,
	unsigned int number); /* O_RDONLY, owned by the image; its bytes are pages unless they are compressed */
uint64_t page_file_pages(const struct image *img, unsigned int number);
/* One of its own, and not of an older image. */
struct page_file_facts {
	uint64_t pages, size;	 /* bytes of the file */
	const char *compression; /* NULL: none */
};
bool page_file_is_own(const struct image *img, unsigned int number, struct page_file_facts *out);
bool page_file_is_compressed(const struct image *img, unsigned int number);
bool image_is_compressed(const struct image *img); /* any file of the chain */
/* Checks blocks [first, first + n) of a page file against their checksums; several threads may check different ones. */
int page_file_verify(const struct image *img, unsigned int number, uint64_t first, uint64_t n, struct problems *ps);
/* Reads a block into room for PAGE_BLOCK pages. What is there on success has the checksum. From any thread. */
int page_file_load(const struct image *img, unsigned int number, uint64_t block, void *buffer, struct problems *ps);
/* Reads bytes of its pages, of a block at a time, each of which has its checksum: `put` gets them in order, and its error ends it. */
int page_file_each(const struct image *img, unsigned int number, uint64_t at, uint64_t size,
	int (*put)(void *data, const void *bytes, size_t size), void *data, struct problems *ps);
/* One reader's last block of a compressed page file. */
struct page_cache {
	uint8_t *bytes; /* room for PAGE_BLOCK pages */
	bool valid;
	unsigned int number;
	uint64_t block;
};
/* Reads pages to look at, not to use: of a file that is not compressed they are not checked. */
int page_file_look(
	const struct image *img, struct page_cache *cache, unsigned int number, uint64_t at, uint64_t n, void *to);
/* --- what was needed first --- */

struct touched_block {
	uint64_t file, block;
};

struct touched {
	uint8_t image_id[16];
	struct touched_block *blocks;
	size_t n_blocks;
};

/* What an earlier restore on demand has left beside the image, which need not be true; nothing, if there is none. Blocks that the page files have not are left out. */
void image_touched(const struct image *img, struct touched *out);
/* Leaves it to the next one, if that can be. */
void image_set_touched(const struct image *img, struct touched *t);
void touched_free(struct touched *t);

/* --- checking --- */

/* All page files of the chain, with several threads. */
int image_verify_pages(const struct image *img, struct problems *ps);
/* Its own, and of its ancestors' the blocks in which pages lie that were said to be needed (not thread-safe, and of page files and pages that are there). */
int image_verify_needed(const struct image *img, struct problems *ps);
void image_need_pages(struct image *img, unsigned int number, uint64_t at, uint64_t n);
void image_need_none(struct image *img); /* takes back what was said so far */
/* How many pages it has: its own, and those said to be needed of its ancestors. */
uint64_t image_pages(const struct image *img);
/* Of those of image_verify_needed the ones that fn wants to be checked, which is asked from several threads. own: not of an ancestor. */
int image_verify_some(const struct image *img,
	bool (*fn)(const void *data, unsigned int number, uint64_t block, bool own), const void *data,
	struct problems *ps);

/* --- making one of a chain --- */

struct image_merging {
	bool force; /* as image_create has it */
	void *data;
	void (*progress)(void *data, uint64_t done, uint64_t total); /* bytes; from any thread. May be NULL */
};

struct image_merged {
	uint64_t pages;
	uint64_t older; /* of these: from its ancestors */
	uint64_t bytes;
};

/*
 * Writes an image into out_fd that holds what the one in dir_fd does, and needs no other. Only pages that it needs are copied, and each is checked. -EINVAL: out_fd is one of the
 * chain; -ENOTSUP: a later version of spore wrote what might name pages
 */
int image_merge(int dir_fd, int out_fd, const struct record_kind *const kinds[], const struct image_merging *how,
	struct problems *ps, struct image_merged *result);
