/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A look into the kernel's own structures, for the few facts that no interface tells, such as whether a request is still under way. Read by a BPF program
 * that only copies bytes, where BTF says that they are: bpf(2). So it needs a kernel with both, and CAP_BPF with CAP_PERFMON (or CAP_SYS_ADMIN); without,
 * what depends on such a fact is refused. What is looked at must not go away meanwhile: it belongs to a stopped task, or to an open descriptor.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernel/btf.h"

struct kernel_peek;

/* To what a pointer leads, a member of the structure at the last one; by: that one leads to this member of the same structure (container_of). */
struct kernel_step {
	const char *type, *member, *by;
};

struct kernel_peek *kernel_peek_new(void);
void kernel_peek_free(struct kernel_peek *p); /* takes NULL */

/* Everything is made ready when first asked for. Thread-safe. All answer 0 or a negative errno: -ENODATA, this kernel or its caller cannot look. */
int kernel_peek_ready(struct kernel_peek *p);
/* What else is kept of this kernel from one keeper to the next (kernel/places.h): adds one; the next one of that type, *at 0 at first, NULL: no more. */
void kernel_peek_note(struct kernel_peek *p, const char *type, const char *name, const struct member_place *what);
const char *kernel_peek_noted(struct kernel_peek *p, const char *type, size_t *at, struct member_place *what);
/* What stands behind a descriptor of the caller's: file->private_data, and the address of its struct file. */
int kernel_peek_file(struct kernel_peek *p, int fd, uint64_t *file, uint64_t *private_data);
/* The socket behind one (struct sock), and the first bytes of it: in one look, which is what 10,000 sockets need. */
int kernel_peek_socket(struct kernel_peek *p, int fd, uint64_t *sock, void *bytes, size_t size);
/* From the struct file of a descriptor of the caller's along at most 4 pointers, in one look: values[i] is what step i found. */
int kernel_peek_way(struct kernel_peek *p, int fd, const struct kernel_step *way, size_t n, uint64_t *values);
int kernel_peek_bytes(struct kernel_peek *p, uint64_t address, void *bytes, size_t size);
/* A member of at most 8 bytes of the structure at `address`. */
int kernel_peek_member(struct kernel_peek *p, uint64_t address, const char *type, const char *member, uint64_t *value);
/* The same of many, hundreds in one look: every address is replaced by what the member is (type NULL: the word itself), 0 stays 0. After an error some are. */
int kernel_peek_many(struct kernel_peek *p, uint64_t *at, size_t n, const char *type, const char *member);
/* Where a member lies: in such a structure; of the one at `address`. */
int kernel_peek_place(struct kernel_peek *p, const char *type, const char *member, struct member_place *out);
/* The BTF id of a function of the kernel's. */
int kernel_peek_function(struct kernel_peek *p, const char *name, uint32_t *id);
int kernel_peek_address(struct kernel_peek *p, uint64_t address, const char *type, const char *member, uint64_t *at);
/* The sum of a member of 4 bytes (type NULL: of the word itself) over all processors; `percpu`: as a structure holds it. */
int kernel_peek_percpu(struct kernel_peek *p, uint64_t percpu, const char *type, const char *member, int64_t *sum);
