/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images with one page file and nothing else, made of parts that need not fit: what a hostile writer could make. */
#pragma once

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "image/directory.h"

static inline void forge_file(int dir, const char *name, const void *bytes, size_t size, struct manifest_file *entry)
{
	_cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write_at(fd, bytes, size, 0) < 0)
		abort();
	*entry = (struct manifest_file){ .size = size, .pages = !strncmp(name, "pages-", 6) };
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	if (!entry->pages)
		checksum_128(bytes, size, entry->checksum);
}

static inline void forge_record(int dir, const struct record_kind *k, const void *state, struct manifest_file *entry)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	char name[NAME_ROOM];

	if (record_encode(k, 0, state, &b) < 0)
		abort();
	snprintf(name, sizeof(name), "%s.cbor", k->name);
	forge_file(dir, name, b.data, b.size, entry);
}

/* Takes the place of one that was forged there before. */
static inline void forge_image(
	int dir, uint64_t format, const struct page_blocks *blocks, const void *pages, size_t size)
{
	_cleanup_(bytes_free)
	struct bytes b = { 0 };
	struct image_head head = { .id = { 1 }, .format = format };
	struct manifest_file files[3], entry;
	struct manifest m = { .image_id = { 1 }, .files = files, .n_files = 3 };

	forge_file(dir, "pages-0", pages, size, &files[0]);
	forge_record(dir, &image_head_kind, &head, &files[1]);
	forge_record(dir, &page_blocks_kind, blocks, &files[2]);
	if (manifest_encode(&m, &b) < 0)
		abort();
	forge_file(dir, MANIFEST, b.data, b.size, &entry);
}
