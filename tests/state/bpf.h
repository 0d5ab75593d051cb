/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the makers of BPF maps have in common: bpf_*.c. bpf(2) */
#pragma once

#include "maker.h"

#include <linux/bpf.h>

int bpf(int command, union bpf_attr *attr);
/* -1 and errno. flags: BPF_F_*; name: NULL, none. */
int map_new(
	enum bpf_map_type type, size_t key, size_t value, unsigned int entries, unsigned int flags, const char *name);
int map_of(int map, unsigned int flags); /* another open file of it */
int map_get(int map, const void *key, void *value);
int map_set(int map, const void *key, const void *value, uint64_t flags);
int map_drop(int map, const void *key);
int map_take(int map, void *value); /* off a queue or a stack */
int map_freeze(int map);
int map_count(int map, size_t key_size); /* its keys */
int map_info(int map, struct bpf_map_info *info);
int possible_cpus(void);

/* Types: 1 an int, 2 a struct of two of them, or one that begins with a lock. */
int btf_new(bool lock);
int map_with_types(int btf, enum bpf_map_type type);
