/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BPF maps and types: what the kernel tells of them, and what they hold. bpf(2) */

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"

enum { CLASS_BTF = 2 }; /* among numbered objects */

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int info_of(int fd, void *info, size_t size)
{
	union bpf_attr attr = { 0 };

	memset(info, 0, size);
	attr.info.bpf_fd = fd;
	attr.info.info_len = size;
	attr.info.info = (uintptr_t)info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

/* One of the oracle's own, that may read. */
static int open_again(uint32_t id)
{
	union bpf_attr attr = { .map_id = id };

	attr.open_flags = BPF_F_RDONLY;
	return bpf(BPF_MAP_GET_FD_BY_ID, &attr);
}

static int element(int command, int fd, const void *key, void *value)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf(command, &attr);
}

static int possible_cpus(void)
{
	_free_ char *text = slurp("/sys/devices/system/cpu/possible", NULL);
	unsigned first, last;

	return text && sscanf(text, "%u-%u", &first, &last) == 2 ? (int)(last - first + 1) : 1;
}

static bool is_percpu(unsigned type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* The bytes between the values of two processors are nobody's. */
static uint64_t value_hash(const struct bpf_map_info *info, const unsigned char *value, size_t cpus, uint64_t seed)
{
	size_t stride = (info->value_size + 7) / 8 * 8;
	uint64_t hash = hash_bytes(value, info->value_size, seed);

	for (size_t cpu = 1; cpu < cpus; cpu++)
		hash = hash_bytes(value + cpu * stride, info->value_size, hash);
	return hash;
}

/* Keys of a hash come in an order that is drawn, unless the map says otherwise: a sum. */
static void entries_facts(struct oracle *o, const char *prefix, int fd, const struct bpf_map_info *info)
{
	size_t cpus = is_percpu(info->type) ? possible_cpus() : 1, stride = (info->value_size + 7) / 8 * 8;
	_free_ unsigned char *value = calloc(cpus, stride);
	_free_ unsigned char *key = calloc(1, info->key_size);
	_free_ unsigned char *next = calloc(1, info->key_size);
	uint64_t sum = 0, order = 0, n = 0;

	while (value && key && next && element(BPF_MAP_GET_NEXT_KEY, fd, n ? key : NULL, next) == 0) {
		memcpy(key, next, info->key_size);
		n++;
		order = hash_bytes(key, info->key_size, order);
		if (element(BPF_MAP_LOOKUP_ELEM, fd, key, value) == 0)
			sum += value_hash(info, value, cpus, hash_bytes(key, info->key_size, 0));
	}
	if (info->map_flags & BPF_F_ZERO_SEED || info->type == BPF_MAP_TYPE_LPM_TRIE)
		fact(o, prefix, "order", "%016lx", (unsigned long)order);
	fact(o, prefix, "holds", "%lu entries %016lx", (unsigned long)n, (unsigned long)sum);
}

/* What would come off a queue next. */
static void next_fact(struct oracle *o, const char *prefix, int fd, const struct bpf_map_info *info)
{
	_free_ unsigned char *value = calloc(1, info->value_size);

	if (value && element(BPF_MAP_LOOKUP_ELEM, fd, NULL, value) == 0)
		fact(o, prefix, "next", "%016lx", (unsigned long)hash_bytes(value, info->value_size, 0));
	else
		fact(o, prefix, "next", "error %d", errno);
}

void bpf_map_facts(struct oracle *o, const char *prefix, int dup)
{
	struct bpf_map_info info;
	_close_ int fd = -1;

	if (info_of(dup, &info, sizeof(info)) < 0) {
		fact(o, prefix, "map", "error %d", errno);
		return;
	}
	fact(o, prefix, "map", "type %u key %u value %u entries %u flags %#x extra %#lx name %.16s", info.type,
		info.key_size, info.value_size, info.max_entries, info.map_flags, (unsigned long)info.map_extra,
		info.name);
	if (info.btf_id)
		fact(o, prefix, "types", "#%lu key %u value %u",
			(unsigned long)ordinal(&o->objects, CLASS_BTF, info.btf_id), info.btf_key_type_id,
			info.btf_value_type_id);
	if (!o->opt.memory)
		return;
	fd = open_again(info.id);
	if (info.type == BPF_MAP_TYPE_QUEUE || info.type == BPF_MAP_TYPE_STACK)
		next_fact(o, prefix, fd, &info);
	else if (info.key_size)
		entries_facts(o, prefix, fd, &info);
}

void bpf_btf_facts(struct oracle *o, const char *prefix, int dup)
{
	struct bpf_btf_info info;
	_free_ void *data = NULL;

	if (info_of(dup, &info, sizeof(info)) < 0)
		return;
	data = malloc(info.btf_size + 1);
	info = (struct bpf_btf_info){ .btf = (uintptr_t)data, .btf_size = info.btf_size };
	if (data) {
		union bpf_attr attr = { 0 };

		attr.info.bpf_fd = dup;
		attr.info.info_len = sizeof(info);
		attr.info.info = (uintptr_t)&info;
		if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0)
			fact(o, prefix, "types", "#%lu %u bytes %016lx",
				(unsigned long)ordinal(&o->objects, CLASS_BTF, info.id), info.btf_size,
				(unsigned long)hash_bytes(data, info.btf_size, 0));
	}
}
