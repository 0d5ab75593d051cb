/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has a BPF map, read from the kernel's structures: struct bpf_map, and the mappings of the inode that all such files share. A map that a program, a link,
 * another map, a pin in bpffs or a process outside of the tree uses as well is not the tree's alone. kernel/bpf/syscall.c
 */
#pragma once

#include "object/component.h"

#define BPF_MAP_LINK "anon_inode:bpf-map"

struct bpf_views;

/* An open file of the tree that is a map. */
struct bpf_file {
	uint64_t map; /* struct bpf_map */
	uint64_t file;
	uint32_t id;
	const struct description *description;
};

struct bpf_mapping {
	uint64_t map, file, mm, start;
};

/* Both read once in each stop. 0 or negative errno; -ENODATA: the kernel cannot be looked at. */
int bpf_views_get(struct capture *c, const struct bpf_views **out);
void bpf_views_free(struct bpf_views *v); /* takes NULL */

/* The files of the tree that are a map: one by one, from NULL. */
const struct bpf_file *bpf_views_next(const struct bpf_views *v, uint32_t id, const struct bpf_file *last);
/* A mapping of a process of the tree. NULL: it is none of a map. */
const struct bpf_mapping *bpf_views_mapping(const struct bpf_views *v, uint64_t mm, uint64_t start);

/* Is it the tree's alone? If not, it is refused. own: how many open files of it spore has that are not the tree's. */
int bpf_view_alone(struct capture *c, const struct file_look *f, uint64_t map, uint32_t id, uint64_t own);
