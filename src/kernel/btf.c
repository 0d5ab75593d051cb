/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/btf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

#define DEPTH_MAX 32 /* of typedefs, arrays and unnamed structures in each other */

#define KIND_ENUM64 19 /* newer than some headers */

/* What follows a type, by its kind. */
static size_t tail_size(uint32_t info)
{
	size_t n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return n * 8;
	case BTF_KIND_DATASEC:
	case KIND_ENUM64:
		return n * 12;
	default:
		return 0;
	}
}

static const char *name_of(const struct btf *b, uint32_t offset)
{
	return offset < b->strings_size ? b->strings + offset : "";
}

static int add_type(struct btf *b, uint32_t *room, const struct btf_type *t)
{
	if (b->n_types == *room) {
		uint32_t more = *room ? 2 * *room : 1u << 16;
		const struct btf_type **grown = reallocarray(b->types, more, sizeof(const struct btf_type *));

		if (!grown)
			return -ENOMEM;
		b->types = grown;
		*room = more;
	}
	b->types[b->n_types++] = t;
	return 0;
}

static int find_types(struct btf *b, const uint8_t *at, const uint8_t *end)
{
	uint32_t room = 0;
	int r = add_type(b, &room, NULL);

	while (r == 0 && at < end) {
		const struct btf_type *t = (const void *)at;
		size_t left = (size_t)(end - at);

		if (left < sizeof(*t) || left - sizeof(*t) < tail_size(t->info))
			return -EBADMSG;
		at += sizeof(*t) + tail_size(t->info);
		r = add_type(b, &room, t);
	}
	return r;
}

static int parse(uint8_t *bytes, size_t size, size_t mapped, struct btf *out)
{
	struct btf b = { .text = bytes, .mapped = mapped };
	const struct btf_header *h = (const void *)bytes;
	const uint8_t *types;
	int r = -EBADMSG;

	if (size >= sizeof(*h) && h->magic == BTF_MAGIC && h->hdr_len >= sizeof(*h) && h->hdr_len <= size &&
		h->type_off % 4 == 0 && h->hdr_len % 4 == 0 && h->str_len &&
		(uint64_t)h->hdr_len + h->type_off + h->type_len <= size &&
		(uint64_t)h->hdr_len + h->str_off + h->str_len <= size &&
		bytes[h->hdr_len + h->str_off + h->str_len - 1] == '\0') {
		b.strings = (const char *)bytes + h->hdr_len + h->str_off;
		b.strings_size = h->str_len;
		types = bytes + h->hdr_len + h->type_off;
		r = find_types(&b, types, types + h->type_len);
	}
	if (r == 0)
		*out = b;
	else
		btf_free(&b);
	return r;
}

int btf_parse(uint8_t *bytes, size_t size, struct btf *out)
{
	return parse(bytes, size, 0, out);
}

/* The kernel's own copy (since 6.16). */
static uint8_t *map_file(const char *path, size_t *size)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
		return NULL;
	*size = (size_t)st.st_size;
	at = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return NULL;
	madvise(at, *size, MADV_DONTFORK); /* its page tables are filled when it is mapped */
	return at;
}

int btf_read(struct btf *out)
{
	static const char path[] = "/sys/kernel/btf/vmlinux";
	size_t size = 0;
	uint8_t *mapped = map_file(path, &size);
	char *text;
	int r = mapped ? parse(mapped, size, size, out) : procfs_read(AT_FDCWD, path, &text, &size);

	return r < 0 || mapped ? r : btf_parse((uint8_t *)text, size, out);
}

void btf_free(struct btf *b)
{
	if (b->mapped)
		munmap(b->text, b->mapped);
	else
		free(b->text);
	free(b->types);
	*b = (struct btf){ 0 };
}

static const struct btf_type *type_of(const struct btf *b, uint32_t id)
{
	return id < b->n_types ? b->types[id] : NULL;
}

/* In bytes; 0: it has none that would be of use. */
static uint64_t size_of(const struct btf *b, uint32_t id)
{
	uint64_t times = 1;

	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		const struct btf_type *t = type_of(b, id);
		const struct btf_array *array;

		switch (t ? BTF_INFO_KIND(t->info) : 0u) {
		case BTF_KIND_PTR:
			return times * sizeof(void *);
		case BTF_KIND_INT:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_ENUM:
		case KIND_ENUM64:
			return times * t->size;
		case BTF_KIND_ARRAY:
			array = (const void *)(t + 1);
			times *= array->nelems;
			id = array->type;
			break;
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_TYPE_TAG:
			id = t->type;
			break;
		default:
			return 0;
		}
	}
	return 0;
}

static bool is_struct(const struct btf_type *t)
{
	return t && (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT || BTF_INFO_KIND(t->info) == BTF_KIND_UNION);
}

/* "flow.stopped": of the structure that is its member "flow". */
static bool is_within(const char *name, const char *member)
{
	return !strncmp(member, name, strlen(name)) && member[strlen(name)] == '.';
}

static int find_member(const struct btf *b, const struct btf_type *t, const char *member, uint32_t from, int depth,
	struct member_place *out)
{
	const struct btf_member *m = (const void *)(t + 1);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info) && depth < DEPTH_MAX; i++) {
		const char *name = name_of(b, m[i].name_off);
		bool with_size = BTF_INFO_KFLAG(t->info);
		uint32_t bits, at = from + (with_size ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset);

		if (!*name && is_struct(type_of(b, m[i].type)) &&
			find_member(b, type_of(b, m[i].type), member, at, depth + 1, out) == 0)
			return 0;
		if (*name && is_within(name, member) && is_struct(type_of(b, m[i].type)))
			return find_member(b, type_of(b, m[i].type), member + strlen(name) + 1, at, depth + 1, out);
		if (strcmp(name, member) != 0)
			continue;
		bits = with_size ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0;
		*out = (struct member_place){ .offset = at / 8,
			.size = bits ? (at % 8 + bits + 7) / 8 : (uint32_t)size_of(b, m[i].type),
			.bit = at % 8,
			.bits = bits };
		return 0;
	}
	return -ENOENT;
}

/* More than one structure of the kernel may have a name: the first that has such a member is it. */
int btf_find(const struct btf *b, const char *type, const char *member, struct member_place *out)
{
	for (uint32_t id = 1; id < b->n_types; id++)
		if (is_struct(b->types[id]) && !strcmp(name_of(b, b->types[id]->name_off), type) &&
			find_member(b, b->types[id], member, 0, 0, out) == 0)
			return 0;
	return -ENOENT;
}

int btf_find_function(const struct btf *b, const char *name, uint32_t *id)
{
	for (uint32_t i = 1; i < b->n_types; i++)
		if (BTF_INFO_KIND(b->types[i]->info) == BTF_KIND_FUNC &&
			!strcmp(name_of(b, b->types[i]->name_off), name)) {
			*id = i;
			return 0;
		}
	return -ENOENT;
}
