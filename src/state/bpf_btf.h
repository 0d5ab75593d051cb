/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BTF that a program has loaded: the description of types that maps refer to. */
#pragma once

#include "object/component.h"

extern const struct component component_bpf_btf;

/* What the map f refers to, saved once. */
int bpf_btf_save(struct capture *c, const struct file_look *f, uint32_t id, object_id *out);
/* A descriptor of it, which stays the component's. */
int bpf_btf_made(struct restore *r, object_id id);
