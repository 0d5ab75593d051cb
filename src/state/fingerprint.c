/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tells whether a file is still the same, besides its size and time. */
#include <elf.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "state/regular.h"

#define ELF_START 8192ul /* linkers put the build-id among the first sections */

bool blob_equal(const struct blob *a, const struct blob *b)
{
	return a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

static int blob_set(struct blob *b, const void *data, size_t size)
{
	b->data = malloc(size ? size : 1);
	if (!b->data)
		return -ENOMEM;
	memcpy(b->data, data, size);
	b->size = size;
	return 0;
}

static ssize_t read_start(int fd, void *buffer, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = pread(fd, (char *)buffer + got, size - got, (off_t)got);

		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int fingerprint_hash(int fd, uint64_t size, struct blob *out)
{
	_cleanup_free_ void *buffer = NULL;
	XXH128_canonical_t hash;

	if (size > HASHED_SIZE)
		return -ENODATA;
	buffer = malloc(size ? size : 1);
	if (!buffer)
		return -ENOMEM;
	if (read_start(fd, buffer, size) != (ssize_t)size)
		return -ENODATA;
	XXH128_canonicalFromHash(&hash, XXH3_128bits(buffer, size));
	return blob_set(out, hash.digest, sizeof(hash.digest));
}

static int note_build_id(const uint8_t *notes, size_t size, const uint8_t **id, size_t *id_size)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		size_t name, desc;

		memcpy(&h, notes, sizeof(h));
		name = ALIGN_UP((size_t)h.n_namesz, 4);
		desc = ALIGN_UP((size_t)h.n_descsz, 4);
		if (name > size - sizeof(h) || desc > size - sizeof(h) - name)
			return -ENODATA;
		if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && !memcmp(notes + sizeof(h), "GNU", 4)) {
			*id = notes + sizeof(h) + name;
			*id_size = h.n_descsz;
			return 0;
		}
		notes += sizeof(h) + name + desc;
		size -= sizeof(h) + name + desc;
	}
	return -ENODATA;
}

int build_id_parse(const uint8_t *elf, size_t size, const uint8_t **id, size_t *id_size)
{
	Elf64_Ehdr e;

	if (size < sizeof(e))
		return -ENODATA;
	memcpy(&e, elf, sizeof(e));
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) || e.e_ident[EI_CLASS] != ELFCLASS64 ||
		e.e_phentsize != sizeof(Elf64_Phdr))
		return -ENODATA;
	for (size_t i = 0; i < e.e_phnum; i++) {
		Elf64_Phdr p;

		if (e.e_phoff > size || (i + 1) * sizeof(p) > size - e.e_phoff)
			return -ENODATA;
		memcpy(&p, elf + e.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type != PT_NOTE || p.p_offset > size || p.p_filesz > size - p.p_offset)
			continue;
		if (!note_build_id(elf + p.p_offset, p.p_filesz, id, id_size))
			return 0;
	}
	return -ENODATA;
}

int fingerprint_build_id(int fd, struct blob *out)
{
	uint8_t start[ELF_START];
	const uint8_t *id;
	size_t id_size;
	ssize_t n = read_start(fd, start, SELFMAG);
	int err;

	if (n != SELFMAG || memcmp(start, ELFMAG, SELFMAG))
		return -ENODATA;
	n = read_start(fd, start, sizeof(start));
	if (n < 0)
		return (int)n;
	err = build_id_parse(start, (size_t)n, &id, &id_size);
	return err ? err : blob_set(out, id, id_size);
}
