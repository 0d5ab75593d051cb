/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stream becomes a directory: its files are those of the stream as they are, and the manifest is renamed into place when all has been found right. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/stream_reading.h"

struct receiving {
	int dir_fd;
	struct stream_in *stream;
	struct problems *ps;
	char pages_name[NAME_ROOM];
	int pages_fd;
	bool done;
};

/* Also what had come of a stream that was cut off before its blocks. */
static void receiving_free(struct receiving *r)
{
	stream_in_free(r->stream);
	close_fd(&r->pages_fd);
	if (!r->done && r->dir_fd >= 0)
		directory_clear(r->dir_fd);
	close_fd(&r->dir_fd);
}

static int write_block(struct receiving *r, const struct frame *f, const uint8_t *pages)
{
	int error = 0;
	bool there;

	for (size_t at = 0; error == 0 && at < f->pages;) {
		size_t n = frame_stretch(f, &at, f->pages, &there);

		if (there)
			error = write_at(r->pages_fd, pages + (at - n) * PAGE_SIZE, n * PAGE_SIZE,
				(f->at * PAGE_BLOCK + at - n) * PAGE_SIZE);
	}
	return error < 0 ? file_failed(r->ps, r->dir_fd, r->pages_name, error, "cannot be written") : 0;
}

static int receive_blocks(struct receiving *r)
{
	_cleanup_free_ uint8_t *buffer = malloc(BLOCK_BYTES);
	int error = buffer ? 1 : failed(r->ps, NULL, -ENOMEM, "no memory for the stream");
	struct frame f;

	while (error > 0) {
		error = stream_in_block(r->stream, &f, buffer, r->ps);
		if (error > 0 && write_block(r, &f, buffer) < 0)
			error = r->ps->first_error;
	}
	return error;
}

static int make_page_file(struct receiving *r)
{
	unsigned int number;
	uint64_t pages;

	if (!stream_in_pages(r->stream, &number, &pages))
		return 0;
	snprintf(r->pages_name, sizeof(r->pages_name), "pages-%u", number);
	r->pages_fd = openat(r->dir_fd, r->pages_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (r->pages_fd < 0 || ftruncate(r->pages_fd, (off_t)(pages * PAGE_SIZE)) < 0)
		return file_failed(r->ps, r->dir_fd, r->pages_name, -errno, "cannot be created");
	return 0;
}

/* --- the commit --- */

static int sync_all(struct receiving *r)
{
	size_t n;
	const struct stream_member *members = stream_in_members(r->stream, &n);

	for (size_t i = 0; i < n; i++)
		if (fdatasync(members[i].fd) < 0)
			return file_failed(r->ps, r->dir_fd, members[i].name, -errno, "cannot be written to the disk");
	if (r->pages_fd >= 0 && fdatasync(r->pages_fd) < 0)
		return file_failed(r->ps, r->dir_fd, r->pages_name, -errno, "cannot be written to the disk");
	return fsync(r->dir_fd) < 0 && errno != EINVAL
		       ? file_failed(r->ps, r->dir_fd, "", -errno, "cannot be written to the disk")
		       : 0;
}

static int publish(struct receiving *r)
{
	int error = sync_all(r);

	if (error < 0)
		return error;
	if (renameat(r->dir_fd, MANIFEST_TMP, r->dir_fd, MANIFEST) < 0)
		return file_failed(r->ps, r->dir_fd, MANIFEST, -errno, "cannot be renamed into place");
	if (fsync(r->dir_fd) < 0 && errno != EINVAL)
		return file_failed(r->ps, r->dir_fd, "", -errno, "cannot be written to the disk");
	r->done = true;
	return 0;
}

/* The id is that of the head, which the manifest names too: the two are compared when it is opened. */
static int end(struct receiving *r)
{
	const struct stream_member *head = stream_in_member(r->stream, "head.cbor");
	struct image_head h = { 0 };
	const char *why = "it has no head";
	uint8_t record[8192];
	int error = !head || head->size > sizeof(record) ? -EBADMSG : read_at(head->fd, record, head->size, 0);

	if (error == 0)
		error = record_decode(&image_head_kind, record, head->size, &h, &why);
	error = error < 0 ? stream_damaged(r->stream, r->ps, why) : stream_in_end(r->stream, h.id, r->ps);
	fields_free(image_head_kind.fields, &h);
	return error;
}

int image_receive(int fd, int dir_fd, bool force, struct problems *ps)
{
	_cleanup_(receiving_free)
	struct receiving r = { .dir_fd = -1, .pages_fd = -1, .ps = ps };
	int error = directory_take(dir_fd, force, ps, &r.dir_fd);

	if (error == 0)
		error = stream_in_new(fd, r.dir_fd, ps, &r.stream);
	if (error == 0)
		error = make_page_file(&r);
	if (error == 0)
		error = receive_blocks(&r);
	if (error == 0)
		error = end(&r);
	return error < 0 ? error : publish(&r);
}
