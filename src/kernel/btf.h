/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the members of the running kernel's own structures lie: BTF, the type information that it carries. Documentation/bpf/btf.rst. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct btf {
	uint8_t *text; /* all of the file; allocated, or */
	size_t mapped; /* so many bytes of it mapped */
	const char *strings;
	uint32_t strings_size;
	const struct btf_type **types; /* by id; [0] is NULL: void */
	uint32_t n_types;
};

struct member_place {
	uint32_t offset, size; /* bytes */
	uint32_t bit, bits;    /* of a bit field: where in these it begins, and how many; else 0 */
};

/* -ENOENT: the kernel was built without (CONFIG_DEBUG_INFO_BTF). */
int btf_read(struct btf *out);
/* The same of bytes in memory, allocated, which it takes over whatever it answers. */
int btf_parse(uint8_t *bytes, size_t size, struct btf *out);
void btf_free(struct btf *b);

/* Of a structure or union; members of unnamed ones within it are its own, and those of a named one "name.member". -ENOENT: there is no such. */
int btf_find(const struct btf *b, const char *type, const char *member, struct member_place *out);
/* The id of a function of the kernel's. */
int btf_find_function(const struct btf *b, const char *name, uint32_t *id);
