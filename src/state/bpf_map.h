/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A BPF map: its record, and how its contents stand in the image. */
#pragma once

#include <linux/bpf.h>

#include "state/contents_stream.h"

struct bpf_map_state {
	char name[BPF_OBJ_NAME_LEN];
	uint64_t type, key_size, value_size, max_entries, flags, extra, numa_node;
	bool frozen, trusted;
	object_id btf;
	uint64_t btf_key_type, btf_value_type;
	uint64_t cpus; /* for which it has a value each; 0: one for all */
	uint64_t size; /* of its contents */
	struct extent *extents;
	size_t n_extents;
};

extern const struct component component_bpf_map;

enum bpf_map_layout {
	BPF_LAYOUT_REFUSED,
	BPF_LAYOUT_NONE,    /* nothing is in it */
	BPF_LAYOUT_MEMORY,  /* as mappings show it */
	BPF_LAYOUT_VALUES,  /* those of all keys from 0 on */
	BPF_LAYOUT_ENTRIES, /* each a key and a value */
	BPF_LAYOUT_QUEUE,   /* values, in the order in which they were pushed */
};

/* Those of its type that spore knows. */
#define BPF_MAP_KNOWN_FLAGS                                                                                            \
	(BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_RDONLY_PROG |             \
		BPF_F_WRONLY_PROG | BPF_F_MMAPABLE | BPF_F_INNER_MAP)

bool bpf_map_is_carried(uint64_t type);
bool bpf_map_is_of_cpus(uint64_t type); /* has it a value for each processor? */
const char *bpf_map_type_name(uint64_t type);

enum bpf_map_layout bpf_map_layout(const struct bpf_map_state *s);
static inline bool bpf_map_forgets(const struct bpf_map_state *s)
{
	return s->type == BPF_MAP_TYPE_LRU_HASH || s->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}
/* As system calls pass it: of all processors. */
static inline uint64_t bpf_map_value_size(const struct bpf_map_state *s)
{
	return s->cpus ? ALIGN_UP(s->value_size, 8) * s->cpus : s->value_size;
}
/* Of BPF_LAYOUT_MEMORY. */
static inline uint64_t bpf_map_memory_size(const struct bpf_map_state *s)
{
	return ALIGN_UP(ALIGN_UP(s->value_size, 8) * s->max_entries, PAGE_SIZE);
}

/* What many entries are passed in at once. */
struct bpf_entries {
	size_t key_size, value_size;
	uint32_t room;
	uint8_t *keys, *values, *place[2];
};
int bpf_entries_alloc(const struct bpf_map_state *s, uint32_t room, struct bpf_entries *e); /* room 0: what is usual */
void bpf_entries_free(struct bpf_entries *e);

/* fd may be read; map: struct bpf_map. What it holds is refused if it cannot be had. bpf_map_save.c */
int bpf_map_save(struct capture *c, const struct file_look *f, int fd, uint64_t map, struct bpf_map_state *s);

/* Into a new map; fd may be read and written. bpf_map_fill.c */
bool bpf_map_size_is_possible(const struct bpf_map_state *s);
int bpf_map_fill(struct restore *r, int fd, const struct bpf_map_state *s);

/* bpf_map_restore.c */
int bpf_map_validate(struct restore *r, const struct record *rec);
int bpf_map_open(struct restore *r, const struct record *rec, const struct file_state *file);

/* Is it a mapping of a map? Then what it stands on is saved, once, and its id returned. */
bool bpf_map_maps(const struct proc_map *m);
int bpf_map_backing(struct capture *c, const struct proc_map *m, object_id *out);
