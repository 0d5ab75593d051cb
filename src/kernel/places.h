/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What BTF (kernel/btf.h) tells of the running kernel, read when first asked for and kept in RUN_DIR until the next boot: to go through all types of a kernel takes some
 * milliseconds, longer than all else of a small checkpoint. Kept under the name of this boot and of this very kernel: /proc/sys/kernel/random/boot_id, /sys/kernel/notes.
 */
#pragma once

#include "kernel/btf.h"

struct places;

struct places *places_new(void);
void places_free(struct places *p); /* takes NULL */
/* Keeps what was not known before. */
void places_keep(struct places *p);

/* Not thread-safe. 0 or a negative errno: this kernel has no BTF, */
int places_ready(struct places *p);
/* or -ENOENT: no such thing. The names must last. */
int places_member(struct places *p, const char *type, const char *member, struct member_place *out);
int places_function(struct places *p, const char *name, uint32_t *id);

/* Anything else that is found out of this kernel and holds for every process is kept with them, by names without blanks. That of the member is copied. */
void places_note(struct places *p, const char *type, const char *member, const struct member_place *place);
/* The next one of that type, from *at on, 0 at first. NULL: no more. */
const char *places_noted(const struct places *p, const char *type, size_t *at, struct member_place *out);
