/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image as one stream of bytes, for a pipe or a socket. It begins with STREAM_MAGIC; then come frames, each of a prefix (the length of its record, and the
 * record's checksum), a record of the kind `frame`, and as many bytes as that says. First the files of the directory as they are, but for the one page file that
 * the pages of processes lie in: of that the records say where each page goes, so that its blocks need not be kept by who builds the tree, in whatever order they
 * come. The last are page_blocks.cbor, the manifest and an end. Private to the image layer, but for image/image.h.
 */
#pragma once

#include <sys/uio.h>

#include "image/directory.h"

#define STREAM_MAGIC	  "spore stream 1\n"
#define STREAM_MAGIC_SIZE sizeof(STREAM_MAGIC)
#define FRAME_PREFIX	  16
#define FRAME_MOST	  1024 /* bytes of a record */
#define BLOCK_BYTES	  (PAGE_BLOCK * PAGE_SIZE)
#define STREAM_PAGES_MOST (1ull << 36)
#define THE_STREAM	  "the stream"

enum frame_what {
	FRAME_MEMBER = 1,
	FRAME_PAGES,
	FRAME_BLOCK,
	FRAME_END,
};

struct frame {
	uint64_t number;
	uint64_t what; /* enum frame_what */
	char name[NAME_ROOM];
	uint64_t at;
	uint64_t size;
	uint64_t pages;
	uint8_t present[PAGE_BLOCK / 8];
	uint64_t checksum;
};

extern const struct record_kind frame_kind;

/* What stands before the bytes that the frame has. */
int frame_encode(const struct frame *f, struct bytes *out);
/* The length of the record and its checksum; 0 or -EBADMSG. */
int frame_prefix(const uint8_t prefix[static FRAME_PREFIX], size_t *length, uint64_t *checksum);
/* Checks that the record is what a frame may be; *why: a literal. */
int frame_decode(const uint8_t *record, size_t length, uint64_t checksum, struct frame *f, const char **why);

static inline bool frame_has(const struct frame *f, size_t page)
{
	return f->present[page / 8] & 1u << page % 8;
}

/* The pages [*at, end) of a block that are there, or are not, in a row; *at moves behind them. */
size_t frame_stretch(const struct frame *f, size_t *at, size_t end, bool *there);

/* --- writing: stream_out.c --- */

struct stream_out;

/* cancelled: asked now and then while nobody reads; may be NULL. -ENOTTY: it is a terminal. */
int stream_out_new(int fd, bool (*cancelled)(const void *data), const void *data, struct stream_out **out);
void stream_out_free(struct stream_out *s); /* takes NULL */
/* Gives the frame its number. From any thread. */
int stream_out_frame(struct stream_out *s, struct frame *f, const struct iovec *bytes, size_t n);
int stream_out_error(struct stream_out *s); /* the first, or 0 */
uint64_t stream_out_bytes(const struct stream_out *s);
/* Nothing is left in this process. */
int stream_out_end(struct stream_out *s);
/* A file of the image. */
int stream_out_file(struct stream_out *s, const char *name, int fd, uint64_t size);
int stream_out_bytes_of(struct stream_out *s, const char *name, const uint8_t *data, uint64_t size);

/* --- reading: stream_in.c, stream_end.c --- */

/* A file that came. */
struct stream_member {
	char name[NAME_ROOM];
	int fd;
	uint64_t size;
	uint8_t checksum[16];
};

struct stream_in;

/* Reads as far as the blocks: dir_fd: -1, or the directory that the files go to. */
int stream_in_new(int fd, int dir_fd, struct problems *ps, struct stream_in **out);
void stream_in_free(struct stream_in *s); /* takes NULL */
const struct stream_member *stream_in_members(const struct stream_in *s, size_t *n);
const struct stream_member *stream_in_member(const struct stream_in *s, const char *name); /* NULL: there is none */
/* The page file that comes in blocks: its number, and how many pages it has. false: there is none. */
bool stream_in_pages(const struct stream_in *s, unsigned int *number, uint64_t *pages);
uint64_t stream_in_first_blocks(const struct stream_in *s);
/*
 * The next block, with zeros where it has no pages, into room for PAGE_BLOCK. From any thread. 1; 0: they have ended, and all of the stream has been read; or an
 * error, told.
 */
int stream_in_block(struct stream_in *s, struct frame *f, uint8_t *buffer, struct problems *ps);
/* After the last, when no other thread reads any more: is all there, and as the manifest says? */
int stream_in_end(struct stream_in *s, const uint8_t image_id[static 16], struct problems *ps);

/* --- what of it both have --- */

/* Sums of blocks, as they come. */
struct block_sums {
	struct {
		uint64_t *sums; /* NULL: none came */
		uint8_t *there;
	} * parts;
	uint64_t n_parts, blocks, come;
};
int block_sums_init(struct block_sums *b, uint64_t pages);
int block_sums_set(struct block_sums *b, uint64_t block, uint64_t sum); /* -EEXIST */
uint64_t block_sums_get(const struct block_sums *b, uint64_t block);
void block_sums_free(struct block_sums *b);
