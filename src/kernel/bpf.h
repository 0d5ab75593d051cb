/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bpf(2), as far as its objects are used from user space. All answer a descriptor, a count or 0, or a negative errno. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#define BPF_NOT_SUPPORTED (-524) /* -ENOTSUPP, a number of the kernel's own: the type of map has not that call */

int bpf_call(int command, union bpf_attr *attr);

/* BPF_OBJ_GET_INFO_BY_FD; what an older kernel does not tell is 0. */
int bpf_info(int fd, void *info, size_t size);
/* By a number, which needs CAP_SYS_ADMIN. open_flags: BPF_F_RDONLY, BPF_F_WRONLY. */
int bpf_map_by_id(uint32_t id, uint32_t open_flags);
int bpf_btf_by_id(uint32_t id);

int bpf_map_next_key(int fd, const void *key, void *next); /* key NULL: the first */
int bpf_map_lookup(int fd, const void *key, void *value);
int bpf_map_update(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_freeze(int fd);

/* Many at once. `in` (NULL: from the start) and `out`: where the call before has ended, and this one. *n: how many there is room for, or are; how many there were. */
struct bpf_batch {
	const void *in;
	void *out, *keys, *values;
	uint32_t n;
};
int bpf_map_lookup_batch(int fd, struct bpf_batch *b); /* -ENOENT: that was the last */
int bpf_map_update_batch(int fd, struct bpf_batch *b);

/* How many values there are for each key of a map that has one for each processor: of all that this machine may ever have. */
int bpf_possible_cpus(void);
